"""The one loop in which tests wait for what another thread or process does."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

# Twenty times what it takes on a busy machine: only a test that fails waits for so long.
PATIENCE_SECONDS = 20.0
_PACE_SECONDS = 0.01


def wait_for(
    question: Callable[[], Found | None],
    what: str = "it",
    *,
    timeout: float = PATIENCE_SECONDS,
) -> Found:
    """Ask until the answer is true and return it; fail naming what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout} s; last: {answer!r}")
        time.sleep(_PACE_SECONDS)  # the pace of asking another process
