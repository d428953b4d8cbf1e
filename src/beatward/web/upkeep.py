"""What operators say of nodes: maintenance of one or many, alarms they know of, silences.

Each is an order to the inbox; what follows from it appears in the journal. Not here: what it means
(`core.upkeep`).
"""

import secrets
from collections.abc import Mapping, Sequence
from heapq import nlargest, nsmallest
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from beatward.core.entry import Silence
from beatward.core.instants import DAY, NEVER, parse_duration
from beatward.core.membership import Status
from beatward.core.order_kinds import (
    Acknowledge,
    AddSilence,
    EndSilence,
    Order,
    Pause,
    Resume,
    Unacknowledge,
)
from beatward.core.protocol.keys import NAME_LENGTH_MAX, is_pattern
from beatward.core.snapshot import Snapshot
from beatward.core.upkeep import ALARMED, SILENCES_MAX
from beatward.store.rows import timestamp
from beatward.web import shapes
from beatward.web.access import Served, may_command, may_read
from beatward.web.backend import Backend
from beatward.web.nodes import Name, acknowledgement_object, find, maintenance_object
from beatward.web.problems import Problem, inbox_full, shown
from beatward.web.request_fields import Body, ByQuery, Labels, LineText
from beatward.web.selection import select
from beatward.web.shapes import problems
from beatward.web.timestamps import timestamp_or_none

FOR_MAX_NS = 3650 * DAY
_WORDS_LENGTH_MAX = 1000
_NODES_MAX = 1000
_SHOWN_MAX = 10
router = APIRouter(prefix="/v1", tags=["upkeep"])


def _check_duration(text: str) -> str:
    if not 0 < parse_duration(text) <= FOR_MAX_NS:
        message = "a duration such as 30m, 2h or 7d, at most ten years"
        raise ValueError(message)
    return text


DurationText = Annotated[
    str,
    StringConstraints(max_length=64, pattern=r"^\s*([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+\s*$"),
    AfterValidator(_check_duration),
]
Reason = Annotated[LineText, Field(description="Why.", max_length=_WORDS_LENGTH_MAX)]
By = Annotated[LineText, Field(description="Who says so, for people.", max_length=NAME_LENGTH_MAX)]
_Labels = Annotated[
    Labels,
    Field(description="Only nodes that have all of these."),
]
_NodeName = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX)]
_FOR: Any = Field(
    default=None, alias="for", description="How long, `1h`; without it until `resume`."
)
_SELECTED: dict[str, Any] = {"anyOf": [{"required": ["nodes"]}, {"required": ["labels"]}]}


class ResumeOneBody(Body):
    """Who ends the maintenance of a node."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "ann"}]})
    by: By = ""


class PauseOneBody(Body):
    """For how long a node is paused, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"for": "1h", "by": "ann", "reason": "kernel update"}]}
    )
    duration: DurationText | None = _FOR
    by: By = ""
    reason: Reason = ""


class ResumeBody(Body):
    """Which nodes; `nodes`, `labels`, or both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"labels": {"rack": "7"}}], **_SELECTED}
    )
    nodes: list[_NodeName] = Field(
        default_factory=list,
        description="Names, or patterns such as `web-*`; none: all that have the labels.",
        max_length=_NODES_MAX,
    )
    labels: _Labels = Field(default_factory=dict)
    by: By = ""


class PauseBody(ResumeBody):
    """Which nodes, for how long, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"nodes": ["web-3"], "for": "1h", "by": "ann", "reason": "kernel update"}],
            **_SELECTED,
        }
    )
    duration: DurationText | None = _FOR
    reason: Reason = ""


class AcknowledgeBody(Body):
    """Who knows of the alarm."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"by": "ann", "note": "the disk is ordered"}]}
    )
    by: By = ""
    note: str = Field(default="", description="What is known.", max_length=_WORDS_LENGTH_MAX)


class SilenceBody(Body):
    """About which nodes notifications are held, for how long, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"node": "web-*", "for": "2h", "by": "ann", "reason": "the switch"}],
            "anyOf": [{"required": ["node"]}, {"required": ["labels"]}],
        }
    )
    node: _NodeName | None = Field(
        default=None, description="A name, or a pattern; `*` alone silences everything."
    )
    labels: _Labels = Field(default_factory=dict)
    duration: DurationText = Field(alias="for", description="How long, `2h`.")
    actions: bool = Field(default=False, description="Hold repairs as well.")
    by: By = ""
    reason: Reason = ""


def _command(*statuses: int) -> dict[str, Any]:
    return {
        "status_code": 202,
        "dependencies": [Depends(may_command)],
        "responses": problems(400, 401, 404, *statuses, 422, 503),
    }


# -- maintenance ------------------------------------------------------------------------------


@router.post("/pause", summary="Announce maintenance of many", **_command())
def pause_nodes(body: PauseBody, backend: Served) -> shapes.OrderedMany:
    """Let nodes be silent without a verdict, for a time or until `resume`.

    Who is paused already gets the new end. A name that is unknown, or labels that no node has, and
    nothing is changed. Nodes that join later are not meant.
    """
    for_ns = _for_ns(body.duration)
    names = _selected(backend, body.nodes, body.labels)
    order = Pause(names, for_ns, body.by, body.reason)
    return _order_many(backend, "pause", order)


@router.post("/resume", summary="End maintenance of many", **_command())
def resume_nodes(body: ResumeBody, backend: Served) -> shapes.OrderedMany:
    """Watch nodes again; each has the start grace before its silence counts.

    Those that are not paused stay as they are.
    """
    names = _selected(backend, body.nodes, body.labels)
    return _order_many(backend, "resume", Resume(names, body.by))


@router.post(
    "/nodes/{name}/pause",
    summary="Announce maintenance",
    tags=["nodes"],
    response_model_exclude_none=True,
    **_command(),
)
def pause_node(
    name: Name, backend: Served, body: PauseOneBody | None = None
) -> shapes.OrderedPause:
    """Let a node be silent without a verdict, for a time or until `resume`; a body is optional."""
    find(backend, name)
    body = body or PauseOneBody()
    order = Pause((name,), _for_ns(body.duration), body.by, body.reason)
    _put(backend, order)
    return shapes.OrderedPause(ordered="pause", node=name, until=_until(backend, order.for_ns))


@router.post("/nodes/{name}/resume", summary="End maintenance", tags=["nodes"], **_command())
def resume_node(name: Name, backend: Served, body: ResumeOneBody | None = None) -> shapes.Ordered:
    """Watch a node again; it has the start grace before its silence counts. A body is optional."""
    find(backend, name)
    order = Resume((name,), "" if body is None else body.by)
    return _order(backend, "resume", name, order)


# -- acknowledging ----------------------------------------------------------------------------


@router.post(
    "/nodes/{name}/acknowledgement",
    summary="Acknowledge an alarm",
    response_model=shapes.Ordered,
    **_command(409),
)
def acknowledge_alarm(name: Name, body: AcknowledgeBody, backend: Served) -> shapes.Ordered:
    """Acknowledge a node's alarm; the acknowledgement ends with the recovery.

    Until then no notification of the node is sent, unless it gets worse: where it was acknowledged
    as `failing` or `suspect`, its death is notified. Repairs go on.
    """
    snapshot, row = find(backend, name)
    status = Status(snapshot.status[row])
    if status not in ALARMED:
        raise Problem(409, "no-alarm", f"{name} is {status.word}; there is no alarm of it")
    return _order(backend, "acknowledge", name, Acknowledge(name, body.by, body.note))


@router.delete(
    "/nodes/{name}/acknowledgement",
    summary="Take an acknowledgement back",
    response_model=shapes.Ordered,
    **_command(409),
)
def take_acknowledgement_back(name: Name, backend: Served, by: ByQuery = "") -> shapes.Ordered:
    """Let people be told of the node again."""
    snapshot, row = find(backend, name)
    if row not in snapshot.state.upkeep.acknowledged:
        raise Problem(409, "no-alarm", f"no alarm of {name} is acknowledged")
    return _order(backend, "unacknowledge", name, Unacknowledge(name, by))


# -- silences ---------------------------------------------------------------------------------


@router.get(
    "/silences",
    summary="List silences",
    response_model=shapes.SilenceList,
    dependencies=[Depends(may_read)],
    responses=problems(401),
)
def list_silences(backend: Served) -> Response:
    """Return the silences that have not ended, the next to end first."""
    snapshot = backend.machine.snapshot()
    at = timestamp(snapshot.taken_ns + snapshot.wall_offset_ns)
    body = {"at": at, "silences": silence_objects(snapshot)}
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.post("/silences", summary="Silence notifications", **_command(409))
def begin_silence(body: SilenceBody, backend: Served) -> shapes.OrderedSilence:
    """Hold notifications about nodes for a time, also about nodes that join meanwhile.

    Nodes are judged as ever, and repairs run unless `actions` holds them too. When it ends, of
    every node that still has the status it had when its last notification was held, that one is
    sent. A name that is unknown is refused; a pattern may match no node yet.
    """
    snapshot = backend.machine.snapshot()
    if len(snapshot.state.upkeep.silences) >= SILENCES_MAX:
        raise Problem(409, "too-many-silences", f"there are {SILENCES_MAX} silences, which is all")
    if body.node is None and not body.labels:
        raise _nobody("node", "a name, a pattern such as web-*, `*` for everything, or labels")
    node = body.node or "*"
    if not is_pattern(node):
        select(snapshot, [node], body.labels)
    order = AddSilence(
        secrets.token_hex(4),
        parse_duration(body.duration),
        node,
        labels=body.labels,
        actions=body.actions,
        by=body.by,
        reason=body.reason,
    )
    _put(backend, order)
    return shapes.OrderedSilence(
        ordered="silence", id=order.id, until=_until(backend, order.for_ns)
    )


@router.delete("/silences/{id}", summary="End a silence", **_command())
def end_silence(
    name: Annotated[
        str, Path(alias="id", description="The silence's id.", max_length=64, examples=["3f9a1c22"])
    ],
    backend: Served,
    by: ByQuery = "",
) -> shapes.OrderedSilence:
    """End a silence before its time; what it held and is still so is told now."""
    silences = backend.machine.snapshot().state.upkeep.silences
    if name not in silences:
        there = f"there are {', '.join(sorted(silences)[:10])}" if silences else "there is none"
        raise Problem(404, "unknown-silence", f"no silence is called {shown(name)}; {there}")
    _put(backend, EndSilence(name, by))
    return shapes.OrderedSilence(ordered="unsilence", id=name, until=None)


def silence_objects(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return the silences of a snapshot as `shapes.SilenceShape` describes them."""
    silences = snapshot.state.upkeep.silences.values()
    return [_silence_object(snapshot, one) for one in sorted(silences, key=lambda s: s.until_ns)]


def said_object(snapshot: Snapshot) -> dict[str, Any]:
    """Return what has been said of nodes as `shapes.SaidShape` describes it."""
    upkeep, names = snapshot.state.upkeep, snapshot.names
    # A maintenance may be of a hundred thousand nodes.
    paused = nsmallest(_SHOWN_MAX, upkeep.maintenance.items(), key=lambda one: one[1].until_ns)
    known = nlargest(_SHOWN_MAX, upkeep.acknowledged.items(), key=lambda one: one[1].at_ns)
    return {
        "paused": [
            {"node": names[row], **maintenance_object(snapshot, one)} for row, one in paused
        ],
        "acknowledged_count": len(upkeep.acknowledged),
        "acknowledged": [
            {"node": names[row], **acknowledgement_object(snapshot, one)} for row, one in known
        ],
        "silences": silence_objects(snapshot),
    }


def _silence_object(snapshot: Snapshot, silence: Silence) -> dict[str, Any]:
    offset_ns = snapshot.wall_offset_ns
    return {
        "id": silence.id,
        "node": silence.nodes,
        "labels": dict(silence.labels),
        "actions": silence.actions,
        "at": timestamp_or_none(silence.at_ns, offset_ns),
        "until": timestamp_or_none(silence.until_ns, offset_ns),
        "left_ns": silence.until_ns - snapshot.taken_ns,
        "by": silence.by,
        "reason": silence.reason,
    }


# -- orders -----------------------------------------------------------------------------------


def _selected(backend: Backend, nodes: Sequence[str], labels: Mapping[str, str]) -> tuple[str, ...]:
    if not nodes and not labels:
        raise _nobody("nodes", "names, patterns such as web-*, or labels")
    return select(backend.machine.snapshot(), nodes, labels)


def _nobody(where: str, expected: str) -> Problem:
    wrong = {"where": f"body.{where}", "found": "nothing", "expected": expected}
    detail = f"body.{where}: found nothing, expected {expected}"
    return Problem(422, "not-as-expected", detail, more={"errors": [wrong]})


def _order_many(backend: Backend, ordered: str, order: Pause | Resume) -> shapes.OrderedMany:
    _put(backend, order)
    until = _until(backend, order.for_ns) if isinstance(order, Pause) else None
    return shapes.OrderedMany(ordered=ordered, count=len(order.names), until=until)


def _order(backend: Backend, ordered: str, name: str, order: Order) -> shapes.Ordered:
    _put(backend, order)
    return shapes.Ordered(ordered=ordered, node=name)


def _put(backend: Backend, order: Order) -> None:
    if not backend.machine.order(order):
        raise inbox_full()


def _for_ns(duration: str | None) -> int:
    return NEVER if duration is None else parse_duration(duration)


def _until(backend: Backend, for_ns: int) -> str | None:
    if for_ns == NEVER:
        return None
    now_ns = backend.machine.now_ns() + backend.machine.wall_offset_ns()
    return timestamp(now_ns + for_ns)
