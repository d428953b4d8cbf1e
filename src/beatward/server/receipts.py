"""Between the wheel and the journal: what follows once entries are safe on disk.

Route: wheel -> `TrackedJournal.submit` -> writer -> disk -> `Receipts.written` -> the inbox (a
receipt), the streams of the web (news), and the drivers (an action whose final outcome is written
needs no traces any more).
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence

from beatward.core.entry import ActionState, Entry, Event
from beatward.ports import Journal
from beatward.server.logs import ChangeLog


class Receipts:
    """Takes the journal's word, in the writer's thread, and passes it on."""

    def __init__(
        self,
        *,
        receive: Callable[[int], None],
        publish: Callable[[int], None],
        forget: Callable[[Collection[str]], None],
    ) -> None:
        self._receive = receive
        self._publish = publish
        self._forget = forget
        # (sequence, action key) in order; appended by the wheel, taken by the writer.
        self._final: deque[tuple[int, str]] = deque()

    def note(self, entries: Sequence[Entry]) -> None:
        """Note which actions these entries end; called by the wheel before they are written."""
        for entry in entries:
            record = entry.action_record
            if entry.event != Event.OUTCOME or record is None:
                continue
            if record.state != ActionState.DECIDED:
                self._final.append((entry.sequence, record.key))

    def written(self, sequence: int) -> None:
        """Tell everyone that the journal holds every entry up to this sequence."""
        self._receive(sequence)
        self._publish(sequence)
        ended = []
        while self._final and self._final[0][0] <= sequence:
            ended.append(self._final.popleft()[1])
        if ended:
            self._forget(ended)


class TrackedJournal:
    """Implements `ports.Journal`: the writer, with receipts and log told what comes."""

    def __init__(self, journal: Journal, receipts: Receipts, changes: ChangeLog) -> None:
        self._journal = journal
        self._receipts = receipts
        self._changes = changes

    def submit(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Hand entries on to the writer."""
        self._receipts.note(entries)
        self._changes.note(entries)
        self._journal.submit(entries, wall_offset_ns=wall_offset_ns)
