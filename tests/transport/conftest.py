"""Real sockets on loopback: a door over every wire and family, and somebody who sends to it."""

import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from beatward.transport import WIRES, UdpSocket, open_door

BUFFER_SIZE = 4 * 1024 * 1024
PATIENCE_S = 10.0


def has_v6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HAS_V6 = has_v6()


@dataclass
class Collected:
    """Copies of everything that several drains brought, in order."""

    datagrams: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    peers: list[bytes] = field(default_factory=list)
    arrived_ns: list[int] = field(default_factory=list)

    def add(self, drain):
        for batch in drain.batches:
            for row, size, peer in zip(batch.rows, batch.sizes, batch.peers, strict=True):
                self.datagrams.append(row[:size].tobytes())
                self.sizes.append(int(size))
                self.peers.append(peer.tobytes())
            self.arrived_ns += batch.arrived_ns.tolist()


@dataclass
class Line:
    """A door and a socket that sends to it."""

    door: UdpSocket
    sender: socket.socket
    to: tuple

    def say(self, *datagrams):
        for datagram in datagrams:
            self.sender.sendto(datagram, self.to)

    def collect(self, count):
        """Drain until so many datagrams have come; loopback is quick, but promises nothing."""
        collected = Collected()
        until = time.monotonic() + PATIENCE_S
        while len(collected.sizes) < count and time.monotonic() < until:
            collected.add(self.door.drain())
        assert len(collected.sizes) == count
        return collected

    def hear(self, count):
        """Receive so many datagrams at the sender's end."""
        return [self.sender.recv(2048) for _ in range(count)]


@contextmanager
def opened_line(address, **options):
    """Open a door at an address with port 0, and a socket that can reach it."""
    settings = {"receive_buffer": BUFFER_SIZE, "now_ns": time.monotonic_ns} | options
    with open_door(address, **settings) as door:
        port = int(door.address.rpartition(":")[2])
        is_v6 = address.startswith("[::1")
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            host = "::1" if is_v6 else "127.0.0.1"
            sender.bind((host, 0))
            sender.settimeout(PATIENCE_S)
            yield Line(door, sender, (host, port))


@pytest.fixture(scope="session")
def open_line():
    """Give `opened_line` to tests that want settings of their own."""
    return opened_line


@pytest.fixture(params=sorted(WIRES))
def wire(request):
    if request.param == "recvmmsg" and not sys.platform.startswith("linux"):
        pytest.skip("recvmmsg is Linux's")
    return request.param


@pytest.fixture(params=["127.0.0.1:0", "[::1]:0", "[::]:0"])
def address(request):
    """Where doors are opened: IPv4, IPv6, and IPv6 that takes IPv4 too (its sender is IPv4)."""
    if request.param != "127.0.0.1:0" and not HAS_V6:
        pytest.skip("this machine has no IPv6 on loopback")
    return request.param


@pytest.fixture
def line(wire, address):
    with opened_line(address, wire=wire) as one:
        yield one
