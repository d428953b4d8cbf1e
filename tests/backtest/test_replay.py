"""Replays: what the monitor would have done, in pieces or whole; and curves over a knob."""

import math

import numpy as np
import pytest

from beatward.backtest import Arrivals, deadlines, judge, measure
from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.instants import MILLISECOND, SECOND
from beatward.simulate.traces import draw


def drawn(name, count, seed=1):
    trace = draw(name, seed, count=count)
    return Arrivals(trace.interval_ns, trace.sequence, trace.sent_ns, trace.arrived_ns)


def one_by_one(beats, settings):
    """Feed a detector as the monitor does, a heartbeat at a time."""
    detector = DETECTORS[settings.kind](settings, 1)
    slot = np.array([0])
    detector.forget(slot)
    found = []
    before = beats.sequence[0]
    for sequence, arrived in zip(beats.sequence, beats.arrived_ns, strict=True):
        detector.observe(
            slot, np.array([sequence - before]), np.array([beats.interval_ns]), np.array([arrived])
        )
        found.append(int(detector.deadline_ns[0]))
        before = sequence
    return np.array(found)


@pytest.mark.parametrize("kind", DETECTORS)
def test_one_piece_is_what_the_monitor_would_have_done(kind):
    beats = drawn("burst", 3000)
    settings = DetectorSettings(kind=kind)
    whole = deadlines(beats, settings, skipped=500, pieces=1)
    assert np.array_equal(whole, one_by_one(beats, settings)[500:])


def test_pieces_forget_that_they_began_somewhere():
    beats = drawn("regime", 40_000)
    settings = DetectorSettings(kind="chen", margin_ns=50 * MILLISECOND)
    whole = deadlines(beats, settings, skipped=2000, pieces=1)
    pieces = deadlines(beats, settings, skipped=2000, pieces=16)
    assert np.abs(pieces - whole).max() < MILLISECOND
    counted = beats.part(2000, len(beats))
    assert judge(counted, pieces).mistakes == judge(counted, whole).mistakes


@pytest.mark.parametrize("count", [4001, 4997])
def test_every_heartbeat_after_the_warm_up_is_judged_once(count):
    beats = drawn("drift", count)
    settings = DetectorSettings(kind="fixed", timeout_ns=2 * SECOND)
    found = deadlines(beats, settings, skipped=100, pieces=13)
    assert np.array_equal(found, beats.arrived_ns[100:] + 2 * SECOND)


# --- curves -----------------------------------------------------------------------------------


def fixed(value):
    return DetectorSettings(kind="fixed", timeout_ns=round(value * SECOND))


@pytest.fixture(scope="module")
def beats():
    return drawn("iid", 200_000)


@pytest.fixture(scope="module")
def curve(beats):
    return measure(beats, (1.02, 1.5, 2.2, 3.2), fixed, fewest=20)


def test_the_knob_is_not_turned_further_than_mistakes_can_be_counted(curve):
    assert [each.value for each in curve.measured] == [1.02, 1.5, 2.2]
    counts = [each.quality.mistakes for each in curve.measured]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 20 <= counts[-2]


def test_between_two_values_mistakes_are_counted(beats, curve):
    # Half way to the cliff at two intervals, and upon it: a straight line would miss both.
    for mistake_rate in (200.0, 60.0, 20.0, 5.0, 0.8):
        point = curve.at(mistake_rate)
        again = measure(beats, (point.value,), fixed, fewest=0).measured[0].quality
        spread = 4 * math.sqrt(mistake_rate / again.hours)
        assert again.mistake_rate == pytest.approx(mistake_rate, abs=spread)
        assert again.detection_mean_s == pytest.approx(point.detection_mean_s, rel=1e-3)
        assert again.detection_p99_s == pytest.approx(point.detection_p99_s, rel=0.02)
        assert again.detection_max_s == pytest.approx(point.detection_max_s, rel=1e-3)


def test_outside_of_what_was_measured_nothing_is_said(curve):
    assert curve.at(1e6) is None
    assert curve.at(1e-6) is None
