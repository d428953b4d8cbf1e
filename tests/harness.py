"""A monitor that really runs, how tests ask it, and the nodes that beat to it.

It is the production program: in a process of its own, or in a thread of ours, which starts ten
times as fast and cannot be killed. It may be ended and started again on the same ports.
"""

import asyncio
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx2

from beatward.config import load
from beatward.core.protocol import join, keys
from beatward.server.program import serve

from .joining import joined
from .waiting import PATIENCE_SECONDS, wait_for

# Ports below those that the kernel gives to whoever asks for any (32768 and more on Linux): what
# another test opens meanwhile cannot take one between its choice and its use. The workers of a
# parallel run begin far from each other.
_PORTS = range(10_000, 32_000)
_chosen = itertools.count(os.getpid() * 499)

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
    """Return an address on loopback at which no program listens."""
    while True:
        address = ("127.0.0.1", _PORTS[next(_chosen) % len(_PORTS)])
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind(address)
            return "{}:{}".format(*address)


class _Process:
    """`beatward monitor` in a process of its own, of which `log` holds all that it prints."""

    def __init__(self, settings: Path, log: Path, file_size_max: int | None) -> None:
        def restrict() -> None:
            if file_size_max is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, file_size_max))

        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "beatward", "monitor", "-c", str(settings)],
                stdout=out,
                stderr=out,
                preexec_fn=restrict,  # noqa: PLW1509  no thread of ours holds a lock here
            )

    @property
    def is_over(self) -> bool:
        return self.popen.poll() is not None

    def end(self) -> int:
        """End it in good order, also where it was frozen; returns its exit code."""
        if not self.is_over:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise


class _Thread:
    """The same program in a thread of ours."""

    def __init__(self, settings: Path) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="monitor")
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await serve(load(self._settings), file="test", stop=self._stop, on_ready=lambda _: None)

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> int:
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)
        assert self.is_over
        return 0


class Monitor:
    """One monitor on ports of its own, with its settings and its data in a folder.

    settings    TOML that follows the keys of [monitor]; read again at each start, as are `udp`
                and `address`
    host        where its HTTP listens; it is asked at 127.0.0.1 in any case
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        *,
        host: str = "127.0.0.1",
        file_size_max: int | None = None,
        in_thread: bool = False,
    ) -> None:
        self.folder, self.data = folder, folder / "data"
        self.settings = settings
        self.udp = free_address(socket.SOCK_DGRAM)
        self.address = free_address(socket.SOCK_STREAM).replace("127.0.0.1", host)
        # No connection outlives its answer, for it may be to a monitor that was ended since.
        self.http = httpx2.Client(
            base_url=self.url,
            timeout=10,
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        self._file_size_max = file_size_max
        self._in_thread = in_thread
        self._running: _Process | _Thread | None = None

    # --- its life ---

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()
        self.http.close()

    def start(self) -> Self:
        """Start it, or start it again on the same ports, and wait until it answers."""
        assert self._running is None
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "settings.toml"
        path.write_text(
            f'[monitor]\nudp = "{self.udp}"\nhttp = "{self.address}"\ndata = "{self.data}"\n'
            + self.settings,
            "utf-8",
        )
        (self.data / "local.json").unlink(missing_ok=True)
        if self._in_thread:
            self._running = _Thread(path)
        else:
            self._running = _Process(path, self._log, self._file_size_max)
        try:
            wait_for(self._is_ready, f"the start of the monitor in {self.folder}", timeout=60)
        except BaseException:
            self.end()
            raise
        return self

    def _is_ready(self) -> bool:
        assert self._running is not None
        if self._running.is_over:
            raise AssertionError(f"the monitor ended: {self.log}")
        try:
            return bool(self.local) and self.http.get("/healthz").status_code == 200
        except (FileNotFoundError, httpx2.TransportError):
            return False

    def end(self) -> int:
        """End it in good order, if it runs; returns its exit code."""
        running, self._running = self._running, None
        return 0 if running is None else running.end()

    def kill(self) -> None:
        """End its process as a crash would."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._running = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process."""
        self._process.send_signal(number)

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert isinstance(self._running, _Process)
        return self._running.popen

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _log(self) -> Path:
        return self.folder / "monitor.log"

    @property
    def log(self) -> str:
        """All that its processes have printed."""
        return self._log.read_text("utf-8") if self._log.exists() else ""

    # --- its secrets ---

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def local(self) -> dict[str, str]:
        """What it leaves in its folder for the commands of this machine."""
        found: dict[str, str] = json.loads((self.data / "local.json").read_text("utf-8"))
        return found

    @property
    def master(self) -> bytes:
        return (self.data / "master.key").read_bytes()

    @property
    def api_token(self) -> str:
        return self.local["api_token"]

    @property
    def api(self) -> dict[str, str]:
        """The headers of an operator."""
        return {"Authorization": f"Bearer {self.api_token}"}

    def key(self, name: str) -> bytes:
        return keys.node_key(self.master, keys.node_id(name))

    def bearer(self, name: str) -> dict[str, str]:
        """The headers of a node."""
        return {"Authorization": f"Bearer {keys.bearer(self.key(name))}"}

    def join_token(self, **terms: Any) -> str:
        return join.new_token(self.master, serial="test", **terms)

    # --- what operators ask and order ---

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON of a path; raises httpx2.HTTPStatusError where it is refused."""
        answer = self.http.get(path, params=parameters or None, headers=self.api)
        return answer.raise_for_status().json()

    def post(self, path: str, body: Any = None, *, token: str = "", method: str = "POST") -> Any:
        """Send JSON with the operator's token, or another; raises as `get` does."""
        headers = {"Authorization": f"Bearer {token or self.api_token}"}
        answer = self.http.request(method, path, json=body, headers=headers).raise_for_status()
        return answer.json() if answer.content else None

    def order(self, name: str, word: str) -> None:
        self.post(f"/v1/nodes/{name}/{word}")

    def toggle(self, name: str, times: int) -> None:
        """Make that many transitions of a node: paused, new, paused, ..."""
        for index in range(times):
            self.order(name, "resume" if index % 2 else "pause")

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return all events in the journal after an id."""
        found: list[dict[str, Any]] = []
        while page := self.get("/v1/events", after=after, limit=1000)["events"]:
            found += page
            after = page[-1]["id"]
        return found

    def node(self, name: str) -> dict[str, Any] | None:
        answer = self.http.get(f"/v1/nodes/{name}", headers=self.api)
        return answer.json() if answer.status_code == 200 else None

    def statuses(self) -> dict[str, str]:
        """Return the status of every node by its name."""
        return {node["name"]: node["status"] for node in self.get("/v1/nodes", limit=1000)["nodes"]}

    def wait_status(
        self, names: str | Sequence[str], status: str, *, timeout: float = PATIENCE_SECONDS
    ) -> dict[str, Any] | None:
        """Wait until a node, or each of several, has a status; returns the one node."""
        if isinstance(names, str):

            def is_so() -> dict[str, Any] | None:
                node = self.node(names)
                return node if node and node["status"] == status else None

            return wait_for(is_so, f"{names} is {status}", timeout=timeout)

        def are_so() -> bool:
            found = self.statuses()
            return all(found.get(name) == status for name in names)

        wait_for(are_so, f"{len(names)} nodes are {status}", timeout=timeout)
        return None

    # --- what nodes say ---

    def ping_path(self, name: str) -> str:
        return f"/ping/{name}/{keys.ping_key(self.key(name))}"

    def ping(self, name: str, rest: str = "") -> None:
        answer = self.http.get(self.ping_path(name) + rest)
        assert answer.status_code == 200, answer.text

    def beat(self, name: str, **body: Any) -> httpx2.Response:
        """Send a JSON heartbeat and return the answer, whatever it is."""
        path = f"/v1/nodes/{name}/heartbeat"
        return self.http.post(path, json=body, headers=self.bearer(name))

    def live(self, name: str, *, incarnation: int = 1, sequence: int = 0, **body: Any) -> int:
        """Begin a life: the first heartbeat, and the same with the echo of its answer."""
        beat = {"incarnation": incarnation, "sequence": sequence, "interval": "60s", **body}
        echo: int = self.beat(name, **beat).json()["echo"]
        answer = self.beat(name, **{**beat, "echo": echo})
        assert answer.status_code == 202, answer.text
        return echo

    def exits(self, name: str, code: int) -> None:
        """Let a node beat, and say that its program has ended with a code."""
        life: dict[str, Any] = {"incarnation": time.time_ns() // 1000, "interval": "1d"}
        life["echo"] = self.live(name, **life)
        self.wait_status(name, "alive")
        answer = self.beat(name, **life, sequence=1, kind="goodbye", exit_code=code)
        assert answer.status_code == 202, answer.text
        self.wait_status(name, "dead")

    def enrol(self, name: str, labels: dict[str, str]) -> None:
        """Enrol a node with labels, as its agent does."""
        joined(self.http, self.join_token(replaces=True), name, labels=labels)


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
