"""Cron expressions and time zones -> due instants; the only place that knows either.

    plans ─► Timetable.turn(now, wall clock) ─► Dues, a few instants ahead of time

Due instants are what Debian's cron makes of an expression (`cronsim`, which Healthchecks uses). A
fixed time that the clock leaps over in spring is due right after the leap; one that comes twice in
autumn is due the first time only. What says `*` for its hour or minute goes by elapsed time, so it
is due in both hours and not in the one that is missing.

The wall clock of the monitor's own machine may be set as well. What a leap forward skips is not
judged. What a step back repeats, up to REPEAT_MAX_NS, is not due again: cron does not run it again
either. A larger step is taken for a clock that was wrong before, and everything begins anew. In
either case the price is a run that is not missed, and not one that is missed wrongly.

No clock is read here, and nothing here knows a thread (`server.almanac`).
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from beatward.core.detect.calendar import AHEAD
from beatward.core.entry import JobPlan
from beatward.core.instants import DAY, HOUR, MICROSECOND, SECOND
from beatward.core.jobs import Dues

# More than clocks are slewed by between two looks, less than any job's grace.
STEP_NS = SECOND
# Debian's cron repeats or skips nothing on a change of up to three hours.
REPEAT_MAX_NS = 3 * HOUR
_FIELDS = 5
# Far before instants of 64 bits end, whatever the monitor's clock begins at.
_LAST_NS = 200 * 366 * DAY


class Schedule:
    """One expression in one zone."""

    def __init__(self, expression: str, timezone: str) -> None:
        """Read both; raises ValueError that says what was expected."""
        if len(expression.split()) != _FIELDS:
            message = (
                f"{expression!r} has {len(expression.split())} fields; expected the five of cron: "
                "minute, hour, day of month, month and day of week, as in 0 3 * * *"
            )
            raise ValueError(message)
        self._expression = expression
        self._zone = _zone(timezone)
        try:
            if next(self.after(0), None) is None:
                message = f"{expression!r} is never due"
                raise ValueError(message)
        except CronSimError as error:
            message = f"{expression!r}: {str(error).lower()}; expected fields of cron"
            raise ValueError(message) from error

    def after(self, wall_ns: int) -> Iterator[int]:
        """Return the due instants after one, in nanoseconds since 1970, for two centuries."""
        moment = datetime.fromtimestamp(wall_ns // SECOND, UTC).astimezone(self._zone)
        for due in CronSim(self._expression, moment):
            due_ns = int(due.timestamp()) * SECOND
            if due_ns > _LAST_NS:
                return
            yield due_ns

    def zone_at(self, wall_ns: int) -> tuple[int, str]:
        """Return what local time is ahead of UTC by then, in nanoseconds, and its name."""
        moment = datetime.fromtimestamp(wall_ns // SECOND, self._zone)
        ahead = moment.utcoffset() or timedelta()
        return ahead // timedelta(microseconds=1) * MICROSECOND, moment.tzname() or ""


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # A folder of the database, an absolute path, and bytes that are no name each raise their own.
    except (KeyError, ValueError, OSError) as error:
        message = f"{name!r} is no time zone known here; expected one as Europe/Berlin or UTC"
        raise ValueError(message) from error


class _Row:
    """One job: its schedule, and the instants after those that were handed out."""

    def __init__(self, schedule: Schedule, after_ns: int) -> None:
        self.schedule = schedule
        self.begin(after_ns)

    def begin(self, after_ns: int) -> None:
        self.turn_ns = 0
        self._source = self.schedule.after(after_ns)
        self.pending = deque(islice(self._source, AHEAD))

    def advance(self, wall_ns: int) -> None:
        """Drop what is past, and fill up."""
        while self.pending and self.pending[0] <= wall_ns:
            self.pending.popleft()
        self.pending.extend(islice(self._source, AHEAD - len(self.pending)))


class Timetable:
    """All schedules, and when each wants to be handed out again.

    broken   schedules that were taken and then failed, by the name of their job; they are dropped,
             and it is for the caller to clear this and to submit them again
    """

    def __init__(self, read: Callable[[str, str], Schedule] = Schedule) -> None:
        """Begin without schedules; `read` makes one of an expression and a time zone."""
        self._read = read
        self.broken: dict[str, Exception] = {}
        self._rows: dict[str, _Row] = {}
        # (wall-clock instant at which only half of what was handed out lies ahead, name)
        self._turns: list[tuple[int, str]] = []
        self._offset_ns: int | None = None
        self._reached_ns = 0

    def __len__(self) -> int:
        return len(self._rows)

    def submit(self, name: str, plan: JobPlan | None, wall_ns: int) -> None:
        """Take a plan that has a schedule, or (None) drop one; raises ValueError as Schedule."""
        self._rows.pop(name, None)
        if plan is not None:
            after_ns = max(wall_ns, self._reached_ns)
            row = _Row(self._read(plan.schedule, plan.timezone), after_ns)
            self._rows[name] = row
            self._want_turn(name, row, wall_ns)

    def turn(self, now_ns: int, wall_ns: int) -> list[Dues]:
        """Return what is to be handed out now; to be asked about once a second."""
        offset_ns = wall_ns - now_ns
        before_ns, self._offset_ns = self._offset_ns, offset_ns
        leap_ns = 0 if before_ns is None else offset_ns - before_ns
        if leap_ns < -REPEAT_MAX_NS:
            self._reached_ns = wall_ns
        self._reached_ns = max(self._reached_ns, wall_ns)
        if abs(leap_ns) > STEP_NS:
            return self._begin_anew(offset_ns)
        dues = []
        while self._turns and self._turns[0][0] <= wall_ns:
            turn_ns, name = heapq.heappop(self._turns)
            row = self._rows.get(name)
            if row is not None and row.turn_ns == turn_ns:  # else it is another plan's turn
                with self._breaking(name):
                    row.advance(wall_ns)
                    dues.append(self._handed(name, row, offset_ns))
        return dues

    def _begin_anew(self, offset_ns: int) -> list[Dues]:
        self._turns.clear()
        dues = []
        for name, row in list(self._rows.items()):
            with self._breaking(name):
                row.begin(self._reached_ns)
                dues.append(self._handed(name, row, offset_ns, anew=True))
        return dues

    @contextmanager
    def _breaking(self, name: str) -> Iterator[None]:
        """Drop a schedule that fails, so that it does not keep the others from being handed out."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever an expression has brought to light
            del self._rows[name]
            self.broken[name] = error

    def _want_turn(self, name: str, row: _Row, wall_ns: int) -> None:
        row.turn_ns = wall_ns
        heapq.heappush(self._turns, (wall_ns, name))

    def _handed(self, name: str, row: _Row, offset_ns: int, *, anew: bool = False) -> Dues:
        pending = list(row.pending)
        if len(pending) > 1:
            self._want_turn(name, row, pending[1])
        zone_ns, zone = row.schedule.zone_at(pending[0]) if pending else (0, "UTC")
        instants_ns = tuple(due_ns - offset_ns for due_ns in pending)
        return Dues(name, instants_ns, zone_ns, zone, anew=anew)
