"""A role in a program with threads: callbacks, and a handle to ask whether it is held now."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from beatward.agent import clock
from beatward.agent.validation import check_function, check_timeout
from beatward.core.instants import SECOND

from .program_workload import Finish, ProgramWorkload
from .runner import RoleRunner

log = logging.getLogger("beatward.agent")

# How often a program that waits for a role looks again: `wait` has no socket to wait for.
_LOOK_S = 0.02


class CallbackWorkload(ProgramWorkload):
    """Two functions of the program's, each called in a thread of its own, one after the other.

    Raises ValueError for what is no function; a program that only asks `is_held` has none.
    """

    def __init__(
        self,
        runner: RoleRunner,
        promote: Callable[[int], object] | None,
        demote: Callable[[], object] | None,
        *,
        exit_when_stuck: bool,
    ) -> None:
        super().__init__(runner, exit_when_stuck=exit_when_stuck)
        check_function("promote", promote)
        check_function("demote", demote)
        self._on_promote = promote or (lambda _: None)
        self._on_demote = demote or (lambda: None)
        self._thread: threading.Thread | None = None

    def promote(self, token: int, finish: Finish) -> None:
        """Call the one; an exception gives the role back."""
        self._call("promote", lambda: self._on_promote(token), finish)

    def demote(self, finish: Finish) -> None:
        """Call the other, as soon as the one has returned."""
        self._call("demote", self._on_demote, finish)

    def _call(self, kind: str, function: Callable[[], object], finish: Finish) -> None:
        former = self._thread

        def run() -> None:
            if former is not None:
                former.join()
            try:
                function()
            except Exception:
                log.exception("%s: %s failed", self._runner.name, kind)
                finish(ok=False)
            else:
                finish(ok=True)

        thread = threading.Thread(target=run, name=f"beatward-{kind}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The interpreter is going down and starts no more threads.
            run()
        else:
            self._thread = thread


class Role:
    """What `Heart.role` returns; the end of `with`, or `close`, gives the role up for good."""

    def __init__(self, runner: RoleRunner, forget: Callable[[RoleRunner], None]) -> None:
        self.name = runner.name
        self._runner = runner
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
        return self._runner.token

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
        self._runner.give_up()

    def close(self) -> None:
        """Give the role up and stand by for it no more; waits until that is done."""
        if not self._is_closed.is_set():
            self._is_closed.set()
            self._forget(self._runner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
