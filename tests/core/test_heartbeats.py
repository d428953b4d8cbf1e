"""Heartbeats in batches: news and no news, gauges, acknowledgements, ill and well."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.core.by_hand import (
    LIFE,
    PEER,
    SESSION,
    START,
    ByHand,
    changes,
    datagrams,
    heard,
    key_of,
    said,
)

from beatward.core.hearing import LARGE_ROUND, LARGE_ROUNDS_MAX, ROUNDS_MAX
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import NO_GAUGE, Flag, Health, Kind, open_record


def registry(hand):
    return hand.snapshot().state.registry


def state(hand):
    """Everything that is held to be true, as bytes."""
    held = hand.snapshot().state
    return [
        (name, value.tobytes())
        for room in (held.registry, held.membership, held.detector)
        for name, value in sorted(vars(room).items())
        if isinstance(value, np.ndarray)
    ]


# --- what is noted ---


def test_what_a_node_says_of_itself_is_noted():
    hand = ByHand()
    hand.step(7, said(sequence=3, cpu=1250, memory=4310, load=42, interval_ms=2500))
    noted = registry(hand)
    assert (noted.cpu[0], noted.memory[0], noted.load[0]) == (1250, 4310, 42)
    assert noted.interval_ms[0] == 2_500
    assert noted.sequence[0] == 3
    assert noted.heard_ns[0] == START + 7
    assert noted.via[0] == Via.UDP
    assert hand.peer() == PEER
    hand.step(8, said(sequence=4))
    assert registry(hand).cpu[0] == NO_GAUGE


def test_a_node_that_moved_is_answered_where_it_is_now():
    hand = ByHand()
    hand.step(0, said())
    elsewhere = bytes([7] * 28)
    hand.step(1, batches=(datagrams([said(sequence=1)], START + 1, peer=elsewhere),))
    assert hand.peer() == elsewhere


def test_over_http_there_is_no_address_to_answer_to():
    hand = ByHand()
    hand.step(0, said())
    output = hand.step(1, said(sequence=1, flags=Flag.ACKNOWLEDGE), via=Via.HTTP)
    assert len(output.replies.rows) == 0
    assert not any(hand.peer())
    assert registry(hand).via[0] == Via.HTTP


# --- acknowledgements ---


def test_who_asks_is_acknowledged_and_who_does_not_is_not():
    hand = ByHand(nodes=("web-1", "web-2"))
    output = hand.step(
        0, said(sequence=3, flags=Flag.ACKNOWLEDGE), said("web-2", sequence=4, flags=Flag.MAIL)
    )
    (answer,) = heard(output)
    assert (answer.kind, answer.incarnation, answer.sequence, answer.slot, answer.echo) == (
        Kind.ACKNOWLEDGEMENT,
        LIFE,
        3,
        0,
        SESSION,
    )
    assert answer.interval_ms == 1000
    assert output.replies.rows.shape == (1, 64)


def test_a_replay_that_asks_is_not_acknowledged():
    hand = ByHand()
    row = said(sequence=3, flags=Flag.ACKNOWLEDGE)
    hand.step(0, row)
    assert len(hand.step(1, row).replies.rows) == 0


# --- is it news ---


@pytest.mark.parametrize("sequence", [0, 4, 5])
def test_a_heartbeat_that_is_no_news_changes_nothing(sequence):
    hand = ByHand()
    hand.step(0, said(sequence=5))
    before = state(hand)
    hand.step(1, said(sequence=sequence, cpu=1, interval_ms=60_000, status=Health.ILL))
    assert state(hand) == before
    assert hand.rejected() == {"replay": 1}


def test_heartbeats_out_of_order_in_one_batch_count_from_the_highest_on():
    hand = ByHand()
    hand.step(0, *(said(sequence=sequence) for sequence in (3, 1, 2, 5, 4, 5)))
    assert hand.snapshot().counters["accepted"] == 2
    assert hand.rejected() == {"replay": 4}
    assert registry(hand).sequence[0] == 5


@pytest.mark.parametrize("count", [ROUNDS_MAX, ROUNDS_MAX + 1, 1024])
def test_of_many_heartbeats_of_one_node_in_one_batch_the_newest_is_always_taken(count):
    hand = ByHand()
    hand.step(0, *(said(sequence=sequence, cpu=sequence) for sequence in range(count)))
    taken = min(count, ROUNDS_MAX + 1)
    assert hand.snapshot().counters["accepted"] == taken
    assert hand.rejected() == ({"replay": count - taken} if count > taken else {})
    assert registry(hand).sequence[0] == count - 1
    assert registry(hand).cpu[0] == count - 1


@pytest.mark.parametrize("count", [8, LARGE_ROUNDS_MAX + 2])
def test_of_a_large_fleet_eight_heartbeats_of_each_node_in_one_batch_are_all_taken(count):
    names = tuple(f"web-{number}" for number in range(LARGE_ROUND))
    hand = ByHand(nodes=names)
    hand.step(0, *(said(name, sequence=sequence) for sequence in range(count) for name in names))
    taken = min(count, LARGE_ROUNDS_MAX + 1) * len(names)
    assert hand.snapshot().counters["accepted"] == taken
    assert sum(hand.rejected().values()) == count * len(names) - taken
    assert set(registry(hand).sequence.tolist()) == {count - 1}


def test_1024_heartbeats_of_one_node_do_not_cost_another_its_own():
    hand = ByHand(nodes=("web-1", "web-2"))
    rows = [said(sequence=sequence) for sequence in range(1024)]
    rows.insert(700, said("web-2", sequence=9))
    rows.append(said("web-2", sequence=10))
    hand.step(0, *rows)
    assert registry(hand).sequence.tolist() == [1023, 10]
    assert hand.snapshot().status.tolist() == [1, 1]


def test_a_flush_of_a_hundred_late_heartbeats_leaves_the_newest_schedule():
    hand = ByHand()
    hand.beat(*range(10))
    hand.walk(109 * SECOND)
    hand.step(109 * SECOND, *(said(sequence=sequence) for sequence in range(10, 110)))
    hand.beat(110, 111)
    assert 112 * SECOND < hand.deadline() <= 114 * SECOND


BATCHES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["web-1", "web-2", "web-3"]), st.integers(0, 40)),
        max_size=8,
        unique=True,
    ),
    max_size=8,
)


@hypothesis_settings(max_examples=60)
@given(BATCHES)
def test_a_batch_is_the_same_as_its_heartbeats_one_by_one_while_they_are_in_order(batches):
    names = ("web-1", "web-2", "web-3")
    together, apart = ByHand(nodes=names), ByHand(nodes=names)
    for number, batch in enumerate(batches):
        at_ns = number * 200 * MILLISECOND
        rows = [said(name, sequence=sequence) for name, sequence in sorted(batch)][:ROUNDS_MAX]
        together.step(at_ns, *rows)
        apart.step(at_ns, batches=tuple(datagrams([row], START + at_ns) for row in rows))
    assert state(together) == state(apart)
    assert changes_of(together) == changes_of(apart)
    assert together.snapshot().rejects == apart.snapshot().rejects


def changes_of(hand):
    # Explanations may differ: they tell what is known at the end of the batch.
    return sorted(
        (entry.at_ns, str(entry.node), str(entry.status), str(entry.cause))
        for entry in hand.entries
    )


def test_the_same_inputs_give_the_same_outputs_bit_for_bit():
    def live():
        hand = ByHand(nodes=("web-1", "web-2"))
        outputs = [hand.first]
        for step in range(60):
            at_ns = step * 200 * MILLISECOND
            rows = [said("web-1", sequence=step // 5, flags=1)] if step < 30 else []
            outputs.append(hand.step(at_ns, *rows, said("web-2", sequence=step // 5, echo=step)))
        return [
            (output.entries, output.replies.rows.tobytes(), output.actions, output.wake_ns)
            for output in outputs
        ]

    assert live() == live()


def test_steps_of_the_wall_clock_change_nothing_but_what_is_shown():
    hour = 3_600 * SECOND
    steady, stepped = ByHand(), ByHand()
    for second in range(12):
        for hand, offset in ((steady, 0), (stepped, (-1) ** second * hour)):
            hand.walk(second * SECOND, wall_offset_ns=offset)
            rows = [said(sequence=second)] if second < 10 else []
            hand.step(second * SECOND, *rows, wall_offset_ns=offset)
    assert steady.entries == stepped.entries
    assert state(steady) == state(stepped)


# --- ill and well ---


def test_a_node_that_says_it_is_ill_is_failing_until_it_says_it_is_well():
    hand = ByHand()
    hand.beat(0, 1)
    assert hand.beat(2, status=Health.ILL) == [("web-1", "failing", "ill")]
    assert hand.entries[-1].explanation == (
        "web-1 is failing: its heartbeats arrive and say that it is not well"
    )
    assert hand.beat(3, status=Health.ILL) == []
    assert hand.beat(4) == [("web-1", "alive", "well")]
    assert hand.entries[-1].explanation == "web-1 is alive: it says that it is well again"


def test_a_node_whose_first_word_is_that_it_is_ill_is_failing_at_once():
    hand = ByHand()
    output = hand.step(0, said(status=Health.ILL))
    assert changes(output) == [("web-1", "alive", "heard"), ("web-1", "failing", "ill")]
    told = [entry.explanation for entry in output.entries[1:]]
    assert told == [
        "web-1 is alive: heartbeat 0 arrived",
        "web-1 is failing: its heartbeats arrive and say that it is not well",
    ]
    assert [entry.node_record.status for entry in output.entries[1:]] == ["alive", "failing"]


def test_an_ill_node_that_falls_silent_is_suspected_and_ill_again_when_it_answers():
    hand = ByHand()
    hand.beat(*range(10), status=Health.ILL)
    assert hand.walk(10 * SECOND + 200 * MILLISECOND) == [("web-1", "suspect", "overdue")]
    challenge = int(hand.snapshot().state.membership.challenge[0])
    row = said(kind=Kind.PROBE_REPLY, sequence=10, echo=challenge, status=Health.ILL)
    assert changes(hand.step(hand.now, row)) == [
        ("web-1", "alive", "refuted"),
        ("web-1", "failing", "ill"),
    ]


def test_a_returning_node_may_be_ill_and_is_failing_once_it_is_steady():
    hand = ByHand()
    hand.beat(*range(10))
    hand.walk(13 * SECOND)
    hand.come_back(13 * SECOND, incarnation=LIFE + 1, sequence=13)
    fields = {"incarnation": LIFE + 1, "status": Health.ILL}
    assert hand.beat(14, 15, 16, **fields) == [
        ("web-1", "alive", "steady"),
        ("web-1", "failing", "ill"),
    ]


def test_what_was_asked_in_one_datagram_is_answered_in_one():
    names = ("web-1", "web-2", "web-3", "web-4")
    hand = ByHand(nodes=names)
    asking = [said(name, flags=Flag.ACKNOWLEDGE) for name in names]
    output = hand.step(SECOND, asking[0] + asking[1], asking[2], asking[3])
    nodes = [
        open_record(row.tobytes(), key_of(name)).node
        for row, name in zip(output.replies.rows, names, strict=True)
    ]
    assert nodes == [node_id(name) for name in names]
    assert output.replies.begins.tolist() == [True, False, True, True]
