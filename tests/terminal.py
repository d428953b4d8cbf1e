"""A command on a terminal of a given size, and the screen that a person would see there.

pexpect gives the pseudo-terminal, pyte is the emulator that reads what comes out of it.
"""

import os
import re
import select
import sys
import time
from pathlib import Path

import pexpect
import pyte

# Processes of a busy machine; a quiet one takes a second.
PATIENCE_SECONDS = 60


class Terminal:
    """`beatward ARGUMENTS` on a terminal of `columns` x `rows` characters."""

    def __init__(self, arguments, environment, columns=80, rows=24):
        # COLUMNS and LINES would be believed more than the terminal itself.
        environment = {"TERM": "xterm-256color", **environment}
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self._screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.1)
        self._stream = pyte.ByteStream(self._screen)
        self._raw = bytearray()
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "beatward", *map(str, arguments)],
            env=environment,
            dimensions=(rows, columns),
            timeout=PATIENCE_SECONDS,
        )
        self.code = None

    @property
    def pid(self):
        return self._child.pid

    @property
    def raw(self):
        """All that came, with its escape sequences."""
        return self._raw.decode("utf-8", "replace")

    @property
    def lines(self):
        """The lines of the screen, without blanks at their ends."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self):
        return "\n".join(self.lines)

    def cell(self, row, column):
        """Return a character of the screen, with its colour."""
        return self._screen.buffer[row][column]

    @property
    def history(self):
        """The lines that have left the screen at its top, then those of the screen."""
        width = self._screen.columns
        above = [
            "".join(row[column].data for column in range(width)).rstrip()
            for row in self._screen.history.top
        ]
        return [*above, *self.lines]

    def wait_for(self, wanted, *, where=lambda terminal: terminal.text):
        """Read until a text, or what fits a pattern, stands on the screen."""
        pattern = re.compile(re.escape(wanted)) if isinstance(wanted, str) else wanted
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := pattern.search(where(self))):
            assert time.monotonic() < end, f"{wanted!r} is not on the screen:\n{where(self)}"
            assert self._read(0.2) or self._child.isalive(), f"ended:\n{where(self)}"
        return found

    def _read(self, seconds):
        """Take what comes within a time; returns False at the end of the output."""
        if not select.select([self._child.child_fd], [], [], seconds)[0]:
            return True
        try:
            chunk = os.read(self._child.child_fd, 65536)
        except OSError:  # the terminal of a process that has ended
            return False
        self._raw += chunk
        self._stream.feed(chunk)
        return bool(chunk)

    def press(self, keys):
        self._child.send(keys)

    def resize(self, columns, rows):
        """Change the terminal's size; the process gets SIGWINCH."""
        self._screen.resize(rows, columns)
        self._child.setwinsize(rows, columns)

    def end(self):
        """Read to the end and return the exit code; a signal is negative."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self._read(0.2):
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
        self._child.wait()
        self._child.close()
        killed = self._child.signalstatus
        self.code = self._child.exitstatus if killed is None else -killed
        return self.code

    def kill(self):
        """End it, whatever it is doing."""
        if not self._child.closed:
            self._child.close(force=True)


def processes_of(folder):
    """Return the pids of processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if bytes(folder) in words:
            found.append(int(path.parent.name))
    return found
