"""Waiting for a socket, for a time and for another thread at once."""

import logging
import select
import socket

from beatward.core.instants import MILLISECOND, SECOND

# Waits end at least this often: the kernel's timers stand still while a machine is suspended and
# would make the first heartbeat after it late by what was left of the wait.
WAIT_MAX_NS = 5 * SECOND

log = logging.getLogger("beatward.agent")


class Waker:
    """Lets one thread wait for a socket, for a time, and for a call of `wake` from elsewhere."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)  # noqa: FBT003  its only parameter
        self._writer.setblocking(False)  # noqa: FBT003  its only parameter

    def wake(self) -> None:
        """End the wait, or the next one if there is none now."""
        try:
            self._writer.send(b"\0")
        except OSError:
            log.debug("woken already, or over")

    def wait(self, fileno: int, timeout_ns: int) -> None:
        """Wait until the descriptor (unless it is -1) is readable, `wake`, or the time is up."""
        watched = [self._reader.fileno(), *([fileno] if fileno >= 0 else [])]
        timeout_ms = -(-timeout_ns // MILLISECOND)
        if hasattr(select, "poll"):
            # Not select, which fails in a program that has a thousand files open.
            poll = select.poll()
            for number in watched:
                poll.register(number, select.POLLIN)
            poll.poll(timeout_ms)
        else:
            select.select(watched, [], [], timeout_ms / 1000)
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()
