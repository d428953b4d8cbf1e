"""The monitor's disk: a store that survives the process, refuses for a while, is lost or put back.

`FlakyStore` is `store.memory.MemoryStore` behind a switch. `Writer` is the writing thread of one
process: it takes entries at once, writes them a moment later in order, holds them back while the
disk refuses, and forgets what it holds when the process dies.
Not here: what the entries say.
"""

from collections.abc import Callable, Sequence
from random import Random

from beatward.core.entry import Entry, Recovered
from beatward.core.instants import MILLISECOND
from beatward.errors import TemporaryError
from beatward.store.memory import MemoryStore

from .chance import exponential_ns, happens, uniform_ns
from .event_queue import EventQueue

# One write in this many takes long: an fsync that stalls for over 100 ms was seen on ordinary
# disks.
_STALL_PROBABILITY = 0.01
_STALL_NS = 120 * MILLISECOND
_RETRY_MIN_NS = 50 * MILLISECOND
_RETRY_MAX_NS = 500 * MILLISECOND


class FlakyStore:
    """`ports.Store` in memory; `refuses` makes every append fail until it is switched off."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.refuses = False
        self.refused_count = 0

    def load(self, *, wall_offset_ns: int) -> Recovered:
        """Return what a restart begins from."""
        return self.memory.load(wall_offset_ns=wall_offset_ns)

    def append(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Write, or raise TemporaryError and leave everything as it was."""
        if self.refuses:
            self.refused_count += 1
            raise TemporaryError("no space is left on the simulated disk")
        self.memory.append(entries, wall_offset_ns=wall_offset_ns)

    def earlier(self, count: int) -> "FlakyStore":
        """Return a disk as this one was when it held a number of entries: a backup."""
        backup = FlakyStore()
        for entry, wall_ns in self.memory.history[:count]:
            backup.memory.append((entry,), wall_offset_ns=wall_ns - entry.at_ns)
        return backup

    def close(self) -> None:
        """Do nothing: the disk outlives every process."""


class Writer:
    """`ports.Journal` of one process.

    receipt   called with the sequence up to which everything is on disk
    written   called with the entries that have reached the disk
    """

    def __init__(
        self,
        store: FlakyStore,
        event_queue: EventQueue,
        rng: Random,
        *,
        latency_ns: int,
        receipt: Callable[[int], None],
        written: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._store = store
        self._event_queue = event_queue
        self._rng = rng
        self._latency_ns = latency_ns
        self._receipt = receipt
        self._written = written
        self._waiting: list[tuple[Entry, int]] = []
        self._under_way = 0  # how many of the waiting ones the write under way will hold
        self._is_dead = False

    def submit(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Take entries; they are written later, in order."""
        self._waiting += [(entry, wall_offset_ns) for entry in entries]
        if not self._under_way:
            self._begin()

    def die(self) -> None:
        """Lose all that waits; a write under way has reached the disk or has not."""
        self._is_dead = True
        if self._under_way and happens(self._rng, 0.5):
            self._write()

    def _begin(self) -> None:
        self._under_way = len(self._waiting)
        wait_ns = exponential_ns(self._rng, self._latency_ns)
        if happens(self._rng, _STALL_PROBABILITY):
            wait_ns += exponential_ns(self._rng, _STALL_NS)
        self._event_queue.after(wait_ns, self._finish)

    def _finish(self) -> None:
        if self._is_dead:
            return
        if not self._write():
            retry_ns = uniform_ns(self._rng, _RETRY_MIN_NS, _RETRY_MAX_NS)
            self._event_queue.after(retry_ns, self._finish)
            return
        done = self._waiting[: self._under_way]
        del self._waiting[: self._under_way]
        self._under_way = 0
        self._receipt(done[-1][0].sequence)
        if self._waiting:
            self._begin()

    def _write(self) -> bool:
        """Append what is under way, one transaction for each wall-clock offset in it."""
        batch = self._waiting[: self._under_way]
        begin = 0
        for end in range(1, len(batch) + 1):
            if end < len(batch) and batch[end][1] == batch[begin][1]:
                continue
            entries = [entry for entry, _ in batch[begin:end]]
            try:
                self._store.append(entries, wall_offset_ns=batch[begin][1])
            except TemporaryError:
                return False
            begin = end
        self._written([entry for entry, _ in batch])
        return True
