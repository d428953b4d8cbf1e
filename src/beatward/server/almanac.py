"""The thread that tells the machine when its jobs are due.

Route: wheel -> `submit` -> this thread -> `Inbox.put_dues` -> wheel. An instant of an expression
takes 30 us: thousands of jobs that are due in the same minute would make a turn of the wheel a
pause of the monitor. Instants are handed out ahead of time, so nobody waits for this thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from beatward.core.entry import JobPlan
from beatward.core.jobs import Dues
from beatward.server.clock import SystemClock
from beatward.timetable import Timetable

# Somebody may set the clock at any time; a second later than that is early enough for a grace.
_LOOK_S = 1.0

_log = logging.getLogger(__name__)


class Almanac:
    """Implements `ports.Timetable`; `submit` may be called from any thread and never blocks."""

    def __init__(self, clock: SystemClock, put: Callable[[Sequence[Dues]], None]) -> None:
        self._clock = clock
        self._put = put
        self._timetable = Timetable()
        self._plans: deque[Mapping[str, JobPlan | None]] = deque()
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

    def _run(self) -> None:
        while not self._is_stopped:
            self._news.clear()
            while self._plans:
                for name, plan in self._plans.popleft().items():
                    self._take(name, plan)
            self._hand_out()
            # Without jobs there is nothing to look after.
            self._news.wait(_LOOK_S if self._timetable else None)

    def _hand_out(self) -> None:
        try:
            dues = self._timetable.turn(self._clock.now_ns(), self._clock.wall_ns())
        except Exception:  # noqa: BLE001  see below
            # Whatever an expression has brought to light, the others go on, and the log says so.
            _log.exception("due instants of jobs cannot be worked out")
            return
        if dues:
            self._put(dues)

    def _take(self, name: str, plan: JobPlan | None) -> None:
        try:
            self._timetable.submit(name, plan, self._clock.wall_ns())
        except ValueError:
            # It was checked when it was declared; the machine's time zones have changed since.
            _log.exception("the schedule of %s cannot be read any more; it is not judged", name)
