"""How the role of a service is lent and moved.

Not here: reading it from the settings file (`beatward.role_settings`).
"""

from dataclasses import dataclass

from beatward.core.instants import SECOND

# A candidate was heard within a lease, or this: one lost datagram of a short lease is no death.
HEARD_WITHIN_NS = 2 * SECOND


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """How a role is lent and moved. Units, reasons and costs: config.FailoverSettings."""

    lease_ns: int = 2 * SECOND
    demote_ns: int = SECOND
    promote_ns: int = 30 * SECOND
    switchover_ns: int = 60 * SECOND
    failback_ns: int | None = None
    zones: tuple[str, ...] = ()
    max_lag: int | None = None
    fence: str = ""
    fence_required: bool = False
    min_healthy: int = 0
    automatic: bool = True

    @property
    def within_ns(self) -> int:
        """Who has not been heard for longer is silent."""
        return max(self.lease_ns, HEARD_WITHIN_NS)
