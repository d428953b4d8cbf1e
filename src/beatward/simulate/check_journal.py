"""The promise about the journal: every entry once and in order, and each says what is so.

Every transition is in the table and starts from the status before; an entry's row has the statuses
reported so far; journal numbers have no gap; after a restart the statuses are what the disk says.
Not here: whether an entry is true (`check_news`, `check_verdicts`).
"""

from collections import deque
from collections.abc import Sequence

from beatward.core.entry import Entry, Event, Recovered
from beatward.core.membership import TABLE, Cause, Status
from beatward.core.monitor import Monitor

from .checker import REST_NS, Checker, Findings, WorldFacts


class JournalChecker(Checker):
    """Follows the entries from the monitor to its disk and back."""

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        super().__init__(facts, findings)
        self._written = 0
        self._submitted = 0
        self._waiting: deque[tuple[int, int]] = deque()  # submitted when, not yet on disk

    def started(self, monitor: Monitor, recovered: Recovered) -> None:
        """Check that a session begins with exactly what the disk holds."""
        self._findings.counts["sessions"] += 1
        self._findings.note("", f"the monitor starts after entry {recovered.sequence}")
        if recovered.sequence != self._written:
            message = f"it begins after entry {recovered.sequence}, the disk holds {self._written}"
            self._findings.violate("restart", "", message)
        held = {record.name: record.status for record in recovered.nodes}
        durable = self._facts.reported.durable
        for name in sorted({*held, *durable}):
            if durable.get(name) != held.get(name):
                message = f"the store's rows say {held.get(name)}, the entries {durable.get(name)}"
                self._findings.violate("restart", name, message)
        self._submitted = self._written
        self._waiting.clear()
        self._compare_live(monitor)

    def submitted(self, entry: Entry) -> None:
        """Check an entry by those before it."""
        if entry.sequence != self._submitted + 1:
            message = f"entry {entry.sequence} follows entry {self._submitted}"
            self._findings.violate("journal", entry.node or "", message)
        self._submitted = entry.sequence
        self._waiting.append((entry.sequence, self._facts.now_ns))
        self._findings.counts[f"event {entry.event}"] += 1
        text = f"#{entry.sequence} {entry.explanation or entry.event}"
        self._findings.note(entry.node or "", text)
        if entry.event == Event.TRANSITION:
            self._check_transition(entry)
        self._check_row(entry)
        if entry.event in (Event.JOINED, Event.TRANSITION):
            self._findings.counts[f"status {entry.status}"] += 1

    def written(self, entry: Entry) -> None:
        """Check that the disk gets every entry once and in order."""
        if entry.sequence <= self._written:
            return  # written again after a doubtful write: the store skips it too
        if entry.sequence != self._written + 1:
            message = f"entry {entry.sequence} was written after entry {self._written}"
            self._findings.violate("journal", entry.node or "", message)
        self._written = entry.sequence
        while self._waiting and self._waiting[0][0] <= entry.sequence:
            self._waiting.popleft()

    def store_replaced(self, kept: Sequence[Entry]) -> None:
        """Count from what a backup has."""
        self._findings.note("", f"the monitor's disk is lost; a backup has {len(kept)} entries")
        self._written = len(kept)

    def finish(self) -> None:
        """Check that the monitor holds what it has reported, and that the disk has it."""
        monitor = self._facts.monitor.monitor
        assert monitor is not None
        self._compare_live(monitor)
        if self._waiting and self._waiting[0][1] < self._facts.now_ns - REST_NS:
            message = f"{self._submitted - self._written} entries were never written"
            self._findings.violate("liveness", "", message)

    def _check_transition(self, entry: Entry) -> None:
        node = entry.node or ""
        before, after, cause = str(entry.detail["before"]), str(entry.status), str(entry.cause)
        self._findings.counts[f"{before}->{after} ({cause})"] += 1
        if self._facts.reported.before != before:
            message = f"a transition from {before}, but it was {self._facts.reported.before}"
            self._findings.violate("chain", node, message)
        allowed = TABLE.get((Status[before.upper()], Cause[cause.upper()]))
        if allowed is None or allowed.word != after:
            message = f"{before} -> {after} by {cause} is not in the table"
            self._findings.violate("table", node, message)
        if self._facts.twins.is_doubled(node):
            self._findings.counts["transitions of two under one name"] += 1

    def _check_row(self, entry: Entry) -> None:
        """Check that an entry's row has the status reported so far, not what comes later."""
        row, node = entry.node_record, str(entry.node)
        status = self._facts.reported.statuses.get(node)
        if row is not None and row.status != status:
            message = f"entry {entry.sequence} has the status {row.status}, reported was {status}"
            self._findings.violate("row", node, message)
        if entry.event == Event.LIFE and entry.status != status:
            message = f"a new life of a node said to be {entry.status}, reported was {status}"
            self._findings.violate("row", node, message)

    def _compare_live(self, monitor: Monitor) -> None:
        snapshot = monitor.snapshot(0)
        statuses = self._facts.reported.statuses
        live = {snapshot.names[row]: Status(snapshot.status[row]).word for row in snapshot.rows()}
        for name in sorted({*live, *statuses}):
            if live.get(name) != statuses.get(name):
                message = f"held {live.get(name)}, its entries say {statuses.get(name)}"
                self._findings.violate("projection", name, message)
