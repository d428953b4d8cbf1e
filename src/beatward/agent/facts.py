"""How busy the machine is: cpu, memory and load, cheap enough for every heartbeat.

On Linux read from /proc by hand: 31 us a time against 66 to 116 us with psutil (agents in
benchmarks/agent.py). Elsewhere psutil is asked if it is installed, and otherwise what is not
known is left out. Inside a container these are the host's numbers, as /proc there has them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_PROC = Path("/proc")


class Facts(Protocol):
    """Something that can be asked before each heartbeat."""

    def __call__(self) -> Mapping[str, float]:
        """Return any of `cpu` and `memory` in percent and `load`, as a heart's `measure`."""


def facts(proc: Path = _PROC) -> Facts:
    """Return the best there is on this system."""
    if (proc / "stat").exists():
        return ProcFacts(proc)
    try:
        import psutil  # noqa: F401, PLC0415  only to see whether it is there
    except ImportError:
        return _load
    return PsutilFacts()


class ProcFacts:
    """Linux. Cpu is the share of time since the last call in which the processors had work."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._stat = proc / "stat"
        self._meminfo = proc / "meminfo"
        self._busy, self._total = _cpu_ticks(self._stat)

    def __call__(self) -> Mapping[str, float]:
        """Measure now."""
        found = dict(_load())
        busy, total = _cpu_ticks(self._stat)
        spent = total - self._total
        # Idle and iowait may step back by a tick on some kernels.
        share = (busy - self._busy) / spent if spent > 0 else 0.0
        self._busy, self._total = busy, total
        found["cpu"] = 100 * min(max(share, 0.0), 1.0)
        memory = _memory_share(self._meminfo)
        if memory is not None:
            found["memory"] = 100 * memory
        return found


class PsutilFacts:
    """Other systems."""

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415  an extra that most agents do not have

        self._psutil = psutil
        psutil.cpu_percent(None)

    def __call__(self) -> Mapping[str, float]:
        """Measure now."""
        cpu = min(max(self._psutil.cpu_percent(None), 0.0), 100.0)
        memory = self._psutil.virtual_memory().percent
        return {**_load(), "cpu": cpu, "memory": memory}


def _load() -> Mapping[str, float]:
    try:
        # The wire carries hundredths in 16 bits.
        return {"load": min(os.getloadavg()[0], 655.0)}
    except (AttributeError, OSError):
        return {}


def _cpu_ticks(stat: Path) -> tuple[int, int]:
    """Return (busy, all) ticks of all processors since the machine started."""
    with stat.open("rb") as file:
        # user nice system idle iowait irq softirq steal; guest times are inside user and nice.
        ticks = [int(text) for text in file.readline().split()[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _memory_share(meminfo: Path) -> float | None:
    """Return what part of the memory is not available for new work."""
    total = available = None
    with meminfo.open("rb") as file:
        for line in file:
            if line.startswith(b"MemTotal:"):
                total = int(line.split()[1])
            elif line.startswith(b"MemAvailable:"):
                available = int(line.split()[1])
                break
    if not total or available is None:
        return None
    return min(max(1 - available / total, 0.0), 1.0)
