"""What a known node costs in memory, and how long a monitor takes to know them all again.

Each count is a monitor of its own, started on a journal that holds the fleet, whose every node has
beaten once: memory that was reserved and never touched would not show. What a monitor without
nodes takes is subtracted.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beatward.bench import machine, subject
from beatward.bench.report import BenchCheck, BenchReport, BenchTable, Tell, number

_AIM_BYTES = 250
# A monitor that is not asked lets its last snapshot go after five seconds.
_UNTIL_IDLE = 7.0


def measure(counts: Sequence[int], seconds: float, folder: Path, tell: Tell) -> BenchReport:
    """Measure each count of nodes, and an empty monitor before them.

    seconds   between the last heartbeat and the looks. The first is taken while a client asks the
              API, so a snapshot of all nodes belongs to the price; the second when no client does
    """
    rows: list[dict[str, Any]] = []
    alone = 0
    for index, count in enumerate((1, *sorted(counts))):
        tell(f"{count:,} nodes", index / (len(counts) + 1))
        here = folder / str(count) if index else folder / "alone"
        here.mkdir()
        row = _one(count, here, seconds)
        if index == 0:
            alone = row["resident_bytes"]
            continue
        per_node = (row["resident_bytes"] - alone) / count
        asked = (row["resident_asked_bytes"] - alone) / count
        more = {"bytes_per_node": round(per_node, 1), "asked_bytes_per_node": round(asked, 1)}
        rows.append({**row, **more})
    figures = {"alone_bytes": alone, "aim_bytes_per_node": _AIM_BYTES, "counts": rows}
    known = all(row["alive"] == row["nodes"] for row in rows)
    table = BenchTable(
        ("nodes", "resident MB", "at most MB", "bytes a node", "while asked", "ready after s"),
        (
            ("none", number(alone / 1e6, 1), "", "", "", ""),
            *(
                (
                    number(row["nodes"]),
                    number(row["resident_bytes"] / 1e6, 1),
                    number(row["resident_max_bytes"] / 1e6, 1),
                    number(row["bytes_per_node"]),
                    number(row["asked_bytes_per_node"]),
                    number(row["ready_s"], 1),
                )
                for row in rows
            ),
        ),
    )
    text = ", ".join(f"{row['alive']:,}" for row in rows)
    promise = BenchCheck("every node was known again and heard", known, text)
    return BenchReport("memory", machine.describe(), figures, (table,), (promise,))


def _one(count: int, folder: Path, seconds: float) -> dict[str, Any]:
    with subject.scene(folder, count) as scene:
        scene.wake(count)
        time.sleep(seconds)
        alive = scene.subject.counts().alive
        asked, _ = machine.memory_bytes(scene.subject.process_id)
        time.sleep(_UNTIL_IDLE)
        resident, most = machine.memory_bytes(scene.subject.process_id)
        return {
            "nodes": count,
            "alive": alive,
            "resident_bytes": resident,
            "resident_asked_bytes": asked,
            "resident_max_bytes": most,
            "ready_s": round(scene.ready_s, 3),
        }
