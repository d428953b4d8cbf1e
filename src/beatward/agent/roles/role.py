"""A role in a program with threads: callbacks, and a handle to ask whether it is held now."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from beatward.agent import clock
from beatward.agent.limits import check_function, check_timeout
from beatward.core.instants import SECOND

from .steward import Callbacks, Steward

# Who waits for a role looks again so often: `wait` has no socket to wait for.
_LOOK_S = 0.02


class Role:
    """What `Heart.role` returns; the end of `with`, or `close`, gives the role up for good."""

    def __init__(self, steward: Steward, forget: Callable[[Steward], None]) -> None:
        self.name = steward.name
        self._steward = steward
        self._forget = forget
        self._is_closed = threading.Event()

    @property
    def is_held(self) -> bool:
        """Whether the role is this program's at this very moment.

        What is done upon it may take longer than the lease; hand `token` on to whatever can refuse
        an older one.
        """
        return self.token > 0

    @property
    def token(self) -> int:
        """The token under which the role is held at this very moment; 0: it is not."""
        return self._steward.held

    def wait(self, timeout: str = "30s") -> bool:
        """Wait until the role is held; returns whether it is."""
        due_ns = clock.now_ns() + int(check_timeout(timeout) * SECOND)
        while not self.is_held:
            left_ns = due_ns - clock.now_ns()
            if left_ns <= 0 or self._is_closed.wait(min(_LOOK_S, left_ns / SECOND)):
                return False
        return True

    def give_up(self) -> None:
        """Give the role back, if it is held; this program goes on standing by for it."""
        self._steward.give_up()

    def close(self) -> None:
        """Give the role up and stand by for it no more; waits until that is done."""
        if not self._is_closed.is_set():
            self._is_closed.set()
            self._forget(self._steward)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def callbacks(
    name: str,
    promote: Callable[[int], object] | None,
    demote: Callable[[], object] | None,
) -> Callbacks:
    """Return a workload of two functions; a program that only asks `is_held` has none."""
    check_function("promote", promote)
    check_function("demote", demote)
    return Callbacks(name, promote or (lambda _: None), demote or (lambda: None))
