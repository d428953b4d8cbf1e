"""Follows a monitor's stream of events in a thread and notes when each one came."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from beatward.bench.report import BenchFailed
from beatward.bench.subject import Subject

_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event, and when it was here: nanoseconds since 1970."""

    event: dict[str, Any]
    at_wall_ns: int


class EventFollower:
    """Holds what has come so far; `wait_count` and `told` belong to one other thread."""

    def __init__(self) -> None:
        self._received: list[ReceivedEvent] = []
        self._changed = threading.Condition()

    def received(self) -> list[ReceivedEvent]:
        """Return what has come so far."""
        with self._changed:
            return list(self._received)

    def wait_count(self, count: int, seconds: float) -> bool:
        """Wait until a number of events have come."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._received) >= count, seconds)

    def run(self, answer: http.client.HTTPResponse) -> None:
        """Read until the connection ends."""
        # What ends it is the end of the measurement, in whatever form it reaches the socket.
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while line := answer.readline():
                if not line.startswith(b"data:"):
                    continue
                received = ReceivedEvent(json.loads(line[5:]), time.time_ns())
                with self._changed:
                    self._received.append(received)
                    self._changed.notify_all()


@contextmanager
def following(monitor: Subject, node: str = "") -> Iterator[EventFollower]:
    """Follow what happens from now on; with `node` only what happens to that one."""
    follower = EventFollower()
    host, port = monitor.http
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.connect()
        line = connection.sock
        connection.request("GET", "/v1/events/stream" + (f"?node={node}" if node else ""))
        answer = connection.getresponse()
        if answer.status != 200:
            raise BenchFailed(f"the stream of events was refused: {answer.status}")
        threading.Thread(target=follower.run, args=(answer,), daemon=True).start()
        try:
            yield follower
        finally:
            # Or else closing would wait for the thread, and the thread for the next event.
            line.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        raise BenchFailed(f"the stream of events cannot be had: {error}") from error
    finally:
        connection.close()
