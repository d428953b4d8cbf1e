"""The monitor in trouble: killed at any instant, a full disk, a locked journal, a port in use."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


class Receiver:
    """An HTTP server that notes the key of every webhook; it refuses every third at first."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.accepted: Counter[str] = Counter()
        seen = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                nonlocal seen
                self.rfile.read(int(self.headers["Content-Length"]))
                key = self.headers["Idempotency-Key"]
                seen += 1
                receiver.keys.append(key)
                refuses = seen % 3 == 0
                if not refuses:
                    receiver.accepted[key] += 1
                self.send_response(503 if refuses else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def _rules(url: str, deeds: Path) -> str:
    script = f"echo $BEATWARD_ACTION_KEY >> {deeds}"
    return f"""
start_grace = "1s"
[guard]
count = 100
actions_per_minute = 1000
[action.page]
kind = "webhook"
url = "{url}"
retry = "100ms"
[action.revive]
kind = "exec"
command = ["/bin/sh", "-c", "{script}"]
retry = "100ms"
revives = false
[[rule]]
on = ["dead"]
actions = ["page", "revive"]
"""


def _final_outcomes(monitor: Monitor) -> dict[str, list[str]]:
    finals: dict[str, list[str]] = {}
    for event in monitor.events():
        if event["event"] == "action":
            finals.setdefault(event["detail"]["key"], [])
        elif event["event"] == "outcome" and event["outcome"] != "retry":
            finals[event["detail"]["key"]].append(event["outcome"])
    return finals


def test_a_monitor_killed_at_any_instant_loses_no_action_and_repeats_no_success(
    tmp_path: Path, receiver: Receiver
) -> None:
    deeds = tmp_path / "deeds"
    deeds.touch()
    chance = random.Random(4711)
    with Monitor(tmp_path / "monitor", _rules(receiver.url, deeds)) as monitor:
        names = [f"node-{number}" for number in range(6)]
        for name in names:
            with nodes(monitor.data, [name], interval="100ms") as pid:
                monitor.wait_status(name, "alive")
                os.kill(pid, signal.SIGKILL)
                # Its verdict comes after about 1.2 s; the monitor is killed somewhere around it.
                time.sleep(chance.uniform(0.9, 1.5))
                monitor.kill()
                monitor.start()
        monitor.wait_status(names, "dead", timeout=40)
        wait_for(
            lambda: all(len(ends) == 1 for ends in _final_outcomes(monitor).values()),
            what="the final outcome of every action",
        )
        finals = _final_outcomes(monitor)
        ids = [event["id"] for event in monitor.events()]
    assert ids == list(range(1, len(ids) + 1))
    assert {ends[0] for ends in finals.values()} == {"success"}
    assert {key.split("-", 1)[1] for key in finals} == {"page", "revive"}
    assert len(finals) == 2 * len(names)
    done = Counter(deeds.read_text().split())
    assert done == Counter(key for key in finals if key.endswith("-revive"))
    # A webhook may be repeated only when its success was not yet written; the key tells.
    assert set(receiver.accepted) == {key for key in finals if key.endswith("-page")}


def _small_disk(folder: Path) -> None:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "beatward-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


def test_a_full_disk_stops_no_verdict_and_what_was_held_back_is_written_later(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    _small_disk(disk)
    try:
        with Monitor(disk / "monitor") as monitor:
            with nodes(monitor.data, ["web-1"], interval="100ms") as pid:
                monitor.wait_status("web-1", "alive")
                with (disk / "ballast").open("wb", buffering=0) as ballast:
                    _fill(ballast.fileno())
                os.kill(pid, signal.SIGKILL)
                # Detected although nothing can be written, and said in so many words.
                monitor.wait_status("web-1", "dead")
                health = wait_for(
                    lambda: _degraded(monitor), what="a word about the disk in /healthz"
                )
            assert health["journal"]["waiting"] >= 2
            assert "full" in health["journal"]["error"]
            assert monitor.get("/v1/status")["health"]["status"] == "degraded"
            (disk / "ballast").unlink()
            wait_for(lambda: monitor.get("/healthz")["status"] == "ok", what="recovery")
            dead = [event for event in monitor.events() if event["status"] == "dead"]
            assert [event["node"] for event in dead] == ["web-1"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _degraded(monitor: Monitor) -> dict[str, dict[str, object]] | None:
    health = monitor.get("/healthz")
    return health if health["journal"]["error"] else None


def _fill(descriptor: int) -> None:
    for size in (65536, 4096, 512, 1):
        try:
            while True:
                os.write(descriptor, b"\0" * size)
        except OSError:
            continue


def test_a_locked_journal_holds_entries_back_until_it_is_free(tmp_path: Path) -> None:
    with (
        Monitor(tmp_path / "monitor") as monitor,
        nodes(monitor.data, ["web-1"], interval="100ms"),
    ):
        monitor.wait_status("web-1", "alive")
        other = sqlite3.connect(monitor.data / "journal.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        monitor.post("/v1/nodes/web-1/pause")
        monitor.wait_status("web-1", "paused")
        wait_for(lambda: _degraded(monitor), what="a word about the lock in /healthz")
        assert not [event for event in monitor.events() if event["status"] == "paused"]
        other.execute("ROLLBACK")
        other.close()
        wait_for(
            lambda: [event for event in monitor.events() if event["status"] == "paused"],
            what="the entry that was held back",
        )


@pytest.mark.parametrize("door", ["udp", "http"])
def test_a_port_in_use_is_one_clear_line_and_exit_code_2(tmp_path: Path, door: str) -> None:
    with Monitor(tmp_path / "first") as first:
        taken = first.udp if door == "udp" else first.address
        settings = tmp_path / "second.toml"
        addresses = {"udp": "127.0.0.1:0", "http": "127.0.0.1:0", door: taken}
        settings.write_text(
            f'[monitor]\nudp = "{addresses["udp"]}"\nhttp = "{addresses["http"]}"\n'
            f'data = "{tmp_path / "second"}"\n'
        )
        done = _monitor(settings)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"monitor.{door}" in done.stderr
    assert taken in done.stderr


def test_a_second_monitor_on_one_data_folder_is_refused_by_one_clear_line(tmp_path: Path) -> None:
    with Monitor(tmp_path / "first") as first:
        settings = tmp_path / "second.toml"
        settings.write_text(
            f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\ndata = "{first.data}"\n'
        )
        done = _monitor(settings)
        assert first.get("/healthz")["status"] == "ok"
        assert str(first.pid) in done.stderr
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(first.data) in done.stderr


def _monitor(settings: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beatward", "monitor", "-c", str(settings)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_settings_of_a_dead_action_are_not_needed_to_end_it(tmp_path: Path) -> None:
    """An action that waits for its retry ends as failed when the settings no longer name it."""
    nobody = "http://127.0.0.1:9/"
    rules = _rules(nobody, tmp_path / "deeds")
    monitor = Monitor(tmp_path / "monitor", rules)
    with monitor:
        with nodes(monitor.data, ["web-1"], interval="100ms") as pid:
            monitor.wait_status("web-1", "alive")
            os.kill(pid, signal.SIGKILL)
            monitor.wait_status("web-1", "dead")
        monitor.kill()
        monitor.settings = ""
        monitor.start()
        finals = wait_for(
            lambda: [ends for ends in _final_outcomes(monitor).values() if "failed" in ends],
            what="the end of the action",
        )
    assert ["failed"] in finals


def test_an_open_stream_of_events_does_not_keep_the_monitor_from_ending(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "monitor")
    monitor.start()
    with urllib.request.urlopen(f"{monitor.url}/v1/events/stream", timeout=10) as stream:
        assert stream.readline()
        begun = time.monotonic()
        assert monitor.end() == 0
    # uvicorn alone would wait for the client for ever; ours are told to end at once.
    assert time.monotonic() - begun < 5
    assert "journal is complete" in monitor.log
