"""What a heartbeat over HTTP costs the monitor: JSON, the bare URL, and a route of FastAPI's.

Kept-alive connections, each of which waits for its answer before it asks again. JSON heartbeats are
those of real nodes: they echo the session's number and count on, so the monitor believes them, and
how many it believed is checked. There have to be so many nodes that hardly one speaks twice in one
turn of the wheel, or they are taken for a queue that was flushed. The monitor's processor time for
a request, all its threads and the wheel included, is the steadier figure; on two cores the client
takes one of them.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beatward.bench import fleet, machine, subject
from beatward.bench.report import BenchFailed, Promise, Report, Table, Tell, number, quantiles_ms
from beatward.core.protocol import keys

_AIM_PER_SECOND = 10_000
_WARM_SECONDS = 1.0
# Behind the first life, which the journal knows.
_INCARNATION = fleet.INCARNATION + 1

Requests = Iterator[bytes]


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, requests: Requests, times_ns: list[int]) -> None:
        self._requests = requests
        self._times_ns = times_ns
        self._buffer = b""
        self._sent_ns = 0
        self._transport: asyncio.Transport
        self.is_last = False
        self.is_done = asyncio.Event()
        self.wrong = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_done.set()

    def _ask(self) -> None:
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < size:
            return
        self._times_ns.append(time.perf_counter_ns() - self._sent_ns)
        if not head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200")):
            self.wrong = self._buffer[:300]
        if self.wrong or self.is_last:
            self._transport.close()
            return
        self._buffer = b""
        self._ask()


def measure(nodes: int, connections: int, seconds: float, folder: Path, tell: Tell) -> Report:
    """Measure each route for so many seconds."""
    known = fleet.settle(folder / "data", nodes)
    master = (folder / "data" / fleet.MASTER_FILE).read_bytes()
    del known
    rows = []
    with subject.running(folder) as monitor:
        session = _session(monitor, master)
        before = monitor.counts()
        for index, (route, make) in enumerate(_routes(master, session).items()):
            tell(route, index / 3)
            sources = [make(slice(part, nodes, connections)) for part in range(connections)]
            asyncio.run(_ask(monitor.http, sources, _WARM_SECONDS))
            meter = machine.Meter((monitor.process_id,), time.monotonic())
            begun = time.monotonic()
            times_ns = asyncio.run(_ask(monitor.http, sources, seconds))
            took_s = time.monotonic() - begun
            used = meter.look(time.monotonic())
            rate = len(times_ns) / took_s
            rows.append(
                {
                    "route": route,
                    "per_second": round(rate, 1),
                    "monitor_us": round(used.cores[monitor.process_id] / rate * 1e6, 1),
                    "latency_ms": quantiles_ms(times_ns),
                }
            )
            if index == 0:
                believed = _believed(monitor, before, sources)
    figures = {
        "nodes": nodes,
        "connections": connections,
        "seconds": seconds,
        "aim_per_second": _AIM_PER_SECOND,
        "routes": rows,
    }
    return Report("http", machine.describe(), figures, (_table(rows),), (believed,))


def _believed(monitor: subject.Subject, before: subject.Counts, sources: list[Any]) -> Promise:
    answered = sum(source.sent_count for source in sources)
    wanted = before.accepted + before.refused + answered
    after = monitor.wait_for(wanted)
    accepted = after.accepted - before.accepted
    said = f"{answered:,} answered, {accepted:,} believed"
    return Promise(
        "every JSON heartbeat that was answered was believed", accepted == answered, said
    )


class _Source:
    """An endless list of requests that counts what was taken from it."""

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._make = make
        self.sent_count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        made = self._make(self.sent_count)
        self.sent_count += 1
        return made


def _routes(master: bytes, session: int) -> dict[str, Callable[[slice], _Source]]:
    """Return what makes the requests of one connection, by route; its nodes are a slice of all."""

    def names(part: slice) -> list[tuple[str, bytes]]:
        found = [fleet.name_of(index) for index in range(part.start, part.stop, part.step)]
        return [(name, keys.node_key(master, keys.node_id(name))) for name in found]

    def json_heartbeats(part: slice) -> _Source:
        made = []
        for name, key in names(part):
            head = _head("POST", f"/v1/nodes/{name}/heartbeat", keys.bearer(key))
            made.append(head)
        tail = b',"incarnation":%d,"interval_ms":60000,"cpu":12.5,"echo":%d}'
        end = tail % (_INCARNATION, session)

        def make(index: int) -> bytes:
            body = b'{"sequence":%d' % (index // len(made)) + end
            return made[index % len(made)] + b"Content-Length: %d\r\n\r\n" % len(body) + body

        return _Source(make)

    def bare_urls(part: slice) -> _Source:
        made = [
            _head("GET", f"/ping/{name}/{keys.ping_key(key)}") + b"\r\n"
            for name, key in names(part)
        ]
        return _Source(lambda index: made[index % len(made)])

    def inboxes(part: slice) -> _Source:
        made = []
        for name, key in names(part):
            body = json.dumps({"name": name}).encode()
            head = _head("POST", "/v1/agent/inbox", keys.bearer(key))
            made.append(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return _Source(lambda index: made[index % len(made)])

    return {
        "JSON heartbeat": json_heartbeats,
        "bare URL": bare_urls,
        "FastAPI, POST inbox": inboxes,
    }


def _head(method: str, path: str, bearer: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if bearer:
        head += f"Authorization: Bearer {bearer}\r\nContent-Type: application/json\r\n"
    return head.encode()


def _session(monitor: subject.Subject, master: bytes) -> int:
    """Learn the session's number as a node does: from the answer to its first heartbeat."""
    name = fleet.name_of(0)
    bearer = keys.bearer(keys.node_key(master, keys.node_id(name)))
    body = {"incarnation": _INCARNATION, "sequence": 0, "interval_ms": 60_000, "echo": 0}
    before = monitor.counts()
    answer = monitor.post(f"/v1/nodes/{name}/heartbeat", body, bearer=bearer)
    monitor.wait_for(before.accepted + before.refused + 1)
    return int(answer["echo"])


async def _ask(to: tuple[str, int], sources: list[_Source], seconds: float) -> list[int]:
    times_ns: list[int] = []
    loop = asyncio.get_running_loop()
    made = []
    for source in sources:
        _, connection = await loop.create_connection(
            lambda source=source: _Connection(source, times_ns),  # type: ignore[misc]
            *to,
        )
        made.append(connection)
    await asyncio.sleep(seconds)
    for connection in made:
        connection.is_last = True
    async with asyncio.timeout(20):
        for connection in made:
            await connection.is_done.wait()
            if connection.wrong:
                raise BenchFailed(f"the monitor answered {connection.wrong!r}")
    return times_ns


def _table(rows: list[dict[str, Any]]) -> Table:
    return Table(
        ("route", "requests/s", "monitor us", "p50 ms", "p99 ms", "max ms"),
        tuple(
            (
                row["route"],
                number(row["per_second"]),
                number(row["monitor_us"], 1),
                *(number(row["latency_ms"][key], 2) for key in ("p50", "p99", "max")),
            )
            for row in rows
        ),
    )
