"""A monitor that really runs: the production program in a thread of ours, on ephemeral ports."""

import asyncio
import contextlib
import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.waiting import wait_for
from tests.web.members import Member, service

from beatward.config import Settings
from beatward.core.protocol import join, keys
from beatward.server.program import serve

PATIENCE_SECONDS = 15


@dataclass
class Running:
    """One monitor and how to ask it."""

    url: str
    data: Path
    master: bytes
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    thread: threading.Thread
    http: httpx2.Client = field(init=False)

    def __post_init__(self):
        self.http = httpx2.Client(base_url=self.url, timeout=10, trust_env=False)

    @property
    def api(self):
        return {"Authorization": f"Bearer {keys.api_token(self.master)}"}

    def key(self, name):
        return keys.node_key(self.master, keys.node_id(name))

    def bearer(self, name):
        return {"Authorization": f"Bearer {keys.bearer(self.key(name))}"}

    def ping_path(self, name):
        return f"/ping/{name}/{keys.ping_key(self.key(name))}"

    def ping(self, name, rest=""):
        answer = self.http.get(self.ping_path(name) + rest)
        assert answer.status_code == 200, answer.text

    def beat(self, name, **body):
        """Send a JSON heartbeat and return the answer, whatever it is."""
        path = f"/v1/nodes/{name}/heartbeat"
        return self.http.post(path, json=body, headers=self.bearer(name))

    def live(self, name, *, incarnation=1, sequence=0, **body):
        """Begin a life: the first heartbeat, and the same with the echo that it is told."""
        said = {"incarnation": incarnation, "sequence": sequence, "interval": "60s", **body}
        echo = self.beat(name, **said).json()["echo"]
        answer = self.beat(name, **{**said, "echo": echo})
        assert answer.status_code == 202, answer.text
        return echo

    def get(self, path, **parameters):
        answer = self.http.get(path, params=parameters, headers=self.api)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def node(self, name):
        answer = self.http.get(f"/v1/nodes/{name}", headers=self.api)
        return answer.json() if answer.status_code == 200 else None

    def wait_status(self, name, status):
        def has_it():
            node = self.node(name)
            return node if node and node["status"] == status else None

        return wait_for(has_it, f"{name} is {status}")

    def order(self, name, word):
        answer = self.http.post(f"/v1/nodes/{name}/{word}", headers=self.api)
        assert answer.status_code == 202, answer.text

    def toggle(self, name, times):
        """Make so many transitions of a node: paused, new, paused, ..."""
        for index in range(times):
            self.order(name, "resume" if index % 2 else "pause")

    def enrol(self, name, labels):
        """Enrol a node with labels, as its agent does."""
        asked = join.request(self.join_token(), name, b"0123456789abcdef")
        answer = self.http.post("/v1/join", json={**asdict(asked), "labels": labels})
        assert answer.status_code == 200, answer.text

    def join_token(self, **terms):
        return join.new_token(self.master, serial="test", **terms)

    def end(self):
        self.http.close()
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()


def run_monitor(data, **monitor):
    """Start a monitor and return it when it answers."""
    room = {"udp": "127.0.0.1:0", "http": "127.0.0.1:0", "data": data, **monitor}
    settings = Settings.model_validate({"monitor": room})
    ready = threading.Event()
    made = {}

    async def main():
        made["loop"], made["stop"] = asyncio.get_running_loop(), asyncio.Event()

        def on_ready(standing):
            made["standing"] = standing
            ready.set()

        try:
            await serve(settings, file="test", stop=made["stop"], on_ready=on_ready)
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="monitor")
    thread.start()
    assert ready.wait(PATIENCE_SECONDS)
    port = made["standing"].http.rpartition(":")[2]
    master = (data / "master.key").read_bytes()
    return Running(f"http://127.0.0.1:{port}", data, master, made["loop"], made["stop"], thread)


@pytest.fixture(scope="session")
def monitor(tmp_path_factory):
    """One monitor for all tests of this room; each test uses names of its own."""
    running = run_monitor(tmp_path_factory.mktemp("monitor"))
    yield running
    running.end()


@pytest.fixture(scope="session")
def open_monitor(tmp_path_factory):
    """A monitor whose HTTP listener others can reach, with single nodes in its metrics."""
    data = tmp_path_factory.mktemp("open")
    running = run_monitor(data, http="0.0.0.0:0", metrics_per_node=True)
    yield running
    running.end()


@pytest.fixture(scope="module")
def start_monitor(tmp_path_factory):
    """Start monitors that end with the module."""
    running = []

    def start(data=None, **monitor):
        running.append(run_monitor(data or tmp_path_factory.mktemp("more"), **monitor))
        return running[-1]

    yield start
    for one in running:
        one.end()


@pytest.fixture
def own_monitor(tmp_path):
    """A monitor that a test may end or disturb."""
    running = run_monitor(tmp_path / "data")
    yield running
    running.end()


@pytest.fixture
def slow_monitor(tmp_path):
    """A monitor whose wheel turns once a second, so that its inbox can be filled."""
    running = run_monitor(tmp_path / "data", tick="1s", pause_limit="3s")
    yield running
    running.end()


@pytest.fixture(scope="session")
def wait_until():
    return wait_for


@pytest.fixture
def problem():
    """Check that an answer is a problem of one kind, and return it."""

    def check(answer, status, kind):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = json.loads(answer.content)
        assert body["type"] == f"urn:beatward:problem:{kind}"
        assert body["status"] == status
        assert body["title"]
        assert body["detail"]
        return body

    return check


@pytest.fixture
def phase(monitor, wait_until):
    """Wait until a service is as it should be, and return it."""

    def wait(name, phase, **more):
        def has_it():
            found = service(monitor, name)
            wanted = {"phase": phase, **more}
            return found if found and wanted.items() <= found.items() else None

        return wait_until(has_it, f"{name} is {phase} {more}, not {service(monitor, name)}")

    return wait


@pytest.fixture
def seen(monitor, wait_until):
    """Wait until a member is shown as it should be, and return its service."""

    def wait(name, node, **wanted):
        def has_it():
            found = service(monitor, name)
            (member,) = [one for one in found["members"] if one["node"] == node]
            return found if wanted.items() <= member.items() else None

        return wait_until(has_it, f"{node} of {name} is {wanted}")

    return wait


@pytest.fixture
def members(monitor):
    """Make members; all of one service begin before any of them can be promoted."""
    made = []

    def make(name, *nodes, **offers):
        said = [offers.get(node.replace("-", "_"), {}) for node in nodes]
        for node, offer in zip(nodes, said, strict=True):
            made.append(Member(monitor.url, monitor.master, node, name, offer).start())
        return made[-len(nodes) :]

    yield make
    for member in made:
        member.end()
