"""What happens next: one queue of events under one clock, in a total order.

Two events of the same instant happen in the order they were entered, so the order never hangs on
the memory address of a function. True time is known here and to the checkers; every simulated
machine sees it only through its own clocks (`clock.HostClock`).
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class EventQueue:
    """The queue. `now_ns` is true time: it never jumps and no machine can read it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.count = 0
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._tie_break = 0

    def at(self, instant_ns: int, deed: Callable[..., None], *arguments: Any) -> None:
        """Enter an event; an instant that has passed means now, after what is entered already."""
        self._tie_break += 1
        due_ns = max(instant_ns, self.now_ns)
        heappush(self._events, (due_ns, self._tie_break, deed, arguments))

    def after(self, wait_ns: int, deed: Callable[..., None], *arguments: Any) -> None:
        """Enter an event that lies so far ahead."""
        self.at(self.now_ns + wait_ns, deed, *arguments)

    def run_until(self, end_ns: int) -> None:
        """Let happen all that is due before or at an instant, and move the clock to it."""
        events = self._events
        while events and events[0][0] <= end_ns:
            self.now_ns, _, deed, arguments = heappop(events)
            self.count += 1
            deed(*arguments)
        self.now_ns = end_ns
