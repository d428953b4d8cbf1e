"""The thread that tells the machine when its jobs are due.

Route: wheel -> `submit` -> this thread -> `ServerInbox.put_dues` -> wheel. An instant of an
expression takes 30 us: thousands of jobs that are due in the same minute would make a turn of the
wheel a pause of the monitor. Instants are handed out ahead of time, so the wheel never waits for
this thread.

A schedule that cannot be worked out any more (its time zone was of the system, and the system was
changed) is tried again every minute, and is a fault of the monitor until then: a job without due
instants is never missed, which looks like a job that runs.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from beatward.core.entry import JobPlan
from beatward.core.instants import MINUTE
from beatward.core.jobs import Dues
from beatward.server.clock import SystemClock
from beatward.timetable import Timetable

# The clock may be set at any time; a second later than that is early enough for a grace.
_LOOK_S = 1.0
# For what was refused: time zones come back with a package, which is not urgent.
RETRY_NS = MINUTE
# At most this many jobs are named in a fault; a missing zone may concern all jobs.
_NAMED_MAX = 5

_log = logging.getLogger(__name__)


class JobScheduler:
    """Implements `ports.PlanQueue`; `submit` may be called from any thread and never blocks."""

    def __init__(
        self,
        clock: SystemClock,
        put: Callable[[Sequence[Dues]], None],
        *,
        retry_ns: int = RETRY_NS,
    ) -> None:
        self._clock = clock
        self._put = put
        self._retry_ns = retry_ns
        self._retry_at_ns = 0
        self._timetable = Timetable()
        self._plans: deque[Mapping[str, JobPlan | None]] = deque()
        self._known: dict[str, JobPlan] = {}
        self._refused: dict[str, str] = {}  # and why
        # A copy of it for readers in other threads; replaced, never changed.
        self._shown: Mapping[str, str] = {}
        self._end: BaseException | None = None
        self._is_stopped = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="almanac", daemon=True)

    def start(self) -> None:
        """Begin to hand out due instants."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopped = True
        self._news.set()
        self._thread.join()

    def submit(self, plans: Mapping[str, JobPlan | None]) -> None:
        """Take schedules by the name of their job; None: no more."""
        self._plans.append(plans)
        self._news.set()

    def faults(self) -> list[str]:
        """Say which jobs are not judged, and why; may be asked in any thread."""
        if self._end is not None:
            text = "no job with a schedule is judged, because due instants are not worked out"
            return [f"{text} any more ({self._end!r}): restart the monitor"]
        refused = self._shown
        named = [f"{name} ({reason})" for name, reason in list(refused.items())[:_NAMED_MAX]]
        if not named:
            return []
        more = f" and {len(refused) - _NAMED_MAX:,} more" if len(refused) > _NAMED_MAX else ""
        verb = "is" if len(refused) == 1 else "are"
        text = f"{len(refused):,} of the jobs {verb} not judged, because no due instant is known"
        remedy = "install the system's time zones (tzdata), or declare the job anew"
        return [f"{text}: {', '.join(named)}{more}; {remedy}"]

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._news.clear()
                while self._plans:
                    for name, plan in self._plans.popleft().items():
                        self._take(name, plan)
                self._try_again()
                self._hand_out()
                if self._shown != self._refused:
                    self._shown = dict(self._refused)
                # Without jobs there is nothing to look after.
                self._news.wait(_LOOK_S if self._known else None)
        except BaseException as error:  # noqa: BLE001  told in `faults`, which is asked for
            _log.exception("due instants of jobs are not worked out any more")
            self._end = error

    def _hand_out(self) -> None:
        dues = self._timetable.turn(self._clock.now_ns(), self._clock.wall_ns())
        for name, error in self._timetable.broken.items():
            self._refuse(name, error)
        self._timetable.broken.clear()
        if dues:
            self._put(dues)

    def _take(self, name: str, plan: JobPlan | None) -> None:
        if plan is None:
            self._known.pop(name, None)
        else:
            self._known[name] = plan
        try:
            self._timetable.submit(name, plan, self._clock.wall_ns())
        except Exception as error:  # noqa: BLE001  the others go on; this one is a fault
            self._refuse(name, error)
        else:
            self._accept(name)

    def _try_again(self) -> None:
        now_ns = self._clock.now_ns()
        if not self._refused or now_ns < self._retry_at_ns:
            return
        self._retry_at_ns = now_ns + self._retry_ns
        for name in list(self._refused):
            self._take(name, self._known[name])

    def _refuse(self, name: str, error: Exception) -> None:
        # It was checked when it was declared; the machine's time zones have changed since.
        reason = str(error) or type(error).__name__
        if self._refused.get(name) != reason:
            _log.error("the job %s is not judged: %s", name, reason)
        self._refused[name] = reason

    def _accept(self, name: str) -> None:
        if self._refused.pop(name, None) is not None and name in self._known:
            _log.info("the job %s is judged again", name)
