"""What the guards hold back, and the operator's word against it."""

from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.responses import Response

from beatward.core.instants import format_duration
from beatward.core.order_kinds import Lift
from beatward.core.snapshot import Snapshot
from beatward.store.rows import timestamp
from beatward.web import guard_shapes, shapes
from beatward.web.access import Served, may_command, may_read
from beatward.web.problems import inbox_full
from beatward.web.shapes import problems

router = APIRouter(prefix="/v1/guard", tags=["monitor"])


def hold_objects(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return what is held back as `guard_shapes.HoldShape` describes it."""
    at_ns, offset_ns = snapshot.taken_ns, snapshot.wall_offset_ns
    return [
        {
            "cause": hold.cause,
            "zone": hold.zone or None,
            "since": timestamp(hold.begun_ns + offset_ns),
            "since_ns": at_ns - hold.begun_ns,
            "for": format_duration(at_ns - hold.begun_ns),
            "dark": hold.dark,
            "total": hold.total,
            "sentence": hold.text(at_ns),
        }
        for hold in snapshot.state.holds
    ]


@router.get(
    "",
    summary="Show what is held back",
    response_model=guard_shapes.GuardShape,
    dependencies=[Depends(may_read)],
    responses=problems(401),
)
def show_guard(backend: Served) -> Response:
    """Return the mass failures that hold back destructive actions, and how many wait."""
    snapshot = backend.machine.snapshot()
    body = {
        "at": timestamp(snapshot.taken_ns + snapshot.wall_offset_ns),
        "holds": hold_objects(snapshot),
        "guarded": snapshot.outbox["guarded"],
        "nodes": {node: list(names) for node, names in snapshot.guarded.items()},
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.post(
    "/lift",
    summary="Let held actions go on",
    status_code=202,
    response_model=shapes.OrderedLift,
    dependencies=[Depends(may_command)],
    responses=problems(400, 401, 413, 422, 503),
)
def lift_guard(body: guard_shapes.LiftBody, backend: Served) -> shapes.OrderedLift:
    """End what holds back destructive actions; they follow in order, at the rate that is set.

    A monitor that seems cut off then judges the silent nodes. Whether to act on the mass failure
    that it finds is a question of its own, so that hold has to be lifted as well.
    """
    if not backend.machine.order(Lift(body.zone or "")):
        raise inbox_full()
    return shapes.OrderedLift(ordered="lift", zone=body.zone)
