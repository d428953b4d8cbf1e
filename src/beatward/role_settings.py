"""[failover] and [service.NAME]: how the roles of services are lent and moved.

Each field says its unit, its default and what it costs to turn it either way; what they do is in
`core.failover`. Read by `beatward.config` like all other tables.
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
            said = getattr(self, name)
            if said is not None and not least_ms * 1_000_000 <= said <= _MOST_NS:
                message = f"{name} from {least_ms}ms to 1h"
                raise ValueError(message)
        return self


class FailoverSettings(_RoleSettings):
    """[failover] how the role of a service in failover mode is lent and moved; docs/failover.md.

    lease     a holder may act for so long after the last word of it that was answered. Shorter
              moves the role sooner when its holder dies, and takes it away for a shorter outage
              of the network or of the monitor
    demote_within   so long after its lease's end a holder has given the role up, by its `demote`
              hook or by being killed. Shorter moves the role sooner, longer lets it end in order
    promote_within   a promotion that takes longer has failed, and the next candidate is tried.
              Longer is for large databases
    switchover_within   so long a planned switchover waits for the old holder to give the role up
              in order, before its lease is not renewed any more
    failback  "never", or how long a candidate of higher priority than the holder has to be able
              before the role goes back to it; sooner is another interruption
    """

    lease: Duration = "2s"  # type: ignore[assignment]
    demote_within: Duration = "1s"  # type: ignore[assignment]
    promote_within: Duration = "30s"  # type: ignore[assignment]
    switchover_within: Duration = "60s"  # type: ignore[assignment]
    failback: Failback = "never"


class ServiceSettings(_RoleSettings):
    """[service.NAME] what is different for one service; nodes declare that they offer it.

    lease, demote_within, promote_within, switchover_within, failback   as in [failover]
    automatic   False: it fails over on request only (`beatward failover`)
    zones     candidates of the same priority are taken from the first of these first
    max_lag   a candidate whose freshness is further behind the best one known is not promoted, nor
              one that does not say; without it, the freshest is. Less loses less data, and may
              leave nobody: also where the holder died unheard while the monitor was away
    fence     the action that isolates a holder which cannot be asked; the role then moves as soon
              as it is confirmed
    fence_required   the role never moves by time alone; for workloads that a killed process may
              outlive. Without a working fence there is then no failover
    min_healthy   destructive actions wait while they would leave fewer healthy members
    """

    lease: Duration | None = None
    demote_within: Duration | None = None
    promote_within: Duration | None = None
    switchover_within: Duration | None = None
    failback: Failback | None = None
    automatic: bool = True
    zones: tuple[str, ...] = Field(default=(), strict=False)
    max_lag: int | None = Field(default=None, ge=0)
    fence: str | None = None
    fence_required: bool = False
    min_healthy: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _no_contradiction(self) -> "ServiceSettings":
        if self.fence_required and not self.fence:
            message = "a fence with fence_required, or the role could never move"
            raise ValueError(message)
        if len(set(self.zones)) < len(self.zones):
            message = "each of the zones once"
            raise ValueError(message)
        return self
