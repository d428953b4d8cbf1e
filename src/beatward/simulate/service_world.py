"""Everything of the world that is there for services: sites, declarations, fences, operators.

It builds a `site` for each service on each of its nodes and a `member` for each of their lives,
plays the HTTP by which a node declares what it offers, switches machines off where a fence is done,
and asks the monitor for what operators ask. Not here: what may never happen (`check_roles`).
"""

from collections.abc import Callable, Sequence

from beatward.agent.roles.lease_holder import LeaseHolder
from beatward.core.instants import HOUR, MILLISECOND, NEVER, SECOND
from beatward.core.order_kinds import Declare, FailOver, PauseService, ResumeService, SwitchOver
from beatward.core.outbox import Action
from beatward.core.protocol.roles import RoleReport

from .chance import split, uniform_ns
from .checker import Checker, Findings, WorldFacts
from .faults import Fault, FaultKind
from .member import PlayedMember
from .node import PlayedNode
from .services import FENCE, DrawnService
from .site import OUT, HookFault, Site
from .truth import Trouble

_HTTP_DELAY_NS = 10 * MILLISECOND
_AGAIN_NS = 2 * SECOND
# An operator looks at a machine that was fenced, and switches it on again.
_REPAIR_NS = 10 * SECOND
_OPERATOR_NS = 5 * SECOND
NODE_KINDS = (FaultKind.HOOKS, FaultKind.GUARDIAN, FaultKind.COPY, FaultKind.SNAPSHOT)
ORDER_KINDS = (FaultKind.SWITCHOVER, FaultKind.FORCE, FaultKind.HOLD)


class ServiceWorld:
    """The services' people and parts; `tenure` makes the agent's side of a role."""

    def __init__(
        self,
        facts: WorldFacts,
        findings: Findings,
        checkers: Sequence[Checker],
        *,
        tenure: Callable[..., LeaseHolder] = LeaseHolder,
    ) -> None:
        self._facts = facts
        self._event_queue = facts.event_queue
        self._monitor = facts.monitor
        self._findings = findings
        self._checkers = checkers
        self._tenure = tenure
        self._rng = split(facts.scenario.seed, "crew")
        self._services = {service.name: service for service in facts.scenario.services}

    # -- building -------------------------------------------------------------------------------

    def equip(self, node: PlayedNode) -> None:
        """Give a node its sites."""
        number, name = node.settings.number, node.label
        node.offer(
            [
                Site(
                    service.name,
                    self._event_queue,
                    split(self._facts.scenario.seed, f"site {service.name} {name}"),
                    clock=node.clock,
                    truth=node.truth,
                    skill=service.skill,
                    witnesses=self._checkers,
                    label=node.label,
                )
                for service in self._services.values()
                if number in service.members
            ]
        )

    def enlist(
        self, node: PlayedNode, site: Site, copied: LeaseHolder | None = None
    ) -> PlayedMember:
        """Make the member of a site for a new life of its node, which declares itself.

        copied   what the life of a copied machine goes on with
        """
        service = self._services[site.service]
        lag = service.lags[service.members.index(node.settings.number)]

        def say(standing: RoleReport) -> None:
            node.stand(standing)

        def position() -> int | None:
            at_ms = self._event_queue.now_ns // MILLISECOND
            return None if lag is None else at_ms if site.run else max(0, at_ms - lag)

        tenure = self._tenure if copied is None else lambda *_args, **_how: copied
        return PlayedMember(site, self._event_queue, say=say, position=position, tenure=tenure)

    def declare(self, node: PlayedNode) -> None:
        """Play the request by which a node says what it offers, until it is answered."""
        if not node.sites or not node.is_up:
            return
        name, truth = node.settings.name, node.truth.history
        cut = truth.has(Trouble.CUT_UP) or truth.has(Trouble.CUT_DOWN) or node.is_still
        offers = tuple(
            self._services[site.service].declaration(node.settings.number) for site in node.sites
        )
        if cut or not self._monitor.order(Declare(name, services=offers)):
            self._event_queue.after(_AGAIN_NS, self.declare, node)

    # -- what goes wrong, and what people want -----------------------------------------------------

    def strike_node(self, fault: Fault, node: PlayedNode) -> Callable[[], None] | None:
        """Break what a node's services stand on."""
        if not node.sites:
            return None
        if fault.kind in (FaultKind.COPY, FaultKind.SNAPSHOT):
            return self._facts.twins.strike(fault, node)
        if fault.kind == FaultKind.GUARDIAN:
            for site in node.sites:
                site.guardian.begin(OUT, self._event_queue.now_ns)
            return lambda: self._mend_guardian(node)
        digits = int(fault.draw * 1000)
        site = node.sites[digits % len(node.sites)]
        quirk = tuple(HookFault)[digits // 7 % len(HookFault)]
        if quirk == HookFault.DIES:
            site.die()
            return lambda: None
        if site.quirk is not None:
            return None
        site.quirk = quirk
        return site.mend

    def order(self, fault: Fault) -> Callable[[], None] | None:
        """Ask the monitor for what operators ask of services."""
        if not self._services:
            return None
        digits = int(fault.draw * 1000)
        service = tuple(self._services.values())[digits % len(self._services)]
        monitor, name = self._monitor, service.name
        if fault.kind == FaultKind.HOLD:
            for_ns = fault.duration_ns if digits % 2 else NEVER
            if not monitor.order(PauseService(name, by="anna", for_ns=for_ns)):
                return None
            return lambda: self._resume(name)
        is_force = fault.kind == FaultKind.FORCE
        to = self._name_of(service, digits // 3) if digits % 3 else ""
        asked = FailOver(name, "anna", to, force=True) if is_force else SwitchOver(name, "anna", to)
        if not monitor.order(asked):
            return None
        if is_force:
            self._forced(name)
        return lambda: None

    def fence(self, action: Action) -> None:
        """Switch the machine of a fence off, at the instant of the deed."""
        if action.name != FENCE:
            return
        node = self._facts.twins.machine(action.node)
        self._findings.note(action.node, "fenced: its machine is off")
        self.power_off(node)
        self._facts.twins.power_off(action.node)
        for one in self._checkers:
            one.fenced(action.node)
        self._event_queue.after(_REPAIR_NS, self._repair, node)

    def power_off(self, node: PlayedNode) -> None:
        """End all of a machine."""
        node.power_off(uniform_ns(self._rng, SECOND, 1000 * HOUR))

    def replace(self, node: PlayedNode) -> None:
        """Let another machine take the place of one that is off."""
        for site in node.sites:
            site.replace()
        for one in self._checkers:
            one.replaced(node.settings.name)

    # -- heal -----------------------------------------------------------------------------------

    def heal(self) -> None:
        """Mend all that is broken, and look after what the monitor refuses, as operators do."""
        for node in self._facts.nodes.values():
            for site in node.sites:
                site.mend()
                site.is_healed = True
            self._mend_guardian(node)
        self._event_queue.after(_OPERATOR_NS, self._look_after)

    def _look_after(self) -> None:
        """Resume what is paused, and use force where the monitor wants an operator to decide."""
        self._event_queue.after(_OPERATOR_NS, self._look_after)
        monitor = self._monitor.monitor
        if monitor is None:
            return
        for name, view in monitor.snapshot(0).services.items():
            if view.paused is not None:
                self._resume(name)
            forced = FailOver(name, force=True, by="anna")
            if view.phase == "refused" and self._monitor.order(forced):
                self._forced(name)

    def _forced(self, name: str) -> None:
        for one in self._checkers:
            one.forced(name)

    def _resume(self, name: str) -> None:
        self._monitor.order(ResumeService(name, by="anna"))

    def _mend_guardian(self, node: PlayedNode) -> None:
        for site in node.sites:
            while site.guardian.has(OUT):
                site.guardian.end(OUT, self._event_queue.now_ns)

    def _repair(self, node: PlayedNode) -> None:
        if not node.stays_down:
            node.start()

    def _name_of(self, service: DrawnService, digits: int) -> str:
        return f"node-{service.members[digits % len(service.members)]}"
