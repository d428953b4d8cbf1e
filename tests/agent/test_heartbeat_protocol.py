"""The pure heartbeat: the grid, the conversation, the goodbye; literal numbers and properties."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.agent.heartbeat_protocol import ASKED_MAX, HeartbeatProtocol, Report
from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import (
    NO_GAUGE,
    NO_SLOT,
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    exit_code_from_field,
    open_record,
    seal,
)

KEY = bytes(range(32))
NAME = "web-1"
START = 1_000 * SECOND
LIFE = 1_700_000_000_000_000
SESSION = 0xBEA7


def new_protocol(interval_ns=SECOND, **settings):
    chosen = {"incarnation": LIFE, "interval_ns": interval_ns, "start_ns": START, **settings}
    return HeartbeatProtocol(NAME, KEY, **chosen)


def heard(data):
    return open_record(data, KEY)


def answer(kind=Kind.ACKNOWLEDGEMENT, *, key=KEY, **fields):
    given_fields = {
        "node": node_id(NAME),
        "incarnation": LIFE,
        "sequence": 0,
        "interval_ms": 1000,
        "slot": 7,
        "echo": SESSION,
    }
    return seal(Record(kind, **{**given_fields, **fields}), key)


def beat_at(protocol, at_ns, report=None):
    return heard(protocol.beat(START + at_ns, report or Report()))


# --- the grid ---


@pytest.mark.parametrize(
    ("at_ms", "sequence", "next_ms"),
    [
        (0, 0, 1000),
        (1, 0, 1000),
        (999, 0, 1000),
        (1000, 1, 2000),
        (3_600_500, 3600, 3_601_000),  # An hour of suspended machine is one heartbeat, not 3600.
    ],
)
def test_a_heartbeat_carries_its_slot_on_the_grid(at_ms, sequence, next_ms):
    protocol = new_protocol()
    assert protocol.next_due_ns == START
    assert beat_at(protocol, at_ms * MILLISECOND).sequence == sequence
    assert protocol.next_due_ns == START + next_ms * MILLISECOND


def test_after_a_stall_missed_slots_are_skipped_and_the_grid_stays():
    protocol = new_protocol()
    sequences = [
        beat_at(protocol, at_ms * MILLISECOND).sequence
        for at_ms in (0, 1003, 2001, 7950, 8000, 9002)
    ]
    assert sequences == [0, 1, 2, 7, 8, 9]


def test_a_late_heartbeat_does_not_move_the_next_one():
    protocol = new_protocol(250 * MILLISECOND)
    beat_at(protocol, 240 * MILLISECOND)
    assert protocol.next_due_ns == START + 250 * MILLISECOND


def test_a_slot_has_one_heartbeat():
    protocol = new_protocol()
    beat_at(protocol, 0)
    with pytest.raises(AssertionError, match="sent already"):
        beat_at(protocol, 999 * MILLISECOND)


def test_nothing_is_due_before_the_start():
    with pytest.raises(AssertionError):
        beat_at(new_protocol(), -1)


@given(
    interval_ms=st.integers(1, 100_000),
    waits=st.lists(st.integers(0, 10**12), min_size=1, max_size=40),
)
def test_property_the_sequence_is_the_slot_index_and_never_repeats(interval_ms, waits):
    interval_ns = interval_ms * MILLISECOND
    protocol = new_protocol(interval_ns)
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START)  # Until then it is repeated, see below.
    now_ns, last = START, 0
    for wait_ns in waits:
        now_ns = max(now_ns + wait_ns, protocol.next_due_ns)
        spoken = heard(protocol.beat(now_ns, Report()))
        assert spoken.sequence == (now_ns - START) // interval_ns
        assert spoken.sequence > last
        assert now_ns < protocol.next_due_ns <= now_ns + interval_ns
        last = spoken.sequence


@pytest.mark.parametrize("interval_ns", [0, -SECOND, MILLISECOND // 2, 1_500_001, 2**32 * 10**6])
def test_an_interval_that_the_wire_cannot_carry_is_refused(interval_ns):
    with pytest.raises(AssertionError):
        new_protocol(interval_ns)


# --- what a heartbeat says ---


def test_the_first_heartbeat_says_who_how_often_and_asks():
    spoken = beat_at(new_protocol(2500 * MILLISECOND), 0)
    assert spoken == Record(
        kind=Kind.HEARTBEAT,
        node=node_id(NAME),
        incarnation=LIFE,
        sequence=0,
        interval_ms=2500,
        slot=NO_SLOT,
        status=Health.WELL,
        flags=Flag.ACKNOWLEDGE,
        cpu=NO_GAUGE,
        memory=NO_GAUGE,
        load=NO_GAUGE,
        echo=0,
    )


def test_a_report_is_carried_in_hundredths():
    report = Report(Health.ILL, cpu=12.34, memory=100.0, load=0.5)
    spoken = beat_at(new_protocol(), 0, report)
    assert (spoken.status, spoken.cpu, spoken.memory, spoken.load) == (Health.ILL, 1234, 10000, 50)


# --- probes ---


def test_a_probe_is_answered_at_once_with_its_echo_and_the_last_report():
    protocol = new_protocol()
    beat_at(protocol, 0, Report(Health.ILL, cpu=1.0))
    probe = answer(Kind.PROBE, echo=99, sequence=0)
    (reply,) = protocol.receive(probe, START + 5_400 * MILLISECOND)
    said = heard(reply)
    assert (said.kind, said.echo, said.sequence, said.flags) == (Kind.PROBE_REPLY, 99, 5, 0)
    assert (said.status, said.cpu, said.slot) == (Health.ILL, 100, 7)
    assert len(reply) <= len(probe)


def test_the_echo_of_a_probe_rides_on_the_next_heartbeats():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(Kind.PROBE, echo=99), START + 1)
    assert [beat_at(protocol, i * SECOND).echo for i in (1, 2)] == [99, 99]


def test_a_probe_meant_for_an_earlier_life_is_answered_by_this_one():
    protocol = new_protocol()
    beat_at(protocol, 0)
    (reply,) = protocol.receive(answer(Kind.PROBE, incarnation=LIFE - 1), START + 1)
    assert heard(reply).incarnation == LIFE


def test_a_probe_meant_for_a_later_life_is_not_ours_to_answer():
    protocol = new_protocol()
    beat_at(protocol, 0)
    assert protocol.receive(answer(Kind.PROBE, incarnation=LIFE + 1), START + 1) == []
    assert beat_at(protocol, SECOND).echo == 0


def test_a_probe_before_the_first_word_only_leaves_its_echo():
    protocol = new_protocol()
    assert protocol.receive(answer(Kind.PROBE), START - 1) == []
    assert beat_at(protocol, 0).echo == SESSION


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        answer(Kind.PROBE)[:-1],
        answer(Kind.PROBE) * 2,
        answer(Kind.PROBE, key=b"\1" * 32),
        answer(Kind.PROBE, node=node_id("web-2")),
        answer(Kind.HEARTBEAT),
        answer(Kind.PROBE_REPLY),
        answer(Kind.GOODBYE),
        answer(Kind.PROBE)[:44] + b"\x01" + answer(Kind.PROBE)[45:],
    ],
    ids=range(10),
)
def test_what_our_monitor_did_not_say_to_us_changes_nothing(data):
    protocol = new_protocol()
    beat_at(protocol, 0)
    before = dict(vars(protocol))
    assert protocol.receive(data, START + 1) == []
    assert vars(protocol) == before


@given(data=st.binary(max_size=200))
def test_property_no_bytes_disturb_a_pulse(data):
    protocol = new_protocol()
    beat_at(protocol, 0)
    assert protocol.receive(data, START + 1) == []
    assert beat_at(protocol, SECOND).sequence == 1


# --- acknowledgements ---


def test_an_acknowledgement_gives_echo_slot_and_round_trip():
    protocol = new_protocol()
    beat_at(protocol, 0)
    assert protocol.round_trip_ns is None
    assert protocol.receive(answer(sequence=0), START + 12 * MILLISECOND) == []
    assert protocol.is_acknowledged
    assert protocol.round_trip_ns == 12 * MILLISECOND
    spoken = beat_at(protocol, SECOND)
    assert (spoken.echo, spoken.slot, spoken.flags) == (SESSION, 7, 0)


def test_a_round_trip_longer_than_the_interval_is_measured_of_the_newest_asks():
    protocol = new_protocol()
    for i in range(ASKED_MAX + 1):
        beat_at(protocol, i * SECOND)
    for sequence, trip_s in ((0, None), (1, ASKED_MAX - 1), (ASKED_MAX, 0)):
        protocol.receive(answer(sequence=sequence), START + ASKED_MAX * SECOND)
        assert protocol.round_trip_ns == (None if trip_s is None else trip_s * SECOND)


def asks(protocol, seconds):
    return [i for i in seconds if beat_at(protocol, i * SECOND).flags & Flag.ACKNOWLEDGE]


def test_an_acknowledged_life_asks_again_every_ten_seconds():
    protocol = new_protocol()
    asked = []
    for i in range(35):
        if beat_at(protocol, i * SECOND).flags & Flag.ACKNOWLEDGE:
            asked.append(i)
            protocol.receive(answer(sequence=i), START + i * SECOND + MILLISECOND)
    assert asked == [0, 11, 22, 33]


def test_an_unanswered_ask_is_repeated_and_the_third_asks_for_a_new_socket():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START)
    wanted = []
    for i in range(1, 16):
        beat_at(protocol, i * SECOND)
        wanted.append(protocol.wants_reconnect)
    # Asked at 10 s; at 11, 12 and 13 s nobody has answered.
    assert wanted == [False] * 12 + [True] * 3
    protocol.reconnected(START)
    assert not protocol.wants_reconnect
    assert asks(protocol, range(16, 19)) == [16, 17, 18]
    assert protocol.wants_reconnect


def test_an_answer_to_any_ask_ends_the_counting():
    protocol = new_protocol()
    asks(protocol, range(6))
    assert protocol.wants_reconnect
    protocol.receive(answer(sequence=2), START + 5 * SECOND + 1)
    assert not protocol.wants_reconnect
    assert asks(protocol, range(6, 17)) == [16]


def test_a_new_life_with_a_short_interval_asks_each_time_but_counts_by_the_second():
    protocol = new_protocol(50 * MILLISECOND)
    flags = [beat_at(protocol, i * 50 * MILLISECOND).flags for i in range(60)]
    assert flags == [Flag.ACKNOWLEDGE] * 60
    assert not protocol.wants_reconnect
    beat_at(protocol, 3 * SECOND)
    assert protocol.wants_reconnect


def test_a_doubt_asks_at_once_and_counts_as_any_ask():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START)
    assert asks(protocol, [1]) == []
    protocol.doubt()
    assert asks(protocol, [2, 3, 4]) == [2, 3, 4]
    assert not protocol.wants_reconnect
    assert asks(protocol, [5]) == [5]
    assert protocol.wants_reconnect


@pytest.mark.parametrize("sequence", [0, 1, 3, 2**61])
def test_a_replayed_or_invented_acknowledgement_is_harmless(sequence):
    protocol = new_protocol()
    for i in range(2):
        beat_at(protocol, i * SECOND)
    protocol.receive(answer(sequence=1), START + SECOND + 1)
    beat_at(protocol, 2 * SECOND)
    before = dict(vars(protocol))
    old = answer(sequence=sequence, echo=666, slot=13, flags=Flag.MAIL)
    assert protocol.receive(old, START + 2 * SECOND + 1) == []
    assert vars(protocol) == before


def test_mail_is_seen_once_until_it_is_said_again():
    protocol = new_protocol()
    beat_at(protocol, 0)
    assert not protocol.take_mail()
    protocol.receive(answer(sequence=0, flags=Flag.MAIL), START + 1)
    assert protocol.mail_waits
    assert [protocol.take_mail(), protocol.take_mail()] == [True, False]
    protocol.receive(answer(Kind.PROBE, flags=Flag.MAIL), START + 2)
    assert protocol.take_mail()


# --- lives ---


def test_a_life_numbered_too_low_by_a_slow_clock_goes_on_as_the_next_one_at_once():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(incarnation=LIFE + 500, sequence=40), START + 300 * MILLISECOND)
    assert protocol.incarnation == LIFE + 501
    assert protocol.next_due_ns == START + 300 * MILLISECOND
    spoken = beat_at(protocol, 300 * MILLISECOND)
    assert (spoken.incarnation, spoken.sequence, spoken.echo) == (LIFE + 501, 0, SESSION)
    assert spoken.flags == Flag.ACKNOWLEDGE
    assert beat_at(protocol, SECOND).sequence == 1
    assert protocol.rival_incarnation is None


def test_an_acknowledged_life_that_meets_a_newer_one_names_it_and_keeps_its_own():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START + 1)
    protocol.receive(answer(incarnation=LIFE + 9, sequence=3), START + 2)
    assert protocol.rival_incarnation == LIFE + 9
    spoken = beat_at(protocol, SECOND)
    assert (spoken.incarnation, spoken.sequence) == (LIFE, 1)


def test_an_acknowledgement_of_an_earlier_life_is_not_ours():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(incarnation=LIFE - 1, sequence=0), START + 1)
    assert not protocol.is_acknowledged


def test_the_last_possible_life_is_not_exceeded():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.receive(answer(incarnation=2**63 - 1), START + 1)
    assert (protocol.incarnation, protocol.rival_incarnation) == (LIFE, 2**63 - 1)


# --- goodbye ---


def test_a_goodbye_is_newer_than_all_heartbeats_and_carries_the_exit_code():
    protocol = new_protocol()
    for i in range(4):
        beat_at(protocol, i * SECOND)
    said = heard(protocol.goodbye(START + 3_200 * MILLISECOND, Farewell.EXITED, exit_code=-9))
    assert (said.kind, said.status, said.sequence) == (Kind.GOODBYE, Farewell.EXITED, 4)
    assert said.flags == Flag.ACKNOWLEDGE
    assert exit_code_from_field(said.cpu) == -9


def test_a_goodbye_without_an_exit_code_leaves_the_field_empty():
    said = heard(new_protocol().goodbye(START, Farewell.LEFT))
    assert (said.status, said.sequence, said.cpu) == (Farewell.LEFT, 0, NO_GAUGE)


def test_a_goodbye_is_said_five_times_in_half_a_second_and_then_given_up():
    protocol = new_protocol()
    beat_at(protocol, 0)
    first = protocol.goodbye(START + 1, Farewell.LEFT)
    at_ms, said = [], [first]
    while protocol.next_due_ns != NEVER:
        at_ms.append((protocol.next_due_ns - START) // MILLISECOND)
        said.append(protocol.beat(protocol.next_due_ns, Report()))
    assert at_ms == [100, 200, 300, 400]
    assert said == [first] * 5
    assert not protocol.goodbye_is_acknowledged


def test_an_acknowledged_goodbye_is_not_repeated():
    protocol = new_protocol()
    beat_at(protocol, 0)
    protocol.goodbye(START + 1, Farewell.LEFT)
    protocol.receive(answer(sequence=0), START + 2)
    assert protocol.next_due_ns != NEVER
    protocol.receive(answer(sequence=1), START + 3)
    assert protocol.next_due_ns == NEVER
    assert protocol.goodbye_is_acknowledged


def test_a_probe_during_the_goodbye_is_answered_with_the_goodbye_and_its_proof():
    protocol = new_protocol()
    beat_at(protocol, 0)
    first = heard(protocol.goodbye(START + 1, Farewell.EXITED, exit_code=3))
    (reply,) = protocol.receive(answer(Kind.PROBE, echo=77), START + 2)
    assert heard(reply) == replace(first, echo=77, slot=7)
    while protocol.next_due_ns != NEVER:
        protocol.beat(protocol.next_due_ns, Report())
    assert protocol.receive(answer(Kind.PROBE, echo=78), START + SECOND) == []


def test_a_goodbye_from_a_life_numbered_too_low_goes_on_as_the_next_life():
    protocol = new_protocol()
    protocol.goodbye(START, Farewell.LEFT)
    protocol.receive(answer(incarnation=LIFE + 5), START + 1)
    assert heard(protocol.beat(protocol.next_due_ns, Report())).incarnation == LIFE + 6


# --- a long interval ---


def test_until_it_is_acknowledged_a_slow_heartbeat_is_repeated_every_second():
    """One lost datagram must not make a node that beats once a minute miss its start grace."""
    protocol = new_protocol(60 * SECOND)
    assert [beat_at(protocol, at_s * SECOND).sequence for at_s in (0, 1, 2)] == [0, 0, 0]
    protocol.receive(answer(sequence=0), START + 2 * SECOND + 1)
    assert protocol.next_due_ns == START + 60 * SECOND


def test_a_node_that_was_enrolled_again_speaks_at_once():
    """Found by simulation, seed 67: a monitor without its store waited in vain, and convicted."""
    protocol = new_protocol(60 * SECOND)
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START + 1)
    assert protocol.next_due_ns == START + 60 * SECOND
    protocol.introduce(START + 7 * SECOND)
    again = beat_at(protocol, 7 * SECOND)
    assert (again.sequence, again.flags & Flag.ACKNOWLEDGE) == (0, Flag.ACKNOWLEDGE)
    assert protocol.next_due_ns == START + 8 * SECOND


def test_the_answer_to_a_repeated_heartbeat_ends_the_introduction():
    protocol = new_protocol(60 * SECOND)
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START + 1)
    protocol.introduce(START + 7 * SECOND)
    beat_at(protocol, 7 * SECOND)
    protocol.receive(answer(sequence=0), START + 7 * SECOND + 1)
    assert protocol.next_due_ns == START + 60 * SECOND


def test_a_monitor_that_knows_the_node_already_calls_the_repetitions_replays():
    """So they end after five, and their silence is no reason to look for another monitor."""
    protocol = new_protocol(60 * SECOND)
    beat_at(protocol, 0)
    protocol.receive(answer(sequence=0), START + 1)
    protocol.introduce(START + 7 * SECOND)
    at_s = []
    while protocol.next_due_ns < START + 60 * SECOND:
        at_s.append(max(protocol.next_due_ns - START, 7 * SECOND) // SECOND)
        beat_at(protocol, at_s[-1] * SECOND)
        assert not protocol.wants_reconnect
    assert at_s == [7, 8, 9, 10, 11]


def test_a_slow_node_that_hears_nothing_at_all_goes_on_and_looks_for_the_monitor():
    protocol = new_protocol(60 * SECOND)
    wanted = []
    for at_s in range(9):
        beat_at(protocol, at_s * SECOND)
        wanted.append(protocol.wants_reconnect)
    assert wanted == [False] * 3 + [True] * 6


def test_a_node_that_says_goodbye_is_not_introduced():
    protocol = new_protocol(60 * SECOND)
    beat_at(protocol, 0)
    protocol.goodbye(START + 1, Farewell.LEFT)
    due_ns = protocol.next_due_ns
    protocol.introduce(START + 2)
    assert protocol.next_due_ns == due_ns
