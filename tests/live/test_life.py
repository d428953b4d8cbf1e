"""A node's life with a real monitor: replays, exits, mail, HTTP, the bare URL, the demo."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Monitor, nodes
from tests.live.relay import Relay
from tests.terminal import processes_of
from tests.waiting import wait_for

from beatward.core.protocol import keys

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@contextmanager
def running(*words: str, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a beatward command of an agent that finds its monitor in a data folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "beatward", words[0], "--data", str(data / "agent"), *words[1:]],
        env={**os.environ, **_local(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _local(data: Path) -> dict[str, str]:
    local = json.loads((data / "local.json").read_text())
    return {
        "BEATWARD_MONITOR": local["monitor"],
        "BEATWARD_TOKEN": local["token"],
    }


def _send(datagrams: list[bytes], monitor: Monitor) -> None:
    host, port = monitor.udp.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for data in datagrams:
            out.sendto(data, (host, int(port)))


def _rejected(monitor: Monitor) -> int:
    return sum(monitor.get("/v1/status")["rejects"].values())


def test_what_a_dead_node_once_said_changes_nothing_when_it_is_played_again(
    tmp_path: Path,
) -> None:
    monitor = Monitor(tmp_path / "monitor")
    with Relay(monitor.udp) as relay:
        # Agents are told to send to the relay.
        monitor.settings = f'advertise = "{relay.address}"\nstart_grace = "1s"\n'
        with monitor:
            with nodes(monitor.data, ["web-1"], interval="100ms") as pid:
                monitor.wait_status("web-1", "alive")
                time.sleep(1.0)  # a second of heartbeats to record
                os.kill(pid, signal.SIGKILL)
            monitor.wait_status("web-1", "dead")
            _replay_and_expect_nothing(monitor, relay)
            # The sequence numbers were only in memory; what now?
            monitor.kill()
            monitor.start()
            _replay_and_expect_nothing(monitor, relay)


def _replay_and_expect_nothing(monitor: Monitor, relay: Relay) -> None:
    before = len(monitor.events())
    rejected = _rejected(monitor)
    _send(relay.recorded, monitor)
    wait_for(
        lambda: _rejected(monitor) >= rejected + len(relay.recorded),
        what="the refusal of every record",
    )
    assert monitor.statuses() == {"web-1": "dead"}
    assert len(monitor.events()) == before


def test_exec_reports_an_exit_at_once_restarts_and_is_taken_back(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    script = f"if [ -e {flag} ]; then sleep 60; else touch {flag}; sleep 1; exit 3; fi"
    with (
        Monitor(tmp_path / "monitor") as monitor,
        running(
            "exec",
            "job-1",
            "--interval",
            "200ms",
            "--restart",
            "on-failure",
            "--",
            "/bin/sh",
            "-c",
            script,
            data=monitor.data,
        ),
    ):
        wait_for(lambda: "steady" in _causes(monitor, "job-1"), what="the return")
        events = [event for event in monitor.events() if event["node"] == "job-1"]
    dead = next(event for event in events if event["status"] == "dead")
    assert dead["cause"] == "exited"
    assert dead["detail"]["exit_code"] == 3
    assert dead["detail"]["probes_sent"] == 0
    assert "exit code 3" in dead["explanation"]
    words = [event["status"] for event in events if event["event"] == "transition"]
    assert words == ["alive", "dead", "recovering", "alive"]


def _causes(monitor: Monitor, node: str) -> list[str]:
    return [event["cause"] for event in monitor.events() if event["node"] == node]


def test_exec_passes_the_exit_code_and_a_clean_end_is_no_death(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        with running(
            "exec", "job-1", "--", "/bin/sh", "-c", "sleep 1; exit 0", data=monitor.data
        ) as process:
            assert process.wait(20) == 0
        monitor.wait_status("job-1", "left")
        with running(
            "exec", "job-2", "--", "/bin/sh", "-c", "sleep 1; exit 7", data=monitor.data
        ) as process:
            assert process.wait(20) == 7
        monitor.wait_status("job-2", "dead")


def test_an_agent_runs_the_action_its_own_settings_name_and_reports_it(tmp_path: Path) -> None:
    deed = tmp_path / "deed"
    settings = tmp_path / "agent.toml"
    settings.write_text(
        f'name = "host-1"\ninterval = "200ms"\n[action.revive]\n'
        f'command = ["/bin/sh", "-c", "echo done >> {deed}"]\ntimeout = "10s"\n'
    )
    rules = """
[action.revive-web]
kind = "agent"
agent = "host-1"
run = "revive"
[action.unknown]
kind = "agent"
agent = "host-1"
run = "not-in-its-settings"
[[rule]]
on = ["dead"]
nodes = "web-*"
actions = ["revive-web", "unknown"]
"""
    with (
        Monitor(tmp_path / "monitor", rules) as monitor,
        running("agent", "-c", str(settings), data=monitor.data),
    ):
        monitor.wait_status("host-1", "alive")
        host = wait_for(lambda: _measured(monitor), what="measures of the host")
        assert 0 <= host["memory"] <= 100
        with nodes(monitor.data, ["web-1"], interval="100ms") as pid:
            monitor.wait_status("web-1", "alive")
            os.kill(pid, signal.SIGKILL)
        outcomes = wait_for(lambda: _outcomes(monitor, 2), what="both outcomes")
    assert outcomes == {"revive-web": "success", "unknown": "failed"}
    assert deed.read_text() == "done\n"


def _measured(monitor: Monitor) -> dict[str, float] | None:
    node = monitor.get("/v1/nodes/host-1")
    return node if node["memory"] is not None else None


def _outcomes(monitor: Monitor, count: int) -> dict[str, str] | None:
    found = {
        event["action"]: event["outcome"]
        for event in monitor.events()
        if event["event"] == "outcome" and event["outcome"] != "retry"
    }
    return found if len(found) == count else None


def test_a_node_behind_a_proxy_lives_over_http_and_its_death_is_found(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom beatward import Heart\n"
        "Heart('web-1', interval='200ms', data=sys.argv[1], transport='http').start()\n"
        "time.sleep(60)\n"
    )
    with Monitor(tmp_path / "monitor", 'start_grace = "1s"\n') as monitor:
        process = subprocess.Popen([sys.executable, "-c", code, str(monitor.data)])
        try:
            monitor.wait_status("web-1", "alive")
            assert monitor.get("/v1/nodes/web-1")["via"] == "http"
            monitor.kill()
            monitor.start()
            beats = monitor.get("/v1/nodes/web-1")["sequence"] or 0
            wait_for(
                lambda: (monitor.get("/v1/nodes/web-1")["sequence"] or 0) > beats + 3,
                what="heartbeats to the monitor's second life",
            )
            assert monitor.statuses() == {"web-1": "alive"}
        finally:
            process.kill()
            process.wait()
        monitor.wait_status("web-1", "dead")
        explained = monitor.get("/v1/nodes/web-1/explain")
    assert "cannot be probed" in json.dumps(explained)


@pytest.mark.needs("curl")
def test_a_bare_curl_url_is_a_heartbeat_and_its_exit_code_is_heard(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        told = subprocess.run(
            [
                sys.executable,
                "-m",
                "beatward",
                "token",
                "ping",
                "backup",
                "--data",
                str(monitor.data),
                "--json",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        url = json.loads(told.stdout)["url"]
        assert _curl(f"{url}?interval=1s") == "ok"
        monitor.wait_status("backup", "alive")
        assert _curl(f"{url}/exit/3") == "ok"
        monitor.wait_status("backup", "failing")
        # The promise of before holds for a request that makes none.
        assert monitor.get("/v1/nodes/backup")["interval_ns"] == 1_000_000_000
        assert _curl(f"{url}?interval=1s") == "ok"
        monitor.wait_status("backup", "alive")
        # Nothing more: two promised intervals and the window later it is dead.
        monitor.wait_status("backup", "dead")
        assert _curl(url[:-3] + "abc", expected=22) == ""


def _curl(url: str, *, expected: int = 0) -> str:
    done = subprocess.run(
        ["curl", "-sf", url], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == expected
    return done.stdout.strip()


def test_the_demo_tells_the_whole_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "beatward", "demo", "--json"],
        # Its folder is made here, so that its processes can be told from those of other demos.
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    events = []
    try:
        for line in demo.stdout:
            events.append(json.loads(line))
            if _story(events)[-2:] == ["recovering", "alive"]:
                break
        demo.send_signal(signal.SIGINT)
        events += [json.loads(line) for line in demo.stdout]
    finally:
        demo.terminate()
        assert demo.wait(20) == 0
        demo.stdout.close()
    wanted = {"event", "at", "node", "status", "cause", "explanation", "action", "outcome"}
    assert all(wanted <= event.keys() for event in events)
    # It may be ended before or after its node has said goodbye.
    assert [word for word in _story(events) if word != "left"] == [
        *("joined", "life", "alive", "killed", "suspect", "dead", "detected"),
        *("action", "success", "life", "recovering", "alive"),
    ]
    detected = next(event for event in events if event["event"] == "detected")
    assert detected["detail"]["detection_ns"] > 0
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def _story(events: list[dict[str, Any]]) -> list[str]:
    """Return what happened to the demo's node, in a word each."""
    return [
        event["outcome"] or (event["status"] if event["event"] == "transition" else event["event"])
        for event in events
        if event["node"] == "web-3"
    ]


def test_a_key_is_as_the_protocol_derives_it(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        master = (monitor.data / "master.key").read_bytes()
        assert monitor.api_token == keys.api_token(master)
        assert (monitor.data / "master.key").stat().st_mode & 0o777 == 0o600
        assert (monitor.data / "local.json").stat().st_mode & 0o777 == 0o600
