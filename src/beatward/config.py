"""One settings file -> the frozen settings of each room.

The file is TOML; every key has a default, so `beatward monitor` runs without any file. Unknown
keys are errors, because a misspelt `timout` that is silently ignored is found in an outage.
Durations are written `250ms`, `2s`, `5m`, `30d`. A message names file, key, what was found and
what was expected. Not here: what the settings do; each field says its unit, its default and what
it costs to turn it either way.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from beatward.action_settings import ActionSettings, RuleSettings
from beatward.config_mistakes import explained, unfit_actions, unknown_actions
from beatward.core.entry import JobPlan
from beatward.core.instants import PROMISE_MAX_NS, format_duration
from beatward.errors import ConfigError
from beatward.role_settings import FailoverSettings, ServiceSettings
from beatward.timetable import Schedule
from beatward.toml_file import located, together
from beatward.values import Address, Duration, Margin, NodeName, Rate, Share, Table, check_pattern

PORT = 7227


class MonitorSettings(Table):
    """[monitor] the program itself.

    name          what it calls itself in messages and metrics
    udp, http     where it listens; the defaults can be reached from this machine only
    advertise     host:port that remote agents should send datagrams to; default: `udp`
    data          folder for keys and journal; default: /var/lib/beatward for root, else
                  ~/.local/state/beatward
    tick          the shortest time between two turns of the wheel, which follow each other by it
                  under load: the sweep adds up to one tick to detection time
    start_grace   how long nodes have after the monitor's start, or their own enrolment, before
                  silence counts; shorter finds the dead sooner after a restart, longer forgives
                  slow networks
    pause_limit   a longer time in which the monitor was not awake is its own pause: deadlines
                  begin anew; below 100ms an ordinary hiccup of a busy host delays detection
    receive_buffer   bytes the kernel may keep for us; 4 MB hold 30 ms of 300,000 heartbeats/s.
                  Larger needs privileges or net.core.rmem_max, and costs only memory
    kernel_timestamps   heartbeats count from when the kernel received them, not from when they
                  were read; verdicts go on under a flood. About a tenth of a heartbeat's cost
    prefilter     the kernel keeps junk away: "auto" during floods of it, so that a little junk is
                  still counted by reason; "on" always; "off" never
    doors         sockets that share `udp`; each brings its own receive_buffer
    metrics_per_node   /metrics also has every node's own series; 100,000 series take a second to
                  render
    """

    name: str = Field(default="monitor", min_length=1)
    udp: Address = f"127.0.0.1:{PORT}"
    http: Address = f"127.0.0.1:{PORT}"
    advertise: Address | None = None
    data: Annotated[Path, Field(strict=False)] | None = None
    tick: Duration = "5ms"  # type: ignore[assignment]
    start_grace: Duration = "10s"  # type: ignore[assignment]
    pause_limit: Duration = "250ms"  # type: ignore[assignment]
    receive_buffer: int = Field(default=4 * 1024 * 1024, ge=4096)
    kernel_timestamps: bool = True
    prefilter: Literal["auto", "on", "off"] = "auto"
    doors: int = Field(default=1, ge=1, le=64)
    metrics_per_node: bool = False

    @model_validator(mode="after")
    def _a_turn_is_no_pause(self) -> "MonitorSettings":
        if self.pause_limit < 2 * self.tick:
            message = "pause_limit at least twice tick, or every turn would count as a pause"
            raise ValueError(message)
        return self


_MARGIN_AUTO = ("margin_from", "margin_min", "late")
_CHEN_READS = ("window", "margin", *_MARGIN_AUTO)
# Which settings mean something to which detector.
DETECTOR_READS: dict[str, tuple[str, ...]] = {
    "adaptive": ("window_short", *_CHEN_READS),
    "bertier": ("window", "margin_min", "gain", "delay_weight", "deviation_weight"),
    "calendar": ("grace",),
    "chen": _CHEN_READS,
    "fixed": ("timeout",),
    "histogram": ("late", "factor"),
    "phi": ("window", "threshold", "deviation_min", "pause", "tail"),
    "phi_exponential": ("window", "threshold"),
    "two_window": ("window_short", *_CHEN_READS),
}


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)


class DetectorSettings(Table):
    """[detector] when silence becomes suspicion.

    kind      which detector; docs/detectors.md says when to choose which. `chen`: due time
              estimated from the sender's schedule, plus a margin; the others are for networks
              that change often, for comparison, and for those who come from other systems
    timeout   fixed: since the last arrival; default three promised intervals
    window    how many heartbeats a mean remembers (fixed and histogram have none); 128 follows a
              clock that drifts by 200 ppm to 13 ms at 1 s, 1000 is steadier and lags by 100 ms
    window_short   two_window, adaptive: heartbeats in the short mean, by default 1 and 8; fewer
              follow a sudden delay sooner, and give a single late heartbeat more trust
    margin    chen, two_window, adaptive: a duration, or "auto": from `late`, between margin_min
              and half an interval (adaptive: two)
    margin_from   auto: `quantile` of the heartbeats counted, which keeps to `late` and finds the
              dead soonest; `cantelli` for the one-sided bound, which holds for any distribution
              and is several times wider. Before 1/late were counted both are the bound
    margin_min   auto, bertier: never less than this; a smaller one finds the dead sooner and
              suspects more nodes when a host or network hiccups
    late      auto, histogram: at most this share of heartbeats may come after the deadline; ten
              times less is fewer suspicions and a longer wait for the dead
    threshold   phi, phi_exponential: suspect from this phi on; higher is surer and later. Each
              kind has a scale of its own: 8 is 5.6 deviations in one, 18 intervals in the other
    deviation_min   phi: no deviation below this, by default a tenth of the interval; less finds
              the dead of calm networks sooner, and calls their first hiccup a death
    pause     phi: so much longer than usual is still well, by default three intervals; detection
              is later by as much, and pauses of nodes up to it are forgiven
    tail      phi: `exact`, or `akka` for the approximation of Akka and Pekko, whose 8 is 7.06
    factor    histogram: times the longest usual time between two heartbeats; nearer to 1 is
              sooner, and leaves less for what was not seen yet
    gain      bertier: weight of the newest heartbeat; more follows sooner and forgets sooner
    delay_weight, deviation_weight   bertier: how often the mean delay and the mean deviation are
              taken in the margin; more is fewer suspicions and a longer wait for the dead
    grace     calendar: so much later than promised is still well, by default one interval; for a
              fleet of nodes that report now and then. Jobs with a schedule have [[job]]
    """

    kind: Literal[
        "adaptive",
        "bertier",
        "calendar",
        "chen",
        "fixed",
        "histogram",
        "phi",
        "phi_exponential",
        "two_window",
    ] = "chen"
    timeout: Duration | None = None
    window: int = Field(default=128, ge=2, le=65_535)
    window_short: int | None = Field(default=None, ge=1, le=65_534)
    margin: Margin = "auto"
    margin_from: Literal["quantile", "cantelli"] = "quantile"
    margin_min: Duration = "50ms"  # type: ignore[assignment]
    late: float = Field(default=1e-3, ge=1e-12, lt=0.5, allow_inf_nan=False)
    threshold: float = Field(default=8.0, ge=0.5, le=100, allow_inf_nan=False)
    deviation_min: Duration | None = None
    pause: Duration | None = None
    tail: Literal["exact", "akka"] = "exact"
    factor: float = Field(default=1.5, ge=1, le=100, allow_inf_nan=False)
    gain: float = Field(default=0.1, gt=0, le=1, allow_inf_nan=False)
    delay_weight: float = Field(default=1.0, ge=0, le=100, allow_inf_nan=False)
    deviation_weight: float = Field(default=4.0, gt=0, le=100, allow_inf_nan=False)
    grace: Duration | None = None

    @model_validator(mode="after")
    def _no_contradiction(self) -> "DetectorSettings":
        read = DETECTOR_READS[self.kind]
        for name in sorted(self.model_fields_set - {"kind"}):
            # What is said and not read would look like a setting that works.
            if name not in read and getattr(self, name) is not None:
                message = f"no {name} with kind = {self.kind} (it has {_listed(read)})"
                raise ValueError(message)
            if self.margin != "auto" and name in _MARGIN_AUTO:
                message = f"no {name} with a margin of your own; or margin = auto"
                raise ValueError(message)
        if self.window_short is not None and self.window_short >= self.window:
            message = "window_short smaller than window"
            raise ValueError(message)
        return self


class ProbeSettings(Table):
    """[probe] what happens between suspicion and verdict.

    window    silence of this length after suspicion makes the verdict; longer outlives longer
              outages of the network, and delays every detection by as much
    spacing   time between two probes of a suspect
    rate      so many probes in all, as "100000/s": where more fall silent at once, the others wait
              for their first probe, and for their verdict; more is sooner, and a larger flood
    """

    window: Duration = "1s"  # type: ignore[assignment]
    spacing: Duration = "200ms"  # type: ignore[assignment]
    rate: Rate = "100000/s"  # type: ignore[assignment]

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


class PaceSettings(Table):
    """[pace] how often nodes beat, if the monitor may ask them; docs/pace.md.

    budget    so many heartbeats a second in all, such as "20000/s", divided so that deaths are
              found as soon as possible; without it every node keeps its own interval. More is
              quicker and costs the network and the monitor
    min       nobody is asked to beat more often; shorter watches troublesome nodes more closely
    max       nobody is asked to beat more seldom; longer saves more, and finds a death later. After
              the monitor's own start, silence counts after two of these
    weights   how much sooner a death should be found: a pattern of names, or "label=pattern", and
              a number; the first that fits counts, all others have 1. Four is twice as often
    """

    budget: Rate | None = None
    min: Duration = "1s"  # type: ignore[assignment]
    max: Duration = "10s"  # type: ignore[assignment]
    weights: Annotated[dict[_WeightText, _Weight], Field(max_length=250)] | None = None

    @model_validator(mode="after")
    def _no_contradiction(self) -> "PaceSettings":
        if not 10_000_000 <= self.min <= self.max <= 3_600_000_000_000:
            message = "min no longer than max, both from 10ms to 1h"
            raise ValueError(message)
        return self


class GuardSettings(Table):
    """[guard] when silence is doubted because it is that of many, and how fast deeds may be done.

    fleet     share of the fleet that has to go dark at once for a mass failure: destructive
              actions are held back everywhere. Less holds back more; 1 is only all of them
    zone      the same for the nodes of one label `zone`, and the actions of that zone
    count     fewer nodes are never a mass. A monitor that hears fewer than so many at all cannot
              tell a dead fleet from its own cut cable
    window    what goes dark within this time is together. Longer catches a slower collapse, and
              takes unrelated deaths for one; nodes that beat more slowly are not waited for
    lift      it is over when no more than this part of `fleet` or `zone` is dark; nearer to 1 is
              sooner, and may begin again
    actions_per_minute   destructive actions in the whole fleet, as many at once as a minute has;
              the others wait in order. More mends a large loss sooner, and a wrong one too
    late      a turn of our own that comes later than this after it was wanted: margins and windows
              are multiplied by one more, and by one less after a second without any. Less doubts
              a busy host sooner, and finds deaths later there
    health    they are multiplied by so much at most; 1 is never
    """

    fleet: Share = 0.15
    zone: Share = 0.55
    count: int = Field(default=3, ge=1)
    window: Duration = "30s"  # type: ignore[assignment]
    lift: Share = 0.5
    actions_per_minute: int = Field(default=10, ge=1, le=60_000)
    late: Duration = "100ms"  # type: ignore[assignment]
    health: int = Field(default=8, ge=1, le=100)


class RecoverySettings(Table):
    """[recovery] the way back.

    heartbeats   so many good ones make a returned node alive; more keeps a flapping node out for
                 longer, and a healthy one as well
    hold         a node that died twice is not alive again for so long after its return, however
                 good its heartbeats; doubles with each death. Longer calms what flaps, and keeps
                 out what was mended
    hold_max     it grows no longer
    calm         after so long without a death, one is forgotten
    """

    heartbeats: int = Field(default=3, ge=1, le=200)
    hold: Duration = "10s"  # type: ignore[assignment]
    hold_max: Duration = "5m"  # type: ignore[assignment]
    calm: Duration = "10m"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _holds_no_longer_than_the_most(self) -> "RecoverySettings":
        if self.hold > self.hold_max:
            message = "hold no longer than hold_max"
            raise ValueError(message)
        return self


class GoalSettings(Table):
    """[goal] what is wanted; `beatward quality` compares it with what is measured.

    detect_within    a death is found within this time of the node's last word; nothing is set by
                     it: interval, margin and probe.window are what a detection time is made of
    mistakes_every   a node is suspected wrongly no more often than once in this time, on average
    """

    detect_within: Duration | None = None
    mistakes_every: Duration | None = None


class JobSettings(Table):
    """[[job]] a node that runs now and then: when it is due, and how long it may take.

    name      of the node; `beatward token ping NAME` prints its bare URL
    schedule  when a run is due: five fields of cron, as in "0 3 * * *"
    timezone  of the schedule, as in "Europe/Berlin"; clocks that change are cron's way
    every     instead of a schedule: the next run is due so long after the last one ended
    grace     so late a run may begin (or end, where nobody says when it begins); shorter tells of
              a missed run sooner, longer forgives a busy host
    max_run   so long a run may take; default: as grace, for a job that says when it begins and
              then dies must not be waited for for ever
    """

    name: NodeName
    schedule: str | None = None
    timezone: str = "UTC"
    every: Duration | None = None
    grace: Duration = "10m"  # type: ignore[assignment]
    max_run: Duration | None = None

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
    detector: DetectorSettings = DetectorSettings()
    probe: ProbeSettings = ProbeSettings()
    pace: PaceSettings = PaceSettings()
    recovery: RecoverySettings = RecoverySettings()
    guard: GuardSettings = GuardSettings()
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
