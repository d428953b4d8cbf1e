"""The histogram: a quantile of the times between arrivals, times a factor."""

import numpy as np
import pytest
from tests.core.one_slot import OneSlot

from beatward.core.instants import MILLISECOND, SECOND


def test_before_eight_times_the_deadline_is_the_factor_times_two_intervals():
    one = OneSlot("histogram")
    assert one.hear_all([0] * 8)[-1] == 7 * SECOND + 3 * SECOND
    assert one.hear(8) < 10 * SECOND


def test_with_few_times_the_deadline_lies_beyond_all_that_were_seen():
    one = OneSlot("histogram", late_probability=0.01, factor=1.0)
    one.hear_all([0] * 20 + [350 * MILLISECOND] + [0] * 20)
    # The bins end at two intervals: 350 ms lie between 0.125 and 0.1875 of them.
    assert one.timeout_ns == SECOND + 375 * MILLISECOND


def test_the_quantile_is_that_of_the_times():
    # aten's numbers: 99 of 100 times, and half as much again.
    rng = np.random.default_rng(3)
    jitter = rng.exponential(50 * MILLISECOND, 4000)
    one = OneSlot("histogram", late_probability=0.01, factor=1.5)
    one.hear_all(jitter)
    wanted = SECOND + np.quantile(np.diff(jitter), 0.99)
    assert one.timeout_ns / 1.5 == pytest.approx(wanted, rel=0.03)


def test_a_long_time_that_came_once_is_forgotten_when_the_counts_are_halved():
    one = OneSlot("histogram", late_probability=0.01, factor=1.0)
    one.hear_all([0] * 1000 + [SECOND] * 30)
    assert one.detector.learnt_count[0] == 1029
    one.hear_all([SECOND] * 3000)
    assert one.detector.learnt_count[0] < 1600
    assert one.detector.counts[0].sum() == one.detector.learnt_count[0]
    assert one.timeout_ns < 1.05 * SECOND


def test_lost_heartbeats_are_no_long_times():
    one = OneSlot("histogram")
    for sequence in range(0, 300, 3):
        one.hear(sequence)
    assert one.timeout_ns < 1.6 * SECOND


def test_more_than_the_share_beyond_two_intervals_is_held_there():
    one = OneSlot("histogram", late_probability=0.01, factor=2.0)
    for place in range(200):
        one.hear(place, place * 4 * SECOND)
    assert one.timeout_ns == 6 * SECOND


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "nothing was heard yet"),
        (8, "1.5 times two intervals, because few heartbeats came so far"),
        (9, "1.5 times 1.02 s, longer than all 8 times seen"),
        (1000, "1.5 times 1.02 s, longer than all but 1 in 1,000 of 999"),
    ],
)
def test_it_says_where_its_timeout_comes_from(count, words):
    one = OneSlot("histogram")
    one.hear_all([0] * count)
    assert one.why == words


def test_suspicion_is_the_chance_of_a_longer_time_up_to_the_factor():
    rng = np.random.default_rng(4)
    jitter = rng.exponential(50 * MILLISECOND, 12_000)
    one = OneSlot("histogram", late_probability=1e-3, factor=1.5)
    one.hear_all(jitter)
    times = np.diff(jitter) + SECOND
    arrived = one.deadline_ns - one.timeout_ns
    for chance in (0.3, 0.1, 0.01):
        now = arrived + round(1.5 * np.quantile(times, 1 - chance))
        assert one.suspicion_at(now) == pytest.approx(-np.log10(chance), abs=0.1)
