"""Attempts that may fail: made in the background, made again, and logged once for each failure.

in_background   a blocking call in a thread of its own, so that no heartbeat waits for it
Backoff         pauses that double until an attempt succeeds
LogOnce         one line for each failure, not one for each attempt
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")

log = logging.getLogger("beatward.agent")


def in_background(call: Callable[[], _Result], wake: Callable[[], None]) -> Future[_Result]:
    """Call a function in a thread; `wake` is called from that thread when it has returned.

    The thread is a daemon: an executor of `concurrent.futures` would hold up the program's end.
    Raises RuntimeError when the interpreter starts no more threads.
    """
    future: Future[_Result] = Future()
    future.add_done_callback(lambda _: wake())

    def run() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  it is raised again by `result`
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="beatward-attempt", daemon=True).start()
    return future


class Backoff:
    """Pauses between attempts, each twice as long as the one before it, up to the longest."""

    def __init__(self, first_ns: int, longest_ns: int) -> None:
        self._first_ns = first_ns
        self._longest_ns = longest_ns
        self._pause_ns = first_ns

    def next_ns(self) -> int:
        """Return the pause before the next attempt and double the one after it."""
        pause_ns = self._pause_ns
        self._pause_ns = min(2 * pause_ns, self._longest_ns)
        return pause_ns

    def reset(self) -> None:
        """Begin with the first pause again: an attempt has succeeded."""
        self._pause_ns = self._first_ns


class LogOnce:
    """Logs warnings about one subject, each only when it differs from the last one."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._last = ""

    def warn(self, trouble: str, *, kind: str | None = None) -> bool:
        """Log a trouble; returns whether it was logged.

        kind   troubles of one kind count as the same; default: the text
        """
        kind = trouble if kind is None else kind
        is_new = kind != self._last
        self._last = kind
        if is_new:
            log.warning("%s: %s", self._subject, trouble)
        return is_new

    def clear(self) -> None:
        """Forget the last one: the trouble is over."""
        self._last = ""
