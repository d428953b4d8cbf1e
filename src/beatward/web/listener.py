"""uvicorn inside its caller's event loop: no signal handlers, no log of its own, a clean end.

Route: `server` binds a socket and awaits `Listener.serve([socket])`; to end it calls `end`.
Open streams would keep uvicorn from ever exiting, so they are ended first. uvicorn has no limit for
how long a request may take to arrive; without one, a few hundred clients that begin a request and
say no more take every file descriptor there is.
"""

import asyncio
import functools
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from beatward.web.bulletin import Bulletin

# A client that does not read its answer must not hold the monitor's end up.
_GRACE_SECONDS = 3
# Each connection is a file descriptor and some 10 kB; beyond this uvicorn answers 503.
CONNECTIONS_MAX = 20_000
# From the first byte of a connection, or of the next request on it, to the end of its headers.
# Apache's mod_reqtimeout allows 20 s, nginx 60 s; ours are some hundred bytes.
HEAD_SECONDS = 10.0
# From there to the end of the body. 64 KiB need 2 kB/s; the log of a job may be longer.
BODY_SECONDS = 30.0
_TIMED_OUT = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"the request did not arrive in time\n"
)


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with an end to how long a request may take to arrive, in seconds."""

    def __init__(self, *, head_seconds: float, body_seconds: float, **rest: Any) -> None:
        super().__init__(**rest)
        self._head_seconds = head_seconds
        self._body_seconds = body_seconds
        self._arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first request."""
        super().connection_made(transport)
        # A browser connects ahead of need, and would take an answer for that to its next request.
        self._allow(self._head_seconds, is_answered=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._allow(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; where nothing was waited for, begin to wait for the end of a head."""
        cycle = self._request()
        if self._arrival is None and (cycle is None or cycle.response_complete):
            self._allow(self._head_seconds)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to wait for the end of a head."""
        super().on_message_begin()
        self._allow(self._head_seconds)

    def on_headers_complete(self) -> None:
        """Begin to wait for the end of a body."""
        super().on_headers_complete()
        self._allow(self._body_seconds)

    def on_message_complete(self) -> None:
        """Note that the request is here; how long its answer takes is the monitor's affair."""
        self._allow(None)
        super().on_message_complete()

    def _allow(self, seconds: float | None, *, is_answered: bool = True) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        if seconds is not None:
            self._arrival = self.loop.call_later(seconds, self._give_up, is_answered)

    def _give_up(self, is_answered: bool) -> None:  # noqa: FBT001  asyncio calls by position
        if self.transport.is_closing():
            return
        cycle = self._request()  # whose body does not come, or the one before this head
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            self._allow(self._head_seconds)  # that one is still being answered
            return
        if cycle is not None and cycle.more_body:
            is_answered = is_answered and not cycle.response_started
            # The door that reads the body hears that the client is gone.
            cycle.disconnected = True
            cycle.message_event.set()
        if is_answered:
            self.transport.write(_TIMED_OUT)
        self.transport.close()

    def _request(self) -> RequestResponseCycle | None:
        """Return the newest request; uvicorn has none before the first, whatever its types say."""
        return self.cycle


class Listener(uvicorn.Server):
    """Serves one application until `should_exit`."""

    def __init__(
        self,
        app: ASGIApp,
        bulletin: Bulletin,
        *,
        head_seconds: float = HEAD_SECONDS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """Take an application; `head_seconds`, `body_seconds`: how long each may take to arrive."""
        protocol = functools.partial(
            TimedProtocol, head_seconds=head_seconds, body_seconds=body_seconds
        )
        config = uvicorn.Config(
            app,
            # Called as the class would be.
            http=protocol,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # We trust no forwarded address: see `access`.
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._bulletin = bulletin
        self._is_ending = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they belong to the program."""
        yield

    def end(self) -> None:
        """Let `serve` end in order; called in the loop's thread."""
        self.should_exit = True
        self._is_ending.set()

    async def main_loop(self) -> None:
        """Renew the date of all answers once a second until the end; uvicorn looks ten times."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self._bulletin.close()
        await super().shutdown(sockets)
