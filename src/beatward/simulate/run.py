"""One seed from beginning to end, and what came of it.

`run(4711)` draws a world, plays it, and reports. The digest is taken over the journal, so two runs
are the same if and only if they wrote the same. Route: `seed -> Scenario -> World -> Report`.
"""

import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beatward.agent.heartbeat_protocol import HeartbeatProtocol
from beatward.agent.roles.lease_holder import LeaseHolder
from beatward.core.entry import Entry
from beatward.core.monitor import CoreSettings, Monitor

from .checker import Checker, Findings, LogLine, Violation, WorldFacts
from .checkers import every_checker
from .links import PLAIN
from .scenario import Scenario, draw
from .world import World


@dataclass(frozen=True, slots=True)
class WorldReport:
    """What came of one world.

    digest         SHA-256 over the canonical JSON of every entry that reached a disk, in order
    probabilities  of each unlucky verdict (see `check_verdicts`)
    """

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    counts: dict[str, int]
    probabilities: tuple[float, ...]
    journal: tuple[Entry, ...]
    log: tuple[LogLine, ...]
    scenario: Scenario


def run(
    seed: int,
    *,
    minutes: float = 6.0,
    without: frozenset[str] = frozenset(),
    only: frozenset[int] | None = None,
    chosen: CoreSettings | None = None,
    build: Callable[..., Monitor] = Monitor,
) -> WorldReport:
    """Play the world of a seed.

    minutes   of virtual time, heal and settling included
    without   kinds of fault to leave out
    only      numbers of the nodes that exist; None: all
    chosen    settings to try in place of the drawn ones (see `scenario.draw`)
    build     makes the monitor; another one than ours is how the checkers themselves are tested
    """
    scenario = draw(seed, minutes=minutes, without=without, only=only, chosen=chosen)
    return play(scenario, build=build)


def play(
    scenario: Scenario,
    *,
    build: Callable[..., Monitor] = Monitor,
    protocol: Callable[..., HeartbeatProtocol] = HeartbeatProtocol,
    tenure: Callable[..., LeaseHolder] = LeaseHolder,
    checkers: Callable[[WorldFacts, Findings], Sequence[Checker]] = every_checker,
) -> WorldReport:
    """Play one world; `build`, `protocol` and `tenure` make the monitor and the nodes' side."""
    world = World(scenario, build=build, protocol=protocol, tenure=tenure, checkers=checkers)
    try:
        world.play()
    except Exception as error:  # noqa: BLE001  whatever it is: no world may bring the monitor down
        text = "".join(traceback.format_exception(error, limit=-3)).strip()
        world.findings.violate("raised", "", text)
    return WorldReport(
        seed=scenario.seed,
        digest=digest(world.journal),
        violations=tuple(world.findings.violations),
        counts=_counts(world),
        probabilities=tuple(world.findings.luck),
        journal=tuple(world.journal),
        log=tuple(world.findings.log),
        scenario=scenario,
    )


def digest(journal: Iterable[Entry]) -> str:
    """Return the SHA-256 of a journal's canonical JSON, one entry a line."""
    hashed = hashlib.sha256()
    for entry in journal:
        hashed.update(canonical(entry).encode())
        hashed.update(b"\n")
    return hashed.hexdigest()


def canonical(entry: Entry) -> str:
    """Write an entry as JSON in the one form that the digest is taken over."""
    return json.dumps(asdict(entry), sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    message = f"{value!r} is in an entry, and is no JSON"
    raise TypeError(message)


def _counts(world: World) -> dict[str, int]:
    counts = Counter(world.findings.counts)
    counts.update({f"fault {kind}": count for kind, count in world.faults.items()})
    counts.update({f"datagrams {name}": count for name, count in world.network.counts.items()})
    counts.update({f"adversary {name}": count for name, count in world.adversary.counts.items()})
    counts["turns"] = world.monitor.turns_count
    counts["events"] = world.event_queue.count
    counts["nodes"] = len(world.nodes)
    counts["datagrams dropped"] = len(world.monitor.drops_ns)
    counts[f"detector {world.scenario.settings.detector.kind}"] = 1
    for number in world.scenario.nodes:
        link = world.scenario.links[number]
        counts[f"link {PLAIN if link is None else link.model}"] += 1
    return dict(sorted(counts.items()))
