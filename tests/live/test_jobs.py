"""Jobs on real processes: settings, `exec`, an outage of the monitor, a host that dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness import Monitor
from tests.live.test_life import _local, running
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

NIGHTLY = ("--schedule", "0 3 * * *", "--timezone", "Europe/Berlin", "--max-run", "1h")


def job(monitor: Monitor, name: str) -> dict:
    found = {node["name"]: node["job"] for node in monitor.get("/v1/jobs")["jobs"]}
    return found.get(name) or {}


def runs(monitor: Monitor, name: str) -> list[str]:
    events = (it for it in monitor.events() if it["node"] == name and it["event"] == "run")
    return [event["detail"]["run"] for event in events]


def exec_job(monitor: Monitor, name: str, text: str, *options: str):
    return running("exec", name, *options, "--", "/bin/sh", "-c", text, data=monitor.data)


def test_a_job_of_the_settings_is_due_when_it_says(tmp_path: Path) -> None:
    settings = '[[job]]\nname = "backup"\nschedule = "0 3 * * *"\ntimezone = "Asia/Kathmandu"\n'
    with Monitor(tmp_path / "monitor", settings) as monitor:
        wait_for(lambda: job(monitor, "backup").get("due"), what="the first due instant")
        # 03:00 at 5:45 ahead of UTC.
        assert job(monitor, "backup")["due"][11:17] == "21:15:"
        monitor.end()
        monitor.start()
        wait_for(lambda: job(monitor, "backup").get("due"), what="the due instant after a restart")
        assert sum(event["event"] == "job" for event in monitor.events()) == 1


def test_exec_declares_a_job_runs_it_and_reports_how_it_ended(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        for text, code, status in (
            ("exit 0", 0, "alive"),
            ("exit 7", 7, "failing"),
            ("sleep 1.5; exit 0", 0, "alive"),
        ):
            with exec_job(monitor, "backup", text, *NIGHTLY) as process:
                assert process.wait(20) == code
            monitor.wait_status("backup", status)
        ends = ("succeeded", "failed", "succeeded")
        assert runs(monitor, "backup") == [word for end in ends for word in ("started", end)]
        found = job(monitor, "backup")
        assert (found["schedule"], found["timezone"]) == ("0 3 * * *", "Europe/Berlin")
        assert found["ran_ns"] > 10**9
        # What it promises changes with what it says.
        with exec_job(monitor, "backup", "exit 0", "--every", "2h") as process:
            assert process.wait(20) == 0
        wait_for(lambda: job(monitor, "backup")["schedule"] is None, what="another plan")


def test_a_job_that_is_ended_or_cannot_begin_has_failed(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        with exec_job(monitor, "ended", "exec sleep 60", *NIGHTLY) as process:
            monitor.wait_status("ended", "alive")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 128 + signal.SIGTERM
        words = ("exec", "missing", *NIGHTLY, "--", "/nowhere/backup")
        with running(*words, data=monitor.data) as process:
            assert process.wait(20) == 127
        monitor.wait_status(["ended", "missing"], "failing")
        assert job(monitor, "ended")["exit_code"] == -signal.SIGTERM
        assert job(monitor, "missing")["exit_code"] == 127


def test_a_job_whose_host_dies_is_found_at_once_and_not_when_its_time_is_over(
    tmp_path: Path,
) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        options = (*NIGHTLY, "--interval", "200ms")
        with exec_job(monitor, "backup", "sleep 60", *options) as process:
            monitor.wait_status("backup", "alive")
            process.kill()
            monitor.wait_status("backup", "dead", timeout=10)
        with exec_job(monitor, "backup", "exit 0", *options) as process:
            assert process.wait(20) == 0
        monitor.wait_status("backup", "alive")


def test_a_run_that_ends_while_the_monitor_is_down_is_told_when_it_is_back(tmp_path: Path) -> None:
    with Monitor(tmp_path / "monitor") as monitor:
        with exec_job(monitor, "backup", "exit 3", *NIGHTLY) as first:
            assert first.wait(20) == 3
        monitor.wait_status("backup", "failing")
        flag = tmp_path / "go"
        waits = f"until [ -e {flag} ]; do sleep 0.05; done; exit 0"
        environment = {**os.environ, **_local(monitor.data)}
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "beatward", "exec"),
                *("--data", str(monitor.data / "agent"), "backup", *NIGHTLY),
                *("--", "/bin/sh", "-c", waits),
            ],
            env=environment,
        )
        wait_for(lambda: job(monitor, "backup")["started"], what="the run's begin")
        monitor.kill()
        flag.touch()
        monitor.start()
        assert process.wait(30) == 0
        monitor.wait_status("backup", "alive")
        assert runs(monitor, "backup")[-2:] == ["started", "succeeded"]
