"""One simulated node: a machine with clocks, and a process on it that runs the real
`HeartbeatProtocol`.

The process can be killed, started again as a new life, frozen (SIGSTOP), suspended with its
machine, have its wall clock set, say goodbye, or end under a wrapper that reports how. It drives
`HeartbeatProtocol` as `agent.heart` does: wait for a datagram until the next heartbeat is due,
answer at once, beat when it is due, open a new socket and join again when no answer comes.
Where the machine offers services, the process has a `member` for each of its `sites`.
Not here: when any of this happens (`faults`), and enrolment itself (`world` plays the HTTP).
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Protocol

from beatward.agent.heartbeat_protocol import HeartbeatProtocol, Report
from beatward.agent.roles.lease_holder import LeaseHolder
from beatward.agent.send_schedule import Bounds
from beatward.core.instants import MICROSECOND, NEVER, SECOND
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Farewell, Health
from beatward.core.protocol.roles import (
    LAST_WORD,
    Grant,
    RoleReport,
    State,
    seal_role_report,
    service_id,
)

from .chance import exponential_ns
from .clock import HostClock
from .event_queue import EventQueue
from .member import PlayedMember
from .network import Datagram, Network
from .site import Site
from .truth import NodeTruth, Trouble

# A socket's default receive buffer holds some 270 small datagrams (net.core.rmem_default, 208 kB,
# 768 bytes of kernel memory each).
SOCKET_BUFFER = 270
# An agent whose enrolment failed asks again after about this long.
JOIN_SPACING_NS = SECOND
_LOOK_NS = SECOND // 10
# An agent that leaves gives its roles up before; it is not waited for it for ever.
_GIVE_UP_LOOKS = 100
ILL = "ill"
_FREE = (State.STANDBY, State.UNABLE)
# The last word of a life before is said with the first standings of a life.
_LAST_MAX = 8
_ADDRESS = struct.Struct("=H2s4s")


class Answered(Protocol):
    """What is called with the answer to a request to be enrolled."""

    def __call__(self, *, accepted: bool) -> None:
        """Take the answer."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How one node is built.

    keeps_state     a state file: incarnations grow whatever the wall clock does, and the key is
                    there before the first word with the monitor
    lateness_ns     mean lateness of its timers
    label           what tells it from another machine of the same name; empty: the name
    network, ports  where its addresses are
    """

    name: str
    number: int
    key: bytes
    interval_ns: int
    keeps_state: bool = True
    lateness_ns: int = 100 * MICROSECOND
    label: str = ""
    network: int = 0
    ports: int = 0


class PlayedNode:
    """A machine and at most one process on it.

    join    asks for enrolment by HTTP and calls back, later
    protocol   makes the agent's side; another one than ours is how checkers are tested
    enlist  makes the member of a site in a new life, or goes on with a copied one
    said    told of each standing that is sent
    """

    def __init__(
        self,
        settings: NodeSettings,
        event_queue: EventQueue,
        network: Network,
        *,
        clock: HostClock,
        rng: Random,
        truth: NodeTruth,
        join: Callable[["PlayedNode", Answered], None],
        protocol: Callable[..., HeartbeatProtocol] = HeartbeatProtocol,
        enlist: Callable[["PlayedNode", Site, LeaseHolder | None], PlayedMember] | None = None,
        on_report: Callable[["PlayedNode", RoleReport], None] = lambda _node, _standing: None,
    ) -> None:
        self.sites: Sequence[Site] = ()
        self.members: list[PlayedMember] = []
        self._enlist = enlist
        self._on_report = on_report
        self.settings = settings
        self.clock = clock
        self.truth = truth
        self.protocol: HeartbeatProtocol | None = None
        self.stays_down = False
        self.label = settings.label or settings.name
        self.is_over = False  # a twin that was ended
        self._event_queue = event_queue
        self._network = network
        self._rng = rng
        self._join = join
        self._beats = protocol
        self._process = 0  # counts processes, so that a timer of a dead one does nothing
        self._timer = 0  # counts timers, so that one that was set anew does nothing
        self._address = b""
        self._ports_count = settings.ports
        self._has_key = False
        self._last_incarnation = 0
        self._is_leaving = False
        self._inbox: deque[Datagram] = deque()
        truth.history.begin(Trouble.DOWN, event_queue.now_ns)
        network.add_node(self.label)

    @property
    def is_up(self) -> bool:
        """Whether a process runs, be it frozen."""
        return not self.truth.history.has(Trouble.DOWN)

    @property
    def is_still(self) -> bool:
        """Whether the process is there and gets no time."""
        history = self.truth.history
        return history.has(Trouble.FROZEN) or history.has(Trouble.SUSPENDED)

    @property
    def is_speaking(self) -> bool:
        """Whether a process runs, gets time, and has begun to speak."""
        return (
            self.is_up and not self.is_still and self.protocol is not None and not self._is_leaving
        )

    @property
    def last_incarnation(self) -> int:
        """The number of the last life, as its state file has it."""
        return self._last_incarnation

    # -- what can be done to it -----------------------------------------------------------------

    def start(self) -> None:
        """Start a process: a new life."""
        if self.is_up:
            return
        now_ns = self._event_queue.now_ns
        self.truth.history.end(Trouble.DOWN, now_ns)
        self._process += 1
        self.truth.history.begin(Trouble.WAITING, now_ns)
        if self._has_key and self.settings.keeps_state:
            self._begin(self._process)
        else:
            self._ask_to_join(self._process)

    def take_state(self, incarnation: int) -> None:
        """Let the machine have a state file: a key, and the number of the last life."""
        self._has_key, self._last_incarnation = True, incarnation

    def wake_as_copy(self, protocol: HeartbeatProtocol, tenures: Sequence[LeaseHolder]) -> None:
        """Go on in the middle of the life of a process that was copied with its machine."""
        self.truth.history.end(Trouble.DOWN, self._event_queue.now_ns)
        self._process += 1
        self.take_state(protocol.incarnation)
        self._open_socket()
        self.protocol = protocol
        if self._enlist is not None:
            pairs = zip(self.sites, tenures, strict=True)
            self.members = [self._enlist(self, site, tenure) for site, tenure in pairs]
        self._arm()

    def offer(self, sites: Sequence[Site]) -> None:
        """Let the machine have a part in services; to be called before its first start."""
        self.sites = sites
        for site in sites:
            site.cares = self._cares
            site.say_last = partial(self._say_last, site.service)

    def crash(self) -> None:
        """Kill the process: no last word."""
        if not self.is_up:
            return
        self._process += 1
        self.protocol = None
        for member in self.members:
            member.crash()
        self.members = []
        self._inbox.clear()  # SIGKILL ends a stopped process too, before it reads another byte
        self.wake()
        self._network.close_socket(self._address)
        self.truth.history.begin(Trouble.DOWN, self._event_queue.now_ns)
        if self.truth.history.has(Trouble.WAITING):
            self.truth.history.end(Trouble.WAITING, self._event_queue.now_ns)

    def power_off(self, boot_ns: int) -> None:
        """End the whole machine; its clock shows `boot_ns` when it is started again."""
        self.crash()
        for site in self.sites:
            site.power_off()
        self.clock.reboot(boot_ns, self._event_queue.now_ns)

    def still(self, trouble: Trouble) -> bool:
        """Freeze the process or suspend its machine; tell whether that was possible."""
        if not self.is_up or self.is_still:
            return False
        self.truth.history.begin(trouble, self._event_queue.now_ns)
        return True

    def wake(self) -> None:
        """End a freeze or a suspension: what waits in the socket is read, late timers fire."""
        history, now_ns = self.truth.history, self._event_queue.now_ns
        if history.has(Trouble.SUSPENDED):
            self.clock.lose(now_ns - history.within(now_ns, now_ns)[-1].begin_ns)
            self._inbox.clear()  # a machine that sleeps takes nothing from the network
            history.end(Trouble.SUSPENDED, now_ns)
        elif history.has(Trouble.FROZEN):
            history.end(Trouble.FROZEN, now_ns)
        else:
            return
        while self._inbox:
            self._take(self._inbox.popleft())
        for member in self.members:
            member.settle()
        self._arm()

    def leave(self, farewell: Farewell, exit_code: int | None = None) -> None:
        """Say goodbye and end: in order, or as the wrapper of a command that ended."""
        self._leave(self._process, _GIVE_UP_LOOKS, farewell, exit_code)

    def _leave(self, process: int, looks: int, farewell: Farewell, exit_code: int | None) -> None:
        if self.protocol is None or self.is_still or self._is_leaving or process != self._process:
            return
        holding = [member for member in self.members if member.is_holding]
        if farewell == Farewell.LEFT and holding and looks:
            for member in holding:
                member.give_up()
            self._event_queue.after(_LOOK_NS, self._leave, process, looks - 1, farewell, exit_code)
            return
        self._is_leaving = True
        self.truth.farewells.append((self._event_queue.now_ns, farewell, exit_code))
        self._say(self.protocol.goodbye(self._now_ns(), farewell, exit_code=exit_code))
        self._arm()

    def hear_refusal(self) -> None:
        """Take the network's word that nothing listens at the monitor's port."""
        if self.protocol is not None and not self.is_still:
            self.protocol.doubt()

    # -- its own life ---------------------------------------------------------------------------

    def _ask_to_join(self, process: int) -> None:
        if process == self._process and self.is_up:
            self._join(self, partial(self._joined, process))

    def _joined(self, process: int, *, accepted: bool) -> None:
        if process != self._process or not self.is_up:
            return
        if self.is_still:  # the answer waits in the socket
            self._event_queue.after(_LOOK_NS, partial(self._joined, process, accepted=accepted))
            return
        if not accepted:
            again_ns = JOIN_SPACING_NS + exponential_ns(self._rng, JOIN_SPACING_NS)
            self._event_queue.after(again_ns, self._ask_to_join, process)
            return
        self._has_key = True
        if self.protocol is not None:
            self.protocol.introduce(self._now_ns())
            self._arm()
        self._begin(process)

    def _begin(self, process: int) -> None:
        """Speak for the first time in this life, a moment after the process was started."""
        if process != self._process or self.protocol is not None:
            return
        if any(site.is_guarded for site in self.sites):
            self._event_queue.after(_LOOK_NS, self._begin, process)
            return
        wall_us = self.clock.wall_ns(self._event_queue.now_ns) // MICROSECOND
        if self.settings.keeps_state:
            wall_us = max(wall_us, self._last_incarnation + 1)
        self._is_leaving = False
        self.truth.history.end(Trouble.WAITING, self._event_queue.now_ns)
        self._open_socket()
        self.protocol = self._beats(
            self.settings.name,
            self.settings.key,
            incarnation=wall_us,
            interval_ns=self.settings.interval_ns,
            start_ns=self._now_ns(),
            bounds=_bounds(self.settings.interval_ns),
        )
        if self._enlist is not None:
            self.members = [self._enlist(self, site, None) for site in self.sites]
        self._arm()

    def _now_ns(self) -> int:
        return self.clock.now_ns(self._event_queue.now_ns)

    def _arm(self) -> None:
        """Set the timer for what the protocol wants next; whatever was set before is void."""
        if self.protocol is None:
            return
        self._timer += 1
        if self.protocol.next_due_ns == NEVER:
            self._event_queue.after(0, self._end_after_goodbye, self._process)
            return
        due_ns = self.clock.true_ns(self.protocol.next_due_ns)
        late_ns = exponential_ns(self._rng, self.settings.lateness_ns)
        self._event_queue.at(due_ns + late_ns, self._ring, self._timer)

    def _ring(self, timer: int) -> None:
        if timer != self._timer or self.protocol is None or self.is_still:
            return
        now_ns = self._now_ns()
        if now_ns >= self.protocol.next_due_ns:
            ill = self.truth.illness.has(ILL)
            self.truth.interval_ns = max(self.truth.interval_ns, self.protocol.promise_ns)
            self._say(self.protocol.beat(now_ns, Report(Health.ILL if ill else Health.WELL)))
        self._last_incarnation = max(self._last_incarnation, self.protocol.incarnation)
        if self.protocol.wants_reconnect:
            self._open_socket()
            self.protocol.reconnected(now_ns)
            self._ask_to_join(self._process)
        self._arm()

    def _end_after_goodbye(self, process: int) -> None:
        if process == self._process and self._is_leaving and not self.is_still:
            self.crash()

    # -- its socket -----------------------------------------------------------------------------

    def _open_socket(self) -> None:
        """Open a socket with a new port; what was sent to the old one is lost."""
        self._network.close_socket(self._address)
        self._ports_count += 1
        port = 1024 + self._ports_count % 60_000
        number = self.settings.number
        host = bytes((10, self.settings.network, number // 256, number % 256))
        packed = _ADDRESS.pack(2, port.to_bytes(2, "big"), host)
        self._address = packed.ljust(PEER_SIZE, b"\0")
        self._network.open_socket(self._address, self.label, self._deliver)

    def stand(self, standing: RoleReport) -> None:
        """Say where a member stands."""
        if self.protocol is None or self._is_leaving:
            return
        self._on_report(self, standing)
        self._say(self.protocol.seal_role_report(standing))
        site = next(site for site in self.sites if service_id(site.service) == standing.service)
        if site.ended is not None and standing.state in _FREE and standing.counter < _LAST_MAX:
            self._say_last(site.service, *site.ended)

    def _say_last(self, service: str, token: int, life: int) -> None:
        """Say the last word of a life, as its guardian does, and the agent that comes after it."""
        word = RoleReport(service_id(service), LAST_WORD, State.UNABLE, token)
        self._on_report(self, word)
        name, key = self.settings.name, self.settings.key
        self._say(seal_role_report(word, node=node_id(name), incarnation=life, slot=0, key=key))

    def _cares(self) -> bool:
        return self.protocol is not None and not self.is_still

    def _say(self, data: bytes) -> None:
        self._network.send_to_monitor(self.label, self._address, data)

    def _deliver(self, datagram: Datagram) -> bool:
        """Take a datagram off the network; tell whether it was kept."""
        if self.truth.history.has(Trouble.SUSPENDED):
            return False
        if self.is_still:
            if len(self._inbox) == SOCKET_BUFFER:
                return False
            self._inbox.append(datagram)
            return True
        self._take(datagram)
        self._arm()
        return True

    def _take(self, datagram: Datagram) -> None:
        if self.protocol is None:
            return
        grant = self.protocol.open_grant(datagram.data) if self.members else None
        if grant is not None:
            for member in self.members:
                self._lend(member, grant)
            return
        for reply in self.protocol.receive(datagram.data, self._now_ns()):
            self._say(reply)

    def _lend(self, member: PlayedMember, grant: Grant) -> None:
        before = member.tenure.memory.held
        member.hear(grant)
        held = member.tenure.memory.held
        if held and held != before and self.protocol is not None:
            member.site.lent = (held, self.protocol.incarnation)


def _bounds(interval_ns: int) -> Bounds:
    """Return what a node lets the monitor wish, narrower than what the monitor might."""
    return Bounds(interval_ns // 4, 4 * interval_ns)
