"""The web put together: `create_app(backend)` returns one ASGI application.

    server ─► Front ─┬─► PingDoor                          /ping/...
                     └─► BoundedBodies ─┬─► HeartbeatDoor   POST /v1/nodes/{name}/heartbeat
                                        ├─► RecordsDoor     POST /v1/records
                                        └─► FastAPI         all the rest

The doors in front of the router are asked thousands of times a second; they are described in
OpenAPI by hand (`openapi`). Not here: any route's own work.
"""

from typing import Any

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from beatward import __version__
from beatward.web import (
    agents,
    declaring,
    enrolment,
    events,
    guards,
    health,
    heartbeat,
    jobs,
    metrics,
    nodes,
    pages,
    ping,
    problems,
    quality,
    records,
    reports,
    services,
    upkeep,
)
from beatward.web.access import Keyring
from beatward.web.backend import Backend
from beatward.web.bounds import BoundedBodies
from beatward.web.challenges import Challenges
from beatward.web.events import HEAD_ONLY, Streams
from beatward.web.openapi import describe
from beatward.web.strangers import Strangers
from beatward.web.strictness import refuse_unknown

_DESCRIPTION = """
beatward watches nodes by their heartbeats and says why it holds a node to be what it is.

Instants are RFC 3339 in UTC with milliseconds; durations are integers of nanoseconds in members
that end in `_ns`. Errors are `application/problem+json`. Events have ids that only grow; they are
shown when they are on disk, never before.
"""


class Front:
    """Tells the doors from the rest by the path alone."""

    def __init__(
        self,
        router: ASGIApp,
        *,
        heartbeats: heartbeat.HeartbeatDoor,
        of_relays: records.RecordsDoor,
        pings: ping.PingDoor,
    ) -> None:
        self._router = router
        self._heartbeats = heartbeats
        self._of_relays = of_relays
        self._pings = pings
        self._bounded = BoundedBodies(self._serve)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope.get("path", "").startswith(ping.PREFIX):
            await self._pings.serve(scope, receive, send)
        else:
            await self._bounded(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if path.startswith(heartbeat.PREFIX) and path.endswith(heartbeat.SUFFIX):
            await self._heartbeats.serve(scope, receive, send)
        elif path == records.PATH:
            await self._of_relays.serve(scope, receive, send)
        elif scope.get("method") == "HEAD":
            # Whatever can be got has a head. The server sends no body to who asked for none.
            await self._router({**scope, "method": "GET", HEAD_ONLY: True}, receive, send)
        else:
            await self._router(scope, receive, send)


def create_app(backend: Backend, *, streams: Streams | None = None) -> ASGIApp:
    """Return the web of one monitor; `streams` sets limits other than the usual ones."""
    keyring = Keyring(backend.identity.master, backend.key_records)
    strangers = Strangers(backend.machine.now_ns)
    heartbeats = heartbeat.HeartbeatDoor(backend, keyring, strangers)
    of_relays = records.RecordsDoor(backend, keyring)
    pings = ping.PingDoor(backend, keyring, strangers)
    router = create_router()
    router.state.backend = backend
    router.state.keyring = keyring
    router.state.strangers = strangers
    router.state.challenges = Challenges(backend.machine.now_ns)
    router.state.spacing = reports.Spacing()
    router.state.streams = streams or Streams()
    doors = {
        "heartbeat": heartbeats.counts,
        "records": of_relays.counts,
        "ping": pings.counts,
    }
    router.state.metrics = metrics.make_registry(backend, doors, router.state.streams)
    return Front(router, heartbeats=heartbeats, of_relays=of_relays, pings=pings)


def create_router() -> FastAPI:
    """Return what stands behind the front; its `openapi()` describes the front as well."""
    app = FastAPI(
        title="beatward",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # FastAPI's own page loads its script from a CDN; ours (`pages`) needs no other server.
        docs_url=None,
        redoc_url=None,
        openapi_tags=_TAGS,
        dependencies=[Depends(refuse_unknown)],
        # Short names for those who generate clients; FastAPI would append path and method.
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    rooms = (
        *(health, guards, nodes, services, quality, upkeep, jobs, events),
        *(enrolment, agents, declaring, reports, metrics, pages),
    )
    for room in rooms:
        app.include_router(room.router)
    describe(app)
    return app


_TAGS: list[dict[str, Any]] = [
    {"name": "monitor", "description": "How the monitor and its fleet are."},
    {"name": "nodes", "description": "Asking about nodes, and commanding them."},
    {"name": "services", "description": "What nodes offer, and who holds its role."},
    {"name": "upkeep", "description": "Maintenance, acknowledged alarms, silences."},
    {"name": "jobs", "description": "Nodes that run now and then, and their runs."},
    {"name": "events", "description": "The journal: what happened, and what happens."},
    {"name": "heartbeats", "description": "Heartbeats over HTTP."},
    {
        "name": "agents",
        "description": "Enrolment, actions that agents run, services that they declare.",
    },
]
