"""What a detector promises at most: no arrivals make it wait longer than that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.instants import MILLISECOND, SECOND
from beatward.simulate.bounds import suspected_within_ns

ONE = np.array([0])
# How late a heartbeat is, in milliseconds, and how many are lost before it.
BEATS = st.lists(
    st.tuples(st.sampled_from((0, 1, 40, 400, 900)), st.sampled_from((0, 0, 0, 1, 3))),
    min_size=1,
    max_size=60,
)


def waits_ns(settings, interval_ns, beats):
    """Return how long after each arrival the deadline lies, while all come before theirs."""
    detector = DETECTORS[settings.kind](settings, 1)
    detector.forget(ONE)
    slot = -1
    for late_ms, lost in beats:
        slot += 1 + lost
        arrived = slot * interval_ns + late_ms * MILLISECOND
        said = np.array([1 + lost]), np.array([interval_ns]), np.array([10**12 + arrived])
        detector.observe(ONE, *said)
        yield int(detector.deadline_ns[0]) - 10**12 - arrived


@pytest.mark.parametrize("kind", sorted(DETECTORS))
@given(
    beats=BEATS,
    window=st.sampled_from((1, 16, 1000)),
    threshold=st.sampled_from((1.0, 8.0)),
    margin_ns=st.sampled_from((None, None, 300 * MILLISECOND)),
)
def test_no_arrivals_make_it_wait_longer_than_its_bound(kind, beats, window, threshold, margin_ns):
    settings = DetectorSettings(kind, samples=window, threshold=threshold, margin_ns=margin_ns)
    most_ns = suspected_within_ns(settings, SECOND)
    assert max(waits_ns(settings, SECOND, beats)) <= most_ns


@pytest.mark.parametrize("kind", ["phi", "histogram", "fixed", "phi_exponential"])
def test_the_worst_arrivals_come_near_the_bound(kind):
    """Or else it would be no bound but a number. Twice, for a last word that was held back."""
    settings = DetectorSettings(kind, threshold=2.0, timeout_ns=3 * SECOND)
    worst = max(waits_ns(settings, SECOND, [(0, 0), *[(4000 * i, 0) for i in range(40)]]))
    assert suspected_within_ns(settings, SECOND) / 4 < worst


def test_a_margin_and_a_timeout_that_are_set_are_what_counts():
    set_ns = 7 * SECOND
    margin = DetectorSettings("chen", margin_ns=set_ns)
    assert suspected_within_ns(margin, SECOND) == SECOND + 2 * set_ns + 2 * SECOND
    assert suspected_within_ns(DetectorSettings("fixed", timeout_ns=set_ns), SECOND) == 2 * set_ns
