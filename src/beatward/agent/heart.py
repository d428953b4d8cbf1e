"""One line in a program, and it is watched: `Heart("web-1").start()`.

    with Heart("web-1") as heart:
        heart.report(status="failing")      # until the next report

    Heart("web-1", services=[Service("web", port=80)]).start()      # what it offers, docs/roles.md

`Heart` beats from a daemon thread, so it says that the process lives. `AsyncHeart` beats from the
event loop itself, so it also says that the loop turns: a loop that is blocked falls silent, which
is what a user of that service sees too.

The program is never taken down, nor held up, by a monitor that is away: heartbeats go on, it is
looked for in the background, and the log (`beatward.agent`) says so. Wrong arguments raise
ValueError at once. A program that ends says goodbye by itself, by `with`, `stop()`, at exit, and at
SIGTERM, see `ending`; a program that is killed does not, and the monitor finds that out by silence.
A forked child does not beat: start a heart of another name in the child.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from beatward.core.instants import SECOND
from beatward.core.protocol.record import Farewell

from . import clock, ending
from .abstract_heart import AbstractHeart
from .ending import Beating, exit_code_of
from .monitor_connection import MonitorConnection
from .roles.role import CallbackWorkload, Role
from .services import with_role
from .validation import check_exit_code, check_flag, check_timeout
from .waker import WAIT_MAX_NS, Waker

if TYPE_CHECKING:
    from .roles.async_role import AsyncRole, TaskWorkload
    from .roles.runner import RoleRunner

STOP_TIMEOUT_S = 3.0
JOB_STOP_TIMEOUT_S = 15.0
# A role that is given up in order ends with its lease; a minute is the longest sensible one.
ROLE_STOP_TIMEOUT_S = 60.0

log = logging.getLogger("beatward.agent")


class Heart(AbstractHeart):
    """Beats from a daemon thread until `stop`, the end of `with`, or the program's exit."""

    def start(self) -> Self:
        """Begin a life; returns at once, the rest happens in the background."""
        if self._connection is not None and not self._is_inherited:
            raise RuntimeError(f"the heart of {self.name} beats already")
        self._process = os.getpid()
        self._farewell: tuple[Farewell, int | None] | None = None
        self._stopping = threading.Lock()
        self._waker = Waker()
        self._acknowledged = threading.Event()
        self.last_turn_ns = clock.now_ns()
        self._connection = self._new_conversation(self._waker.wake)
        self._thread = threading.Thread(
            target=self._run, args=(self._connection, self._waker), name="beatward", daemon=True
        )
        self._thread.start()
        self._beating = Beating(self.is_job, self._announce, self.stop)
        ending.add(self._beating, handle_sigterm=self._handle_sigterm)
        return self

    def stop(self, exit_code: int | None = None, *, is_failure: bool = False) -> None:
        """Say goodbye and end this life; waits until it was heard, half a second at most.

        exit_code   of the process that stood behind this heart, or minus its signal: anything
                    but 0 tells the monitor that it has failed. None or 0 is an orderly leave.
        is_failure  the exit code 0 is a failure, too: the process should not have ended
        Does nothing when the heart does not beat.
        """
        check_exit_code(exit_code)
        if self._is_inherited:
            return
        # The program's own end and a SIGTERM may come at once, in two threads.
        with self._stopping:
            if self._connection is None:
                return
            for runner in list(self._runners):
                self._dismiss(runner)
            self._say_goodbye(exit_code, is_failure=is_failure)
            self._thread.join(JOB_STOP_TIMEOUT_S if self.is_job else STOP_TIMEOUT_S)
            self._connection = None
            ending.remove(self._beating)

    def _announce(self, exit_code: int | None) -> None:
        # A role has to be given up before.
        if self._connection is not None and not self._runners:
            self._say_goodbye(exit_code)

    def _say_goodbye(self, exit_code: int | None, *, is_failure: bool = False) -> None:
        if self._farewell is None:
            has_failed = bool(exit_code) or is_failure
            self._farewell = (Farewell.EXITED if has_failed else Farewell.LEFT, exit_code)
        self._waker.wake()

    def role(
        self,
        name: str,
        *,
        promote: Callable[[int], object] | None = None,
        demote: Callable[[], object] | None = None,
        priority: int = 100,
        zone: str = "",
        address: str = "",
        port: int = 0,
        version: str = "",
        labels: Mapping[str, str] | None = None,
        exit_when_stuck: bool = True,
    ) -> Role:
        """Stand by for a service's role, see docs/roles.md; the heart must beat.

        promote   called with the token when the role is lent; an exception gives it back
        demote    called when it is over; it has to have stopped all of it when it returns, and is
                  called first of all if a former life of this node held the role when it ended
        exit_when_stuck   end this process when demote fails, or takes too long; False: nobody
                  else is promoted until it has returned
        priority to labels   as a `Service` has them
        Raises ValueError with what was expected.
        """
        check_flag("exit_when_stuck", exit_when_stuck)
        service = with_role(
            name, priority, zone=zone, address=address, port=port, version=version, labels=labels
        )
        runner = self._new_runner(service)
        workload = CallbackWorkload(runner, promote, demote, exit_when_stuck=exit_when_stuck)
        self._engage(runner, workload)
        workload.stand(is_able=True)
        return Role(runner, self._dismiss)

    def wake(self) -> None:
        """Let the heart look at once whether there is something to say; from any thread."""
        if self._connection is not None and not self._is_inherited:
            self._waker.wake()

    def wait_acknowledged(self, timeout: str = "5s") -> bool:
        """Wait until the monitor has acknowledged this life; returns whether it did in time."""
        timeout_s = check_timeout(timeout)
        if self._connection is None:
            raise RuntimeError(f"the heart of {self.name} does not beat")
        return self._acknowledged.wait(timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(exit_code_of(error, is_job=self.is_job))

    def _run(self, connection: MonitorConnection, waker: "Waker") -> None:
        connection.begin(clock.now_ns())
        while not connection.is_over:
            try:
                self._turn(connection)
            except Exception:
                # Our own mistake must neither take the program down nor silence the heart.
                log.exception("%s: a turn failed", self.name)
                waker.wait(-1, SECOND)
                continue
            wait_ns = min(connection.next_turn_ns - clock.now_ns(), WAIT_MAX_NS)
            if not connection.is_over:
                waker.wait(connection.fileno(), max(wait_ns, 0))
        connection.close()
        waker.close()

    def _turn(self, connection: MonitorConnection) -> None:
        self.last_turn_ns = clock.now_ns()
        connection.turn(self.last_turn_ns, self._current)
        if connection.is_acknowledged and not self._acknowledged.is_set():
            self._acknowledged.set()
        if self._farewell is not None:
            connection.say_goodbye(self.last_turn_ns, *self._farewell)


class AsyncHeart(AbstractHeart):
    """Beats from the running event loop: `async with AsyncHeart("web-1") as heart:`."""

    async def start(self) -> Self:
        """Begin a life on the running loop."""
        import asyncio  # noqa: PLC0415  a program without it must not pay for it

        if self._connection is not None:
            raise RuntimeError(f"the heart of {self.name} beats already")
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._over = self._loop.create_future()
        self._watched = -1
        self._workloads: dict[str, tuple[RoleRunner, TaskWorkload]] = {}
        # Its state file is on a disk, which may take its time.
        connection = await self._loop.run_in_executor(
            None, self._new_conversation, self.wake, self._forget
        )
        self._connection = connection
        connection.begin(clock.now_ns())
        self._turn()
        self._beating = Beating(self.is_job, lambda _: None, self._leave)
        ending.add(self._beating, handle_sigterm=self._handle_sigterm)
        return self

    async def stop(self, exit_code: int | None = None) -> None:
        """Say goodbye and end this life, as `Heart.stop`."""
        check_exit_code(exit_code)
        connection = self._connection
        if connection is None or self._is_inherited:
            return
        for runner in list(self._runners):
            # The loop turns on: what is given up has to be said.
            await self._loop.run_in_executor(None, self._dismiss, runner)
        self._workloads.clear()
        farewell = Farewell.EXITED if exit_code else Farewell.LEFT
        connection.say_goodbye(clock.now_ns(), farewell, exit_code)
        self._turn()
        await self._over
        if self._connection is None:
            return  # Stopped by a SIGTERM meanwhile.
        self._connection = None
        ending.remove(self._beating)
        await self._loop.run_in_executor(None, connection.close)

    def _leave(self, exit_code: int | None) -> None:
        """Say goodbye at the end of the program, from another thread, or when the loop is over."""
        import asyncio  # noqa: PLC0415  loaded by now

        if self._loop.is_running():
            timeout_s = ROLE_STOP_TIMEOUT_S if self._runners else STOP_TIMEOUT_S
            asyncio.run_coroutine_threadsafe(self.stop(exit_code), self._loop).result(timeout_s)
            return
        connection, self._watched = self._connection, -1
        if connection is None:
            return
        for runner in list(self._runners):
            self._dismiss(runner)
        waker = Waker()
        connection.say_goodbye(
            clock.now_ns(), Farewell.EXITED if exit_code else Farewell.LEFT, exit_code
        )
        while not connection.is_over:
            wait_ns = connection.turn(clock.now_ns(), self._current) - clock.now_ns()
            if not connection.is_over:
                waker.wait(connection.fileno(), max(min(wait_ns, SECOND), 0))
        connection.close()
        waker.close()
        self._connection = None
        ending.remove(self._beating)

    def role(
        self,
        name: str,
        *,
        priority: int = 100,
        zone: str = "",
        address: str = "",
        port: int = 0,
        version: str = "",
        labels: Mapping[str, str] | None = None,
        exit_when_stuck: bool = True,
    ) -> "AsyncRole":
        """Return a context that waits for a service's role and returns its token.

        `async with heart.role("scheduler") as token:` is cancelled and raises RoleLost when the
        lease is over. exit_when_stuck: end this process when the body has not ended in time;
        False: nobody else is promoted until it has. priority to labels: as a `Service` has them.
        See docs/roles.md. Raises ValueError with what was expected.
        """
        from .roles.async_role import AsyncRole, TaskWorkload  # noqa: PLC0415  as asyncio itself

        check_flag("exit_when_stuck", exit_when_stuck)
        service = with_role(
            name, priority, zone=zone, address=address, port=port, version=version, labels=labels
        )
        known = self._workloads.get(name)
        if known is None:
            runner = self._new_runner(service)
            workload = TaskWorkload(runner, self._loop, exit_when_stuck=exit_when_stuck)
            self._engage(runner, workload)
            known = self._workloads[name] = (runner, workload)
        return AsyncRole(*known)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop(exit_code_of(error, is_job=self.is_job))

    def _turn(self) -> None:
        connection = self._connection
        if connection is None or self._is_inherited or self._over.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        wait_ns = SECOND
        try:
            next_ns = connection.turn(clock.now_ns(), self._current)
            wait_ns = min(next_ns - clock.now_ns(), WAIT_MAX_NS)
        except Exception:
            log.exception("%s: a turn failed", self.name)
        if connection.is_over:
            self._forget(self._watched)
            self._over.set_result(None)
            return
        self._watch(connection.fileno())
        self._timer = self._loop.call_later(max(wait_ns, 0) / SECOND, self._turn)

    def _watch(self, fileno: int) -> None:
        if fileno != self._watched:
            self._forget(self._watched)
            if fileno >= 0:
                self._loop.add_reader(fileno, self._turn)
            self._watched = fileno

    def _forget(self, fileno: int) -> None:
        if fileno >= 0 and fileno == self._watched:
            self._loop.remove_reader(fileno)
            self._watched = -1

    def wake(self) -> None:
        """Let the heart look at once whether there is something to say; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._turn)
        except RuntimeError:
            log.debug("the loop has ended")
