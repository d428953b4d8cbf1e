"""What it costs to check a tag: record by record, in batches in Python, and by the extension.

    python benchmarks/tags.py [--nodes 20000] [--batches 16 64 1024] [--rounds 50] [--json]

Nanoseconds a record, of batches whose nodes are drawn anew each round: with a million nodes their
secrets are no longer in any cache. All ways take turns within a round and the least of all rounds
counts, for a neighbour on the machine can only make it more. `one by one` is what a monitor would
do without batches: hmac.digest and hmac.compare_digest for each record.
"""

import argparse
import hmac
import json
import platform
import time

import numpy as np

from beatward.core.protocol.keys import KEY_SIZE
from beatward.core.protocol.record import BODY_SIZE, RECORD_SIZE
from beatward.core.tags import IMPLEMENTATIONS


def one_by_one(records, slots, keys):
    data, chosen = records.tobytes(), keys[slots].tobytes()
    genuine = np.empty(len(slots), np.bool_)
    for index in range(len(slots)):
        start = index * RECORD_SIZE
        key = chosen[index * KEY_SIZE : (index + 1) * KEY_SIZE]
        body = data[start : start + BODY_SIZE]
        found = data[start + BODY_SIZE : start + RECORD_SIZE]
        expected = hmac.digest(key, body, "sha256")[: len(found)]
        genuine[index] = hmac.compare_digest(expected, found)
    return genuine


def measure(nodes, batch, rounds):
    """Return {way: least ns a record}."""
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 256, (nodes, KEY_SIZE), np.uint8)
    ways = {"one by one": (one_by_one, keys)}
    for name, tags in reversed(IMPLEMENTATIONS.items()):
        # Copied, as the registry keeps it: numpy asks the kernel for huge pages, bytes do not.
        ways[name] = (tags.verify, tags.prepare(keys).copy())
    sealer = IMPLEMENTATIONS["python"]
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        slots = rng.integers(0, nodes, batch)
        bodies = rng.integers(0, 256, (batch, BODY_SIZE), np.uint8)
        records = np.hstack((bodies, sealer.seal(bodies, slots, keys)))
        for name, (verify, secret) in ways.items():
            begun = time.perf_counter_ns()
            genuine = verify(records, slots, secret)
            least[name] = min(least[name], (time.perf_counter_ns() - begun) / batch)
            assert genuine.all()
    return least


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64, 1024])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {
        batch: measure(arguments.nodes, batch, arguments.rounds) for batch in arguments.batches
    }
    if arguments.json:
        print(json.dumps({"nodes": arguments.nodes, "ns": found}, indent=1))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}; {arguments.nodes:,} nodes")
    ways = list(next(iter(found.values())))
    print("records a batch " + "".join(f"{name:>12}" for name in ways) + "   ns a record")
    for batch, least in found.items():
        print(f"{batch:15,} " + "".join(f"{least[name]:12,.0f}" for name in ways))


if __name__ == "__main__":
    main()
