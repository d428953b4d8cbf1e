"""What every engine promises; `memory` and `sqlite` pass the same lines."""

from dataclasses import replace

import pytest

from beatward.core.entry import (
    Acknowledgement,
    ActionRecord,
    Declaration,
    Entry,
    Event,
    JobPlan,
    JobRecord,
    Maintenance,
    NodeRecord,
    Recovered,
    ServiceRecord,
    Silence,
)
from beatward.core.instants import NEVER

BACKUP = JobRecord(
    JobPlan("0 3 * * *", "Europe/Berlin", grace_ns=7, run_ns=8),
    due_ns=1000,
    started_ns=900,
    ended_ns=800,
    ran_ns=20,
    succeeded_ns=700,
    has_failed=True,
    exit_code=-9,
    overran=True,
    excused_ns=600,
    zone_ns=3600,
    zone="CEST",
)
OFFERS = (
    Declaration("web", address="192.0.2.1", port=80, weight=50, labels={"rôle": "主"}),
    Declaration("db", "failover", priority=200, zone="a", version="15.4"),
)
DB = ServiceRecord(
    "db",
    token=2**54 - 1,
    holder="db-1",
    phase="demoting",
    since_ns=500,
    term_ns=3_101_200_000,
    reason="db-1 is silent",
    paused=Maintenance(900, "ann", "said \udcff"),
    former="db-2",
    seen=7,
    doubt="",
    stuck=True,
    target="",
)
WEB_1 = NodeRecord("web-1", 11, "alive", "heartbeat", since_ns=500)


def transition(sequence, record):
    return Entry(
        sequence,
        Event.TRANSITION,
        1000,
        node=record.name,
        status=record.status,
        node_record=record,
    )


def forgotten(sequence, name):
    return Entry(sequence, Event.FORGOTTEN, 1000, node=name)


def action(sequence, key, state, attempt=0):
    record = ActionRecord(key, "page", "webhook", "web-1", state, attempt, {"status": "dead"})
    return Entry(sequence, Event.ACTION, 1000, node="web-1", action="page", action_record=record)


def node(name, status="alive", since_ns=500):
    return NodeRecord(name, 11, status, "heartbeat", since_ns)


def names(store):
    return [record.name for record in store.load(wall_offset_ns=0).nodes]


def decided(store):
    return [(record.key, record.attempt) for record in store.load(wall_offset_ns=0).actions]


def test_a_new_store_knows_nothing(engine):
    assert engine.load(wall_offset_ns=5) == Recovered(0, (), ())


def test_what_was_written_is_read_back_whole(engine):
    record = NodeRecord(
        name="db-1.example@rack:7",
        node=2**64 - 1,
        status="suspect",
        cause="silence",
        since_ns=123,
        incarnation=2**63 - 1,
        interval_ns=(2**32 - 1) * 1_000_000,
        address=bytes(range(28)),
        via="udp",
        labels={"zone": "Zürich", "rôle": "主"},
    )
    deed = ActionRecord("4711-page", "page", "exec", "db-1", "decided", 3, {"a": [1, None, "ü"]})
    both = Entry(7, Event.TRANSITION, 1000, node=record.name, node_record=record)
    engine.append([both, Entry(8, Event.ACTION, 1000, action_record=deed)], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0) == Recovered(8, (record,), (deed,))


def test_an_entry_may_change_a_node_and_an_action_at_once(engine):
    deed = ActionRecord("1-page", "page", "webhook", "web-1", "decided", 0)
    entry = Entry(1, Event.ACTION, 1000, node_record=WEB_1, action_record=deed)
    engine.append([entry], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0) == Recovered(1, (WEB_1,), (deed,))


def test_instants_come_back_on_the_clock_of_the_one_who_asks(engine):
    # Since 500 on a clock that began at wall 10,000; a reboot later the clock began at 12,000.
    engine.append([transition(1, WEB_1)], wall_offset_ns=10_000)
    (record,) = engine.load(wall_offset_ns=12_000).nodes
    assert record.since_ns == -1_500


def test_nodes_come_by_name_and_with_their_last_row(engine):
    engine.append([transition(1, node("b")), transition(2, node("c"))], wall_offset_ns=0)
    last = node("c", "dead", since_ns=900)
    engine.append([transition(3, node("a")), transition(4, last)], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).nodes == (node("a"), node("b"), last)


def test_a_forgotten_node_is_gone(engine):
    engine.append([transition(1, node("a")), transition(2, node("b"))], wall_offset_ns=0)
    engine.append([forgotten(3, "a")], wall_offset_ns=0)
    assert names(engine) == ["b"]
    assert engine.load(wall_offset_ns=0).sequence == 3


def test_a_node_is_forgotten_even_by_an_entry_that_carries_its_last_row(engine):
    engine.append([transition(1, node("a"))], wall_offset_ns=0)
    last = Entry(2, Event.FORGOTTEN, 1000, node="a", node_record=node("a", "left"))
    engine.append([last], wall_offset_ns=0)
    assert names(engine) == []


def test_forgetting_whom_nobody_knows_does_nothing(engine):
    engine.append([forgotten(1, "a")], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0) == Recovered(1)


@pytest.mark.parametrize("batches", [1, 2])
def test_a_node_may_come_back_after_it_was_forgotten(engine, batches):
    entries = [transition(1, node("a")), forgotten(2, "a"), transition(3, node("a", "new"))]
    for batch in [entries] if batches == 1 else [entries[:2], entries[2:]]:
        engine.append(batch, wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).nodes == (node("a", "new"),)


def test_joined_and_forgotten_in_one_batch_is_forgotten(engine):
    engine.append([transition(1, node("a")), forgotten(2, "a")], wall_offset_ns=0)
    assert names(engine) == []


def test_only_actions_without_a_final_outcome_are_taken_up_again(engine):
    engine.append([action(1, "k1", "decided"), action(2, "k2", "decided")], wall_offset_ns=0)
    engine.append([action(3, "k3", "decided"), action(4, "k4", "decided")], wall_offset_ns=0)
    engine.append([action(5, "k2", "done", 1), action(6, "k3", "failed", 9)], wall_offset_ns=0)
    engine.append([action(7, "k4", "withdrawn", 1)], wall_offset_ns=0)
    assert decided(engine) == [("k1", 0)]


def test_actions_come_in_the_order_of_their_last_change(engine):
    engine.append([action(1, "k1", "decided"), action(2, "k2", "decided")], wall_offset_ns=0)
    engine.append([action(3, "k1", "decided", 1)], wall_offset_ns=0)
    assert decided(engine) == [("k2", 0), ("k1", 1)]
    engine.append([action(4, "k2", "decided", 1), action(5, "k2", "decided", 2)], wall_offset_ns=0)
    assert decided(engine) == [("k1", 1), ("k2", 2)]


def test_a_batch_may_be_given_again(engine):
    batch = [transition(1, node("a")), action(2, "k", "decided")]
    engine.append(batch, wall_offset_ns=0)
    once = engine.load(wall_offset_ns=0)
    engine.append(batch, wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0) == once


def test_entries_already_there_are_skipped_with_their_rows(engine):
    engine.append([transition(1, node("a")), transition(2, node("b"))], wall_offset_ns=0)
    again = [transition(1, node("a", "dead")), transition(2, node("b")), transition(3, node("c"))]
    engine.append(again, wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0) == Recovered(3, (node("a"), node("b"), node("c")))


def test_a_gap_in_the_numbers_is_kept(engine):
    engine.append([transition(3, node("a")), transition(9, node("b"))], wall_offset_ns=0)
    engine.append([transition(12, node("c"))], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).sequence == 12
    assert names(engine) == ["a", "b", "c"]


def test_an_empty_batch_changes_nothing(engine):
    engine.append([], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0) == Recovered()


def test_what_cannot_be_written_as_it_is_does_not_stop_the_journal(engine):
    record = NodeRecord("a", 1, "dead", "exit", 1, labels={"bad": "\udcff"})
    odd = Entry(
        1,
        Event.TRANSITION,
        1000,
        explanation="said \udcff",
        detail={"nan": float("nan"), "bad": "\udcff", "set": {1}, "what": object()},
        node_record=record,
    )
    engine.append([odd, transition(2, node("b"))], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).sequence == 2
    assert names(engine) == ["a", "b"]


SILENCE = Silence("s1", 100, 900, "web-*", {"zone": "ü"}, actions=True, by="ann", reason="why")


def silenced(sequence, silence=SILENCE):
    return Entry(sequence, Event.SILENCED, 1000, silence=silence)


def unsilenced(sequence, silence=SILENCE):
    return Entry(sequence, Event.UNSILENCED, 1000, silence=silence)


@pytest.mark.parametrize(
    "said",
    [
        {"maintenance": Maintenance(900, "ann", "kernel")},
        {"maintenance": Maintenance()},
        {"acknowledgement": Acknowledgement(700, "dead", "ann", "disk")},
        {"job": BACKUP},
        {"job": JobRecord(JobPlan(period_ns=5))},
        {"services": OFFERS},
    ],
    ids=["planned", "open", "acknowledged", "ran", "declared", "offered"],
)
def test_what_was_said_of_a_node_comes_back_with_it(engine, said):
    record = NodeRecord("web-1", 11, "paused", "pause", 500, **said)
    engine.append([transition(1, record), transition(2, node("a"))], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).nodes == (node("a"), record)
    engine.append([transition(3, node("web-1"))], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).nodes == (node("a"), node("web-1"))


def test_what_was_said_comes_back_on_the_clock_of_the_one_who_asks(engine):
    record = NodeRecord(
        "web-1",
        11,
        "paused",
        "pause",
        500,
        maintenance=Maintenance(900),
        acknowledgement=Acknowledgement(700, "dead"),
        job=BACKUP,
    )
    forever = NodeRecord("web-2", 12, "paused", "pause", 500, maintenance=Maintenance())
    batch = [transition(1, record), transition(2, forever), silenced(3)]
    engine.append(batch, wall_offset_ns=10_000)
    recovered = engine.load(wall_offset_ns=12_000)
    first, second = recovered.nodes
    assert first.maintenance.until_ns == -1100
    assert first.acknowledgement.at_ns == -1300
    assert first.job == BACKUP.moved(-2000)
    assert (first.job.due_ns, first.job.started_ns, first.job.zone_ns) == (-1000, -1100, 3600)
    assert second.maintenance.until_ns == NEVER
    (silence,) = recovered.silences
    assert (silence.at_ns, silence.until_ns) == (-1900, -1100)


@pytest.mark.parametrize("batches", [1, 2])
def test_a_silence_stays_until_it_has_ended(engine, batches):
    other = Silence("s0", 1, NEVER)
    entries = [silenced(1), silenced(2, other), unsilenced(3)]
    for batch in [entries] if batches == 1 else [entries[:2], entries[2:]]:
        engine.append(batch, wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).silences == (other,)
    engine.append([silenced(4)], wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).silences == (other, SILENCE)


def test_words_that_are_no_text_do_not_stop_the_journal(engine):
    engine.append([silenced(1, Silence("s1", 1, 2, reason="said \udcff"))], wall_offset_ns=0)
    assert [one.id for one in engine.load(wall_offset_ns=0).silences] == ["s1"]


def role(sequence, record):
    return Entry(sequence, Event.ROLE, 1000, service_record=record)


def test_a_role_comes_back_as_it_was_left(engine):
    plain = ServiceRecord("a")
    engine.append([role(1, DB), role(2, plain)], wall_offset_ns=10_000)
    first, second = engine.load(wall_offset_ns=12_000).services
    assert (first.name, second.name) == ("a", "db")
    assert second.since_ns == -1500
    assert second.paused.until_ns == -1100
    assert (second.paused.by, second.paused.reason[:5]) == ("ann", "said ")
    back = second.moved(2000)
    assert replace(back, paused=None) == replace(DB, paused=None)


@pytest.mark.parametrize("batches", [1, 2])
def test_the_last_word_on_a_role_counts_and_is_never_forgotten(engine, batches):
    last = ServiceRecord("db", token=6, holder="db-2", phase="held")
    entries = [role(1, ServiceRecord("db", token=5)), role(2, last), forgotten(3, "db-2")]
    for batch in [entries] if batches == 1 else [entries[:1], entries[1:]]:
        engine.append(batch, wall_offset_ns=0)
    assert engine.load(wall_offset_ns=0).services == (last,)


def test_declarations_that_are_no_text_do_not_stop_the_journal(engine):
    odd = (Declaration("db", version="\udcff", labels={"\udcff": "\udcff"}),)
    record = NodeRecord("web-1", 11, "alive", "heard", 500, services=odd)
    engine.append([transition(1, record)], wall_offset_ns=0)
    (found,) = engine.load(wall_offset_ns=0).nodes
    assert [one.name for one in found.services] == ["db"]


def test_closing_twice_does_nothing(engine):
    engine.close()
    engine.close()


def test_engines_agree_on_a_long_story(engine, entry_for):
    # A dumb model: the last word on each, entry by entry.
    nodes, actions = {}, {}
    for start in range(1, 3001, 37):
        batch = [entry_for(sequence) for sequence in range(start, min(start + 37, 3001))]
        engine.append(batch, wall_offset_ns=0)
    for sequence in range(1, 3001):
        entry = entry_for(sequence)
        if entry.node_record:
            nodes[entry.node_record.name] = entry.node_record
        if entry.event == Event.FORGOTTEN:
            nodes.pop(entry.node, None)
        if entry.action_record:
            actions[entry.action_record.key] = (sequence, entry.action_record)
    undone = sorted(found for found in actions.values() if found[1].state == "decided")
    recovered = engine.load(wall_offset_ns=0)
    assert recovered.sequence == 3000
    assert recovered.nodes == tuple(nodes[name] for name in sorted(nodes))
    assert recovered.actions == tuple(record for _, record in undone)
    assert len(recovered.actions) > 3
