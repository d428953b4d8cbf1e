"""Asking how well the monitor detects: of the fleet, of one node, or by the values of a label."""

from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from beatward.core.figures import BOUNDS_NS
from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.core.snapshot import Snapshot
from beatward.store.rows import timestamp
from beatward.web.access import Served, may_read
from beatward.web.quality_shapes import QualityReport
from beatward.web.selection import unknown_node
from beatward.web.shapes import problems

# A label may have as many values as there are nodes; a reader needs no more than these.
GROUPS_MAX = 1000
LABEL_LENGTH_MAX = 256
router = APIRouter(tags=["monitor"])


@router.get(
    "/v1/quality",
    summary="How well deaths are found",
    response_model=QualityReport,
    dependencies=[Depends(may_read)],
    responses=problems(401, 404, 422),
)
def show_quality(
    backend: Served,
    node: Annotated[
        str | None, Query(description="Of this node alone.", max_length=NAME_LENGTH_MAX)
    ] = None,
    by: Annotated[
        str | None,
        Query(description="Also by the values of this label.", max_length=LABEL_LENGTH_MAX),
    ] = None,
) -> Response:
    """Return mistakes, detection times, outages, loss and jitter, counted since the session began.

    Nodes without the label are the group `null`. At most 1,000 groups are shown, those with most
    nodes first.
    """
    snapshot = backend.machine.snapshot()
    quality, now_ns = snapshot.state.quality, snapshot.taken_ns
    if node is None:
        figures = quality.fleet(now_ns)
    else:
        row = snapshot.find(node)
        if row < 0:
            raise unknown_node(snapshot, node)
        figures = quality.figures(np.array([row]), now_ns)
    groups, total = ([], 0) if by is None or node is not None else _groups(snapshot, by)
    body = {
        "at": timestamp(now_ns + snapshot.wall_offset_ns),
        "since": timestamp(quality.started_ns + snapshot.wall_offset_ns),
        "since_ns": now_ns - quality.started_ns,
        "node": node,
        "by": by,
        "outage_bounds_ns": BOUNDS_NS,
        "quality": figures.public(0),
        "groups": groups,
        "groups_total": total,
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


def _groups(snapshot: Snapshot, label: str) -> tuple[list[dict[str, Any]], int]:
    """Return the largest groups of nodes with one value of a label, and how many there are."""
    rows = snapshot.rows()
    numbers: dict[str | None, int] = {None: 0}
    group_of_row = np.zeros(len(snapshot.names), np.int64)
    for row, labels in snapshot.labels.items():
        value = labels.get(label)
        if value is not None:
            group_of_row[row] = numbers.setdefault(value, len(numbers))
    figures = snapshot.state.quality.figures(
        rows, snapshot.taken_ns, groups=group_of_row[rows], count=len(numbers)
    )
    values = [value for value, number in numbers.items() if figures.nodes[number]]
    values.sort(key=lambda value: (-figures.nodes[numbers[value]], value or ""))
    return [
        {"value": value, "quality": figures.public(numbers[value])} for value in values[:GROUPS_MAX]
    ], len(values)
