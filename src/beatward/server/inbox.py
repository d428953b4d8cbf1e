"""What comes in between two turns: datagrams from the door, and what other threads put here.

Web handlers put sealed records and orders, drivers outcomes, the journal receipts. Everything is
bounded; what does not fit is refused to its sender and counted. What is put here rings the
bell that the wheel waits for. The wheel drains.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from beatward.core.intake import Datagrams, Via
from beatward.core.jobs import Dues
from beatward.core.monitor import Inputs
from beatward.core.order_kinds import Order
from beatward.core.outbox import Outcome
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.record import RECORD_SIZE
from beatward.server.bell import Bell
from beatward.transport.udp_sockets import UdpSockets

Item = TypeVar("Item")
# Records that were posted together, how, when, and the raw address of who did.
_Posted = tuple[bytes, Via, int, bytes]
NO_PEER = bytes(PEER_SIZE)

# Counted in records, not in requests, because a relay brings many at once. At 10,000 heartbeats a
# second this is six seconds of a wheel that does not turn.
RECORDS_MAX = 65_536
# A join storm of a whole large fleet fits; an order is about 200 bytes.
ORDERS_MAX = 200_000
# This many orders a turn take 30 ms; the others wait for the next, and heartbeats do not wait.
ORDERS_TURN = 1000


class ServerInbox:
    """Implements `ports.Inbox`. `put_*` may be called from any thread, `drain` from the wheel's.

    A deque's append and popleft are atomic in CPython, so the wheel never waits here. A thread that
    puts records waits at most for another that does, for less than a microsecond.
    """

    def __init__(self, doors: UdpSockets, now_ns: Callable[[], int], bell: Bell) -> None:
        self._doors = doors
        self._bell = bell
        self._now_ns = now_ns
        self._records: deque[_Posted] = deque()
        # How many records were ever put and ever taken. Each has one writer, who puts under the
        # lock or is the wheel: a single count of what waits would need a lock for both.
        self._putting = threading.Lock()
        self._put_count = 0
        self._taken_count = 0
        self._orders: deque[Order] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._dues: deque[Dues] = deque()
        self._journaled = 0
        self.refused_count = 0

    def put_records(self, records: bytes, via: Via, peer: bytes = NO_PEER) -> bool:
        """Take sealed records, one after the other, that have just arrived together over HTTP.

        peer   the raw socket address that they came from

        False: there is no room for all of them, and none was taken.
        """
        count = len(records) // RECORD_SIZE
        assert count * RECORD_SIZE == len(records)
        with self._putting:
            if self._put_count + count - self._taken_count > RECORDS_MAX:
                self.refused_count += count
                return False
            self._put_count += count
            self._records.append((records, via, self._now_ns(), peer))
        self._bell.ring_later()
        return True

    def put_order(self, order: Order) -> bool:
        """Take an order; False: there is no room."""
        if len(self._orders) >= ORDERS_MAX:
            self.refused_count += 1
            return False
        self._orders.append(order)
        self._bell.ring()
        return True

    def has_orders(self) -> bool:
        """Tell whether orders wait for the next turn."""
        return bool(self._orders)

    def put_outcome(self, outcome: Outcome) -> None:
        """Take the outcome of an attempt; there are no more of them than attempts under way."""
        self._outcomes.append(outcome)
        self._bell.ring()

    def put_dues(self, dues: Sequence[Dues]) -> None:
        """Take due instants; there are no more of them than jobs, once in half of AHEAD."""
        self._dues.extend(dues)
        self._bell.ring()

    def put_receipt(self, sequence: int) -> None:
        """Note that the journal holds every entry up to this sequence."""
        self._journaled = max(self._journaled, sequence)
        self._bell.ring()

    def drain(self) -> Inputs:
        """Take what is there; the watermark is the doors'."""
        self._bell.answer()
        # Others first: an order that enrols a node is then known before its first heartbeat.
        outcomes = _take_all(self._outcomes)
        orders = _take_all(self._orders, ORDERS_TURN)
        records = _take_all(self._records)
        if records:
            self._taken_count += sum(len(together) for together, *_ in records) // RECORD_SIZE
        journaled = self._journaled
        drain = self._doors.drain()
        return Inputs(
            watermark_ns=drain.watermark_ns,
            drained_ns=self._now_ns(),
            datagrams=(*drain.batches, *_batches(records)),
            journaled=journaled,
            outcomes=outcomes,
            orders=orders,
            dropped=drain.dropped,
            dues=_take_all(self._dues),
            listened_ns=self._bell.listened_ns,
        )


def _take_all(items: "deque[Item]", at_most: int = sys.maxsize) -> tuple[Item, ...]:
    if not items:
        return ()
    return tuple(items.popleft() for _ in range(min(len(items), at_most)))


def _batches(records: tuple[_Posted, ...]) -> list[Datagrams]:
    """Sort records by the way they came; within one way they keep their order.

    Costs something for what came together, and next to nothing for each record of it.
    """
    batches: list[Datagrams] = []
    if not records:
        return batches
    for via in (Via.HTTP, Via.PING):
        mine = [(together, at_ns, peer) for together, by, at_ns, peer in records if by == via]
        if not mine:
            continue
        rows = np.frombuffer(b"".join([together for together, *_ in mine]), np.uint8)
        rows = rows.reshape(-1, RECORD_SIZE)
        counts = [len(together) // RECORD_SIZE for together, *_ in mine]
        arrived_ns = np.array([at_ns for _, at_ns, _ in mine], np.int64)
        peers = np.frombuffer(b"".join([peer for *_, peer in mine]), np.uint8)
        batches.append(
            Datagrams(
                rows,
                np.full(len(rows), RECORD_SIZE, np.int64),
                np.repeat(peers.reshape(-1, PEER_SIZE), counts, axis=0),
                np.repeat(arrived_ns, counts),
                via,
            )
        )
    return batches
