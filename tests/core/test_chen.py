"""NFD-E: the expected arrival, the margin, and that freshness hangs on the sender's schedule.

Chen, Toueg, Aguilera, IEEE TC 51(5), 2002, sections 6 and 7. Instants are made small by taking
T = 1,000 s as the arrival of heartbeat 0, where not said otherwise.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.one_slot import SLOT, OneSlot, T

from beatward.core.detect.base import INTERVAL_MAX_NS
from beatward.core.instants import DAY, HOUR, MILLISECOND, NEVER, SECOND

MARGIN = 50 * MILLISECOND


# --- the formula ---


def test_nothing_heard_is_no_deadline():
    one = OneSlot("chen")
    assert one.detector.deadline_ns[0] == NEVER
    assert one.detector.due_ns(SLOT)[0] == NEVER


def test_before_eight_heartbeats_the_margin_is_one_interval():
    one = OneSlot("chen")
    deadlines = [one.hear(sequence) for sequence in range(9)]
    assert deadlines[:7] == [(sequence + 2) * SECOND for sequence in range(7)]
    assert deadlines[7:] == [8 * SECOND + MARGIN, 9 * SECOND + MARGIN]


def test_the_expected_arrival_is_the_mean_offset_plus_the_due_time():
    # Offsets 0, 30, 0, 60 ms: mean 22.5 ms; EA(4) = 4 s + 22.5 ms (equation 6.3 of the paper).
    one = OneSlot("chen", margin_ns=100 * MILLISECOND)
    for sequence, offset_ms in enumerate((0, 30, 0, 60)):
        one.hear_at(sequence, sequence * SECOND + offset_ms * MILLISECOND)
    assert one.due_ns == 4 * SECOND + 22_500_000
    assert one.deadline_ns == 4 * SECOND + 122_500_000


def test_lost_heartbeats_leave_the_expectation_where_it_is():
    one = OneSlot("chen")
    one.hear_each(range(10))
    one.hear(15)
    assert one.due_ns == 16 * SECOND


@given(st.lists(st.integers(0, 40_000_000), min_size=1, max_size=64))
def test_up_to_half_the_window_the_mean_and_variance_are_exact(offsets):
    # With a window of 128 the weight 1/count meets its floor 2/129 at the 65th heartbeat.
    one = OneSlot("chen", samples=128, margin_ns=SECOND)
    for sequence, offset in enumerate(offsets):
        one.hear_at(sequence, sequence * SECOND + offset)
    expected = int(one.detector.expected_ns[0]) - T - (len(offsets) - 1) * SECOND
    # Each step rounds to a whole nanosecond.
    assert expected == pytest.approx(np.mean(offsets), abs=len(offsets) / 2 + 1)
    assert one.detector.variance[0] == pytest.approx(np.var(offsets), rel=1e-3, abs=1e9)


def test_a_window_follows_a_clock_that_drifts():
    # 200 ppm at 1 s: the exponential mean lags by (window - 1) / 2 steps of 0.2 ms.
    one = OneSlot("chen", samples=128)
    for sequence in range(2_000):
        one.hear_at(sequence, sequence * 1_000_200_000)
    lag = (1_999 * 1_000_200_000) - (int(one.detector.expected_ns[0]) - T)
    assert lag / MILLISECOND == pytest.approx(0.2 * 63.5, rel=0.01)


@pytest.mark.parametrize(
    ("spread_ms", "expected_ms"),
    [
        # sqrt(V * (1/p - 1)) with p = 0.001 is 31.6 standard deviations.
        (0, 50),  # margin_min
        (1, 50),  # 31.6 ms
        (5, 158.034806),  # 5 * sqrt(999)
        (20, 500),  # 632 ms, held at half an interval
    ],
)
@pytest.mark.parametrize("margin_from", ["cantelli", "quantile"])
def test_the_margin_auto_begins_with_cantellis_bound_between_its_limits(
    margin_from, spread_ms, expected_ms
):
    one = OneSlot("chen", margin_from=margin_from)
    for sequence in range(64):
        sign = 1 if sequence % 2 else -1
        one.hear_at(sequence, sequence * SECOND + (100 + sign * spread_ms) * MILLISECOND)
    assert one.margin_ns / MILLISECOND == pytest.approx(expected_ms, rel=1e-6)


def test_a_margin_may_be_given():
    one = OneSlot("chen", margin_ns=10 * MILLISECOND)
    assert one.hear(0) == SECOND + 10 * MILLISECOND


def test_the_least_margin_holds_also_for_intervals_shorter_than_it():
    one = OneSlot("chen")
    deadline = one.hear_each(range(20), interval_ns=10 * MILLISECOND)
    assert deadline == 200 * MILLISECOND + MARGIN


# --- late heartbeats buy no trust ---


def test_a_late_heartbeat_moves_the_deadline_by_its_share_of_the_mean_only():
    one = OneSlot("chen", margin_ns=MARGIN)
    one.hear_each(range(50))
    deadline = one.hear_at(50, 50 * SECOND + 900 * MILLISECOND)
    assert deadline == 51 * SECOND + MARGIN + round(900 * MILLISECOND / 51)


def test_twenty_heartbeats_each_15_s_late_extend_a_life_by_15_s_once():
    # ScyllaDB #8036: where the timeout restarts at each arrival it is 20 times 15 s.
    one = OneSlot("chen")
    one.hear_each(range(100))
    deadline = one.hear_each(range(100, 120), late_ns=15 * SECOND)
    # Two were counted as late, before the third showed that the schedule has moved.
    assert deadline == 120 * SECOND + 15 * SECOND + SECOND // 2


@given(
    lateness_ns=st.integers(0, 100 * SECOND), count=st.integers(1, 40), before=st.integers(8, 100)
)
def test_delaying_the_last_heartbeats_changes_detection_by_that_delay_at_most(
    lateness_ns, count, before
):
    on_time, delayed = OneSlot("chen"), OneSlot("chen")
    on_time.hear_each(range(before + count))
    delayed.hear_each(range(before))
    delayed.hear_each(range(before, before + count), late_ns=lateness_ns)
    # An estimate begun anew has a margin of one interval for eight heartbeats.
    assert delayed.deadline_ns - on_time.deadline_ns <= lateness_ns + SECOND


@pytest.mark.parametrize("lost", [0, 1, 5, 20])
def test_silence_is_found_one_interval_and_margin_after_the_last_heartbeat(lost):
    one = OneSlot("chen")
    heard = [sequence for sequence in range(100) if sequence not in range(90 - lost, 90)]
    assert one.hear_each(heard) == 100 * SECOND + MARGIN


# --- queues that are flushed ---


def test_a_flush_one_by_one_ends_near_the_newest_schedule():
    one = OneSlot("chen")
    one.hear_each(range(100))
    for sequence in range(100, 200):
        one.hear_at(sequence, 199 * SECOND)
    assert 200 * SECOND + MARGIN <= one.deadline_ns <= 203 * SECOND


def test_a_flush_of_which_only_the_newest_is_taken_buys_no_trust():
    # The hearing takes four of a hundred queued heartbeats, then the newest. Begun anew at the
    # third late one, the estimate expected the newest 96 s from now, and would have waited.
    one = OneSlot("chen")
    one.hear_each(range(100))
    for sequence in (100, 101, 102, 103, 199):
        one.hear_at(sequence, 199 * SECOND)
    assert 200 * SECOND + MARGIN <= one.deadline_ns <= 201 * SECOND
    one.hear(200)
    assert 201 * SECOND + MARGIN <= one.deadline_ns <= 203 * SECOND


@given(st.lists(st.integers(1, 5), min_size=1, max_size=100))
def test_no_flush_shrinks_the_deadline_below_the_newest_schedule(steps):
    one = OneSlot("chen")
    one.hear_each(range(20))
    sequences = 19 + np.cumsum(steps)
    newest = int(sequences[-1])
    for sequence in sequences:
        one.hear_at(int(sequence), newest * SECOND)
    assert (newest + 1) * SECOND <= one.deadline_ns <= (newest + 4) * SECOND


def test_a_heartbeat_earlier_than_an_interval_proves_the_estimate_wrong():
    one = OneSlot("chen")
    one.hear_each(range(10), late_ns=5 * SECOND)
    assert one.hear(10) == 12 * SECOND
    assert one.detector.why(0).endswith("because only 1 heartbeat of this schedule came so far")


# --- schedules that move ---


def test_three_strikes_in_a_row_begin_the_estimate_anew():
    one = OneSlot("chen")
    one.hear_each(range(100))
    for sequence, counts in ((100, 101), (101, 102), (102, 1), (103, 2)):
        one.hear_at(sequence, sequence * SECOND + 700 * MILLISECOND)
        assert one.detector.learnt_count[0] == counts
    assert one.due_ns == 104 * SECOND + 700 * MILLISECOND


def test_two_strikes_and_one_on_time_are_only_jitter():
    one = OneSlot("chen", margin_ns=MARGIN)
    one.hear_each(range(100))
    for sequence in range(100, 130):
        late_ns = 200 * MILLISECOND if sequence % 10 < 2 else 0
        one.hear_at(sequence, sequence * SECOND + late_ns)
    assert one.detector.learnt_count[0] == 128


def test_another_interval_is_another_schedule_at_once():
    one = OneSlot("chen")
    one.hear_each(range(100))
    assert one.hear_at(101, 100_500_000_000, interval_ns=5 * SECOND) == 110_500_000_000


def test_an_outage_is_forgotten_after_twice_eight_heartbeats():
    one = OneSlot("chen")
    one.hear_each(range(200))
    one.hear_each(range(300, 316))
    assert one.deadline_ns == 316 * SECOND + MARGIN


def test_one_pause_of_the_node_counts_as_four_intervals_at_most():
    one = OneSlot("chen", margin_ns=MARGIN)
    one.hear_each(range(99))
    one.hear_at(99, 99 * SECOND + HOUR)
    assert one.due_ns == 100 * SECOND + round(4 * SECOND * 2 / 129)


# --- the monitor's own pause ---


def test_what_was_stamped_late_by_ourselves_teaches_nothing_and_earns_a_whole_timeout():
    one = OneSlot("chen")
    one.hear_each(range(100))
    deadline = one.hear_at(100, 115 * SECOND, learn=False)
    assert deadline == 116 * SECOND + MARGIN
    assert one.hear(101) == 102 * SECOND + MARGIN


# --- what nothing may break ---


@given(
    shift_ns=st.integers(-(10**17), 10**17),
    offsets=st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=40),
)
def test_shifting_all_instants_shifts_the_deadline_as_much(shift_ns, offsets):
    here, there = OneSlot("chen"), OneSlot("chen")
    for sequence, offset in enumerate(offsets):
        here.hear_at(sequence, sequence * SECOND + offset)
        there.hear_at(sequence, sequence * SECOND + offset + shift_ns)
    assert there.deadline_ns - here.deadline_ns == shift_ns
    assert there.margin_ns == here.margin_ns


HEARTBEATS = st.tuples(
    st.one_of(st.integers(1, 5), st.integers(1, 2**61)),  # steps of the sequence
    st.sampled_from([1, 1_000, 60_000, 2**32 - 1]).map(lambda ms: ms * MILLISECOND),
    st.one_of(st.integers(0, 10 * SECOND), st.just(10 * 366 * DAY)),  # steps of time
    st.booleans(),
)


@given(st.lists(HEARTBEATS, max_size=30))
def test_no_hostile_schedule_breaks_the_arithmetic_or_buys_more_than_its_promise(heartbeats):
    one = OneSlot("chen")
    sequence, arrived = 0, 0
    for step, interval, passed, learn in heartbeats:
        sequence = min(sequence + step, 2**62 - 1)
        arrived += passed
        deadline = one.hear_at(sequence, arrived, interval_ns=interval, learn=learn)
        promise = min(interval, INTERVAL_MAX_NS)
        assert deadline <= arrived + 3 * promise + 2 * MARGIN
        assert np.isfinite(one.detector.variance[0])
        assert one.detector.variance[0] >= 0
        assert 0 <= one.margin_ns <= max(promise, MARGIN)


@given(
    offsets=st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=60),
    window=st.integers(2, 200),
)
def test_a_heartbeat_before_its_deadline_never_leads_to_a_deadline_in_the_past(offsets, window):
    one = OneSlot("chen", samples=window)
    deadline = 0
    for sequence, offset in enumerate(offsets):
        arrived = sequence * SECOND + offset
        was_in_time = sequence == 0 or arrived < deadline
        deadline = one.hear_at(sequence, arrived)
        assert not was_in_time or deadline > arrived


def test_a_promise_longer_than_a_year_is_a_year():
    one = OneSlot("chen")
    assert one.hear(0, interval_ns=NEVER // 2) == 2 * INTERVAL_MAX_NS


@pytest.mark.parametrize(
    ("settings", "count", "words"),
    [
        ({}, 0, "nothing was heard yet"),
        (
            {},
            7,
            "one whole interval, because only 7 heartbeats of this schedule came so far",
        ),
        ({}, 8, "at most 1 in 1,000 comes later: the last 8 spread by 0 s"),
        (
            {"late_probability": 1e-6, "samples": 16},
            40,
            "at most 1 in 1,000,000 comes later: the last 16 spread by 0 s",
        ),
        ({"margin_ns": MARGIN}, 0, "a margin from the settings"),
    ],
)
def test_it_says_where_its_margin_comes_from(settings, count, words):
    one = OneSlot("chen", **settings)
    one.hear_each(range(count))
    assert one.detector.why(0) == words


def test_one_heartbeat_seconds_late_does_not_begin_the_estimate_anew():
    one = OneSlot("chen")
    one.hear_each(range(3000))
    known = int(one.detector.learnt_count[0])
    # A 64th of 4 s is more than the margin of 50 ms: the next ones would seem early, and three of
    # them a schedule that has moved.
    one.hear_at(3000, 3004 * SECOND)
    deadline = one.hear_each(range(3005, 3010))
    assert int(one.detector.learnt_count[0]) == known
    assert deadline <= 3010 * SECOND + 2 * MARGIN
