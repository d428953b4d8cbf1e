"""The verdict on a node is one on all that its command has started: `exec` ends the whole tree."""

import os
import signal
import sys
from pathlib import Path

import pytest

from beatward.core.protocol.record import Farewell, Kind, exit_code_from_field

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="needs subreapers and /proc"),
]

# A program whose pid is said, which no signal but SIGKILL ends, in a session of its own; its
# parent is gone at once, so that it belongs to nobody but to a subreaper.
DAEMON = """
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
# In one write: an interpreter without buffers prints each word in a write of its own.
os.write(1, f"daemon {os.getpid()}\\n".encode())
os.close(1)
time.sleep(600)
"""
FAST = ("--interval", "20ms")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def read_pids(process):
    """Return the pids of daemon, child and command, which say them in any order."""
    told = dict(process.stdout.readline().split() for _ in range(3))
    return [int(told[name]) for name in ("daemon", "child", "command")]


@pytest.fixture
def tree(monitor, beatward, tmp_path):
    """Start a command with a child and a daemon: gives the wrapper and [daemon, child, command]."""
    begun = []
    (tmp_path / "daemon.py").write_text(DAEMON)

    def begin(*options, deaf=True, end="true"):
        daemon = f"{sys.executable} {tmp_path}/daemon.py {'deaf' if deaf else 'hears'}"
        # The shell waits for its child, so it does not become it.
        text = f"{daemon}; sleep 600 & echo child $!; echo command $$; wait $!; {end}"
        arguments = ("exec", "job", *FAST, *options, "--", "sh", "-c", text)
        process = beatward(*arguments, process_group=0)
        found = read_pids(process)
        begun.extend(found)
        monitor.wait_beats("job", 1)
        return process, found

    yield begin
    for pid in begun:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_wrapper_takes_daemons_and_children_with_it(tree, monitor):
    process, found = tree()
    process.kill()
    monitor.wait(lambda: not any(is_running(pid) for pid in found))


def test_a_killed_process_group_leaves_nothing(tree, monitor):
    process, found = tree()
    assert os.getpgid(found[2]) == process.pid
    os.killpg(process.pid, signal.SIGKILL)
    monitor.wait(lambda: not any(is_running(pid) for pid in found))


def test_a_killed_supervisor_is_the_end_of_the_command_and_is_reported(tree, monitor):
    process, found = tree()
    os.kill(parent_of(found[2]), signal.SIGKILL)
    said = monitor.wait_goodbye("job")
    assert (said.status, exit_code_from_field(said.cpu)) == (Farewell.EXITED, -9)
    assert process.wait(30) == 137
    assert not any(is_running(pid) for pid in found)


def test_what_a_killed_command_leaves_is_dead_before_the_monitor_hears_of_it(tree, monitor):
    _, found = tree()
    os.kill(found[2], signal.SIGKILL)
    monitor.wait_goodbye("job")
    assert not any(is_running(pid) for pid in found)


def test_a_wrapper_that_is_told_to_end_ends_the_tree_gently_first(tree, monitor):
    process, found = tree(deaf=False)
    process.terminate()
    assert process.wait(30) == 143
    assert monitor.wait_goodbye("job").status == Farewell.LEFT
    assert not any(is_running(pid) for pid in found)


def test_a_command_that_ends_well_may_leave_a_daemon(tree, monitor):
    process, found = tree(deaf=False, end="exit 0")
    os.kill(found[1], signal.SIGTERM)
    assert process.wait(30) == 0
    assert monitor.wait_goodbye("job").status == Farewell.LEFT
    assert is_running(found[0])


def test_a_command_that_is_to_outlive_its_wrapper_does(tree, monitor):
    process, found = tree("--orphan", "keep")
    process.kill()
    process.wait(30)
    monitor.wait(lambda: parent_of(found[2]) != process.pid)
    assert all(is_running(pid) for pid in found)


def test_between_two_runs_nothing_of_the_former_is_left(tree, monitor):
    process, found = tree("--restart", "on-failure", "--backoff", "10ms", end="exit 1")
    os.kill(found[1], signal.SIGTERM)
    again = read_pids(process)
    try:
        assert not any(is_running(pid) for pid in found)
        assert len(monitor.said("job", Kind.GOODBYE)) >= 1
    finally:
        process.kill()
        monitor.wait(lambda: not any(is_running(pid) for pid in again))
