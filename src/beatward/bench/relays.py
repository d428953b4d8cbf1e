"""Heartbeats of nodes behind a relay: sealed by arrays, many in the body of one request.

Every body holds the next nodes of a ring, each with a sequence it has never said before,
so that the monitor has all of its work with every record: nothing of it is a replay. The nodes give
no hint of their slot, because no node behind a relay is ever told it.
"""

import numpy as np

from beatward.bench.fleet import INCARNATION, Fleet
from beatward.core.arrays import ByteArray, IntArray
from beatward.core.intake import RECORD
from beatward.core.protocol import record
from beatward.core.protocol.record import BODY_SIZE, Flag, Kind
from beatward.core.tags import FASTEST
from beatward.web.records import PATH

_INTERVAL_MS = 60_000


class Ring:
    """The nodes behind one relay, which take turns; `index` (n,) says which of the fleet."""

    def __init__(self, fleet: Fleet, index: IntArray, session: int) -> None:
        self._secret: ByteArray = fleet.secret[index]
        self._next = 0
        rows = np.zeros(len(index), RECORD)
        rows["magic"] = record.MAGIC
        rows["version"] = record.VERSION
        rows["kind"] = Kind.HEARTBEAT
        rows["slot"] = record.NO_SLOT
        rows["interval_ms"] = _INTERVAL_MS
        rows["flags"] = Flag.RELAYED
        rows["node"] = fleet.node[index]
        rows["incarnation"] = INCARNATION
        rows["echo"] = session
        for gauge in ("cpu", "memory", "load"):
            rows[gauge] = record.NO_GAUGE
        self._rows = rows

    def __len__(self) -> int:
        """Return how many nodes there are."""
        return len(self._rows)

    def take(self, count: int) -> bytes:
        """Return the next heartbeats of a number of nodes, at most all of them."""
        assert 0 < count <= len(self)
        turn = (self._next + np.arange(count)) % len(self)
        self._next = (self._next + count) % len(self)
        self._rows["sequence"][turn] += 1
        rows = self._rows[turn].view(np.uint8).reshape(count, -1)
        rows[:, BODY_SIZE:] = FASTEST.seal(rows[:, :BODY_SIZE], turn, self._secret)
        return rows.tobytes()


def request(body: bytes) -> bytes:
    """Return what a relay writes to its connection."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
