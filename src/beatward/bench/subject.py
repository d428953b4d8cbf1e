"""What is measured: `beatward monitor` in a process of its own, on a scratch folder and free ports.

Everything users have is on: every tag is checked, the detector learns, the journal is on disk, the
API answers. Only the receive buffer is larger and the start grace longer than by default, because
a fleet that is woken in one burst is not what is measured.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beatward.bench import fleet, sender
from beatward.bench.report import BenchFailed
from beatward.values import split_address

TICK_NS = 5_000_000
RECEIVE_BUFFER = 64 * 1024 * 1024
_LISTENING = "heartbeats on udp "
# A million known nodes take tens of seconds to load.
_READY_SECONDS = 300.0
_STOP_SECONDS = 60.0
# Slow enough for a monitor that meets each of these lives for the first time.
_WAKING_RATE = 20_000.0
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Counts:
    """What the monitor says of itself, as of `at_s` on its own clock."""

    at_s: float
    accepted: int
    refused: int
    drops: int
    alive: int
    total: int
    last_event: int


def unaccounted(sent: sender.Sent, counts: Counts, per_datagram: int) -> int:
    """Return how many records were sent and neither accepted, refused nor dropped.

    Below 0: more were taken than sent.

    The kernel counts datagrams that it drops and not the records in them, so where some were
    dropped all is well when what is missing fits between one and `per_datagram` for each.
    """
    missing = sent.records - counts.accepted - counts.refused
    return missing - min(max(missing, counts.drops), counts.drops * per_datagram)


class Subject:
    """A running monitor. All methods ask it over HTTP, as any client would."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process_id = process.pid
        self.data = folder / "data"
        log = (folder / "monitor.log").read_text("utf-8")
        self.udp = split_address(log.partition(_LISTENING)[2].partition(",")[0])
        local = json.loads((self.data / "local.json").read_text("utf-8"))
        self.url = str(local["monitor"])
        self.api_token = str(local["api_token"])
        self.join_token = str(local["token"])

    @property
    def http(self) -> tuple[str, int]:
        """Where the API is."""
        return split_address(self.url.removeprefix("http://"))

    def get(self, path: str) -> Any:
        """Return the JSON of a path."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """Return what a path answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:  # noqa: S310  ours
                body: bytes = answer.read()
                return body.decode()
        except (OSError, urllib.error.URLError) as error:
            raise BenchFailed(f"the monitor does not answer {path}: {error}") from error

    def post(self, path: str, body: Any, *, bearer: str) -> Any:
        """Send JSON with a bearer token and return the answer's."""
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310  ours
            self.url + path, json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def counts(self) -> Counts:
        """Return its counters, of its newest snapshot."""
        status = self.get("/v1/status")
        counters, nodes = status["counters"], status["nodes"]
        return Counts(
            status["running_ns"] / 1e9,
            counters["accepted"],
            sum(status["rejects"].values()),
            counters["kernel_drops"],
            nodes["alive"],
            nodes["total"],
            status["last_event"],
        )

    def wait_for(self, records: int, seconds: float = 20.0) -> Counts:
        """Wait until a number of records were taken, refused or dropped; return the last counters.

        Who calls compares: what is missing after this time is lost.
        """
        until = time.monotonic() + seconds
        while True:
            counts = self.counts()
            if counts.accepted + counts.refused + counts.drops >= records:
                return counts
            if time.monotonic() > until:
                return counts
            time.sleep(0.1)

    def wait_until_written(self, seconds: float) -> None:
        """Wait until the journal holds all that has happened so far."""
        until = time.monotonic() + seconds
        while waiting := self.get("/healthz")["journal"]["waiting"]:
            if time.monotonic() > until:
                raise BenchFailed(f"{waiting} entries still wait for the journal")
            time.sleep(0.1)

    def turns(self) -> int:
        """Return how many turns it has taken; to ask this makes it do nothing more than answer."""
        return int(self.get("/healthz")["wheel"]["turns"])

    def wheel(self) -> tuple[int, float]:
        """Return (turns, seconds spent in them) so far, as /metrics has them."""
        rows = dict(
            line.rsplit(" ", 1)
            for line in self.text("/metrics").splitlines()
            if line.startswith("beatward_wheel_turn_seconds_")
        )
        name = "beatward_wheel_turn_seconds"
        return int(float(rows[f"{name}_count"])), float(rows[f"{name}_sum"])


@dataclass(frozen=True, slots=True)
class Scene:
    """A monitor that knows a fleet, the fleet's sender, and how long the monitor's start took."""

    subject: Subject
    sender: sender.SenderProcess
    ready_s: float

    @property
    def processes(self) -> tuple[int, int]:
        """The monitor's process and the sender's."""
        return self.subject.process_id, self.sender.process_id

    def wake(self, nodes: int) -> None:
        """Let every node beat once, promising to be back in an hour; wait until all are known."""
        sent = self.sender.begin(sender.SendPace(_WAKING_RATE, _HOUR_MS, 20, rounds=1))
        sent = self.sender.wait_silent(nodes / _WAKING_RATE + 30)
        counts = self.subject.wait_for(sent.records, nodes / 10_000 + 30)
        if counts.alive < nodes or counts.accepted < nodes:
            raise BenchFailed(f"of {nodes} nodes not all came alive: {counts}")
        # That they came alive is written down, a fact each; it would be measured with the rest.
        self.subject.wait_until_written(nodes / 2_000 + 30)


@contextmanager
def scene(
    folder: Path, nodes: int, *, settings: str = "", python: str = sys.executable
) -> Iterator[Scene]:
    """Run a monitor that knows a number of nodes, and a sender for them, aimed at it.

    folder     an empty one; the data of the monitor are left in it
    settings   further lines of the settings file, after those of [monitor]
    python     of the installation that is to be measured
    """
    known = fleet.settle(folder / "data", nodes).save(folder)
    begun = time.monotonic()
    with running(folder, settings=settings, python=python) as subject:
        ready_s = time.monotonic() - begun
        with sender.running(known) as hands:
            hands.aim(subject.udp, proving=True)
            yield Scene(subject, hands, ready_s)


@contextmanager
def running(folder: Path, *, settings: str = "", python: str = sys.executable) -> Iterator[Subject]:
    """Run a monitor on `folder`/data; it has ended in order when the context ends."""
    path, log = folder / "beatward.toml", folder / "monitor.log"
    path.write_text(
        f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\ndata = "{folder / "data"}"\n'
        f'receive_buffer = {RECEIVE_BUFFER}\ntick = "{TICK_NS // 1_000_000}ms"\n'
        f'start_grace = "15m"\n{settings}',
        "utf-8",
    )
    command = [python, "-m", "beatward", "monitor", "-c", str(path)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)  # noqa: S603  ourselves
    try:
        _wait_ready(process, log)
        yield Subject(process, folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while _LISTENING not in log.read_text("utf-8"):
        if process.poll() is not None or time.monotonic() > until:
            raise BenchFailed(f"the monitor did not start: {log.read_text('utf-8')[-2000:]}")
        time.sleep(0.02)
