"""uvicorn inside its caller's event loop: no signal handlers, no log of its own, a clean end.

Route: `server` binds a socket and awaits `Listener.serve([socket])`; to end it calls `end`.
Open streams would keep uvicorn from ever exiting, so they are ended first. uvicorn bounds neither
how long a request may take to arrive, nor how long its head may be, nor how many connections one
address may hold. Without these limits one client fills the memory by a head without an end, and a
thousand idle connections take the file descriptors that the journal and the actions need.
"""

import asyncio
import functools
import logging
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from beatward.web.journal_signal import JournalSignal

_log = logging.getLogger(__name__)
# Refused connections are reported after this many ticks of the loop, which come once a second.
_WARNING_TICKS = 60
# At most this many addresses are counted between two reports.
_REFUSED_MAX = 1000
# A client that does not read its answer must not hold the monitor's end up.
_GRACE_SECONDS = 3
# Each connection is a file descriptor and some 10 kB; a further one is answered 503.
CONNECTIONS_MAX = 20_000
# One address holds at most this share of them: a proxy or a NAT router stands for many nodes, and
# what is left still serves everybody else.
SOURCE_SHARE = 4
# File descriptors that connections never take: the journal, datagrams, actions with their pipes,
# and the connections that are accepted in one go before the limit is looked at.
RESERVED_FILES = 512
# Connections accepted in one go; as many may wait in the kernel as before.
_ACCEPTED_AT_ONCE = 128
_WAITING_MAX = 2048
# The largest honest head is some 600 bytes. Apache allows 8 KiB a line and 100 lines.
HEAD_SIZE_MAX = 16 * 1024
HEADERS_MAX = 64
# From the first byte of a connection, or of the next request on it, to the end of its headers.
# Apache's mod_reqtimeout allows 20 s, nginx 60 s; ours are some hundred bytes.
HEAD_SECONDS = 10.0
# From there to the end of the body. 64 KiB need 2 kB/s; the log of a job may be longer.
BODY_SECONDS = 30.0


def _closing(status: str, text: str) -> bytes:
    """Return a whole answer after which the connection ends."""
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"connection: close\r\n\r\n{text}\n"
    ).encode()


_TIMED_OUT = _closing("408 Request Timeout", "the request did not arrive in time")
_TOO_LARGE = _closing(
    "431 Request Header Fields Too Large",
    f"a request's head may have {HEAD_SIZE_MAX} bytes and {HEADERS_MAX} headers; this one has more",
)
_TOO_MANY = _closing(
    "503 Service Unavailable", "this address, or the monitor, has too many connections; try again"
)


class Places:
    """Counts connections: at most `count_max` in all, and a share of them from one address."""

    def __init__(self, count_max: int) -> None:
        self.count_max = count_max
        self.per_source_max = max(count_max // SOURCE_SHARE, 1)
        self._by_source: Counter[str] = Counter()
        self._count = 0
        self._refused: Counter[str] = Counter()

    def take(self, source: str) -> bool:
        """Count one more connection of an address; False: it has no place."""
        if self._count >= self.count_max or self._by_source[source] >= self.per_source_max:
            if len(self._refused) < _REFUSED_MAX or source in self._refused:
                self._refused[source] += 1
            return False
        self._by_source[source] += 1
        self._count += 1
        return True

    def give_back(self, source: str) -> None:
        """Count one connection of an address less."""
        self._count -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]

    def take_refused(self) -> Counter[str]:
        """Return how many connections were refused since the last call, by address."""
        refused, self._refused = self._refused, Counter()
        return refused


class _HeadTooLarge(Exception):
    """Leaves the parser, which makes an error of its own of it."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with limits for a request's head and for how long it may take.

    places                       where its connection is counted
    head_seconds, body_seconds   how long each may take to arrive
    """

    def __init__(
        self, *, places: Places, head_seconds: float, body_seconds: float, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self._places = places
        self._head_seconds = head_seconds
        self._body_seconds = body_seconds
        self._arrival: asyncio.TimerHandle | None = None
        self._source: str | None = None  # whose place this connection has taken
        # Bytes that came for a head that is not complete, and those of the part that came last.
        self._head_size = self._part_size = 0
        self._is_in_head = True
        self.url, self.headers = b"", []  # uvicorn has none before the first request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first request, if there is a place for this connection."""
        super().connection_made(transport)
        source = self.client[0] if self.client else ""
        if not self._places.take(source):
            self._refuse(_TOO_MANY)
            return
        self._source = source
        # A browser connects ahead of need, and would take an answer for that to its next request.
        self._allow(self._head_seconds, is_answered=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._allow(None)
        if self._source is not None:
            self._places.give_back(self._source)
            self._source = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; where nothing was waited for, begin to wait for the end of a head."""
        cycle = self._request()
        if self._arrival is None and (cycle is None or cycle.response_complete):
            self._allow(self._head_seconds)
        self._part_size = len(data)
        super().data_received(data)
        if self._is_in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_SIZE_MAX and not self.transport.is_closing():
                self._refuse(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or what has a head that is too large."""
        if self._is_head_too_large():
            self._refuse(_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _refuse(self, answer: bytes) -> None:
        self._allow(None)
        self.transport.write(answer)
        self.transport.close()

    def _is_head_too_large(self) -> bool:
        if not self._is_in_head:
            return False
        if len(self.headers) > HEADERS_MAX:
            return True
        # What came in all bounds the head, so hardly any request needs its bytes counted.
        if max(self._head_size, 0) + self._part_size <= HEAD_SIZE_MAX:
            return False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        return size > HEAD_SIZE_MAX

    def on_message_begin(self) -> None:
        """Begin to wait for the end of a head."""
        super().on_message_begin()
        self._allow(self._head_seconds)

    def on_headers_complete(self) -> None:
        """Begin to wait for the end of a body, if the head is within its limits."""
        if self._is_head_too_large():
            raise _HeadTooLarge
        self._is_in_head, self._head_size = False, 0
        super().on_headers_complete()
        self._allow(self._body_seconds)

    def on_message_complete(self) -> None:
        """Note that the request is here; how long its answer takes is the monitor's affair."""
        # What else came in this part belongs to the next head, and is counted when that is whole.
        self._is_in_head, self._head_size = True, -self._part_size
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


def connections_allowed() -> int:
    """Return how many connections there may be, and raise the process's limit of files for them.

    The soft limit of most systems is 1,024 descriptors; a process may raise it to the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return CONNECTIONS_MAX
    return max(soft - RESERVED_FILES, soft // 4)


class Listener(uvicorn.Server):
    """Serves one application until `should_exit`."""

    def __init__(
        self,
        app: ASGIApp,
        journal_signal: JournalSignal,
        *,
        head_seconds: float = HEAD_SECONDS,
        body_seconds: float = BODY_SECONDS,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """Take an application; `head_seconds`, `body_seconds`: how long each may take to arrive."""
        self.places = Places(connections_max)
        protocol = functools.partial(
            BoundedProtocol,
            places=self.places,
            head_seconds=head_seconds,
            body_seconds=body_seconds,
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
            backlog=_ACCEPTED_AT_ONCE,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._journal_signal = journal_signal
        self._is_ending = asyncio.Event()
        self._ticks_to_warning = 0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they belong to the program."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_WAITING_MAX)

    def end(self) -> None:
        """Let `serve` end in order; called in the loop's thread."""
        self.should_exit = True
        self._is_ending.set()

    async def main_loop(self) -> None:
        """Renew the date of all answers once a second until the end; uvicorn looks ten times."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), 1)
            self._warn_of_refused()

    def _warn_of_refused(self) -> None:
        self._ticks_to_warning -= 1
        if self._ticks_to_warning > 0:
            return
        refused = self.places.take_refused()
        if refused:
            self._ticks_to_warning = _WARNING_TICKS
            (source, count), *others = refused.most_common()
            more = f", and {sum(refused.values()) - count:,} from {len(others)} others"
            _log.warning(
                "%s connections from %s were refused%s: at most %s may be open at a time, and %s "
                "from one address",
                f"{count:,}",
                source or "the socket",
                more if others else "",
                f"{self.places.count_max:,}",
                f"{self.places.per_source_max:,}",
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self._journal_signal.close()
        await super().shutdown(sockets)
