"""Every failover comes to its end or says why not: the promise in time about roles.

held       a role that is said to be held is: its work runs at its holder, or did a moment ago
reported   a vacant role is being moved, or the service's view says what hinders it
restless   in the end, when nothing has been wrong for long, no role moves again and again
liveness   some time after heal a role is held wherever a member could hold it, and its work runs;
           not where a lease is too short for the delays that its renewals have

Taken from what the monitor shows and from what really runs. Not here: safety (`check_roles`).
"""

from collections import deque

from beatward.core.entry import Recovered
from beatward.core.instants import SECOND, format_duration
from beatward.core.monitor import Monitor
from beatward.core.protocol.roles import takeover_wait_ns
from beatward.core.roles.phases import Phase
from beatward.core.roles.views import ServiceView

from .checker import Checker, Findings, WorldFacts
from .services import DrawnService
from .site import Site
from .truth import Trouble

# Ticks, delays and writes to the disk, on top of what is set; and the audit looks once a second.
_SLACK_NS = 5 * SECOND
_LATE_NS = SECOND // 5
# One move may come of a failback, one of an operator, and one more of either's failure.
_MOVES_MAX = 4
_CALM_NS = 15 * SECOND


class RoleLivenessChecker(Checker):
    """Looks at the services as readers do, now and then."""

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        super().__init__(facts, findings)
        self._services = {one.name: one for one in facts.scenario.services}
        self._moves: dict[str, deque[int]] = {
            name: deque(maxlen=_MOVES_MAX) for name in self._services
        }
        self._since_ns: dict[str, tuple[str, int]] = {}  # what is wrong with each, since when

    def started(self, _monitor: Monitor, _recovered: Recovered) -> None:
        """Note that a session began: nothing has been wrong for long."""
        self._since_ns.clear()

    def moved(self, name: str) -> None:
        """Note that a new token was decided."""
        self._moves[name].append(self._facts.now_ns)

    def audit(self) -> None:
        """Look at every service, while the monitor gets time."""
        process = self._facts.monitor
        if process.is_away or process.store.refuses:
            self._since_ns.clear()  # what nothing can be written of cannot be granted
        if process.is_away or not self._services:
            return
        monitor = process.monitor
        assert monitor is not None
        for name, view in monitor.snapshot(0).services.items():
            what = self._wrong(view)
            since = self._since_ns.get(name)
            if since is None or since[0] != what:
                self._since_ns[name] = (what, self._facts.now_ns)
                continue
            lasts_ns = self._facts.now_ns - since[1]
            if what and lasts_ns > self._patience_ns(name):
                message = f"{what} for {format_duration(lasts_ns)}"
                self._findings.violate(what.partition(":")[0], "", f"{name}: {message}")
                del self._since_ns[name]

    def finish(self) -> None:
        """Check the end: who could hold a role holds it."""
        monitor = self._facts.monitor.monitor
        if monitor is None or not self._services:
            return
        views = monitor.snapshot(0).services
        for name, service in self._services.items():
            able = [site.truth.name for site in self._sites(service) if self._is_able(site)]
            view = views.get(name)
            if view is not None:
                self._findings.counts[f"role ends {view.phase}"] += 1
            moves = self._moves[name]
            if len(moves) == _MOVES_MAX and self._can_last(service):
                lasted_ns = self._facts.now_ns - moves[0]
                if lasted_ns < _CALM_NS:
                    message = (
                        f"{name}: it has moved {len(moves)} times in {format_duration(lasted_ns)}"
                    )
                    self._findings.violate("restless", "", message)
            if not able:
                if view is not None and view.phase != Phase.HELD and not view.reason:
                    self._violate(name, "no member holds it in the end, and nothing says why")
                continue
            is_held = view is not None and view.phase == Phase.HELD and self._runs(view)
            # Seed 101272: a holder whose lease was just over, and whose word was still under way.
            if view is not None and not is_held and not self._can_last(service):
                self._findings.counts["role leases too short"] += 1
            elif view is None or view.phase != Phase.HELD:
                shown = "nothing" if view is None else f"{view.phase} ({view.reason})"
                self._violate(name, f"{', '.join(able)} could hold it in the end; it is {shown}")
            elif not self._runs(view):
                self._violate(name, f"{view.holder} is said to hold it in the end, and does not")

    def _wrong(self, view: ServiceView) -> str:
        """Say what is wrong with what is shown, as a rule and a few words; empty: nothing."""
        if view.phase == Phase.HELD:
            return "" if self._runs(view) else f"held: {view.holder} does not run it"
        text = f"reported: it is {view.phase} under token {view.token} without a reason"
        return "" if view.reason else text

    def _patience_ns(self, name: str) -> int:
        settings = self._services[name].settings
        moved_ns = settings.promote_ns + settings.switchover_ns
        return moved_ns + 2 * takeover_wait_ns(settings.lease_ns, settings.demote_ns) + _SLACK_NS

    def _runs(self, view: ServiceView) -> bool:
        sites = list(self._sites(self._services[view.name]))
        for twin in self._facts.twins.of(view.holder):
            sites += [site for site in twin.sites if site.service == view.name]
        runs = [site.run for site in sites if site.truth.name == view.holder]
        return any(run is not None and run.token == view.token for run in runs)

    def _sites(self, service: DrawnService) -> list[Site]:
        nodes = [self._facts.nodes.get(number) for number in service.members]
        sites = [site for node in nodes if node is not None for site in node.sites]
        return [site for site in sites if site.service == service.name]

    def _is_able(self, site: Site) -> bool:
        history = site.truth.history
        is_well = self._facts.reported.statuses.get(site.truth.name) == "alive"
        return is_well and not history.has(Trouble.DOWN) and site.cares()

    def _can_last(self, service: DrawnService) -> bool:
        """Tell whether a lease is long enough for the ways that its renewal has to take."""
        network = self._facts.network
        delays_ns = [network.longest_delay_ns(f"node-{one}") for one in service.members]
        # There and back, and the same again until the next one is answered.
        return service.settings.lease_ns > 4 * max(delays_ns, default=0) + _LATE_NS

    def _violate(self, name: str, message: str) -> None:
        self._findings.violate("liveness", "", f"{name}: {message}")
