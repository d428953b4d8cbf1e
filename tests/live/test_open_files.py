"""Connections that strangers hold open, beside a monitor that needs descriptors of its own."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes
from tests.waiting import wait_for

from beatward.values import split_address

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
SOFT_LIMIT = 256


@contextmanager
def soft_limit(count: int) -> Iterator[None]:
    """Let processes that are started now begin with this limit of open files."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@contextmanager
def idle_connections(address: str, count: int) -> Iterator[None]:
    with ExitStack() as held:
        for _ in range(count):
            client = socket.create_connection(
                split_address(address), timeout=10, source_address=("127.0.0.2", 0)
            )
            held.enter_context(client)
        yield


def test_idle_connections_hold_up_neither_answers_nor_actions(tmp_path: Path) -> None:
    found = tmp_path / "found"
    settings = (
        f'[action.note]\nkind = "notify"\ncommand = ["touch", "{found}"]\n'
        '[[rule]]\non = ["left"]\nactions = ["note"]\n'
    )
    with ExitStack() as held:
        with soft_limit(SOFT_LIMIT):
            monitor = held.enter_context(Monitor(tmp_path, settings))
        with nodes(monitor.data, ["n"]):
            monitor.wait_status("n", "alive")
            held.enter_context(idle_connections(monitor.address, 2 * SOFT_LIMIT))
            # The node ends while they are open, and says goodbye.
        wait_for(found.exists, what="the action")
        # It takes a connection more. Before, it took none until those had timed out.
        assert monitor.http.get("/healthz", timeout=3).status_code == 200
        limit = resource.prlimit(monitor.pid, resource.RLIMIT_NOFILE)[0]
        assert limit > 4 * SOFT_LIMIT
