"""Datagrams that name no node that is enrolled, or that carry another key: who still speaks.

A node that was forgotten, that the monitor lost with its journal, or that holds a key of another
master key goes on speaking, and is not watched. Its datagrams change nothing; here they are kept
for people to see, with the address that they come from.

Two kinds are kept apart, because any sender can make the second and only our nodes the first:

    ours      sealed with the key that this monitor's master key gives to that identity
    foreign   sealed with another key, or not at all

Both tables are bounded, and so is the work of a drain: a flood of junk costs a few looks. A foreign
speaker never takes the place of one of ours. What found no place is counted. Not here: the names
of identities that no node has (a name cannot be computed from its hash).
"""

import hmac
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beatward.core.instants import DAY, MILLISECOND, MINUTE
from beatward.core.protocol.record import BODY_SIZE, TAG_SIZE, tag
from beatward.core.registry import Registry

OURS_MAX = 256
FOREIGN_MAX = 64
# At 10 us each: a key is derived and a tag made in Python.
LOOKS_MAX = 8
# A speaker is shown for three of its intervals, at least a minute and at most a day.
KEPT_MIN_NS = MINUTE
KEPT_MAX_NS = DAY


@dataclass(frozen=True, slots=True)
class Speaker:
    """One identity that speaks from one place; instants on the monitor's clock.

    node      its identity on the wire
    address   the raw socket address that it was last heard from
    is_ours   its key is the one that this monitor's master key gives to that identity
    count     how many of its datagrams were looked at
    kept_ns   it is shown until then
    """

    node: int
    address: bytes
    is_ours: bool
    first_ns: int
    heard_ns: int
    kept_ns: int
    count: int = 1


class Speakers:
    """Keeps them.

    unwatched        those of ours, as a tuple that is replaced and never changed
    overflow_count   looks at speakers that found no place
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._ours: dict[int, Speaker] = {}
        self._foreign: dict[int, Speaker] = {}
        self.unwatched: tuple[Speaker, ...] = ()
        self.overflow_count = 0

    def hear(
        self,
        records: npt.NDArray[np.void],
        peers: npt.NDArray[np.uint8],
        arrived_ns: npt.NDArray[np.int64],
    ) -> None:
        """Look at some of the records (m,) that were turned away; peers (m, PEER_SIZE)."""
        # Spread over all of them, so that a flood in front of a node does not hide it for ever.
        step = -(-len(records) // LOOKS_MAX)
        for row in range(0, len(records), step):
            self._look(records[row], peers[row].tobytes(), int(arrived_ns[row]))
        if self._ours:
            self._publish()

    def heard(self, now_ns: int) -> tuple[Speaker, ...]:
        """Return those that spoke a short while ago, ours first, in order of their identities."""
        for table in (self._ours, self._foreign):
            _drop_silent(table, now_ns)
        self._publish()
        return self.unwatched + tuple(self._foreign[node] for node in sorted(self._foreign))

    def drop_enrolled(self) -> None:
        """Take out what is enrolled by now."""
        for node in [node for node in self._ours if self._registry.slot_of_node(node) >= 0]:
            del self._ours[node]
        self._publish()

    def _publish(self) -> None:
        self.unwatched = tuple(self._ours[node] for node in sorted(self._ours))

    def _look(self, record: np.void, address: bytes, at_ns: int) -> None:
        node = int(record["node"])
        is_ours = self._is_ours(node, record.tobytes())
        table, most = (self._ours, OURS_MAX) if is_ours else (self._foreign, FOREIGN_MAX)
        known = table.get(node)
        if known is None and len(table) >= most:
            _drop_silent(table, at_ns)
            if len(table) >= most:
                self.overflow_count += 1
                return
        quiet_ns = 3 * int(record["interval_ms"]) * MILLISECOND
        table[node] = Speaker(
            node,
            address,
            is_ours,
            first_ns=at_ns if known is None else known.first_ns,
            heard_ns=at_ns,
            kept_ns=at_ns + min(max(quiet_ns, KEPT_MIN_NS), KEPT_MAX_NS),
            count=1 if known is None else known.count + 1,
        )

    def _is_ours(self, node: int, data: bytes) -> bool:
        body, given_tag = data[:BODY_SIZE], data[BODY_SIZE : BODY_SIZE + TAG_SIZE]
        return hmac.compare_digest(tag(self._registry.key_of(node), body), given_tag)


def _drop_silent(table: dict[int, Speaker], now_ns: int) -> None:
    for node in [node for node, one in table.items() if one.kept_ns <= now_ns]:
        del table[node]
