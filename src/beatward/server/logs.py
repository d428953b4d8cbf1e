"""What the monitor says on stderr, and never more of it than a person can read.

    any thread ─► LineLimit ─► StderrLines ─► a thread of its own ─► stderr
    wheel ─► ChangeLog.note ─┘

Lines are written by a thread of their own, because a terminal that was stopped with Ctrl-S, or a
full pipe, must not stop the wheel. The limit is by the place in the code that speaks: a storm of
one kind of line does not hide the first line of another.
"""

import asyncio
import contextlib
import errno
import logging
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from beatward.core.entry import Entry, Event
from beatward.log_lines import OneLine

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# From one place a second: of a library, which repeats itself under load, and of our own rooms.
LIBRARY_LINES = 1
OWN_LINES = 20
# Changes of status that are told one by one in a second; of more, the count is told.
CHANGES_MAX = 20
# 300 bytes each: what waits for a stderr that does not take lines.
_WAITING_MAX = 10_000
_WINDOW_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
_GRAVE = {"dead", str(Event.GUARD), str(Event.CONFLICT)}
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)


class StderrLines(logging.Handler):
    """Hands lines to a thread that writes them; what does not fit any more is dropped."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.setFormatter(OneLine(FORMAT))
        self._stream = stream or sys.stderr
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; never blocks."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(self.format(record))

    def close(self) -> None:
        """Write what waits, and end the thread; a stream that takes nothing is left soon."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            # A terminal that was closed takes nothing any more; the monitor goes on without it.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                self._stream.flush()


@dataclass(slots=True)
class _Window:
    """A second of lines from one place."""

    told_count: int
    left_out: int = 0
    last: str = ""


class LineLimit(logging.Filter):
    """Lets a limited count of lines a second through from each place, and counts the others.

    A record may carry a limit of its own as `extra={"per_second": 1}`.
    """

    def __init__(self, *, window_seconds: float = _WINDOW_SECONDS) -> None:
        super().__init__()
        self._window_seconds = window_seconds
        self._windows: dict[tuple[str, int, int], _Window] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line may be written."""
        usual = OWN_LINES if record.name.partition(".")[0] == "beatward" else LIBRARY_LINES
        limit: int | None = getattr(record, "per_second", usual)
        if limit is None:
            return True
        place = (record.pathname, record.lineno, record.levelno)
        with self._lock:
            window = self._windows.get(place)
            if window is None:
                self._windows[place] = _Window(1)
                self._wait(record, place, limit)
                return True
            if window.told_count < limit:
                window.told_count += 1
                return True
            window.left_out += 1
            window.last = record.getMessage()
        return False

    def _wait(self, record: logging.LogRecord, place: tuple[str, int, int], limit: int) -> None:
        timer = threading.Timer(self._window_seconds, self._end_window, (record, place, limit))
        timer.daemon = True
        timer.start()

    def _end_window(
        self, record: logging.LogRecord, place: tuple[str, int, int], limit: int
    ) -> None:
        with self._lock:
            window = self._windows.pop(place)
            if not window.left_out:
                return
            # The line about the count is the first of the next window.
            self._windows[place] = _Window(1)
            self._wait(record, place, limit)
        logging.getLogger(record.name).log(
            record.levelno,
            "%s more lines like this in the last second: %s",
            f"{window.left_out:,}",
            window.last,
            extra={"per_second": None},
        )


class ChangeLog:
    """Tells changes of status, mass failures and roles; of many at once the first and a count.

    tell   takes a level and a line; called in the wheel's thread, or in a timer's
    """

    def __init__(
        self,
        tell: Callable[[int, str], None] | None = None,
        *,
        window_seconds: float = _WINDOW_SECONDS,
    ) -> None:
        self._tell = tell or _tell_change
        self._window_seconds = window_seconds
        self._lock = threading.Lock()
        self._shown_count = 0
        self._is_open = False
        self._left_out: Counter[str] = Counter()

    def note(self, entries: Sequence[Entry]) -> None:
        """Tell of entries; called by the wheel, so it costs next to nothing for each of many."""
        for entry in entries:
            if entry.event == Event.TRANSITION:
                self._note(entry, str(entry.status))
            elif entry.event in (Event.GUARD, Event.ROLE, Event.CONFLICT):
                self._note(entry, str(entry.event))

    def _note(self, entry: Entry, word: str) -> None:
        with self._lock:
            if not self._is_open:
                self._is_open, self._shown_count = True, 0
                timer = threading.Timer(self._window_seconds, self._end_window)
                timer.daemon = True
                timer.start()
            self._shown_count += 1
            if self._shown_count > CHANGES_MAX:
                self._left_out[word] += 1
                return
        level = logging.WARNING if word in _GRAVE else logging.INFO
        self._tell(level, entry.explanation or f"{entry.node} is {word}")

    def _end_window(self) -> None:
        with self._lock:
            left_out, self._left_out = self._left_out, Counter()
            self._is_open = False
        if left_out:
            counts = ", ".join(f"{count:,} {status}" for status, count in left_out.most_common())
            level = logging.WARNING if left_out.keys() & _GRAVE else logging.INFO
            self._tell(
                level,
                f"and {left_out.total():,} more changes in the last second: {counts}; "
                "`beatward events` has all of them",
            )


def _tell_change(level: int, line: str) -> None:
    # It has counted for itself.
    _changes.log(level, "%s", line, extra={"per_second": None})


_changes = logging.getLogger("beatward.status")


def on_loop_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in one line that there are no file descriptors left; the rest as asyncio does.

    asyncio in Python 3.11 says it 2,048 times a second, with a traceback each.
    """
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        _log.error(
            "connections wait, because none can be accepted: %s. Idle ones are ended within "
            "seconds; a larger limit helps (`ulimit -n`, LimitNOFILE= in a systemd unit)",
            error.strerror,
            extra={"per_second": LIBRARY_LINES},
        )
    else:
        loop.default_exception_handler(context)
