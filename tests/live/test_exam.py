"""The entrance examination: the monitor is the one that stopped.

50 healthy nodes beat every 2 s with a time to live of 6 s, and one truly dies while the monitor is
frozen, or dead, for 15 s. etcd, ZooKeeper and Uptime Kuma condemn all 50 after a freeze; Consul,
Redis and Healthchecks after a restart. Here: none falsely dead, and the one found.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes

pytestmark = [pytest.mark.quiet, pytest.mark.real, pytest.mark.timeout(180)]

HEALTHY = [f"healthy-{number}" for number in range(50)]
DOOMED = "doomed"
AWAY_SECONDS = 15.0
FIXED = '[detector]\nkind = "fixed"\ntimeout = "6s"\n'
CHEN = ""


FREEZE, RESTART = "freeze", "restart"


@dataclass
class Candidate:
    """One examination: its own monitor and its own 51 nodes."""

    monitor: Monitor
    doomed_pid: int


CASES = [
    ("frozen-fixed", FIXED, FREEZE),
    ("frozen-chen", CHEN, FREEZE),
    ("restarted-fixed", FIXED, RESTART),
    ("restarted-chen", CHEN, RESTART),
]


@pytest.fixture
def examined(tmp_path: Path) -> Iterator[dict[str, Candidate]]:
    """All examinations side by side: four times 15 s of waiting are one."""
    with ExitStack() as stack:
        candidates = {}
        for name, settings, _ in CASES:
            monitor = stack.enter_context(Monitor(tmp_path / name, settings))
            stack.enter_context(nodes(monitor.data, HEALTHY, interval="2s"))
            doomed_pid = stack.enter_context(nodes(monitor.data, [DOOMED], interval="2s"))
            candidates[name] = Candidate(monitor, doomed_pid)
        for candidate in candidates.values():
            candidate.monitor.wait_status([*HEALTHY, DOOMED], "alive", timeout=60)
        # Three intervals, so that each node has been heard more than once.
        time.sleep(6.5)
        _send_all_away(candidates)
        for candidate in candidates.values():
            candidate.monitor.wait_status(DOOMED, "dead", timeout=45)
        # A wave of false verdicts would come with the true one; two more time-outs make sure.
        time.sleep(8.0)
        yield candidates


def _send_all_away(candidates: dict[str, Candidate]) -> None:
    """Take all monitors away at once, let one node of each die meanwhile, bring them back."""
    for name, _, leave in CASES:
        candidate = candidates[name]
        if leave == FREEZE:
            candidate.monitor.signal(signal.SIGSTOP)
        else:
            candidate.monitor.kill()
    left_at = time.monotonic()
    time.sleep(1.0)  # so that the death falls into the absence for certain
    for candidate in candidates.values():
        os.kill(candidate.doomed_pid, signal.SIGKILL)
    # The examination is an absence of this length; there is nothing else to wait for.
    time.sleep(AWAY_SECONDS - (time.monotonic() - left_at))
    for name, _, leave in CASES:
        candidate = candidates[name]
        if leave == FREEZE:
            candidate.monitor.signal(signal.SIGCONT)
        else:
            candidate.monitor.start()


def test_nobody_is_falsely_dead_and_the_dead_one_is_found(examined: dict[str, Candidate]) -> None:
    convicted = {
        name: {event["node"] for event in candidate.monitor.events() if event["status"] == "dead"}
        for name, candidate in examined.items()
    }
    assert convicted == {name: {DOOMED} for name, _, _ in CASES}
    for candidate in examined.values():
        candidate.monitor.wait_status(HEALTHY, "alive")
        verdict = candidate.monitor.get(f"/v1/nodes/{DOOMED}/explain")
        assert "dead" in str(verdict)
