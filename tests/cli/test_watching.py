"""watch and events --follow: nothing lost, nothing twice, also when the monitor restarts."""

import contextlib
import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time

import pytest


class Watching:
    """A command that prints one event a line, read as it comes."""

    def __init__(self, arguments, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beatward", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self, count):
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def end(self):
        """Press Ctrl-C; returns (exit code, what came on stderr)."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=10)
        return self.process.returncode, err


@pytest.fixture
def start(environment):
    started = []

    def begin(*arguments):
        started.append(Watching(map(str, arguments), environment()))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("command", [("watch",), ("events", "--follow", "--limit", "1000")])
def test_a_restart_of_the_monitor_loses_and_doubles_nothing(make_monitor, start, command):
    running = make_monitor()
    running.ping("w-1")
    running.wait_status("w-1", "alive")
    watching = start(*command, "--after", "0", "--json", "--monitor", running.url)
    found = watching.read(3)
    running.end()
    running.start()  # at the same port, with the same journal
    running.wait_status("w-1", "alive")
    for word in ("pause", "resume"):
        running.order("w-1", word)
    found += watching.read(3)
    code, err = watching.end()
    assert [event["id"] for event in found] == [1, 2, 3, 4, 5, 6]
    assert [event["status"] for event in found[-2:]] == ["paused", "new"]
    assert code == 0
    assert "trying again behind event 3" in err
    assert err.count("the stream goes on") == 1


def test_json_lines_have_stable_keys(monitor, start):
    watching = start("watch", "--after", "0", "--json", "--monitor", monitor.url)
    (event,) = watching.read(1)
    watching.end()
    assert list(event) == [
        *("id", "event", "at", "node", "status", "cause", "explanation", "action", "outcome"),
        "detail",
    ]


def test_watch_begins_with_what_happens_next(monitor, start, beatward):
    monitor.ping("w-2")
    monitor.wait_status("w-2", "alive")
    watching = start("watch", "--json", "--node", "w-2", "--monitor", monitor.url)
    # On a busy machine the command begins late; so something goes on happening until it follows.
    is_seen = threading.Event()

    def go_on():
        for word in itertools.cycle(("pause", "resume")):
            monitor.order("w-2", word)
            if is_seen.wait(0.3):
                return

    teller = threading.Thread(target=go_on)
    teller.start()
    (event,) = watching.read(1)
    is_seen.set()
    teller.join()
    assert event["node"] == "w-2"
    assert event["cause"] in ("pause", "resume")
    assert watching.end()[0] == 0


class Terminal:
    """A command on a terminal of 100 columns and 30 lines."""

    def __init__(self, arguments, environment):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child
            os.environ.clear()
            os.environ.update(environment)
            os.execv(sys.executable, [sys.executable, "-m", "beatward", *arguments])
        self.seen = ""

    def wait_for(self, text):
        end = time.monotonic() + 20
        while text not in self.plain():
            assert time.monotonic() < end, f"{text!r} did not appear in:\n{self.plain()}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                self.seen += os.read(self.descriptor, 65536).decode("utf-8", "replace")

    def plain(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)

    def press(self, keys):
        os.write(self.descriptor, keys)

    def end(self):
        """Read to the end and return the exit code."""
        with contextlib.suppress(OSError):  # the terminal of a process that has ended
            while chunk := os.read(self.descriptor, 65536):
                self.seen += chunk.decode("utf-8", "replace")
        _, status = os.waitpid(self.pid, 0)
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(status)


def test_watch_on_a_terminal_is_a_screen_that_keeps_up(make_monitor, environment):
    running = make_monitor()
    running.ping("w-3")
    running.wait_status("w-3", "alive")
    terminal = Terminal(
        ["watch", "--monitor", running.url],
        environment(TERM="xterm-256color", COLUMNS="100", LINES="30"),
    )
    terminal.wait_for("w-3 is alive")
    terminal.wait_for("1 alive")
    running.order("w-3", "pause")
    terminal.wait_for("w-3 is paused")
    terminal.wait_for("1 paused")
    running.end()
    terminal.wait_for("trying again behind event")
    running.start()
    running.ping("w-4")
    terminal.wait_for("w-4 was enrolled")
    terminal.press(b"\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen
    assert "\x1b[?1049l" in terminal.seen  # the screen that was there before is back
