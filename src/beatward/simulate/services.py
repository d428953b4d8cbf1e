"""The services of one world, drawn from its seed: whose members they are, and how they are set.

Leases are short and hooks are bad, so that minutes see many failovers. Not here: what members do
(`member`, `site`), and what must hold of them (`check_roles`).
"""

from dataclasses import dataclass
from random import Random

from beatward.core.entry import Declaration
from beatward.core.instants import MILLISECOND
from beatward.core.roles.settings import RoleSettings

from .chance import chosen_ns, happens, split, uniform_ns
from .site import HookRates

FENCE = "fence"
_MEMBERS_MAX = 5
_PRIORITIES = (100, 100, 100, 200, 50)


@dataclass(frozen=True, slots=True)
class DrawnService:
    """One service: its members by the numbers of their nodes, and what each of them is like.

    lags   how far a standby's data is behind, in milliseconds of writing; None: it does not say
    """

    name: str
    settings: RoleSettings
    members: tuple[int, ...]
    priorities: tuple[int, ...]
    lags: tuple[int | None, ...]
    skill: HookRates

    def declaration(self, number: int) -> Declaration:
        """Return what a member's agent declares."""
        priority = self.priorities[self.members.index(number)]
        return Declaration(self.name, "failover", priority=priority)


def draw_services(seed: int, nodes_count: int) -> tuple[DrawnService, ...]:
    """Draw none in some worlds, and one to three in the others."""
    return tuple(
        _draw(split(seed, f"service {i}"), f"role-{i}", nodes_count)
        for i in range(count_services(seed))
    )


def count_services(seed: int) -> int:
    """Return how many services the world of a seed has."""
    return split(seed, "services").choice((0, 1, 1, 2, 3))


def _draw(rng: Random, name: str, nodes_count: int) -> DrawnService:
    members = tuple(sorted(rng.sample(range(nodes_count), rng.randint(2, _MEMBERS_MAX))))
    says = happens(rng, 0.7)
    return DrawnService(
        name,
        _draw_settings(rng, says=says),
        members,
        tuple(rng.choice(_PRIORITIES) for _ in members),
        tuple(rng.randint(0, 2000) if says else None for _ in members),
        HookRates(
            promote_ns=uniform_ns(rng, MILLISECOND, 1000 * MILLISECOND),
            demote_ns=uniform_ns(rng, MILLISECOND, 500 * MILLISECOND),
            start_ns=uniform_ns(rng, MILLISECOND, 500 * MILLISECOND),
            fails_probability=rng.choice((0.0, 0.0, 0.1, 0.3)),
        ),
    )


def _draw_settings(rng: Random, *, says: bool) -> RoleSettings:
    fence = FENCE if happens(rng, 0.3) else ""
    return RoleSettings(
        lease_ns=chosen_ns(rng, 0.2, 0.5, 1, 1, 2, 2, 2, 5, 5),
        demote_ns=chosen_ns(rng, 0.1, 0.5, 1, 3),
        promote_ns=chosen_ns(rng, 2, 5, 10),
        switchover_ns=chosen_ns(rng, 5, 10, 20),
        failback_ns=None if happens(rng, 0.7) else chosen_ns(rng, 3, 10),
        max_lag=rng.choice((None, None, 1000)) if says else None,
        fence=fence,
        fence_required=bool(fence) and happens(rng, 0.3),
    )
