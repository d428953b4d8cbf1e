"""A monitor that starts again: everybody is known, nobody is condemned before its grace."""

from dataclasses import replace

import pytest
from tests.core.by_hand import LIFE, PEER, SESSION, START, ByHand, changes, heard, said

from beatward.core.entry import ActionRecord, Event, NodeRecord, Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.membership import WATCHED, Status
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Join
from beatward.core.outbox import Outcome
from beatward.core.policy import ActionRules, Rule
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Health, Kind

RULES = CoreSettings(
    rules=(Rule(("dead",), ("restart",)),),
    actions={"restart": ActionRules("restart", "exec", revives=True)},
)


def row(status="alive", cause="heard", **fields):
    usual = {"incarnation": LIFE, "interval_ns": SECOND, "address": PEER, "via": "udp"}
    return NodeRecord("web-1", node_id("web-1"), status, cause, -5, **{**usual, **fields})


def started(*rows, actions=(), settings=None):
    recovered = Recovered(41, rows, tuple(actions))
    return ByHand(settings, nodes=(), recovered=recovered)


def decided(name="restart", attempt=0):
    return ActionRecord(f"40-{name}", name, "exec", "web-1", "decided", attempt, {"id": 40})


def test_numbers_go_on_from_what_the_journal_holds():
    hand = started(row("dead"), actions=[decided()], settings=RULES)
    (entry,) = hand.entries
    assert (entry.sequence, entry.event) == (42, Event.STARTED)
    assert entry.explanation == "the monitor began a session with 1 known nodes"
    assert entry.detail == {"nodes": 1, "actions": 1}


@pytest.mark.parametrize("status", Status)
def test_every_node_has_the_status_it_had(status):
    hand = started(row(status.word, "resume", labels={"zone": "a"}))
    snapshot = hand.snapshot()
    assert hand.status() == status.word
    assert snapshot.since_ns.tolist() == [-5]
    assert snapshot.labels == {0: {"zone": "a"}}
    registry = snapshot.state.registry
    assert registry.incarnation[0] == LIFE
    assert registry.interval_ms[0] == 1000
    assert hand.peer() == PEER
    assert registry.via[0] == Via.UDP
    assert not registry.proven[0]


@pytest.mark.parametrize("status", [status for status in Status if WATCHED[status]])
def test_nobody_is_suspected_before_the_start_grace(status):
    hand = started(row(status.word))
    assert hand.walk(10 * SECOND - 1) == []
    assert hand.walk(10 * SECOND) == [("web-1", "suspect", "overdue")]
    assert hand.walk(11 * SECOND) == [("web-1", "dead", "silent")]
    assert hand.entries[-1].explanation == (
        "web-1 dead: nothing was heard of it since the monitor's start or its enrolment; 5 probes "
        "over 1 s unanswered; the monitor itself never paused"
    )


@pytest.mark.parametrize("status", ["dead", "left", "paused"])
def test_whose_silence_did_not_count_is_left_alone(status):
    assert started(row(status)).walk(60 * SECOND) == []


def test_the_grace_is_at_least_twice_a_long_interval():
    hand = started(row(interval_ns=60 * SECOND))
    assert hand.walk(120 * SECOND - 1) == []
    assert hand.walk(120 * SECOND) == [("web-1", "suspect", "overdue")]


def test_a_suspect_is_probed_after_the_grace_and_then_has_its_whole_window():
    hand = started(row("suspect", "overdue"))
    quiet = hand.step(10 * SECOND - 1)
    assert len(quiet.replies.rows) == 0
    assert [reply.kind for reply in heard(hand.step(10 * SECOND))] == [Kind.PROBE]
    assert hand.walk(11 * SECOND - 1) == []
    assert hand.walk(11 * SECOND) == [("web-1", "dead", "silent")]


def test_a_hiccup_after_the_start_does_not_shorten_the_grace_of_a_suspect():
    hand = started(row("suspect", "overdue"))
    hand.step(SECOND)
    assert hand.walk(11 * SECOND - 1) == []
    assert hand.walk(11 * SECOND) == [("web-1", "dead", "silent")]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("new", [("web-1", "alive", "heard")]),
        ("alive", []),
        ("suspect", [("web-1", "alive", "refuted")]),
        ("dead", [("web-1", "recovering", "heard")]),
        ("left", [("web-1", "alive", "heard")]),
        ("paused", []),
        ("failing", [("web-1", "alive", "well")]),
        ("recovering", []),
    ],
)
def test_the_same_life_proves_itself_by_answering_what_it_is_asked(status, expected):
    hand = started(row(status, "resume"))
    output = hand.step(SECOND // 10, said(sequence=500, echo=12345))
    assert changes(output) == []
    (probe,) = heard(output)
    assert (probe.kind, probe.incarnation) == (Kind.PROBE, LIFE)
    assert (probe.echo == SESSION) is (status not in ("dead", "left"))
    answer = said(kind=Kind.PROBE_REPLY, sequence=500, echo=probe.echo)
    assert changes(hand.step(SECOND // 5, answer)) == expected
    assert not [entry for entry in hand.entries if entry.event == Event.LIFE]


def test_a_node_that_said_it_was_ill_is_not_well_for_a_moment():
    hand = started(row("failing", "ill"))
    hand.step(SECOND // 10, said(sequence=500, echo=12345, status=Health.ILL))
    answer = said(kind=Kind.PROBE_REPLY, sequence=500, status=Health.ILL)
    assert changes(hand.step(SECOND // 5, answer)) == []
    assert hand.status() == "failing"


def test_the_address_is_kept_also_when_nothing_was_heard_in_between():
    # It was once lost with the first change of status after a restart; the second restart then
    # had nobody to probe.
    hand = started(row())
    hand.walk(11 * SECOND)
    last = hand.entries[-1].node_record
    assert (last.status, last.address, last.via) == ("dead", PEER, "udp")


@pytest.mark.parametrize("via", ["http", "ping", ""])
def test_who_cannot_be_probed_is_waited_for_all_the_same(via):
    hand = started(row(address=b"", via=via))
    assert hand.walk(11 * SECOND) == [
        ("web-1", "suspect", "overdue"),
        ("web-1", "dead", "silent"),
    ]
    words = {"": "no address to probe, so 1 s were waited"}
    expected = words.get(via, "it reports over HTTP and cannot be probed, so 1 s were waited")
    assert expected in hand.entries[-1].explanation
    assert hand.entries[-1].node_record.via == via


# --- actions ---


def test_what_was_decided_runs_again_under_the_same_key_once_the_node_could_be_heard():
    hand = started(row("dead"), actions=[decided(attempt=2)], settings=RULES)
    assert hand.first.actions == ()
    assert hand.step(9 * SECOND).actions == ()
    (action,) = hand.step(10 * SECOND).actions
    assert (action.key, action.attempt, action.event) == ("40-restart", 3, {"id": 40})


def test_what_the_settings_no_longer_name_has_failed():
    hand = started(row("dead"), actions=[decided("reboot")], settings=RULES)
    entry = hand.entries[-1]
    assert (entry.event, entry.outcome) == (Event.OUTCOME, "failed")
    assert entry.explanation == (
        "reboot for web-1: failed: the settings no longer name this action"
    )
    assert entry.action_record.state == "failed"
    assert entry.status is None
    assert hand.step(1).actions == ()


def test_the_dead_are_not_acted_upon_again():
    hand = started(row("dead", "silent"), settings=RULES)
    hand.walk(60 * SECOND)
    assert [entry.event for entry in hand.entries] == [Event.STARTED]


def test_an_outcome_after_the_restart_ends_the_action():
    hand = started(row("dead"), actions=[decided()], settings=RULES)
    hand.step(10 * SECOND)
    done = Outcome("40-restart", 1, "success", "nginx runs again")
    hand.step(10 * SECOND + MILLISECOND, outcomes=(done,))
    assert hand.entries[-1].outcome == "success"
    assert hand.snapshot().outbox == {"waiting": 0, "running": 0, "held": 0, "guarded": 0}


def test_a_second_restart_knows_what_the_first_one_knew():
    hand = started(row())
    hand.step(0, said(sequence=1), orders=(Join("web-2", {"zone": "a"}),))
    rows = {entry.node: entry.node_record for entry in hand.entries if entry.node_record}
    again = started(row(), *[rows["web-2"]])
    assert list(again.snapshot().names) == ["web-1", "web-2"]
    assert again.snapshot().labels == {1: {"zone": "a"}}


def test_a_node_recovers_though_the_clock_was_set_back_by_hours_while_the_monitor_was_away():
    """Seed 101296: it had come back two hours from now, and was to be steady after that."""
    hand = started(replace(row("recovering"), since_ns=START + 7200 * SECOND))
    assert hand.snapshot().since_ns.tolist() == [START]
    assert hand.beat(*range(1, 8)) == [("web-1", "alive", "steady")]
