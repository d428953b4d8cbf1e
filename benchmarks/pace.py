"""What dividing a budget of heartbeats costs: python benchmarks/pace.py"""

import time

import numpy as np

from beatward.core.instants import SECOND
from beatward.core.intake import Via
from beatward.core.membership import Membership, MembershipSettings, Status
from beatward.core.pace import SLICE, Pace, PaceSettings
from beatward.core.registry import Registry

PASSES = 20


def fleet(count):
    """Return a pace over nodes that are alive at one heartbeat a second, without their names."""
    registry = Registry(bytes(32))
    while registry.capacity < count:
        registry._grow()  # noqa: SLF001  a million names would take longer than all the rest
    membership = Membership(MembershipSettings(), registry.capacity)
    registry.count = count
    registry.node[:count] = np.arange(1, count + 1)
    registry.interval_ms[:count] = 1000
    registry.via[:count] = Via.UDP
    membership.status[:count] = Status.ALIVE
    return Pace(PaceSettings(budget=count / 4), registry, membership)


def main():
    print(f"{'nodes':>10} {'a turn':>10} {'p99':>10} {'a second':>10}")
    for count in (1_000, 10_000, 100_000, 1_000_000):
        pace, turns, took = fleet(count), -(-count // SLICE), []
        for second in range(PASSES):
            for turn in range(turns):
                begun = time.perf_counter()
                pace.turn(second * SECOND + turn)
                took.append(time.perf_counter() - begun)
        warm = np.array(took[2 * turns :]) * 1e3
        print(
            f"{count:10,} {warm.mean():7.3f} ms {np.quantile(warm, 0.99):7.3f} ms "
            f"{warm.mean() * turns:7.1f} ms"
        )


if __name__ == "__main__":
    main()
