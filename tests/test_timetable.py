"""Golden tables: when schedules are due around changes of clocks, and when a clock is set."""

from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from beatward.core.detect.calendar import AHEAD
from beatward.core.entry import JobPlan
from beatward.core.instants import DAY, HOUR, MINUTE, SECOND
from beatward.timetable import Schedule, Timetable

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def wall(text, zone="UTC"):
    """Return nanoseconds since 1970 of a local time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return int(local.timestamp()) * SECOND


def utc(wall_ns):
    return f"{datetime.fromtimestamp(wall_ns // SECOND, UTC):%m-%d %H:%M}"


# Expression, zone, from when on, and the next instants in UTC.
GOLDEN = [
    # 2026-03-29: after 01:59:59 CET comes 03:00:00 CEST. A fixed time in the gap is due after it.
    ("30 2 * * *", BERLIN, "2026-03-28 12:00", "03-29 01:00, 03-30 00:30, 03-31 00:30"),
    ("0 3 * * *", BERLIN, "2026-03-28 12:00", "03-29 01:00, 03-30 01:00"),
    ("0 2,3 * * *", BERLIN, "2026-03-28 12:00", "03-29 01:00, 03-30 00:00, 03-30 01:00"),
    ("30 * * * *", BERLIN, "2026-03-29 00:45", "03-29 00:30, 03-29 01:30, 03-29 02:30"),
    ("*/30 * * * *", BERLIN, "2026-03-29 01:15", "03-29 00:30, 03-29 01:00, 03-29 01:30"),
    # 2026-10-25: 02:59:59 CEST is followed by 02:00:00 CET. A fixed time is due once.
    ("30 2 * * *", BERLIN, "2026-10-24 12:00", "10-25 00:30, 10-26 01:30, 10-27 01:30"),
    ("0 3 * * *", BERLIN, "2026-10-24 12:00", "10-25 02:00, 10-26 02:00"),
    ("0 2,3 * * *", BERLIN, "2026-10-24 12:00", "10-25 00:00, 10-25 02:00, 10-26 01:00"),
    ("30 * * * *", BERLIN, "2026-10-25 01:45", "10-25 00:30, 10-25 01:30, 10-25 02:30"),
    ("*/30 * * * *", BERLIN, "2026-10-25 01:45", "10-25 00:00, 10-25 00:30, 10-25 01:00"),
    ("30 2 * * *", NEW_YORK, "2026-03-07 12:00", "03-08 07:00, 03-09 06:30"),
    ("30 1 * * *", NEW_YORK, "2026-10-31 12:00", "11-01 05:30, 11-02 06:30"),
    # Half an hour, in the other half of the year.
    ("15 2 * * *", LORD_HOWE, "2026-10-03 12:00", "10-03 15:30, 10-04 15:15"),
    ("45 1 * * *", LORD_HOWE, "2026-04-04 12:00", "04-04 14:45, 04-05 15:15"),
    # A day that had no midnight.
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-03 12:00", "11-04 03:00, 11-05 02:00"),
    # No change of clocks, and a quarter of an hour.
    ("0 0 * * *", "Asia/Kathmandu", "2026-11-02 12:00", "11-02 18:15, 11-03 18:15"),
    ("0 3 * * *", "UTC", "2026-03-28 12:00", "03-29 03:00, 03-30 03:00"),
    # Day of month or day of week, as cron has it; names; the last day of a month.
    ("0 12 13 * FRI", "UTC", "2026-11-07 00:00", "11-13 12:00, 11-20 12:00, 11-27 12:00"),
    ("0 0 L * *", "UTC", "2026-02-01 00:00", "02-28 00:00, 03-31 00:00"),
]


@pytest.mark.parametrize(("expression", "zone", "start", "expected"), GOLDEN)
def test_a_schedule_is_due_when_debians_cron_runs_it(expression, zone, start, expected):
    found = Schedule(expression, zone).after(wall(start, zone))
    wanted = expected.split(", ")
    assert [utc(due) for due in islice(found, len(wanted))] == wanted


@pytest.mark.parametrize(
    ("expression", "zone", "complaint"),
    [
        ("", "UTC", "has 0 fields"),
        ("@daily", "UTC", "has 1 fields"),
        ("0 0 3 * * *", "UTC", "has 6 fields"),
        ("60 3 * * *", "UTC", "bad minute"),
        ("0 3 30 2 *", "UTC", "bad day-of-month"),
        ("x 3 * * *", "UTC", "bad minute"),
        ("0 3 * * *", "Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("0 3 * * *", "../UTC", "'../UTC' is no time zone"),
        ("0 3 * * *", "Eur\0pe", "is no time zone"),
    ],
)
def test_what_is_no_schedule_is_refused_by_name(expression, zone, complaint):
    with pytest.raises(ValueError, match=complaint):
        Schedule(expression, zone)


def test_a_schedule_of_leap_days_ends_before_instants_do():
    found = list(Schedule("0 0 29 2 MON", "UTC").after(wall("2100-01-01")))
    assert all(due < 200 * 366 * DAY for due in found)


def test_local_time_is_named_and_told_from_utc():
    schedule = Schedule("0 3 * * *", BERLIN)
    assert schedule.zone_at(wall("2026-07-01 12:00")) == (2 * HOUR, "CEST")
    assert schedule.zone_at(wall("2026-12-01 12:00")) == (HOUR, "CET")


# --- handing out ---

BEGIN = wall("2026-11-23 02:00")
MINUTELY = JobPlan("* * * * *", "UTC")
NIGHTLY = JobPlan("0 3 * * *", "UTC")


class Clocked:
    """A timetable with a monotonic clock that began at 0 and a wall clock that can be set."""

    def __init__(self, plan=NIGHTLY):
        self.table = Timetable()
        self.now_ns = 0
        self.set_ns = 0
        self.table.submit("job", plan, BEGIN)

    def turn(self, passed_ns=0, *, set_ns=0):
        """Let time pass, set the wall clock by something, and return what is handed out."""
        self.now_ns += passed_ns
        self.set_ns += set_ns
        return self.table.turn(self.now_ns, BEGIN + self.now_ns + self.set_ns)


def test_a_few_instants_are_handed_out_at_once_on_the_clock_of_the_monitor():
    (dues,) = Clocked().turn()
    assert dues.name == "job"
    assert dues.instants_ns == tuple(HOUR + day * DAY for day in range(AHEAD))
    assert not dues.anew


def test_they_are_handed_out_again_when_half_of_them_are_past_and_never_run_out():
    clocked = Clocked(MINUTELY)
    turns = ((clocked.turn(SECOND), clocked.now_ns) for _ in range(20 * 60))
    handed = [(now_ns, dues.instants_ns) for turn, now_ns in turns for dues in turn]
    assert len(handed) == 11
    for (_, instants), (again_ns, _) in pairwise(handed):
        # Two lie ahead at all times: one to be early for, and one after it.
        assert sum(due > again_ns for due in instants) == 2
    assert all(
        instants == tuple(instants[0] + i * MINUTE for i in range(AHEAD)) for _, instants in handed
    )


def test_a_clock_that_is_slewed_moves_them_quietly():
    clocked = Clocked(MINUTELY)
    clocked.turn()
    handed = [dues for _ in range(600) for dues in clocked.turn(SECOND, set_ns=SECOND // 2000)]
    assert handed
    assert not any(dues.anew for dues in handed)


def test_what_a_leap_skips_is_not_due_any_more():
    clocked = Clocked()
    clocked.turn()
    (dues,) = clocked.turn(MINUTE, set_ns=2 * HOUR)
    assert dues.anew
    assert dues.instants_ns[0] == HOUR + DAY - 2 * HOUR


def test_what_a_step_back_repeats_is_not_due_again():
    clocked = Clocked()
    clocked.turn()
    clocked.turn(HOUR + MINUTE)
    (dues,) = clocked.turn(SECOND, set_ns=-HOUR)
    assert dues.anew
    assert dues.instants_ns[0] == HOUR + DAY + HOUR


def test_a_clock_that_was_far_ahead_begins_anew():
    clocked = Clocked()
    clocked.turn(set_ns=365 * DAY)
    (dues,) = clocked.turn(SECOND, set_ns=-365 * DAY)
    assert dues.instants_ns[0] == HOUR


def test_another_plan_takes_the_place_of_the_first_and_none_ends_it():
    clocked = Clocked(MINUTELY)
    clocked.turn()
    clocked.table.submit("job", NIGHTLY, BEGIN)
    (dues,) = clocked.turn()
    assert dues.instants_ns[0] == HOUR
    assert clocked.turn(10 * MINUTE) == []
    assert len(clocked.table) == 1
    clocked.table.submit("job", None, BEGIN)
    assert clocked.turn(10 * DAY) == []
    assert len(clocked.table) == 0
