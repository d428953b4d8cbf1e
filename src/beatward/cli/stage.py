"""The demo's processes: one monitor and its nodes, started here, ended here, each by its pid.

A node is a process of its own that does nothing but beat. It leaves when it is told to, and by
itself when the demo is gone, so that a killed demo leaves nothing behind. The monitor's restart
action calls this very module: `python -m beatward.cli.stage start NAME ...`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from beatward import Heart
from beatward.errors import BeatwardError

Found = TypeVar("Found")

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_SETTINGS = """\
[monitor]
name = "demo"
udp = "127.0.0.1:0"
http = "127.0.0.1:0"
data = {data}

[action.restart]
kind = "exec"
command = {command}

[[rule]]
on = ["dead"]
actions = ["restart"]
"""


class Stage:
    """A folder, a monitor and nodes; use it as a context, so that all of it goes away again."""

    def __init__(self, interval: str) -> None:
        self._interval = interval
        self._temporary = tempfile.TemporaryDirectory(prefix="beatward-demo-")
        self.folder = Path(self._temporary.name)
        self.data = self.folder / "data"
        self._monitor: subprocess.Popen[bytes] | None = None
        self._nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start_monitor()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The monitor's address."""
        return str(json.loads((self.data / "local.json").read_text())["monitor"])

    @property
    def monitor_log(self) -> str:
        """What the monitor said so far."""
        return (self.folder / "monitor.log").read_text()

    def start_node(self, name: str) -> None:
        """Start the process of a node."""
        self._nodes.append(start(name, self.folder, self._interval, os.getpid()))

    def kill_node(self, name: str) -> int:
        """Kill a node as a crash would, and return its pid."""
        pid = _wait_until(lambda: _running(self.folder / f"{name}.pid"), f"the process of {name}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def check(self) -> None:
        """Raise BeatwardError when the monitor has ended by itself: there is no story without."""
        assert self._monitor is not None
        if self._monitor.poll() is not None:
            raise BeatwardError(f"the demo's monitor has ended: {self.monitor_log}")

    def close(self) -> None:
        """End all processes, nodes first so that they can say goodbye; remove the folder."""
        # A second Ctrl-C, or a terminal that is closed meanwhile, must leave no process behind.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
        self._end_nodes()
        if self._monitor is not None:
            self._monitor.terminate()
            try:
                self._monitor.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._monitor.kill()
                self._monitor.wait()
        self._temporary.cleanup()
        for number, handler in before.items():
            signal.signal(number, handler)

    def _end_nodes(self) -> None:
        """End the nodes that were started here, and those that the monitor has restarted."""
        paths = list(self.folder.glob("*.pid"))
        for path in paths:
            _signal(path, signal.SIGTERM)
        for node in self._nodes:
            node.terminate()

        def has_ended() -> bool:
            return not any(map(_running, paths)) and all(
                node.poll() is not None for node in self._nodes
            )

        with contextlib.suppress(BeatwardError):
            _wait_until(has_ended, "the end of the nodes", _STOP_SECONDS)
        for path in paths:
            _signal(path, signal.SIGKILL)
        for node in self._nodes:
            node.kill()
            node.wait()

    def _start_monitor(self) -> None:
        settings = self.folder / "beatward.toml"
        revive = _command("start", "{node}", str(self.folder), self._interval, str(os.getpid()))
        # JSON's strings and lists are TOML's too.
        settings.write_text(
            _SETTINGS.format(data=json.dumps(str(self.data)), command=json.dumps(revive))
        )
        with (self.folder / "monitor.log").open("wb") as log:
            self._monitor = subprocess.Popen(  # noqa: S603  our own interpreter and file
                [sys.executable, "-m", "beatward", "monitor", "-c", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the demo, which then ends the monitor in good order.
                start_new_session=True,
            )
        _wait_until(self._is_ready, "the monitor's start")

    def _is_ready(self) -> bool:
        self.check()
        return (self.data / "local.json").exists() and "listening" in self.monitor_log


def start(name: str, folder: Path, interval: str, demo_pid: int) -> subprocess.Popen[bytes]:
    """Start a node that outlives its caller; the demo finds it again by its pid file."""
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  our own interpreter and module
            _command("run", name, str(folder), interval, str(demo_pid)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run(name: str, folder: Path, interval: str, demo_pid: int) -> None:
    """Be a node: beat until told to stop, or until the demo is gone."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    fresh = folder / f"{name}.{os.getpid()}"
    fresh.write_text(str(os.getpid()))
    fresh.replace(folder / f"{name}.pid")
    with Heart(name, interval=interval, data=folder / "data"):
        while signal.sigtimedwait(signals, 0.5) is None and Path(f"/proc/{demo_pid}").exists():
            pass


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "beatward.cli.stage", *arguments]


def _running(path: Path) -> int | None:
    """Return the pid in a pid file if that process is a node of ours."""
    try:
        pid = int(path.read_text())
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    # A zombie has no command line, and a pid may have been given to another process.
    return pid if b"beatward.cli.stage" in command_line else None


def _signal(path: Path, number: signal.Signals) -> None:
    pid = _running(path)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_until(
    question: Callable[[], Found | None], what: str, seconds: float = _START_SECONDS
) -> Found:
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise BeatwardError(f"the demo waited {seconds:.0f} s for {what} in vain")
        time.sleep(0.01)
    return answer


def main(arguments: Sequence[str]) -> None:
    """Start or be a node: `start|run NAME FOLDER INTERVAL DEMO_PID`."""
    role, name, folder, interval, demo_pid = arguments
    deed = {"start": start, "run": run}[role]
    deed(name, Path(folder), interval, int(demo_pid))


if __name__ == "__main__":
    main(sys.argv[1:])
