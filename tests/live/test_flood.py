"""Junk in floods beside honest nodes, against the whole monitor with doors of all settings."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes
from tests.waiting import wait_for

from beatward.values import split_address

pytestmark = [
    pytest.mark.quiet,
    pytest.mark.real,
    pytest.mark.timeout(150),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="BPF is Linux's"),
]
NAMES = [f"n{number}" for number in range(5)]


@contextmanager
def flood(address: str) -> Iterator[None]:
    """Send junk as quickly as one thread can until it is over."""
    is_over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_UDP, 103, 64)  # UDP_SEGMENT
            while not is_over.wait(0.001):
                for _ in range(4):
                    sender.sendto(bytes(64 * 32), split_address(address))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def counters(monitor: Monitor) -> dict[str, int]:
    found: dict[str, int] = monitor.get("/v1/status")["counters"]
    return found


@pytest.mark.parametrize(
    "settings", ["", 'doors = 3\nprefilter = "on"\n', "kernel_timestamps = false\n"]
)
def test_a_flood_of_junk_is_kept_out_and_hides_no_death(tmp_path: Path, settings: str) -> None:
    with Monitor(tmp_path, settings) as monitor, nodes(monitor.data, NAMES[:4]):
        with nodes(monitor.data, NAMES[4:]) as pid:
            monitor.wait_status(NAMES, "alive")
            with flood(monitor.udp):
                wait_for(lambda: counters(monitor)["filtered"] > 20_000, what="the filter")
                os.kill(pid, signal.SIGKILL)
                monitor.wait_status(NAMES[4:], "dead")
            assert monitor.get("/healthz")["status"] in ("ok", "degraded")
        monitor.wait_status(NAMES[:4], "alive")
        dead = [event["node"] for event in monitor.events() if event["status"] == "dead"]
        assert dead == NAMES[4:]
