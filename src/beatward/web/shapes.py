"""What the API's answers look like, as OpenAPI shows it.

The models describe; the answers themselves are built as plain objects where they may be long
(`nodes`, `events`), because a model a row costs more than all the rest. The tests hold both
together. Not here: requests, which stand beside their routes, and what they are made of
(`request_fields`).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from beatward.action_settings import StatusWord
from beatward.web.guard_shapes import HoldShape
from beatward.web.problems import MEDIA_TYPE
from beatward.web.quality_shapes import Brief
from beatward.web.report_shapes import Reported
from beatward.web.shape import Shape
from beatward.web.speaking import ConflictShape, Unknown

_AT = "RFC 3339, UTC, milliseconds."


class ProblemShape(BaseModel):
    """Why the answer is no: RFC 9457."""

    model_config = ConfigDict(
        title="Problem",
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:beatward:problem:unknown-node",
                    "title": "Not found",
                    "status": 404,
                    "detail": "no node is called 'web-9'; 3 nodes are enrolled, alike: web-3",
                }
            ]
        },
    )
    type: str = Field(description="Stable, for machines: `urn:beatward:problem:...`.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was expected, what was found, what to do.")


_MEANINGS = {
    400: "The body is not JSON.",
    401: "The token is missing or wrong.",
    403: "The join token does not allow this.",
    404: "There is no such node, or no such service.",
    409: "It cannot be so now; the `detail` says what stands against it.",
    413: "The body is larger than 64 KiB.",
    422: "A value is not as expected; `errors` lists them.",
    429: "It comes too often; send it again after `Retry-After` seconds.",
    503: "The monitor cannot take more just now; try again after `Retry-After` seconds.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these problems."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


class Job(Shape):
    """What a job promises, and how its runs went."""

    schedule: str | None = Field(description="Five fields of cron, or null: by `period_ns`.")
    timezone: str = Field(description="Of the schedule.")
    period_ns: int | None = Field(description="Due this long after the last run ended.")
    grace_ns: int = Field(description="How late a run may begin, or end.")
    max_run_ns: int = Field(description="How long a run may take.")
    due: str | None = Field(description=f"The run that is awaited. {_AT}")
    due_in_ns: int | None = Field(description="How far off that is; negative: it is late.")
    started: str | None = Field(description="When the run under way began; null: there is none.")
    ended: str | None = Field(description="When the last run ended.")
    ran_ns: int | None = Field(description="How long that took, where its beginning was said.")
    succeeded: str | None = Field(description="When a run last succeeded.")
    failed: bool = Field(description="The last run failed.")
    exit_code: int | None = Field(description="With this, if it was said; a signal is negative.")


class MaintenanceShape(Shape):
    """Why a node is paused, and until when."""

    until: str | None = Field(description=f"The planned end; null: until `resume`. {_AT}")
    left_ns: int | None = Field(description="How far off that is, nanoseconds.")
    by: str = Field(description="Who announced it.")
    reason: str = Field(description="Why.")


class AcknowledgementShape(Shape):
    """Who knows of a node's alarm."""

    at: str = Field(description=f"Since when. {_AT}")
    status: StatusWord = Field(description="What the node was then.")
    by: str = Field(description="Who knows.")
    note: str = Field(description="What is known.")


class Node(Reported, Shape):
    """One node as of the snapshot."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "web-3",
                    "status": "alive",
                    "cause": "heard",
                    "since": "2026-11-23T07:15:02.123Z",
                    "since_ns": 724_100_000_000,
                    "heard": "2026-11-23T07:27:05.901Z",
                    "silent_ns": 322_000_000,
                    "silent": "322 ms",
                    "deadline": "2026-11-23T07:27:07.113Z",
                    "deadline_in_ns": 890_000_000,
                    "interval_ns": 1_000_000_000,
                    "interval_wished_ns": None,
                    "margin_ns": 212_000_000,
                    "via": "udp",
                    "incarnation": 1_795_418_102_123_456,
                    "sequence": 722,
                    "probes_sent": 0,
                    "health": "ok",
                    "cpu": 12.5,
                    "memory": 43.1,
                    "load": 0.42,
                    "labels": {"zone": "a"},
                    "job": None,
                    "maintenance": None,
                    "acknowledgement": None,
                    "silence": "3f9a1c22",
                    "conflict": None,
                    "quality": {
                        "suspicions_refuted": 1,
                        "verdicts_refuted": 0,
                        "query_accuracy": 0.99995,
                        "loss": 0.001,
                        "jitter_ns": 1_400_000,
                        "round_trip_ns": 780_000,
                        "outages": 1,
                    },
                }
            ]
        },
    )
    name: str = Field(description="The name it was enrolled under.")
    status: StatusWord = Field(description="What the monitor holds it to be.")
    cause: str = Field(description="Why the status last changed.")
    since: str | None = Field(description=f"When the status last changed. {_AT}")
    since_ns: int | None = Field(description="How long ago that was, nanoseconds.")
    heard: str | None = Field(description=f"The newest heartbeat or answer. {_AT}")
    silent_ns: int | None = Field(description="How long ago that was, nanoseconds.")
    silent: str | None = Field(description="The same for people.")
    deadline: str | None = Field(description="Silence until then becomes suspicion.")
    deadline_in_ns: int | None = Field(description="How far off that is; negative: it passed.")
    interval_ns: int | None = Field(description="What the node promised between heartbeats.")
    interval_wished_ns: int | None = Field(description="What it is asked for, see docs/pace.md.")
    margin_ns: int | None = Field(description="How long after its due time one may come.")
    via: str | None = Field(description="How it reports: `udp`, `http` or `ping`.")
    incarnation: int = Field(description="Its life; 0: none was heard of yet.")
    sequence: int | None = Field(description="The newest heartbeat of this life.")
    probes_sent: int = Field(description="Probes of the last suspicion.")
    health: str = Field(description="What it says of itself: `ok` or `failing`.")
    cpu: float | None = Field(description="Percent in use, as it said.")
    memory: float | None = Field(description="Percent in use, as it said.")
    load: float | None = Field(description="Load average, as it said.")
    labels: dict[str, str] = Field(description="Words about the node, from its enrolment.")
    job: Job | None = Field(description="What it promises, if it is a job.")
    maintenance: MaintenanceShape | None = Field(description="Of a node that is paused.")
    acknowledgement: AcknowledgementShape | None = Field(description="Of an alarm that is known.")
    silence: str | None = Field(description="The id of the silence that holds its notifications.")
    conflict: ConflictShape | None = Field(description="Two processes speak under its name.")
    quality: Brief = Field(description="How well it is watched.")


class NodeList(Shape):
    """A page of nodes in order of their names."""

    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    total: int = Field(description="How many nodes are enrolled.")
    matching: int = Field(description="How many of them were asked for.")
    nodes: list[Node] = Field(description="This page.")
    next: str | None = Field(description="Ask again with `after` = this; null: that was all.")


class JobList(Shape):
    """All jobs in order of their names."""

    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    jobs: list[Node] = Field(description="Nodes that are jobs.")


class EventShape(BaseModel):
    """One fact of the journal; it is on disk."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 4711,
                    "event": "transition",
                    "at": "2026-11-23T07:15:02.123Z",
                    "node": "web-3",
                    "status": "suspect",
                    "cause": "overdue",
                    "explanation": "web-3 suspected: silent 2.31 s; heartbeat 4711 was due 1.02 s "
                    "ago with margin 210 ms",
                    "action": None,
                    "outcome": None,
                    "detail": {"before": "alive", "silent_ns": 2_310_000_000},
                }
            ]
        },
    )
    id: int = Field(description="Its place in the journal, increasing by one.")
    event: str = Field(
        description="`started`, `joined`, `life`, `transition`, `forgotten`, `guard`, `action`, "
        "`outcome`, `job`, `run`, `labelled`, `replaced`, `maintenance`, `acknowledged`, "
        "`unacknowledged`, `silenced`, `unsilenced`, `service`, `role` or `conflict`."
    )
    at: str = Field(description=_AT)
    node: str | None = Field(description="The node it is about.")
    status: str | None = Field(description="The node's status from then on.")
    cause: str | None = Field(description="Why it changed.")
    explanation: str | None = Field(description="One sentence for people.")
    action: str | None = Field(description="The name of the action it is about.")
    outcome: str | None = Field(description="What became of the action.")
    detail: dict[str, Any] = Field(description="The numbers behind it.")


class EventList(Shape):
    """Events in order of their ids."""

    events: list[EventShape] = Field(description="The newest first asked for, oldest first shown.")
    last: int = Field(description="The id of the newest event in the journal.")
    mark: str | None = Field(description="The mark of the last of `events`; null: there is none.")
    anew: str | None = Field(
        description="Why `after` is not of this journal, which is therefore shown from its "
        "beginning; null: it is."
    )


class JournalHealth(Shape):
    """The writing down."""

    written: int = Field(description="The journal holds every entry up to this id.")
    waiting: int = Field(description="Entries that wait to be written.")
    error: str | None = Field(description="Why they wait; null: all is well.")


class WheelHealth(Shape):
    """The judging."""

    turns: int = Field(description="How often it has turned.")
    last_turn_ago_ns: int = Field(description="How long ago it turned last.")


class HealthShape(Shape):
    """The monitor's own health."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "reasons": [],
                    "journal": {"written": 4711, "waiting": 0, "error": None},
                    "wheel": {"turns": 120_000, "last_turn_ago_ns": 3_100_000},
                }
            ]
        },
    )
    status: str = Field(description="`ok`, `degraded`, or `stopped` when the wheel stands still.")
    reasons: list[str] = Field(description="Why it is not ok, one sentence each.")
    journal: JournalHealth = Field(description="Whether facts get onto the disk.")
    wheel: WheelHealth = Field(description="Whether silence is judged.")


class PauseCounts(Shape):
    """How often the monitor itself stood still and doubted itself."""

    count: int = Field(description="How often.")
    last: str | None = Field(description=f"When the last one ended. {_AT}")
    last_length_ns: int = Field(description="How long the last one was.")
    longest_ns: int = Field(description="How long the longest one was.")
    health: int = Field(
        description="What multiplies margins and windows while its turns are late; 1: well."
    )


class PausedNode(MaintenanceShape):
    """A node that is paused."""

    node: str = Field(description="The node's name.")


class KnownAlarm(AcknowledgementShape):
    """A node whose alarm was acknowledged."""

    node: str = Field(description="The node's name.")


class SilenceShape(Shape):
    """Notifications that are held."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "3f9a1c22",
                    "node": "web-*",
                    "labels": {},
                    "actions": False,
                    "at": "2026-11-23T07:15:02.123Z",
                    "until": "2026-11-23T09:15:02.123Z",
                    "left_ns": 5_400_000_000_000,
                    "by": "ann",
                    "reason": "the switch is changed",
                }
            ]
        },
    )
    id: str = Field(description="What it is called.")
    node: str = Field(description="The name or pattern of the nodes it is about.")
    labels: dict[str, str] = Field(description="The labels that they must have.")
    actions: bool = Field(description="Repairs are held as well.")
    at: str | None = Field(description=f"When it began. {_AT}")
    until: str | None = Field(description=f"When it ends. {_AT}")
    left_ns: int = Field(description="How far off that is, nanoseconds.")
    by: str = Field(description="Who asked for it.")
    reason: str = Field(description="Why.")


class SaidShape(Shape):
    """What people have said of nodes."""

    paused: list[PausedNode] = Field(description="The next to end first, at most 10.")
    acknowledged_count: int = Field(description="How many alarms were acknowledged.")
    acknowledged: list[KnownAlarm] = Field(description="The newest first, at most 10.")
    silences: list[SilenceShape] = Field(description="The next to end first.")


class ServiceRemark(Shape):
    """A service of which people should know something."""

    service: str = Field(description="The service.")
    remark: str = Field(description="That its role has no holder and why, or that it waits.")


class ServiceSummary(Shape):
    """All services in few words."""

    counts: dict[str, int] = Field(
        description="`total`, `balance`, and how many roles are in each phase."
    )
    remarks: list[ServiceRemark] = Field(description="Of at most ten services.")
    remarks_count: int = Field(description="Of how many there would be one.")


class StatusShape(Shape):
    """The monitor and its fleet on one screen."""

    name: str = Field(description="The monitor's name.")
    version: str = Field(description="The program's version.")
    udp: str = Field(description="Where agents send datagrams to, host:port.")
    tags: str = Field(
        description="How heartbeats are authenticated: `sha-ni`, `armv8` or `scalar` by the "
        "compiled extension, `python` without it."
    )
    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    started: str | None = Field(description=f"When this session began. {_AT}")
    running_ns: int = Field(description="How long ago that was, nanoseconds.")
    running: str = Field(description="The same for people.")
    health: HealthShape = Field(description="As `/healthz` has it.")
    nodes: dict[str, int] = Field(description="How many nodes have each status, and `total`.")
    counters: dict[str, int] = Field(description="What has come in since the start.")
    rejects: dict[str, int] = Field(description="Records that changed nothing, by reason.")
    pauses: PauseCounts = Field(description="The monitor's own pauses.")
    guards: list[HoldShape] = Field(description="Mass failures that hold back destructive actions.")
    actions: dict[str, int] = Field(
        description="Actions that wait, run, or are held back by silences or guards."
    )
    services: ServiceSummary = Field(description="What nodes offer, in few words.")
    said: SaidShape = Field(description="What people have said of nodes.")
    unknown: Unknown = Field(description="Nodes that speak and are not watched.")
    last_event: int = Field(description="The id of the newest event in the journal.")


class SilenceList(Shape):
    """The silences that have not ended."""

    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    silences: list[SilenceShape] = Field(description="The next to end first.")


class Explanation(Shape):
    """Why a node is held to be what it is."""

    node: str = Field(description="The node's name.")
    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    status: StatusWord = Field(description="What the monitor holds it to be.")
    cause: str = Field(description="Why the status last changed.")
    sentence: str = Field(description="The reason in one sentence.")
    detail: dict[str, Any] = Field(description="The numbers behind it, durations in nanoseconds.")
    last_verdict: EventShape | None = Field(
        description="The newest transition of this node to suspect, dead or left."
    )


class Ordered(Shape):
    """The order is on its way; the event that follows from it appears in the journal."""

    ordered: str = Field(
        description="`pause`, `resume`, `forget`, `acknowledge`, `unacknowledge` or `job`."
    )
    node: str = Field(description="The node's name.")


class OrderedPause(Ordered):
    """The order is on its way."""

    until: str | None = Field(None, description=f"The planned end, if there is one. {_AT}")


class OrderedMany(Shape):
    """The order is on its way; large ones take effect by and by, thousands of nodes a second."""

    ordered: str = Field(description="`pause` or `resume`.")
    count: int = Field(description="How many nodes are meant.")
    until: str | None = Field(description=f"The planned end, if there is one. {_AT}")


class OrderedLift(Shape):
    """The order is on its way."""

    ordered: str = Field(description="`lift`.")
    zone: str | None = Field(description="Only in this zone; null for everywhere.")


class OrderedSilence(Shape):
    """The order is on its way."""

    ordered: str = Field(description="`silence` or `unsilence`.")
    id: str = Field(description="What the silence is called.")
    until: str | None = Field(description=f"When it ends. {_AT}")
