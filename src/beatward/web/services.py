"""Services: who offers them, who holds their roles, and the orders by which people move them.

An order that can be seen to be in vain is refused here, with the reason and what to do instead;
what changes in the moment between is refused by the machine (`core.roles.machine`), whose reason is
then in the service. Not here: what nodes declare (`agents`).
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path
from pydantic import ConfigDict, Field
from starlette.responses import Response

from beatward.core.instants import NEVER, parse_duration
from beatward.core.order_kinds import (
    FailOver,
    PauseService,
    ResumeService,
    ServiceOrder,
    SwitchOver,
)
from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.core.roles.candidates import why_nobody
from beatward.core.roles.phases import DOES, Phase
from beatward.core.roles.views import MemberView, ServiceView
from beatward.core.snapshot import Snapshot
from beatward.store.rows import timestamp
from beatward.web.access import Served, may_command, may_read
from beatward.web.backend import Backend
from beatward.web.nodes import maintenance_object
from beatward.web.problems import Problem, inbox_full, shown
from beatward.web.remarks import Remarks
from beatward.web.request_fields import Body
from beatward.web.selection import alike_names, find_service
from beatward.web.service_shapes import OrderedService, ServiceList, ServiceShape
from beatward.web.shapes import problems
from beatward.web.timestamps import timestamp_or_none
from beatward.web.upkeep import By, DurationText, Reason

_REMARKS_MAX = 10
router = APIRouter(prefix="/v1/services", tags=["services"])
ServiceName = Annotated[
    str,
    Path(alias="name", description="The service.", max_length=NAME_LENGTH_MAX, examples=["db"]),
]
_To = Annotated[
    str | None,
    Field(description="The node that is to have the role; without it the best.", max_length=128),
]


class SwitchoverBody(Body):
    """To whom, who says so, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"to": "db-2", "by": "ann", "reason": "kernel update"}]}
    )
    to: _To = None
    by: By = ""
    reason: Reason = ""


class FailoverBody(SwitchoverBody):
    """The same, and whether to skip what the monitor is unsure of."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"force": True, "to": "db-2", "by": "ann"}]}
    )
    force: bool = Field(
        default=False,
        description="At once, whatever the monitor is unsure of. If the old holder still acts, "
        "two do, until its lease has run out; see docs/roles.md.",
    )


class PauseServiceBody(Body):
    """For how long, who says so, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"for": "1h", "by": "ann", "reason": "a drill"}]}
    )
    duration: DurationText | None = Field(
        default=None, alias="for", description="How long, `1h`; without it until `resume`."
    )
    by: By = ""
    reason: Reason = ""


class ResumeServiceBody(Body):
    """Who says so."""

    by: By = ""


# -- asking -----------------------------------------------------------------------------------


@router.get(
    "",
    summary="List services",
    response_model=ServiceList,
    dependencies=[Depends(may_read)],
    responses=problems(401),
)
def list_services(backend: Served) -> Response:
    """Return all services that nodes have declared, in order of their names."""
    snapshot = backend.machine.snapshot()
    body = {
        "at": timestamp(snapshot.taken_ns + snapshot.wall_offset_ns),
        "services": [
            service_object(snapshot, view, backend.remarks) for view in snapshot.services.values()
        ],
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.get(
    "/{name}",
    summary="Show a service",
    response_model=ServiceShape,
    dependencies=[Depends(may_read)],
    responses=problems(401, 404, 422),
)
def show_service(name: ServiceName, backend: Served) -> Response:
    """Return one service, its members, and who holds its role."""
    snapshot = backend.machine.snapshot()
    body = service_object(snapshot, find_service(snapshot, name), backend.remarks)
    return Response(msgspec.json.encode(body), media_type="application/json")


def service_object(snapshot: Snapshot, view: ServiceView, remarks: Remarks) -> dict[str, Any]:
    """Return a service as `service_shapes.ServiceShape` describes it."""
    offset_ns, at_ns = snapshot.wall_offset_ns, snapshot.taken_ns
    is_kept = at_ns < view.until_ns < NEVER
    return {
        "name": view.name,
        "mode": view.mode,
        "phase": None if view.phase is None else str(view.phase),
        "holder": view.holder or None,
        "token": view.token,
        "since": timestamp_or_none(view.since_ns, offset_ns),
        "since_ns": at_ns - view.since_ns if view.since_ns else None,
        "until": timestamp(view.until_ns + offset_ns) if is_kept else None,
        "until_in_ns": view.until_ns - at_ns if is_kept else None,
        "reason": view.reason,
        "explanation": view.explanation,
        "automatic": view.automatic,
        "paused": view.paused and maintenance_object(snapshot, view.paused),
        "target": view.target or None,
        "lease_ns": view.lease_ns,
        "demote_within_ns": view.demote_ns,
        "members": [_member_object(snapshot, view, one, remarks) for one in view.members],
    }


def summary_object(snapshot: Snapshot) -> dict[str, Any]:
    """Return all services in few words as `shapes.ServiceSummary` describes it."""
    counts = {"total": len(snapshot.services), "balance": 0, **dict.fromkeys(map(str, Phase), 0)}
    remarks = []
    for name, view in snapshot.services.items():
        counts["balance" if view.phase is None else str(view.phase)] += 1
        remark = _remark(view)
        if remark:
            remarks.append({"service": name, "remark": remark})
    return {"counts": counts, "remarks": remarks[:_REMARKS_MAX], "remarks_count": len(remarks)}


def _remark(view: ServiceView) -> str:
    """Say what people should know of a service; empty: all is well."""
    if view.phase is None:
        is_served = any(member.healthy for member in view.members)
        return "" if is_served else f"no member of {view.name} is healthy"
    if view.phase != Phase.HELD or view.reason:
        return _where(view)
    return f"automatic failover of {view.name} is paused" if view.paused is not None else ""


def _member_object(
    snapshot: Snapshot, view: ServiceView, member: MemberView, remarks: Remarks
) -> dict[str, Any]:
    heard_ns = member.heard_ns
    return {
        "node": member.node,
        "status": member.status,
        "state": member.state or None,
        "token": member.token,
        "freshness": member.replication_position,
        "heard": None if heard_ns is None else timestamp(heard_ns + snapshot.wall_offset_ns),
        "heard_ago_ns": None if heard_ns is None else max(snapshot.taken_ns - heard_ns, 0),
        "address": member.address,
        "port": member.port,
        "weight": member.weight,
        "priority": member.priority,
        "zone": member.zone,
        "version": member.version,
        "labels": dict(member.labels or {}),
        "healthy": member.healthy,
        "hindrance": _hindrance(view, member) or None,
        "remark": remarks.of(member.node, view.name) or None,
    }


def _hindrance(view: ServiceView, member: MemberView) -> str:
    """Say why the role cannot go to a member now; empty: it could, or all members serve."""
    if view.phase is None:
        return "" if member.healthy else f"is {member.status}"
    if member.node == view.holder:
        return DOES.get(view.phase, member.hindrance) or "may still hold the role"
    return member.hindrance


# -- moving -----------------------------------------------------------------------------------

_COMMAND: dict[str, Any] = {
    "status_code": 202,
    "dependencies": [Depends(may_command)],
    "responses": problems(400, 401, 404, 409, 422, 503),
}


@router.post("/{name}/switchover", summary="Move a role in good order", **_COMMAND)
def switch_over(name: ServiceName, body: SwitchoverBody, backend: Served) -> OrderedService:
    """Let the holder give the role up, and then the best candidate, or `to`, take it.

    While the holder answers, no other node is promoted before it has given the role up.
    """
    snapshot, view = _find_role(backend, name)
    if view.phase != Phase.HELD:
        raise _impossible(
            "not-held",
            f"{_where(view)}; a switchover needs a holder that answers. Without one the "
            "role is moved by a failover",
            view,
        )
    _check_target(view, body.to)
    order = SwitchOver(name, to=body.to or "", by=body.by, reason=body.reason)
    return _put(backend, snapshot, "switchover", order)


@router.post("/{name}/failover", summary="Move a role without its holder", **_COMMAND)
def fail_over(name: ServiceName, body: FailoverBody, backend: Served) -> OrderedService:
    """Give the role to the best candidate, or to `to`, as soon as no node can hold it any more.

    With `force` at once: if the old holder still acts, there are two for as long as its lease runs.
    """
    snapshot, view = _find_role(backend, name)
    if view.phase in DOES and not body.force:
        raise _impossible(
            "held",
            f"{_where(view)}; a switchover moves it in good order, and when its holder falls "
            "silent it moves by itself. With `force` it is taken away at once, and two may act "
            "until its lease is over",
            view,
        )
    if view.phase == Phase.REFUSED and not body.force:
        raise _impossible(
            "unsure", f"{_where(view)}; only `force` skips that, and two may act then", view
        )
    _check_target(view, body.to, force=body.force)
    to = body.to or ""
    order = FailOver(name, to=to, force=body.force, by=body.by, reason=body.reason)
    return _put(backend, snapshot, "failover", order)


@router.post("/{name}/pause", summary="Pause automatic failover", **_COMMAND)
def pause_service(name: ServiceName, body: PauseServiceBody, backend: Served) -> OrderedService:
    """Let nothing move the role by itself, for a time or until `resume`; people still may.

    The holder goes on holding it; when it dies, or gives the role up, no other node gets it.
    """
    snapshot, _ = _find_role(backend, name)
    for_ns = NEVER if body.duration is None else parse_duration(body.duration)
    order = PauseService(name, for_ns=for_ns, by=body.by, reason=body.reason)
    return _put(backend, snapshot, "pause_service", order)


@router.post("/{name}/resume", summary="Resume automatic failover", **_COMMAND)
def resume_service(name: ServiceName, body: ResumeServiceBody, backend: Served) -> OrderedService:
    """Let the role move by itself again."""
    snapshot, view = _find_role(backend, name)
    if view.paused is None:
        raise _impossible("not-paused", f"automatic failover of {name} is not paused", view)
    return _put(backend, snapshot, "resume_service", ResumeService(name, body.by))


def _find_role(backend: Backend, name: str) -> tuple[Snapshot, ServiceView]:
    snapshot = backend.machine.snapshot()
    view = find_service(snapshot, name)
    if view.phase is None:
        raise _impossible(
            "no-role",
            f"{name} is in mode balance: all healthy members serve, and there is no role to move. "
            "A node is taken out by `pause`",
            view,
        )
    return snapshot, view


def _check_target(view: ServiceView, to: str | None, *, force: bool = False) -> None:
    """Raise Problem unless the role could go to the node `to`, or without it to any node."""
    why = {one.node: _hindrance(view, one) for one in view.members}
    if force:
        # Force skips rules, such as how far a copy may lag. The machine refuses what may not be
        # skipped.
        able = [one for one in view.members if (one.status, one.state) == ("alive", "standby")]
        why |= {one.node: "" for one in able if one.node != view.holder}
    if to is None:
        if all(why.values()):
            detail = f"no node could take the role of {view.name}: {why_nobody(why)}"
            raise _impossible("no-candidate", detail, view)
    elif to not in why:
        alike = alike_names([to], list(why))
        hint = f"only {', '.join(why)}" if why else "no node does"
        hint = f"alike: {', '.join(alike)}" if alike else hint
        detail = f"{shown(to)} does not offer {view.name}; {hint}"
        more = {"unknown": [to], "alike": alike, "known": len(why)}
        raise Problem(404, "unknown-member", detail, more=more)
    elif why[to]:
        detail = f"{to} cannot take the role of {view.name}: it {why[to]}"
        raise _impossible("no-candidate", detail, view)


def _where(view: ServiceView) -> str:
    """Say where a role stands that is not simply held."""
    if view.explanation:
        return view.explanation
    held = f", {view.holder}" if view.holder else ""
    reason = f": {view.reason}" if view.reason else ""
    return f"{view.name} is {view.phase}{held}{reason}"


def _impossible(kind: str, detail: str, view: ServiceView) -> Problem:
    phase = None if view.phase is None else str(view.phase)
    more = {"service": view.name, "phase": phase, "holder": view.holder or None}
    return Problem(409, kind, detail, more=more)


def _put(backend: Backend, snapshot: Snapshot, ordered: str, order: ServiceOrder) -> OrderedService:
    # Asked of the disk and before: what a snapshot knows may be older than another's last word.
    last_event = backend.events.last_sequence()
    if not backend.machine.order(order):
        raise inbox_full()
    until = None
    if isinstance(order, PauseService) and order.for_ns != NEVER:
        now_ns = backend.machine.now_ns() + backend.machine.wall_offset_ns()
        until = timestamp(now_ns + order.for_ns)
    return OrderedService(
        ordered=ordered,
        service=order.service,
        to=order.to or None if isinstance(order, SwitchOver | FailOver) else None,
        token=snapshot.services[order.service].token,
        until=until,
        last_event=last_event,
    )
