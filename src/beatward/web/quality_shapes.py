"""What the answers about quality look like, as OpenAPI shows it; see `web.shapes`."""

from pydantic import Field

from beatward.web.shape import Shape

_AT = "RFC 3339, UTC, milliseconds."


class Brief(Shape):
    """How well a node is watched, since the session began; `/v1/quality?node=` says more."""

    suspicions_refuted: int = Field(description="Suspicions that were mistakes.")
    verdicts_refuted: int = Field(description="Verdicts that were mistakes.")
    query_accuracy: float | None = Field(description="The share of its life in which we were not.")
    loss: float | None = Field(description="The share of its heartbeats that never came.")
    jitter_ns: int | None = Field(description="How much the time between two heartbeats varies.")
    round_trip_ns: int | None = Field(description="From a single probe to its answer, the mean.")
    outages: int = Field(description="Silences and exits that are over.")


class DetectionTimes(Shape):
    """Verdicts by silence that were not refuted: how long the node had been silent."""

    count: int = Field(description="How many.")
    mean_ns: int | None = Field(description="From the last word to the verdict, the mean.")
    max_ns: int | None = Field(description="The longest.")
    overdue_mean_ns: int | None = Field(description="Of that, after the next heartbeat was due.")


class Exits(Shape):
    """Exits that agents saw and told of."""

    count: int = Field(description="How many.")
    mean_ns: int | None = Field(description="From the word's arrival to the verdict, the mean.")
    max_ns: int | None = Field(description="The longest.")


class Outages(Shape):
    """Silences that led to suspicion, from last to next word; exits, until the node was back."""

    count: int = Field(description="How many are over.")
    open: int = Field(description="How many are not.")
    mean_ns: int | None = Field(description="How long one was, the mean.")
    max_ns: int | None = Field(description="How long the longest was.")
    counts: list[int] = Field(
        description="How many were no longer than each of `outage_bounds_ns` and longer than the "
        "one before; one more for those longer than all."
    )


class DetectWithin(Shape):
    """`[goal] detect_within` and the detections."""

    goal_ns: int = Field(description="What is wanted.")
    state: str = Field(description="`kept`, `missed`, or `open`: none yet.")
    beyond: int = Field(description="Detections that took longer.")


class MistakesEvery(Shape):
    """`[goal] mistakes_every` and the mistake recurrence time."""

    goal_ns: int = Field(description="What is wanted.")
    state: str = Field(description="`kept`, `missed`, or `open`: no mistake, and too little seen.")


class Compared(Shape):
    """What is wanted and whether it is so; only what the settings name."""

    detect_within: DetectWithin | None = Field(default=None, description="How fast.")
    mistakes_every: MistakesEvery | None = Field(default=None, description="How seldom wrong.")


class QualityShape(Shape):
    """What was counted of some nodes, and Chen's measures of it; null is not known yet."""

    nodes: int = Field(description="How many nodes.")
    alive_ns: int = Field(description="How long they were held alive, or wrongly not, all in all.")
    detection_time: DetectionTimes = Field(description="T_D, at most.")
    exits: Exits = Field(description="Those that were told.")
    suspicions_refuted: int = Field(description="Mistakes that ended before a verdict.")
    verdicts_refuted: int = Field(description="Mistakes that became a verdict.")
    mistake_rate_per_hour: float | None = Field(description="Mistakes of a node an hour alive.")
    mistake_duration_ns: int | None = Field(description="E(T_M): how long a mistake lasts.")
    mistake_recurrence_time_ns: int | None = Field(description="E(T_MR): from one to the next.")
    query_accuracy: float | None = Field(description="P_A = 1 - E(T_M) / E(T_MR).")
    slots: int = Field(description="Heartbeats that the schedules had room for.")
    missing: int = Field(description="Those of them that never came, or came too late.")
    loss: float | None = Field(description="missing / slots")
    jitter_ns: int | None = Field(description="As in RFC 3550, the mean of the nodes.")
    round_trip_ns: int | None = Field(description="From a single probe to its answer, the mean.")
    outages: Outages = Field(description="How long nodes were not heard.")
    goal: Compared | None = Field(description="The goal, where the settings have one.")


class QualityGroup(Shape):
    """The nodes with one value of a label."""

    value: str | None = Field(description="The value; null: they have no such label.")
    quality: QualityShape = Field(description="Theirs.")


class QualityReport(Shape):
    """How well deaths are found, and how seldom wrongly, since the session began."""

    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    since: str = Field(description=f"When the session and all counting began. {_AT}")
    since_ns: int = Field(description="How long ago that was, nanoseconds.")
    node: str | None = Field(description="The node it is about; null: the fleet.")
    by: str | None = Field(description="The label that was asked for.")
    outage_bounds_ns: list[int] = Field(description="The bounds of the outages' histogram.")
    quality: QualityShape = Field(
        description="The fleet's, with nodes forgotten since; or the node's."
    )
    groups: list[QualityGroup] = Field(description="By the label, the largest group first.")
    groups_total: int = Field(description="How many groups there are.")
