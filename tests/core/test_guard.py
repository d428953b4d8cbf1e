"""The monitor's own pause: what is one, and which arrivals were stamped late by it."""

import pytest
from tests.core.by_hand import START, ByHand, said

from beatward.core.detect import DetectorSettings
from beatward.core.entry import Event
from beatward.core.guard import Guard, GuardSettings, Pauses
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings

NODES = ("web-1", "web-2", "web-3")
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


def test_a_monitor_that_was_awake_between_two_turns_did_not_pause():
    guard = Guard(GuardSettings(LIMIT))
    guard.turn(SECOND)
    guard.listened(9 * SECOND)
    assert not guard.is_stale(9 * SECOND + LIMIT)
    assert guard.turn(9 * SECOND + LIMIT) == 0


def test_a_pause_counts_from_when_it_was_awake_last():
    guard = Guard(GuardSettings(LIMIT))
    guard.turn(SECOND)
    guard.listened(9 * SECOND)
    assert guard.is_stale(10 * SECOND)
    assert guard.turn(10 * SECOND) == SECOND


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


# --- local health ---

LATE = 101 * MILLISECOND


def health_after(*lateness_ns, spacing_ns=200 * MILLISECOND, **settings):
    """Return the multiplier after each of some turns that were wanted so long before they came."""
    guard, now_ns, found = Guard(GuardSettings(LIMIT, **settings)), 0, []
    guard.turn(now_ns)
    for late_ns in lateness_ns:
        now_ns += spacing_ns
        guard.turn(now_ns, now_ns - late_ns)
        found.append(guard.pauses.health)
    return found


def test_each_late_turn_multiplies_once_more_up_to_a_limit():
    assert health_after(*[LATE] * 9) == [2, 3, 4, 5, 6, 7, 8, 8, 8]
    assert health_after(*[LATE] * 3, health_max=1) == [1, 1, 1]
    assert health_after(LATE - MILLISECOND, 0) == [1, 1]
    assert health_after(LATE, late_limit_ns=LATE) == [1]


def test_each_second_without_one_takes_one_away():
    assert health_after(*[LATE] * 3, *[0] * 16) == [2, 3, *[4] * 5, *[3] * 5, *[2] * 5, 1, 1]


def test_a_turn_that_nobody_wanted_is_not_late_and_a_pause_is_more_than_that():
    guard = Guard(GuardSettings(LIMIT))
    guard.turn(0)
    guard.turn(LIMIT, 10**18)
    assert guard.pauses.health == 1
    guard.turn(3 * LIMIT, LIMIT)
    assert (guard.pauses.health, guard.pauses.count) == (1, 1)


def test_what_was_wanted_before_the_turn_before_is_not_held_against_this_one():
    guard = Guard(GuardSettings(LIMIT))
    guard.turn(0)
    guard.turn(200 * MILLISECOND, 150 * MILLISECOND)
    guard.turn(250 * MILLISECOND, 10 * MILLISECOND)
    assert guard.pauses.health == 1


def suspected_and_dead(spacing_ms):
    """Return when a node of 1 s is suspected and found dead, with turns so far apart."""
    hand = ByHand(CoreSettings(detector=DetectorSettings(margin_ns=50 * MILLISECOND)), nodes=NODES)
    for second in range(10):
        hand.walk(second * SECOND, tick_ns=50 * MILLISECOND)
        hand.step(second * SECOND, *(said(name, sequence=second) for name in NODES))
    while hand.now < 30 * SECOND:
        # The others go on; `web-1` is silent.
        hand.now += spacing_ms * MILLISECOND
        second = hand.now // SECOND
        rows = [said(name, sequence=second) for name in NODES[1:]]
        hand.step(hand.now, *rows)
    found = {
        entry.status: (entry.at_ns - START) / SECOND
        for entry in hand.entries
        if entry.node == "web-1" and entry.event == Event.TRANSITION
    }
    return found["suspect"], found["dead"]


def test_a_slow_monitor_takes_longer_to_suspect_and_to_judge():
    suspected, dead = suspected_and_dead(50)
    assert (suspected, dead) == (10.05, 11.05)
    slow_suspected, slow_dead = suspected_and_dead(240)
    assert suspected <= slow_suspected <= suspected + 7 * 0.05 + 0.24
    assert dead + 1 <= slow_dead <= dead + 8 + 1
