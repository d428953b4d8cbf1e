"""The journal over HTTP: pages of events, and the stream of those to come.

A stream is a reader with a cursor: it reads the journal behind the last id it has sent, and waits
for the bulletin when there is nothing more. So none is lost and none comes twice, whether the
client was away for a second or a week; `Last-Event-ID` or `after` is all the state there is. A
cursor from another journal is told and begins anew (`positions`).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.errors import TemporaryError
from beatward.web import shapes
from beatward.web.access import Served, may_read
from beatward.web.backend import Backend
from beatward.web.positions import (
    ID_MAX,
    MARK_PATTERN,
    Position,
    mark_of,
    read_position,
    why_lost,
)
from beatward.web.problems import Problem
from beatward.web.shapes import problems

LIMIT_MAX = 1000
STREAMS_MAX = 256
# Proxies commonly cut a connection that was silent for 60 s.
KEEP_ALIVE_SECONDS = 15.0
_PAGE_COUNT = 256
_RETRY_MS = 1000
# A locked or full disk is asked again this soon.
_UNREADABLE_SECONDS = 1.0
# In the scope of a request that asked for the head alone: a stream has no end to wait for.
HEAD_ONLY = "beatward.head_only"

router = APIRouter(prefix="/v1/events", tags=["events"])
_Node = Annotated[
    str | None, Query(description="Only events of this node.", max_length=NAME_LENGTH_MAX)
]


_Mark = Annotated[
    str | None,
    Query(
        description="The mark of the event `after`, by which another journal is known.",
        pattern=MARK_PATTERN,
        examples=["0123456789abcdef"],
    ),
]


class Streams:
    """How many streams are open; each holds a connection, so there is a limit."""

    def __init__(
        self, count_max: int = STREAMS_MAX, keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    ) -> None:
        self.count_max = count_max
        self.keep_alive_seconds = keep_alive_seconds
        self.count = 0

    async def follow(
        self, backend: Backend, position: Position, node: str | None
    ) -> AsyncIterator[bytes]:
        """Yield the stream's bytes until the client goes or the house closes."""
        yield f"retry: {_RETRY_MS}\n\n".encode()
        async for chunk in self._chunks(backend, position, node):
            yield chunk

    async def _chunks(
        self, backend: Backend, position: Position, node: str | None
    ) -> AsyncIterator[bytes]:
        journal_signal, after, is_checked = backend.journal_signal, position.after, False
        while not journal_signal.is_closed:
            # Noted before reading: what is written in between makes the wait return at
            # once.
            seen, wait_seconds = journal_signal.sequence, self.keep_alive_seconds
            try:
                if not is_checked:
                    lost = await run_in_threadpool(why_lost, backend.events, position)
                    is_checked = True
                    if lost is not None:
                        after = 0
                        yield _lost_frame(position, lost)
                page = await run_in_threadpool(
                    backend.events.events,
                    after=after,
                    limit=_PAGE_COUNT,
                    node=node,
                    newest_first=False,
                )
            except TemporaryError:
                page, seen, wait_seconds = [], ID_MAX, _UNREADABLE_SECONDS
            if page:
                after = page[-1]["id"]
                yield b"".join(_frame(event) for event in page)
                continue
            try:
                async with asyncio.timeout(wait_seconds):
                    await journal_signal.wait_beyond(seen)
            except TimeoutError:
                yield b": still here\n\n"


class _Stream(StreamingResponse):
    """A response that is counted for as long as it lasts, however it ends."""

    def __init__(self, streams: Streams, content: AsyncIterator[bytes]) -> None:
        self._streams = streams
        # nginx would hold events back until its buffer is full.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams = self._streams
        if scope.get(HEAD_ONLY):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if streams.count >= streams.count_max:
            detail = f"{streams.count} streams are open, which is all; ask GET /v1/events instead"
            problem = Problem(503, "too-many-streams", detail, headers={"Retry-After": "5"})
            await problem.response()(scope, receive, send)
            return
        streams.count += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            streams.count -= 1


def _frame(event: Any) -> bytes:
    # No `event:` field, so that a browser's `onmessage` gets all of them; the kind is in the data.
    # Clients pass over fields of SSE that they do not know.
    mark = mark_of(event).encode()
    return b"id: %d\nmark: %s\ndata: %s\n\n" % (event["id"], mark, msgspec.json.encode(event))


def _lost_frame(position: Position, why: str) -> bytes:
    # The id makes a browser come back with 0, which is of every journal.
    data = msgspec.json.encode({"after": position.after, "begins": 0, "reason": why})
    return b"event: anew\nid: 0\ndata: %s\n\n" % data


@router.get(
    "",
    summary="List events",
    response_model=shapes.EventList,
    dependencies=[Depends(may_read)],
    responses=problems(401, 422),
)
def list_events(
    backend: Served,
    after: Annotated[
        int | None,
        Query(description="Only events behind this id; without it the newest.", ge=0, le=ID_MAX),
    ] = None,
    limit: Annotated[
        int, Query(description="The most that are returned.", ge=1, le=LIMIT_MAX)
    ] = 100,
    node: _Node = None,
    mark: _Mark = None,
) -> Response:
    """Return events in order of their ids: behind `after`, or else the newest ones.

    Where `after` is of another journal, `anew` says so, and the events are those from the beginning
    of this one. Give `mark` with `after`: it is what the page that had that event said.
    """
    anew = None if after is None else why_lost(backend.events, Position(after, mark))
    begin = 0 if after is None or anew is not None else after
    events = list(
        backend.events.events(after=begin, limit=limit, node=node, newest_first=after is None)
    )
    if after is None:
        events.sort(key=lambda event: int(event["id"]))
    body = {
        "events": events,
        "last": backend.events.last_sequence(),
        "mark": mark_of(events[-1]) if events else None,
        "anew": anew,
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.get(
    "/stream",
    summary="Follow events",
    dependencies=[Depends(may_read)],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events; `data` is an Event as JSON, `id` is its id, `mark` "
            "its mark. One of the kind `anew` says that the place to begin is of another journal.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'id: 4711\ndata: {"id":4711,"event":"transition"}\n\n',
                }
            },
        },
        **problems(401, 422, 503),
    },
)
async def follow_events(
    request: Request,
    backend: Served,
    *,
    after: Annotated[
        int | None,
        Query(description="Begin behind this id; 0: from the beginning.", ge=0, le=ID_MAX),
    ] = None,
    node: _Node = None,
    mark: _Mark = None,
    last_event_id: Annotated[
        str | None,
        Header(
            description="The id seen last, as browsers send it by themselves, or `ID-MARK`; wins "
            "over `after`."
        ),
    ] = None,
) -> StreamingResponse:
    """Send events as they are written, without end, as a stream of server-sent events.

    Without `after` and `Last-Event-ID` it begins with what happens next. A comment comes every
    15 s when nothing happens. The stream ends when the monitor does; come again with the last id.
    Where that is of another journal, an SSE event `anew` says so, and this one begins anew.
    """
    if last_event_id is not None:
        position = read_position(last_event_id)
    elif after is not None:
        position = Position(after, mark)
    else:
        position = Position(await run_in_threadpool(backend.events.last_sequence))
    streams: Streams = request.app.state.streams
    return _Stream(streams, streams.follow(backend, position, node))
