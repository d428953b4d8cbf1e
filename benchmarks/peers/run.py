"""beatward beside what Debian ships of its peers, one after the other in the same run.

    python benchmarks/peers/run.py [--seconds 5] [--live 100000] [--programs FOLDER] [--json]

A heartbeat is an authenticated datagram here, an EXPIRE of Redis there, a LeaseKeepAlive of etcd
elsewhere; a death is a suspicion, an expired event, a key that was deleted with its lease. They
promise different things: etcd writes leases to disk and agrees on them, Redis authenticates a
connection and not a heartbeat. Read the figures as what each costs who only wants to know who is
alive. Everything listens on loopback only, is bounded in time, and is ended by its own process.

--programs names a folder into which packages were unpacked (dpkg-deb -x); else PATH is searched,
and who is not there is left out with a word.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import etcd_leases
import redis_keys
from servers import Missing

# etcd grants a lease in a millisecond: more would take minutes.
ETCD_LIVE_MAX = 5_000


def ours(live, seconds):
    """Return our own figures in the same form; every promise has to hold."""

    def bench(*words):
        command = [sys.executable, "-m", "beatward", "bench", *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        report = json.loads(done.stdout)
        if not report["kept"]:
            print(f"broken: {report['promises']}", file=sys.stderr)
        return report["figures"]

    beating = bench("ingest", "--nodes", live, "--rate", 100_000, "--seconds", seconds)
    relayed = bench(
        *("ingest", "--nodes", live, "--rate", 500_000, "--seconds", seconds, "--records", 20)
    )
    late = bench("lateness", "--nodes", live, "--stop", 1000, "--records", 20, "--seconds", 5)
    memory = bench("memory", "--nodes", live)
    return {
        "live": live,
        "bytes_each": memory["counts"][0]["bytes_per_node"],
        "datagrams": speed(beating),
        "relayed": speed(relayed),
        "expiry": {
            "dying": late["stopped"],
            "noticed": late["suspected"],
            "p50_ms": late["told_ms"]["p50"],
            "max_ms": late["told_ms"]["max"],
        },
    }


def speed(figures):
    step = figures["steps"][-1]
    return {"per_second": step["rate"], "ns_each": step["ns"]}


def rows_of(name, found):
    for key in ("datagrams", "relayed", "expire", "expire_pipelined", "keep_alive"):
        if key in found:
            each = found[key]
            yield f"{name}, {key.replace('_', ' ')}", each["per_second"], each["ns_each"]


def show(results):
    print(f"{'':32}{'taken/s':>12}{'server ns each':>16}")
    for name, found in results.items():
        for words, rate, cost in rows_of(name, found):
            print(f"{words:32}{rate:>12,.0f}{cost:>16,.0f}")
    heads = ("live", "bytes each", "died", "noticed", "p50 ms", "max ms")
    print(f"\n{'':12}" + "".join(f"{head:>12}" for head in heads))
    for name, found in results.items():
        late = found["expiry"]
        numbers = (found["live"], found["bytes_each"], late["dying"], late["noticed"])
        times = (late["p50_ms"] or 0, late["max_ms"] or 0)
        print(f"{name:12}" + "".join(f"{one:>12,.0f}" for one in (*numbers, *times)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--live", type=int, default=100_000)
    parser.add_argument("--programs", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    results = {"beatward": ours(asked.live, asked.seconds)}
    peers = {
        "Redis": (redis_keys, asked.live),
        "etcd": (etcd_leases, min(asked.live, ETCD_LIVE_MAX)),
    }
    for name, (peer, live) in peers.items():
        with tempfile.TemporaryDirectory(prefix="beatward-peer-") as folder:
            try:
                results[name] = peer.measure(Path(folder), asked.programs, live, asked.seconds)
            except Missing as missing:
                print(f"{name} is left out: {missing}", file=sys.stderr)
    if asked.json:
        print(json.dumps(results, indent=1))
    else:
        show(results)


if __name__ == "__main__":
    main()
