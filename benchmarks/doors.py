"""What each ability of the door costs a datagram, and what junk costs the honest ones.

    python benchmarks/doors.py [--rounds 60] [--burst 2048] [--json]

1. Cost: all kinds of doors are open at once; each round fills and drains them in turn, so whatever
   else this machine does meets all of them alike. Read the ratios, not the nanoseconds: `drain` is
   what the monitor pays, `send` what the kernel pays for a datagram on its way in (on loopback the
   sender pays it), both beside a door without any of it.
2. Threads: two doors drained by one thread and by two, the time until both are empty.
3. Junk: honest heartbeats at a rate, with twice as much junk, from another process; what was lost.
"""

import argparse
import json
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import threading
import time

import numpy as np

from beatward.core.protocol.record import MAGIC, RECORD_SIZE, VERSION
from beatward.transport import open_doors
from beatward.values import split_address

RECEIVE_BUFFER = 4 * 1024 * 1024
TICK_S = 0.005
UDP_SEGMENT = 103
SEGMENTS = 8
SPAWN = multiprocessing.get_context("spawn")
KINDS = {
    "plain": {"prefilter": "off"},
    "stamps": {"prefilter": "off", "wall_ns": time.time_ns},
    "prefilter auto": {"prefilter": "auto"},
    "prefilter on": {"prefilter": "on"},
    "default (stamps, auto)": {"prefilter": "auto", "wall_ns": time.time_ns},
    "two doors": {"prefilter": "off", "count": 2},
}


def heartbeats(count):
    """Return (count, 64): datagrams that begin as heartbeats, of as many nodes."""
    rows = np.zeros((count, RECORD_SIZE), np.uint8)
    rows[:, :4] = [*MAGIC, VERSION, 1]
    rows[:, 16:20] = np.random.default_rng(1).integers(0, 256, (count, 4))
    return rows


def sender_to(address, *, segments=1):
    to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    to.connect(split_address(address))
    if segments > 1:
        to.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, RECORD_SIZE)
    return to


def fire(sender, rows, segments=1):
    view = memoryview(np.ascontiguousarray(rows)).cast("B")
    step = segments * RECORD_SIZE
    for start in range(0, len(view), step):
        sender.send(view[start : start + step])


def drained(doors):
    count = 0
    while batches := doors.drain().batches:
        count += sum(len(batch.sizes) for batch in batches)
    return count


# --- 1: what each ability costs --------------------------------------------------------------


def cost(arguments):
    rows = heartbeats(arguments.burst)
    doors = {
        kind: open_doors("127.0.0.1:0", RECEIVE_BUFFER, time.monotonic_ns, **options)
        for kind, options in KINDS.items()
    }
    senders = {kind: sender_to(one.address) for kind, one in doors.items()}
    send_ns = {kind: [] for kind in KINDS}
    drain_ns = {kind: [] for kind in KINDS}
    for index in range(arguments.rounds + 3):
        for kind, one in doors.items():
            begun = time.perf_counter_ns()
            fire(senders[kind], rows)
            sent = time.perf_counter_ns()
            count = drained(one)
            ended = time.perf_counter_ns()
            assert count == len(rows), (kind, count)
            if index >= 3:
                send_ns[kind].append((sent - begun) / len(rows))
                drain_ns[kind].append((ended - sent) / len(rows))
    for one in doors.values():
        one.close()
    return [
        {
            "kind": kind,
            "drain_ns": statistics.median(drain_ns[kind]),
            "drain_ratio": ratio(drain_ns[kind], drain_ns["plain"]),
            "send_ns": statistics.median(send_ns[kind]),
            "send_ratio": ratio(send_ns[kind], send_ns["plain"]),
        }
        for kind in KINDS
    ]


def ratio(values, others):
    """Return the median of the ratios within each round."""
    return statistics.median(one / other for one, other in zip(values, others, strict=True))


# --- 2: one thread or two --------------------------------------------------------------------


def threads(arguments):
    """Return how long two threads take beside one, for the same two sockets."""
    rows = heartbeats(arguments.burst)
    pair = [
        open_doors("127.0.0.1:0", RECEIVE_BUFFER, time.monotonic_ns, prefilter="off")
        for _ in range(2)
    ]
    senders = [sender_to(one.address) for one in pair]
    start, done = threading.Barrier(3), threading.Barrier(3)

    def helper(doors):
        while True:
            start.wait()
            drained(doors)
            done.wait()

    for doors in pair:
        threading.Thread(target=helper, args=(doors,), daemon=True).start()
    one_ns, two_ns = [], []
    for _ in range(arguments.rounds):
        for sender in senders:
            fire(sender, rows)
        begun = time.perf_counter_ns()
        for doors in pair:
            drained(doors)
        one_ns.append(time.perf_counter_ns() - begun)
        for sender in senders:
            fire(sender, rows)
        begun = time.perf_counter_ns()
        start.wait()
        done.wait()
        two_ns.append(time.perf_counter_ns() - begun)
    return {"one_ms": statistics.median(one_ns) / 1e6, "ratio": ratio(two_ns, one_ns)}


# --- 3: junk beside honest heartbeats --------------------------------------------------------


def mixed_sender(pipe, address, rate, seconds):
    """Send honest heartbeats at a rate, and twice as much junk between them."""
    sender = sender_to(address, segments=SEGMENTS)
    honest = heartbeats(SEGMENTS)
    junk = np.zeros((SEGMENTS, RECORD_SIZE), np.uint8)
    pipe.recv()
    begun, sent = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        due = int((time.monotonic() - begun) * rate)
        while sent < due:
            for rows in (junk, honest, junk):
                fire(sender, rows, SEGMENTS)
            sent += SEGMENTS
        time.sleep(0.001)
    pipe.send(sent)


def junk(arguments, prefilter):
    clocks = {"now_ns": time.monotonic_ns, "wall_ns": time.time_ns}
    with open_doors("127.0.0.1:0", RECEIVE_BUFFER, prefilter=prefilter, **clocks) as doors:
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(
            target=mixed_sender, args=(there, doors.address, arguments.rate, arguments.seconds)
        )
        process.start()
        here.send("go")
        honest, cpu = 0, time.process_time()
        while not here.poll():
            for batch in doors.drain().batches:
                honest += int((batch.rows[:, 0] == MAGIC[0]).sum())
            time.sleep(TICK_S)
        sent = here.recv()
        for batch in doors.drain().batches:
            honest += int((batch.rows[:, 0] == MAGIC[0]).sum())
        process.join()
        return {
            "prefilter": prefilter,
            "honest_sent": sent,
            "honest_lost": sent - honest,
            "kernel_drops": doors.drops(),
            "filtered": doors.filtered(),
            "cores": (time.process_time() - cpu) / arguments.seconds,
        }


def show(result):
    print(result["machine"])
    print("door                     drain ns  ratio   send ns  ratio")
    for row in result["cost"]:
        print(
            f"{row['kind']:24} {row['drain_ns']:8.0f} {row['drain_ratio']:6.3f} "
            f"{row['send_ns']:9.0f} {row['send_ratio']:6.3f}"
        )
    both = result["threads"]
    print(
        f"two doors: two threads take {both['ratio']:.2f} of one thread's {both['one_ms']:.1f} ms"
    )
    print("prefilter  honest sent     lost    drops     filtered  cores")
    for row in result["junk"]:
        print(
            f"{row['prefilter']:9} {row['honest_sent']:12,} {row['honest_lost']:8,} "
            f"{row['kernel_drops']:8,} {row['filtered']:12,} {row['cores']:6.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--burst", type=int, default=2048, help="datagrams in each round")
    parser.add_argument("--rate", type=int, default=100_000, help="honest ones beside junk")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        sys.exit("this measurement needs Linux (recvmmsg, UDP_SEGMENT, BPF)")
    result = {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        "cost": cost(arguments),
        "threads": threads(arguments),
        "junk": [junk(arguments, prefilter) for prefilter in ("off", "auto", "on")],
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
