"""Nodes that were turned away over HTTP, for people to see; the counterpart of `core.speakers`.

A request names its node, which is all that is known of it: any client of the listener can claim any
name here. So the table is small, what finds no place is counted, and nothing follows from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from beatward.core.instants import MINUTE
from beatward.core.protocol.keys import is_name

STRANGERS_MAX = 64
# Nodes over HTTP may be jobs: what came an hour ago is still worth knowing.
KEPT_NS = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Stranger:
    """One name; `is_forgotten`: it showed its own key and was forgotten by an operator.

    via      `http`, or `ping` for the bare URL
    address  host:port of the last request
    """

    name: str
    via: str
    address: str
    is_forgotten: bool
    heard_ns: int
    count: int


class Strangers:
    """Keeps them by name; used by the web's threads, each call replaces one entry at once."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._known: dict[str, Stranger] = {}
        self.overflow_count = 0

    def note(self, name: str, scope: Scope, via: str, *, is_forgotten: bool = False) -> None:
        """Note that a request in the name of a node was turned away."""
        if not is_name(name):
            return
        known = self._known.get(name)
        if known is None and len(self._known) >= STRANGERS_MAX and not self._make_room():
            self.overflow_count += 1
            return
        if known is not None and known.is_forgotten and not is_forgotten:
            return  # one that showed the key says more than one that did not
        host, port = scope.get("client") or ("", 0)
        self._known[name] = Stranger(
            name,
            via,
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            is_forgotten,
            self._now_ns(),
            1 if known is None else known.count + 1,
        )

    def drop(self, name: str) -> None:
        """Take out a node that was let in."""
        self._known.pop(name, None)

    def heard(self) -> list[Stranger]:
        """Return those that asked a short while ago, in order of their names."""
        self._make_room()
        known = self._known
        return [known[name] for name in sorted(known)]

    def _make_room(self) -> bool:
        oldest_ns = self._now_ns() - KEPT_NS
        self._known = {name: one for name, one in self._known.items() if one.heard_ns > oldest_ns}
        return len(self._known) < STRANGERS_MAX
