"""Compare what the core costs with what it cost before: ratios of one run, not times.

    python benchmarks/regression.py [--write]

Each figure is processor time divided by that of a plain task on the same machine in the same
minute, so it says what our code does and not how fast the machine is; the lowest of several
rounds counts. `regression.json` holds the figures of when it was last written. One that has grown
beyond SLACK times that fails, exit code 1; `--write` takes today's for the next time.
"""

import argparse
import hashlib
import hmac
import json
import sys
import time
from pathlib import Path

import numpy as np

from beatward.core.entry import Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import RECORD, Datagrams, Via
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Join
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.record import BODY_SIZE, MAGIC, VERSION, Kind

# Twice is no noise; a machine with smaller caches may come to 1.5.
SLACK = 2.0
FILE = Path(__file__).with_suffix(".json")
MASTER, SESSION, START = bytes(range(32)), 77, 1_000 * SECOND
PEER = bytes([2, 0, 0x1C, 0x3B, 127, 0, 0, 1]).ljust(PEER_SIZE, b"\0")
BATCH, TICK_NS = 8192, 5 * MILLISECOND
WARM, ROUNDS = 18, 12  # heartbeats of each node before the first that is measured, and after


class Fleet:
    """A monitor with so many nodes, and what each stage of their lives cost a node."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.now_ns = START
        self.monitor = Monitor(CoreSettings(), master=MASTER, session=SESSION)
        self.monitor.restore(Recovered(), START)
        self.join_ns = self._spent(self._join) / nodes
        self.peers = np.tile(np.frombuffer(PEER, np.uint8), (nodes, 1))
        registry = self.monitor.snapshot(START).state.registry
        self.rows = np.zeros((nodes, 64), np.uint8)
        self.records = self.rows.view(RECORD).reshape(-1)
        self.records["head"] = int.from_bytes(MAGIC + bytes((VERSION, Kind.HEARTBEAT)), "little")
        self.records["node"] = registry.node[:nodes]
        self.records["slot"] = np.arange(nodes)
        self.records["incarnation"], self.records["interval_ms"] = 1_700_000_000_000_000, 1000
        self.records["echo"] = SESSION
        self.heartbeat_ns = min(self._round(number) for number in range(WARM + ROUNDS))
        self.turn_ns = min(self._spent(self._turn) for _ in range(50)) / nodes
        self.death_ns = self._fall_silent(nodes // 10)

    def _spent(self, task, *given):
        begun = time.process_time_ns()
        task(*given)
        return time.process_time_ns() - begun

    def _turn(self, **inputs):
        return self.monitor.step(
            Inputs(watermark_ns=self.now_ns, drained_ns=self.now_ns, journaled=10**9, **inputs)
        )

    def _join(self):
        for begin in range(0, self.nodes, 1000):
            self.now_ns += TICK_NS
            names = range(begin, min(begin + 1000, self.nodes))
            self._turn(orders=tuple(Join(f"node-{name}") for name in names))

    def _round(self, number):
        """Let every node beat once, and a second pass; return nanoseconds a heartbeat."""
        next_ns = self.now_ns + SECOND
        spent = self._beat(number, np.arange(self.nodes))
        list(self._ticks(next_ns))
        return spent / self.nodes if number >= WARM else float("inf")

    def _ticks(self, until_ns):
        """Let time pass in ticks, for longer steps look like pauses of ours."""
        while self.now_ns < until_ns:
            self.now_ns += TICK_NS
            begun = time.process_time_ns()
            entries = self._turn().entries
            yield time.process_time_ns() - begun, entries

    def overload(self, each):
        """Return what a heartbeat costs where a drain has several of each node, to one where it has
        as many of different nodes.
        """
        first, count = self.nodes // 10, each * BATCH
        once, often = [], []
        for number in range(WARM + ROUNDS + 10, WARM + ROUNDS + 10 + 6 * (each + 1), each + 1):
            self.now_ns += SECOND
            once.append(self._beat(number, np.arange(first, first + count), batch=count))
            numbers = number + 1 + np.repeat(np.arange(each), BATCH)
            slots = np.tile(np.arange(first, first + BATCH), each)
            often.append(self._beat(numbers, slots, batch=count))
        return min(often) / min(once)

    def _beat(self, number, slots, *, batch=BATCH):
        """Let nodes beat, once each `batch`; return the nanoseconds that it took."""
        registry = self.monitor.state.registry
        rows = self.rows[slots]
        rows.view(RECORD)[:, 0]["sequence"] = number
        rows[:, BODY_SIZE:] = registry.tags.seal(rows[:, :BODY_SIZE], slots, registry.secret)
        batches = [rows[begin : begin + batch] for begin in range(0, len(rows), batch)]
        spent = 0
        for part in batches:
            self.now_ns += TICK_NS
            count = len(part)
            datagrams = Datagrams(
                part,
                np.full(count, 64),
                self.peers[:count],
                np.full(count, self.now_ns - MILLISECOND),
                Via.UDP,
            )
            spent += self._spent(lambda given=datagrams: self._turn(datagrams=(given,)))
        return spent

    def _fall_silent(self, count):
        """Let so many nodes die, too few to be a mass failure; return nanoseconds a death."""
        living, spent, told = np.arange(count, self.nodes), 0, 0
        for number in range(WARM + ROUNDS, WARM + ROUNDS + 10):
            next_ns = self.now_ns + SECOND
            self._beat(number, living)
            # Early the first time, so that what is due of the others falls between the beats.
            early_ns = 300 * MILLISECOND if number == WARM + ROUNDS else 0
            for took, entries in self._ticks(next_ns - early_ns):
                spent += took if entries else 0
                told += len(entries)
        assert told >= count, f"{told} entries of {count} deaths"
        return 2 * spent / told


def hmac_ns():
    """Return what one tag by the standard library costs."""
    key, body, count = bytes(32), bytes(BODY_SIZE), 20_000
    rounds = []
    for _ in range(5):
        begun = time.process_time_ns()
        for _ in range(count):
            hmac.digest(key, body, hashlib.sha256().name)
        rounds.append((time.process_time_ns() - begun) / count)
    return min(rounds)


def state_bytes(monitor):
    """Return the bytes of all arrays that are written for a node that is well, a slot.

    Rows that nobody writes take no memory: IPv6, addresses that moved, windows, probes, deaths.
    """
    state = monitor.state
    holders = (state.registry, state.registry.peers, state.membership, state.detector)
    unused = (
        *("_tail", "_tail_before", "_head_before", "wish_ms"),
        *("window_ends_ns", "probes_sent", "challenge", "answer_by_ns", "deaths", "died_ns"),
    )
    quality = state.quality.first.itemsize + state.quality.jitter.itemsize
    return quality + sum(
        value.nbytes / len(value)
        for holder in holders
        for name, value in vars(holder).items()
        if isinstance(value, np.ndarray) and len(value) and name not in unused
    )


def measure():
    """Return {figure: ratio}."""
    small, large = Fleet(5_000), Fleet(100_000)
    tag_ns = hmac_ns()
    return {
        "heartbeat, in tags of hmac": large.heartbeat_ns / tag_ns,
        "heartbeat of 100,000 nodes to one of 5,000": large.heartbeat_ns / small.heartbeat_ns,
        "heartbeat, eight of each node in a drain, to one": large.overload(8),
        "a thousand nodes in an idle turn, in tags": 1000 * large.turn_ns / tag_ns,
        "join, in tags": large.join_ns / tag_ns,
        "death, with its two entries, in tags": large.death_ns / tag_ns,
        "bytes of state a node, of 250": state_bytes(large.monitor) / 250,
    }


def main():
    """Measure, compare, and say so."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--write", action="store_true", help="take these for the next time")
    wish = options.parse_args()
    found = measure()
    known = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    worse = [name for name, ratio in found.items() if ratio > SLACK * known.get(name, ratio)]
    for name, ratio in found.items():
        before = f"{known[name]:8.3f} before" if name in known else "new"
        print(f"{ratio:8.3f}  {before}  {name}{'  WORSE' if name in worse else ''}")
    if wish.write:
        rounded = {name: float(f"{ratio:.3g}") for name, ratio in found.items()}
        FILE.write_text(json.dumps(rounded, indent=2) + "\n", "utf-8")
    sys.exit(1 if worse and not wish.write else 0)


if __name__ == "__main__":
    main()
