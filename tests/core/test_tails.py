"""Tails of distributions as -log10: golden numbers, no overflow, and the compact histogram."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.tails import (
    BINS,
    EDGES,
    bins_of,
    deviations_at,
    halved,
    level,
    logistic_tail,
    memory_of,
    normal_tail,
    quantile,
)


def one(function, value):
    return float(function(np.array([value], np.float64))[0])


# --- the normal tail ---


@pytest.mark.parametrize(
    ("phi", "deviations"),
    [
        (1, 1.2816),
        (2, 2.3263),
        (3, 3.0902),
        (5, 4.2649),
        (8, 5.6120),
        (10, 6.3613),
        (12, 7.0345),
        (16, 8.2221),
    ],
)
def test_the_deviations_of_a_threshold_are_those_of_the_normal_distribution(phi, deviations):
    assert deviations_at(phi, normal_tail) == pytest.approx(deviations, abs=5e-5)


@pytest.mark.parametrize(
    ("deviations", "expected"),
    [
        # By series and continued fraction with 70 digits.
        (-3, 0.00058664931379006691),
        (0, 0.30102999566398120),
        (3, 2.8696990359293691),
        (8, 15.206142551017155),
        (20, 88.560095343075592),
        (38, 315.53978970396251),
    ],
)
def test_the_normal_tail_is_exact(deviations, expected):
    assert one(normal_tail, deviations) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("deviations", np.linspace(-8, 36, 89))
def test_the_normal_tail_agrees_with_erfc_to_a_billionth_as_far_as_that_goes(deviations):
    if deviations < 0:
        wanted = -math.log1p(-0.5 * math.erfc(-deviations / math.sqrt(2))) / math.log(10)
    else:
        wanted = -math.log10(0.5 * math.erfc(deviations / math.sqrt(2)))
    assert one(normal_tail, deviations) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("tail", [normal_tail, logistic_tail])
@given(deviations=st.floats(allow_nan=False))
def test_no_number_of_deviations_raises_or_is_infinite(tail, deviations):
    assert 0 <= one(tail, deviations) < math.inf


@pytest.mark.parametrize("tail", [normal_tail, logistic_tail])
def test_a_tail_never_falls_where_its_two_formulas_meet(tail):
    values = tail(np.concatenate((np.linspace(-40, 60, 5001), np.linspace(19.999, 20.001, 2001))))
    assert (np.diff(values[:5001]) >= 0).all()
    assert (np.diff(values[5001:]) >= 0).all()


# --- Akka's approximation ---


@pytest.mark.parametrize(("deviations", "phi"), [(5.612, 9.310), (8, 21.24), (20, 259.0)])
def test_akkas_formula_has_akkas_error(deviations, phi):
    assert one(logistic_tail, deviations) == pytest.approx(phi, rel=5e-4)


@pytest.mark.parametrize(("phi", "deviations"), [(8, 5.2260), (10, 5.7990), (12, 6.2921)])
def test_akkas_threshold_is_fewer_deviations_than_it_says(phi, deviations):
    assert deviations_at(phi, logistic_tail) == pytest.approx(deviations, abs=5e-5)


@pytest.mark.parametrize("deviations", [-21, -3, -0.1, 0.1, 1, 5, 21])
def test_akkas_two_branches_are_one_formula(deviations):
    # As in PhiAccrualFailureDetector.scala.
    e = math.exp(-deviations * (1.5976 + 0.070566 * deviations**2))
    phi = -math.log10(e / (1 + e)) if deviations > 0 else -math.log10(1 - 1 / (1 + e))
    assert one(logistic_tail, deviations) == pytest.approx(phi, rel=1e-9, abs=1e-15)


# --- the compact histogram ---


def counts_of(shares):
    return np.bincount(bins_of(np.array(shares, np.float64)), minlength=BINS).astype(np.uint16)


def test_bins_end_at_the_scale_with_two_steps_an_octave():
    assert EDGES[-5:].tolist() == [0.25, 0.375, 0.5, 0.75, 1.0]
    assert EDGES[1] == 1 / 128
    assert bins_of(
        np.array([-1e9, -1e-9, 0, 0.0078, 1 / 128, 0.5, 0.7499, 0.75, 1, 1e9])
    ).tolist() == [*(0, 0, 0, 0, 1, 13, 13, 14, 15, 15)]


@given(st.lists(st.floats(-2, 4), min_size=1, max_size=200), st.floats(1e-4, 0.4))
def test_no_more_than_the_share_asked_for_is_later_than_the_quantiles_upper_edge(shares, late):
    counts = counts_of(shares)
    found, enough = quantile(counts[None], late)
    assert enough[0] == (late * (len(shares) + 1) >= 1)
    upper = EDGES[found[0] * (1 - 1e-9) <= EDGES].min(initial=math.inf)
    later = sum(np.float32(share) >= upper for share in shares)
    # The chance that the next passes an edge that K of m passed is (K+1/2)/(m+1), give or take 1/2.
    assert later + 0.5 <= max(late * (len(shares) + 1), 1) or math.isinf(found[0])


@given(st.lists(st.floats(-2, 0.99), min_size=1, max_size=200))
def test_with_too_few_counted_the_quantile_lies_beyond_all_that_were_seen(shares):
    found, enough = quantile(counts_of(shares)[None], 1e-3)
    assert not enough[0]
    assert found[0] >= max(shares)


def test_between_two_edges_the_logarithm_of_the_chance_is_a_straight_line():
    # 999 seen, 31 of them at or beyond 0.5, none beyond 0.75: 1 in 100 lies between.
    counts = counts_of([0.01] * 968 + [0.6] * 31)
    found, enough = quantile(counts[None], 0.01)
    part = math.log(31.5 / 10) / math.log(31.5)
    assert enough[0]
    assert found[0] == pytest.approx(0.5 + 0.25 * part)


def test_where_too_many_lie_beyond_the_scale_the_quantile_is_infinite():
    found, _ = quantile(counts_of([0.01] * 900 + [2.0] * 99)[None], 0.01)
    assert math.isinf(found[0])


@given(st.lists(st.floats(-2, 4), min_size=100, max_size=300), st.floats(0.02, 0.4))
def test_the_level_at_the_quantile_is_the_chance_asked_for(shares, late):
    counts = counts_of(shares)[None]
    found, _ = quantile(counts, late)
    if EDGES[1] < found[0] < math.inf:
        assert level(counts, found)[0] == pytest.approx(-math.log10(late), rel=1e-5)


@given(st.lists(st.floats(-2, 4), min_size=1, max_size=100))
def test_the_level_never_falls_and_is_nothing_up_to_the_due_instant(shares):
    at = np.concatenate((np.array([-1e9, 0.0]), np.geomspace(1e-4, 10, 400)))
    levels = level(np.repeat(counts_of(shares)[None], len(at), axis=0), at)
    assert (levels[:2] == 0).all()
    # Either side of an edge the same level is the logarithm of another quotient.
    rounding = 4 * np.spacing(levels.max())
    assert (np.diff(levels) >= -rounding).all()
    assert levels[-1] <= math.log10(len(shares) + 1) + rounding


@given(st.lists(st.integers(0, 4000), min_size=BINS, max_size=BINS))
def test_halving_halves_how_many_were_later_than_each_edge_and_rounds_up(counts):
    before = np.array([counts], np.uint16)
    after = halved(before)
    later = np.cumsum(before[0, ::-1].astype(int))
    assert np.cumsum(after[0, ::-1].astype(int)).tolist() == ((later + 1) // 2).tolist()


@pytest.mark.parametrize(
    ("late", "count"), [(0.4, 1024), (1e-2, 1600), (1e-3, 16_000), (1e-9, 65_000)]
)
def test_as_many_heartbeats_are_counted_as_a_dozen_late_ones_take(late, count):
    assert memory_of(late) == count
