"""Heartbeats a second through the whole monitor, beside the bare loop that only receives.

    python benchmarks/ingest.py [--nodes 20000] [--rates 50000 100000 150000] [--seconds 3] [--json]

A real `beatward monitor` (journal, API and detector on, every tag checked) takes authenticated
heartbeats of many nodes at rising rates; then a process that does nothing but drain the same door
at the same tick takes the same datagrams. What counts is processor time a heartbeat, because on
loopback the sender soon is the limit; `share` is bare / monitor, 1 would mean that everything but
the receiving is free. A step with drops is shown, is not counted as sustained, and ends the climb.

The sender seals everything beforehand (a heartbeat each, sequence by sequence) and sends from its
own process, several datagrams a call by UDP_SEGMENT. Nothing here is a test: it asserts only that
what was sent is what was accepted, refused or dropped.
"""

import argparse
import json
import multiprocessing
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from beatward.config import split_address
from beatward.core.entry import Entry, Event, NodeRecord
from beatward.core.intake import RECORD
from beatward.core.protocol import keys, record
from beatward.core.tags import FASTEST
from beatward.server.identity import load_or_create
from beatward.store.sqlite import SqliteStore
from beatward.transport import open_door

RECEIVE_BUFFER = 64 * 1024 * 1024
TICK_NS = 5_000_000
SPAWN = multiprocessing.get_context("spawn")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# So many datagrams of one call of the kernel; at most 64 (UDP_MAX_SEGMENTS of older kernels).
SEGMENTS = 8
UDP_SEGMENT = 103


@dataclass
class Window:
    """What one process did between two looks at it; counts are of datagrams = heartbeats."""

    wall_s: float
    cpu_s: float
    count: int
    drops: int

    @property
    def rate(self):
        return self.count / self.wall_s

    @property
    def cpu_ns(self):
        return self.cpu_s / self.count * 1e9 if self.count else float("nan")

    @property
    def cores(self):
        return self.cpu_s / self.wall_s


@dataclass
class Look:
    """Counters at one instant."""

    at_s: float
    cpu_s: float
    count: int
    drops: int

    def until(self, later):
        return Window(
            later.at_s - self.at_s,
            later.cpu_s - self.cpu_s,
            later.count - self.count,
            later.drops - self.drops,
        )


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def machine_busy_seconds():
    values = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:]
    return (sum(map(int, values[:8])) - int(values[3]) - int(values[4])) / CLOCK_TICKS


# --- the fleet -------------------------------------------------------------------------------


class Fleet:
    """Nodes with their keys, and their heartbeats sealed in advance."""

    def __init__(self, master, count):
        # Names in order, so that a node's slot is its number: the journal loads them by name.
        self.names = [f"node-{index:07}" for index in range(count)]
        self.ids = [keys.node_id(name) for name in self.names]
        self.keys = [keys.node_key(master, node) for node in self.ids]
        keys_block = np.frombuffer(b"".join(self.keys), np.uint8).reshape(count, keys.KEY_SIZE)
        self.secret = FASTEST.prepare(keys_block)
        self.bodies = np.zeros(count, RECORD)
        self.bodies["magic"] = record.MAGIC
        self.bodies["version"] = record.VERSION
        self.bodies["kind"] = record.Kind.HEARTBEAT
        self.bodies["slot"] = np.arange(count)
        self.bodies["node"] = self.ids
        self.bodies["incarnation"] = 1
        self.sequence = 0

    def seal(self, rounds, interval_ms, session):
        """Return (rounds * nodes, 64): the next heartbeats of all, one round after the other."""
        self.bodies["interval_ms"] = interval_ms
        self.bodies["echo"] = session
        count = len(self.names)
        rows = np.empty((rounds, count, record.RECORD_SIZE), np.uint8)
        for index in range(rounds):
            self.sequence += 1
            self.bodies["sequence"] = self.sequence
            rows[index] = self.bodies.view(np.uint8).reshape(count, record.RECORD_SIZE)
            bodies = rows[index, :, : record.BODY_SIZE]
            tags = FASTEST.seal(bodies, np.arange(count), self.secret)
            rows[index, :, record.BODY_SIZE :] = tags
        return rows.reshape(-1, record.RECORD_SIZE)


def enrol(fleet, data):
    """Write the nodes into the journal, as a monitor that has been here before."""
    store = SqliteStore(data / "journal.sqlite3")
    entries = [
        Entry(
            sequence=index + 1,
            event=Event.JOINED,
            at_ns=0,
            node=name,
            status="new",
            cause="enrolled",
            node_record=NodeRecord(name, fleet.ids[index], "new", "enrolled", since_ns=0),
        )
        for index, name in enumerate(fleet.names)
    ]
    store.append(entries, wall_offset_ns=time.time_ns())
    store.close()


# --- the sender, in a process of its own -----------------------------------------------------


class Cannon:
    """Sends rows of an array, SEGMENTS datagrams in each message where the kernel can."""

    def __init__(self, to):
        host, port = to
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.segments = SEGMENTS
        try:
            self.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, record.RECORD_SIZE)
        except OSError:
            self.segments = 1

    def fire(self, rows):
        """Send all rows, one datagram each."""
        view = memoryview(np.ascontiguousarray(rows)).cast("B")
        step = self.segments * record.RECORD_SIZE
        send = self.socket.send
        for start in range(0, len(view), step):
            send(view[start : start + step])


def session_of(cannon, fleet):
    """Learn the monitor's session as an agent does: from the probe that answers a new life."""
    node, key = fleet.ids[0], fleet.keys[0]
    hello = record.Record(record.Kind.HEARTBEAT, node, 1, 0, interval_ms=60_000)
    cannon.socket.settimeout(10)
    cannon.fire(np.frombuffer(record.seal(hello, key), np.uint8).reshape(1, -1))
    probe = record.open_record(cannon.socket.recv(2048), key)
    assert probe.kind is record.Kind.PROBE
    cannon.socket.settimeout(None)
    return probe.echo


def at_pace(cannon, rows, rate, is_over):
    """Send rows at a rate until they are out or it is over; return how many were sent."""
    begun = time.monotonic()
    sent = 0
    while sent < len(rows) and not is_over():
        due = min(int((time.monotonic() - begun) * rate), len(rows))
        if due < len(rows):
            due -= due % cannon.segments
        if due > sent:
            cannon.fire(rows[sent:due])
            sent = due
        time.sleep(0.001)
    return sent


def sender(pipe, master, nodes, rates, seconds):
    """Obey: ("aim", address, with_session), ("warm",), ("rate", index), ("stop",)."""
    fleet = Fleet(master, nodes)
    cannon = rows = None
    sent = 0
    while True:
        order, *rest = pipe.recv()
        if order == "aim":
            cannon = Cannon(rest[0])
            session = session_of(cannon, fleet) if rest[1] else 0
            warm = fleet.seal(1, 60_000, session)
            rows = [
                fleet.seal(rounds_of(rate, nodes, seconds), interval_of(rate, nodes), session)
                for rate in rates
            ]
            sent = int(rest[1])
            pipe.send(cannon.segments)
        elif order == "warm":
            sent += at_pace(cannon, warm, 5_000, lambda: False)
            pipe.send(sent)
        elif order == "rate":
            sent += at_pace(cannon, rows[rest[0]], rates[rest[0]], pipe.poll)
        elif order == "stop":
            pipe.send(sent)
            return


def interval_of(rate, nodes):
    return max(1, round(nodes * 1000 / rate))


def rounds_of(rate, nodes, seconds):
    # Longer than the step, because nodes that have nothing more to say would fall silent.
    return max(2, int(rate * (seconds + 1.5) / nodes) + 1)


# --- the bare loop, in a process of its own --------------------------------------------------


def bare_receiver(pipe):
    """Drain the door at every tick and do nothing else; answer every message with a Look."""
    address = "127.0.0.1:0"
    with open_door(address, RECEIVE_BUFFER, time.monotonic_ns, wire="recvmmsg") as door:
        pipe.send((split_address(door.address), os.getpid()))
        due_ns = time.monotonic_ns()
        while True:
            door.drain()
            if pipe.poll():
                if pipe.recv() is None:
                    return
                pipe.send(
                    Look(time.monotonic(), time.process_time(), door.datagrams_count, door.drops())
                )
            due_ns = max(due_ns + TICK_NS, time.monotonic_ns())
            time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)


# --- the whole monitor -----------------------------------------------------------------------


class WholeMonitor:
    """`beatward monitor` as everybody runs it, with a journal that knows the fleet."""

    def __init__(self, folder):
        settings = folder / "beatward.toml"
        settings.write_text(
            f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\ndata = "{folder}/data"\n'
            f'receive_buffer = {RECEIVE_BUFFER}\ntick = "{TICK_NS // 1_000_000}ms"\n'
            'start_grace = "10m"\n',
            "utf-8",
        )
        self.local = folder / "data" / "local.json"
        command = [sys.executable, "-m", "beatward", "monitor", "-c", str(settings)]
        self.log = folder / "monitor.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait_until_ready(self):
        until = time.monotonic() + 60
        while "listening" not in self.log.read_text("utf-8"):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the monitor did not start: {self.log.read_text('utf-8')}")
            time.sleep(0.05)
        # "listening: heartbeats on udp HOST:PORT, API on ..."
        self.url = json.loads(self.local.read_text("utf-8"))["monitor"]
        line = self.log.read_text("utf-8").partition("heartbeats on udp ")[2]
        return split_address(line.partition(",")[0])

    def status(self):
        with urllib.request.urlopen(f"{self.url}/v1/status", timeout=30) as answer:
            return json.load(answer)

    def wait_until_all_live(self, count):
        until = time.monotonic() + 120
        while (nodes := self.status()["nodes"])["alive"] < count:
            if time.monotonic() > until:
                sys.exit(f"the fleet did not come alive: {nodes}")
            time.sleep(0.1)

    def look(self):
        # Rate from the snapshot's own instant: it may be some time old when we get it.
        status = self.status()
        counters = status["counters"]
        cpu_s = cpu_seconds(self.process.pid)
        return Look(
            status["running_ns"] / 1e9, cpu_s, counters["accepted"], counters["kernel_drops"]
        )

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@contextmanager
def running_sender(master, arguments, to, *, with_session):
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(
        target=sender, args=(there, master, arguments.nodes, arguments.rates, arguments.seconds)
    )
    process.start()
    try:
        here.send(("aim", to, with_session))
        here.recv()
        yield here, process.pid
    finally:
        process.terminate()
        process.join()


def measured(look, pids, seconds):
    """Return (Window, share of a core that strangers used) of the middle of a step."""
    time.sleep(0.7)  # the first heartbeats of a new interval have more work than the later ones
    busy_before, ours_before = machine_busy_seconds(), sum(map(cpu_seconds, pids))
    before, begun = look(), time.monotonic()
    time.sleep(seconds)
    after, wall_s = look(), time.monotonic() - begun
    busy = machine_busy_seconds() - busy_before
    ours = sum(map(cpu_seconds, pids)) - ours_before
    return before.until(after), max(busy - ours, 0) / wall_s


def climb(pipe, look, pids, arguments):
    """Take the rates one after the other until datagrams are lost; return the windows."""
    steps = []
    for index, rate in enumerate(arguments.rates):
        pipe.send(("rate", index))
        window, strangers = measured(look, pids, arguments.seconds)
        steps.append((window, strangers))
        if window.drops or window.rate < 0.9 * rate:
            break
    pipe.send(("stop",))
    return steps, pipe.recv()


def measure_bare(arguments, master):
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=bare_receiver, args=(there,))
    process.start()
    to, pid = here.recv()

    def look():
        here.send("look")
        return here.recv()

    try:
        with running_sender(master, arguments, to, with_session=False) as (pipe, sender_pid):
            return climb(pipe, look, (pid, sender_pid), arguments)[0]
    finally:
        here.send(None)
        process.join()


def measure_monitor(arguments, folder):
    data = folder / "data"
    master = load_or_create(data)
    enrol(Fleet(master, arguments.nodes), data)
    monitor = WholeMonitor(folder)
    try:
        to = monitor.wait_until_ready()
        with running_sender(master, arguments, to, with_session=True) as (pipe, sender_pid):
            pipe.send(("warm",))
            pipe.recv()
            monitor.wait_until_all_live(arguments.nodes)
            pids = (monitor.process.pid, sender_pid)
            steps, sent = climb(pipe, monitor.look, pids, arguments)
            check_conservation(monitor, sent)
            return steps
    finally:
        monitor.stop()


def check_conservation(monitor, sent):
    """Wait until what was sent is what was accepted, refused or dropped; say so if it never is."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        status = monitor.status()
        counters = status["counters"]
        refused = sum(status["rejects"].values())
        if counters["accepted"] + refused + counters["kernel_drops"] == sent:
            return
        time.sleep(0.2)
    print(f"warning: {sent} sent, {counters}, {refused} refused", file=sys.stderr)


# --- what comes out --------------------------------------------------------------------------


def rows_of(arguments, monitor, bare):
    for index, (window, strangers) in enumerate(monitor):
        alone = bare[index][0] if index < len(bare) else None
        yield {
            "offered": arguments.rates[index],
            "monitor": asdict(window) | {"rate": window.rate, "cores": window.cores},
            "monitor_ns": window.cpu_ns,
            "bare_ns": alone.cpu_ns if alone else None,
            "share": alone.cpu_ns / window.cpu_ns if alone else None,
            "bare_drops": alone.drops if alone else None,
            "strangers_cores": strangers,
            "sustained": window.drops == 0 and window.rate >= 0.97 * arguments.rates[index],
        }


def show(rows, result):
    print(f"{result['machine']}; {result['nodes']:,} nodes")
    print("offered/s  accepted/s    drops  cores  ns/heartbeat  bare ns  share  strangers")
    for row in rows:
        monitor = row["monitor"]
        bare = f"{row['bare_ns']:8.0f} {row['share']:6.0%}" if row["bare_ns"] else " " * 15
        print(
            f"{row['offered']:9,} {monitor['rate']:11,.0f} {monitor['drops']:8,} "
            f"{monitor['cores']:6.2f} {row['monitor_ns']:13,.0f} {bare} "
            f"{row['strangers_cores']:10.2f}"
        )
    print(f"sustained without loss: {result['sustained']:,} heartbeats/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--rates", type=int, nargs="+", default=[50_000, 100_000, 150_000])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each step")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.rates.sort()
    if not sys.platform.startswith("linux"):
        sys.exit("this measurement needs Linux (/proc, recvmmsg, UDP_SEGMENT)")
    with tempfile.TemporaryDirectory(prefix="beatward-ingest-") as folder:
        bare = measure_bare(arguments, bytes(keys.KEY_SIZE))
        monitor = measure_monitor(arguments, Path(folder))
    rows = list(rows_of(arguments, monitor, bare))
    result = {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        "nodes": arguments.nodes,
        "seconds": arguments.seconds,
        "sustained": max((row["offered"] for row in rows if row["sustained"]), default=0),
        "steps": rows,
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        show(rows, result)


if __name__ == "__main__":
    main()
