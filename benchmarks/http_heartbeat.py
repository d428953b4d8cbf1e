"""What a request over HTTP costs the monitor: JSON heartbeat, bare URL, and a route of FastAPI's.

    python benchmarks/http_heartbeat.py [--seconds 5] [--connections 32] [--json]

A monitor in a process of its own, asked over kept-alive connections from this one, each connection
waiting for its answer. On two cores the client takes one of them; the monitor's time on the
processor for each request, all its threads and the wheel included, is the steadier number. Linux.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from beatward.core.protocol import keys

_TICKS = os.sysconf("SC_CLK_TCK")
_NODES = 256


@dataclass(frozen=True)
class Result:
    """One row."""

    route: str
    requests_per_second: int
    monitor_cpu_us: float
    p50_ms: float
    p99_ms: float


class Asker(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last one is complete."""

    def __init__(self, requests, latencies):
        self.requests, self.latencies = requests, latencies
        self.index, self.buffer, self.sent = 0, b"", 0.0

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.index % len(self.requests)])
        self.index += 1

    def data_received(self, data):
        self.buffer += data
        head, mark, body = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < size:
            return
        assert head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200")), self.buffer[:500]
        self.latencies.append(time.perf_counter() - self.sent)
        self.buffer = b""
        self.ask()


def request(method, path, body=b"", token=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    if body:
        head += "Content-Type: application/json\r\n"
    return head.encode() + b"\r\n" + body


def routes(master):
    """Return route -> its requests, one a node."""
    found = {"JSON heartbeat": [], "bare URL": [], "FastAPI, POST inbox": []}
    for index in range(_NODES):
        name = f"node-{index}"
        key = keys.node_key(master, keys.node_id(name))
        bearer = keys.bearer(key)
        beat = {"incarnation": 1, "sequence": 1, "interval_ms": 1000, "cpu": 12.5, "echo": 1}
        body = json.dumps(beat).encode()
        path = f"/v1/nodes/{name}/heartbeat"
        found["JSON heartbeat"].append(request("POST", path, body, bearer))
        found["bare URL"].append(request("GET", f"/ping/{name}/{keys.ping_key(key)}"))
        body = json.dumps({"name": name}).encode()
        found["FastAPI, POST inbox"].append(request("POST", "/v1/agent/inbox", body, bearer))
    return found


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def ask(port, requests, seconds, connections):
    latencies = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Asker(requests, latencies), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for transport, _ in made:
        transport.abort()
    return sorted(latencies)


def start(folder):
    """Start a monitor; returns (process, port, master key)."""
    path = folder / "settings.toml"
    path.write_text(
        f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\ndata = "{folder}/data"\n', "utf-8"
    )
    command = [sys.executable, "-m", "beatward", "monitor", "-c", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "listening" in line:
            break
    local = json.loads((folder / "data" / "local.json").read_text("utf-8"))
    master = (folder / "data" / "master.key").read_bytes()
    return process, int(local["monitor"].rpartition(":")[2]), master


def measure(seconds, connections):
    results = []
    with tempfile.TemporaryDirectory() as folder:
        process, port, master = start(Path(folder))
        try:
            for route, requests in routes(master).items():
                asyncio.run(ask(port, requests, 1, connections))  # nodes enrolled, code warm
                before = cpu_seconds(process.pid)
                latencies = asyncio.run(ask(port, requests, seconds, connections))
                spent = cpu_seconds(process.pid) - before
                count = len(latencies)
                results.append(
                    Result(
                        route,
                        round(count / seconds),
                        round(spent / count * 1e6, 1),
                        round(latencies[count // 2] * 1e3, 2),
                        round(latencies[count * 99 // 100] * 1e3, 2),
                    )
                )
        finally:
            process.terminate()
            process.communicate()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    results = measure(asked.seconds, asked.connections)
    if asked.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    print(f"{'route':22}{'requests/s':>12}{'monitor us':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for one in results:
        numbers = f"{one.requests_per_second:>12,}{one.monitor_cpu_us:>12}"
        print(f"{one.route:22}{numbers}{one.p50_ms:>9}{one.p99_ms:>9}")


if __name__ == "__main__":
    main()
