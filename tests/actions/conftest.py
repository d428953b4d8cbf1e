"""A dispatcher with its outcomes, and a receiver of webhooks that answers as it is told."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from beatward.action_settings import ActionSettings
from beatward.actions import DRIVERS, Dispatcher, Surroundings
from beatward.core.outbox import Action

EVENT = {
    "id": 4711,
    "event": "transition",
    "at_wall_ns": 1_800_000_000_123_456_789,
    "node": "web-3",
    "status": "dead",
    "cause": "silence",
    "explanation": "web-3 suspected: silent 2.31 s",
}


class Hands:
    """A dispatcher under test. Outcomes are awaited one by one, in the order they came."""

    def __init__(self, settings, drivers, **options):
        self.drivers = drivers
        self.came = asyncio.Queue()
        self.dispatcher = Dispatcher(
            settings, self.came.put_nowait, drivers=drivers, now_ns=time.monotonic_ns, **options
        )

    def submit(self, name, key="7/web-3", *, attempt=1, **event):
        action = Action(key, name, "", "web-3", attempt, EVENT | event)
        self.dispatcher.submit((action,))
        return action

    async def outcome(self, *, within=20):
        async with asyncio.timeout(within):
            return await self.came.get()

    async def do(self, name, key="7/web-3", **more):
        self.submit(name, key, **more)
        return await self.outcome()


@pytest.fixture
def surroundings(tmp_path):
    notified = []
    return Surroundings(tmp_path / "actions", time.monotonic_ns, time.time_ns, notified.append)


@pytest.fixture
async def hands(surroundings):
    """Make dispatchers over the real drivers: `hands(name=dict of its settings, ...)`."""
    made = []

    def make(*, drivers=None, options=None, **tables):
        settings = {
            name: ActionSettings.model_validate({"timeout": "5s"} | table)
            for name, table in tables.items()
        }
        if drivers is None:
            drivers = {kind: driver(surroundings) for kind, driver in DRIVERS.items()}
        made.append(Hands(settings, drivers, **(options or {})))
        return made[-1]

    yield make
    for one in made:
        await one.dispatcher.close(end_deeds=True)


@dataclass
class Request:
    line: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """The plainest HTTP server; `answer` writes bytes, so it can also write wrong ones."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request, asyncio.StreamWriter], Awaitable[None]] = None

    def say(self, status, *, body=b"", **headers):
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}"])
        self.write(head.encode() + b"\r\n\r\n" + body)

    def write(self, raw, *, then_reset=False):
        async def answer(request, writer):
            writer.write(raw)
            await writer.drain()
            if then_reset:
                writer.transport.abort()

        self.answer = answer

    async def serve(self, reader, writer):
        with (
            contextlib.closing(writer),
            contextlib.suppress(ConnectionError, asyncio.IncompleteReadError),
        ):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in headers.items()}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(head[0], headers, body)
            self.requests.append(request)
            await self.answer(request, writer)


@pytest.fixture
async def receiver(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    one = Receiver()
    one.say("200 OK")
    # Ours to end: some answers never end by themselves.
    serving = set()

    def accept(reader, writer):
        task = asyncio.ensure_future(one.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield one
    server.close()
    for task in list(serving):
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await asyncio.sleep(0)  # A closed transport lets go of its socket in the next turn.


@pytest.fixture
def all_logs(caplog):
    """Everything that anybody logs, down to debug."""
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def until():
    """Wait for a condition that nothing here can be woken by: `await until(path.exists)`."""

    async def wait(condition, within=10):
        async with asyncio.timeout(within):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)  # Between two looks.

    return wait
