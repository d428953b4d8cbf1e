"""Phi with an exponential distribution: Cassandra's multiple of the mean."""

import pytest
from tests.core.one_slot import OneSlot

from beatward.core.instants import SECOND


@pytest.mark.parametrize(("threshold", "means"), [(8.0, 18.4207), (1.0, 2.3026), (12.0, 27.631)])
def test_the_timeout_is_a_multiple_of_the_mean(threshold, means):
    one = OneSlot("phi_exponential", threshold=threshold)
    one.hear_all([0] * 50)
    assert one.timeout_ns / SECOND == pytest.approx(means, rel=1e-5)


def test_the_mean_is_that_of_the_times_between_arrivals():
    one = OneSlot("phi_exponential", threshold=1.0)
    one.hear_all([0, SECOND // 10, SECOND // 5])  # 1.1 s and 1.1 s
    assert one.timeout_ns / SECOND == pytest.approx(2.302585 * 1.1, rel=1e-6)


def test_a_time_beyond_two_intervals_counts_as_two():
    one = OneSlot("phi_exponential", threshold=1.0, samples=4)
    one.hear_all([0] * 50)
    one.hear(50, 113 * SECOND)
    assert one.timeout_ns / SECOND == pytest.approx(2.302585 * 1.4, rel=1e-6)  # weight 2/5


def test_a_lasting_change_is_learnt():
    one = OneSlot("phi_exponential", threshold=1.0, samples=4)
    one.hear_all([place * SECOND // 2 for place in range(100)])
    assert one.timeout_ns / SECOND == pytest.approx(2.302585 * 1.5, rel=1e-6)


def test_neither_duplicates_nor_a_flushed_queue_nor_loss_move_the_mean():
    # ScyllaDB #2861: more gossip than promised made the mean smaller, until nodes flapped.
    one = OneSlot("phi_exponential")
    one.hear_all([0] * 100)
    before = one.timeout_ns
    for sequence in range(100, 200):
        one.hear(sequence, (199 - sequence) * SECOND)
    assert one.timeout_ns >= before
    lossy = OneSlot("phi_exponential")
    for sequence in range(0, 300, 3):
        lossy.hear(sequence)
    assert lossy.timeout_ns == before


def test_a_threshold_so_low_that_it_would_break_the_promise_is_held_at_the_promise():
    one = OneSlot("phi_exponential", threshold=0.1)
    assert one.hear(0) == SECOND


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "nothing was heard yet"),
        (9, "phi reaches 8 there: 18.42 times 1 s, the mean between two heartbeats"),
    ],
)
def test_it_says_where_its_timeout_comes_from(count, words):
    one = OneSlot("phi_exponential")
    one.hear_all([0] * count)
    assert one.why == words


@pytest.mark.parametrize(("means", "phi"), [(1, 0.4343), (2.302585, 1.0), (18.42068, 8.0)])
def test_suspicion_is_phi(means, phi):
    one = OneSlot("phi_exponential")
    one.hear_all([0] * 100)
    now = 99 * SECOND + round(means * SECOND)
    assert one.suspicion_at(now) == pytest.approx(phi, rel=1e-4)
