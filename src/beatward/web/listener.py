"""uvicorn inside somebody else's event loop: no signal handlers, no log of its own, a clean end.

Route: `server` binds a socket and awaits `Listener.serve([socket])`; to end it sets `should_exit`.
Open streams would keep uvicorn from ever exiting, so they are ended first.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from beatward.web.bulletin import Bulletin

# A client that does not read its answer must not hold the monitor's end up.
_GRACE_SECONDS = 3
# Each connection is a file descriptor and some 10 kB; beyond this uvicorn answers 503.
CONNECTIONS_MAX = 20_000


class Listener(uvicorn.Server):
    """Serves one application until `should_exit`."""

    def __init__(self, app: ASGIApp, bulletin: Bulletin) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
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

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they belong to the program."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self._bulletin.close()
        await super().shutdown(sockets)
