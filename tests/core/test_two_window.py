"""2W-FD: the later of two expectations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.one_slot import OneSlot

from beatward.core.instants import MILLISECOND, SECOND

MARGIN = 50 * MILLISECOND


def one_of(**settings):
    return OneSlot("two_window", **{"margin_ns": MARGIN, **settings})


@given(
    st.lists(st.integers(0, 40 * MILLISECOND), min_size=1, max_size=60),
    st.sampled_from([1, 2, 8, 16]),
)
def test_the_deadline_hangs_on_the_later_of_two_means(lateness, window_short):
    # Until a mean is older than half its window it is exact; beyond, its weight stays.
    one = one_of(samples=128, samples_short=window_short)
    short = long = lateness[0]
    for place, late in enumerate(lateness):
        one.hear(place, late)
        long += (late - long) / (place + 1)
        short += (late - short) * max(1 / (place + 1), 2 / (window_short + 1))
        expected = (place + 1) * SECOND + max(short, long) + MARGIN
        assert one.deadline_ns == pytest.approx(expected, abs=place + 2)


def test_a_sudden_delay_is_followed_at_once_and_an_early_heartbeat_is_not():
    one = one_of()
    one.hear_all([0] * 100)
    assert one.hear(100, 40 * MILLISECOND) == 101 * SECOND + 40 * MILLISECOND + MARGIN
    deadline = one.hear(101)
    assert 102 * SECOND + MARGIN < deadline < 102 * SECOND + MARGIN + MILLISECOND


def test_one_heartbeat_a_long_time_late_is_no_reason_to_begin_anew():
    # Against the short mean alone, the heartbeat after it came fifteen intervals too early.
    one = one_of()
    one.hear_all([0] * 200)
    one.hear(200, 15 * SECOND)
    assert one.detector.learnt_count[0] == 128
    one.hear(201)
    assert one.detector.learnt_count[0] == 128


def test_a_schedule_that_moved_begins_both_anew():
    one = one_of()
    one.hear_all([0] * 200)
    one.hear(200, 40 * MILLISECOND)
    assert one.detector.gap_ns[0] != 0
    one.detector.reanchor(np.array([0]))
    assert one.detector.gap_ns[0] == 0
    assert one.hear(201, 5 * SECOND) == 207 * SECOND + MARGIN


def test_delaying_the_last_heartbeats_costs_that_delay_once():
    # With a margin for what the long mean has moved.
    on_time, delayed = one_of(), one_of()
    on_time.hear_all([0] * 120)
    delayed.hear_all([0] * 100 + [15 * SECOND] * 20)
    assert delayed.deadline_ns - on_time.deadline_ns <= 15 * SECOND + SECOND
