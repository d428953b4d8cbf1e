"""`calendar`: due instants that are handed in, graces, runs; by hand, in minutes."""

import numpy as np
import pytest
from tests.core.one_slot import SLOT

from beatward.core.detect import Calendar, DetectorSettings, Fixed
from beatward.core.instants import MINUTE, NEVER, SECOND

DUES = tuple(minute * MINUTE for minute in (60, 120, 180, 240))


def instants(*minutes):
    return np.array([round(minute * MINUTE) for minute in minutes])


class Minutes:
    """One job, due each hour, with a grace of 10 minutes and runs of 20; all in minutes."""

    def __init__(self, *, dues=DUES, interval_ns=0, run=20):
        self.calendar = Calendar(DetectorSettings(kind="calendar"), 1)
        self.calendar.forget(SLOT)
        self.calendar.plan(
            0, interval_ns=interval_ns, grace_ns=10 * MINUTE, run_ns=round(run * MINUTE)
        )
        if dues:
            self.calendar.hand(0, dues)

    def begin(self, minute):
        self.calendar.begin(SLOT, instants(minute))
        return self.deadline

    def end(self, minute):
        interval = self.calendar.interval_ns[SLOT]
        self.calendar.observe(SLOT, np.ones(1, np.int64), interval, instants(minute))
        return self.deadline

    @property
    def deadline(self):
        deadline_ns = int(self.calendar.deadline_ns[0])
        return None if deadline_ns == NEVER else deadline_ns / MINUTE


def test_the_first_run_is_due_at_the_first_instant_and_may_be_late_by_the_grace():
    job = Minutes()
    assert job.deadline == 70
    assert job.calendar.due_ns(SLOT)[0] == 60 * MINUTE
    assert job.calendar.why(0) == "a grace of 10 min"


@pytest.mark.parametrize(
    ("ended", "deadline"),
    [
        (61, 130),
        (119, 190),  # early, for the run at 120
        (110.1, 190),
        (110, 190),  # by exactly the grace
        (109.9, 130),  # by more: a run by hand
        (10, 70),
        (185, 250),
    ],
)
def test_a_word_counts_for_what_is_due_up_to_a_grace_later(ended, deadline):
    assert Minutes().end(ended) == deadline


def test_where_runs_are_dense_early_is_no_more_than_half_way():
    dues = tuple(minute * MINUTE for minute in (60, 61, 62, 63))
    assert Minutes(dues=dues).end(60.4) == 71
    assert Minutes(dues=dues).end(60.6) == 72


def test_while_a_run_is_under_way_its_longest_time_counts():
    job = Minutes()
    assert job.begin(61) == 81
    assert job.end(75) == 130


def test_without_a_longest_run_the_grace_counts():
    assert Minutes(run=0).begin(61) == 71


def test_instants_that_are_handed_again_move_neither_what_is_awaited_nor_a_run():
    job = Minutes()
    job.calendar.hand(0, DUES[1:])
    assert job.deadline == 70
    job.begin(61)
    job.calendar.hand(0, DUES[2:], anew=True)
    assert job.deadline == 81
    assert job.end(62) == 190


def test_instants_that_are_handed_anew_are_awaited_from_then_on():
    job = Minutes()
    job.calendar.hand(0, DUES[1:], anew=True)
    assert job.deadline == 130


def test_what_was_said_before_instants_came_is_remembered():
    job = Minutes(dues=())
    assert job.deadline is None
    assert job.end(55) is None
    job.calendar.hand(0, DUES)
    assert job.deadline == 130


def test_a_schedule_that_ends_awaits_nothing_more():
    job = Minutes(dues=DUES[:1])
    assert job.end(60) is None


def test_a_period_begins_with_the_last_word():
    job = Minutes(dues=(), interval_ns=30 * MINUTE)
    assert job.end(7) == 47


def test_another_plan_forgets_what_was_awaited_and_times_a_run_anew():
    job = Minutes()
    job.begin(61)
    job.calendar.plan(0, interval_ns=0, grace_ns=MINUTE, run_ns=2 * MINUTE)
    assert job.deadline == 63
    job.end(62)
    assert job.deadline is None


@pytest.mark.parametrize(("at", "due"), [(55, 60), (49, None), (70, 60), (115, 120), (250, 240)])
def test_a_run_is_told_which_instant_it_counts_for(at, due):
    found = Minutes().calendar.counts_for_ns(0, at * MINUTE)
    assert found == (None if due is None else due * MINUTE)


def test_a_run_after_the_one_that_was_due_counts_for_none():
    job = Minutes()
    job.end(61)
    assert job.calendar.counts_for_ns(0, 90 * MINUTE) is None


def test_without_schedules_it_is_fixed_with_an_interval_and_a_grace():
    calendar = Calendar(DetectorSettings(kind="calendar", grace_ns=2 * SECOND), 1)
    fixed = Fixed(DetectorSettings(kind="fixed", timeout_ns=3 * SECOND), 1)
    for detector in (calendar, fixed):
        detector.forget(SLOT)
        detector.observe(SLOT, np.ones(1, np.int64), np.array([SECOND]), np.array([7 * SECOND]))
    assert calendar.deadline_ns[0] == fixed.deadline_ns[0] == 10 * SECOND
