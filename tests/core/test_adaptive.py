"""VA-NFD: the margin knows how rough the last minutes were."""

import re

import numpy as np
import pytest
from tests.core.one_slot import SLOT, OneSlot

from beatward.core.instants import MILLISECOND, SECOND


def largest_ns(one):
    return float(one.detector._largest(SLOT)[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_lateness_is_that_of_the_last_193_to_256_heartbeats(seed):
    lateness = np.random.default_rng(seed).integers(0, 400 * MILLISECOND, 900)
    one = OneSlot("adaptive")
    seen = []
    for place, late in enumerate(lateness):
        due = one.due_ns if place else 0
        counted = one.detector.learnt_count[0]
        one.hear(place, late)
        begun = place == 0 or counted == 0 or one.detector.learnt_count[0] <= counted < 128
        seen.append(0 if begun else max(place * SECOND + late - due, 0))
    least, most = max(seen[-193:]), max(seen[-256:])
    assert least * 0.999999 <= largest_ns(one) <= most * 1.000001


def test_one_pause_makes_the_margin_larger_and_is_forgotten_for_good():
    one = OneSlot("adaptive", late_probability=0.01)
    one.hear_all([0] * 300)
    calm = one.margin_ns
    one.hear(300, 700 * MILLISECOND)
    assert one.margin_ns >= 700 * MILLISECOND
    one.hear_all([0] * 192)
    assert one.margin_ns >= 700 * MILLISECOND
    one.hear_all([0] * 64)
    assert largest_ns(one) < MILLISECOND
    assert one.margin_ns == calm


def test_a_long_outage_counts_as_two_intervals_and_lost_heartbeats_as_nothing():
    one = OneSlot("adaptive")
    one.hear_all([0] * 300)
    one.hear(400)
    assert one.margin_ns == 50 * MILLISECOND
    one.hear(401, 100 * SECOND)
    assert one.margin_ns == 2 * SECOND


def test_what_was_learnt_of_lateness_outlives_a_schedule_that_moves_but_not_a_life():
    one = OneSlot("adaptive")
    one.hear_all([0] * 100 + [600 * MILLISECOND] + [0] * 9)
    one.detector.reanchor(SLOT)
    assert largest_ns(one) > 500 * MILLISECOND
    one.detector.forget(SLOT)
    assert largest_ns(one) == 0


def test_the_quantile_is_of_what_comes_later_than_the_largest_allows():
    one = OneSlot("adaptive", late_probability=0.01, margin_min_ns=1)
    one.hear_all(np.random.default_rng(2).exponential(20 * MILLISECOND, 4000))
    # Of 256 the largest is passed by the next with a chance of 1 in 257 already.
    assert one.margin_ns - largest_ns(one) < 20 * MILLISECOND
    assert re.search(r"and 99 % of 1,[0-9]{3} came earlier$", one.why)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "nothing was heard yet"), (9, "0 s for the latest of the last 256, and at most 1 in ")],
)
def test_it_says_where_its_margin_comes_from(count, words):
    one = OneSlot("adaptive")
    one.hear_all([0] * count)
    assert one.why.startswith(words)


def test_to_a_margin_from_the_settings_the_largest_lateness_is_added():
    one = OneSlot("adaptive", margin_ns=100 * MILLISECOND)
    one.hear_all([0] * 300)
    assert one.margin_ns == 100 * MILLISECOND
    one.hear(300, 700 * MILLISECOND)
    assert one.margin_ns == pytest.approx(800 * MILLISECOND, rel=1e-6)
    one.hear_all([0] * 256)
    assert one.margin_ns < 101 * MILLISECOND
