"""/ping/NAME/KEY: the bare URL, a heartbeat that needs nothing but `curl`.

    curl -fsS https://monitor/ping/backup/k3y               well, the next within 60 s
    curl -fsS https://monitor/ping/backup/k3y?interval=1d   well, the next within a day
    curl -fsS https://monitor/ping/backup/k3y/fail          here, but ill
    curl -fsS https://monitor/ping/backup/k3y/exit/$?       0 is well, anything else is ill
    curl -fsS https://monitor/ping/backup/k3y/start         a job begins a run; the others end it

Anything wrong in name or key is the same 404, so the answer does not reveal names. A job that ended
with an error spoke on time: its node is failing, not dead, and well again with the next good ping.
A body, such as the job's log, is not needed: the ping counts before it is read, whatever its size.
Raw ASGI, as `heartbeat`.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from beatward.core.instants import DAY, MILLISECOND, MINUTE, parse_duration
from beatward.core.intake import Via
from beatward.core.protocol.record import (
    EXIT_CODE_MAX,
    EXIT_CODE_MIN,
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    seal,
    with_exit_code,
)
from beatward.core.snapshot import Snapshot
from beatward.errors import Busy, did_you_mean
from beatward.web.access import Keyring
from beatward.web.backend import Backend
from beatward.web.bounds import BODY_SIZE_MAX, DROPPED_SIZE_MAX, drop_body
from beatward.web.enrolment import enrol_if_unknown
from beatward.web.problems import shown
from beatward.web.strangers import Strangers

PREFIX = "/ping/"
INTERVAL_NS = MINUTE
# The wire counts milliseconds in 32 bits: 49.7 days.
INTERVAL_MAX_NS = 49 * DAY
_EXIT_CODE = re.compile(r"-?[0-9]{1,10}")
_METHODS = ("GET", "POST", "HEAD")


class PingDoor:
    """Takes bare URLs; owns nothing but counters."""

    def __init__(self, backend: Backend, keyring: Keyring, strangers: Strangers) -> None:
        self._strangers = strangers
        self._machine = backend.machine
        self._session = backend.identity.session
        self._keyring = keyring
        self.counts = {"taken": 0, "refused": 0}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request whose path begins with /ping/; its body is read and forgotten."""
        try:
            response = self._answer(scope)
        except Busy as error:
            response = _text(503, f"not now: {error}", {"Retry-After": "1"})
        self.counts["taken" if response.status_code == 200 else "refused"] += 1
        # The ping has counted by now. A long body is read only from a client that has the key.
        size_max = DROPPED_SIZE_MAX if response.status_code == 200 else BODY_SIZE_MAX
        if not await drop_body(scope, receive, size_max):
            response.headers["Connection"] = "close"
        await response(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in _METHODS:
            return _text(405, "only GET, POST and HEAD", {"Allow": ", ".join(_METHODS)})
        name, *rest = scope["path"][len(PREFIX) :].split("/")
        key, *parts = rest or [""]
        keys = self._keyring.admit_ping(name, key)
        ping = _read_ping(parts)
        if keys is None:
            self._strangers.note(name, scope, "ping")
        if keys is None or ping is None:
            return _text(404, "not found")
        if not EXIT_CODE_MIN <= (ping.exit_code or 0) <= EXIT_CODE_MAX:
            expected = f"expected {EXIT_CODE_MIN} to {EXIT_CODE_MAX}"
            return _text(422, f"exit code: found {ping.exit_code}, {expected}")
        snapshot = self._machine.snapshot()
        row = snapshot.find(name)
        if row in snapshot.state.jobs.records and ping.exit_code is not None:
            # Of a job's run the code is told too; of a node's heartbeat there is no place for it.
            ping = _ended(ping.exit_code)
        try:
            interval_ns = _interval_ns(scope["query_string"]) or _known_interval_ns(snapshot, row)
        except ValueError as error:
            return _text(422, str(error))
        record = Record(
            kind=ping.kind,
            node=keys.node,
            incarnation=1,
            sequence=0,
            interval_ms=interval_ns // MILLISECOND,
            status=ping.status,
            flags=ping.flags,
            echo=self._session,
        )
        if ping.kind == Kind.GOODBYE and ping.exit_code is not None:
            record = with_exit_code(record, ping.exit_code)
        is_taken = enrol_if_unknown(self._machine, name) and self._machine.submit(
            seal(record, keys.key), Via.PING
        )
        if not is_taken:
            return _text(503, "the monitor's inbox is full", {"Retry-After": "1"})
        return _text(200, "ok")


@dataclass(frozen=True, slots=True)
class _Ping:
    """What the words behind the key say, as fields of a record."""

    kind: Kind = Kind.HEARTBEAT
    status: int = Health.WELL
    flags: int = 0
    exit_code: int | None = None


def _read_ping(parts: list[str]) -> _Ping | None:
    if not parts:
        return _Ping()
    if parts == ["start"]:
        return _Ping(flags=Flag.STARTED)
    if parts == ["fail"]:
        return _Ping(status=Health.ILL)
    if len(parts) == 2 and parts[0] == "exit" and _EXIT_CODE.fullmatch(parts[1]):
        code = int(parts[1])
        return _Ping(status=Health.ILL if code else Health.WELL, exit_code=code)
    return None


def _ended(code: int) -> _Ping:
    farewell = Farewell.EXITED if code else Farewell.LEFT
    return _Ping(Kind.GOODBYE, farewell, exit_code=code)


def _known_interval_ns(snapshot: Snapshot, row: int) -> int:
    """Return what the node promised before: a URL with /exit/$? need not repeat it."""
    known = 0 if row < 0 else int(snapshot.state.registry.interval_ms[row]) * MILLISECOND
    return known or INTERVAL_NS


def _interval_ns(query: bytes) -> int:
    """Return the promise in a query, 0 when there is none; raises ValueError."""
    if not query:
        return 0
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=8)
    for name in asked.keys() - {"interval"}:
        # Ignored, a mistyped `intervall` would promise the next ping within the usual 60 s.
        found = f"{shown(name)} is no parameter of this URL, `interval` is the only one"
        raise ValueError(found + did_you_mean(name, ("interval",)))
    values = [value for value in asked.get("interval", ()) if value]
    if not values:
        return 0
    interval_ns = parse_duration(values[-1])
    if not MILLISECOND <= interval_ns <= INTERVAL_MAX_NS:
        message = f"interval: found {values[-1]!r}, expected 1ms to {INTERVAL_MAX_NS // DAY}d"
        raise ValueError(message)
    return interval_ns


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status, headers)
