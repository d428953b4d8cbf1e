"""[failover] and [service.NAME]: how the roles of services are lent and moved.

Each field says its unit, its default and what it costs to turn it either way; what they do is in
`core.roles.machine`. Read by `beatward.config` like all other tables.
"""

from pydantic import Field, model_validator

from beatward.values import Duration, Failback, Table

# In milliseconds; shorter ones would end at the first hiccup of an ordinary network or scheduler.
_LEAST_MS = {"lease": 200, "demote_within": 100, "promote_within": 100, "switchover_within": 100}
_MOST_NS = 3_600_000_000_000


class _RoleSettings(Table):
    @model_validator(mode="after")
    def _is_in_range(self) -> "_RoleSettings":
        for name, least_ms in _LEAST_MS.items():
            value = getattr(self, name)
            if value is not None and not least_ms * 1_000_000 <= value <= _MOST_NS:
                message = f"{name} from {least_ms}ms to 1h"
                raise ValueError(message)
        return self


class FailoverSettings(_RoleSettings):
    """[failover] how the role of a service in failover mode is lent and moved; docs/failover.md."""

    lease: Duration = "2s"  # type: ignore[assignment]
    """A holder may act for this long after it sent the last report that was answered. A shorter
    lease moves the role sooner when its holder dies, and takes it away for a shorter outage of the
    network or of the monitor.
    """
    demote_within: Duration = "1s"  # type: ignore[assignment]
    """This long after the end of its lease a holder has given the role up, by its `demote` hook or
    by being killed. A shorter time moves the role sooner; a longer one lets the workload end in
    order.
    """
    promote_within: Duration = "30s"  # type: ignore[assignment]
    """A promotion that takes longer has failed, and the next candidate is tried; where all have
    failed, it begins anew after 1 s, then 2 s, and so on up to this time. A longer one is for
    databases that recover slowly.
    """
    switchover_within: Duration = "60s"  # type: ignore[assignment]
    """A planned switchover waits this long for the old holder to give the role up in order; after
    that its lease is not renewed any more.
    """
    failback: Failback = "never"
    """A candidate of higher priority than the holder has to be able for this long before the role
    goes back to it. A shorter time means another interruption sooner.
    """


class ServiceSettings(_RoleSettings):
    """[service.NAME] what is different for one service; nodes declare that they offer it."""

    lease: Duration | None = None
    """As in `[failover]`."""
    demote_within: Duration | None = None
    """As in `[failover]`."""
    promote_within: Duration | None = None
    """As in `[failover]`."""
    switchover_within: Duration | None = None
    """As in `[failover]`."""
    failback: Failback | None = None
    """As in `[failover]`."""
    automatic: bool = True
    """With false the role moves on request only (`beatward failover`)."""
    zones: tuple[str, ...] = Field(default=(), strict=False)
    """Among candidates of the same priority, those of the first of these zones come first."""
    max_lag: int | None = Field(default=None, ge=0)
    """A candidate that is further behind the best one known is not promoted, nor a candidate that
    does not report its position. A smaller lag loses less data, and may leave no candidate. Where
    the holder died while the monitor was away, its position is unknown, and no member is promoted
    until it speaks again or `failover --force` takes that risk. Without `max_lag` the most advanced
    candidate is taken. The unit is that of the position which the service's members report.
    """
    fence: str | None = None
    """The action that isolates a holder which is silent or could not be demoted. Once the action is
    confirmed the role moves at once.
    """
    fence_required: bool = False
    """The role never moves by time alone, but only when it was given back or the fence is
    confirmed: for workloads that might outlive their killing. Without a working fence there is then
    no failover.
    """
    min_healthy: int = Field(default=0, ge=0)
    """Destructive actions on a member wait while they would leave fewer healthy members."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> "ServiceSettings":
        if self.fence_required and not self.fence:
            message = "a fence with fence_required, or the role could never move"
            raise ValueError(message)
        if len(set(self.zones)) < len(self.zones):
            message = "each of the zones once"
            raise ValueError(message)
        return self
