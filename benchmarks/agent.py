"""What an agent costs its node: memory, and processor time for a heartbeat at real pacing.

    python benchmarks/agent.py [--seconds 20] [--interval 1s] [--json]

Each row is a process of its own that beats against a socket in this one, after it has settled.
Memory is VmRSS from /proc/self; `shared` is the part of it that comes from files (the interpreter,
OpenSSL) and that all processes of a node have in common. Processor time is that of all threads,
for each heartbeat, with caches as cold as they are between two heartbeats. Linux only.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from beatward.core.instants import parse_duration
from beatward.core.protocol import join, keys
from beatward.core.protocol.record import Flag, Kind, Record, open_record, seal

MASTER = bytes(range(32))
SESSION = 4711
NAME = "bench-1"

# Run in the measured process, around whatever beats there.
METER = """
import os, time
def status():
    with open("/proc/self/status") as file:
        rows = dict(line.split(":", 1) for line in file)
    kilobytes = lambda key: int(rows[key].split()[0])
    return {
        "rss_kb": kilobytes("VmRSS"),
        "shared_kb": kilobytes("RssFile"),
        "threads": int(rows["Threads"]),
    }
def measure(seconds, interval):
    # Settled: imports, enrolment and the first acknowledgements are over.
    time.sleep(2)
    before, began = time.process_time_ns(), time.monotonic()
    time.sleep(seconds)
    spent, took = time.process_time_ns() - before, time.monotonic() - began
    found = {**status(), "cpu_us": spent / 1000 / (took / interval)}
    import json
    print(json.dumps(found), flush=True)
    os._exit(0)
"""
BEATING = """
from beatward import Heart
heart = Heart({name!r}, interval={interval!r}{more})
heart.start()
measure({seconds}, {interval_s})
"""
ROWS = {
    "interpreter alone": "measure({seconds}, {interval_s})",
    "Heart": BEATING,
    "Heart, enrolled in this very process": "import os, shutil\n"
    "shutil.rmtree(os.environ['BEATWARD_DATA'])\n" + BEATING,
    "Heart over HTTP": BEATING.replace("{more}", ", transport='http'"),
    "Heart with facts": "from beatward.agent.facts import facts\n"
    + BEATING.replace("{more}", ", measure=facts()"),
    "AsyncHeart": """
import asyncio, threading
from beatward import AsyncHeart
async def main():
    async with AsyncHeart({name!r}, interval={interval!r}):
        await asyncio.sleep({seconds} + 60)
threading.Thread(target=measure, args=({seconds}, {interval_s}), daemon=True).start()
asyncio.run(main())
""",
    "beatward agent": """
import sys, threading
from beatward.cli import main
sys.argv = ["beatward", "agent", "--name", {name!r}, "--interval", {interval!r}]
threading.Thread(target=measure, args=({seconds}, {interval_s}), daemon=True).start()
main()
""",
    "beatward exec -- sleep": """
import sys, threading
from beatward.cli import main
sys.argv = ["beatward", "exec", {name!r}, "--interval", {interval!r}, "--", "sleep", "300"]
threading.Thread(target=measure, args=({seconds}, {interval_s}), daemon=True).start()
main()
""",
}


class Monitor(ThreadingHTTPServer):
    """Answers what an agent asks, on one port for datagrams and HTTP; judges nothing."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.server_port))
        self.key = keys.node_key(MASTER, keys.node_id(NAME))
        self.heard_count = 0
        for work in (self.listen, self.serve_forever):
            threading.Thread(target=work, daemon=True).start()

    def listen(self):
        while True:
            data, peer = self.udp.recvfrom(2048)
            said = open_record(data, self.key)
            self.heard_count += 1
            kind = Kind.ACKNOWLEDGEMENT
            if said.echo != SESSION:
                kind = Kind.PROBE
            elif not said.flags & Flag.ACKNOWLEDGE:
                continue
            fields = (said.node, said.incarnation, said.sequence, said.interval_ms)
            self.udp.sendto(seal(Record(kind, *fields, slot=1, echo=SESSION), self.key), peer)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = 202, {"echo": SESSION, "mail": False, "actions": []}
        if self.path == "/v1/join":
            asked = join.JoinRequest(*(body[key] for key in ("name", "payload", "nonce", "proof")))
            udp = f"127.0.0.1:{self.server.server_port}"
            status = 200
            answer = asdict(join.answer(MASTER, asked, nonce=os.urandom(16), udp=udp, now=0))
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


def measure(monitor, program, seconds, interval):
    """Run one row in a process of its own, with a credential from an earlier life."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "BEATWARD_MONITOR": f"http://127.0.0.1:{monitor.server_port}",
            "BEATWARD_TOKEN": join.new_token(MASTER, serial="bench"),
            "BEATWARD_DATA": folder,
            "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src"),
        }
        enrol = f"from beatward import Heart\nh = Heart({NAME!r}).start()\nh.wait_acknowledged()"
        subprocess.run([sys.executable, "-c", enrol], env=environment, check=True, timeout=60)
        text = METER + program.format(
            name=NAME,
            interval=interval,
            interval_s=parse_duration(interval) / 1e9,
            seconds=seconds,
            more="",
        )
        before = monitor.heard_count
        done = subprocess.run(
            [sys.executable, "-c", text],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return {**found, "datagrams": monitor.heard_count - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    monitor = Monitor()
    rows = {}
    for name, program in ROWS.items():
        rows[name] = measure(monitor, program, options.seconds, options.interval)
        if not options.json:
            if len(rows) == 1:
                print(f"{'':38} {'RSS MB':>7} {'shared':>7} {'threads':>7} {'us/heartbeat':>12}")
            row = rows[name]
            sizes = f"{row['rss_kb'] / 1024:7.1f} {row['shared_kb'] / 1024:7.1f}"
            print(f"{name:38} {sizes} {row['threads']:7} {row['cpu_us']:12.0f}", flush=True)
    if options.json:
        shape = {"seconds": options.seconds, "interval": options.interval}
        print(json.dumps({**shape, "python": sys.version.split()[0], "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
