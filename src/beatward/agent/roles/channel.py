"""What an agent and its guardian say to each other: JSON objects, a line each, over a socket pair.

Neither ever waits for the other: one that does not read, because it is frozen, is as good as gone,
and what could not be said to it is lost. Both count on words being lost, and on the lease.
"""

import json
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .lease_holder import LeaseHolder

log = logging.getLogger("beatward.agent")

READ_SIZE = 65536


@dataclass(frozen=True, slots=True)
class GuardianPlan:
    """What a guardian is for. hooks: by name; lock: the file that it locks while it lives."""

    node: str
    service: str
    hooks: Mapping[str, Sequence[str]]
    lock: str


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Until when the token may be acted upon, and given up; instants on the agent's clock."""

    token: int
    end_ns: int
    demote_until_ns: int
    over_ns: int


@dataclass(frozen=True, slots=True)
class LastWord:
    """What is to be said when a token is given up for certain and the agent may be gone.

    life           which was lent the token
    data           the sealed word, as hexadecimal digits
    family, address   of the monitor's socket, as `socket.sendto` takes them
    """

    token: int
    life: int
    data: str
    family: int
    address: Sequence[Any]


def lease_of(holder: LeaseHolder) -> LeaseTimes:
    """Return what a guardian has to know of the role that is held."""
    return LeaseTimes(holder.token, holder.lease_end_ns, holder.demote_until_ns, holder.over_ns)


class Channel:
    """One end; used by one thread. is_closed: the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)  # noqa: FBT003  its only parameter
        self._end = end
        self._read = b""
        self.is_closed = False

    def fileno(self) -> int:
        """Return what to wait on for reading, or -1."""
        return -1 if self.is_closed else self._end.fileno()

    def say(self, message: Mapping[str, Any]) -> None:
        """Say something, or lose it."""
        if self.is_closed:
            return
        line = json.dumps(message).encode() + b"\n"
        try:
            sent = self._end.send(line)
        except BlockingIOError:
            log.debug("a word to the other side was lost: it does not read")
            return
        except OSError:
            self.close()
            return
        if sent < len(line):
            # The rest would be read as something else.
            self.close()

    def heard(self) -> list[dict[str, Any]]:
        """Return what has come in since the last call."""
        while not self.is_closed:
            try:
                data = self._end.recv(READ_SIZE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close()
            self._read += data
        *lines, self._read = self._read.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Hang up."""
        if not self.is_closed:
            self.is_closed = True
            self._end.close()
