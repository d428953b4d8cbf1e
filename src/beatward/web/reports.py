"""POST /v1/agent/report: why a node says that it is failing, and metrics of its own.

A datagram has no room for them. They are shown until the node says others or begins a new life, and
the reason is in the entry of the `failing` that comes after it. Not here: JSON heartbeats, which
carry both themselves (`heartbeat`).
"""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from beatward.core.instants import SECOND
from beatward.core.order_kinds import NoteReport
from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.core.protocol.report import (
    METRIC_COUNT_MAX,
    METRIC_MAX,
    METRIC_NAME,
    REASON_LENGTH_MAX,
    SelfReport,
    check_own_metrics,
    check_reason,
)
from beatward.core.protocol.texts import LINE
from beatward.web.access import NODE_BEARER, Served, admit_node
from beatward.web.backend import MonitorMachine
from beatward.web.problems import Problem, inbox_full
from beatward.web.request_fields import Body, Whole
from beatward.web.shapes import problems

router = APIRouter(prefix="/v1/agent", tags=["agents"], dependencies=[Depends(NODE_BEARER)])

# An agent spaces its reports by a second; one that comes early by its own clock is no offence.
SPACING_NS = SECOND // 2
# At most this many nodes have the instant of their last report kept; beyond, all are dropped.
_REMEMBERED_MAX = 100_000

# What every reader of JSON takes exactly (RFC 7493, 2.2); as microseconds since 1970 the year 2255.
_LIFE_MAX = 2**53 - 1

Reason = Annotated[
    str,
    Field(
        max_length=REASON_LENGTH_MAX,
        pattern=f"^{LINE}$",
        description="Why it is failing, on one line.",
    ),
    AfterValidator(check_reason),
]
Metrics = Annotated[
    dict[
        Annotated[str, Field(pattern=f"^{METRIC_NAME}$")],
        Annotated[float, Field(ge=-METRIC_MAX, le=METRIC_MAX)],
    ],
    Field(
        max_length=METRIC_COUNT_MAX,
        description="Numbers of its own, by name.",
        json_schema_extra={"additionalProperties": False},
    ),
    AfterValidator(check_own_metrics),
]


class ReportBody(Body):
    """What a life of a node says of itself, in place of what it said before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "web-3",
                    "incarnation": 1_795_418_102_123_456,
                    "reason": "the queue is full",
                    "metrics": {"queue": 4711},
                }
            ]
        },
    )
    name: str = Field(
        description="The agent's own node; the bearer token is that node's.",
        max_length=NAME_LENGTH_MAX,
    )
    incarnation: Whole = Field(
        description="Of the life that says it, as in its heartbeats.", ge=1, le=_LIFE_MAX
    )
    reason: Reason = ""
    metrics: Metrics = Field(default_factory=dict)


class ReportAnswer(BaseModel):
    """The report is on its way."""

    model_config = ConfigDict(extra="forbid")
    taken: bool = Field(description="True.")


class Spacing:
    """Lets a node report only so often."""

    def __init__(self) -> None:
        self._last_ns: dict[str, int] = {}

    def admit(self, name: str, now_ns: int) -> bool:
        """Tell whether a node may report now, and remember that it does."""
        last_ns = self._last_ns.get(name)
        if last_ns is not None and now_ns - last_ns < SPACING_NS:
            return False
        if len(self._last_ns) >= _REMEMBERED_MAX:
            self._last_ns.clear()
        self._last_ns[name] = now_ns
        return True


@router.post(
    "/report",
    summary="Say why a node is failing",
    status_code=202,
    responses=problems(400, 401, 413, 422, 429, 503),
)
def take_report(body: ReportBody, request: Request, backend: Served) -> ReportAnswer:
    """Take a reason and metrics; they are shown, and nothing is judged by them."""
    admit_node(request, body.name)
    spacing: Spacing = request.app.state.spacing
    if not spacing.admit(body.name, backend.machine.now_ns()):
        detail = (
            f"{body.name} has reported less than half a second ago; send the newest in a second"
        )
        raise Problem(429, "too-often", detail, headers={"Retry-After": "1"})
    report = SelfReport(body.incarnation, body.reason, body.metrics)
    if not backend.machine.order(NoteReport(body.name, report=report)):
        raise inbox_full()
    return ReportAnswer(taken=True)


def note_of_heartbeat(
    machine: MonitorMachine,
    name: str,
    incarnation: int,
    *,
    reason: str | None,
    metrics: Mapping[str, float] | None,
) -> bool:
    """Order what a JSON heartbeat says, if that is news; False: the inbox is full.

    None: it says nothing of that, and what was said before holds.
    """
    if reason is None and metrics is None:
        return True
    state = machine.snapshot().state
    known = state.reports.get(state.registry.slot_of(name))
    if known is None or known.incarnation != incarnation:
        known = SelfReport(incarnation)
    report = SelfReport(
        incarnation,
        known.reason if reason is None else reason,
        known.metrics if metrics is None else metrics,
    )
    return report == known or machine.order(NoteReport(name, report=report))
