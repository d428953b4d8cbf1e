"""One settings file -> the frozen settings of each room.

The file is TOML; every key has a default, so `beatward monitor` runs without any file. Unknown
keys are errors, because a misspelt `timout` that is silently ignored is found in an outage.
Durations are written `250ms`, `2s`, `5m`, `30d`. A message names file, key, what was found and
what was expected. Not here: what the settings do; each field says its unit, its default and what
it costs to turn it either way.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from beatward.action_settings import ActionSettings, RuleSettings
from beatward.config_mistakes import explained, unfit_actions, unknown_actions
from beatward.core.detect import DETECTORS
from beatward.core.entry import JobPlan
from beatward.core.instants import PROMISE_MAX_NS, format_duration
from beatward.errors import ConfigError
from beatward.role_settings import FailoverSettings, ServiceSettings
from beatward.timetable import Schedule
from beatward.toml_file import located, together
from beatward.values import (
    Address,
    Duration,
    Margin,
    NodeName,
    Rate,
    Share,
    Table,
    check_pattern,
    renamed,
)

PORT = 7227


class MonitorSettings(Table):
    """[monitor] the program itself."""

    name: str = Field(default="monitor", min_length=1)
    """What the monitor calls itself in `status`, the API and the metrics."""
    udp: Address = f"127.0.0.1:{PORT}"
    """Where heartbeats arrive. The default can be reached from this machine only, so it is safe,
    and no other machine can send to it.
    """
    http: Address = f"127.0.0.1:{PORT}"
    """Where the API, enrolment, JSON heartbeats and bare URLs are served. On a loopback address
    reading needs no token; on any other address every route but `/healthz` needs one. The monitor
    has no TLS of its own: put a proxy in front of it where the network is not yours.
    """
    advertise: Address | None = None
    """The address that agents are given for their datagrams. Default: `udp`; if that is a wildcard
    such as `0.0.0.0`, the host under which the agent reached `http`. It is needed only behind
    address translation or with several addresses.
    """
    data: Annotated[Path, Field(strict=False)] | None = None
    """The folder for keys and journal. Default: `/var/lib/beatward` for root, else
    `$XDG_STATE_HOME/beatward` or `~/.local/state/beatward`. One monitor uses a folder: a second one
    refuses to start.
    """
    tick: Duration = "5ms"  # type: ignore[assignment]
    """The shortest time between two turns. The monitor takes a turn when something arrives or is
    due, and under load one a tick, so that a suspicion and a verdict each come up to one tick late.
    A smaller tick costs more turns under load, each 0.2 to 0.4 ms of processor time. It is at most
    half of `pause_limit`.
    """
    start_grace: Duration = "10s"  # type: ignore[assignment]
    """The time that nodes have after the monitor's start, or after their own enrolment, before
    silence counts; at least two of a node's own intervals. A shorter one finds dead nodes sooner
    after a restart; a longer one forgives slow networks and slow starters.
    """
    pause_limit: Duration = "250ms"  # type: ignore[assignment]
    """A longer time in which the monitor was not awake counts as its own pause: it first hears what
    is queued, learns nothing from it, and begins all deadlines of living nodes anew. Below 100 ms
    the ordinary hiccups of a busy host each delay detection by a timeout. With a larger one a short
    pause of the monitor may look like silence of nodes, and only the probes then save them.
    """
    receive_buffer: int = Field(default=4 * 1024 * 1024, ge=4096)
    """The bytes that the kernel may keep between two turns; 4 MB hold 30 ms of 300,000 heartbeats a
    second. A smaller buffer loses bursts (`kernel_drops` counts them). A larger one costs memory
    only, but needs root or a larger `net.core.rmem_max`; `beatward doctor` checks it.
    """
    kernel_timestamps: bool = True
    """A heartbeat has arrived when the kernel received it, not when the monitor read it: what
    waited during a hiccup keeps its true time, and verdicts go on during a flood. False saves about
    a tenth of a heartbeat's cost. The time of reading counts where the kernel has no timestamps
    (Linux before 5.1, other systems), and while the wall clock is being set.
    """
    prefilter: Literal["auto", "on", "off"] = "auto"
    """The kernel drops datagrams that cannot be heartbeats (length, magic, version) before they
    take room in the buffer; they are counted as `filtered`. `auto` does this from 10,000 of them a
    second until they were fewer than 1,000 a second for 10 s, so that a little junk is still
    counted by its reason. `on` does it always, and counts no reasons. With `off` junk costs as much
    as a heartbeat.
    """
    doors: int = Field(default=1, ge=1, le=64)
    """The number of sockets that share `udp`, each with a `receive_buffer` of its own; a node
    always reaches the same socket. More sockets take bursts beyond what the kernel grants to one,
    or use many receiving processors. One thread drains them all, so they are no faster.
    """
    metrics_per_node: bool = False
    """With true, `/metrics` also has nine series for each node. That is handy for hundreds of
    nodes; 100,000 nodes take a second to render.
    """

    @model_validator(mode="after")
    def _a_turn_is_no_pause(self) -> "MonitorSettings":
        if self.pause_limit < 2 * self.tick:
            message = "pause_limit at least twice tick, or every turn would count as a pause"
            raise ValueError(message)
        return self


_MARGIN_AUTO = ("margin_from", "margin_min", "late_probability")
if TYPE_CHECKING:
    DetectorKind = str
else:
    DetectorKind = Literal[tuple(DETECTORS)]


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)


class DetectorTable(Table):
    """[detector] when silence becomes suspicion."""

    kind: DetectorKind = "chen"
    """`chen` learns from the sender's own schedule when the next heartbeat is due, and adds a
    margin. `fixed` is a timeout since the last arrival: it is easy to explain and right from the
    first heartbeat, and a late heartbeat buys as much extra trust as it was late. docs/detectors.md
    says when to choose another kind.
    """
    timeout: Duration | None = None
    """`fixed` only. Default: three of the node's own intervals. A shorter timeout finds dead nodes
    sooner and suspects more living ones.
    """
    samples: int = renamed("samples", "window", default=128, ge=2, le=65_535)
    """The number of heartbeats that a mean remembers; `fixed` and `histogram` have no mean. 128
    follows a clock that drifts by 200 ppm to 13 ms at an interval of 1 s; 1000 is steadier and lags
    by 100 ms.
    """
    samples_short: int | None = renamed(
        "samples_short", "window_short", default=None, ge=1, le=65_534
    )
    """`two_window` and `adaptive`: the number of heartbeats in the short mean. Default: 1 and 8.
    Fewer heartbeats follow a sudden delay sooner, and give a single late heartbeat more trust.
    """
    margin: Margin = "auto"
    """`chen`, `two_window`, `adaptive`: the time from the due instant to the deadline. `auto`
    counts how late heartbeats are and takes the margin that all but `late_probability` of them
    keep, between `margin_min` and half an interval (two intervals for `adaptive`); before 8
    heartbeats it is a whole interval. A duration is used as it stands.
    """
    margin_from: Literal["quantile", "cantelli"] = "quantile"
    """With `margin = "auto"`: `quantile` keeps `late_probability` within a factor of two and finds
    dead nodes soonest. `cantelli` is the one-sided bound by the variance: it holds for any
    distribution and is several times wider. Both are that bound until 1/`late_probability`
    heartbeats were counted.
    """
    margin_min: Duration = "50ms"  # type: ignore[assignment]
    """With `margin = "auto"`, and for `bertier`: the margin is never smaller. A smaller minimum
    finds dead nodes sooner and suspects more nodes when a host or the network hiccups.
    """
    late_probability: float = renamed(
        "late_probability", "late", default=1e-3, ge=1e-12, lt=0.5, allow_inf_nan=False
    )
    """With `margin = "auto"`, and for `histogram`: at most this share of heartbeats may come after
    the deadline. Lost heartbeats are not counted, because no margin waits for them. A smaller share
    means fewer suspicions, a longer detection time, and a longer time to learn:
    1/`late_probability` heartbeats of a node. By Cantelli's bound a tenth of the share needs a
    margin about three times as large.
    """
    threshold: float = Field(default=8.0, ge=0.5, le=100, allow_inf_nan=False)
    """`phi` and `phi_exponential`: a node is suspect from this phi on. A higher one is surer and
    later. The two kinds have different scales: 8 is 5.6 deviations in one and 18 intervals in the
    other.
    """
    deviation_min: Duration | None = None
    """`phi`: the smallest deviation. Default: a tenth of the interval. A smaller one finds the dead
    nodes of a calm network sooner, and takes its first hiccup for a death.
    """
    pause: Duration | None = None
    """`phi`: the time beyond the usual that is not suspicious yet. Default: three intervals.
    Detection is later by this time, and pauses of nodes up to it are forgiven.
    """
    tail: Literal["exact", "akka"] = "exact"
    """`phi`: the normal distribution, or the approximation of Akka and Pekko, under which a
    threshold of 8 is 5.23 deviations instead of 5.61.
    """
    factor: float = Field(default=1.5, ge=1, le=100, allow_inf_nan=False)
    """`histogram`: the deadline is this factor times the longest usual time between two heartbeats.
    Nearer to 1 is sooner, and leaves less room for what was not seen yet.
    """
    gain: float = Field(default=0.1, gt=0, le=1, allow_inf_nan=False)
    """`bertier`: the weight of the newest heartbeat. A larger one follows changes sooner and
    forgets sooner.
    """
    delay_weight: float = Field(default=1.0, ge=0, le=100, allow_inf_nan=False)
    """`bertier`: the factor of the mean delay in the margin. A larger one means fewer suspicions
    and a longer detection time.
    """
    deviation_weight: float = Field(default=4.0, gt=0, le=100, allow_inf_nan=False)
    """`bertier`: the same for the mean deviation."""
    grace: Duration | None = None
    """`calendar`: a heartbeat may come this much later than promised. Default: one of the node's
    own intervals. It is for a whole fleet that reports now and then; single jobs with schedules
    have `[[job]]`.
    """

    @model_validator(mode="after")
    def _no_contradiction(self) -> "DetectorTable":
        read = DETECTORS[self.kind].READS
        for name in sorted(self.model_fields_set - {"kind"}):
            # A key that is set and not read would look like a setting that works.
            if name not in read and getattr(self, name) is not None:
                message = f"no {name} with kind = {self.kind} (it has {_listed(read)})"
                raise ValueError(message)
            if self.margin != "auto" and name in _MARGIN_AUTO:
                message = f"no {name} with a margin of your own; or margin = auto"
                raise ValueError(message)
        if self.samples_short is not None and self.samples_short >= self.samples:
            message = "samples_short smaller than samples"
            raise ValueError(message)
        return self


class ProbeSettings(Table):
    """[probe] what happens between suspicion and verdict."""

    window: Duration = "1s"  # type: ignore[assignment]
    """Silence of this length after the suspicion makes the verdict. A longer window outlives longer
    outages of the network, and delays every detection by as much. Nodes that report over HTTP
    cannot be probed; for them it is a plain wait.
    """
    spacing: Duration = "200ms"  # type: ignore[assignment]
    """The time between two probes of a suspect; no longer than `window`. A shorter one gives more
    chances against loss, and sends more datagrams when many nodes are suspect at once.
    """
    rate: Rate = "100000/s"  # type: ignore[assignment]
    """At most this many probes a second; further suspects wait in order for their first probe, and
    so for their verdict. With the defaults 10,000 nodes that fall silent at once are judged in
    time, and another 10,000 each second after that. A lower rate protects the network in a mass
    failure; a higher one judges a large failure sooner.
    """

    @model_validator(mode="after")
    def _at_least_one_probe(self) -> "ProbeSettings":
        if self.spacing > self.window:
            message = "spacing no longer than window"
            raise ValueError(message)
        return self


def _check_weighted(text: str) -> str:
    label, sign, pattern = text.rpartition("=")
    return f"{label}{sign}{check_pattern(pattern)}"


_WeightText = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_check_weighted)]
_Weight = Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)]


class PaceTable(Table):
    """[pace] how often nodes beat, if the monitor may ask them; docs/pace.md."""

    budget: Rate | None = None
    """The heartbeats a second of all nodes together, divided so that deaths are found as soon as
    possible: `"20000/s"` for 100,000 nodes is one heartbeat each 5 s. Without a budget every node
    keeps its own interval. A larger budget finds deaths sooner and costs the network and the
    monitor more; all of it is spent, down to `min`.
    """
    min: Duration = "1s"  # type: ignore[assignment]
    """The shortest interval that the monitor asks for. A shorter one watches troublesome nodes more
    closely, where their own settings allow it.
    """
    max: Duration = "10s"  # type: ignore[assignment]
    """The longest interval that the monitor asks for. A longer one saves more and finds a death
    later by as much. After the monitor's own start silence counts after two of these, if that is
    more than `start_grace`. With a `fixed` detector it is shorter than its `timeout`.
    """
    weights: Annotated[dict[_WeightText, _Weight], Field(max_length=250)] | None = None
    """How much sooner a death should be found: a pattern of names, or `"label=pattern"`, and a
    number. The first that fits counts; all other nodes have 1. A node with 4 beats twice as often.
    """

    @model_validator(mode="after")
    def _no_contradiction(self) -> "PaceTable":
        if not 10_000_000 <= self.min <= self.max <= 3_600_000_000_000:
            message = "min no longer than max, both from 10ms to 1h"
            raise ValueError(message)
        return self


class GuardTable(Table):
    """[guard] when the silence of many nodes is doubted, and how fast actions may be done."""

    fleet: Share = 0.15
    """When this share of the fleet goes dark at once, destructive actions on these nodes are held
    back and their alarms become one. A smaller share holds back more often; 1 waits for all nodes.
    """
    zone: Share = 0.55
    """The same for the nodes with the same label `zone`. Nodes without that label count for the
    fleet only.
    """
    count: int = Field(default=3, ge=1)
    """Fewer nodes are never a mass failure: one of three is a dead node. A fleet smaller than this
    has no guard against a monitor that is cut off. A larger count gives small fleets no protection.
    """
    mass_within: Duration = renamed("mass_within", "window", default="30s")
    """Nodes that go dark within this time belong to one mass failure. A node that is found dead
    later than this after the last one of a mass failure is a case of its own, with its own alarm
    and its own repair at once. A longer time catches a slower collapse, and joins unrelated deaths.
    Nodes that beat more slowly than this are not waited for.
    """
    lift: Share = 0.5
    """A mass failure is over when no more than this part of `fleet` or `zone` is dark. Nearer to 1
    releases the actions sooner, and may hold them back again the next moment.
    """
    actions_per_minute: int = Field(default=10, ge=1, le=60_000)
    """At most this many destructive actions a minute in the whole fleet, and as many at once; the
    others wait in order. More repair a large loss sooner, and do more harm where the verdicts were
    wrong.
    """
    late_turn: Duration = renamed("late_turn", "late", default="100ms")
    """A turn of the monitor that comes later than this after it was wanted multiplies all margins
    and probe windows by one more; a second without a late turn takes one away. A smaller limit
    doubts a busy host sooner, and finds deaths later there.
    """
    health: int = Field(default=8, ge=1, le=100)
    """The largest factor of `late_turn`; 1 switches it off."""


class RecoverySettings(Table):
    """[recovery] the way back."""

    heartbeats: int = Field(default=3, ge=1, le=200)
    """This many good heartbeats turn `recovering` into `alive`. More keep a flapping node out for
    longer, and a healthy node as well.
    """
    hold: Duration = "10s"  # type: ignore[assignment]
    """A node that died a second time stays `recovering` for this long after its return, however
    good its heartbeats are; each further death doubles the time. A longer hold calms flapping
    nodes, and keeps repaired nodes out for longer. The first death holds no node.
    """
    hold_max: Duration = "5m"  # type: ignore[assignment]
    """The longest hold."""
    calm: Duration = "10m"  # type: ignore[assignment]
    """After this long without a death one death is forgotten. A shorter time forgives sooner."""

    @model_validator(mode="after")
    def _holds_no_longer_than_the_most(self) -> "RecoverySettings":
        if self.hold > self.hold_max:
            message = "hold no longer than hold_max"
            raise ValueError(message)
        return self


class GoalSettings(Table):
    """[goal] what is wanted; `beatward quality` compares it with what is measured."""

    detect_within: Duration | None = None
    """A death is found within this time of the node's last heartbeat. Detections that take longer
    are counted. The goal sets nothing by itself: interval, margin and `probe.window` make up a
    detection time.
    """
    mistakes_every: Duration | None = None
    """A node is suspected wrongly no more often than once in this time, on average."""


class JobSettings(Table):
    """[[job]] a node that runs now and then: when it is due, and how long it may take."""

    name: NodeName
    """The node; `beatward token ping NAME` prints its URL."""
    schedule: str | None = None
    """When a run is due: minute, hour, day of month, month, day of week, as in `"0 3 * * *"`.
    Either this or `every`.
    """
    timezone: str = "UTC"
    """The time zone of the schedule, as in `"Europe/Berlin"`: the one of the cron on the job's
    machine. A clock that changes in spring and autumn is treated as Debian's cron does.
    """
    every: Duration | None = None
    """In place of a schedule: the next run is due this long after the end of the last one."""
    grace: Duration = "10m"  # type: ignore[assignment]
    """A run may begin this much late; a job that does not report its begin may end this much late.
    A shorter grace reports a missed run sooner, a longer one forgives a busy host.
    """
    max_run: Duration | None = None
    """The longest time that a run may take. Default: as `grace`, because a job that reports its
    begin and then dies must not be waited for without end.
    """

    @model_validator(mode="after")
    def _has_due_instants(self) -> "JobSettings":
        if (self.schedule is None) == (self.every is None):
            message = 'either schedule, as in "0 3 * * *", or every, as in "1h"'
            raise ValueError(message)
        if self.every is not None and self.every > PROMISE_MAX_NS:
            message = f"every no longer than {format_duration(PROMISE_MAX_NS)}"
            raise ValueError(message)
        if self.schedule is not None:
            Schedule(self.schedule, self.timezone)
        return self

    def plan(self) -> JobPlan:
        """Return it with its defaults taken."""
        return JobPlan(
            schedule=self.schedule or "",
            timezone=self.timezone,
            period_ns=self.every or 0,
            grace_ns=self.grace,
            run_ns=self.max_run or self.grace,
        )


class Settings(Table):
    """The whole file."""

    monitor: MonitorSettings = MonitorSettings()
    detector: DetectorTable = DetectorTable()
    probe: ProbeSettings = ProbeSettings()
    pace: PaceTable = PaceTable()
    recovery: RecoverySettings = RecoverySettings()
    guard: GuardTable = GuardTable()
    goal: GoalSettings = GoalSettings()
    failover: FailoverSettings = FailoverSettings()
    service: dict[str, ServiceSettings] = Field(default_factory=dict)
    action: dict[str, ActionSettings] = Field(default_factory=dict)
    rule: tuple[RuleSettings, ...] = Field(default=(), strict=False)
    job: tuple[JobSettings, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _each_job_once(self) -> "Settings":
        names = [job.name for job in self.job]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            message = f"each [[job]] once; {twice[0]} is there twice"
            raise ValueError(message)
        return self

    def data_folder(self) -> Path:
        """Return the folder for keys and journal."""
        return self.monitor.data or default_data_folder()


def default_data_folder() -> Path:
    """Return where a monitor of this user keeps its data when no setting says otherwise."""
    state = os.environ.get("XDG_STATE_HOME")
    home = os.path.expanduser("~")  # noqa: PTH111  Path.home() raises where there is none
    if os.geteuid() == 0 or (not state and not Path(home).is_absolute()):
        return Path("/var/lib/beatward")
    return Path(state or f"{home}/.local/state") / "beatward"


def load(path: Path | None) -> Settings:
    """Read and check a settings file; no path means all defaults. Raises ConfigError."""
    if path is None:
        return Settings()
    tables, giving_lines = located(path)
    with giving_lines:
        return parse(tables, str(path))


def parse(data: dict[str, Any], file: str) -> Settings:
    """Check settings that were read already; `file` is for the message.

    Raises ConfigError for one mistake, and ConfigErrors for several.
    """
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        found = [explained(problem, file, Settings) for problem in problems]
        raise together([*found, *unknown_actions(data, file)]) from error
    found = [*unknown_actions(data, file)]
    found += unfit_actions(file, settings.action, settings.service, settings.rule)
    timeout = settings.detector.timeout
    if settings.pace.budget is not None and timeout is not None and timeout <= settings.pace.max:
        expected = "less than detector.timeout, or a node that beats so seldom is always suspect"
        found.append(ConfigError(file, "pace.max", format_duration(settings.pace.max), expected))
    if found:
        raise together(found)
    return settings
