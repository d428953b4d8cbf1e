"""A drain of datagrams, opened: every reason to refuse, and a batch is its rows one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.by_hand import MASTER, PEER, START, datagrams, key_of, said

from beatward.core.intake import Datagrams, Intake, Reject, Via
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import (
    BODY_SIZE,
    DATAGRAM_SIZE_MAX,
    INCARNATION_MAX,
    INTERVAL_MS_MAX,
    RECORD_SIZE,
    SEQUENCE_MAX,
    Kind,
    Record,
    seal,
    tag,
)
from beatward.core.registry import Registry

NAMES = ("web-1", "web-2")
GOOD = said()


def new_intake():
    registry = Registry(MASTER)
    for name in NAMES:
        registry.enrol(name, {})
    return Intake(registry)


def refused(intake):
    return {reason.name: int(intake.rejects[reason]) for reason in Reject if intake.rejects[reason]}


def opened(*rows, arrived_ns=START):
    """Open datagrams; return (slot, sequence) of what came through, and what was refused."""
    intake = new_intake()
    beats = intake.open([datagrams(list(rows), arrived_ns)])
    return list(
        zip(beats.slots.tolist(), beats.records["sequence"].tolist(), strict=True)
    ), refused(intake)


def forged(place, *values):
    """Change bytes of a good record and seal it again, as a faulty node would."""
    body = bytearray(GOOD[:BODY_SIZE])
    body[place : place + len(values)] = bytes(values)
    return bytes(body) + tag(key_of("web-1"), bytes(body))


def test_a_good_record_comes_through_as_it_was_said():
    intake = new_intake()
    beats = intake.open([datagrams([said("web-2", sequence=41, cpu=1250, slot=1)], START + 5)])
    assert beats.slots.tolist() == [1]
    assert beats.records["node"][0] == node_id("web-2")
    assert beats.records["sequence"][0] == 41
    assert beats.records["cpu"][0] == 1250
    assert beats.peers[0].tobytes() == PEER
    assert beats.arrived_ns.tolist() == [START + 5]
    assert beats.via == Via.UDP
    assert intake.records_count == 1
    assert refused(intake) == {}


@pytest.mark.parametrize("kind", Kind)
def test_what_only_a_monitor_says_is_not_taken_in_by_one(kind):
    came, why = opened(said(kind=kind))
    if kind in (Kind.ACKNOWLEDGEMENT, Kind.PROBE, Kind.GRANT):
        assert (came, why) == ([], {"KIND": 1})
    else:
        assert (came, why) == ([(0, 0)], {})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"", "LENGTH"),
        (GOOD[:-1], "LENGTH"),
        (GOOD + b"\0", "LENGTH"),
        (GOOD[:1], "LENGTH"),
        (b"x" * 1500, "LENGTH"),
        (GOOD * 23, "LENGTH"),
        (forged(0, ord("X")), "MAGIC"),
        (bytes(RECORD_SIZE), "MAGIC"),
        (forged(2, 0), "VERSION"),
        (forged(2, 2), "VERSION"),
        (forged(3, 0), "KIND"),
        (forged(3, 7), "KIND"),
        (forged(3, 8), "KIND"),
        (forged(3, 255), "KIND"),
        (forged(8, 0, 0, 0, 0), "RANGE"),  # an interval of nothing
        (forged(31, 0x80), "RANGE"),  # an incarnation of 2^63
        (forged(39, 0x40), "RANGE"),  # a sequence of 2^62
        (said("web-3"), "UNKNOWN_NODE"),
        (forged(16, *bytes(8)), "UNKNOWN_NODE"),  # identity 0, as a free slot has it
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "TAG"),
        (GOOD[:BODY_SIZE] + bytes(16), "TAG"),
    ],
)
def test_a_bad_record_is_counted_by_its_first_fault_and_nothing_of_it_is_believed(row, reason):
    came, why = opened(row)
    assert came == []
    assert why == {reason: 1}


def test_a_tag_under_another_nodes_key_is_refused():
    said_of_another = Record(
        Kind.HEARTBEAT, node_id("web-2"), incarnation=1, sequence=1, interval_ms=1
    )
    assert opened(seal(said_of_another, key_of("web-1"))) == ([], {"TAG": 1})


@given(st.integers(0, RECORD_SIZE * 8 - 1))
def test_no_changed_bit_comes_through(bit):
    row = bytearray(GOOD)
    row[bit // 8] ^= 1 << bit % 8
    came, why = opened(bytes(row))
    assert came == []
    assert sum(why.values()) == 1


def test_the_largest_numbers_are_let_through():
    largest = said(sequence=SEQUENCE_MAX, incarnation=INCARNATION_MAX, interval_ms=INTERVAL_MS_MAX)
    assert opened(largest) == ([(0, SEQUENCE_MAX)], {})


def test_a_datagram_may_hold_many_records():
    rows = [said(name, sequence=sequence) for sequence in range(11) for name in NAMES]
    assert len(b"".join(rows)) == DATAGRAM_SIZE_MAX
    came, why = opened(b"".join(rows))
    assert came == [(slot, sequence) for sequence in range(11) for slot in (0, 1)]
    assert why == {}


def test_one_bad_record_does_not_spoil_the_rest_of_its_datagram():
    came, why = opened(said(sequence=1) + forged(2, 9) + said("web-2", sequence=2))
    assert came == [(0, 1), (1, 2)]
    assert why == {"VERSION": 1}


def test_records_keep_the_peer_and_the_arrival_of_their_datagram():
    intake = new_intake()
    drain = datagrams([said(sequence=1) + said(sequence=2), b"?", said(sequence=3)], [5, 6, 7])
    peers = np.array([[1] * PEER_SIZE, [2] * PEER_SIZE, [3] * PEER_SIZE], np.uint8)
    beats = intake.open([Datagrams(drain.rows, drain.sizes, peers, drain.arrived_ns)])
    assert beats.peers[:, 0].tolist() == [1, 1, 3]
    assert beats.arrived_ns.tolist() == [5, 5, 7]


@pytest.mark.parametrize("wide", [(), (said(sequence=8) + said("web-2", sequence=8),)])
def test_several_batches_are_opened_as_one(wide):
    given = [[said(sequence=1), forged(2, 9), *wide], [said("web-2", sequence=2)], [b"?" * 64]]
    one, all_of_them = new_intake(), new_intake()
    whole = one.open(
        [datagrams([row for rows in given for row in rows], [5, 6, *[7] * len(wide), 8, 9])]
    )
    stamps = [[5, 6, *[7] * len(wide)], [8], [9]]
    parts = all_of_them.open([datagrams(*pair) for pair in zip(given, stamps, strict=True)])
    for name in ("slots", "records", "peers", "arrived_ns", "source"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()
    assert refused(one) == refused(all_of_them)


def test_a_datagram_that_was_cut_is_refused_whole():
    drain = datagrams([GOOD], 0)
    cut = Datagrams(drain.rows, np.array([RECORD_SIZE * 2]), drain.peers, drain.arrived_ns)
    intake = new_intake()
    assert len(intake.open([cut]).slots) == 0
    assert refused(intake) == {"LENGTH": 1}


def test_rows_may_be_wider_than_what_came():
    rows = np.full((2, 2048), 0xAA, np.uint8)
    rows[0, :RECORD_SIZE] = np.frombuffer(GOOD, np.uint8)
    drain = Datagrams(
        rows, np.array([RECORD_SIZE, 0]), np.zeros((2, PEER_SIZE), np.uint8), np.zeros(2, np.int64)
    )
    assert new_intake().open([drain]).slots.tolist() == [0]


def test_an_empty_drain_is_nothing():
    intake = new_intake()
    assert len(intake.open([datagrams([], 0)]).slots) == 0
    assert refused(intake) == {}
    assert intake.records_count == 0


def test_a_monitor_without_nodes_knows_nobody():
    intake = Intake(Registry(MASTER))
    assert len(intake.open([datagrams([GOOD], 0)]).slots) == 0
    assert refused(intake) == {"UNKNOWN_NODE": 1}


def test_a_forgotten_node_is_unknown_also_by_its_hint():
    registry = Registry(MASTER)
    registry.enrol("web-1", {})
    registry.forget(0)
    intake = Intake(registry)
    assert len(intake.open([datagrams([said(slot=0)], 0)]).slots) == 0
    assert refused(intake) == {"UNKNOWN_NODE": 1}


ROWS = st.sampled_from(
    [
        GOOD,
        said("web-2", sequence=3, slot=1) + said(sequence=4, slot=1),
        said("web-3"),
        forged(2, 9) + GOOD,
        forged(3, 2),
        GOOD[:-1],
        GOOD[:BODY_SIZE] + bytes(16),
        b"",
        b"noise",
        GOOD * 23,
    ]
)


@given(st.lists(ROWS, max_size=12))
def test_a_batch_is_the_same_as_its_datagrams_one_by_one(rows):
    batched, single = new_intake(), new_intake()
    together = batched.open([datagrams(rows, 0)])
    alone = [single.open([datagrams([row], 0)]) for row in rows]
    assert together.slots.tolist() == [slot for one in alone for slot in one.slots.tolist()]
    assert together.records.tobytes() == b"".join(one.records.tobytes() for one in alone)
    assert batched.rejects.tolist() == single.rejects.tolist()
    assert batched.records_count == single.records_count


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_noise_never_raises_and_never_comes_through(rows):
    came, why = opened(*rows)
    assert came == []
    assert sum(why.values()) >= len(rows)
