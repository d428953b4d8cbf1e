"""The monitor's own pause: what is one, and which arrivals were stamped late by it."""

import pytest

from beatward.core.guard import Guard, GuardSettings, Pauses
from beatward.core.instants import MILLISECOND, SECOND

LIMIT = 250 * MILLISECOND


def turned(*watermarks_ns):
    guard = Guard(GuardSettings(LIMIT))
    return guard, [guard.turn(watermark) for watermark in watermarks_ns]


@pytest.mark.parametrize(
    ("gap_ns", "pause_ns"),
    [
        (0, 0),
        (5 * MILLISECOND, 0),
        (LIMIT, 0),
        (LIMIT + 1, LIMIT + 1),
        (15 * SECOND, 15 * SECOND),
    ],
)
def test_a_gap_between_turns_longer_than_the_limit_is_a_pause(gap_ns, pause_ns):
    _, pauses = turned(SECOND, SECOND + gap_ns)
    assert pauses == [0, pause_ns]


def test_the_first_turn_is_no_pause():
    _, pauses = turned(10**18)
    assert pauses == [0]


def test_pauses_are_remembered():
    guard, _ = turned(0, SECOND, SECOND + LIMIT, 4 * SECOND, 5 * SECOND)
    assert guard.pauses == Pauses(
        count=3,
        last_ns=5 * SECOND,
        last_length_ns=SECOND,
        longest_ns=3 * SECOND - LIMIT,
        total_ns=5 * SECOND - LIMIT,
    )


def test_an_earlier_record_of_pauses_is_not_changed():
    guard, _ = turned(0, SECOND)
    before = guard.pauses
    guard.turn(3 * SECOND)
    assert before == Pauses(1, SECOND, SECOND, SECOND, SECOND)


@pytest.mark.parametrize(
    ("drained_ns", "is_stale"),
    [(SECOND, False), (SECOND + LIMIT, False), (SECOND + LIMIT + 1, True), (16 * SECOND, True)],
)
def test_a_drain_that_ended_long_after_the_last_watermark_is_stale(drained_ns, is_stale):
    guard, _ = turned(SECOND)
    assert guard.is_stale(drained_ns) is is_stale


def test_before_the_first_turn_nothing_is_stale():
    assert not Guard(GuardSettings()).is_stale(10**18)
