"""`beatward exec` is invisible: the command finds what it would have found without it.

And it runs in any case: what fails in the watching is said, and stops nothing.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from beatward.core.protocol.record import Farewell, Kind

pytestmark = pytest.mark.real

NOBODY = 12345


def shell(text):
    return ("--", "sh", "-c", text)


def python(text):
    return ("--", sys.executable, "-c", text)


# --- what fails in the watching stops nothing ---


def test_a_user_without_home_or_name_has_the_command_run_and_is_told_what_lacks():
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without a name")
    source = str(Path(__file__).resolve().parents[2] / "src")
    bare = {
        "env": {"PYTHONPATH": source},
        "user": NOBODY,
        "group": NOBODY,
        "extra_groups": [],
        "cwd": "/",
        "capture_output": True,
        "text": True,
        "timeout": 60,
    }
    wrapped = [sys.executable, "-m", "beatward", "exec", "--monitor", "http://127.0.0.1:1", "job"]
    if subprocess.run(
        [sys.executable, "-m", "beatward", "--version"], check=False, **bare
    ).returncode:
        pytest.skip("this copy of beatward can be read by its owner only")
    done = subprocess.run(
        [*wrapped, "--", "/bin/sh", "-c", "echo ran; exit 3"], check=False, **bare
    )
    assert (done.returncode, done.stdout) == (3, "ran\n")
    assert "job: this user has no home directory" in done.stderr
    assert "Traceback" not in done.stderr
    text = "from beatward import Heart; Heart('x', monitor='http://127.0.0.1:1').start().stop()"
    done = subprocess.run([sys.executable, "-c", text], check=False, **bare)
    assert (done.returncode, "no home directory" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("BEATWARD_MONITOR", "nonsense", "job: not watched: the environment: monitor"),
        ("BEATWARD_TOKEN", "nonsense", "the environment: token: found 'something else'"),
        ("BEATWARD_DATA", "/dev/null/x", "it is kept in memory"),
        ("BEATWARD_NAME", "not a name", ""),
    ],
)
def test_nonsense_in_the_environment_is_said_and_the_command_runs_with_it(
    beatward, environment, variable, value, complaint
):
    wanted = {**environment, variable: value}
    text = f"import os; print(os.environ[{variable!r}])"
    process = beatward("exec", "job", *python(text), env=wanted)
    output, error = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, f"{value}\n")
    assert complaint in error
    assert "Traceback" not in error


def test_a_process_without_descriptors_for_the_watching_still_runs_the_command(beatward):
    # Enough for Python to start and for the command, and too few for a supervisor.
    process = beatward(
        "exec",
        "job",
        *shell("echo ran"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6)),
    )
    output, error = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "ran\n"), error
    assert "job: not watched: Too many open files; the command runs" in error


# --- what is inherited ---

TELL = """
import json, os, signal, sys
path = os.environ.pop("BW_TELL")
def link(fileno):
    try:
        return os.readlink(f"/proc/self/fd/{fileno}")
    except OSError:
        return None
status = dict(row.split(":", 1) for row in open("/proc/self/status").read().splitlines())
with open(path, "w") as file:
    print(json.dumps({
        "pid": os.getpid(),
        "arguments": [os.fsencode(word).hex() for word in sys.argv],
        "environment": {key.hex(): value.hex() for key, value in os.environb.items()},
        "descriptors": {fileno: link(fileno) for fileno in range(20) if fileno != file.fileno()},
        "blocked": status["SigBlk"], "ignored": status["SigIgn"],
        "limits": open("/proc/self/limits").read(), "umask": status["Umask"],
        "session": os.getsid(0),
    }), file=file)
"""


def told(path, process):
    """Return what the command has found, without what differs from run to run."""
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    return json.loads(path.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("has_locale", [True, False])
def test_descriptors_signals_environment_and_limits_are_those_of_the_wrapper(
    start, beatward, environment, tmp_path, has_locale
):
    before, after = tmp_path / "before", tmp_path / "after"
    held = os.open(tmp_path, os.O_RDONLY)
    wanted = {**environment, "LC_ALL": "C.UTF-8", "ODD": os.fsdecode(b"\xff")}
    if not has_locale:  # Where Python would add a variable of its own.
        wanted = {key: value for key, value in wanted.items() if key[:3] not in ("LC_", "LAN")}

    def prepare():
        os.dup2(held, 9)
        os.dup2(held, 3)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGRTMIN + 3})
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    options = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "close_fds": False,
        "preexec_fn": prepare,
        "process_group": 0,
    }
    odd = os.fsdecode(b"\xff\xfe")
    plain = start("-c", TELL, odd, env={**wanted, "BW_TELL": str(before)}, **options)
    bare = told(before, plain)
    wrapped = beatward(
        "exec", "job", *python(TELL), odd, env={**wanted, "BW_TELL": str(after)}, **options
    )
    found = told(after, wrapped)
    os.close(held)
    assert found["pid"] != wrapped.pid
    assert found["descriptors"]["9"] == found["descriptors"]["3"] == str(tmp_path)
    for volatile in (bare, found):
        del volatile["pid"]
        # Each has a pipe of its own to this test.
        del volatile["descriptors"]["2"]
    assert found == bare


# What systemd does between fork and exec.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
for name in ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"):
    os.environ[name] = str(os.getpid())
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PIDFDID": "7"}
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is there only")
def test_a_listening_socket_from_systemd_is_the_commands(environment):
    # As sd_listen_fds and sd_watchdog_enabled look: the variables must name the caller.
    text = """
import os, socket
names = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
mine = [os.environ[name] == str(os.getpid()) for name in names]
print(mine, "LISTEN_PIDFDID" in os.environ, socket.socket(fileno=3).getsockname()[1])
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, handed = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-m", "beatward", "exec", "job", *python(text)]
        done = subprocess.run(
            [sys.executable, "-c", AS_SYSTEMD, str(handed), *command],
            env=environment,
            capture_output=True,
            pass_fds=(handed,),
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stdout == f"[True, True, True] False {port}\n", done.stderr


def test_variables_that_name_another_process_stay_as_they_are(beatward, environment):
    text = "import os; print(os.environ['LISTEN_PID'], os.environ['LISTEN_PIDFDID'])"
    wanted = {**environment, "LISTEN_PID": "1", "LISTEN_PIDFDID": "7"}
    assert beatward("exec", "job", *python(text), env=wanted).communicate()[0] == "1 7\n"


def test_arguments_that_are_no_utf_8_arrive_as_they_are_and_a_name_is_refused(beatward):
    odd = os.fsdecode(b"\xffa\xfe")
    text = "import os, sys; print(os.fsencode(sys.argv[1]).hex())"
    process = beatward("exec", "job", "-v", *python(text), odd)
    output, error = process.communicate(timeout=30)
    assert (output, "Traceback" in error) == ("ff61fe\n", False)
    process = beatward("exec", "job", "--", odd)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, "No such file or directory" in error) == (127, True)
    for arguments in (
        ("exec", odd, "--", "true"),
        ("exec", "job", "--label", odd, "--", "true"),
        ("exec", "job", "--label", f"a={odd}", "--", "true"),
        ("explain", odd),
    ):
        process = beatward(*arguments)
        _, error = process.communicate(timeout=30)
        assert process.returncode == 2, error
        assert "Traceback" not in error
        assert error.strip()


# --- signals ---

LISTENER = """
import signal, sys, time
def tell(number, frame):
    print(int(number), flush=True)
for number in signal.valid_signals():
    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
        signal.signal(number, tell)
print("runs", flush=True)
while True:
    signal.pause()
"""


def test_every_signal_that_a_process_can_catch_reaches_the_command(beatward):
    process = beatward("exec", "job", *python(LISTENER))
    assert process.stdout.readline() == "runs\n"
    stopping = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    never = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    for number in sorted(signal.valid_signals() - stopping - never):
        process.send_signal(number)
        assert process.stdout.readline() == f"{int(number)}\n"


def test_an_alarm_that_was_set_before_the_wrapper_began_ends_the_command(environment):
    # perl -e 'alarm 1; exec @ARGV' is how a time limit is set where there is no timeout(1).
    text = "import os, signal, sys; signal.alarm(1); os.execvp(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", text, sys.executable, "-m", "beatward", "exec", "job"]
    done = subprocess.run([*command, "--", "sleep", "60"], env=environment, timeout=30, check=False)
    assert done.returncode == 128 + signal.SIGALRM


def test_what_the_command_says_to_its_own_group_is_not_said_to_it_twice(beatward):
    text = """
import os, signal, time
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
signal.signal(signal.SIGUSR2, lambda *_: seen.append(2))
os.kill(0, signal.SIGUSR1)
print("said", flush=True)
while 2 not in seen:
    time.sleep(0.01)
print(seen.count(1), flush=True)
"""
    process = beatward("exec", "job", *python(text), process_group=0)
    assert process.stdout.readline() == "said\n"
    # Sent after the first one, and so passed on after it, had that been passed on.
    process.send_signal(signal.SIGUSR2)
    assert process.stdout.readline() == "1\n"


# --- restart loops ---


def test_a_restart_loop_of_clean_ends_is_told_here_and_to_the_monitor(monitor, beatward):
    arguments = ("exec", "job", "--restart", "always", "--backoff", "10ms")
    process = beatward(*arguments, "--", "sh", "-c", "exit 0")
    goodbyes = monitor.wait(
        lambda: (
            any(one.status == Farewell.EXITED for one in monitor.said("job", Kind.GOODBYE))
            and monitor.said("job", Kind.GOODBYE)
        )
    )
    lives = {one.incarnation: (one.status, one.cpu) for one in goodbyes}
    # Two clean ends are what a program does that wants to be started again; three are a loop.
    assert [*lives.values()][:2] == [(Farewell.LEFT, 0)] * 2
    assert [*lives.values()][2] == (Farewell.EXITED, 0)
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert error.count("restart loop: the last 3 runs have each ended within 60 s") == 1
