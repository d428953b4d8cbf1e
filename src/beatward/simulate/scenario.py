"""One world, drawn from its seed: how many nodes, how fast, what weather, which faults.

Two runs with the same scenario are the same, bit for bit. Not here: what happens in it (`world`).
"""

from dataclasses import dataclass, replace

from beatward.core.detect import DetectorSettings
from beatward.core.guard import GuardSettings
from beatward.core.instants import MICROSECOND, MILLISECOND, MINUTE, SECOND
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import Settings
from beatward.core.policy import ActionSettings, Rule

from .chance import chosen_ns, happens, split, uniform_ns
from .faults import Fault, draw_faults, draw_kinds
from .hands import Skill
from .network import Weather

WARM_UP_NS = 15 * SECOND
MINUTES_MIN = 3


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that was drawn. Instants on the agenda: faults end at `heal_ns`, all ends at `end_ns`.

    intervals_ns     one a node
    drain_max        datagrams that one drain of the monitor takes
    adversary_ns     mean time between two of the adversary's words; 0: there is none
    """

    seed: int
    settings: Settings
    intervals_ns: tuple[int, ...]
    weather: Weather
    tick_ns: int
    drain_max: int
    latency_ns: int
    adversary_ns: int
    skill: Skill
    faults: tuple[Fault, ...]
    heal_ns: int
    end_ns: int


def draw(
    seed: int,
    *,
    minutes: float = 6.0,
    without: frozenset[str] = frozenset(),
    chosen: Settings | None = None,
) -> Scenario:
    """Draw the world of a seed.

    minutes   of virtual time, from the start to the end of settling
    without   kinds of fault that are left out
    chosen    detector, probing, recovery and grace to try; rules and actions stay the world's own
    """
    rng = split(seed, "scenario")
    nodes_count = rng.randint(5, 30)
    base_ns = chosen_ns(rng, 0.5, 1, 1, 2, 5)
    mixed = happens(rng, 0.3)
    intervals_ns = tuple(
        chosen_ns(rng, 0.5, 1, 2, 5) if mixed else base_ns for _ in range(nodes_count)
    )
    weather = _draw_weather(seed)
    settings = _draw_settings(seed, weather)
    if chosen is not None:
        settings = replace(chosen, rules=settings.rules, actions=settings.actions)
    end_ns = int(max(minutes, MINUTES_MIN) * MINUTE)
    heal_ns = max(WARM_UP_NS, end_ns - settle_ns(settings, max(intervals_ns)))
    end_ns = heal_ns + settle_ns(settings, max(intervals_ns))
    kinds = draw_kinds(seed, without=without)
    faults = draw_faults(seed, kinds, nodes_count=nodes_count, begin_ns=WARM_UP_NS, end_ns=heal_ns)
    return Scenario(
        seed=seed,
        settings=settings,
        intervals_ns=intervals_ns,
        weather=weather,
        tick_ns=chosen_ns(rng, 0.005, 0.005, 0.010, 0.020),
        drain_max=rng.choice((8192, 8192, 8192, 3)),
        latency_ns=uniform_ns(rng, MILLISECOND, 20 * MILLISECOND),
        adversary_ns=0 if happens(rng, 0.2) else chosen_ns(rng, 0.1, 0.5, 2),
        skill=Skill(
            duration_ns=uniform_ns(rng, 10 * MILLISECOND, 2 * SECOND),
            temporary_probability=rng.choice((0.0, 0.1, 0.3)),
            permanent_probability=rng.choice((0.0, 0.0, 0.02)),
        ),
        faults=faults,
        heal_ns=heal_ns,
        end_ns=end_ns,
    )


def settle_ns(settings: Settings, interval_ns: int) -> int:
    """Return how long after heal all must be well, for the longest interval.

    An agent asks every 10 s and gives an address up after three unanswered asks, a second or an
    interval apart; it joins and proves itself, which takes 30 s and some five intervals. A monitor
    that has just restarted gives its grace, finds who is dead, and waits for the recovery of the
    others.
    """
    found_ns = settings.start_grace_ns + 2 * (settings.detector.timeout_ns or 0)
    found_ns += 2 * settings.membership.window_ns
    return found_ns + 25 * SECOND + (7 + settings.membership.recovery_heartbeats) * interval_ns


def healed(weather: Weather) -> Weather:
    """Return the weather after heal: the delays stay, nothing is lost or damaged any more."""
    return replace(
        weather,
        loss_probability=0.0,
        damage_probability=0.0,
        withhold_probability=0.0,
        duplicate_probability=0.0,
    )


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


def _draw_settings(seed: int, weather: Weather) -> Settings:
    rng = split(seed, "settings")
    spacing_ns = chosen_ns(rng, 0.2, 0.2, 0.25, 0.4)
    window_ns = spacing_ns * rng.randint(4, 10)
    kind = "fixed" if happens(rng, 0.3) else "chen"
    margin_ns = None if kind == "fixed" or happens(rng, 0.8) else chosen_ns(rng, 0.2, 0.5)
    detector = DetectorSettings(
        kind=kind,
        timeout_ns=None,
        window=rng.choice((16, 128, 1000)),
        margin_ns=margin_ns,
        margin_min_ns=max(50 * MILLISECOND, 2 * weather.jitter_ns),
    )
    actions = {
        "notify": ActionSettings("notify", "webhook", 50, SECOND // 2, 4 * SECOND),
        "revive": ActionSettings("revive", "exec", 5, SECOND, 4 * SECOND, revives=True),
        "greet": ActionSettings("greet", "webhook", 3, SECOND // 4, SECOND),
    }
    rules = (
        Rule(("dead", "left"), ("notify",)),
        Rule(("dead",), ("revive",), "node-*[02468]"),
        Rule(("alive", "recovering"), ("greet",), "node-*[13579]"),
    )
    return Settings(
        detector=detector,
        membership=MembershipSettings(window_ns, spacing_ns, rng.randint(1, 5)),
        guard=GuardSettings(),
        start_grace_ns=chosen_ns(rng, 3, 5, 10),
        rules=rules,
        actions=actions,
    )
