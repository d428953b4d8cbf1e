"""The simulated world: machines, network, adversary, faults and heal under one event queue.

It plays everything that is not the monitor's core or the agent's `HeartbeatProtocol`: the kernel,
the disk, the hands, the operator, HTTP. The checkers are told what happens and change nothing of
it. Route: `Scenario -> World.play -> Findings and the journal`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from beatward.agent.heartbeat_protocol import HeartbeatProtocol
from beatward.agent.roles.lease_holder import LeaseHolder
from beatward.core.entry import Entry
from beatward.core.instants import HOUR, MILLISECOND, NEVER, SECOND, format_duration
from beatward.core.monitor import Monitor
from beatward.core.order_kinds import AddSilence, EndSilence, Forget, Join, Lift, Pause, Resume
from beatward.core.outbox import Action
from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import Farewell
from beatward.core.protocol.roles import RoleReport

from .adversary import Adversary
from .chance import exponential_ns, split, uniform_ns
from .checker import Checker, Findings, ReportedState, WorldFacts
from .checkers import every_checker
from .clock import HostClock
from .event_queue import EventQueue
from .faults import STAYS_DOWN_PROBABILITY, Fault, FaultKind
from .monitor import MASTER, MonitorHost, MonitorProcess, Observer
from .network import Network, Path
from .node import ILL, Answered, NodeSettings, PlayedNode
from .scenario import Scenario
from .service_world import NODE_KINDS, ORDER_KINDS, ServiceWorld
from .truth import NodeTruth, Trouble
from .twins import Twins

_YEAR_2026_NS = 1_767_225_600 * SECOND
_HTTP_DELAY_NS = 10 * MILLISECOND
_HTTP_TIMEOUT_NS = 2 * SECOND
_LIFT_SPACING_NS = 3 * SECOND
_FREEZE_PLACES = ("between", "between", "reading", "judging")
_BOTH = (Trouble.CUT_UP, Trouble.CUT_DOWN)
_OUTAGES = (_BOTH, _BOTH, _BOTH, (Trouble.CUT_UP,), (Trouble.CUT_DOWN,))
_AUDIT_NS = SECOND


class World:
    """All of it, built from a scenario; `play` runs it to its end.

    build, protocol, tenure   make the monitor, and the nodes' side
    checkers               makes what is told all that happens
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        build: Callable[..., Monitor] = Monitor,
        protocol: Callable[..., HeartbeatProtocol] = HeartbeatProtocol,
        tenure: Callable[..., LeaseHolder] = LeaseHolder,
        checkers: Callable[[WorldFacts, Findings], Sequence[Checker]] = every_checker,
    ) -> None:
        self.scenario = scenario
        self._protocol = protocol
        self.event_queue = EventQueue()
        self.faults: Counter[str] = Counter()
        self.findings = Findings(self.event_queue)
        self.checkers: list[Checker] = []
        self._reported = ReportedState()
        self._observers: list[Observer] = [self._reported]
        self._rng = split(scenario.seed, "world")
        self.network = Network(self.event_queue, split(scenario.seed, "network"), scenario.weather)
        self.network.lay = self._lay
        self.truths: dict[str, NodeTruth] = {}
        self.nodes: dict[int, PlayedNode] = {}
        self._by_name: dict[str, PlayedNode] = {}
        note = self.findings.note
        self.twins = Twins(
            scenario.seed, self.event_queue, self._by_name, new_node=self._new_node, note=note
        )
        self.monitor = self._monitor(build)
        self.facts = self._facts()
        self.service_world = ServiceWorld(self.facts, self.findings, self.checkers, tenure=tenure)
        for number in scenario.nodes:
            self.nodes[number] = self._by_name[f"node-{number}"] = self._node(number)
        self.adversary = Adversary(
            self.event_queue,
            self.network,
            split(scenario.seed, "adversary"),
            spacing_ns=scenario.adversary_ns,
            is_dead=lambda label: self.twins.machine(label).truth.history.has(Trouble.DOWN),
        )
        self.monitor.teach(scenario.skill)
        self.network.refuse = self._refuse
        self._is_healed = False
        self._lost_stores: list[Sequence[Entry]] = []
        self.checkers += checkers(self.facts, self.findings)
        self._observers += self.checkers
        self.event_queue.after(_AUDIT_NS, self._audit)

    @property
    def journal(self) -> list[Entry]:
        """Every entry that reached a disk, in order; lost disks first."""
        lost = [entry for entries in self._lost_stores for entry in entries]
        return lost + list(self.monitor.store.memory.entries)

    def play(self) -> None:
        """Let it all happen."""
        scenario = self.scenario
        self.event_queue.at(0, self.monitor.start)
        for node in self.nodes.values():
            rng = split(scenario.seed, f"start of {node.settings.name}")
            self.event_queue.at(uniform_ns(rng, 0, 5 * SECOND), node.start)
        for fault in scenario.faults:
            self.event_queue.at(fault.at_ns, self._strike, fault)
        if scenario.adversary_ns:
            self.adversary.begin()
        self.event_queue.run_until(scenario.heal_ns)
        self._heal()
        self.event_queue.run_until(scenario.end_ns)
        for one in self.checkers:
            one.finish()

    def _audit(self) -> None:
        self.event_queue.after(_AUDIT_NS, self._audit)
        for one in self.checkers:
            one.audit()

    # -- building -------------------------------------------------------------------------------

    def _facts(self) -> WorldFacts:
        return WorldFacts(
            self.scenario,
            self.event_queue,
            self.network,
            self.monitor,
            self.twins,
            self.truths,
            self.nodes,
            self._reported,
        )

    def _monitor(self, build: Callable[..., Monitor]) -> MonitorProcess:
        scenario = self.scenario
        host = MonitorHost(
            scenario.settings,
            tick_ns=scenario.tick_ns,
            drain_max=scenario.drain_max,
            latency_ns=scenario.latency_ns,
            buffer=scenario.buffer,
            build=build,
        )
        return MonitorProcess(
            host,
            self.event_queue,
            self.network,
            clock=self._clock("monitor", counts_suspend=True),
            rng=split(scenario.seed, "monitor"),
            observers=self._observers,
            act=self._act,
        )

    def _clock(self, host: str, *, counts_suspend: bool) -> HostClock:
        rng = split(self.scenario.seed, f"clock of {host}")
        return HostClock(
            boot_ns=uniform_ns(rng, SECOND, 1000 * HOUR),
            wall_ns=_YEAR_2026_NS + uniform_ns(rng, -5 * SECOND, 5 * SECOND),
            drift_ppb=rng.randint(-200_000, 200_000),
            counts_suspend=counts_suspend,
        )

    def _act(self, action: Action) -> None:
        """Let a deed have its effect on the world; only fences have one."""
        self.service_world.fence(action)

    def _node(self, number: int) -> PlayedNode:
        name = f"node-{number}"
        interval_ns = self.scenario.intervals_ns[number]
        rng = split(self.scenario.seed, name)
        settings = NodeSettings(
            name=name,
            number=number,
            key=node_key(MASTER, node_id(name)),
            interval_ns=interval_ns,
            keeps_state=rng.random() < 0.7,
            lateness_ns=uniform_ns(rng, 10_000, 2 * MILLISECOND),
        )
        truth = self.truths[name] = NodeTruth(name, interval_ns)
        return self._new_node(settings, truth, rng)

    def _new_node(self, settings: NodeSettings, truth: NodeTruth, rng: Random) -> PlayedNode:
        """Build a machine that is off."""
        node = PlayedNode(
            settings,
            self.event_queue,
            self.network,
            clock=self._clock(settings.label or settings.name, counts_suspend=rng.random() < 0.7),
            rng=rng,
            truth=truth,
            join=self._join,
            protocol=self._protocol,
            enlist=self.service_world.enlist,
            on_report=self._stood,
        )
        self.service_world.equip(node)
        return node

    def _stood(self, node: PlayedNode, standing: RoleReport) -> None:
        for one in self.checkers:
            one.stood(node, standing)

    def _lay(self, name: str, up: bool) -> Path:  # noqa: FBT001
        """Lay one direction of a node's link."""
        seed, way = self.scenario.seed, f"{name} {'up' if up else 'down'}"
        link = self.scenario.links[int(name.removeprefix("node-").partition("+")[0])]
        return Path(split(seed, f"path {way}"), None if link is None else link.ahead(seed, way))

    def _join(self, node: PlayedNode, answered: Answered) -> None:
        """Play the HTTP request with which a node enrols."""
        truth = node.truth.history
        name = node.settings.name
        cut = truth.has(Trouble.CUT_UP) or truth.has(Trouble.CUT_DOWN)
        if cut or not self.monitor.order(Join(name, {"zone": self.scenario.zone(name)})):
            self.event_queue.after(_HTTP_TIMEOUT_NS, partial(answered, accepted=False))
            return
        wait_ns = exponential_ns(self.network.to_monitor[node.label].rng, _HTTP_DELAY_NS)
        self.event_queue.after(wait_ns, partial(answered, accepted=True))
        self.event_queue.after(2 * wait_ns, self.service_world.declare, node)

    def _refuse(self, name: str) -> None:
        """Send the ICMP word that no process has the port, as the kernel does."""
        node = self.twins.machine(name)
        if not self.monitor.is_up and not node.truth.history.has(Trouble.CUT_DOWN):
            wait_ns = self.scenario.weather.draw_delay_ns(self.network.to_node[name].rng)
            self.event_queue.after(wait_ns, node.hear_refusal)

    # -- faults ---------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        nodes = [self.nodes[number] for number in fault.targets]
        undo = self._strike_nodes(fault, nodes) if nodes else self._strike_monitor(fault)
        if undo is not None:
            self.faults[fault.kind] += 1
            lasts = format_duration(fault.duration_ns)
            for node in nodes or (None,):
                name = "" if node is None else node.settings.name
                self.findings.note(name, f"fault {fault.kind} for {lasts}")
            self.event_queue.after(fault.duration_ns, self._undo, fault, undo)

    def _undo(self, fault: Fault, undo: Callable[[], None]) -> None:
        if not self._is_healed:
            undo()
            for number in fault.targets or (None,):
                name = "" if number is None else self.nodes[number].settings.name
                self.findings.note(name, f"{fault.kind} is over")

    def _strike_nodes(self, fault: Fault, nodes: list[PlayedNode]) -> Callable[[], None] | None:
        node = nodes[0]
        if fault.kind in NODE_KINDS:
            return self.service_world.strike_node(fault, node)
        match fault.kind:
            case FaultKind.CRASH | FaultKind.LEAVE | FaultKind.EXIT:
                return self._end_process(fault, node)
            case FaultKind.FREEZE | FaultKind.HICCUP:
                return node.wake if node.still(Trouble.FROZEN) else None
            case FaultKind.SUSPEND | FaultKind.MIGRATION:
                return node.wake if node.still(Trouble.SUSPENDED) else None
            case FaultKind.CLOCK:
                node.clock.step_wall(int((fault.draw - 0.5) * 4 * HOUR))
                return _nothing
            case FaultKind.ILL:
                node.truth.illness.begin(ILL, self.event_queue.now_ns)
                return lambda: node.truth.illness.end(ILL, self.event_queue.now_ns)
            case FaultKind.CUT_UP:
                return self._cut(nodes, (Trouble.CUT_UP,))
            case FaultKind.CUT_DOWN:
                return self._cut(nodes, (Trouble.CUT_DOWN,))
            case FaultKind.CUT | FaultKind.PARTITION:
                return self._cut(nodes, _BOTH)
            case FaultKind.OUTAGE:
                return self._cut(nodes, _OUTAGES[int(fault.draw * len(_OUTAGES))])
            case FaultKind.PAUSE:
                return self._pause(node, fault)
            case FaultKind.FORGET:
                self.monitor.order(Forget(node.settings.name))
                return _nothing
            case _:
                raise AssertionError(fault.kind)

    def _end_process(self, fault: Fault, node: PlayedNode) -> Callable[[], None] | None:
        if not node.is_up or node.stays_down:
            return None
        if fault.kind == FaultKind.CRASH:
            node.stays_down = fault.draw < STAYS_DOWN_PROBABILITY
            self._crash(node, int(fault.draw * 1000))
        elif fault.kind == FaultKind.LEAVE:
            node.leave(Farewell.LEFT)
        else:
            node.leave(Farewell.EXITED, int(fault.draw * 256) - 16)
        return lambda: None if node.stays_down else node.start()

    def _crash(self, node: PlayedNode, digits: int) -> None:
        """Kill a process; where services are at stake, half the time its whole machine.

        Now and then that comes back as another one, without its disk.
        """
        if not node.sites or digits % 2:
            node.crash()
            return
        self.service_world.power_off(node)
        if digits % 10 == 0:
            self.service_world.replace(node)

    def _cut(self, nodes: list[PlayedNode], ways: tuple[Trouble, ...]) -> Callable[[], None]:
        paths = {Trouble.CUT_UP: self.network.to_monitor, Trouble.CUT_DOWN: self.network.to_node}
        for node in nodes:
            for way in ways:
                self.network.cut(paths[way][node.settings.name])
                node.truth.history.begin(way, self.event_queue.now_ns)

        def mend() -> None:
            for node in nodes:
                for way in ways:
                    self.network.mend(paths[way][node.settings.name])
                    node.truth.history.end(way, self.event_queue.now_ns)

        return mend

    def _pause(self, node: PlayedNode, fault: Fault) -> Callable[[], None] | None:
        """Announce maintenance, half of it with a planned end that must come by itself."""
        name, is_planned = node.settings.name, fault.draw < 0.5
        for_ns = fault.duration_ns if is_planned else NEVER
        if not self.monitor.order(Pause((name,), for_ns=for_ns)):
            return None
        return _nothing if is_planned else lambda: self._resume(name)

    def _resume(self, name: str) -> None:
        """End a maintenance as an operator does, who looks again whether it has really ended.

        A monitor that is away takes no order, and one that crashes forgets what was not on disk.
        """
        if self.facts.reported.statuses.get(name) == "paused":
            for one in self.checkers:
                one.resumption_ordered(name)
            self.monitor.order(Resume((name,)))
            self.event_queue.after(2 * SECOND, self._resume, name)

    def _strike_monitor(self, fault: Fault) -> Callable[[], None] | None:
        monitor = self.monitor
        if fault.kind in ORDER_KINDS:
            return self.service_world.order(fault)
        match fault.kind:
            case FaultKind.MONITOR_CRASH | FaultKind.STORE | FaultKind.BACKUP:
                return self._crash_monitor(fault)
            case FaultKind.MONITOR_FREEZE | FaultKind.MONITOR_HICCUP:
                place = _FREEZE_PLACES[int(fault.draw * len(_FREEZE_PLACES))]
                return self._thaw_monitor if monitor.freeze(place) else None
            case FaultKind.MONITOR_CLOCK:
                monitor.clock.step_wall(int((fault.draw - 0.5) * 4 * HOUR))
                return _nothing
            case FaultKind.FLOOD:
                return self._flood(0.2 + 0.8 * fault.draw)
            case FaultKind.SILENCE:
                return self._silence(fault)
            case FaultKind.DISK:
                store = monitor.store
                store.refuses = True

                def mend() -> None:
                    store.refuses = False

                return mend
            case FaultKind.HANDS:
                monitor.teach(replace(self.scenario.skill, temporary_probability=0.9))
                return lambda: monitor.teach(self.scenario.skill)
            case _:
                raise AssertionError(fault.kind)

    def _silence(self, fault: Fault) -> Callable[[], None] | None:
        """Silence some or all nodes, a third of the time their repairs too."""
        digits = int(fault.draw * 1000)
        order = AddSilence(
            f"{fault.at_ns:x}",
            fault.duration_ns,
            ("*", "node-*[02468]", "node-?")[digits % 3],
            actions=digits % 7 < 2,
        )
        return _nothing if self.monitor.order(order) else None

    def _flood(self, probability: float) -> Callable[[], None]:
        """Let the monitor's kernel drop datagrams, for want of room, until the junk is over."""
        monitor = self.monitor
        monitor.drop_probability = probability

        def end() -> None:
            monitor.drop_probability = 0.0

        return end

    def _crash_monitor(self, fault: Fault) -> Callable[[], None] | None:
        if not self.monitor.is_up:
            return None
        self.monitor.crash()
        if fault.kind != FaultKind.MONITOR_CRASH:
            entries = self.monitor.store.memory.entries
            # Most backups are some hours old, and some were made just now.
            share = 0.0 if fault.kind == FaultKind.STORE else 1.0 - (2.0 * fault.draw % 1.0) ** 3
            kept = int(share * len(entries))
            self._lost_stores.append(entries[kept:])
            self.monitor.replace_store(kept)
        if fault.draw < 0.5:
            # The whole machine: its monotonic clock begins anew, possibly below where it was.
            boot_ns = uniform_ns(self._rng, SECOND, 1000 * HOUR)
            self.monitor.clock.reboot(boot_ns, self.event_queue.now_ns)
        return self._start_monitor

    def _start_monitor(self) -> None:
        self.monitor.start()
        self.adversary.burst()

    def _thaw_monitor(self) -> None:
        self.monitor.thaw()
        self.adversary.burst()

    # -- heal -----------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End all faults; what was killed for good stays down."""
        self._is_healed = True
        self.findings.note("", "heal: every fault ends")
        scenario = self.scenario
        now_ns = self.event_queue.now_ns
        self.adversary.stop()
        self.network.heal()
        self.monitor.drop_probability = 0.0
        self.monitor.store.refuses = False
        self.monitor.teach(replace(scenario.skill, temporary_probability=0.0))
        self.monitor.thaw()
        self.monitor.start()
        self.twins.end_all()
        for node in self.nodes.values():
            self._heal_node(node, now_ns)
        self.service_world.heal()
        self.event_queue.after(_LIFT_SPACING_NS, self._lift)
        # A pause that was resumed may have come back with a restart of the monitor.
        for name in self._by_name:
            for wait_ns in (0, 10 * SECOND):
                self.event_queue.after(wait_ns, self._resume, name)

    def _lift(self) -> None:
        """Say as an operator does that what is held back may go on: all is known to be well."""
        self.monitor.order(Lift())
        # One that began before the clock was set back could last for hours.
        for name in self.facts.reported.silences:
            self.monitor.order(EndSilence(name))
        self.event_queue.after(_LIFT_SPACING_NS, self._lift)

    def _heal_node(self, node: PlayedNode, now_ns: int) -> None:
        name = node.settings.name
        paths = {Trouble.CUT_UP: self.network.to_monitor, Trouble.CUT_DOWN: self.network.to_node}
        for way, path in paths.items():
            while path[name].cuts_count:
                self.network.mend(path[name])
                node.truth.history.end(way, now_ns)
        while node.truth.illness.has(ILL):
            node.truth.illness.end(ILL, now_ns)
        node.wake()
        if not node.stays_down:
            node.start()


def _nothing() -> None:
    """End a fault that has no end."""
