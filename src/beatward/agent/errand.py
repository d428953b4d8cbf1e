"""What blocks, done in a thread of its own, so that no heartbeat and no role waits for it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class Errand(Generic[_Result]):
    """One blocking call in a thread; `wake` is called when `outcome` can be taken."""

    def __init__(self, call: Callable[[], _Result], wake: Callable[[], None]) -> None:
        self._call = call
        self._wake = wake
        self._result: _Result | None = None
        self._error: Exception | None = None
        self.is_done = False
        threading.Thread(target=self._run, name="beatward-errand", daemon=True).start()

    def outcome(self) -> _Result:
        """Return what the call returned, or raise what it raised."""
        assert self.is_done
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._call()
        except Exception as error:  # noqa: BLE001  it is raised again by `outcome`
            self._error = error
        self.is_done = True
        self._wake()
