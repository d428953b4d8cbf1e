"""A job's runs in words, with the times of day that its people know them by.

The core has no time zones: a job's record says what local time was ahead of UTC by at its last due
instant, and how that was called; the rest is arithmetic. Within a day of a change of clocks an
instant on the other side of it is written in the time that held then.
"""

from dataclasses import dataclass, field
from typing import Any

from beatward.core.entry import JobPlan, JobRecord
from beatward.core.instants import DAY, MILLISECOND, SECOND, format_duration
from beatward.core.membership import Status
from beatward.core.protocol.record import SIGNAL_MIN


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is known of a job at one instant.

    beats   heartbeats say whether the run under way goes on, so its silence is a node's
    """

    record: JobRecord
    at_ns: int
    wall_offset_ns: int
    beats: bool

    def sentence(self, status: Status) -> str | None:
        """Say why the job has its status, as the rest of a sentence; None: as of any node."""
        if status == Status.PAUSED or (self.beats and status in (Status.SUSPECT, Status.DEAD)):
            return None
        match status:
            case Status.DEAD:
                return f"dead: {self._missed()}; a job that waits cannot be probed"
            case Status.SUSPECT:
                return f"suspected: {self._missed()}"
            case Status.FAILING:
                return f"is failing: {self._failed()}; {self._success()}"
            case Status.RECOVERING:
                return f"is back: {self._state()}; waiting for a run to succeed"
            case Status.NEW:
                return f"is expected: {self._state()}"
            case _:
                return f"is alive: {self._state()}"

    def would_change(self, status: Status) -> str | None:
        """Say what would lead to another status; None: as of any node."""
        if status == Status.PAUSED or (self.beats and status in (Status.SUSPECT, Status.DEAD)):
            return None
        match status:
            case Status.DEAD | Status.SUSPECT:
                return "a run that begins or succeeds"
            case Status.FAILING | Status.RECOVERING:
                return "a run that succeeds"
        if self.record.started_ns is not None:
            then = "failing" if self.beats else "dead"
            return f"no end of its run by {self._clock(self._limit_ns())} would make it {then}"
        if self.record.due_ns is None:
            return "nothing before its next due instant is known"
        return f"no word of a run by {self._clock(self._limit_ns())} would make it dead"

    def numbers(self) -> dict[str, Any]:
        """Return the facts as JSON values; lengths of time relative to the instant."""
        record = self.record
        return {
            **plan_numbers(record.plan),
            "due_in_ns": None if record.due_ns is None else record.due_ns - self.at_ns,
            "running_ns": self._since(record.started_ns),
            "ended_ns": self._since(record.ended_ns),
            "ran_ns": record.ran_ns,
            "succeeded_ns": self._since(record.succeeded_ns),
            "run_failed": record.has_failed,
            "run_exit_code": record.exit_code,
        }

    def run_words(self, what: str, late_ns: int | None) -> str:
        """Say what happened to a run just now, as the rest of a sentence."""
        record = self.record
        if what == "started":
            if late_ns is None:
                return "began a run that was not due"
            late = f", {format_duration(late_ns)} after it was due" if late_ns >= SECOND else ""
            return f"began a run{late}"
        if what == "overran":
            return f"runs too long: {self._unfinished()}"
        took = "" if record.ran_ns is None else f" after {format_duration(record.ran_ns)}"
        if what == "succeeded":
            return f"ended a run{took}: success"
        return f"ended a run{took}: {self._code() or 'it reported a failure'}"

    # -- parts of sentences ------------------------------------------------------------------

    def _missed(self) -> str:
        if self.record.started_ns is not None:
            return f"{self._unfinished()}; {self._success()}"
        if self.record.due_ns is None:
            return f"no word of a run came; {self._success()}"
        grace = format_duration(self.record.plan.grace_ns)
        return (
            f"it should have reported a run by {self._clock(self._limit_ns())}, due "
            f"{self._clock(self.record.due_ns, zone=False)} with a grace of {grace}; "
            f"{self._success()}"
        )

    def _unfinished(self) -> str:
        started_ns = self.record.started_ns
        assert started_ns is not None
        return (
            f"it should have finished by {self._clock(self._limit_ns())}; started "
            f"{self._clock(started_ns, zone=False)} and has been running for "
            f"{format_duration(self.at_ns - started_ns)}"
        )

    def _failed(self) -> str:
        record = self.record
        if not record.has_failed or record.ended_ns is None:
            return self._unfinished() if record.overran else "its heartbeats say so"
        took = "" if record.ran_ns is None else f" after {format_duration(record.ran_ns)}"
        how = f" with {self._code()}" if self._code() else " by its own report"
        return f"its run failed at {self._clock(record.ended_ns)}{took}{how}"

    def _code(self) -> str:
        code = self.record.exit_code
        if code is None:
            return ""
        # Of the bare URL it is unknown which of the two a negative number was.
        return f"exit code {code}" + (f" (signal {-code})" if SIGNAL_MIN <= code < 0 else "")

    def _success(self) -> str:
        succeeded_ns = self.record.succeeded_ns
        if succeeded_ns is None:
            return "no run has succeeded yet"
        return f"last success {self._clock(succeeded_ns, zone=False)}"

    def _state(self) -> str:
        record = self.record
        if record.started_ns is not None:
            for_ns = format_duration(self.at_ns - record.started_ns)
            text = f"a run began at {self._clock(record.started_ns)}, {for_ns} ago"
            return f"{text}, and should finish by {self._clock(self._limit_ns(), zone=False)}"
        text = self._success()
        if record.due_ns is not None:
            text += f"; next due {self._clock(record.due_ns)}"
        else:
            text += "; when it is due next is not known, so no missed run would be noticed"
        if record.excused_ns is not None:
            text += (
                f"; whether it ran at {self._clock(record.excused_ns, zone=False)} is not known: "
                "the monitor was away then, or its clock was set"
            )
        return text

    def _limit_ns(self) -> int:
        record, plan = self.record, self.record.plan
        if record.started_ns is not None:
            return record.started_ns + plan.run_ns
        assert record.due_ns is not None
        return record.due_ns + plan.grace_ns

    def _since(self, instant_ns: int | None) -> int | None:
        return None if instant_ns is None else self.at_ns - instant_ns

    def _clock(self, instant_ns: int, *, zone: bool = True) -> str:
        """Write an instant as the time of day, with the day where it is not today's."""
        ahead_ns = self.wall_offset_ns + self.record.zone_ns
        # Due instants come back from the monitor's clock a few microseconds off their second.
        day, of_day_ns = divmod(instant_ns + ahead_ns + MILLISECOND // 2, DAY)
        minutes, seconds = divmod(of_day_ns // SECOND, 60)
        time = f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
        days = day - (self.at_ns + ahead_ns) // DAY
        near = {-1: "yesterday ", 0: "", 1: "tomorrow "}
        text = near[days] + time if days in near else f"{_date(day)} {time}"
        return f"{text} {self.record.zone}" if zone else text


@dataclass(slots=True)
class Book:
    """What is known of every job, by slot."""

    records: dict[int, JobRecord] = field(default_factory=dict)

    def copy(self) -> "Book":
        """Return a copy for readers in other threads; the records are frozen and shared."""
        return Book(dict(self.records))

    def keep(self, slot: int, record: JobRecord) -> None:
        """Take what is known of a job from now on."""
        self.records[slot] = record

    def drop(self, slot: int) -> None:
        """Forget a job."""
        del self.records[slot]

    def facts(
        self, slot: int, at_ns: int, interval_ns: int, *, wall_offset_ns: int
    ) -> JobFacts | None:
        """Return what is known of a job; None for a node that is none.

        interval_ns      what its heartbeats promise now, or 0
        wall_offset_ns   of the clock by which instants are printed
        """
        record = self.records.get(slot)
        if record is None:
            return None
        beats = record.started_ns is not None and interval_ns != 0
        return JobFacts(record, at_ns, wall_offset_ns, beats)


def plan_numbers(plan: JobPlan) -> dict[str, Any]:
    """Return what a job promises as JSON values."""
    return {
        "schedule": plan.schedule or None,
        "timezone": plan.timezone,
        "period_ns": plan.period_ns or None,
        "grace_ns": plan.grace_ns,
        "max_run_ns": plan.run_ns,
    }


def plan_text(plan: JobPlan) -> str:
    """Write what a job promises."""
    when = f"{plan.schedule} in {plan.timezone}" if plan.schedule else ""
    when = when or f"every {format_duration(plan.period_ns)}"
    return (
        f"{when}, a grace of {format_duration(plan.grace_ns)}, "
        f"at most {format_duration(plan.run_ns)} a run"
    )


def _date(day: int) -> str:
    """Write a day, counted from 1970-01-01, as year, month and day of the Gregorian calendar."""
    # Years that begin in March end with the day that some of them lack (Howard Hinnant,
    # "chrono-Compatible Low-Level Date Algorithms").
    era, of_era = divmod(day + 719_468, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day_of_month = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (month <= 2)
    return f"{year:04d}-{month:02d}-{day_of_month:02d}"
