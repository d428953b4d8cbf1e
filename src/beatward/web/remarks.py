"""What members say of themselves in words: why they could not take a role, as their hooks tell.

Only shown, never judged by, so it is kept in memory: a member repeats it to each session of the
monitor. Not here: where members stand, which is a datagram (`core.roles.reports`).
"""

import threading
from collections.abc import Mapping

REMARK_LENGTH_MAX = 500


class Remarks:
    """The newest remark of each node and service; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_node: dict[str, Mapping[str, str]] = {}

    def note(self, node: str, remarks: Mapping[str, str]) -> None:
        """Take all remarks of a node in place of its former ones; an empty one is none."""
        kept = {service: remark for service, remark in remarks.items() if remark}
        with self._lock:
            self._by_node.pop(node, None)
            if kept:
                self._by_node[node] = kept

    def of(self, node: str, service: str) -> str:
        """Return what a node has said of itself as a member of a service, or ""."""
        with self._lock:
            return self._by_node.get(node, {}).get(service, "")
