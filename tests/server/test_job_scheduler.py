"""The thread behind due instants: what it cannot work out is a fault, and keeps no other back."""

import zoneinfo
from pathlib import Path

import pytest
from tests.waiting import wait_for

from beatward.core.entry import JobPlan
from beatward.core.instants import HOUR, MILLISECOND
from beatward.server.clock import SystemClock
from beatward.server.job_scheduler import JobScheduler
from beatward.timetable import Schedule, Timetable

OWN = JobPlan("0 3 * * *", "Our/Zone")
USUAL = JobPlan("0 3 * * *", "UTC")
LATER_NS = 1_800_000_000 * 10**9


@pytest.fixture
def zones(tmp_path):
    """A folder of time zones of our own; the interpreter's own are there again afterwards."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


@pytest.fixture
def begin():
    """Start an almanac that puts what it hands out into a list."""
    begun = []

    def start(put, retry_ns=HOUR):
        begun.append(JobScheduler(SystemClock(), put, retry_ns=retry_ns))
        begun[-1].start()
        return begun[-1]

    yield start
    for one in begun:
        one.stop()


def test_a_zone_that_comes_back_is_found_by_itself(zones, begin):
    dues = []
    job_scheduler = begin(dues.extend, retry_ns=20 * MILLISECOND)
    job_scheduler.submit({"backup": OWN, "other": USUAL})
    (fault,) = wait_for(job_scheduler.faults)
    assert fault.startswith("1 of the jobs is not judged")
    assert "backup ('Our/Zone' is no time zone known here" in fault
    assert {one.name for one in wait_for(lambda: dues)} == {"other"}
    (zones / "Our").mkdir()
    with Path("/usr/share/zoneinfo/UTC").open("rb") as file:
        (zones / "Our" / "Zone").write_bytes(file.read())
    job_scheduler.submit({})  # it looks once a second by itself
    wait_for(lambda: not job_scheduler.faults())
    wait_for(lambda: {one.name for one in dues} == {"other", "backup"})


def test_a_job_that_is_forgotten_is_no_fault(zones, begin):
    job_scheduler = begin(lambda dues: None)
    job_scheduler.submit({"backup": OWN})
    wait_for(job_scheduler.faults)
    job_scheduler.submit({"backup": None})
    wait_for(lambda: not job_scheduler.faults())


def test_an_end_of_the_thread_is_a_fault(begin):
    def put(dues):
        message = "no room"
        raise MemoryError(message)

    job_scheduler = begin(put)
    job_scheduler.submit({"backup": USUAL})
    (fault,) = wait_for(job_scheduler.faults)
    assert "no job with a schedule is judged" in fault
    assert "no room" in fault


class Fragile(Schedule):
    """A schedule that reads well, and fails when it is asked again."""

    def after(self, wall_ns):
        if wall_ns >= LATER_NS and self._expression.startswith("1 "):
            message = "the zone is damaged"
            raise OSError(message)
        return super().after(wall_ns)


def test_a_schedule_that_fails_later_keeps_no_other_back():
    timetable = Timetable(Fragile)
    timetable.submit("good", USUAL, LATER_NS - HOUR)
    timetable.submit("bad", JobPlan("1 3 * * *"), LATER_NS - HOUR)
    assert len(timetable.turn(0, LATER_NS - HOUR)) == 2
    # The clock was set, so that all begin anew.
    assert [one.name for one in timetable.turn(0, LATER_NS)] == ["good"]
    assert str(timetable.broken["bad"]) == "the zone is damaged"
