"""The fixed timeout: one number since the last arrival, with the weakness that it is known for."""

import numpy as np
import pytest

from beatward.core.detect import DetectorSettings, Fixed
from beatward.core.instants import MILLISECOND, SECOND

SLOTS = np.array([0, 1])


def heard(*, timeout_ns=None, interval_ns=SECOND, at_ns=0):
    fixed = Fixed(DetectorSettings(kind="fixed", timeout_ns=timeout_ns), 2)
    fixed.observe(
        SLOTS, np.array([0, 0]), np.array([interval_ns, 2 * interval_ns]), np.full(2, at_ns)
    )
    return fixed


@pytest.mark.parametrize(
    ("timeout_ns", "deadlines_ns", "margins_ns", "words"),
    [
        (None, [13 * SECOND, 16 * SECOND], [2 * SECOND, 4 * SECOND], "of 3 intervals"),
        (5 * SECOND, [15 * SECOND, 15 * SECOND], [4 * SECOND, 3 * SECOND], "from the settings"),
    ],
)
def test_the_deadline_is_the_arrival_and_a_timeout(timeout_ns, deadlines_ns, margins_ns, words):
    fixed = heard(timeout_ns=timeout_ns, at_ns=10 * SECOND)
    assert fixed.deadline_ns.tolist() == deadlines_ns
    assert fixed.due_ns(SLOTS).tolist() == [11 * SECOND, 12 * SECOND]
    assert fixed.margin_ns(SLOTS).tolist() == margins_ns
    assert (fixed.timeout_ns(SLOTS) - fixed.margin_ns(SLOTS)).tolist() == [SECOND, 2 * SECOND]
    assert fixed.why(0).endswith(words)


def test_twenty_heartbeats_each_15_s_late_extend_a_life_each_time():
    # What Chen's detector does not do: here each arrival begins the timeout anew.
    fixed = heard()
    for sequence in range(1, 21):
        arrived = np.array([sequence * 15 * SECOND])
        fixed.observe(SLOTS[:1], np.array([1]), np.array([SECOND]), arrived)
    assert fixed.deadline_ns[0] == 303 * SECOND


def test_neither_schedule_nor_history_matters():
    fixed = heard(interval_ns=100 * MILLISECOND)
    fixed.reanchor(SLOTS)
    before = fixed.deadline_ns.copy()
    for learn in (True, False):
        fixed.observe(
            SLOTS,
            np.array([7, 2**61]),
            np.array([100, 200]) * MILLISECOND,
            np.zeros(2, np.int64),
            learn=learn,
        )
        assert (fixed.deadline_ns == before).all()


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, 0), (1, 1), (1.5, 1.5), (3, 3), (4, 4), (13, 13), (1e6, 300)]
)
def test_suspicion_rises_to_its_threshold_at_the_deadline_and_by_one_an_interval_then(
    seconds, level
):
    fixed = heard()
    now = np.array([round(seconds * SECOND)])
    assert fixed.suspicion(SLOTS[:1], now)[0] == pytest.approx(level)
