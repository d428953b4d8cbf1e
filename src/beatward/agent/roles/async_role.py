"""A role in a program with an event loop: a context that is cancelled when its lease is over."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from beatward.errors import RoleLost

from .steward import Finish, Steward


class Desk:
    """The workload of a loop: at most one body that acts, or one that waits for the role."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiter: asyncio.Future[tuple[int, Finish]] | None = None
        self.body: asyncio.Task[object] | None = None
        self.finish: Finish | None = None

    def promote(self, token: int, finish: Finish) -> None:
        """Let the waiting one in; from the steward's thread."""
        self._call(self._admit, token, finish, otherwise=lambda: finish(ok=False))

    def demote(self, finish: Finish) -> None:
        """Cancel the acting one; from the steward's thread."""
        self._call(self._recall, finish, otherwise=lambda: finish(ok=True))

    def _call(
        self, function: Callable[..., None], *words: object, otherwise: Callable[[], bool]
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *words)
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

    def __init__(self, steward: Steward, desk: Desk) -> None:
        self.name = steward.name
        self._steward = steward
        self._desk = desk
        self._token = 0
        self._cancelling = 0

    @property
    def is_held(self) -> bool:
        """Whether the role is this program's at this very moment."""
        return self._steward.held > 0

    async def __aenter__(self) -> int:
        desk, task = self._desk, asyncio.current_task()
        assert task is not None, "a role is held by a task"
        if desk.waiter is not None or desk.body is not None:
            raise RuntimeError(f"this program stands by for {self.name} already")
        while True:
            waiter: asyncio.Future[tuple[int, Finish]]
            waiter = desk.waiter = asyncio.get_running_loop().create_future()
            self._steward.stand(is_able=True)
            try:
                token, finish = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    waiter.result()[1](ok=False)
                raise
            finally:
                desk.waiter = None
                self._steward.stand(is_able=False)
            if finish(ok=True):
                desk.body, self._token = task, token
                self._cancelling = task.cancelling()
                return token

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        desk, task = self._desk, self._desk.body
        assert task is not None
        if desk.finish is None:
            desk.body = None
            self._steward.give_up()
            return
        if not isinstance(error, asyncio.CancelledError):
            # The body has ended by itself in the moment in which it was cancelled; what is still
            # under way would meet whatever is awaited next.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as late:
                error = error or late
        is_ours = task.uncancel() <= self._cancelling
        finish, desk.finish, desk.body = desk.finish, None, None
        finish(ok=True)
        if is_ours and (error is None or isinstance(error, asyncio.CancelledError)):
            raise RoleLost(self.name, self._token) from error
