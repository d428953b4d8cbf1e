"""One world, drawn from its seed: how many nodes, how fast, what weather, which faults.

Two runs with the same scenario are the same, bit for bit. Not here: what happens in it (`world`).
"""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.guard import GuardSettings
from beatward.core.instants import HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND
from beatward.core.mass import MassSettings
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import CoreSettings
from beatward.core.pace import PaceSettings, read_weights
from beatward.core.policy import ActionRules, Rule

from .bounds import suspected_within_ns
from .chance import chosen_ns, happens, split, uniform_ns
from .drivers import FailureRates
from .faults import Fault, FaultKind, among, draw_faults, draw_kinds, in_order, outages
from .links import MODELS, PLAIN, NetworkLink, draw_link
from .monitor import RECEIVE_BUFFER
from .network import Weather
from .services import FENCE, DrawnService, draw_services

WARM_UP_NS = 15 * SECOND
FAULTS_MIN_NS = 20 * SECOND
SLOWEST_NS = 40 * SECOND
# Left out as kinds of fault are.
ADVERSARY = "adversary"
SERVICES = "services"
LINKS_NS = HOUR


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that was drawn. Instants on the event queue: faults end at `heal_ns`, all ends at
    `end_ns`.

    nodes            the numbers of those that exist; all draws are made for the others as well
    intervals_ns     one a number
    zones_count      how many zones they are divided among
    links            one a number; None: its link has the plain weather
    kinds            of fault that may come
    buffer           datagrams that wait in the monitor's kernel at most
    drain_max        datagrams that one drain of the monitor takes
    adversary_ns     mean time between two of the adversary's words; 0: there is none
    services         with their members among all numbers; those that exist take part
    """

    seed: int
    settings: CoreSettings
    nodes: tuple[int, ...]
    intervals_ns: tuple[int, ...]
    zones_count: int
    links: tuple[NetworkLink | None, ...] = field(compare=False)
    weather: Weather
    tick_ns: int
    drain_max: int
    buffer: int
    latency_ns: int
    adversary_ns: int
    skill: FailureRates
    kinds: tuple[FaultKind, ...]
    faults: tuple[Fault, ...]
    heal_ns: int
    end_ns: int
    services: tuple[DrawnService, ...] = ()

    def zone(self, name: str) -> str:
        """Return the zone that a node is in."""
        return f"zone-{int(name.rpartition('-')[2]) % self.zones_count}"


def draw(
    seed: int,
    *,
    minutes: float = 6.0,
    without: frozenset[str] = frozenset(),
    only: frozenset[int] | None = None,
    chosen: CoreSettings | None = None,
) -> Scenario:
    """Draw the world of a seed.

    minutes   of virtual time, from the start to the end of settling; more where a slow detector
              needs a long time to settle, so that hardly any time would be left for faults
    without   kinds of fault that are left out; `adversary` leaves him out too, `services` those
    only      numbers of the nodes that exist; None: all that were drawn
    chosen    detector, probing, recovery and grace to try; rules and actions stay the world's own
    """
    rng = split(seed, "scenario")
    nodes_count = rng.randint(5, 30)
    drawn_ns = _draw_intervals(rng, nodes_count)
    weather = _draw_weather(seed)
    settings = _draw_settings(seed, weather)
    settings = replace(settings, pace=_draw_pace(seed, settings.detector, drawn_ns))
    if chosen is not None:
        settings = replace(chosen, rules=settings.rules, actions=settings.actions)
    services = () if SERVICES in without else draw_services(seed, nodes_count)
    settings = replace(settings, services={one.name: one.settings for one in services})
    intervals_ns = _found_in_time(settings.detector, drawn_ns)
    rest_ns = settle_ns(settings, max(intervals_ns))
    heal_ns = max(WARM_UP_NS + FAULTS_MIN_NS, int(minutes * MINUTE) - rest_ns)
    # Longer than any world, so that a shorter one is the same up to its end.
    links = _draw_links(seed, nodes_count, max(heal_ns, LINKS_NS))
    kinds = draw_kinds(seed, without=without)
    nodes = frozenset(range(nodes_count)) if only is None else only & set(range(nodes_count))
    is_quiet = happens(rng, 0.2) or ADVERSARY in without
    adversary_ns = chosen_ns(rng, 0.1, 0.5, 2)
    return Scenario(
        seed=seed,
        settings=settings,
        nodes=tuple(sorted(nodes)),
        intervals_ns=intervals_ns,
        zones_count=split(seed, "zones").randint(1, 4),
        links=links,
        weather=weather,
        tick_ns=chosen_ns(rng, 0.005, 0.005, 0.010, 0.020),
        # Less than comes in would leave a monitor that never sees the end of its queue.
        drain_max=rng.choice((8192, 8192, 8192, 16 if services else 3)),
        buffer=rng.choice((RECEIVE_BUFFER, RECEIVE_BUFFER, 64)),
        latency_ns=uniform_ns(rng, MILLISECOND, 20 * MILLISECOND),
        adversary_ns=0 if is_quiet else adversary_ns,
        skill=_draw_skill(rng),
        kinds=kinds,
        faults=among(_draw_faults(seed, kinds, links, heal_ns), nodes),
        heal_ns=heal_ns,
        end_ns=heal_ns + rest_ns,
        services=services,
    )


def _draw_skill(rng: Random) -> FailureRates:
    return FailureRates(
        duration_ns=uniform_ns(rng, 10 * MILLISECOND, 2 * SECOND),
        temporary_probability=rng.choice((0.0, 0.1, 0.3)),
        permanent_probability=rng.choice((0.0, 0.0, 0.02)),
    )


def settle_ns(settings: CoreSettings, interval_ns: int) -> int:
    """Return how long after heal all must be well, for the longest interval.

    An agent asks every 10 s and gives an address up after three unanswered asks, a second or an
    interval apart; it joins and proves itself, which takes 30 s and some five intervals. A monitor
    that has just restarted gives its grace, finds who is dead, and waits for the recovery of the
    others.
    """
    found_ns = settings.start_grace_ns
    if settings.pace.budget is not None:
        interval_ns = max(interval_ns, settings.pace.max_ns)
        found_ns = max(found_ns, 2 * settings.pace.max_ns)
    found_ns += suspected_within_ns(settings.detector, interval_ns)
    found_ns += 2 * settings.membership.window_ns
    # The operator lets what was held back go on (`world`), and it follows at its rate: ten nodes
    # may be down for good.
    found_ns += 3 * SECOND + 10 * MINUTE // settings.actions_per_minute
    found_ns += settings.membership.hold_down_max_ns
    return found_ns + 25 * SECOND + (7 + settings.membership.recovery_heartbeats) * interval_ns


def _draw_intervals(rng: Random, nodes_count: int) -> tuple[int, ...]:
    base_ns = chosen_ns(rng, 0.5, 1, 1, 2, 5)
    mixed = happens(rng, 0.3)
    return tuple(chosen_ns(rng, 0.5, 1, 2, 5) if mixed else base_ns for _ in range(nodes_count))


def _found_in_time(detector: DetectorSettings, drawn_ns: tuple[int, ...]) -> tuple[int, ...]:
    """Shorten intervals at which a slow detector would need minutes to find anything."""
    most_ns = next(
        (i * SECOND for i in (5, 2, 1) if suspected_within_ns(detector, i * SECOND) < SLOWEST_NS),
        SECOND // 2,
    )
    return tuple(min(interval_ns, most_ns) for interval_ns in drawn_ns)


def _draw_links(seed: int, nodes_count: int, span_ns: int) -> tuple[NetworkLink | None, ...]:
    """Draw whose link has which model: in some worlds one for all, in some the plain weather."""
    rng = split(seed, "links")
    names = (PLAIN, *MODELS)
    common = PLAIN if happens(rng, 0.3) else rng.choice(names)
    mixed = happens(rng, 0.4)
    found: list[NetworkLink | None] = []
    for number in range(nodes_count):
        one = rng.choice(names)
        model = one if mixed else common
        name = f"node-{number}"
        found.append(None if model == PLAIN else draw_link(seed, model, name, span_ns))
    return tuple(found)


def _draw_faults(
    seed: int, kinds: tuple[FaultKind, ...], links: tuple[NetworkLink | None, ...], heal_ns: int
) -> tuple[Fault, ...]:
    span = {"begin_ns": WARM_UP_NS, "end_ns": heal_ns}
    faults = list(draw_faults(seed, kinds, nodes_count=len(links), **span))
    if FaultKind.OUTAGE in kinds:
        for number, link in enumerate(links):
            faults += [] if link is None else outages(seed, number, link.outages, **span)
    return in_order(faults)


def _draw_weather(seed: int) -> Weather:
    rng = split(seed, "weather")
    return Weather(
        loss_probability=rng.choice((0.0, 0.001, 0.01, 0.03, 0.1)),
        duplicate_probability=rng.choice((0.0, 0.01, 0.1)),
        damage_probability=rng.choice((0.0, 0.0, 0.01)),
        withhold_probability=rng.choice((0.0, 0.005, 0.03)),
        delay_ns=uniform_ns(rng, 50 * MICROSECOND, 60 * MILLISECOND),
        jitter_ns=uniform_ns(rng, 10 * MICROSECOND, 12 * MILLISECOND),
        heavy_tail=happens(rng, 0.4),
        is_fifo=happens(rng, 0.3),
    )


def _draw_pace(
    seed: int, detector: DetectorSettings, intervals_ns: tuple[int, ...]
) -> PaceSettings:
    """Draw a budget for some worlds: tight or loose, compared with what the nodes send unasked."""
    rng = split(seed, "pace")
    budget = sum(SECOND / interval_ns for interval_ns in intervals_ns) * rng.choice((0.3, 0.7, 3))
    min_ns = chosen_ns(rng, 0.25, 0.5)
    (max_ns,) = _found_in_time(detector, (max(intervals_ns) * rng.choice((1, 2)),))
    weights = read_weights([("node-*[05]", 4.0)])
    return PaceSettings(budget if happens(rng, 0.4) else None, min_ns, max_ns, weights)


def _draw_settings(seed: int, weather: Weather) -> CoreSettings:
    rng = split(seed, "settings")
    spacing_ns = chosen_ns(rng, 0.2, 0.2, 0.25, 0.4)
    window_ns = spacing_ns * rng.randint(4, 10)
    actions = {
        "notify": ActionRules("notify", "webhook", 50, SECOND // 2, 4 * SECOND),
        "revive": ActionRules(
            "revive", "exec", 5, SECOND, 4 * SECOND, revives=True, destructive=True
        ),
        "greet": ActionRules("greet", "webhook", 3, SECOND // 4, SECOND),
        FENCE: ActionRules(FENCE, "exec", 5, SECOND, 4 * SECOND, revives=True, destructive=True),
    }
    rules = (
        Rule(("dead", "left"), ("notify",)),
        Rule(("dead",), ("revive",), "node-*[02468]"),
        Rule(("alive", "recovering"), ("greet",), "node-*[13579]"),
    )
    return CoreSettings(
        detector=_draw_detector(seed, weather),
        membership=MembershipSettings(
            window_ns,
            spacing_ns,
            rng.randint(1, 5),
            hold_down_ns=SECOND // 2,
            hold_down_max_ns=2 * SECOND,
            calm_ns=MINUTE,
        ),
        guard=GuardSettings(),
        start_grace_ns=chosen_ns(rng, 3, 5, 10),
        rules=rules,
        actions=actions,
        **_draw_guards(seed),
    )


def _draw_guards(seed: int) -> dict[str, Any]:
    rng = split(seed, "guards")
    return {
        "mass": MassSettings(
            fleet_share=rng.choice((0.15, 0.3, 0.6)),
            window_ns=chosen_ns(rng, 4, 8),
            lift_share=rng.choice((0.5, 0.8)),
        ),
        "actions_per_minute": rng.choice((300, 1200)),
    }


def _draw_detector(seed: int, weather: Weather) -> DetectorSettings:
    """Draw one of all detectors, and its own parameters; half of the worlds have the default."""
    rng = split(seed, "detector")
    kind = "chen" if happens(rng, 0.5) else rng.choice(sorted(DETECTORS))
    return DetectorSettings(
        kind=kind,
        timeout_ns=None if happens(rng, 0.7) else chosen_ns(rng, 6, 10),
        samples=rng.choice((16, 128, 1000)),
        samples_short=rng.choice((None, None, 4)),
        margin_ns=None if happens(rng, 0.8) else chosen_ns(rng, 0.2, 0.5),
        margin_from="cantelli" if happens(rng, 0.2) else "quantile",
        margin_min_ns=max(50 * MILLISECOND, 2 * weather.jitter_ns),
        late_probability=rng.choice((1e-3, 1e-3, 1e-2)),
        # Eight, as Akka and Cassandra have it, is slow: most worlds should see more verdicts.
        threshold=rng.choice((1.0, 2.0, 3.0, 8.0)),
        pause_ns=None if happens(rng, 0.5) else 0,
        tail=rng.choice(("exact", "akka")),
        factor=rng.choice((1.0, 1.5)),
    )
