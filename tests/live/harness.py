"""Real monitors and real nodes as processes on loopback, each ended by pid."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.waiting import wait_for

# Many hearts of one process, so that fifty nodes do not take a gigabyte.
_NODES = """
import signal, sys
from beatward import Heart

data, interval, *names = sys.argv[1:]
hearts = [Heart(name, interval=interval, data=data).start() for name in names]
print("started", flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
for heart in hearts:
    heart.stop()
"""


def free_address(kind: socket.SocketKind) -> str:
    """Return an address on loopback at which nobody listens."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class LiveMonitor:
    """`beatward monitor` in a process of its own, on ports of its own."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.data = folder / "data"
        self.settings = folder / "beatward.toml"
        self._process: subprocess.Popen[bytes] | None = None
        self.extra = settings
        # Chosen here and not by the kernel at each start, so that a restart finds its agents.
        self.http = free_address(socket.SOCK_STREAM)
        self.udp = free_address(socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def log(self) -> str:
        return (self.folder / "monitor.log").read_text()

    def start(self) -> Self:
        """Start, or start again on the same ports, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Tables of the caller come last, so that bare keys of ours stay in [monitor].
        self.settings.write_text(
            f'[monitor]\nudp = "{self.udp}"\nhttp = "{self.http}"\ndata = "{self.data}"\n'
            + self.extra
        )
        (self.data / "local.json").unlink(missing_ok=True)
        with (self.folder / "monitor.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "beatward", "monitor", "-c", str(self.settings)],
                stdout=log,
                stderr=log,
            )
        wait_for(self._is_ready, what=f"the monitor's start ({self.folder})")
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the monitor ended: {self.log}")
        try:
            local = json.loads((self.data / "local.json").read_text())
        except FileNotFoundError:
            return False
        self.api_token = local["api_token"]
        try:
            self.get("/healthz")
        except OSError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the monitor's process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    def stop(self) -> int:
        """End it in good order; returns the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the monitor did not stop: {self.log}") from None

    def get(self, path: str, *, timeout: float = 5.0) -> Any:
        """Return the JSON of an API path."""
        with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None, *, token: str = "", method: str = "POST") -> Any:
        """Send JSON with the operator's token, or another."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.api_token}",
                "Content-Type": "application/json",
            },
            method=method,
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return all events in the journal after an id."""
        found: list[dict[str, Any]] = []
        while page := self.get(f"/v1/events?after={after}&limit=1000")["events"]:
            found += page
            after = page[-1]["id"]
        return found

    def statuses(self) -> dict[str, str]:
        """Return the status of every node by its name."""
        return {node["name"]: node["status"] for node in self.get("/v1/nodes?limit=1000")["nodes"]}

    def wait_status(self, status: str, names: Sequence[str], *, timeout: float = 20.0) -> None:
        """Wait until all these nodes have a status."""
        wait_for(
            lambda: all(self.statuses().get(name) == status for name in names),
            timeout=timeout,
            what=f"{status} of {len(names)} nodes",
        )


@contextmanager
def nodes(data: Path, names: Sequence[str], *, interval: str = "500ms") -> Iterator[int]:
    """Run nodes in one process; yields its pid; they say goodbye at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _NODES, str(data), interval, *names], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        yield process.pid
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
