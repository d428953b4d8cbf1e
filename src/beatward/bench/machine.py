"""What Linux says of a process and of the machine: processor time, memory, drops.

Strangers' processor time stands beside every figure: on a machine that others use as well, a
figure without it cannot be judged.
"""

import contextlib
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beatward.core.tags import FASTEST

_CPUCLOCK_SCHED = 2
_TICKS = os.sysconf("SC_CLK_TCK")
# /proc/stat: user nice system idle iowait irq softirq steal, then guests that are in user already.
_IDLE, _WAITING, _COUNTED = 3, 4, 8


def describe() -> dict[str, Any]:
    """Return what a reader needs to know of the machine to place the figures."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "linux": platform.release(),
        "python": platform.python_version(),
        "tags": FASTEST.name,
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process, all its threads that are and were."""
    # The clock of another process, as clock_getcpuclockid() builds its number: /proc knows the
    # same time in hundredths of a second only, a tenth of what a short step is to measure.
    return time.clock_gettime_ns((~process << 3) | _CPUCLOCK_SCHED) / 1e9


def waiting_seconds(process: int) -> float:
    """Return how long the threads of a process, together, were ready to run and had no core."""
    waited_ns = 0
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            waited_ns += int((thread / "schedstat").read_text("utf-8").split()[1])
    return waited_ns / 1e9


def wake_ups(process: int) -> int:
    """Return how often the threads of a process that are have waited for something so far."""
    count = 0
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines = (thread / "status").read_text("utf-8").splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return count


def below(process: int) -> list[int]:
    """Return the processes that a process has started, and they, each after its parent."""
    # Each thread has children of its own.
    threads = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(word) for thread in threads for word in thread.read_text("utf-8").split()]
    return [each for child in children for each in (child, *below(child))]


def busy_seconds() -> float:
    """Return the processor time that the machine has spent on anything."""
    values = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:]
    all_of_it = sum(map(int, values[:_COUNTED]))
    return (all_of_it - int(values[_IDLE]) - int(values[_WAITING])) / _TICKS


def memory_bytes(process: int) -> tuple[int, int]:
    """Return (resident now, resident at most) of a process."""
    with Path(f"/proc/{process}/status").open(encoding="utf-8") as file:
        rows = dict(line.split(":", 1) for line in file)
    return int(rows["VmRSS"].split()[0]) * 1024, int(rows["VmHWM"].split()[0]) * 1024


def receive_buffer_errors() -> int:
    """Return how many datagrams this network namespace threw away for want of buffer, ever."""
    errors = 0
    for path, names in (("/proc/net/snmp", "Udp:"), ("/proc/net/snmp6", "Udp6RcvbufErrors")):
        try:
            lines = Path(path).read_text("utf-8").splitlines()
        except OSError:
            continue  # IPv6 may be switched off
        rows = [line.split() for line in lines if line.startswith(names)]
        if names == "Udp:":
            errors += int(dict(zip(*rows, strict=True))["RcvbufErrors"])
        else:
            errors += sum(int(row[1]) for row in rows)
    return errors


@dataclass(frozen=True, slots=True)
class Used:
    """What was used between two looks, in cores: by each process, by strangers, and `waited`,
    how much of a core the first process would have used and did not get.
    """

    cores: dict[int, float]
    strangers: float
    waited: float


class Meter:
    """Processor time between two looks: that of some processes, and that of strangers."""

    def __init__(self, processes: Iterable[int], now_s: float) -> None:
        self._processes = tuple(processes)
        self._begun = now_s, *self._read()

    def _read(self) -> tuple[dict[int, float], float, float]:
        used = {each: cpu_seconds(each) for each in self._processes}
        return used, busy_seconds(), waiting_seconds(self._processes[0])

    def look(self, now_s: float) -> Used:
        """Return what was used since the start; this process is a stranger if it was not named."""
        begun_s, cpu, busy, waited = self._begun
        cpu_now, busy_now, waited_now = self._read()
        wall_s = now_s - begun_s
        cores = {each: (cpu_now[each] - cpu[each]) / wall_s for each in self._processes}
        strangers = max((busy_now - busy) / wall_s - sum(cores.values()), 0.0)
        return Used(cores, strangers, (waited_now - waited) / wall_s)
