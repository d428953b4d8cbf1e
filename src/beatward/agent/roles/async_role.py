"""A role in a program with an event loop: a context that is cancelled when its lease is over."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from beatward.errors import RoleLost

from .program_workload import Finish, ProgramWorkload
from .runner import RoleRunner


class TaskWorkload(ProgramWorkload):
    """The workload of a loop: at most one body that acts, or one that waits for the role."""

    def __init__(
        self, runner: RoleRunner, loop: asyncio.AbstractEventLoop, *, exit_when_stuck: bool
    ) -> None:
        super().__init__(runner, exit_when_stuck=exit_when_stuck)
        self._loop = loop
        self.waiter: asyncio.Future[tuple[int, Finish]] | None = None
        self.body: asyncio.Task[object] | None = None
        self.finish: Finish | None = None

    def promote(self, token: int, finish: Finish) -> None:
        """Let the waiting one in; from the runner's thread."""
        self._call(self._admit, token, finish, otherwise=lambda: finish(ok=False))

    def demote(self, finish: Finish) -> None:
        """Cancel the acting one; from the runner's thread."""
        self._call(self._recall, finish, otherwise=lambda: finish(ok=True))

    def _call(
        self, function: Callable[..., None], *arguments: object, otherwise: Callable[[], bool]
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # The loop is closed: nothing runs on it any more.
            otherwise()

    def _admit(self, token: int, finish: Finish) -> None:
        if self.waiter is None or self.waiter.done():
            finish(ok=False)
        else:
            self.waiter.set_result((token, finish))

    def _recall(self, finish: Finish) -> None:
        if self.body is None:
            finish(ok=True)
        else:
            self.finish = finish
            self.body.cancel()


class AsyncRole:
    """What `AsyncHeart.role` returns: `async with` waits for the role and returns its token."""

    def __init__(self, runner: RoleRunner, workload: TaskWorkload) -> None:
        self.name = runner.name
        self._runner = runner
        self._workload = workload
        self._token = 0
        self._cancelling = 0

    @property
    def is_held(self) -> bool:
        """Whether the role is this program's at this very moment."""
        return self._runner.token > 0

    async def __aenter__(self) -> int:
        workload, task = self._workload, asyncio.current_task()
        assert task is not None, "a role is held by a task"
        if workload.waiter is not None or workload.body is not None:
            raise RuntimeError(f"this program stands by for {self.name} already")
        while True:
            waiter: asyncio.Future[tuple[int, Finish]]
            waiter = workload.waiter = asyncio.get_running_loop().create_future()
            workload.stand(is_able=True)
            try:
                token, finish = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    waiter.result()[1](ok=False)
                raise
            finally:
                workload.waiter = None
                workload.stand(is_able=False)
            if finish(ok=True):
                workload.body, self._token = task, token
                self._cancelling = task.cancelling()
                return token

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        workload, task = self._workload, self._workload.body
        assert task is not None
        if workload.finish is None:
            workload.body = None
            self._runner.give_up()
            return
        if not isinstance(error, asyncio.CancelledError):
            # The body has ended by itself in the moment in which it was cancelled; what is still
            # under way would meet whatever is awaited next.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as late:
                error = error or late
        is_ours = task.uncancel() <= self._cancelling
        finish, workload.finish, workload.body = workload.finish, None, None
        finish(ok=True)
        if is_ours and (error is None or isinstance(error, asyncio.CancelledError)):
            raise RoleLost(self.name, self._token) from error
