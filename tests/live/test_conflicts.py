"""Two real processes under one name: the monitor names both addresses, and tells people."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Monitor
from tests.live.test_coming_back import command, enrol, hearts, node
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.append(body)  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Return the address of a receiver of webhooks, and what it was told."""
    server = HTTPServer(("127.0.0.1", 0), _Hook)
    server.told = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", server.told  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_copied_folder_is_told_as_two_processes_by_event_status_and_alarm(
    tmp_path: Path, told: tuple[str, list[dict[str, Any]]], transport: str
) -> None:
    url, received = told
    rule = f'[action.alarm]\nkind = "webhook"\nurl = "{url}"\n[[rule]]\non = ["conflict"]\n'
    twin = {"name": "twin-1", "transport": transport}
    with Monitor(tmp_path / "monitor", rule + 'actions = ["alarm"]\n') as monitor:
        enrol(monitor, tmp_path / "a", twin)
        with hearts(monitor, tmp_path / "a", twin) as first:
            monitor.wait_status("twin-1", "alive")
            shutil.copytree(tmp_path / "a", tmp_path / "b")
            with hearts(monitor, tmp_path / "b", twin) as second:
                wait_for(lambda: received, what="the alarm")
                # Which of the two is believed depends on who was acknowledged first.
                wait_for(
                    lambda: "another process beats as twin-1" in first.log + second.log,
                    what="the word of the process that is not believed",
                )
                _is_told_everywhere(monitor, received[0])
                assert len(received) == 1


def _is_told_everywhere(monitor: Monitor, alarm: dict[str, Any]) -> None:
    assert (alarm["event"], alarm["node"], alarm["cause"]) == (
        "conflict",
        "twin-1",
        "two_processes",
    )
    # What readers see is a copy, and up to a fifth of a second old.
    shown = wait_for(lambda: node(monitor, "twin-1")["conflict"], what="the conflict in the API")
    assert shown["other_incarnation"] < shown["believed_incarnation"]
    (event,) = [one for one in monitor.events() if one["event"] == "conflict"]
    addresses = {event["detail"]["believed_address"], event["detail"]["other_address"]}
    assert len(addresses) == 2
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    words = event["explanation"]
    assert all(address in words for address in addresses)
    assert alarm["explanation"] == words
    assert words in monitor.get("/healthz")["reasons"]
    status = command(monitor, "status")
    assert status.returncode == 1
    assert "two processes speak as twin-1" in status.stdout
    assert "two processes speak as twin-1" in command(monitor, "explain", "twin-1").stdout
    assert "two processes: 127.0.0.1:" in command(monitor, "nodes").stdout
    assert "two processes speak as twin-1" in monitor.log
