"""The wheel: a thread that takes a turn when there is something to do, and publishes snapshots.

Where nothing comes and nothing is due it waits (`server.bell`); how soon a turn follows what comes
is for `server.schedule` to say. No turn follows another within a tick, and until then it sleeps
instead of waiting for the socket: a timer wakes it once for many datagrams, which halves the cost
of receiving (one wake-up for each would take 0.7 to 1 core at 500,000 heartbeats/s). Whatever goes
wrong in a turn ends the program: its state is not to be trusted any more, and the journal brings it
back.
"""

import bisect
import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable

from beatward.core.instants import MICROSECOND, MILLISECOND, NEVER, SECOND
from beatward.core.snapshot import Snapshot
from beatward.cycle import Cycle
from beatward.errors import Busy
from beatward.server.bell import Bell
from beatward.server.schedule import TurnSchedule

SNAPSHOT_SPACING_NS = 200 * MILLISECOND
# A copy of a very large fleet takes its time; it may have at most a thirtieth of the wheel's.
SNAPSHOT_SHARE = 30
# This long after the last question no more snapshots are taken, and the memory of the last is given
# back: of a million nodes it is 180 MB. A scraper of metrics asks every 15 to 60 s.
IDLE_NS = 5 * SECOND
# A turn takes milliseconds. Where none ends in this time, the reader has to come again.
_WAIT_NS = SECOND
DURATION_BOUNDS_NS = (
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    1 * MILLISECOND,
    2 * MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    100 * MILLISECOND,
    1 * SECOND,
)

_log = logging.getLogger(__name__)


class Wheel:
    """Turns until it is stopped. `latest`, `turns_count` and `last_turn_ns` may be asked anywhere.

    bell        what it waits for; closed by its maker
    schedule    when the next turn is to be taken
    received    how many datagrams were received so far
    on_failure  called in the wheel's thread with the exception that broke it
    """

    def __init__(
        self,
        cycle: Cycle,
        now_ns: Callable[[], int],
        *,
        bell: Bell,
        schedule: TurnSchedule,
        received: Callable[[], int],
        decorate: Callable[[Snapshot], Snapshot],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._cycle = cycle
        self._now_ns = now_ns
        self._bell = bell
        self._schedule = schedule
        self._received = received
        self._received_count = 0
        self._decorate = decorate
        self._on_failure = on_failure
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wheel", daemon=True)
        self._snapshot: Snapshot | None = None
        self._snapshot_due_ns = 0
        self._asked_ns = now_ns()
        self._is_published = threading.Event()
        self.turns_count = 0
        self.last_turn_ns = now_ns()
        self.turning_total_ns = 0
        self.duration_counts = [0] * (len(DURATION_BOUNDS_NS) + 1)

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more turns and wait for the one under way."""
        self._is_stopped.set()
        self._bell.ring()
        self._thread.join()

    def latest(self) -> Snapshot:
        """Return the newest snapshot, and have snapshots taken for as long as readers ask.

        Who asks after a long silence waits for the next turn; it may block for that long. Raises
        Busy when that turn takes more than a second.
        """
        self._asked_ns = self._now_ns()
        snapshot = self._snapshot
        if snapshot is not None:
            return snapshot
        if not self._thread.is_alive():  # no other thread touches the machine
            return self._decorate(self._cycle.monitor.snapshot(self._now_ns()))
        self._bell.ring()
        self._is_published.wait(_WAIT_NS / SECOND)
        snapshot = self._snapshot
        if snapshot is None:
            raise Busy("a turn takes longer than a second", retry_after_ns=SECOND)
        return snapshot

    def _run(self) -> None:
        try:
            while not self._is_stopped.is_set():
                self._turn()
                self._rest()
        except BaseException as error:  # noqa: BLE001  the caller ends the program
            _log.exception("a turn of the wheel failed")
            self._on_failure(error)

    def _rest(self) -> None:
        """Wait until a turn is to be taken, or the wheel is stopped."""
        schedule = self._schedule
        if not schedule.is_gathering:
            self._sleep_until(schedule.soonest_ns)
        while not self._is_stopped.is_set():
            now_ns = self._now_ns()
            due_ns = min(schedule.due_ns, self._publish_ns())
            if due_ns <= now_ns:
                break
            if due_ns - now_ns < MILLISECOND:
                self._sleep_until(due_ns)  # the bell counts in whole milliseconds
                break
            # Rounded down where a suspicion may be due, and up where arrivals only are gathered.
            listen, for_ns = schedule.listen_ns <= now_ns, due_ns - now_ns
            if not listen and schedule.listen_ns < due_ns:
                for_ns = schedule.listen_ns - now_ns + MILLISECOND
            if self._bell.wait(for_ns, listen=listen):
                break
        self._sleep_until(schedule.soonest_ns)  # something urgent came within the tick

    def _sleep_until(self, instant_ns: int) -> None:
        now_ns = self._now_ns()
        if now_ns < instant_ns:
            time.sleep((instant_ns - now_ns) / SECOND)

    def _publish_ns(self) -> int:
        """Return when the next snapshot is wanted."""
        if self._snapshot is None:
            return NEVER  # who asks for the first rings
        return min(self._snapshot_due_ns, self._asked_ns + IDLE_NS)

    def _plan(self, begun_ns: int, ended_ns: int, wake_ns: int) -> None:
        before, self._received_count = self._received_count, self._received()
        count = self._received_count - before
        schedule = self._schedule
        schedule.note_turn(begun_ns, ended_ns, wake_ns=wake_ns, count=count)
        if schedule.is_gathering and self._cycle.monitor.is_expecting(ended_ns):
            schedule.hurry()

    def _turn(self) -> None:
        begun_ns = self._now_ns()
        wake_ns = self._cycle.turn()
        ended_ns = self._now_ns()
        self._plan(begun_ns, ended_ns, wake_ns)
        self.turns_count += 1
        self.last_turn_ns = ended_ns
        self.turning_total_ns += ended_ns - begun_ns
        self.duration_counts[bisect.bisect_left(DURATION_BOUNDS_NS, ended_ns - begun_ns)] += 1
        if ended_ns - self._asked_ns > IDLE_NS:
            self._let_go()
        elif self._snapshot is None or ended_ns >= self._snapshot_due_ns:
            self._publish(ended_ns)

    def _let_go(self) -> None:
        if self._snapshot is not None:
            self._is_published.clear()
            self._snapshot = None
            _give_memory_back()

    def _publish(self, now_ns: int) -> None:
        self._snapshot = self._decorate(self._cycle.monitor.snapshot(now_ns))
        self._is_published.set()
        took_ns = self._now_ns() - now_ns
        self._snapshot_due_ns = now_ns + max(SNAPSHOT_SPACING_NS, SNAPSHOT_SHARE * took_ns)


def _give_memory_back() -> None:
    """Return to the system what was let go of.

    The C library keeps it, and as long as snapshots follow each other that is as it should be: of
    a million nodes one takes 20 to 40 ms in memory it has, 95 ms in memory it has to ask for.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
