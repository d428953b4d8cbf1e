"""POST /v1/nodes/{name}/heartbeat: the heartbeat as JSON, for nodes that cannot send datagrams.

Raw ASGI in front of the router, because a heartbeat is asked for thousands of times a second and
anything else now and then (`beatward bench http`). The JSON becomes the same record of
64 bytes that a datagram holds, sealed with the node's key, and goes the same way through the
inbox: one judge for all doors. Not here: whether the record is believed (`core`).
"""

from typing import Annotated, Literal

import msgspec
from starlette.types import Receive, Scope, Send

from beatward.core.instants import MILLISECOND, parse_duration
from beatward.core.intake import Via
from beatward.core.order_kinds import Join
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.join import encoded
from beatward.core.protocol.record import (
    EXIT_CODE_MAX,
    EXIT_CODE_MIN,
    INCARNATION_MAX,
    INTERVAL_MS_MAX,
    NO_GAUGE,
    SEQUENCE_MAX,
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    gauge,
    newer_life,
    seal,
    with_exit_code,
)
from beatward.core.protocol.report import (
    METRIC_COUNT_MAX,
    METRIC_MAX,
    METRIC_NAME,
    REASON_LENGTH_MAX,
    check_own_metrics,
    check_reason,
)
from beatward.core.protocol.texts import LINE
from beatward.transport.peer import pack_peer
from beatward.web.access import Keyring, NodeKeys, no_bearer_of, shown_token
from beatward.web.backend import Backend
from beatward.web.bounds import read_body
from beatward.web.problems import Problem, inbox_full
from beatward.web.reports import note_of_heartbeat
from beatward.web.strangers import Strangers
from beatward.web.strictness import refuse_parameters

PREFIX = "/v1/nodes/"
SUFFIX = "/heartbeat"
_JSON_HEADERS = [(b"content-type", b"application/json")]

_Meta = msgspec.Meta
# 16 bits of hundredths; a process on several cores may use more than 100 percent.
_Percent = Annotated[float, _Meta(ge=0, le=655.34)]
_MetricName = Annotated[str, _Meta(pattern=f"^{METRIC_NAME}$")]
_Metric = Annotated[float, _Meta(ge=-METRIC_MAX, le=METRIC_MAX)]
# Shown only: our own words about a wrong duration are better than a pattern.
_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
_KINDS = {
    "heartbeat": Kind.HEARTBEAT,
    "goodbye": Kind.GOODBYE,
    "probe_reply": Kind.PROBE_REPLY,
}


class HeartbeatBody(msgspec.Struct, forbid_unknown_fields=True):
    """One heartbeat. Say the interval once: as `interval` or as `interval_ms`."""

    incarnation: Annotated[
        int,
        _Meta(
            ge=1,
            le=INCARNATION_MAX,
            description="One life of the node: microseconds since 1970 at its start do well.",
        ),
    ]
    sequence: Annotated[
        int,
        _Meta(ge=0, le=SEQUENCE_MAX, description="Index of this heartbeat on your schedule."),
    ]
    interval_ms: Annotated[
        Annotated[int, _Meta(ge=1, le=INTERVAL_MS_MAX)] | None,
        _Meta(description="The next heartbeat is promised within this of this one."),
    ] = None
    interval: Annotated[
        Annotated[str, _Meta(max_length=32, extra_json_schema={"pattern": _DURATION})] | None,
        _Meta(description="The same as a duration: `2s`, `5m`; 1ms to 49d."),
    ] = None
    kind: Annotated[
        Literal["heartbeat", "goodbye", "probe_reply"],
        _Meta(description="`goodbye` when the node ends in order or its process has exited."),
    ] = "heartbeat"
    status: Annotated[
        Literal["ok", "failing"], _Meta(description="What the node says of its own service.")
    ] = "ok"
    exit_code: Annotated[
        Annotated[int, _Meta(ge=EXIT_CODE_MIN, le=EXIT_CODE_MAX)] | None,
        _Meta(description="With `goodbye`: the process ended with this; a signal is negative."),
    ] = None
    cpu: Annotated[_Percent | None, _Meta(description="Percent in use.")] = None
    memory: Annotated[_Percent | None, _Meta(description="Percent in use.")] = None
    load: Annotated[
        Annotated[float, _Meta(ge=0, le=1e6)] | None,
        _Meta(description="Load average: runnable processes."),
    ] = None
    reason: Annotated[
        Annotated[str, _Meta(max_length=REASON_LENGTH_MAX, pattern=f"^{LINE}$")] | None,
        _Meta(description="With `failing`: why, on one line; left out: as before."),
    ] = None
    metrics: Annotated[
        Annotated[dict[_MetricName, _Metric], _Meta(max_length=METRIC_COUNT_MAX)] | None,
        _Meta(description="Numbers of its own, by name; left out: as before."),
    ] = None
    echo: Annotated[
        Annotated[int, _Meta(ge=0, le=2**32 - 1)],
        _Meta(description="What the last answer carried as `echo`; 0 when there was none yet."),
    ] = 0

    def __post_init__(self) -> None:
        """Say what the types cannot: one interval, and an exit code only with a goodbye."""
        if (self.interval is None) == (self.interval_ms is None):
            message = 'expected either `interval` or `interval_ms`, as in "interval": "2s"'
            raise ValueError(message)
        if self.exit_code is not None and self.kind != "goodbye":
            message = 'expected no `exit_code` with this kind, or "kind": "goodbye"'
            raise ValueError(message)
        check_reason(self.reason or "")
        check_own_metrics(self.metrics or {})
        if not 0 < self.promised_ms() <= INTERVAL_MS_MAX:
            message = f"expected an interval of 1 to {INTERVAL_MS_MAX} milliseconds"
            raise ValueError(message)

    def promised_ms(self) -> int:
        """Return the promised interval in milliseconds."""
        if self.interval_ms is not None:
            return self.interval_ms
        assert self.interval is not None
        return parse_duration(self.interval) // MILLISECOND


class HeartbeatAnswer(msgspec.Struct):
    """What the monitor has to say; a first heartbeat is posted again at once with this `echo`."""

    echo: Annotated[
        int,
        _Meta(
            description="The number of the monitor's session. A new life of a node is believed "
            "only after a heartbeat that carried it."
        ),
    ]
    interval_ms: Annotated[int, _Meta(description="The interval as it was understood.")]
    mail: Annotated[bool, _Meta(description="An action waits: POST /v1/agent/inbox fetches it.")]
    known: Annotated[
        bool,
        _Meta(
            description="False: this heartbeat has enrolled the node, so the monitor knows neither "
            "labels nor job of it: POST /v1/agent/node declares them."
        ),
    ]
    incarnation: Annotated[
        int,
        _Meta(
            description="The newest life that is known of this node, 0: none. A heartbeat of a "
            "lower one is taken and never believed: go on with this plus one."
        ),
    ]
    newer: Annotated[
        str | None,
        _Meta(
            description="Where a newer life is known: the same as a sealed acknowledgement, "
            "base64url; see docs/protocol.md."
        ),
    ] = None


class HeartbeatDoor:
    """Takes JSON heartbeats; owns nothing but counters."""

    def __init__(self, backend: Backend, keyring: Keyring, strangers: Strangers) -> None:
        self._strangers = strangers
        self._machine = backend.machine
        self._mail = backend.mail
        self._session = backend.identity.session
        self._keyring = keyring
        self._decoder = msgspec.json.Decoder(HeartbeatBody)
        self._encoder = msgspec.json.Encoder()
        self.counts = {"taken": 0, "refused": 0}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request whose path has this door's form."""
        try:
            body = await self._take(scope, receive)
        except Problem as problem:
            self.counts["refused"] += 1
            await problem.response()(scope, receive, send)
            return
        self.counts["taken"] += 1
        size = str(len(body)).encode()
        headers = [*_JSON_HEADERS, (b"content-length", size)]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _take(self, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] != "POST":
            detail = f"{scope['method']} is not possible here, but POST is"
            raise Problem(405, "method-not-allowed", detail, headers={"Allow": "POST"})
        name = scope["path"][len(PREFIX) : -len(SUFFIX)]
        keys = self._keyring.admit_bearer(name, shown_token(scope))
        if keys is None:
            self._strangers.note(name, scope, "http")
            raise no_bearer_of(name)
        refuse_parameters(scope["query_string"], ())
        heartbeat = self._decode(await read_body(receive))
        registry = self._machine.snapshot().state.registry
        slot = registry.slot_of(name)
        if slot < 0 and not self._machine.order(Join(name)):
            raise inbox_full()
        self._note_report(name, heartbeat)
        data = seal(_record(heartbeat, keys), keys.key)
        if not self._machine.submit(data, Via.HTTP, _peer(scope)):
            raise inbox_full()
        life = int(registry.incarnation[slot]) if slot >= 0 else 0
        answer = HeartbeatAnswer(
            self._session,
            heartbeat.promised_ms(),
            self._mail.has_mail(name),
            known=slot >= 0,
            incarnation=life,
            newer=self._newer(keys, life) if heartbeat.incarnation < life else None,
        )
        return self._encoder.encode(answer)

    def _note_report(self, name: str, heartbeat: HeartbeatBody) -> None:
        reason, metrics = heartbeat.reason, heartbeat.metrics
        life = heartbeat.incarnation
        if not note_of_heartbeat(self._machine, name, life, reason=reason, metrics=metrics):
            raise inbox_full()

    def _newer(self, keys: NodeKeys, incarnation: int) -> str:
        data = newer_life(keys.node, keys.key, incarnation=incarnation, session=self._session)
        return encoded(data)

    def _decode(self, body: bytes) -> HeartbeatBody:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise Problem(422, "not-as-expected", f"the heartbeat: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, "no-json", f"expected a heartbeat as JSON: {error}") from error


def _peer(scope: Scope) -> bytes:
    """Return the raw address of who asks, or zeros where it is none of the Internet's."""
    try:
        return pack_peer(scope.get("client") or ("", 0))
    except ValueError:
        return bytes(PEER_SIZE)


def _record(heartbeat: HeartbeatBody, keys: NodeKeys) -> Record:
    status, cpu = _status_and_cpu(heartbeat)
    record = Record(
        kind=_KINDS[heartbeat.kind],
        node=keys.node,
        incarnation=heartbeat.incarnation,
        sequence=heartbeat.sequence,
        interval_ms=heartbeat.promised_ms(),
        status=status,
        flags=Flag(0),
        cpu=cpu,
        memory=gauge(heartbeat.memory),
        load=gauge(heartbeat.load),
        echo=heartbeat.echo,
    )
    if heartbeat.exit_code is None:
        return record
    return with_exit_code(record, heartbeat.exit_code)


def _status_and_cpu(heartbeat: HeartbeatBody) -> tuple[int, int]:
    if heartbeat.kind == "goodbye":
        if heartbeat.exit_code is None:
            return Farewell.LEFT, NO_GAUGE
        return Farewell.EXITED, NO_GAUGE
    if heartbeat.kind == "probe_reply":
        return 0, gauge(heartbeat.cpu)
    return (Health.ILL if heartbeat.status == "failing" else Health.WELL), gauge(heartbeat.cpu)
