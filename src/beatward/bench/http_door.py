"""What a heartbeat over HTTP costs the monitor: JSON, relays, the bare URL, a route of FastAPI's.

Kept-alive connections, each of which waits for its answer before it asks again. JSON heartbeats and
records of relays are those of real nodes: they echo the session's number and count on, so the
monitor believes them, and how many it believed is checked. There have to be enough nodes that
hardly one speaks twice in one turn of the wheel, or they are taken for a queue that was flushed.
The monitor's processor time, all its threads and the wheel included, until it has believed the
last, is the steadier figure; on two cores the client takes one of them.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beatward.bench import fleet, machine, relays, subject
from beatward.bench.report import (
    BenchCheck,
    BenchFailed,
    BenchReport,
    BenchTable,
    Tell,
    number,
    quantiles_ms,
)
from beatward.core.protocol import keys

_AIM_PER_SECOND = 10_000
_WARM_SECONDS = 1.0
# Behind the first life, which the journal knows.
_INCARNATION = fleet.INCARNATION + 1

# So few that each relay has nodes enough to fill the inbox four times a node: by default no stall
# of the wheel queues more of one node than the monitor takes one by one, so nothing is refused.
_RELAYS = 2
RECORDS = (100, 1000)
# When the inbox is full. A relay waits for the second that it is told; here it would be idle.
_AGAIN_SECONDS = 0.01


class _Source:
    """An endless list of requests, and what became of them."""

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._make = make
        self._made_count = 0
        self.answered_count = 0
        self.turned_away_count = 0

    def next(self) -> bytes:
        made = self._make(self._made_count)
        self._made_count += 1
        return made


@dataclass(frozen=True, slots=True)
class _Route:
    """A way to ask, and who asks; `records` heartbeats in each request, 0: it carries none."""

    name: str
    sources: Sequence[_Source]
    records: int = 1

    @property
    def heartbeats(self) -> int:
        """How many were answered so far."""
        return self.records * sum(source.answered_count for source in self.sources)

    @property
    def turned_away(self) -> int:
        """How many requests found the inbox full so far."""
        return sum(source.turned_away_count for source in self.sources)


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, source: _Source, times_ns: list[int]) -> None:
        self._source = source
        self._times_ns = times_ns
        self._request = b""
        self._buffer = b""
        self._sent_ns = 0
        self._transport: asyncio.Transport
        self.is_last = False
        self.is_done = asyncio.Event()
        self.wrong = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask(self._source.next())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_done.set()

    def _ask(self, request: bytes) -> None:
        self._request = request
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < size:
            return
        self._buffer = b""
        if head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200")):
            self._times_ns.append(time.perf_counter_ns() - self._sent_ns)
            self._source.answered_count += 1
        elif head.startswith(b"HTTP/1.1 503"):
            self._source.turned_away_count += 1
        else:
            self.wrong = (head + body)[:300]
        if self.wrong or self.is_last:
            self._transport.close()
        elif head.startswith(b"HTTP/1.1 503"):
            loop = asyncio.get_running_loop()
            loop.call_later(_AGAIN_SECONDS, self._ask, self._request)
        else:
            self._ask(self._source.next())


def measure(
    nodes: int, relayed: int, connections: int, *, seconds: float, folder: Path, tell: Tell
) -> BenchReport:
    """Measure each route for a number of seconds.

    nodes     how many speak for themselves, over `connections`
    relayed   how many more speak through relays
    """
    known = fleet.settle(folder / "data", nodes + relayed)
    master = (folder / "data" / fleet.MASTER_FILE).read_bytes()
    rows, promises = [], []
    with subject.running(folder) as monitor:
        session = _session(monitor, master)
        behind = np.arange(nodes, nodes + relayed)
        rings = [relays.Ring(known, behind[part::_RELAYS], session) for part in range(_RELAYS)]
        alone = _alone(master, session, nodes, connections)
        routes = [alone[0], *(_relayed(rings, records) for records in RECORDS), *alone[1:]]
        for index, route in enumerate(routes):
            tell(route.name, index / len(routes))
            before = monitor.counts()
            rows.append(_measured(monitor, before, route, seconds))
            if route.records:
                promises.append(_believed(monitor, before, route))
    figures = {
        "nodes": nodes,
        "relayed": relayed,
        "connections": connections,
        "relays": _RELAYS,
        "seconds": seconds,
        "aim_per_second": _AIM_PER_SECOND,
        "routes": rows,
    }
    return BenchReport("http", machine.describe(), figures, (_table(rows),), tuple(promises))


def _measured(
    monitor: subject.Subject, before: subject.Counts, route: _Route, seconds: float
) -> dict[str, Any]:
    asyncio.run(_ask(monitor.http, route.sources, _WARM_SECONDS))
    _judged(monitor, before, route)
    turned_away, ours = route.turned_away, os.getpid()
    begun = time.monotonic()
    meter = machine.Meter((monitor.process_id, ours), begun)
    times_ns = asyncio.run(_ask(monitor.http, route.sources, seconds))
    took_s = time.monotonic() - begun
    _judged(monitor, before, route)
    ended = time.monotonic()
    used = meter.look(ended)
    spent_s = used.cores[monitor.process_id] * (ended - begun)
    heartbeats = len(times_ns) * route.records
    return {
        "route": route.name,
        "records": route.records,
        "per_second": round(len(times_ns) / took_s, 1),
        "heartbeats_per_second": round(heartbeats / took_s, 1),
        "monitor_cores": round(spent_s / took_s, 2),
        "monitor_us": round(spent_s / len(times_ns) * 1e6, 1),
        "heartbeat_ns": round(spent_s / heartbeats * 1e9, 1) if heartbeats else None,
        "client_cores": round(used.cores[ours] * (ended - begun) / took_s, 2),
        "strangers_cores": round(used.strangers, 2),
        "turned_away": route.turned_away - turned_away,
        "latency_ms": quantiles_ms(times_ns),
    }


def _judged(monitor: subject.Subject, before: subject.Counts, route: _Route) -> subject.Counts:
    """Wait until the wheel has judged all that was answered."""
    return monitor.wait_for(before.accepted + before.refused + route.heartbeats)


def _believed(monitor: subject.Subject, before: subject.Counts, route: _Route) -> BenchCheck:
    after = _judged(monitor, before, route)
    accepted, refused = after.accepted - before.accepted, after.refused - before.refused
    kept = accepted == route.heartbeats and not refused
    text = f"{route.heartbeats:,} answered, {accepted:,} believed, {refused:,} refused"
    return BenchCheck(f"{route.name}: what was answered was believed", kept, text)


def _relayed(rings: list[relays.Ring], records: int) -> _Route:
    def source(ring: relays.Ring) -> _Source:
        return _Source(lambda _index: relays.request(ring.take(records)))

    return _Route(f"{records} records of relays", [source(ring) for ring in rings], records)


def _alone(master: bytes, session: int, nodes: int, connections: int) -> list[_Route]:
    """Return the routes on which each node speaks for itself, JSON heartbeats first."""

    def names(part: int) -> list[tuple[str, bytes]]:
        found = [fleet.name_of(index) for index in range(part, nodes, connections)]
        return [(name, keys.node_key(master, keys.node_id(name))) for name in found]

    def json_heartbeats(part: int) -> _Source:
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

    def bare_urls(part: int) -> _Source:
        made = [
            _head("GET", f"/ping/{name}/{keys.ping_key(key)}") + b"\r\n"
            for name, key in names(part)
        ]
        return _Source(lambda index: made[index % len(made)])

    def inboxes(part: int) -> _Source:
        made = []
        for name, key in names(part):
            body = json.dumps({"name": name}).encode()
            head = _head("POST", "/v1/agent/inbox", keys.bearer(key))
            made.append(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return _Source(lambda index: made[index % len(made)])

    return [
        _Route("JSON heartbeat", [json_heartbeats(part) for part in range(connections)]),
        _Route("bare URL", [bare_urls(part) for part in range(connections)]),
        _Route(
            "FastAPI, POST inbox",
            [inboxes(part) for part in range(connections)],
            records=0,
        ),
    ]


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


async def _ask(to: tuple[str, int], sources: Sequence[_Source], seconds: float) -> list[int]:
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


def _table(rows: list[dict[str, Any]]) -> BenchTable:
    columns = (
        *("route", "heartbeats/s", "requests/s", "cores", "us/request", "ns/heartbeat"),
        *("client", "others", "full", "p50 ms", "p99 ms", "max ms"),
    )
    return BenchTable(
        columns,
        tuple(
            (
                row["route"],
                number(row["heartbeats_per_second"] or None),
                number(row["per_second"]),
                number(row["monitor_cores"], 2),
                number(row["monitor_us"], 1),
                number(row["heartbeat_ns"]),
                number(row["client_cores"], 2),
                number(row["strangers_cores"], 2),
                number(row["turned_away"]),
                *(number(row["latency_ms"][key], 2) for key in ("p50", "p99", "max")),
            )
            for row in rows
        ),
    )
