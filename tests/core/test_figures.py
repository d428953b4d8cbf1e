"""What follows from the counts: Chen's identities, the bounds of a histogram, goals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.by_hand import LIFE, START, heard, said
from tests.core.measured import answer, by_hand, figures, of

from beatward.core.figures import BOUNDS_NS, Goal
from beatward.core.instants import DAY, HOUR, MILLISECOND, SECOND
from beatward.core.protocol.record import Farewell, Kind


@given(
    alive=st.lists(st.floats(1.0, 1e18), min_size=3, max_size=3),
    share=st.floats(0, 1),
    mistakes=st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
)
def test_query_accuracy_is_one_minus_rate_times_duration(alive, share, mistakes):
    found = figures(by_hand())
    found.trusted_ns[:] = 0.0
    alive, mistakes = np.array(alive), np.array(mistakes, np.float64)
    mistaken = np.where(mistakes > 0, alive * share, 0.0)
    blank = {name: np.zeros(3) for name in found.__slots__ if name != "goal"}
    made = type(found)(
        goal=Goal(),
        **{
            **blank,
            "trusted_ns": alive - mistaken,
            "mistaken_ns": mistaken,
            "suspicions_refuted": mistakes,
        },
    )
    duration = np.nan_to_num(made.mistake_duration_ns)
    accuracy = 1 - made.mistake_rate / HOUR * duration
    assert made.query_accuracy == pytest.approx(accuracy, abs=1e-9)
    recurrence = np.where(mistakes > 0, made.mistake_recurrence_time_ns, np.inf)
    assert made.query_accuracy == pytest.approx(1 - duration / recurrence, abs=1e-9)
    assert ((made.query_accuracy >= -1e-9) & (made.query_accuracy <= 1)).all()


@pytest.mark.parametrize(
    ("length_ns", "bound_ns"),
    [
        (250 * MILLISECOND, 250 * MILLISECOND),
        (250 * MILLISECOND + 1, 500 * MILLISECOND),
        (SECOND, SECOND),
        (SECOND + 1, 2 * SECOND),
        (2**16 * SECOND, 2**16 * SECOND),
        (2**16 * SECOND + 1, None),
    ],
)
def test_an_outage_is_counted_up_to_its_bound(length_ns, bound_ns):
    monitor = by_hand()
    monitor.beat(*range(4))
    monitor.step(3_500_000_000, said(kind=Kind.GOODBYE, sequence=4, status=Farewell.EXITED))
    # The proof of the new life comes in that very turn.
    back = 3_500_000_000 + length_ns
    (asked,) = heard(monitor.step(back - 1, said(incarnation=LIFE + 1, echo=0)))
    monitor.step(back, said(incarnation=LIFE + 1, echo=asked.echo))
    counts = of(monitor)["outages"]["counts"]
    place = len(BOUNDS_NS) if bound_ns is None else BOUNDS_NS.index(bound_ns)
    assert counts[place] == sum(counts) == 1


GOAL = Goal(detect_within_ns=2_050_000_000, mistakes_every_ns=30 * SECOND)


def test_a_goal_that_nothing_was_seen_of_is_open():
    monitor = by_hand(goal=GOAL)
    monitor.beat(*range(20))
    assert of(monitor)["goal"] == {
        "detect_within": {"goal_ns": 2_050_000_000, "state": "open", "beyond": 0},
        "mistakes_every": {"goal_ns": 30 * SECOND, "state": "open"},
    }
    monitor.beat(*range(20, 31))
    assert of(monitor)["goal"]["mistakes_every"]["state"] == "kept"


def test_a_goal_is_missed_by_what_was_measured():
    monitor = by_hand(goal=GOAL)
    monitor.beat(*range(20))
    monitor.walk(20_100_000_000)
    answer(monitor, 20_200_000_000, sequence=20)
    assert of(monitor)["goal"]["mistakes_every"]["state"] == "missed"
    monitor.beat(*range(21, 40))
    assert of(monitor)["goal"]["mistakes_every"]["state"] == "kept"
    monitor.walk(50 * SECOND)
    assert of(monitor)["goal"]["detect_within"] == {
        "goal_ns": 2_050_000_000,
        "state": "missed",
        "beyond": 1,
    }
    monitor.come_back(60 * SECOND, incarnation=LIFE + 1)
    assert of(monitor)["goal"]["detect_within"]["beyond"] == 1


def test_a_goal_is_kept_by_whoever_is_found_in_time():
    monitor = by_hand(goal=Goal(detect_within_ns=2_100_000_000))
    monitor.beat(*range(20))
    monitor.walk(30 * SECOND)
    (state,) = of(monitor)["goal"].values()
    assert state["state"] == "kept"
    assert of(by_hand())["goal"] is None


def test_ten_years_are_counted():
    monitor = by_hand()
    monitor.beat(0)
    snapshot = monitor.snapshot()
    found = snapshot.state.quality.fleet(START + 3650 * DAY).public(0)
    assert found["alive_ns"] == 3650 * DAY
