"""Quality of deadlines: by hand, by the paper's own table, and by its theorem on mistake times."""

import math

import numpy as np
import pytest

from beatward.backtest import Arrivals, judge
from beatward.backtest.quality import detection_times
from beatward.core.instants import SECOND
from beatward.simulate.traces import Bernoulli, Exponential, TracePath, beat, generator


def arrivals(*rows, interval=1.0):
    """Rows of (sequence, sent, arrived) in seconds."""
    table = np.array(rows, np.float64)
    sent, arrived = (np.rint(table[:, i] * SECOND).astype(np.int64) for i in (1, 2))
    return Arrivals(round(interval * SECOND), table[:, 0].astype(np.int64), sent, arrived)


def instants(*seconds):
    return np.rint(np.array(seconds) * SECOND).astype(np.int64)


def test_nobody_is_suspected_whose_heartbeats_are_in_time():
    beats = arrivals((0, 0, 0.1), (1, 1, 1.1), (2, 2, 2.1))
    quality = judge(beats, instants(1.5, 2.5, 3.5))
    assert quality.mistakes == 0
    assert quality.query_accuracy == 1.0
    assert quality.mistake_duration_s == 0.0
    assert quality.mistake_recurrence_s == math.inf
    # A crash between two heartbeats, one second apart, is found 0.5 to 1.5 s later.
    assert quality.detection_mean_s == pytest.approx(1.0)
    assert quality.detection_p99_s == pytest.approx(1.49, abs=0.001)
    assert quality.detection_max_s == pytest.approx(1.5)


def test_a_lost_heartbeat_is_a_mistake_until_the_next_one():
    beats = arrivals((0, 0, 0.1), (2, 2, 2.1), (3, 3, 3.1))
    quality = judge(beats, instants(1.5, 3.5, 4.5))
    assert quality.mistakes == 1
    assert quality.mistake_duration_s == pytest.approx(0.6)
    assert quality.query_accuracy == pytest.approx(1 - 0.6 / 3.0)
    # Crashes in [0, 2): 1.5 s down to 0 while it is trusted, 0 while it is suspected.
    by_hand = (1.5**2 / 2 + (1.5**2 - 0.5**2) / 2) / 3
    assert quality.detection_mean_s == pytest.approx(by_hand)


def test_a_heartbeat_too_late_to_be_fresh_ends_no_mistake():
    # The second comes when its own deadline has passed: one long mistake, not two.
    beats = arrivals((0, 0, 0.1), (1, 1, 2.6), (2, 2, 2.7), (3, 3, 3.1))
    quality = judge(beats, instants(1.5, 2.5, 3.5, 4.5))
    assert quality.mistakes == 1
    assert quality.mistake_duration_s == pytest.approx(1.2)


def test_a_deadline_that_moves_back_behind_its_arrival_is_a_mistake_from_then_on():
    beats = arrivals((0, 0, 0.1), (1, 1, 1.4), (2, 2, 2.1), (3, 3, 3.1))
    quality = judge(beats, instants(1.5, 1.2, 3.5, 4.5))
    assert quality.mistakes == 1
    assert quality.mistake_duration_s == pytest.approx(0.7)


def test_detection_times_are_those_of_drawn_crashes():
    rng = np.random.default_rng(1)
    longest = rng.normal(1.2, 0.8, 2000)
    spans = rng.uniform(0.5, 2.0, 2000)
    which = rng.choice(2000, 1_000_000, p=spans / spans.sum())
    crashes = np.maximum(longest[which] - rng.random(1_000_000) * spans[which], 0.0)
    mean, p99, most = detection_times(longest, spans)
    assert mean == pytest.approx(crashes.mean(), rel=0.005)
    assert p99 == pytest.approx(np.quantile(crashes, 0.99), rel=0.005)
    assert most == longest.max()
    assert detection_times(np.array([-1.0]), np.array([1.0])) == (0.0, 0.0, 0.0)


# NFD-S with interval 1 s, 1 % lost, delays exponential with mean 20 ms: bound of the detection
# time, E(T_MR), E(T_M) and 1 - P_A by theorem 4 of Chen, Toueg and Aguilera.
STAIRCASE = [
    (1.05, 11.1, 0.1252, 1.131e-2),
    (1.25, 101.0, 0.7798, 7.723e-3),
    (2.00, 101.0, 0.0301, 2.980e-4),
    (2.05, 1106.8, 0.1252, 1.131e-4),
    (2.50, 10101, 0.5301, 5.248e-5),
]


@pytest.fixture(scope="module")
def paper():
    path = TracePath(Exponential(0.02 * SECOND), Bernoulli(0.01), keeps_order=False)
    trace = beat(generator(1, "staircase"), path, SECOND, 2_000_000)
    return Arrivals(SECOND, trace.sequence, trace.sent_ns, trace.arrived_ns)


@pytest.mark.parametrize(("bound", "recurrence", "duration", "suspected"), STAIRCASE)
def test_the_replay_agrees_with_the_theory(paper, bound, recurrence, duration, suspected):
    freshness = (paper.sequence + 1) * SECOND + round((bound - 1) * SECOND)
    quality = judge(paper, freshness)
    # The number of mistakes has the spread of a Poisson number; four of them.
    spread = 4 / math.sqrt(quality.mistakes)
    assert quality.mistakes > 100
    assert quality.mistake_recurrence_s == pytest.approx(recurrence, rel=spread)
    assert quality.mistake_duration_s == pytest.approx(duration, rel=0.01 + spread)
    assert 1 - quality.query_accuracy == pytest.approx(suspected, rel=0.01 + 2 * spread)
    # Theorem 1, and the tight bound.
    ratio = quality.mistake_duration_s / quality.mistake_recurrence_s
    assert quality.query_accuracy == pytest.approx(1 - ratio, abs=1e-9)
    assert quality.detection_max_s == pytest.approx(bound, abs=1e-9)
    assert quality.detection_mean_s == pytest.approx(bound - 0.5, rel=0.02)
