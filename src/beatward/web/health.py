"""The monitor's own health, and the fleet on one screen.

`/healthz` says 503 only when the wheel stands still, which a restart may mend. A monitor that
cannot write (the disk is full) judges on and holds its entries back; an orchestrator that killed
it for that would lose them.
"""

from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from beatward import __version__
from beatward.actions.driver import OUTPUT_BEGINS
from beatward.core.entry import Failure
from beatward.core.instants import SECOND, format_duration
from beatward.core.membership import Status
from beatward.core.snapshot import Snapshot
from beatward.store.rows import timestamp
from beatward.web import shapes
from beatward.web.access import Served, may_read
from beatward.web.backend import Backend, HealthReport
from beatward.web.guards import hold_objects
from beatward.web.services import summary_object
from beatward.web.shapes import problems
from beatward.web.speaking import unknown_object, unwatched
from beatward.web.strangers import Strangers
from beatward.web.timestamps import timestamp_or_none
from beatward.web.upkeep import said_object

# The wheel turns every few milliseconds. A second is a hiccup to be told, five are a standstill.
LATE_NS = SECOND
STOPPED_NS = 5 * SECOND
# Entries wait for the disk a few milliseconds; thousands of them are a disk that does not follow.
WAITING_COUNT_MAX = 10_000

router = APIRouter(tags=["monitor"])


def health_object(backend: Backend, strangers: Strangers) -> dict[str, Any]:
    """Return the monitor's health as `shapes.HealthShape` describes it: one opinion for every
    reader.

    It takes no snapshot, because it is asked every few seconds and also of a wheel that stands.
    """
    report = backend.health.report()
    ago_ns = max(backend.machine.now_ns() - report.last_turn_ns, 0)
    behind_ns = unread_ns(report)
    failing = [_failure_words(one) for one in report.failures]
    speaking = unwatched(report.speakers, strangers)
    reasons = [*report.holds, *report.conflicts, *failing, *speaking, *report.warnings]
    if report.journal_error is not None:
        reasons.append(
            f"the journal holds {report.waiting} entries back, and with them their actions: "
            f"{report.journal_error}"
        )
    elif report.waiting > WAITING_COUNT_MAX:
        reasons.append(f"the journal is {report.waiting} entries behind; its disk is too slow")
    if ago_ns > LATE_NS:
        reasons.append(
            f"the wheel turned {format_duration(ago_ns)} ago; no node is judged meanwhile"
        )
    if behind_ns > LATE_NS:
        reasons.append(
            f"more comes in than can be read: what has arrived in the last "
            f"{format_duration(behind_ns)} waits, and no node is judged on it"
        )
    status = "degraded" if reasons else "ok"
    return {
        "status": "stopped" if ago_ns > STOPPED_NS else status,
        "reasons": reasons,
        "journal": {
            "written": report.written,
            "waiting": report.waiting,
            "error": report.journal_error,
        },
        "wheel": {"turns": report.turns, "last_turn_ago_ns": ago_ns},
    }


def _failure_words(failure: Failure) -> str:
    # Everybody may read this, so what a program printed is left to the journal.
    message = failure.message.partition(OUTPUT_BEGINS)[0]
    return f"the action {failure.name} failed when it was tried last: {message}"


def unread_ns(report: HealthReport) -> int:
    """Return how long before the last turn what it read had arrived: 0 where it reads all."""
    watermark_ns = report.last_turn_ns if report.watermark_ns is None else report.watermark_ns
    return max(report.last_turn_ns - watermark_ns, 0)


def status_counts(snapshot: Snapshot) -> dict[str, int]:
    """Return how many nodes have each status, and `total`."""
    counts = np.bincount(snapshot.status[snapshot.rows()], minlength=len(Status))
    return {
        "total": int(counts.sum()),
        **{status.word: int(counts[status]) for status in Status},
    }


@router.get(
    "/healthz",
    summary="Is the monitor well",
    response_model=shapes.HealthShape,
    responses={503: {"description": "The wheel stands still.", "model": shapes.HealthShape}},
)
def show_health(request: Request, backend: Served) -> Response:
    """Say whether the monitor judges and writes; open to everyone.

    503 only when no node has been judged for 5 s. `degraded` is 200: a monitor with a full disk
    still judges, holds its entries back, and must not be killed for it.
    """
    body = health_object(backend, request.app.state.strangers)
    status = 503 if body["status"] == "stopped" else 200
    return Response(msgspec.json.encode(body), status, media_type="application/json")


@router.get(
    "/v1/status",
    summary="The fleet on one screen",
    response_model=shapes.StatusShape,
    dependencies=[Depends(may_read)],
    responses=problems(401),
)
def show_status(request: Request, backend: Served) -> Response:
    """Return the monitor's health, how many nodes have which status, and what has come in."""
    snapshot = backend.machine.snapshot()
    offset_ns = snapshot.wall_offset_ns
    started_ns, pauses = snapshot.state.started_ns, snapshot.state.pauses
    running_ns = snapshot.taken_ns - started_ns
    strangers: Strangers = request.app.state.strangers
    body = {
        "name": backend.identity.name,
        "version": __version__,
        "udp": backend.identity.udp,
        "tags": snapshot.tags,
        "at": timestamp(snapshot.taken_ns + offset_ns),
        "started": timestamp(started_ns + offset_ns),
        "running_ns": running_ns,
        "running": format_duration(running_ns),
        "health": health_object(backend, strangers),
        "nodes": status_counts(snapshot),
        "counters": dict(snapshot.counters),
        "rejects": dict(snapshot.rejects),
        "pauses": {
            "count": pauses.count,
            "last": timestamp_or_none(pauses.last_ns, offset_ns),
            "last_length_ns": pauses.last_length_ns,
            "longest_ns": pauses.longest_ns,
            "health": pauses.health,
        },
        "guards": hold_objects(snapshot),
        "actions": dict(snapshot.outbox),
        "services": summary_object(snapshot),
        "said": said_object(snapshot),
        "unknown": unknown_object(snapshot, strangers),
        "last_event": backend.events.last_sequence(),
    }
    return Response(msgspec.json.encode(body), media_type="application/json")
