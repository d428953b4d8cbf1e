"""SIGHUP to `beatward agent`, and the end of what an action has started."""

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from beatward.agent.action_runner import FetchedAction, run
from beatward.agent.settings import LocalAction
from beatward.core.instants import SECOND
from beatward.core.protocol.record import Farewell

pytestmark = pytest.mark.real


def action(key="1/a", name="touch"):
    return {"key": key, "name": name, "attempt": 1, "node": "web-2", "timeout_ns": 0}


def read_until(stream, wanted):
    while wanted not in (line := stream.readline()):
        assert line, f"the log ended without {wanted!r}"


def test_a_hangup_reads_the_actions_again_and_ends_nothing(monitor, beatward, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('name = "web-1"\n')
    process = beatward("agent", "-c", str(path))
    monitor.wait_beats("web-1", 1)
    path.write_text('name = "web-1"\nlabels = {zone = "a"}\n[action.touch]\ncommand = ["true"]\n')
    process.send_signal(signal.SIGHUP)
    read_until(process.stderr, "SIGHUP: the settings were read again; actions: touch")
    read_until(process.stderr, "SIGHUP: restart the agent for what is new in: labels")
    monitor.actions["web-1"] = [action()]
    monitor.wait(lambda: monitor.outcomes)
    assert monitor.outcomes[0]["result"] == "success"
    path.write_text("nonsense")
    process.send_signal(signal.SIGHUP)
    read_until(process.stderr, "the settings stay as they were")
    process.terminate()
    assert process.wait(30) == 0


def test_a_hangup_without_a_settings_file_is_one_line_and_no_end(monitor, beatward):
    process = beatward("agent", "--name", "web-1")
    monitor.wait_beats("web-1", 1)
    process.send_signal(signal.SIGHUP)
    read_until(process.stderr, "SIGHUP: there is no settings file to read again; nothing changes")
    process.terminate()
    assert process.wait(30) == 0


def test_an_agent_whose_terminal_is_gone_says_goodbye(monitor, environment):
    pid, handle = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "beatward", "agent", "--name", "web-1"]
        os.execve(sys.executable, command, environment)
    monitor.wait_beats("web-1", 1)
    os.close(handle)
    assert monitor.wait_goodbye("web-1").status == Farewell.LEFT
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_action_past_its_time_ends_with_what_has_a_session_of_its_own(tmp_path):
    text = f"setsid sleep 600 & echo $! > {tmp_path}/pid; wait"
    result = run(
        LocalAction("slow", ("sh", "-c", text), SECOND), FetchedAction("k", "slow", "web-1", 1)
    )
    assert result.result == "temporary"
    pid = int((tmp_path / "pid").read_text())
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"
