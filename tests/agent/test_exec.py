"""`beatward exec` with real commands: exit codes, signals, restarts, and a killed wrapper."""

import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.waiting import wait_for

from beatward.core.protocol.record import Farewell, Health, Kind, exit_code_from_field

pytestmark = pytest.mark.real

FAST = ("--interval", "20ms")
# Says that it runs, then which signals it gets, until a TERM ends it with 0.
LISTENER = """
import os, signal, sys
def tell(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(0)
for name in ("HUP", "USR1", "USR2", "WINCH", "TERM", "CONT"):
    signal.signal(getattr(signal, "SIG" + name), tell)
print("runs", os.getpid(), flush=True)
while True:
    signal.pause()
"""


def shell(text):
    return ("--", "sh", "-c", text)


def python(text):
    return ("--", sys.executable, "-c", text)


def running(pid):
    """Tell whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- exit codes ---


@pytest.mark.parametrize(
    ("text", "code", "status", "field"),
    [
        ("exit 0", 0, Farewell.LEFT, 0),
        ("exit 3", 3, Farewell.EXITED, 3),
        ("exit 255", 255, Farewell.EXITED, 255),
        ("kill -9 $$", 137, Farewell.EXITED, -9),
        ("kill -SEGV $$", 139, Farewell.EXITED, -11),
    ],
)
def test_the_exit_is_passed_on_and_reported(monitor, beatward, text, code, status, field):
    # Once without an enrolment and once with one: neither may lose the goodbye.
    for _ in range(2):
        monitor.records.clear()
        process = beatward("exec", "job", *FAST, *shell(text))
        assert process.wait(30) == code
        said = monitor.wait_goodbye("job")
        assert (said.status, exit_code_from_field(said.cpu)) == (status, field)


def test_a_command_that_is_not_there_is_127_and_said_clearly(monitor, beatward):
    process = beatward("exec", "job", "--", "no-such-command")
    _, error = process.communicate(timeout=30)
    assert process.returncode == 127
    assert "beatward: no-such-command: No such file or directory" in error
    assert monitor.records == []


def test_a_file_that_is_no_program_is_126(beatward, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    process = beatward("exec", "job", "--", str(plain))
    _, error = process.communicate(timeout=30)
    assert process.returncode == 126
    assert f"{plain}: Permission denied" in error


def test_output_input_and_arguments_are_the_commands_own(beatward):
    process = beatward("exec", "job", *shell('cat; echo "$0 $1" >&2'), "-v", "--x", stdin=-1)
    output, error = process.communicate("through", timeout=30)
    assert (output, error) == ("through", "-v --x\n")


def test_a_wrong_setting_is_2_and_nothing_runs(beatward):
    process = beatward("exec", "job", "--interval", "5", *shell("echo ran"))
    output, error = process.communicate(timeout=30)
    assert (process.returncode, output) == (2, "")
    assert "interval: found '5', expected an interval as 250ms or 2s" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exec", "job"), "Missing argument 'COMMAND...'"),
        (("exec", "not a name", "--", "true"), "a node's name"),
        (("exec", "job", "--backoff", "0s", "--", "true"), "no time at all"),
        (("exec", "job", "--max-backoff", "x", "--", "true"), "is not a duration"),
        (("exec", "job", "--restart", "maybe", "--", "true"), "is not one of"),
        (("exec", "job", "--label", "zone", "--", "true"), "expected KEY=VALUE"),
    ],
)
def test_usage_errors_are_2(beatward, arguments, message):
    process = beatward(*arguments)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message in error


# --- beating ---


def test_the_command_beats_while_it_runs_and_its_end_is_known_at_once(monitor, beatward):
    process = beatward("exec", "job", "--interval", "1h", "--label", "zone=a", *python(LISTENER))
    pid = int(process.stdout.readline().split()[1])
    # With an hour between heartbeats, only direct evidence can be this fast.
    monitor.wait_beats("job", 1)
    os.kill(pid, signal.SIGKILL)
    said = monitor.wait_goodbye("job")
    assert (said.status, exit_code_from_field(said.cpu)) == (Farewell.EXITED, -9)
    assert process.wait(30) == 137
    assert monitor.joins[0]["labels"] == {"zone": "a"}


def test_a_stopped_command_is_reported_as_failing(monitor, beatward):
    process = beatward("exec", "job", *FAST, *python(LISTENER))
    pid = int(process.stdout.readline().split()[1])
    monitor.wait_beats("job", 1)
    os.kill(pid, signal.SIGSTOP)
    monitor.wait(lambda: monitor.said("job")[-1].status == Health.ILL)
    os.kill(pid, signal.SIGCONT)
    monitor.wait(lambda: monitor.said("job")[-1].status == Health.WELL)


# --- signals ---


def test_signals_to_the_wrapper_reach_the_command(monitor, beatward):
    process = beatward("exec", "job", *FAST, *python(LISTENER))
    assert process.stdout.readline().startswith("runs")
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"):
        process.send_signal(getattr(signal, name))
        assert process.stdout.readline() == f"{name}\n"
    process.terminate()
    assert process.stdout.readline() == "SIGTERM\n"
    assert process.wait(30) == 0
    assert monitor.wait_goodbye("job").status == Farewell.LEFT


def test_being_told_to_end_is_an_orderly_leave(monitor, beatward):
    process = beatward("exec", "job", *FAST, "--restart", "always", "--", "sleep", "60")
    monitor.wait_beats("job", 2)
    process.terminate()
    assert process.wait(30) == 143
    assert monitor.wait_goodbye("job").status == Farewell.LEFT


def test_signals_ignored_from_outside_stay_ignored(monitor, beatward):
    process = beatward(
        "exec",
        "job",
        *FAST,
        *python("import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.communicate(timeout=30)[0] == "True\n"


def test_the_command_starts_with_no_signal_blocked(beatward):
    text = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    process = beatward("exec", "job", *python(text))
    assert process.communicate(timeout=30)[0] == "[]\n"


@pytest.fixture
def on_a_terminal(environment):
    """Start Python as the leader of a new terminal; gives (pid, the other end of it)."""
    begun = []

    def begin(*arguments):
        pid, handle = pty.fork()
        if pid == 0:
            os.execve(sys.executable, [sys.executable, *arguments], environment)
        begun.append((pid, handle))
        return pid, handle

    yield begin
    for pid, handle in begun:
        if running(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(handle)


def read_until(handle, wanted):
    text = ""
    while wanted not in text:
        text += os.read(handle, 4096).decode()
    return text


def test_ctrl_c_reaches_the_command_once_and_not_twice(monitor, on_a_terminal, tmp_path):
    counter = tmp_path / "count"
    text = f"""
import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append("INT"))
print("runs", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.3)
open({str(counter)!r}, "w").write(" ".join(seen))
"""
    command = ("-c", "from beatward.cli import main; main()", "exec", "job", *FAST, *python(text))
    pid, handle = on_a_terminal(*command)
    read_until(handle, "runs")
    os.write(handle, b"\x03")
    assert monitor.wait_goodbye("job").status == Farewell.LEFT
    wait_for(lambda: not running(pid))
    assert counter.read_text() == "INT"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# A shell as far as jobs go: starts one in the foreground, and resumes it when it was stopped.
JOB_CONTROL = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen(sys.argv[1:], process_group=0)
os.tcsetpgrp(0, job.pid)
_, status = os.waitpid(job.pid, os.WUNTRACED)
print("stopped" if os.WIFSTOPPED(status) else "ended", flush=True)
signal.signal(signal.SIGUSR1, lambda *_: os.killpg(job.pid, signal.SIGCONT))
os.waitpid(job.pid, 0)
"""


def test_ctrl_z_stops_both_and_heartbeats_pause_until_they_go_on(monitor, on_a_terminal):
    wrapped = (sys.executable, "-c", "from beatward.cli import main; main()", "exec", "job", *FAST)
    pid, handle = on_a_terminal("-c", JOB_CONTROL, *wrapped, "--", "sleep", "60")
    before = monitor.wait_beats("job", 3)[-1].sequence
    os.write(handle, b"\x1a")
    read_until(handle, "stopped")
    count = len(monitor.said("job"))
    # Half a second is 25 heartbeats that must not come.
    time.sleep(0.5)
    assert len(monitor.said("job")) <= count + 1
    os.kill(pid, signal.SIGUSR1)
    monitor.wait(lambda: monitor.said("job")[-1].sequence > before + 25)
    assert monitor.said("job", Kind.GOODBYE) == []
    os.write(handle, b"\x03")
    assert monitor.wait_goodbye("job").status == Farewell.LEFT


# --- restarts ---


def lives(monitor):
    return list(dict.fromkeys(record.incarnation for record in monitor.records))


@pytest.mark.parametrize(
    ("policy", "text", "lives_count"),
    [
        ("never", "exit 1", 1),
        ("on-failure", "exit 0", 1),
        ("on-failure", "test -e again || { touch again; exit 1; }", 2),
        ("always", "test -e again && exec sleep 60; touch again", 2),
    ],
)
def test_the_restart_policy_decides(monitor, beatward, tmp_path, policy, text, lives_count):
    process = beatward(
        "exec",
        "job",
        *FAST,
        "--restart",
        policy,
        "--backoff",
        "10ms",
        *shell(text),
        cwd=tmp_path,
    )
    if policy == "always":
        # The first life may be too short for a heartbeat, but not for a goodbye.
        monitor.wait(lambda: len(lives(monitor)) == 2)
        process.terminate()
    process.wait(30)
    monitor.wait(lambda: len(monitor.said("job", Kind.GOODBYE)) >= lives_count)
    found = lives(monitor)
    assert len(found) == lives_count
    assert found == sorted(found)


def test_restarts_wait_twice_as_long_each_time_up_to_the_limit(monitor, beatward, tmp_path):
    process = beatward(
        "exec",
        "job",
        "--restart",
        "on-failure",
        "--backoff",
        "20ms",
        "--max-backoff",
        "60ms",
        *shell("echo x >> runs; test $(wc -l < runs) -ge 5 || exit 7"),
        cwd=tmp_path,
    )
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0
    waits = [line.rpartition("again in ")[2] for line in error.splitlines() if "again in" in line]
    assert waits == ["20 ms", "40 ms", "60 ms", "60 ms"]
    assert "job: sh exited with code 7 after" in error


def test_no_heartbeats_while_the_command_is_down_and_a_signal_ends_the_wait(monitor, beatward):
    process = beatward(
        "exec", "job", *FAST, "--restart", "always", "--backoff", "1h", *shell("exit 4")
    )
    monitor.wait_goodbye("job")
    while "again in" not in process.stderr.readline():
        pass
    count = len(monitor.said("job"))
    # A quarter of a second is twelve heartbeats that must not come.
    time.sleep(0.25)
    assert len(monitor.said("job")) == count
    process.terminate()
    assert process.wait(30) == 143


# --- the wrapper itself killed ---


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
@pytest.mark.parametrize(("orphan", "dies"), [("kill", True), ("term", True), ("keep", False)])
def test_what_becomes_of_the_command_when_the_wrapper_is_killed(beatward, orphan, dies):
    process = beatward("exec", "job", "--orphan", orphan, *python(LISTENER))
    pid = int(process.stdout.readline().split()[1])
    process.kill()
    process.wait(30)
    try:
        if dies:
            wait_for(lambda: not running(pid))
        else:
            # A tenth of a second in which the kernel would have sent what it sends at once.
            time.sleep(0.1)
            assert running(pid)
    finally:
        if running(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_CHILD_SUBREAPER")
def test_orphans_are_reaped_as_by_an_init(beatward):
    # The wrapper is made a subreaper, so that a grandchild is handed to it as to a container's
    # first process.
    text = "( sleep 0.05 & echo $! ); exec sleep 60"
    process = beatward("exec", "job", *shell(text), preexec_fn=become_subreaper)
    pid = int(process.stdout.readline())
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    assert process.poll() is None


def become_subreaper():
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
