"""Asking about nodes and commanding them: rows of the snapshot as JSON, and orders to the inbox."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import translate
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Path, Query
from pydantic import StringConstraints
from starlette.responses import Response

from beatward.action_settings import StatusWord
from beatward.core.entry import Acknowledgement, Conflict, JobRecord, Maintenance
from beatward.core.explanation import VIA_WORDS
from beatward.core.instants import MILLISECOND, NEVER, format_duration
from beatward.core.job_words import plan_numbers
from beatward.core.membership import WATCHED, Cause, Status
from beatward.core.order_kinds import Forget, Revoke
from beatward.core.peers import shown_address
from beatward.core.protocol.keys import NAME_LENGTH_MAX, is_name
from beatward.core.protocol.record import NO_GAUGE, Health
from beatward.core.snapshot import Snapshot
from beatward.core.upkeep import has_labels
from beatward.errors import TemporaryError
from beatward.store.rows import timestamp
from beatward.web import shapes
from beatward.web.access import Served, may_command, may_read
from beatward.web.backend import Backend
from beatward.web.problems import Problem, inbox_full
from beatward.web.request_fields import ByQuery
from beatward.web.selection import LABEL_LENGTH_MAX, unknown_node
from beatward.web.shapes import problems
from beatward.web.timestamps import timestamp_or_none

LIMIT_MAX = 10_000
router = APIRouter(prefix="/v1/nodes", tags=["nodes"])
Name = Annotated[
    str,
    Path(description="The node's name.", max_length=NAME_LENGTH_MAX, examples=["web-3"]),
]


def node_objects(snapshot: Snapshot, rows: list[int]) -> list[dict[str, Any]]:
    """Return rows of a snapshot as `shapes.Node` describes them."""
    slots = np.array(rows, np.int64)
    margins_ns = snapshot.state.detector.margin_ns(slots).tolist()
    briefs = snapshot.state.quality.figures(slots, snapshot.taken_ns).briefs()
    return [
        {**_node_object(snapshot, row, margin_ns), "quality": brief}
        for row, margin_ns, brief in zip(rows, margins_ns, briefs, strict=True)
    ]


def _node_object(snapshot: Snapshot, row: int, margin_ns: int) -> dict[str, Any]:
    registry, membership = snapshot.state.registry, snapshot.state.membership
    at_ns, offset_ns = snapshot.taken_ns, snapshot.wall_offset_ns
    since_ns, heard_ns = int(membership.since_ns[row]), int(registry.heard_ns[row])
    deadline_ns, sequence = int(membership.due_ns[row]), int(registry.sequence[row])
    status = Status(membership.status[row])
    is_watched = WATCHED[status] and deadline_ns != NEVER
    silent_ns = at_ns - heard_ns if heard_ns else None
    return {
        "name": registry.names[row],
        "status": status.word,
        "cause": Cause(membership.cause[row]).word,
        "since": timestamp_or_none(since_ns, offset_ns),
        "since_ns": at_ns - since_ns,
        "heard": timestamp_or_none(heard_ns, offset_ns),
        "silent_ns": silent_ns,
        "silent": None if silent_ns is None else format_duration(silent_ns),
        "deadline": timestamp(deadline_ns + offset_ns) if is_watched else None,
        "deadline_in_ns": deadline_ns - at_ns if is_watched else None,
        "interval_ns": int(registry.interval_ms[row]) * MILLISECOND or None,
        "interval_wished_ns": int(registry.wish_ms[row]) * MILLISECOND or None,
        "margin_ns": margin_ns if heard_ns else None,
        "via": VIA_WORDS.get(int(registry.via[row])),
        "incarnation": int(registry.incarnation[row]),
        "sequence": sequence if sequence >= 0 else None,
        "probes_sent": int(membership.probes_sent[row]),
        "health": "failing" if registry.health[row] == Health.ILL else "ok",
        "cpu": _hundredths(registry.cpu[row]),
        "memory": _hundredths(registry.memory[row]),
        "load": _hundredths(registry.load[row]),
        **_report_object(snapshot, row, is_ill=bool(registry.health[row] == Health.ILL)),
        "labels": dict(snapshot.labels.get(row, {})),
        "job": _job_object(snapshot, snapshot.state.jobs.records.get(row)),
        **_upkeep_object(snapshot, row),
    }


def _report_object(snapshot: Snapshot, row: int, *, is_ill: bool) -> dict[str, Any]:
    report = snapshot.state.report_of(row)
    if report is None:
        return {"reason": None, "metrics": {}}
    return {"reason": report.reason or None if is_ill else None, "metrics": dict(report.metrics)}


def _upkeep_object(snapshot: Snapshot, row: int) -> dict[str, Any]:
    registry = snapshot.state.registry
    notes = snapshot.state.upkeep.notes(row, registry.names[row], snapshot.labels.get(row))
    pause, known = notes.maintenance, notes.acknowledgement
    return {
        "maintenance": pause and maintenance_object(snapshot, pause),
        "acknowledgement": known and acknowledgement_object(snapshot, known),
        "silence": notes.silence and notes.silence.id,
        "conflict": _conflict_object(snapshot, snapshot.state.conflicts.get(row)),
    }


def _conflict_object(snapshot: Snapshot, conflict: Conflict | None) -> dict[str, Any] | None:
    """Return it as `shapes.ConflictShape` describes it."""
    if conflict is None:
        return None
    return {
        "since": timestamp(conflict.since_ns + snapshot.wall_offset_ns),
        "since_ns": snapshot.taken_ns - conflict.since_ns,
        "believed_address": shown_address(conflict.believed_raw_address) or None,
        "believed_incarnation": conflict.believed_incarnation,
        "other_address": shown_address(conflict.raw_address) or None,
        "other_incarnation": conflict.incarnation,
        "other_via": conflict.via,
    }


def maintenance_object(snapshot: Snapshot, pause: Maintenance) -> dict[str, Any]:
    """Return it as `shapes.MaintenanceShape` describes it."""
    return {
        "until": timestamp_or_none(pause.until_ns, snapshot.wall_offset_ns),
        "left_ns": None if pause.until_ns == NEVER else pause.until_ns - snapshot.taken_ns,
        "by": pause.by,
        "reason": pause.reason,
    }


def acknowledgement_object(snapshot: Snapshot, known: Acknowledgement) -> dict[str, Any]:
    """Return it as `shapes.AcknowledgementShape` describes it."""
    return {
        "at": timestamp(known.at_ns + snapshot.wall_offset_ns),
        "status": known.status,
        "by": known.by,
        "note": known.note,
    }


def _job_object(snapshot: Snapshot, record: JobRecord | None) -> dict[str, Any] | None:
    """Return a job as `shapes.Job` describes it."""
    if record is None:
        return None
    offset_ns = snapshot.wall_offset_ns
    instants = {
        "due": record.due_ns,
        "started": record.started_ns,
        "ended": record.ended_ns,
        "succeeded": record.succeeded_ns,
    }
    return {
        **plan_numbers(record.plan),
        **{
            # To the nearest millisecond: clocks are compared a microsecond apart.
            name: None if at_ns is None else timestamp(at_ns + offset_ns + MILLISECOND // 2)
            for name, at_ns in instants.items()
        },
        "due_in_ns": None if record.due_ns is None else record.due_ns - snapshot.taken_ns,
        "ran_ns": record.ran_ns,
        "failed": record.has_failed,
        "exit_code": record.exit_code,
    }


@router.get(
    "",
    summary="List nodes",
    response_model=shapes.NodeList,
    dependencies=[Depends(may_read)],
    responses=problems(401, 422),
)
def list_nodes(
    backend: Served,
    *,
    status: Annotated[
        list[StatusWord] | None,
        Query(description="Only nodes with this status; say it again for several."),
    ] = None,
    match: Annotated[
        str, Query(description="Only names that match this pattern.", max_length=NAME_LENGTH_MAX)
    ] = "*",
    label: Annotated[
        list[Annotated[str, StringConstraints(pattern="^[^=]+=", max_length=2 * LABEL_LENGTH_MAX)]]
        | None,
        Query(description="Only nodes with this label, `zone=a`; say it again for several."),
    ] = None,
    limit: Annotated[
        int, Query(description="The most that are returned.", ge=1, le=LIMIT_MAX)
    ] = 1000,
    after: Annotated[
        str | None,
        Query(description="Begin behind this name.", max_length=NAME_LENGTH_MAX),
    ] = None,
) -> Response:
    """Return nodes in order of their names, a page at a time.

    The answer is a snapshot that is at most a moment old, not the live table.
    """
    snapshot = backend.machine.snapshot()
    labels = dict(one.split("=", 1) for one in label or ())
    found = sorted(_matching(snapshot, tuple(status or ()), match, labels))
    start = 0 if after is None else _behind(found, after)
    page = found[start : start + limit]
    body = {
        "at": timestamp(snapshot.taken_ns + snapshot.wall_offset_ns),
        "total": len(snapshot.rows()),
        "matching": len(found),
        "nodes": node_objects(snapshot, [row for _, row in page]),
        "next": page[-1][0] if start + limit < len(found) else None,
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.get(
    "/{name}",
    summary="Show a node",
    response_model=shapes.Node,
    dependencies=[Depends(may_read)],
    responses=problems(401, 404, 422),
)
def show_node(name: Name, backend: Served) -> Response:
    """Return one node as of the newest snapshot."""
    snapshot, row = find(backend, name)
    (body,) = node_objects(snapshot, [row])
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.get(
    "/{name}/explain",
    summary="Explain a node's status",
    response_model=shapes.Explanation,
    dependencies=[Depends(may_read)],
    responses=problems(401, 404, 422),
)
def explain_node(name: Name, backend: Served) -> Response:
    """Say why the node is held to be what it is: a sentence, the numbers, the last verdict."""
    snapshot, row = find(backend, name)
    sentence, detail = snapshot.explain(row)
    body = {
        "node": name,
        "at": timestamp(snapshot.taken_ns + snapshot.wall_offset_ns),
        "status": Status(snapshot.status[row]).word,
        "cause": Cause(snapshot.cause[row]).word,
        "sentence": sentence,
        "detail": detail,
        "last_verdict": backend.events.last_verdict(name),
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


_COMMAND: dict[str, Any] = {
    "status_code": 202,
    "response_model": shapes.Ordered,
    "dependencies": [Depends(may_command)],
    "responses": problems(401, 404, 422, 503),
}


@router.delete("/{name}", summary="Forget a node", **_COMMAND)
def forget_node(
    name: Name,
    backend: Served,
    *,
    revoke: Annotated[
        bool, Query(description="Also let its key, bearer token and bare URL open nothing more.")
    ] = False,
    by: ByQuery = "",
) -> shapes.Ordered:
    """Remove the node from the table; its history stays in the journal.

    Stop it first: a node that still runs enrols again if it has a join token or reports over HTTP.
    One that has only its key and sends datagrams is turned away, and listed in `GET /v1/status`.

    With `revoke=true` what has the node's key is turned away by every door, at once and for good,
    and only a join token enrols a node of this name again, under another key. That also works for
    a name that is not known, such as one whose key was stolen and that was forgotten before.
    """
    if revoke:
        return _revoke(name, backend, by)
    find(backend, name)
    if not backend.machine.order(Forget(name, by)):
        raise inbox_full()
    return shapes.Ordered(ordered="forget", node=name)


def _revoke(name: str, backend: Backend, by: str) -> shapes.Ordered:
    if not is_name(name):
        raise unknown_node(backend.machine.snapshot(), name)
    try:
        epoch = backend.key_records.revoke(name)
    except TemporaryError as error:
        raise Problem(503, "keys-unwritable", str(error), headers={"Retry-After": "1"}) from error
    if not backend.machine.order(Revoke(name, epoch, by)):
        raise inbox_full()
    return shapes.Ordered(ordered="forget", node=name)


def find(backend: Backend, name: str) -> tuple[Snapshot, int]:
    """Return the newest snapshot and the row of a node; raises Problem 404."""
    snapshot = backend.machine.snapshot()
    row = snapshot.find(name)
    if row < 0:
        raise unknown_node(snapshot, name)
    return snapshot, row


def _matching(
    snapshot: Snapshot, statuses: tuple[str, ...], match: str, labels: Mapping[str, str]
) -> Iterator[tuple[str, int]]:
    rows = snapshot.rows()
    if statuses:
        wanted = [Status[word.upper()] for word in statuses]
        rows = rows[np.isin(snapshot.status[rows], wanted)]
    if labels:
        all_labels = snapshot.labels
        labelled = [row for row in rows.tolist() if has_labels(all_labels.get(row, {}), labels)]
        rows = np.array(labelled, np.int64)
    fits = re.compile(translate(match)).match
    names = snapshot.names
    return ((names[row], row) for row in rows.tolist() if fits(names[row]))


def _behind(found: list[tuple[str, int]], after: str) -> int:
    return next((i for i, (name, _) in enumerate(found) if name > after), len(found))


def _hundredths(field: np.uint16) -> float | None:
    return None if field == NO_GAUGE else int(field) / 100
