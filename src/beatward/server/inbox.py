"""What comes in between two turns: datagrams from the door, and what other threads put here.

Web handlers put sealed records and orders, drivers outcomes, the journal receipts. Everything is
bounded; what does not fit is refused to whoever brought it and counted. The wheel drains.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from beatward.core.intake import PEER_SIZE, Datagrams, Via
from beatward.core.monitor import Inputs, Order
from beatward.core.outbox import Outcome
from beatward.core.protocol.record import RECORD_SIZE
from beatward.transport.doors import Doors

Item = TypeVar("Item")

# At 10,000 HTTP heartbeats a second this is six seconds of a wheel that does not turn.
RECORDS_MAX = 65_536
# A join storm of a whole large fleet fits; an order is about 200 bytes.
ORDERS_MAX = 200_000


class Inbox:
    """Implements `ports.Inbox`. `put_*` may be called from any thread, `drain` from the wheel's.

    A deque's append and popleft are atomic in CPython, so nobody waits for anybody here.
    """

    def __init__(self, doors: Doors, now_ns: Callable[[], int]) -> None:
        self._doors = doors
        self._now_ns = now_ns
        self._records: deque[tuple[bytes, Via, int]] = deque()
        self._orders: deque[Order] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._journaled = 0
        self.refused_count = 0

    def put_record(self, record: bytes, via: Via) -> bool:
        """Take one sealed record that has just arrived over HTTP; False: there is no room."""
        if len(self._records) >= RECORDS_MAX:
            self.refused_count += 1
            return False
        self._records.append((record, via, self._now_ns()))
        return True

    def put_order(self, order: Order) -> bool:
        """Take an order; False: there is no room."""
        if len(self._orders) >= ORDERS_MAX:
            self.refused_count += 1
            return False
        self._orders.append(order)
        return True

    def put_outcome(self, outcome: Outcome) -> None:
        """Take the outcome of an attempt; there are no more of them than attempts under way."""
        self._outcomes.append(outcome)

    def put_receipt(self, sequence: int) -> None:
        """Note that the journal holds every entry up to this sequence."""
        self._journaled = max(self._journaled, sequence)

    def drain(self) -> Inputs:
        """Take what is there; the watermark is the doors'."""
        # Others first: an order that enrols a node is then known before its first heartbeat.
        outcomes = _take_all(self._outcomes)
        orders = _take_all(self._orders)
        records = _take_all(self._records)
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
        )


def _take_all(items: "deque[Item]") -> tuple[Item, ...]:
    return tuple(items.popleft() for _ in range(len(items)))


def _batches(records: tuple[tuple[bytes, Via, int], ...]) -> list[Datagrams]:
    """Sort records by the way they came; within one way they keep their order."""
    batches = []
    for via in (Via.HTTP, Via.PING):
        mine = [(record, arrived_ns) for record, by, arrived_ns in records if by == via]
        if not mine:
            continue
        count = len(mine)
        rows = np.frombuffer(b"".join(record for record, _ in mine), np.uint8)
        batches.append(
            Datagrams(
                rows.reshape(count, RECORD_SIZE),
                np.full(count, RECORD_SIZE, np.int64),
                np.zeros((count, PEER_SIZE), np.uint8),
                np.array([arrived_ns for _, arrived_ns in mine], np.int64),
                via,
            )
        )
    return batches
