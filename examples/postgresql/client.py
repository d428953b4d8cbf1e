"""Clients of a PostgreSQL server that write all the time and remember every acknowledged write.

A `Writer` belongs to one server. It writes a row, again and again, and connects again when that
fails; it never repeats a row, because after a failure it cannot know whether the row is there. Two
writers, one a server, see more than one client that changes servers: that two of them would have
taken writes at the same time.

The few words of PostgreSQL's protocol that are needed are spoken here (`Session`), because a
library waits where this must not: on a server that is frozen, or cut off without a word.
"""

import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Self

# An attempt that hangs ends after so long, and its outcome is not known.
ATTEMPT_S = 0.5
# From one write, or one refusal, to the next attempt: the grain of all that is measured here.
PAUSE_S = 0.01


class Refused(Exception):
    """The server answered with an error; its five characters come first."""


class Session:
    """One connection, without a password."""

    def __init__(self, address: str, port: int, *, timeout: float = ATTEMPT_S) -> None:
        self._socket = socket.create_connection((address, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        try:
            words = b"user\0postgres\0database\0postgres\0\0"
            self._socket.sendall(struct.pack(">II", len(words) + 8, 3 << 16) + words)
            self._answer()
        except (OSError, Refused):
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def ask(self, statement: str) -> list[list[str]]:
        """Run a statement and return its rows. Raises Refused, or OSError when it hangs."""
        words = statement.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack(">I", len(words) + 4) + words)
        return self._answer()

    def _answer(self) -> list[list[str]]:
        rows: list[list[str]] = []
        refusal = ""
        while True:
            kind, size = struct.unpack(">cI", self._read(5))
            body = self._read(size - 4)
            if kind == b"D":
                rows.append(_row(body))
            elif kind in (b"E", b"N"):
                said = _complaint(body)
                if "FATAL" in said:
                    raise Refused(said)
                # A warning is no acknowledgement either: it is how the server says that a commit
                # was not waited for.
                if kind == b"E" or "WARNING" in said:
                    refusal = said
            elif kind == b"Z":
                if refusal:
                    raise Refused(refusal)
                return rows

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ConnectionError("the server has hung up")
        return data


def _row(body: bytes) -> list[str]:
    found, at = [], 2
    for _ in range(int.from_bytes(body[:2], "big")):
        size = max(int.from_bytes(body[at : at + 4], "big", signed=True), 0)
        found.append(body[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return found


def _complaint(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
    return f"{fields[b'C']} {fields[b'S']}: {fields[b'M']}"


@dataclass(frozen=True, slots=True)
class Write:
    """An acknowledged one: which row, when the answer came (monotonic), and who answered."""

    row: int
    at: float
    server: str
    token: int


class Writer:
    """Writes to one server from a thread until `stop`. `enter` puts the thread where it belongs."""

    def __init__(self, address: str, port: int, *, first_row: int) -> None:
        self.writes: list[Write] = []
        self._place = (address, port)
        self._row = first_row
        self._is_stopped = threading.Event()

    def run(self) -> None:
        """Write until stopped; the body of the thread."""
        session: Session | None = None
        while not self._is_stopped.wait(PAUSE_S):
            try:
                if session is None:
                    session = Session(*self._place)
                self._write(session)
            except (OSError, Refused):
                if session is not None:
                    session.close()
                session = None
        if session is not None:
            session.close()

    def _write(self, session: Session) -> None:
        self._row += 1
        ((server, token),) = session.ask(
            f"INSERT INTO writes VALUES ({self._row})"  # noqa: S608  a number of ours
            " RETURNING current_setting('cluster_name'), current_setting('beatward.token')"
        )
        self.writes.append(Write(self._row, time.monotonic(), server, int(token)))

    def stop(self) -> None:
        """Let `run` return soon."""
        self._is_stopped.set()


def lost(writes: list[Write], rows: set[int]) -> list[Write]:
    """Return the acknowledged writes that are not among the rows that are there."""
    return [write for write in writes if write.row not in rows]


def doubles(writes: list[Write]) -> list[Write]:
    """Return the writes that an older holder acknowledged after a newer one had begun to."""
    begun: dict[int, float] = {}
    for write in writes:
        begun[write.token] = min(write.at, begun.get(write.token, write.at))
    return [
        write
        for write in writes
        if any(token > write.token and at < write.at for token, at in begun.items())
    ]
