"""What a monitor costs while little happens: processor time, wake-ups, turns; and what agents cost.

Each count of nodes is a monitor of its own, whose nodes beat once a second, one datagram each.
The API is not asked meanwhile: a reader has snapshots made for five seconds. A wake-up is counted
each time that a thread of the process has waited and runs again; between them a machine saves
power. The agents are processes as users run them; one of them holds a role, so it has a guardian,
and that one a shadow.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beatward.bench import fleet, ingest, machine, sender, subject
from beatward.bench.report import BenchCheck, BenchFailed, BenchReport, BenchTable, Tell, number

# A monitor that is not asked lets its last snapshot go after five seconds.
_UNTIL_IDLE_SECONDS = 6.5
_AGENT_SECONDS = 3.0
_PATIENCE_SECONDS = 20.0
# Percent of a core, by count of nodes.
_AIMS = {0: 0.5, 100: 1.0, 1000: 2.0}
_SERVICE = "bench"
_SETTINGS = f"""[service.{_SERVICE}]
mode = "failover"
promote = ["true"]
demote = ["true"]
stop = ["true"]
"""


def measure(
    counts: Sequence[int], seconds: float, folder: Path, tell: Tell, *, agents: bool = True
) -> BenchReport:
    """Measure each count of nodes for a number of seconds, and agents if wanted."""
    rows: list[dict[str, Any]] = []
    parts = len(counts) + agents
    for index, count in enumerate(sorted(counts)):
        tell(f"{count:,} nodes", index / parts)
        here = folder / f"nodes-{count}"
        here.mkdir()
        rows.append({"nodes": count, **of_monitor(count, here, seconds)})
    if agents:
        tell("agents", len(counts) / parts)
        here = folder / "agents"
        here.mkdir()
        rows += _agents(here, seconds)
    tables = tuple(
        BenchTable((title, "% of a core", "wake-ups/s", "turns/s", "resident MB", "others"), lines)
        for title, lines in (
            ("nodes", _lines(rows, "nodes")),
            ("process", _lines(rows, "process")),
        )
        if lines
    )
    heard = all(row["accepted"] > 0 for row in rows if row.get("nodes"))
    promise = BenchCheck("every monitor heard its nodes", heard, "yes" if heard else "no")
    figures = {"seconds": seconds, "rows": rows, "aims_percent": _AIMS}
    return BenchReport("idle", machine.describe(), figures, tables, (promise,))


def _lines(rows: Sequence[dict[str, Any]], key: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            number(row[key]) if key == "nodes" else str(row[key]),
            number(row["percent"], 3),
            number(row["wake_ups"], 1),
            number(row.get("turns"), 1),
            number(row["resident_bytes"] / 1e6, 1),
            number(row["strangers_cores"], 2),
        )
        for row in rows
        if key in row
    )


def of_monitor(
    count: int, folder: Path, seconds: float, *, python: str = sys.executable
) -> dict[str, Any]:
    """Measure a monitor of a number of nodes; `python`: of the installation that is meant."""
    if not count:
        with subject.running(folder, python=python) as monitor:
            time.sleep(_UNTIL_IDLE_SECONDS)
            return {**_look(monitor, monitor.process_id, seconds), "accepted": 0}
    with subject.scene(folder, count, python=python) as scene:
        scene.wake(count)
        scene.sender.begin(sender.pace_of(count, count, ask_ns=ingest.ASK_NS))
        time.sleep(_UNTIL_IDLE_SECONDS)
        found = _look(scene.subject, scene.subject.process_id, seconds)
        sent = scene.sender.end()
        accepted = scene.subject.wait_for(sent.records).accepted
        return {**found, "accepted": accepted - count}


def _look(monitor: subject.Subject, process: int, seconds: float) -> dict[str, Any]:
    """Watch one process for a number of seconds, and count the turns of its monitor."""
    turns, woken = monitor.turns(), machine.wake_ups(process)
    begun = time.monotonic()
    meter = machine.Meter([process], begun)
    time.sleep(seconds)
    now = time.monotonic()
    used = meter.look(now)
    resident, _ = machine.memory_bytes(process)
    return {
        "percent": round(100 * used.cores[process], 4),
        "wake_ups": round((machine.wake_ups(process) - woken) / (now - begun), 2),
        "turns": round((monitor.turns() - turns) / (now - begun), 2),
        "resident_bytes": resident,
        "strangers_cores": round(used.strangers, 3),
    }


def _agents(folder: Path, seconds: float) -> list[dict[str, Any]]:
    fleet.settle(folder / "data", 1)
    rows = []
    with subject.running(folder) as monitor:
        for name, settings in (("agent", ""), ("agent that holds a role", _SETTINGS)):
            with _agent(monitor, folder / name, settings) as process:
                time.sleep(_AGENT_SECONDS)
                if settings:
                    _wait_held(monitor)
                family = [process, *machine.below(process)]
                names = [name, "its guardian's shadow", "its guardian", *["more"] * len(family)]
                for title, one in zip(names, family, strict=False):
                    row = _look(monitor, one, seconds)
                    del row["turns"]
                    rows.append({"process": title, **row})
    return rows


@contextmanager
def _agent(monitor: subject.Subject, folder: Path, settings: str) -> Iterator[int]:
    folder.mkdir()
    path = folder / "agent.toml"
    path.write_text(settings, "utf-8")
    environment = {
        **os.environ,
        "BEATWARD_MONITOR": monitor.url,
        "BEATWARD_TOKEN": monitor.join_token,
        "BEATWARD_DATA": str(folder),
    }
    command = [*(sys.executable, "-m", "beatward", "agent"), "--config", str(path)]
    command += ["--name", "bench-1", "--interval", "1s"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
    try:
        yield process.pid
        if process.poll() is not None:
            text = (folder / "log").read_text("utf-8")[-1000:]
            raise BenchFailed(f"an agent ended by itself: {text}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE_SECONDS)


def _wait_held(monitor: subject.Subject) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while json.loads(monitor.text(f"/v1/services/{_SERVICE}")).get("phase") != "held":
        if time.monotonic() > until:
            raise BenchFailed(f"no node took the role: {monitor.text(f'/v1/services/{_SERVICE}')}")
        time.sleep(0.1)
