"""Nodes that have only their key come back by themselves, or are named with the reason."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Monitor, free_address
from tests.waiting import wait_for

from beatward.core.protocol import keys

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# Hearts of both kinds in one program; argv: the folder, and for each heart a JSON object.
_HEARTS = """
import asyncio, json, logging, signal, sys
from beatward import AsyncHeart, Heart
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
folder, *told = sys.argv[1:]
async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    hearts = []
    for one in map(json.loads, told):
        kind = {"Heart": Heart, "AsyncHeart": AsyncHeart}[one.pop("kind", "Heart")]
        heart = kind(data=folder, interval="100ms", **one)
        started = heart.start()
        if kind is AsyncHeart:
            await started
        hearts.append(heart)
    print("started", flush=True)
    await ended.wait()
    for heart in hearts:
        stopped = heart.stop()
        if stopped is not None:
            await stopped
asyncio.run(main())
"""


class Program:
    """One process of agents without a join token; `log` is what it has said."""

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path) -> None:
        self._process, self._path = process, path

    @property
    def log(self) -> str:
        return self._path.read_text()

    def wait(self) -> int:
        return self._process.wait(20)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def program(monitor: Monitor, folder: Path, *words: str) -> Iterator[Program]:
    """Run a command as a machine would that knows the monitor's HTTP address and has no token."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.monotonic_ns()}.log"
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("BEATWARD_")},
        "BEATWARD_MONITOR": monitor.url,
        "BEATWARD_DATA": str(folder),
    }
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, stdout=log, stderr=log
        )
    running = Program(process, path)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def hearts(monitor: Monitor, folder: Path, *told: dict[str, Any]) -> Iterator[Program]:
    """Run hearts; each is told as the keyword arguments of `Heart`."""
    words = ["-c", _HEARTS, str(folder), *map(json.dumps, told)]
    with program(monitor, folder, *words) as running:
        yield running


def enrol(monitor: Monitor, folder: Path, *told: dict[str, Any]) -> None:
    """Let nodes enrol with a join token once, beat, and leave; their keys are in `folder`."""
    token = json.loads((monitor.data / "local.json").read_text())["token"]
    with hearts(monitor, folder, *({**one, "token": token} for one in told)):
        monitor.wait_status([one["name"] for one in told], "alive")


def lose_journal(monitor: Monitor, *, keep: Sequence[str] = ("master.key",)) -> None:
    """End the monitor, take all but some files from its data folder, and start it again."""
    monitor.end()
    kept = {name: (monitor.data / name).read_bytes() for name in keep}
    shutil.rmtree(monitor.data)
    monitor.data.mkdir(mode=0o700)
    for name, data in kept.items():
        (monitor.data / name).write_bytes(data)
        (monitor.data / name).chmod(0o600)
    monitor.start()


def node(monitor: Monitor, name: str) -> dict[str, Any]:
    found: dict[str, Any] = monitor.get(f"/v1/nodes/{name}")
    return found


def unknown(monitor: Monitor, wanted: Callable[[dict[str, Any]], bool]) -> Callable[[], Any]:
    """Return a question: which unknown speaker that the monitor lists is as wanted?"""
    return lambda: next(filter(wanted, monitor.get("/v1/status")["unknown"]["speakers"]), None)


def command(monitor: Monitor, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "beatward", *words],
        env={**os.environ, "BEATWARD_DATA": str(monitor.data), "BEATWARD_MONITOR": monitor.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """One monitor; the tests of this file restart it and lose its files."""
    with Monitor(tmp_path_factory.mktemp("monitor"), 'start_grace = "2s"\n') as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the data folder of a machine of nodes."""
    return tmp_path / "nodes"


def test_nodes_without_a_token_come_back_to_a_monitor_that_has_lost_its_journal(
    monitor: Monitor, folder: Path
) -> None:
    told = [
        {"name": "lost-heart", "labels": {"zone": "a"}},
        {"name": "lost-async", "kind": "AsyncHeart", "labels": {"zone": "b"}},
        {"name": "lost-http", "transport": "http", "labels": {"zone": "c"}},
    ]
    names = [*(one["name"] for one in told), "lost-agent", "lost-exec"]
    enrol(monitor, folder, *told, {"name": "lost-agent"}, {"name": "lost-exec"})
    daemon = ("-m", "beatward", "agent", "--name", "lost-agent", "--interval", "100ms")
    wrapped = ("-m", "beatward", "exec", "lost-exec", "--interval", "100ms", "--", "sleep", "60")
    with ExitStack() as stack:
        stack.enter_context(hearts(monitor, folder, *told))
        stack.enter_context(program(monitor, folder, *daemon))
        stack.enter_context(program(monitor, folder, *wrapped))
        monitor.wait_status(names, "alive")
        lose_journal(monitor)
        monitor.wait_status(names, "alive")
        for one in told:
            wait_for(
                lambda one=one: node(monitor, one["name"])["labels"] == one["labels"],
                what=f"the labels of {one['name']}",
            )


def test_a_run_that_ends_at_once_is_told_to_a_monitor_that_has_lost_its_journal(
    monitor: Monitor, folder: Path
) -> None:
    job = ("-m", "beatward", "exec", "lost-job", "--every", "1h", "--", "sh", "-c", "exit 3")
    enrol(monitor, folder, {"name": "lost-job", "job": {"every": "1h"}})
    lose_journal(monitor)
    with program(monitor, folder, *job) as running:
        assert running.wait() == 3, running.log
    monitor.wait_status("lost-job", "failing")
    assert node(monitor, "lost-job")["job"]["exit_code"] == 3


def test_a_forgotten_node_that_has_only_its_key_is_told_and_listed_and_stays_forgotten(
    monitor: Monitor, folder: Path
) -> None:
    enrol(monitor, folder, {"name": "gone-1"})
    with hearts(monitor, folder, {"name": "gone-1"}) as running:
        monitor.wait_status("gone-1", "alive")
        done = command(monitor, "forget", "gone-1")
        assert "it enrols again by itself where it has a join token, and else" in done.stderr
        # The journal remembers it, so that a restart is no way back. (It also lets the node ask at
        # once whether it is heard; a node that nothing disturbs asks every ten seconds.)
        monitor.end()
        monitor.start()
        wait_for(
            lambda: "an operator has forgotten gone-1" in running.log,
            what="the agent's word of why it is not heard",
        )
        found = wait_for(
            unknown(monitor, lambda one: one["node"] == "gone-1" and one["via"] == "udp"),
            what="the monitor's list",
        )
        assert (found["forgotten"], found["key"]) == (True, "ours")
        assert found["address"].startswith("127.0.0.1:")
        shown = command(monitor, "status")
        assert shown.returncode == 1
        assert "was forgotten and still speaks" in shown.stdout
        assert "gone-1" in command(monitor, "doctor").stdout
        with urllib.request.urlopen(f"{monitor.url}/metrics", timeout=5) as answer:
            assert 'beatward_unknown_speakers{key="ours"} 1.0' in answer.read().decode()
        assert "gone-1" not in monitor.statuses()
    # A join token is the way back, as the message says.
    enrol(monitor, folder, {"name": "gone-1"})


def test_a_node_with_the_key_of_a_lost_master_key_is_told_and_listed(
    monitor: Monitor, folder: Path
) -> None:
    told = [{"name": "key-udp"}, {"name": "key-http", "transport": "http"}]
    enrol(monitor, folder, *told)
    master = (monitor.data / "master.key").read_bytes()
    secret = keys.ping_key(keys.node_key(master, keys.node_id("key-ping")))
    ping = f"{monitor.url}/ping/key-ping/{secret}"
    with hearts(monitor, folder, *told) as running:
        monitor.wait_status([one["name"] for one in told], "alive")
        lose_journal(monitor, keep=())
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(ping, timeout=5)
        wait_for(
            lambda: "does not know the key of key-udp" in running.log,
            what="the agent's word of why it is not heard",
        )
        for name, via in (("key-udp", "udp"), ("key-http", "http"), ("key-ping", "ping")):
            found = wait_for(
                unknown(monitor, lambda one, name=name: one["node"] == name),
                what=f"the monitor's word of {name}",
            )
            assert (found["via"], found["key"], found["forgotten"]) == (via, "other", False)
        assert not monitor.statuses()


def test_an_agent_finds_the_monitors_new_address_for_datagrams_by_the_http_address(
    monitor: Monitor, folder: Path
) -> None:
    enrol(monitor, folder, {"name": "moved-1"})
    with hearts(monitor, folder, {"name": "moved-1"}):
        monitor.wait_status("moved-1", "alive")
        monitor.end()
        monitor.udp = free_address(2)
        monitor.start()
        last = monitor.events()[-1]["id"]
        wait_for(
            lambda: (
                (node(monitor, "moved-1")["silent_ns"] or 10**12) < 10**9
                and node(monitor, "moved-1")["status"] == "alive"
            ),
            what="a heartbeat at the new address",
        )
        assert not [e for e in monitor.events(after=last) if e["event"] in ("joined", "forgotten")]
    # It has remembered the address: its next life begins there.
    state = json.loads((folder / "agent" / "moved-1.json").read_text())
    assert state["udp"] == monitor.udp


def test_changed_labels_are_declared_with_the_nodes_own_key(monitor: Monitor, folder: Path) -> None:
    enrol(monitor, folder, {"name": "label-1", "labels": {"zone": "a", "rack": "7"}})
    for labels in ({"zone": "b"}, {}):
        with hearts(monitor, folder, {"name": "label-1", "labels": labels}):
            wait_for(
                lambda labels=labels: node(monitor, "label-1")["labels"] == labels,
                what=f"the labels {labels}",
            )
    events = [one["event"] for one in monitor.events() if one["node"] == "label-1"]
    assert events.count("labelled") == 2


@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_life_with_a_number_below_the_known_one_is_believed(
    monitor: Monitor, folder: Path, transport: str
) -> None:
    name = f"board-{transport}"
    enrol(monitor, folder, {"name": name, "transport": transport})
    key = keys.node_key((monitor.data / "master.key").read_bytes(), keys.node_id(name))
    # A life of the future: to a board without a clock every life before its reboot is one.
    future = time.time_ns() // 1000 + 10**12
    beat = {"incarnation": future, "sequence": 0, "interval": "60s"}
    path, bearer = f"/v1/nodes/{name}/heartbeat", keys.bearer(key)
    echo = monitor.post(path, beat, token=bearer)["echo"]
    monitor.post(path, {**beat, "echo": echo}, token=bearer)
    wait_for(lambda: node(monitor, name)["incarnation"] == future, what="the life of the future")
    with hearts(monitor, folder, {"name": name, "transport": transport}):
        wait_for(lambda: node(monitor, name)["incarnation"] == future + 1, what="the life after it")
        monitor.wait_status(name, "alive")
    state = json.loads((folder / "agent" / f"{name}.json").read_text())
    assert state["incarnation"] == future + 1
