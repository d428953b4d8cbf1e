"""The monitor doubts itself and the masses: a thousand real nodes of one process, on loopback.

Zones are written into the scratch journal beside the nodes, as if they had been enrolled with them.
"""

import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.harness import Monitor, nodes
from tests.waiting import wait_for

from beatward.bench.fleet import JOURNAL_FILE, name_of, settle
from beatward.bench.sender import SHUFFLE_SEED, SenderProcess, SendPace, running

pytestmark = [pytest.mark.quiet, pytest.mark.real, pytest.mark.timeout(150)]

COUNT = 1000
# One heartbeat a second of each.
RATE = 1000
FOR_EVER_S = 1e9
RULES = """
start_grace = "4s"
[action.page]
kind = "exec"
command = ["true"]
destructive = false
[action.restart]
kind = "exec"
command = ["true"]
[[rule]]
on = ["dead"]
actions = ["page", "restart"]
"""


class Fleet:
    """A monitor with a thousand nodes that beat once a second."""

    def __init__(self, monitor: Monitor, sender: SenderProcess) -> None:
        self.monitor = monitor
        self.sender = sender

    def beat(self, stops: np.ndarray | None = None) -> None:
        """Let all of them beat; `stops` are the seconds after which each is silent for good."""
        # The sender keeps its nodes in an order of its own.
        order = np.random.default_rng(SHUFFLE_SEED).permutation(COUNT)
        mine = None if stops is None else stops[order]
        self.sender.begin(SendPace(RATE, interval_ms=1000, stops=mine))

    def statuses(self) -> Counter[str]:
        return Counter({k: v for k, v in self.monitor.get("/v1/status")["nodes"].items() if v})

    def wait_all_alive(self) -> None:
        """Wait until every node was heard ten times, and so has a margin of its own."""
        wait_for(
            lambda: self.monitor.get("/v1/status")["counters"]["accepted"] >= 10 * COUNT,
            timeout=40,
            what="ten heartbeats of each",
        )
        assert self.statuses() == {"total": COUNT, "alive": COUNT}

    def events(self) -> list[dict]:
        return self.monitor.events()

    def guards(self) -> list[str]:
        return [event["cause"] for event in self.events() if event["event"] == "guard"]

    def actions(self) -> Counter[str]:
        return Counter(e["action"] for e in self.events() if e["event"] == "action")

    def done(self) -> Counter[str]:
        return Counter(e["action"] for e in self.events() if e["event"] == "outcome")


@contextmanager
def fleet(folder: Path, zones: dict[str, int]) -> Iterator[Fleet]:
    """Start a monitor that knows a thousand nodes, so many of them in each zone."""
    monitor = Monitor(folder, RULES)
    path = settle(monitor.data, COUNT).save(folder)
    in_zone = [zone for zone, count in zones.items() for _ in range(count)]
    journal = sqlite3.connect(monitor.data / JOURNAL_FILE)
    with journal:
        journal.executemany(
            "UPDATE nodes SET labels = ? WHERE name = ?",
            [(json.dumps({"zone": zone}), name_of(i)) for i, zone in enumerate(in_zone)],
        )
    journal.close()
    with monitor, running(path) as sender:
        host, _, port = monitor.udp.rpartition(":")
        sender.aim((host, int(port)), proving=True)
        yield Fleet(monitor, sender)


def silenced(numbers: range, after_s: float) -> np.ndarray:
    """Return when each stops: some after so many seconds, the others never."""
    stops = np.full(COUNT, FOR_EVER_S)
    stops[numbers] = after_s
    return stops


def test_a_monitor_that_stood_still_for_ten_seconds_accuses_nobody_and_finds_the_dead(
    tmp_path: Path,
) -> None:
    with fleet(tmp_path, {"a": 500, "b": 500}) as some:
        some.beat(silenced(range(17, 18), 14.0))
        some.wait_all_alive()
        wait_for(lambda: some.sender.look().records >= 12 * COUNT, what="twelve rounds")
        some.monitor.signal(signal.SIGSTOP)
        time.sleep(10)  # the length of the freeze; node 17 stops in the middle of it
        some.monitor.signal(signal.SIGCONT)
        some.monitor.wait_status(name_of(17), "dead", timeout=20)
        time.sleep(3)  # nothing is to happen: as long as anybody wrongly suspected would need
        assert some.statuses() == {"total": COUNT, "alive": COUNT - 1, "dead": 1}
        dead = [e["node"] for e in some.events() if e["status"] == "dead" and not e["action"]]
        assert dead == [name_of(17)]
        assert "own_pause" in some.guards()
        wait_for(lambda: some.done() == {"page": 1, "restart": 1}, what="its page and restart")


def test_sixty_percent_of_a_zone_go_dark_and_nothing_is_restarted(tmp_path: Path) -> None:
    with fleet(tmp_path, {"a": 100, "b": 900}) as some:
        some.beat(silenced(range(60), 12.0))
        some.wait_all_alive()
        wait_for(lambda: some.statuses()["dead"] == 60, timeout=30, what="sixty verdicts")
        wait_for(lambda: some.done()["page"], what="the alarm")
        time.sleep(3)  # nothing is to happen: the restarts would have begun long ago
        # A few may go dark only after it has begun: then they are told of as additions.
        begun, *grown = some.guards()
        assert begun == "mass_failure"
        assert set(grown) <= {"mass_failure_grown"}
        told = [event["detail"]["count"] for event in some.events() if event["event"] == "guard"]
        assert sum(told) == 60
        assert some.done()["restart"] == 0
        assert some.actions()["restart"] == 60
        # One for all, and perhaps one each for the first few: they might have been the only ones.
        assert 1 <= some.done()["page"] <= 5
        status = some.monitor.get("/v1/status")
        assert status["health"]["status"] == "degraded"
        (hold,) = status["guards"]
        assert (hold["cause"], hold["zone"], hold["dark"], hold["total"]) == (
            "mass_failure",
            "a",
            60,
            100,
        )
        assert status["actions"]["guarded"] == 60
        explained = some.monitor.get(f"/v1/nodes/{name_of(3)}/explain")
        assert "60 of 100 nodes of zone a went dark at once" in explained["sentence"]
        # An operator knows better; the rate holds all the same.
        some.monitor.post("/v1/guard/lift", {"zone": "a"})
        wait_for(lambda: some.done()["restart"] >= 10, what="a minute's worth of restarts")
        wait_for(
            lambda: some.monitor.get("/v1/status")["actions"]["guarded"] == 50,
            what="fifty that wait for their turn",
        )


def test_a_monitor_that_nobody_reaches_holds_nobody_for_dead(tmp_path: Path) -> None:
    with fleet(tmp_path, {"a": 500, "b": 500}) as some:
        some.beat(silenced(range(COUNT), 12.0))
        some.wait_all_alive()
        wait_for(lambda: some.statuses()["suspect"] == COUNT, timeout=30, what="suspicions")
        wait_for(lambda: some.done()["page"], what="the alarm")
        time.sleep(5)  # nothing is to happen: five probing windows without an answer
        assert some.statuses() == {"total": COUNT, "suspect": COUNT}
        assert some.guards() == ["cut_off"]
        assert some.actions() == {"page": 1}
        health = some.monitor.get("/v1/status")["health"]
        assert "the monitor itself seems cut off" in health["reasons"][0]
        # The cable is in again, but for one node that has died meanwhile.
        some.beat(silenced(range(5, 6), 0.0))
        wait_for(lambda: some.statuses()["alive"] == COUNT - 1, timeout=30, what="their return")
        some.monitor.wait_status(name_of(5), "dead")
        assert some.guards() == ["cut_off", "cut_off_over"]
        dead = [e["node"] for e in some.events() if e["status"] == "dead" and not e["action"]]
        assert dead == [name_of(5)]


def test_a_restart_of_the_monitor_kills_nobody(tmp_path: Path) -> None:
    names = [f"web-{number}" for number in range(50)]
    with Monitor(tmp_path / "monitor", RULES) as monitor, nodes(monitor.data, names):
        monitor.wait_status(names, "alive")
        for end in (monitor.kill, monitor.end):
            end()
            time.sleep(4)  # so long it is away; every node has missed eight heartbeats
            monitor.start()
            time.sleep(7)  # its start grace, a time-out and a window
            assert set(monitor.statuses().values()) == {"alive"}
        assert not [event for event in monitor.events() if event["status"] == "dead"]
