"""The monitor as a program: what it says, how it ends, and what signals and crowds do to it."""

import contextlib
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@contextlib.contextmanager
def _locked(journal: Path):
    """Hold a lock on the journal, as a backup by hand does."""
    other = sqlite3.connect(journal, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_monitor_that_cannot_write_what_it_promised_says_so_and_does_not_end_well(
    tmp_path: Path,
) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        with nodes(monitor.data, ["web-1"], interval="100ms"):
            monitor.wait_status("web-1", "alive")
            wait_for(lambda: not monitor.get("/healthz")["journal"]["waiting"], what="the disk")
            with _locked(monitor.data / "journal.sqlite3"):
                monitor.post("/v1/pause", {"nodes": ["web-1"], "by": "ann"})
                monitor.wait_status("web-1", "paused")
                # HTTP and wheel end at once; the journal is given its five seconds.
                code = monitor.end()
        assert code == 1
        assert "its journal is complete" not in monitor.log
        (line,) = [one for one in monitor.log.splitlines() if "not in its journal" in one]
        assert "transition paused" in line
        assert "another process holds a lock" in line
        assert "ordered again" in line
        # What it says is true: the restart does not know of the pause.
        monitor.start()
        assert monitor.statuses()["web-1"] != "paused"


def test_orders_that_were_taken_are_in_the_journal_of_a_monitor_that_ends(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor", 'tick = "900ms"\npause_limit = "5s"\n') as monitor:
        monitor.post("/v1/jobs/nightly", {"every": "1h"}, method="PUT")
        # Taken between two turns of a slow wheel; the next turn would be too late.
        assert monitor.end() == 0
        monitor.start()
        assert "nightly" in monitor.statuses()


def _said(monitor: Monitor, words: str) -> list[str]:
    return [line for line in monitor.log.splitlines() if words in line]


def test_each_change_of_status_is_a_line_and_of_many_at_once_a_count(tmp_path: Path) -> None:
    names = [f"web-{index}" for index in range(40)]
    with (
        Monitor(tmp_path / "monitor", 'start_grace = "1s"\n') as monitor,
        # A monitor that hears nobody would think itself cut off.
        nodes(monitor.data, ["voice-1", "voice-2", "voice-3"], interval="100ms"),
    ):
        with nodes(monitor.data, ["db-1"], interval="100ms") as other:
            monitor.wait_status(["db-1", "voice-1", "voice-2", "voice-3"], "alive")
            os.kill(other, signal.SIGKILL)
            monitor.wait_status("db-1", "dead")
        (line,) = wait_for(lambda: _said(monitor, "db-1 dead"), what="a line about the death")
        assert "WARNING" in line
        assert [one for one in _said(monitor, "db-1 suspected") if "INFO" in one]
        # The forty join later: a suspicion within the second of their joins is only counted.
        with nodes(monitor.data, [*names], interval="100ms") as pid:
            monitor.wait_status(names, "alive")
            before = len(monitor.log.splitlines())
            os.kill(pid, signal.SIGKILL)
            monitor.wait_status(names, "dead")
        counts = wait_for(
            lambda: [one for one in _said(monitor, "more changes") if " dead" in one], what="counts"
        )
        assert all("WARNING" in one for one in counts)
        # 40 suspicions, 40 verdicts and a mass failure, within two or three seconds.
        assert len(monitor.log.splitlines()) - before <= 66


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_signal_that_means_reload_elsewhere_is_answered_and_ends_nothing(
    tmp_path: Path, name: str
) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        monitor.signal(signal.Signals[name])
        (line,) = wait_for(lambda: _said(monitor, name), what="a line about the signal")
        assert "settings are read at the start only" in line
        assert monitor.get("/healthz")["status"] == "ok"
        assert monitor.end() == 0


def _in_a_terminal(settings: Path) -> tuple[int, int]:
    """Start a monitor as the leader of a terminal's session; return its pid and our end of it."""
    pid, ours = pty.fork()
    if pid == 0:
        arguments = [sys.executable, "-m", "beatward", "monitor", "-c", str(settings)]
        os.execv(sys.executable, arguments)
    return pid, ours


def test_a_terminal_that_is_closed_ends_the_monitor_in_order(tmp_path: Path) -> None:
    settings = tmp_path / "beatward.toml"
    data = tmp_path / "data"
    settings.write_text(f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\ndata = "{data}"\n')
    pid, ours = _in_a_terminal(settings)
    said = b""
    while b"listening" not in said:
        said += os.read(ours, 1000)
    # By hand, with the terminal still there: it goes on.
    os.kill(pid, signal.SIGHUP)
    while b"settings are read at the start only" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    # In order: the journal was closed, so that its log of writes is taken up into the file.
    assert not (data / "journal.sqlite3-wal").exists()


def _half_sent(address: tuple[str, int], count: int) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        clients.append(client)
        with contextlib.suppress(BlockingIOError):
            client.connect(address)
    for client in clients:
        client.setblocking(True)
        with contextlib.suppress(OSError):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
    return clients


def test_a_monitor_with_few_file_descriptors_keeps_some_and_says_so_in_a_line(
    tmp_path: Path,
) -> None:
    settings = tmp_path / "beatward.toml"
    settings.write_text(
        f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\ndata = "{tmp_path / "data"}"\n'
    )
    command = f"ulimit -n 120; exec {sys.executable} -m beatward monitor -c {settings}"
    monitor = subprocess.Popen(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert monitor.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(monitor.stderr or ()))
    try:
        said = monitor.stderr.readline()
        assert "listening" in said
        host, _, port = said.partition("API on http://")[2].partition("/docs")[0].partition(":")
        reader.start()
        clients = _half_sent((host, int(port)), 150)
        wait_for(lambda: any("were refused" in one for one in lines), what="a line")
        # Those that hold all of one address's connections hold up no other address.
        with socket.create_connection(
            (host, int(port)), timeout=10, source_address=("127.0.0.2", 0)
        ) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200 ")
        for client in clients:
            client.close()
        size = sum(map(len, lines))
    finally:
        monitor.terminate()
        monitor.wait(20)
        reader.join(20)
        monitor.stderr.close()
    assert size < 2000
    assert monitor.returncode == 0


def test_status_and_healthz_are_of_one_opinion_in_a_mass_failure(tmp_path: Path) -> None:
    names = [f"web-{index}" for index in range(6)]
    with (
        Monitor(tmp_path / "monitor", 'start_grace = "1s"\n') as monitor,
        nodes(monitor.data, ["voice"], interval="100ms"),
        nodes(monitor.data, names, interval="100ms") as pid,
    ):
        monitor.wait_status(["voice", *names], "alive")
        os.kill(pid, signal.SIGKILL)
        monitor.wait_status(names, "dead")
        status = wait_for(
            lambda: monitor.get("/v1/status") if monitor.get("/v1/guard")["holds"] else None,
            what="a mass failure",
        )
        told = status["health"]
        asked = monitor.get("/healthz")
        assert told["status"] == asked["status"] == "degraded"
        assert told["reasons"] == asked["reasons"]
        assert "went dark at once" in asked["reasons"][0]


# A zone that only the system had: Berlin's rules under a name that no package knows.
_ZONE = Path("/usr/share/zoneinfo/Europe/Berlin")


@pytest.mark.skipif(not _ZONE.exists(), reason="the system has no time zones (tzdata)")
def test_a_job_whose_time_zone_is_gone_is_told_as_a_fault_of_the_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = tmp_path / "zones"
    (zones / "Our").mkdir(parents=True)
    (zones / "Our" / "Zone").write_bytes(_ZONE.read_bytes())
    monkeypatch.setenv("PYTHONTZPATH", str(zones))
    plan = {"schedule": "0 3 * * *", "timezone": "Our/Zone"}
    with Monitor(tmp_path / "monitor") as monitor:
        monitor.post("/v1/jobs/backup", plan, method="PUT")
        monitor.post("/v1/jobs/other", {"schedule": "0 3 * * *"}, method="PUT")
        wait_for(lambda: _due(monitor, "backup"), what="the first due instant")
        assert monitor.get("/healthz")["status"] == "ok"
        monitor.end()
        monkeypatch.setenv("PYTHONTZPATH", "/nonexistent")
        monitor.start()
        health = wait_for(
            lambda: one if (one := monitor.get("/healthz"))["status"] != "ok" else None,
            what="a fault",
        )
        assert health["status"] == "degraded"
        (reason,) = health["reasons"]
        assert "backup" in reason
        assert "Our/Zone" in reason
        assert "not judged" in reason
        assert monitor.get("/v1/status")["health"]["reasons"] == health["reasons"]
        assert (
            "no missed run would be noticed" in monitor.get("/v1/nodes/backup/explain")["sentence"]
        )
        assert len(_said(monitor, "the job backup is not judged")) == 1
        # The others go on.
        assert wait_for(lambda: _due(monitor, "other"), what="the due instant of another job")


def _due(monitor: Monitor, name: str) -> str | None:
    due = monitor.get(f"/v1/nodes/{name}")["job"]["due"] if name in monitor.statuses() else None
    return None if due is None else str(due)
