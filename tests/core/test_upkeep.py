"""What people say of nodes: maintenance with an end, many nodes at once, alarms, silences."""
# waiver: maintenance, acknowledgements and silences act on one another

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.by_hand import LIFE, START, ByHand, changes, said

from beatward.core.entry import (
    Acknowledgement,
    ActionRecord,
    Event,
    Maintenance,
    NodeRecord,
    Recovered,
    Silence,
)
from beatward.core.instants import MINUTE, NEVER, SECOND
from beatward.core.membership import OVER_MAX
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import (
    Acknowledge,
    AddSilence,
    EndSilence,
    Forget,
    Join,
    Pause,
    Resume,
    Unacknowledge,
)
from beatward.core.orders import BULK_MAX
from beatward.core.outbox import Outcome
from beatward.core.policy import ActionRules, Rule
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Kind
from beatward.core.upkeep import SILENCES_MAX, covers

RULES = CoreSettings(
    rules=(Rule(("dead", "failing", "left", "paused", "suspect"), ("page", "restart")),),
    actions={
        "page": ActionRules("page", "webhook"),
        "restart": ActionRules("restart", "exec", revives=True),
    },
)


def ordered(hand, kind, *what, **terms):
    return hand.step(hand.now, orders=(kind(*what, **terms),))


def silenced(hand, called="s1", pattern="*", for_ns=MINUTE, **terms):
    return ordered(hand, AddSilence, called, for_ns, pattern, **terms)


def dead(settings=RULES, nodes=("web-1",)):
    """A node that has just been found dead, and its page and restart run."""
    hand = ByHand(settings, nodes=nodes)
    hand.beat(*range(10))
    hand.walk(12 * SECOND)
    assert hand.status() == "dead"
    return hand


def events(output):
    return [str(entry.event) for entry in output.entries]


# --- maintenance ---


def test_a_planned_end_is_kept_to_the_turn_and_gives_a_whole_grace():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Pause, ("web-1",), for_ns=MINUTE, by="ann", reason="kernel")
    (entry,) = (one for one in hand.entries if one.cause == "pause")
    assert entry.explanation == (
        "web-1 is paused for another 60 s: maintenance was announced by ann (kernel), silence does "
        "not count"
    )
    assert entry.detail["maintenance_left_ns"] == MINUTE
    assert entry.node_record.maintenance == Maintenance(
        START + 9 * SECOND + MINUTE, "ann", "kernel"
    )
    assert hand.walk(69 * SECOND - 1) == []
    assert hand.walk(69 * SECOND) == [("web-1", "new", "resume")]
    assert hand.entries[-1].explanation == (
        "web-1 is watched again: the planned end of its maintenance has come"
    )
    assert hand.entries[-1].node_record.maintenance is None
    assert hand.walk(79 * SECOND - 1) == []
    assert hand.walk(79 * SECOND) == [("web-1", "suspect", "overdue")]


def test_a_machine_that_sleeps_until_it_is_wanted_wakes_for_the_end():
    hand = ByHand()
    hand.beat(0)
    output = ordered(hand, Pause, ("web-1",), for_ns=MINUTE)
    assert output.wake_ns == START + MINUTE


def test_the_end_falls_into_a_pause_of_our_own_and_the_grace_begins_behind_it():
    hand = ByHand()
    hand.beat(*range(3))
    ordered(hand, Pause, ("web-1",), for_ns=MINUTE)
    assert changes(hand.step(5 * MINUTE)) == [("web-1", "new", "resume")]
    assert hand.walk(5 * MINUTE + 10 * SECOND - 1) == []


def test_who_ends_it_before_its_time_is_told():
    hand = ByHand()
    ordered(hand, Pause, ("web-1",), for_ns=MINUTE, by="ann")
    output = ordered(hand, Resume, ("web-1",), by="bob")
    (entry,) = output.entries
    assert entry.explanation == "web-1 is watched again: bob has ended its maintenance"
    assert entry.node_record.maintenance is None
    assert hand.walk(9 * SECOND) == []


def test_paused_again_the_new_end_counts_and_is_written_down():
    hand = ByHand()
    ordered(hand, Pause, ("web-1",), for_ns=MINUTE)
    (entry,) = ordered(hand, Pause, ("web-1",), for_ns=2 * MINUTE, by="ann").entries
    assert (entry.event, entry.status) == (Event.MAINTENANCE, "paused")
    assert entry.explanation == "web-1 stays paused for another 2 min by ann"
    assert entry.node_record.maintenance.until_ns == START + 2 * MINUTE
    (entry,) = ordered(hand, Pause, ("web-1",)).entries
    assert entry.explanation == "web-1 stays paused until an operator ends it"
    assert hand.walk(3 * MINUTE) == []


def test_a_paused_node_is_heard_all_the_while():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Pause, ("web-1",), for_ns=MINUTE)
    learnt = int(hand.snapshot().state.detector.learnt_count[0])
    hand.beat(*range(10, 20))
    assert int(hand.snapshot().state.detector.learnt_count[0]) == learnt + 10


def test_a_paused_node_is_not_repaired_even_where_the_repair_was_under_way():
    hand = dead()
    running = {action.name: action for action in hand.step(hand.now, journaled=99).actions}
    assert running.keys() == {"page", "restart"}
    ordered(hand, Pause, ("web-1",), for_ns=MINUTE)
    failed = Outcome(running["restart"].key, 1, "temporary", "no route")
    output = hand.step(hand.now, outcomes=(failed,), journaled=999)
    assert [entry.outcome for entry in output.entries] == ["retry", "withdrawn"]
    assert output.entries[1].explanation == (
        "restart for web-1: withdrawn: web-1 is paused without it"
    )
    hand.walk(50 * SECOND, journaled=999)
    assert not hand.snapshot().outbox["waiting"]


def test_a_rule_about_maintenance_is_followed():
    hand = ByHand(RULES)
    hand.beat(*range(3))
    ordered(hand, Pause, ("web-1",))
    assert [entry.action for entry in hand.entries if entry.event == Event.ACTION] == [
        "page",
        "restart",
    ]


# --- many at once ---


def many(count):
    names = tuple(f"n{number}" for number in range(count))
    return names, ByHand(nodes=names)


def test_many_are_paused_by_and_by_in_the_order_they_were_named():
    names, hand = many(2 * BULK_MAX + 1)
    found = changes(ordered(hand, Pause, names=names, for_ns=MINUTE))
    assert [name for name, _, _ in found] == list(names[:BULK_MAX])
    assert hand.step(0).wake_ns == 0  # there is more
    found = changes(hand.step(0))
    assert [name for name, _, _ in found] == [names[-1]]
    ends = {one.until_ns for one in hand.snapshot().state.upkeep.maintenance.values()}
    assert ends == {START + MINUTE}


def test_their_ends_come_by_and_by_too_and_hold_up_nobody_whose_silence_counts():
    names, hand = many(OVER_MAX + 50)
    hand.step(0, said("n0"), said("n1"))
    ordered(hand, Pause, names=names[2:], for_ns=SECOND)
    hand.step(0)
    hand.step(1)
    assert len(changes(hand.step(SECOND))) == OVER_MAX
    assert len(changes(hand.step(SECOND))) == 48
    assert ("n0", "suspect", "overdue") in hand.walk(3 * SECOND)


def test_a_resumption_waits_for_the_pause_that_was_ordered_before_it():
    names, hand = many(BULK_MAX + 10)
    pause, resume = Pause(names=names), Resume((names[-1],))
    hand.step(0, orders=(pause, resume))
    for _ in range(3):
        hand.step(0)
    assert hand.status(names[-1]) == "new"
    assert hand.status(names[-2]) == "paused"


def test_names_said_twice_or_unknown_do_no_harm():
    hand = ByHand(nodes=("web-1", "web-2"))
    found = changes(ordered(hand, Pause, names=("web-2", "web-9", "web-2", "web-1", "")))
    assert sorted(found) == [("web-1", "paused", "pause"), ("web-2", "paused", "pause")]
    assert len(changes(ordered(hand, Resume, names=("web-2", "web-2", "web-9")))) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("pause", "resume", "beat", "wait")),
            st.lists(st.integers(0, 3), min_size=1, max_size=4),
            st.integers(0, 40),
        ),
        max_size=25,
    )
)
def test_whatever_is_ordered_a_node_is_paused_as_a_plain_model_says(story):
    """A dumb model: a node is paused from its order until the resumption or the end."""
    names = tuple(f"n{number}" for number in range(4))
    hand, until = ByHand(nodes=names), dict.fromkeys(names, -1)
    for word, numbers, seconds in story:
        meant = tuple(names[number] for number in numbers)
        # No longer than a turn may take, or it would be a pause of the monitor's own.
        hand.walk(hand.now + SECOND // 10)
        if word == "pause":
            for_ns = seconds * SECOND // 4 or NEVER
            ordered(hand, Pause, names=meant, for_ns=for_ns)
            until.update(dict.fromkeys(meant, NEVER if for_ns == NEVER else hand.now + for_ns))
        elif word == "resume":
            ordered(hand, Resume, names=meant)
            until.update(dict.fromkeys(meant, -1))
        elif word == "beat":
            hand.step(hand.now, *(said(name, sequence=hand.now // SECOND) for name in set(meant)))
        else:
            hand.walk(hand.now + seconds * SECOND // 4)
        snapshot = hand.snapshot()
        paused = {name for name in names if hand.status(name) == "paused"}
        assert paused == {name for name in names if until[name] > hand.now}
        slots = {snapshot.find(name) for name in paused}
        assert slots == snapshot.state.upkeep.maintenance.keys()
    told = {}
    for entry in hand.entries:
        if entry.event == Event.TRANSITION:
            # Silence is never held against who is paused.
            assert told.get(entry.node) != "paused" or entry.cause == "resume"
            told[entry.node] = entry.status


# --- alarms ---


def test_an_acknowledged_alarm_is_kept_with_who_and_why_until_the_node_is_well():
    hand = dead()
    (entry,) = ordered(hand, Acknowledge, "web-1", by="ann", note="disk").entries
    assert (entry.event, entry.status) == (Event.ACKNOWLEDGED, "dead")
    known = Acknowledgement(START + hand.now, "dead", "ann", "disk")
    assert entry.node_record.acknowledgement == known
    words, numbers = hand.snapshot().explain(0)
    assert words.endswith("; acknowledged 0 s ago by ann (disk)")
    assert (numbers["acknowledged_by"], numbers["acknowledged_note"]) == ("ann", "disk")
    hand.come_back(13 * SECOND, sequence=13)
    (back,) = [entry for entry in hand.entries if entry.status == "recovering" and entry.cause]
    assert back.node_record.acknowledgement == known
    hand.beat(14, 15, 16)
    assert hand.status() == "alive"
    assert hand.entries[-1].node_record.acknowledgement is None
    assert hand.snapshot().state.upkeep.acknowledged == {}


@pytest.mark.parametrize("status", ["new", "alive", "paused", "left"])
def test_what_is_no_alarm_cannot_be_acknowledged(status):
    hand = ByHand()
    if status != "new":
        hand.beat(*range(3))
    if status == "paused":
        ordered(hand, Pause, ("web-1",))
    if status == "left":
        hand.step(hand.now, said(kind=Kind.GOODBYE, sequence=3))
    assert hand.status() == status
    assert ordered(hand, Acknowledge, "web-1").entries == ()


@pytest.mark.parametrize("order", [Pause(("web-1",)), Forget("web-1")])
def test_an_acknowledgement_ends_with_what_ends_the_alarm(order):
    hand = dead()
    ordered(hand, Acknowledge, "web-1")
    hand.step(hand.now, orders=(order,))
    assert hand.snapshot().state.upkeep.acknowledged == {}


def test_of_an_alarm_that_is_known_nobody_is_told_again_but_it_is_repaired():
    hand = dead()
    hand.step(hand.now, journaled=99)
    ordered(hand, Acknowledge, "web-1", by="ann")
    hand.come_back(13 * SECOND, sequence=13)
    before = len(hand.entries)
    hand.walk(20 * SECOND)
    actions = [entry for entry in hand.entries[before:] if entry.event == Event.ACTION]
    assert [(entry.action, entry.status, entry.outcome) for entry in actions] == [
        ("page", "suspect", "acknowledged"),
        ("restart", "suspect", None),
        ("page", "dead", "acknowledged"),
        ("restart", "dead", None),
    ]
    assert actions[0].action_record is None
    assert actions[0].explanation == (
        "page for web-1, because it is suspect: no notification, because the alarm was "
        "acknowledged by ann"
    )


def test_taken_back_people_are_told_again():
    hand = dead()
    ordered(hand, Acknowledge, "web-1")
    (entry,) = ordered(hand, Unacknowledge, "web-1", by="ann").entries
    assert entry.event == Event.UNACKNOWLEDGED
    assert entry.node_record.acknowledgement is None
    assert ordered(hand, Unacknowledge, "web-1").entries == ()


# --- silences ---


@pytest.mark.parametrize(
    ("pattern", "wanted", "labels", "expected"),
    [
        ("*", {}, {}, True),
        ("web-*", {}, {}, True),
        ("web-1", {}, {"zone": "b"}, True),
        ("web-2", {}, {}, False),
        ("Web-1", {}, {}, False),
        ("*", {"zone": "a"}, {"zone": "a", "rack": "7"}, True),
        ("*", {"zone": "a"}, {"zone": "b"}, False),
        ("*", {"zone": "a"}, {}, False),
        ("*", {"zone": "a", "rack": "7"}, {"zone": "a"}, False),
        ("db-*", {"zone": "a"}, {"zone": "a"}, False),
    ],
)
def test_a_silence_is_about_who_fits_all_of_it(pattern, wanted, labels, expected):
    assert covers(Silence("s", 0, 1, pattern, wanted), "web-1", labels) is expected


def test_a_silence_by_label_is_about_those_too_who_join_later():
    hand = ByHand(RULES, nodes=())
    silenced(hand, labels={"zone": "a"}, for_ns=NEVER - START)
    ordered(hand, Join, "web-1", labels={"zone": "a"})
    ordered(hand, Join, "web-2", labels={"zone": "b"})
    hand.walk(12 * SECOND)
    decided = [one for one in hand.entries if one.event == Event.ACTION]
    pages = {(one.node, one.outcome) for one in decided if one.action == "page"}
    assert pages == {("web-1", "silenced"), ("web-2", None)}


@pytest.mark.parametrize(
    ("actions", "held"), [(False, {"page"}), (True, {"page", "restart"})], ids=["", "actions"]
)
def test_repairs_are_held_only_where_that_was_asked_for(actions, held):
    hand = ByHand(RULES)
    hand.beat(*range(10))
    silenced(hand, actions=actions)
    hand.walk(12 * SECOND)
    told = [one for one in hand.entries if one.event == Event.ACTION and one.status == "dead"]
    assert {one.action for one in told if one.outcome == "silenced"} == held
    ran = {action.name for action in hand.step(hand.now, journaled=999).actions}
    assert ran == {"page", "restart"} - held
    assert hand.snapshot().outbox["held"] == len(held)


def test_what_is_still_so_when_a_silence_ends_is_told_once():
    hand = ByHand(RULES)
    hand.beat(*range(10))
    silenced(hand, for_ns=10 * SECOND)
    hand.walk(12 * SECOND)
    (key,) = [
        one.action_record.key
        for one in hand.entries
        if one.status == "dead" and one.outcome == "silenced"
    ]
    found = []
    while hand.now < 40 * SECOND:
        output = hand.step(hand.now + SECOND // 10, journaled=9999)
        found += [action for action in output.actions if action.name == "page"]
    assert [(action.key, action.attempt) for action in found] == [(key, 1)]
    assert found[0].event["status"] == "dead"


def test_what_is_not_so_any_more_is_told_to_nobody():
    hand = ByHand(RULES)
    hand.beat(*range(10))
    silenced(hand)
    hand.walk(12 * SECOND)
    hand.come_back(13 * SECOND, sequence=13)
    last = [one for one in hand.entries if one.event == Event.OUTCOME and one.action == "page"]
    assert last[-1].explanation == "page for web-1: withdrawn: web-1 is recovering by now"
    assert hand.snapshot().outbox["held"] == 0


def test_acknowledging_takes_back_what_a_silence_holds_but_no_repair():
    hand = ByHand(RULES)
    hand.beat(*range(10))
    silenced(hand, actions=True)
    hand.walk(12 * SECOND)
    output = ordered(hand, Acknowledge, "web-1")
    assert [(one.action, one.outcome) for one in output.entries[1:]] == [("page", "withdrawn")]
    assert hand.snapshot().outbox["held"] == 1


def test_forgetting_a_node_takes_back_what_is_held_of_it():
    hand = ByHand(RULES)
    hand.beat(*range(10))
    silenced(hand, actions=True)
    hand.walk(12 * SECOND)
    ordered(hand, Forget, "web-1")
    assert not any(hand.snapshot().outbox.values())


def test_a_silence_has_one_beginning_and_one_end():
    hand = ByHand()
    (entry,) = silenced(hand, by="ann", reason="switch").entries
    assert entry.event == Event.SILENCED
    assert entry.silence == Silence("s1", START, START + MINUTE, "*", {}, False, "ann", "switch")
    assert entry.explanation == (
        "silence s1: notifications about everything are held for 60 s by ann (switch)"
    )
    assert silenced(hand).entries == ()
    (entry,) = ordered(hand, EndSilence, id="s1", by="bob").entries
    assert (entry.event, entry.silence.id) == (Event.UNSILENCED, "s1")
    assert entry.explanation == "silence s1 about everything was ended by bob"
    assert ordered(hand, EndSilence, id="s1").entries == ()


def test_there_is_a_limit_to_silences():
    hand = ByHand()
    for number in range(SILENCES_MAX + 3):
        silenced(hand, f"s{number}")
    assert len(hand.snapshot().state.upkeep.silences) == SILENCES_MAX


# --- restarts ---


def row(status, **said_of_it):
    return NodeRecord(
        "web-1", node_id("web-1"), status, "silent", -5, LIFE, SECOND, via="udp", **said_of_it
    )


def test_a_restart_knows_until_when_and_ends_at_once_what_is_over():
    for until_ns, end in ((30 * SECOND, 30 * SECOND), (-SECOND, 0)):
        paused = row("paused", maintenance=Maintenance(START + until_ns, "ann", "kernel"))
        hand = ByHand(nodes=(), recovered=Recovered(7, (paused,)))
        found = changes(hand.first) + hand.walk(end)
        assert found == [("web-1", "new", "resume")]
        assert hand.walk(end + 10 * SECOND - 1) == []
        assert hand.walk(end + 10 * SECOND) == [("web-1", "suspect", "overdue")]


def test_a_node_paused_by_a_program_that_knew_no_end_stays_paused():
    hand = ByHand(nodes=(), recovered=Recovered(7, (row("paused"),)))
    assert hand.walk(MINUTE) == []
    assert changes(ordered(hand, Resume, ("web-1",), by="ann")) == [("web-1", "new", "resume")]


def test_a_restart_knows_who_knows_and_what_is_silent():
    known = Acknowledgement(START - MINUTE, "dead", "ann")
    silence = Silence("s1", START - MINUTE, START + MINUTE)
    recovered = Recovered(7, (row("dead", acknowledgement=known),), (), (silence,))
    hand = ByHand(RULES, nodes=(), recovered=recovered)
    assert (
        hand.snapshot()
        .explain(0)[0]
        .endswith(
            "acknowledged 60 s ago by ann; notifications are held for another 60 s by silence s1"
        )
    )
    hand.walk(MINUTE - 1)
    assert events(hand.step(MINUTE)) == ["unsilenced"]


def test_a_restart_holds_what_was_held_and_tells_it_at_the_end():
    silence = Silence("s1", START - MINUTE, START + MINUTE)
    record = ActionRecord("40-page", "page", "webhook", "web-1", "decided", 0, {"status": "dead"})
    tried = replace(record, key="41-page", attempt=1)
    hand = ByHand(
        RULES, nodes=(), recovered=Recovered(7, (row("dead"),), (record, tried), (silence,))
    )
    assert [action.key for action in hand.first.actions] == ["41-page"]
    found = []
    while hand.now < 2 * MINUTE:
        output = hand.step(hand.now + SECOND // 10, journaled=9999)
        found += [(hand.now, action.key) for action in output.actions]
    assert len(found) == 1
    assert found[0][1] == "40-page"
    assert MINUTE <= found[0][0] <= MINUTE + SECOND


def test_a_restart_takes_back_repairs_of_who_needs_none():
    # The pause reached the disk, and what it led to did not.
    record = ActionRecord("40-restart", "restart", "exec", "web-1", "decided", 0)
    hand = ByHand(RULES, nodes=(), recovered=Recovered(7, (row("paused"),), (record,)))
    assert hand.entries == list(hand.first.entries)
    assert [entry.outcome for entry in hand.entries] == [None, "withdrawn"]
    assert hand.snapshot().outbox["waiting"] == 0
