"""The wheel: a thread that takes a turn every tick and publishes snapshots.

It sleeps between turns instead of waiting for the socket: a timer wakes it once for many
datagrams, which halves the cost of receiving (one wake-up for each would take 0.7 to 1 core at
500,000 heartbeats/s). Whatever goes wrong in a turn ends the program: its state is not to be
trusted any more, and the journal brings it back.
"""

import bisect
import logging
import threading
import time
from collections.abc import Callable

from beatward.core.instants import MICROSECOND, MILLISECOND, SECOND
from beatward.core.snapshot import Snapshot
from beatward.cycle import Cycle

SNAPSHOT_SPACING_NS = 200 * MILLISECOND
# A copy of a very large fleet takes its time; it may have at most a thirtieth of the wheel's.
SNAPSHOT_SHARE = 30
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
    """Turns until it is stopped. `snapshot`, `turns_count` and `last_turn_ns` may be read anywhere.

    on_failure  called in the wheel's thread with the exception that broke it
    """

    def __init__(
        self,
        cycle: Cycle,
        now_ns: Callable[[], int],
        *,
        tick_ns: int,
        decorate: Callable[[Snapshot], Snapshot],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._cycle = cycle
        self._now_ns = now_ns
        self._tick_ns = tick_ns
        self._decorate = decorate
        self._on_failure = on_failure
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wheel", daemon=True)
        self._snapshot_due_ns = 0
        self.turns_count = 0
        self.last_turn_ns = now_ns()
        self.turning_total_ns = 0
        self.duration_counts = [0] * (len(DURATION_BOUNDS_NS) + 1)
        self.snapshot = decorate(cycle.monitor.snapshot(now_ns()))

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more turns and wait for the one under way."""
        self._is_stopped.set()
        self._thread.join()

    def _run(self) -> None:
        due_ns = self._now_ns()
        try:
            while not self._is_stopped.is_set():
                self._turn()
                due_ns += self._tick_ns
                now_ns = self._now_ns()
                if due_ns < now_ns:
                    due_ns = now_ns  # a turn took longer than a tick: no turn is caught up
                else:
                    time.sleep((due_ns - now_ns) / SECOND)
        except BaseException as error:  # noqa: BLE001  handed on to whoever ends the program
            _log.exception("a turn of the wheel failed")
            self._on_failure(error)

    def _turn(self) -> None:
        begun_ns = self._now_ns()
        self._cycle.turn()
        ended_ns = self._now_ns()
        self.turns_count += 1
        self.last_turn_ns = ended_ns
        self.turning_total_ns += ended_ns - begun_ns
        self.duration_counts[bisect.bisect_left(DURATION_BOUNDS_NS, ended_ns - begun_ns)] += 1
        if ended_ns >= self._snapshot_due_ns:
            self._publish(ended_ns)

    def _publish(self, now_ns: int) -> None:
        self.snapshot = self._decorate(self._cycle.monitor.snapshot(now_ns))
        took_ns = self._now_ns() - now_ns
        self._snapshot_due_ns = now_ns + max(SNAPSHOT_SPACING_NS, SNAPSHOT_SHARE * took_ns)
