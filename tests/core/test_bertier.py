"""Bertier, Marin and Sens: Chen's expectation with Jacobson's margin."""

import pytest
from tests.core.one_slot import OneSlot

from beatward.core.instants import MILLISECOND, SECOND


def by_hand(lateness, *, gain=0.1, delay_weight=1.0, deviation_weight=4.0):
    """Return the margin by the formulas of the paper; the mean is exact while it is young."""
    delay = deviation = mean = 0.0
    for place, late in enumerate(lateness):
        error = (late - mean if place else 0.0) - delay
        delay += gain * error
        deviation += gain * (abs(error) - deviation)
        mean += (late - mean) / (place + 1)
    return delay_weight * delay + deviation_weight * deviation


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"deviation_weight": 2.0},
        {"gain": 0.25, "delay_weight": 0.0},
        {"gain": 0.5, "delay_weight": 3.0, "deviation_weight": 8.0},
    ],
)
def test_the_margin_is_that_of_the_paper(weights):
    lateness = [place * place % 37 * 9 * MILLISECOND for place in range(40)]
    one = OneSlot("bertier", margin_min_ns=1, **weights)
    one.hear_all(lateness)
    assert one.margin_ns == pytest.approx(max(by_hand(lateness, **weights), 1), rel=1e-5)


def test_the_margin_is_held_between_its_least_and_four_intervals():
    one = OneSlot("bertier")
    one.hear_all([0] * 50)
    assert one.margin_ns == 50 * MILLISECOND
    rough = OneSlot("bertier", deviation_weight=100.0)
    rough.hear_all([0, SECOND // 2] * 50)
    assert rough.margin_ns == 4 * SECOND


def test_it_forgets_an_outage_of_a_pause_in_some_dozen_heartbeats():
    one = OneSlot("bertier")
    one.hear_all([0] * 200)
    one.hear(200, 3 * SECOND)
    assert one.margin_ns > SECOND
    one.hear_all([0] * 60)
    assert one.margin_ns == 50 * MILLISECOND


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "nothing was heard yet"),
        (7, "one whole interval, because only 7 heartbeats of this schedule came so far"),
        (8, "a delay of 0 s and 4 times a mean deviation of 0 s"),
    ],
)
def test_it_says_where_its_margin_comes_from(count, words):
    one = OneSlot("bertier")
    one.hear_all([0] * count)
    assert one.why == words
