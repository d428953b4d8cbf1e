"""The processes below one: all that a hook or a command has started, whatever forked away from it.

On Linux a process that has called `become_subreaper` stays the ancestor of all that is started
below it, so `processes_below` finds it. Elsewhere there are only sessions: what leaves its session
is not found.
"""

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Become the parent of every orphan below this process; returns whether the system can."""
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return int(prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0


def processes_below(root: int, spare: Iterable[int] = ()) -> list[int]:
    """Return all living processes that descend from one, without it and without the spared."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name stands in parentheses and may hold anything, parentheses too.
            state, parent, *_ = path.read_text("utf-8", "replace").rpartition(")")[2].split()
        except (OSError, ValueError):
            continue  # It has ended meanwhile.
        children.setdefault(int(parent), []).append(
            int(path.parent.name) if state not in "ZX" else -int(path.parent.name)
        )
    found: list[int] = []
    rest = [root]
    while rest:
        for child in children.get(rest.pop(), []):
            # The dead have no children, but their threads' leader may be a zombie that has some.
            rest.append(abs(child))
            if child > 0 and child not in spare:
                found.append(child)
    return found
