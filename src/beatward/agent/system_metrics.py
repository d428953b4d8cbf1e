"""How busy the machine is: cpu, memory and load, cheap enough for every heartbeat.

On Linux read from /proc by hand: half of what psutil takes (`beatward bench agent`). Elsewhere
psutil is asked if it is installed, and otherwise what is not known is left out. Inside a container
these are the host's numbers, as /proc there has them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_PROC = Path("/proc")


class SystemMetrics(Protocol):
    """Something that can be asked before each heartbeat."""

    def __call__(self) -> Mapping[str, float]:
        """Return any of `cpu` and `memory` in percent and `load`, as a heart's `measure`."""


def system_metrics(proc: Path = _PROC) -> SystemMetrics:
    """Return the best there is on this system."""
    if (proc / "stat").exists():
        return ProcMetrics(proc)
    try:
        import psutil  # noqa: F401, PLC0415  only to see whether it is there
    except ImportError:
        return _load
    return PsutilMetrics()


class ProcMetrics:
    """Linux. Cpu is the share of time since the last call in which the processors had work."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._stat = str(proc / "stat")
        self._meminfo = str(proc / "meminfo")
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


class PsutilMetrics:
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


def _cpu_ticks(stat: str) -> tuple[int, int]:
    """Return (busy, all) ticks of all processors since the machine started."""
    # user nice system idle iowait irq softirq steal; guest times are inside user and nice.
    ticks = [int(text) for text in _read(stat).partition(b"\n")[0].split()[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _memory_share(meminfo: str) -> float | None:
    """Return what part of the memory is not available for new work."""
    sizes = {
        key: int(rest.split(None, 1)[0])
        for key, _, rest in (line.partition(b":") for line in _read(meminfo).splitlines()[:5])
        if key in (b"MemTotal", b"MemAvailable")
    }
    total, available = sizes.get(b"MemTotal"), sizes.get(b"MemAvailable")
    if not total or available is None:
        return None
    return min(max(1 - available / total, 0.0), 1.0)


def _read(path: str) -> bytes:
    # Both files begin with what is wanted, so one read of a page is enough; a file object would
    # cost as much again.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 4096)
    finally:
        os.close(handle)
