"""What is said of many things at once: the first lines and a count, and never a standstill."""

import io
import logging
import threading

import pytest

from beatward.core.entry import Entry, Event
from beatward.server.logs import CHANGES_MAX, ChangeLog, LineLimit, StderrLines

WINDOW_SECONDS = 0.2


class Kept(logging.Handler):
    """Keeps lines, and tells when one about a count has come."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.counted = threading.Event()

    def emit(self, record):
        self.lines.append((record.levelno, record.getMessage()))
        if "more" in record.getMessage():
            self.counted.set()


@pytest.fixture
def kept():
    """A logger's lines behind a limit."""
    handler = Kept()
    handler.addFilter(LineLimit(window_seconds=WINDOW_SECONDS))
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def test_of_a_librarys_many_lines_the_first_and_a_count_are_written(kept):
    library, other = logging.getLogger("somebodys.library"), logging.getLogger("another")
    for number in range(1000):
        library.warning("trouble %d", number)
    other.warning("something else")
    assert kept.counted.wait(10)
    texts = [text for _, text in kept.lines]
    assert texts[:2] == ["trouble 0", "something else"]
    assert texts[2] == "999 more lines like this in the last second: trouble 999"
    assert {level for level, _ in kept.lines} == {logging.WARNING}


def test_of_our_own_lines_more_are_written(kept):
    for number in range(15):
        logging.getLogger("beatward.actions").warning("trouble %d", number)
    assert len(kept.lines) == 15


def _died(name, number):
    words = f"{name} dead: silent 3 s"
    return Entry(number, Event.TRANSITION, 0, node=name, status="dead", explanation=words)


def test_of_many_changes_at_once_the_first_and_a_count_are_told():
    told, counted = [], threading.Event()

    def tell(level, line):
        told.append((level, line))
        if "more changes" in line:
            counted.set()

    changes = ChangeLog(tell, window_seconds=WINDOW_SECONDS)
    changes.note([_died(f"web-{number}", number) for number in range(1000)])
    changes.note([Entry(2000, Event.TRANSITION, 0, node="db-1", status="alive")])
    changes.note([Entry(2001, Event.ACTION, 0, node="db-1")])
    assert counted.wait(10)
    assert len(told) == CHANGES_MAX + 1
    assert told[0] == (logging.WARNING, "web-0 dead: silent 3 s")
    level, line = told[-1]
    assert level == logging.WARNING
    assert line.startswith("and 981 more changes in the last second: 980 dead, 1 alive; ")


class Stuck(io.StringIO):
    """A terminal that was stopped: it takes nothing until it goes on."""

    def __init__(self):
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text):
        self.goes_on.wait(10)
        return super().write(text)


def test_a_stopped_terminal_stops_nobody_who_speaks():
    stuck = Stuck()
    lines = StderrLines(stuck)
    record = logging.LogRecord("beatward", logging.INFO, "x", 1, "line", None, None)
    for _ in range(20_000):  # more than may wait
        lines.emit(record)
    assert stuck.getvalue() == ""
    stuck.goes_on.set()
    lines.close()
    assert stuck.getvalue().count("line\n") >= 10_000


def test_a_closed_terminal_is_gone_on_without():
    closed = io.StringIO()
    closed.close()
    lines = StderrLines(closed)
    lines.emit(logging.LogRecord("beatward", logging.INFO, "x", 1, "line", None, None))
    lines.close()


def test_a_nodes_text_forges_no_line_and_steers_no_terminal():
    stream = io.StringIO()
    lines = StderrLines(stream)
    said = "web-1 says: x\n2026-12-01 00:00:00 INFO forged\x1b]0;stolen\x07"
    lines.emit(logging.LogRecord("beatward", logging.INFO, "x", 1, "%s", (said,), None))
    lines.close()
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.removesuffix("\n").isprintable()
    assert "forged" in line
