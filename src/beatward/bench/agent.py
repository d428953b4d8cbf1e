"""What an agent costs its node: memory, and processor time for a heartbeat at real pacing.

Each row is a process of its own that beats against a monitor, measured after it has settled, from
inside. `shared` is the part of its memory that comes from files (the interpreter, OpenSSL), which
all processes of a node have in common. Processor time is that of all threads, with caches as cold
as they are between two heartbeats.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from beatward.bench import fleet, machine, subject
from beatward.bench.report import BenchCheck, BenchFailed, BenchReport, BenchTable, Tell, number
from beatward.core.instants import SECOND, format_duration

_NAME = "bench-1"
# Imports, enrolment and the first acknowledgements are over by then.
_SETTLE_SECONDS = 2.0
_SNAPSHOT_SECONDS = 0.5
_SILENT = "interpreter alone"
_ENROLLING = f"""
from beatward import Heart
heart = Heart({_NAME!r}).start()
heart.wait_acknowledged()
"""
# Run in the measured process, around whatever beats there.
_METER = f"""
import json, os, time
def status():
    with open("/proc/self/status") as file:
        rows = dict(line.split(":", 1) for line in file)
    size = lambda key: int(rows[key].split()[0]) * 1024
    return {{
        "resident_bytes": size("VmRSS"),
        "shared_bytes": size("RssFile"),
        "threads": int(rows["Threads"]),
    }}
def measure(seconds, interval):
    time.sleep({_SETTLE_SECONDS})
    before, began = time.process_time_ns(), time.monotonic()
    time.sleep(seconds)
    spent, took = time.process_time_ns() - before, time.monotonic() - began
    print(json.dumps({{**status(), "heartbeat_us": spent / 1000 / (took / interval)}}), flush=True)
    os._exit(0)
"""
_BEATING = """
from beatward import Heart
heart = Heart({name!r}, interval={interval!r}{more})
heart.start()
measure({seconds}, {interval_s})
"""
_COMMAND = """
import sys, threading
from beatward.cli import main
sys.argv = ["beatward", {words}]
threading.Thread(target=measure, args=({seconds}, {interval_s}), daemon=True).start()
main()
"""
ROWS = {
    _SILENT: "measure({seconds}, {interval_s})",
    "Heart": _BEATING,
    "Heart, enrolled in this very process": "import os, shutil\n"
    "shutil.rmtree(os.environ['BEATWARD_DATA'])\n" + _BEATING,
    "Heart over HTTP": _BEATING.replace("{more}", ", transport='http'"),
    "Heart with metrics": "from beatward.agent.system_metrics import system_metrics\n"
    + _BEATING.replace("{more}", ", measure=system_metrics()"),
    "AsyncHeart": """
import asyncio, threading
from beatward import AsyncHeart
async def main():
    async with AsyncHeart({name!r}, interval={interval!r}):
        await asyncio.sleep({seconds} + 60)
threading.Thread(target=measure, args=({seconds}, {interval_s}), daemon=True).start()
asyncio.run(main())
""",
    "beatward agent": _COMMAND.replace(
        "{words}", '"agent", "--name", {name!r}, "--interval", {interval!r}'
    ),
    "beatward exec -- sleep": _COMMAND.replace(
        "{words}", '"exec", {name!r}, "--interval", {interval!r}, "--", "sleep", "300"'
    ),
}


def measure(
    interval_ns: int, seconds: float, folder: Path, tell: Tell, *, only: tuple[str, ...] = ()
) -> BenchReport:
    """Measure each row, or only some, for a number of seconds."""
    names = only or tuple(ROWS)
    rows: list[dict[str, Any]] = []
    fleet.settle(folder / "data", 1)
    with subject.running(folder) as monitor:
        for index, name in enumerate(names):
            tell(name, index / len(names))
            rows.append({"row": name, **_one(monitor, name, interval_ns, seconds)})
    heard = sum(row["accepted"] > 0 for row in rows if row["row"] != _SILENT)
    wanted = sum(row["row"] != _SILENT for row in rows)
    promise = BenchCheck("every agent was heard", heard == wanted, f"{heard} of {wanted}")
    figures = {"interval_ns": interval_ns, "seconds": seconds, "rows": rows}
    return BenchReport("agent", machine.describe(), figures, (_table(rows),), (promise,))


def _one(monitor: subject.Subject, name: str, interval_ns: int, seconds: float) -> dict[str, Any]:
    """Run one row in a process of its own, with a credential from an earlier life."""
    interval = format_duration(interval_ns).replace(" ", "")
    with tempfile.TemporaryDirectory() as data:
        environment = {
            **os.environ,
            "BEATWARD_MONITOR": monitor.url,
            "BEATWARD_TOKEN": monitor.join_token,
            "BEATWARD_DATA": data,
        }
        if name != _SILENT:
            _run(_ENROLLING, environment, 60)
        before = _settled(monitor)
        text = _METER + ROWS[name].format(
            name=_NAME,
            interval=interval,
            interval_s=interval_ns / SECOND,
            seconds=seconds,
            more="",
        )
        found: dict[str, Any] = json.loads(_run(text, environment, seconds + 60).splitlines()[-1])
        return {**found, "accepted": _settled(monitor) - before}


def _settled(monitor: subject.Subject) -> int:
    """Return how many heartbeats were accepted, once a snapshot has seen the last of them."""
    time.sleep(_SNAPSHOT_SECONDS)
    return monitor.counts().accepted


def _run(text: str, environment: dict[str, str], seconds: float) -> str:
    try:
        done = subprocess.run(  # noqa: S603  the programs above
            [sys.executable, "-c", text],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.SubprocessError as error:
        output = getattr(error, "stderr", "") or ""
        raise BenchFailed(f"an agent did not run: {error}: {str(output)[-1000:]}") from error
    return done.stdout


def _table(rows: list[dict[str, Any]]) -> BenchTable:
    return BenchTable(
        ("", "resident MB", "shared MB", "threads", "us/heartbeat"),
        tuple(
            (
                row["row"],
                number(row["resident_bytes"] / 1e6, 1),
                number(row["shared_bytes"] / 1e6, 1),
                str(row["threads"]),
                number(row["heartbeat_us"]),
            )
            for row in rows
        ),
    )
