"""Services as Prometheus reads them: who holds what, under which token, and how its members are.

A series a service, and one a service and state: services are few, unlike nodes. Not here: the
other metrics (`metrics`).
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from beatward.core.protocol.roles import State
from beatward.core.roles.phases import Phase
from beatward.core.snapshot import Snapshot

# What a member is that has not said where it stands.
SILENT = "silent"
# There from the beginning, so that the first one is seen as an increase.
_CAUSES = ("promoted", "failed", "expired", "switchover", "forced", "fenced", "fence_failed")


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of all services of a snapshot."""
    held = GaugeMetricFamily(
        "beatward_service_held", "1 while a node holds the role.", labels=["service"]
    )
    token = GaugeMetricFamily(
        "beatward_service_token",
        "The newest fencing token; it grows with every promotion.",
        labels=["service"],
    )
    paused = GaugeMetricFamily(
        "beatward_service_paused", "1 while nothing moves the role by itself.", labels=["service"]
    )
    healthy = GaugeMetricFamily(
        "beatward_service_healthy", "Members that serve or could.", labels=["service"]
    )
    members = GaugeMetricFamily(
        "beatward_service_members",
        "Members by where they stand, as they said last.",
        labels=["service", "state"],
    )
    for name, view in snapshot.services.items():
        healthy.add_metric([name], sum(member.healthy for member in view.members))
        if view.phase is None:
            continue
        held.add_metric([name], int(view.phase == Phase.HELD))
        token.add_metric([name], view.token)
        paused.add_metric([name], int(view.paused is not None or not view.automatic))
        counts = Counter(member.state or SILENT for member in view.members)
        for word in (*(state.name.lower() for state in State), SILENT):
            members.add_metric([name, word], counts[word])
    moves = CounterMetricFamily(
        "beatward_role_events", "What became of roles, by cause.", labels=["cause"]
    )
    for cause in sorted({*_CAUSES, *snapshot.roles}):
        moves.add_metric([cause], snapshot.roles.get(cause, 0))
    yield from (held, token, paused, healthy, members, moves)
