"""Two processes under one name: an agent started from a copied folder, a machine from a snapshot.

copy       the data folder is copied while the agent runs, and an agent is started from the copy on
           the same machine: a new life, the same key, what the disk said of its roles; the locks
           of guardians are not copied
snapshot   the whole machine is copied as it stands, and goes on some time later at another address:
           the same life, sequence and counters, its clock and its leases of then, and the work runs

A twin has a label of its own, beside the name that both have. While there is one, and for a while
after it, nothing is asked of what the monitor believes of that node: it hears two. What is asked of
roles is asked all the same (`check_roles`). Then the twin is found and ended, and the agent started
anew.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from beatward.agent.heartbeat_protocol import HeartbeatProtocol
from beatward.agent.roles.lease_holder import HolderState, LeaseHolder
from beatward.core.instants import MINUTE, SECOND

from .chance import split
from .event_queue import EventQueue
from .faults import Fault, FaultKind
from .node import NodeSettings, PlayedNode
from .truth import NodeTruth

# The monitor may still be finding out this long after a twin's end.
_AFTER_NS = MINUTE
# A snapshot is woken at most this long after it was taken, and a folder's copy started.
_LATER_MAX_NS = 4 * SECOND
_ELSEWHERE = 1
_PORTS = 30_000


@dataclass(frozen=True, slots=True)
class _Image:
    """A machine as it stood. tenures, runs and lent: one a site; the clocks show its own time."""

    protocol: HeartbeatProtocol
    tenures: tuple[LeaseHolder, ...]
    runs: tuple[int, ...]
    lent: tuple[tuple[int, int] | None, ...]
    clock_ns: int
    wall_ns: int


class Twins:
    """All twins of a world.

    nodes      the machines that are no twins, by name
    new_node   builds a machine that is off
    note       writes a line about a node into the log
    """

    def __init__(
        self,
        seed: int,
        event_queue: EventQueue,
        nodes: Mapping[str, PlayedNode],
        *,
        new_node: Callable[[NodeSettings, NodeTruth, Random], PlayedNode],
        note: Callable[[str, str], None],
    ) -> None:
        self._seed = seed
        self._event_queue = event_queue
        self._nodes = nodes
        self._new_node = new_node
        self._note = note
        self._by_label: dict[str, PlayedNode] = {}
        self._ended_ns: dict[str, int] = {}  # by name
        self._count = 0

    def of(self, name: str) -> Iterator[PlayedNode]:
        """Yield the twins that a name has ever had."""
        return (twin for twin in self._by_label.values() if twin.settings.name == name)

    def machine(self, label: str) -> PlayedNode:
        """Return the twin of a label, or the node of a name."""
        return self._by_label.get(label) or self._nodes[label]

    def is_doubled(self, name: str) -> bool:
        """Tell whether two spoke under a name, now or a moment ago."""
        since_ns = self._ended_ns.get(name)
        is_past = since_ns is None or self._event_queue.now_ns > since_ns + _AFTER_NS
        return any(twin.is_up for twin in self.of(name)) or not is_past

    def strike(self, fault: Fault, node: PlayedNode) -> Callable[[], None] | None:
        """Copy a node, and begin the copy; return what ends it."""
        name = node.settings.name
        is_doubled = any(not twin.is_over for twin in self.of(name))
        if not node.is_speaking or is_doubled:
            return None
        memories = tuple(site.memory for site in node.sites)
        wait_ns = min(int(fault.draw * _LATER_MAX_NS), fault.duration_ns // 2)
        twin = self._build(node, network=_ELSEWHERE if fault.kind == FaultKind.SNAPSHOT else 0)
        self._ended_ns[name] = self._event_queue.now_ns
        if fault.kind == FaultKind.SNAPSHOT:
            begin = partial(self._wake, twin, memories, self._taken(node))
        else:
            begin = partial(self._start, twin, memories, node.last_incarnation)
        self._event_queue.after(wait_ns, self._begin, twin, begin)
        return partial(self._end, twin, node)

    def end_all(self) -> None:
        """End every twin there is, and start anew whose name it had."""
        for twin in list(self._by_label.values()):
            self._end(twin, self._nodes[twin.settings.name])

    def power_off(self, name: str) -> None:
        """Switch off whatever has a name."""
        for twin in self.of(name):
            twin.is_over = True
            twin.power_off(0)

    # -- inside ---------------------------------------------------------------------------------

    def _build(self, node: PlayedNode, *, network: int) -> PlayedNode:
        self._count += 1
        label, name = f"{node.settings.name}+{self._count}", node.settings.name
        settings = replace(
            node.settings, label=label, network=network, ports=_PORTS, keeps_state=True
        )
        truth = NodeTruth(name, node.settings.interval_ns)
        twin = self._new_node(settings, truth, split(self._seed, label))
        self._by_label[label] = twin
        return twin

    def _begin(self, twin: PlayedNode, begin: Callable[[], None]) -> None:
        if not twin.is_over:
            self._note(twin.settings.name, f"its twin {twin.label} begins")
            begin()

    def _start(self, twin: PlayedNode, memories: tuple[HolderState, ...], life: int) -> None:
        for site, memory in zip(twin.sites, memories, strict=True):
            site.memory = memory
        twin.take_state(life)
        twin.start()

    def _taken(self, node: PlayedNode) -> _Image:
        now_ns = self._event_queue.now_ns
        assert node.protocol is not None
        return _Image(
            deepcopy(node.protocol),
            tuple(deepcopy(member.tenure) for member in node.members),
            tuple(0 if site.run is None else site.run.token for site in node.sites),
            tuple(site.lent for site in node.sites),
            node.clock.now_ns(now_ns),
            node.clock.wall_ns(now_ns),
        )

    def _wake(self, twin: PlayedNode, memories: tuple[HolderState, ...], image: _Image) -> None:
        now_ns = self._event_queue.now_ns
        twin.clock.reboot(image.clock_ns, now_ns)
        twin.clock.step_wall(image.wall_ns - twin.clock.wall_ns(now_ns))
        for site, memory, tenure, token, lent in zip(
            twin.sites, memories, image.tenures, image.runs, image.lent, strict=True
        ):
            site.wake_as_copy(memory, token, tenure.over_ns)
            site.lent = lent
        twin.wake_as_copy(image.protocol, image.tenures)

    def _end(self, twin: PlayedNode, node: PlayedNode) -> None:
        if twin.is_over:
            return
        twin.is_over = True
        twin.power_off(0)
        self._ended_ns[twin.settings.name] = self._event_queue.now_ns
        self._note(twin.settings.name, f"its twin {twin.label} is ended")
        if node.is_up and not node.stays_down:
            node.crash()
            node.start()
