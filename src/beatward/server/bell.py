"""What the wheel waits for between two turns: sockets with something to read, and other threads.

One `poll` over the doors' sockets and two pipes. What is urgent (an order, an outcome, a receipt)
rings the first, what may wait for a moment (a record over HTTP) the second. Every system that the
monitor runs on has `poll`, and three descriptors are too few for `epoll` to be quicker.

The bell also keeps the last instant at which the wheel was seen awake with nothing to read, so that
a monitor that takes few turns can tell its own pauses as exactly as one that takes many
(`core.guard`).
"""

import contextlib
import os
import select
from collections.abc import Callable, Sequence

from beatward.core.instants import MILLISECOND

# The wheel is seen awake that often within the shortest pause it has to notice; the rest of it is
# the delay that a busy host may add without being taken for one.
LOOKS_A_PAUSE = 5


class Bell:
    """`ring` and `ring_later` may be called from any thread, the others from the wheel's.

    listened_ns   the last instant at which the wheel waited and nothing was to be read; two of
                  them, or one and a turn, are never further apart than `pause_limit_ns`
    """

    def __init__(
        self, filenos: Sequence[int], now_ns: Callable[[], int], *, pause_limit_ns: int
    ) -> None:
        """Wait for these sockets too, whose owner closes them after the wheel has stopped."""
        self._now_ns = now_ns
        self._pause_limit_ns = pause_limit_ns
        self._awake_ns = now_ns()
        self.listened_ns = 0
        self._urgent, self._later = _Pipe(), _Pipe()
        self._of_all, self._of_urgent = select.poll(), select.poll()
        for fileno in (*filenos, self._urgent.fileno, self._later.fileno):
            self._of_all.register(fileno, select.POLLIN)
        self._of_urgent.register(self._urgent.fileno, select.POLLIN)

    def ring(self) -> None:
        """Wake the wheel."""
        self._urgent.write()

    def ring_later(self) -> None:
        """Wake the wheel unless it gathers what comes in."""
        self._later.write()

    def answer(self) -> None:
        """Note that a turn begins, which takes all that others have rung for so far."""
        self._awake_ns = self._now_ns()
        self._urgent.read()
        self._later.read()

    def wait(self, for_ns: int, *, listen: bool) -> bool:
        """Wait for at most that long, or a part of it; return whether a turn should be taken now.

        listen   also for datagrams and for what may wait
        """
        poll = self._of_all if listen else self._of_urgent
        # `poll` counts in milliseconds, rounded down here: what is due is better waited for again.
        if poll.poll(min(for_ns, self._pause_limit_ns // LOOKS_A_PAUSE) // MILLISECOND):
            return True
        if not listen:
            return False
        # While we stood still the machine may have lost what came, so an instant counts only where
        # no pause fits before it. Where one does, a turn is due, and the core is told of the gap.
        now_ns = self._now_ns()
        if now_ns - self._awake_ns > self._pause_limit_ns:
            return True
        self._awake_ns = self.listened_ns = now_ns
        return False

    def close(self) -> None:
        """Close the pipes; to ring does nothing any more."""
        self._urgent.close()
        self._later.close()


class _Pipe:
    """A pipe with a few bytes in it at most: while `_is_rung` is set, nothing is written."""

    def __init__(self) -> None:
        self.fileno, self._end = os.pipe()
        os.set_blocking(self.fileno, False)
        os.set_blocking(self._end, False)
        self._is_rung = False

    def write(self) -> None:
        if not self._is_rung:
            self._is_rung = True
            with contextlib.suppress(OSError):  # full, or the program ends
                os.write(self._end, b"\0")

    def read(self) -> None:
        # In this order: a writer that still sees the flag has put its item where the drain that
        # follows finds it. The other way round its byte could be read and the flag stay.
        with contextlib.suppress(BlockingIOError):
            os.read(self.fileno, 64)
        self._is_rung = False

    def close(self) -> None:
        # First: a number that was closed may be another file's by the time a late thread writes.
        fileno, end, self.fileno, self._end = self.fileno, self._end, -1, -1
        os.close(fileno)
        os.close(end)
