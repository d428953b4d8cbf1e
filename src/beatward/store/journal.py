"""The journal's thread: entries in, receipts out, and nothing lost while the disk refuses.

    submit ──► queue ──────────► pending ──► one transaction ──► on_written(sequence)
                 └─► surplus ───────┘            └── refused: wait, and the same batch again

The wheel hands batches over and never waits. The thread takes all that has come, joins batches
into transactions, and reports the last sequence that is safe. While the store refuses (a full
disk, a lock) it keeps everything in order and tries again, after 100 ms, 200 ms, up to 5 s.

Memory is bounded all the same. Once `waiting_max` entries wait, a new one is kept only as news
that replaces older news: of each node and of each action the newest entry waits in the surplus,
and takes the place of the one before. What a restart needs (the rows of nodes and actions) is
therefore never lost, nor is the beginning of the trouble; lost are lines in the middle of it,
and lines that change no row. They are counted, and the journal's numbers have a gap there. The
bound is `waiting_max` plus one entry for every node and every action decided in the meantime.

This cannot let an action run undecided: a decision is left out only for a later word on the same
action, which the core spoke, so it no longer waits for the receipt of the first.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beatward.core.entry import Entry
from beatward.core.instants import MILLISECOND, SECOND
from beatward.errors import BeatwardError
from beatward.ports import Store
from beatward.store.projection import (
    changed_action,
    changed_node,
    changed_service,
    changed_silence,
)

# 930 bytes each, so a million are about a gigabyte (benchmarks/journal.py, November 2026).
WAITING_MAX = 1_000_000
# Large enough that the sync does not matter, small enough that a receipt comes within 0.2 s.
TRANSACTION_MAX = 10_000
RETRY_MIN_NS = 100 * MILLISECOND
RETRY_MAX_NS = 5 * SECOND
CLOSE_NS = 5 * SECOND
# The wall offset wanders with every turn by nanoseconds. Batches whose offsets differ by less
# than people are shown go into one transaction, with the first one's.
SAME_OFFSET_NS = MILLISECOND


@dataclass(frozen=True, slots=True)
class WriterHealth:
    """How the writing goes; instants are on the clock that the writer was given.

    written           every entry up to this sequence is on disk
    waiting_count     entries taken and not yet written
    left_out_count    lines given up since the start because too many waited
    error             what the store last said; None once it takes entries again
    failing_since_ns  when it began to refuse
    writing_since_ns  when the present attempt began: a disk that hangs gives no error
    """

    written: int
    waiting_count: int = 0
    left_out_count: int = 0
    error: str | None = None
    failing_since_ns: int | None = None
    writing_since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    entries: Sequence[Entry]
    wall_offset_ns: int


class JournalWriter:
    """`ports.Journal` over a store, which from now on belongs to the journal's thread."""

    def __init__(
        self,
        store: Store,
        on_written: Callable[[int], None],
        *,
        now_ns: Callable[[], int],
        written: int = 0,
        waiting_max: int = WAITING_MAX,
        retry_min_ns: int = RETRY_MIN_NS,
    ) -> None:
        """Start the thread.

        on_written  called in the thread with the last sequence of every transaction, rising
        now_ns      for `health` only
        written     what the store already holds (`Recovered.sequence`)
        waiting_max, retry_min_ns   see the theory above
        """
        self._store = store
        self._on_written = on_written
        self._now_ns = now_ns
        self._waiting_max = waiting_max
        self._retry_min_ns = retry_min_ns
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)
        self._retry = threading.Condition(lock)
        # Shared, under the lock.
        self._queue: deque[_Batch] = deque()
        self._surplus: dict[tuple[str | None, ...], _Batch] = {}
        self._written = written
        self._waiting_count = 0
        self._left_out_count = 0
        self._error: str | None = None
        self._failing_since_ns: int | None = None
        self._writing_since_ns: int | None = None
        self._closing = False
        self._abandoned = False
        # The thread's own: taken from the queue, not yet written; and what it is writing just now.
        self._pending: deque[_Batch] = deque()
        self._writing = _Batch((), 0)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def submit(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Take entries in order, at once."""
        if not entries:
            return
        with self._arrived:
            too_many = self._waiting_count + len(entries) > self._waiting_max
            # While there is a surplus all goes there, because it is written after the queue.
            if too_many or self._surplus:
                self._take_news(entries, wall_offset_ns)
            else:
                self._queue.append(_Batch(tuple(entries), wall_offset_ns))
                self._waiting_count += len(entries)
            self._arrived.notify()

    def health(self) -> WriterHealth:
        """Return how the writing goes, as of now."""
        with self._arrived:
            return WriterHealth(
                written=self._written,
                waiting_count=self._waiting_count,
                left_out_count=self._left_out_count,
                error=self._error,
                failing_since_ns=self._failing_since_ns,
                writing_since_ns=self._writing_since_ns,
            )

    def close(self, timeout_ns: int = CLOSE_NS) -> int:
        """Write what can be written in time, close the store; return how many entries are left.

        What is submitted from now on is not written. A disk that hangs is left hanging: its
        thread does not keep the process from ending.
        """
        with self._arrived:
            self._closing = True
            self._arrived.notify()
            self._retry.notify()
        self._thread.join(timeout_ns / SECOND)
        with self._arrived:
            self._abandoned = True
            self._retry.notify()
        # An attempt under way may still wait for a lock, and closing the store for another.
        self._thread.join(2.0)
        return self.health().waiting_count

    def unwritten(self) -> list[Entry]:
        """Return what was not written, in order; to be asked after `close`.

        Of an attempt that hangs in the disk it is not known yet whether it is written.
        """
        with self._arrived:
            waiting = (*self._pending, *self._queue, *self._surplus.values())
            written = self._written
            batches = (self._writing, *waiting)
            return [one for batch in batches for one in batch.entries if one.sequence > written]

    def _take_news(self, entries: Sequence[Entry], wall_offset_ns: int) -> None:
        for entry in entries:
            subject = (
                changed_node(entry),
                changed_action(entry),
                changed_silence(entry),
                changed_service(entry),
            )
            if not any(subject):
                self._left_out_count += 1
                continue
            # Taken out first: the dict's order is then the order of sequences.
            if self._surplus.pop(subject, None) is None:
                self._waiting_count += 1
            else:
                self._left_out_count += 1
            self._surplus[subject] = _Batch((entry,), wall_offset_ns)

    # --- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._fetch() and self._write(self._next_batch()):
                pass
        except BaseException as error:
            self._note(error)
            raise
        finally:
            self._store.close()

    def _fetch(self) -> bool:
        """Wait until there is something to write; False: there will not be."""
        with self._arrived:
            if self._pending or self._abandoned:
                return not self._abandoned
            self._arrived.wait_for(lambda: self._queue or self._surplus or self._closing)
            if self._queue:
                self._pending, self._queue = self._queue, deque()
            elif self._surplus:
                self._pending, self._surplus = deque(self._surplus.values()), {}
        return bool(self._pending)

    def _next_batch(self) -> _Batch:
        """Join what is pending, up to one transaction."""
        first = self._pending[0]
        joined: list[Entry] = []
        while self._pending and len(joined) < TRANSACTION_MAX:
            batch = self._pending[0]
            if abs(batch.wall_offset_ns - first.wall_offset_ns) >= SAME_OFFSET_NS:
                break
            self._pending.popleft()
            room = TRANSACTION_MAX - len(joined)
            joined += batch.entries[:room]
            if len(batch.entries) > room:
                rest = _Batch(batch.entries[room:], batch.wall_offset_ns)
                self._pending.appendleft(rest)
        return _Batch(joined, first.wall_offset_ns)

    def _write(self, batch: _Batch) -> bool:
        """Append a batch, however often it takes; False: told to give up."""
        retry_ns = self._retry_min_ns
        self._writing = batch
        while not self._attempt(batch):
            with self._retry:
                if not self._abandoned:
                    # While closing, chances come soon and not after what is left of five seconds.
                    self._retry.wait((RETRY_MIN_NS if self._closing else retry_ns) / SECOND)
                if self._abandoned:
                    return False
            retry_ns = min(2 * retry_ns, RETRY_MAX_NS)
        return True

    def _attempt(self, batch: _Batch) -> bool:
        with self._retry:
            self._writing_since_ns = self._now_ns()
        try:
            self._store.append(batch.entries, wall_offset_ns=batch.wall_offset_ns)
        except Exception as error:  # noqa: BLE001  a thread that dies in silence writes nothing
            self._note(error)
            return False
        sequence = batch.entries[-1].sequence
        with self._retry:
            self._written = sequence
            self._waiting_count -= len(batch.entries)
            self._error = self._failing_since_ns = self._writing_since_ns = None
        self._on_written(sequence)
        return True

    def _note(self, error: BaseException) -> None:
        # What is not ours is a mistake in this program; it is held back and shown like the rest.
        ours = isinstance(error, BeatwardError)
        text = str(error) if ours else f"{type(error).__name__}: {error}"
        with self._retry:
            self._error = text
            self._writing_since_ns = None
            if self._failing_since_ns is None:
                self._failing_since_ns = self._now_ns()
