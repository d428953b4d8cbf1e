"""Who says that an address is theirs: every answer and every announcement, asked all the time.

with Watcher(host, "10.77.0.100") as watcher:
    ...
overlaps(watcher.claims)      # [] if it was never two at a time
"""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Self

from examples.ground.network import Host

_ETHERTYPE = 0x0806
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_REQUEST = 1
# Between two questions: the grain of what is measured.
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Claim:
    """One word of a network card that the address is its own; `at` is monotonic."""

    at: float
    card: str


class Watcher:
    """Asks from a host, and hears the announcements that nobody asked for too."""

    def __init__(self, host: Host, address: str) -> None:
        self.claims: list[Claim] = []
        self._address = socket.inet_aton(address)
        self._host = host
        self._is_stopped = threading.Event()

    def __enter__(self) -> Self:
        self._socket = self._host.inside(
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE))
        )
        self._socket.bind(("eth0", _ETHERTYPE))
        self._card = self._socket.getsockname()[4]
        self._threads = [threading.Thread(target=work) for work in (self._ask, self._hear)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _ask(self) -> None:
        head = b"\xff" * 6 + self._card + struct.pack(">H", _ETHERTYPE)
        own = socket.inet_aton(self._host.address)
        words = _ARP.pack(1, 0x0800, 6, 4, _REQUEST, self._card, own, b"\0" * 6, self._address)
        while not self._is_stopped.wait(_PAUSE_S):
            with contextlib.suppress(OSError):
                self._socket.send(head + words)

    def _hear(self) -> None:
        self._socket.settimeout(0.1)
        while not self._is_stopped.is_set():
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                continue
            fields = _ARP.unpack_from(frame, 14)
            if fields[6] == self._address and fields[5] != self._card:
                self.claims.append(Claim(time.monotonic(), fields[5].hex(":")))


@dataclass(frozen=True, slots=True)
class Spell:
    """An uninterrupted row of claims by one card."""

    card: str
    begin: float
    end: float
    count: int


def spells(claims: list[Claim]) -> list[Spell]:
    """Return who claimed the address one after the other."""
    found: list[Spell] = []
    for claim in claims:
        if found and found[-1].card == claim.card:
            last = found.pop()
            found.append(Spell(last.card, last.begin, claim.at, last.count + 1))
        else:
            found.append(Spell(claim.card, claim.at, claim.at, 1))
    return found


def overlaps(claims: list[Claim], moves: list[float]) -> list[Spell]:
    """Return the spells that there should not be.

    moves   when something happened after which the address may move, once each
    Who has lost the address gets it back by another move and by nothing else, so there are no more
    changes of hands than moves; where two have it at a time, their answers take turns.
    """
    wrong: list[Spell] = []
    rest = sorted(moves)
    for spell in spells(claims)[1:]:
        if rest and rest[0] <= spell.begin:
            rest.pop(0)
        else:
            wrong.append(spell)
    return wrong
