"""A monitor with little to do does little: counted in turns and wake-ups of real processes."""

import time
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes

pytestmark = pytest.mark.real

# Something of the monitor's that happens once a second is then seen twice.
SECONDS = 2.0


def wake_ups(pid: int) -> int:
    """Return how often the threads of a process have begun to wait so far, all together."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        found += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return found


def counted(monitor: Monitor) -> tuple[float, float]:
    """Return (turns, wake-ups) a second, over some seconds in which nobody asks anything."""

    def look() -> tuple[int, int, float]:
        # Not /metrics and not /v1: whoever asks for the fleet has snapshots made for 5 s.
        turns = monitor.get("/healthz")["wheel"]["turns"]
        return turns, wake_ups(monitor.pid), time.monotonic()

    turns, woken, begun = look()
    time.sleep(SECONDS)  # the rate in real time is what is measured
    turns_after, woken_after, ended = look()
    took = ended - begun
    return (turns_after - turns) / took, (woken_after - woken) / took


def test_a_monitor_takes_few_turns_and_lets_the_processor_sleep(tmp_path: Path) -> None:
    names = [f"web-{number}" for number in range(100)]
    with Monitor(tmp_path) as monitor:
        turns, woken = counted(monitor)
        assert turns < 15, f"{turns:.0f} turns a second without a node"
        assert woken < 60, f"{woken:.0f} wake-ups a second without a node"
        with nodes(monitor.data, names, interval="1s"):
            monitor.wait_status(names, "alive")
            turns, woken = counted(monitor)
            assert turns < 50, f"{turns:.0f} turns a second for 100 heartbeats"
            assert woken < 150, f"{woken:.0f} wake-ups a second for 100 heartbeats"
