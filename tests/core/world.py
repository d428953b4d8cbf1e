"""A small world: one monitor, nodes that beat by the agent's own code, a network that can be cut.

Time is handed in and goes in ticks. Datagrams arrive within the tick in which they are sent,
answers reach their node within the same tick, and what a node says to that arrives in the next.
Members of services go by the agent's own tenures; what their hooks do takes no time.
"""

from dataclasses import dataclass, field

from tests.core.by_hand import LIFE, MASTER, SESSION, START, datagrams, key_of

from beatward.agent.heartbeat_protocol import HeartbeatProtocol, Report
from beatward.agent.roles.lease_holder import LeaseHolder
from beatward.core.entry import Declaration, Event, Recovered
from beatward.core.instants import MICROSECOND, MILLISECOND, NEVER
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Declare, Pause, Resume
from beatward.core.outbox import Outcome
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Farewell, Health
from beatward.core.protocol.roles import open_grant, seal_role_report

TICK_NS = 10 * MILLISECOND


@dataclass
class Node:
    """One name; `protocol` is its life of now, None while nothing runs."""

    name: str
    peer: bytes
    protocol: HeartbeatProtocol | None = None
    lives: int = 0
    report: Report = field(default_factory=Report)
    is_cut: bool = False
    delay_ns: int = 0
    lose_count: int = 0
    tenures: dict = field(default_factory=dict)  # by service

    def start(self, now_ns, interval_ns):
        self.lives += 1
        for service, old in self.tenures.items():
            self.tenures[service] = LeaseHolder(service, old.memory, now_ns=now_ns)
        self.protocol = HeartbeatProtocol(
            self.name,
            key_of(self.name),
            incarnation=LIFE + self.lives,
            interval_ns=interval_ns,
            start_ns=now_ns,
        )


class World:
    """Commands are methods; `lines` collects what was written down and done."""

    def __init__(self, settings=None):
        self.settings = settings or CoreSettings()
        self.now_ns = START
        self.nodes = {}
        self.sessions = 0
        self.recorded = []  # everything that nodes ever said
        self.entries = []
        self.lines = []
        self.running = {}
        self._under_way = []  # (instant, datagram, peer)
        self._orders = []
        self._outcomes = []
        self._session_begins(Recovered())

    def _session_begins(self, recovered):
        self.sessions += 1
        session = SESSION + 1_000 * self.sessions
        self.monitor = Monitor(self.settings, master=MASTER, session=session)
        self.monitor.restore(recovered, self.now_ns)
        self.running = {}
        self._under_way = []

    # -- time -----------------------------------------------------------------------------------

    def run(self, duration_ns):
        """Let time pass for everybody."""
        for _ in range(duration_ns // TICK_NS):
            self.now_ns += TICK_NS
            self._beat()
            self._turn()

    def freeze(self, duration_ns):
        """Let time pass for everybody but the monitor; what comes waits in its socket."""
        for _ in range(duration_ns // TICK_NS):
            self.now_ns += TICK_NS
            self._beat()
        # Stamped when it is read, as where the kernel does not stamp.
        self._under_way = [(self.now_ns, data, peer) for _, data, peer in self._under_way]
        self._turn()

    def restart(self, away_ns=0):
        """End the monitor and begin a session with what its journal holds."""
        for _ in range(away_ns // TICK_NS):
            self.now_ns += TICK_NS
            self._beat()
        self._session_begins(self._recovered())

    def _recovered(self):
        nodes, actions, silences, services = {}, {}, {}, {}
        for entry in self.entries:
            if entry.event == Event.FORGOTTEN:
                nodes.pop(entry.node, None)
            if entry.node_record is not None:
                nodes[entry.node] = entry.node_record
            if entry.action_record is not None:
                actions[entry.action_record.key] = entry.action_record
            if entry.event == Event.SILENCED:
                silences[entry.silence.id] = entry.silence
            if entry.event == Event.UNSILENCED:
                del silences[entry.silence.id]
            if entry.service_record is not None:
                services[entry.service_record.name] = entry.service_record
        waiting = [row for row in actions.values() if row.state == "decided"]
        sequence = self.entries[-1].sequence if self.entries else 0
        return Recovered(
            sequence,
            tuple(nodes.values()),
            tuple(waiting),
            tuple(silences.values()),
            tuple(services.values()),
        )

    # -- nodes and the network ------------------------------------------------------------------

    def node(self, name):
        if name not in self.nodes:
            peer = bytes([2, 0, 4, len(self.nodes) + 1, 127, 0, 0, 1]).ljust(28, b"\0")
            self.nodes[name] = Node(name, peer)
        return self.nodes[name]

    def start(self, name, interval_ns):
        self.node(name).start(self.now_ns + TICK_NS, interval_ns)

    def kill(self, name):
        self.node(name).protocol = None

    def end(self, name, exit_code=None):
        node = self.node(name)
        farewell = Farewell.LEFT if exit_code is None else Farewell.EXITED
        self._send(node, node.protocol.goodbye(self.now_ns, farewell, exit_code=exit_code))

    def say_health(self, name, health):
        self.node(name).report = Report(Health.ILL if health == "ill" else Health.WELL)

    def replay(self):
        """Say again all that was ever said, from where it came, in the next turn."""
        self._under_way += [(self.now_ns, data, peer) for data, peer in list(self.recorded)]

    def order(self, kind, name, **terms):
        self.node(name)
        self._orders.append(kind((name,) if kind in (Pause, Resume) else name, **terms))

    def order_for_all(self, kind, **terms):
        """Order what is about no single node."""
        self._orders.append(kind(**terms))

    def offer(self, service, name):
        """Let a node be a member of a service in failover mode."""
        self.order(Declare, name, services=(Declaration(service, "failover"),))
        self.node(name).tenures[service] = LeaseHolder(service, now_ns=self.now_ns)

    def holders(self, service):
        """Return who may act for a service at this instant, by its own lease."""
        return [
            node.name
            for node in self.nodes.values()
            if node.protocol is not None
            and service in node.tenures
            and node.tenures[service].turn(self.now_ns) is not None
            and node.tenures[service].is_holding
        ]

    def report_outcome(self, action_name, result, message):
        action = self.running.pop(action_name)
        self._outcomes.append(Outcome(action.key, action.attempt, result, message))

    def _beat(self):
        for node in self.nodes.values():
            if node.protocol is not None and self.now_ns >= node.protocol.next_due_ns:
                self._send(node, node.protocol.beat(self.now_ns, node.report))
                if node.protocol.next_due_ns == NEVER:
                    node.protocol = None
            if node.protocol is not None:
                self._stand(node)
        for service in sorted({name for node in self.nodes.values() for name in node.tenures}):
            assert len(self.holders(service)) <= 1, f"two hold {service} at {self.now_ns}"

    def _stand(self, node):
        for tenure in node.tenures.values():
            tenure.turn(self.now_ns)
            while (command := tenure.command) is not None:
                tenure.done(command, self.now_ns, ok=True)
            tenure.report(self.now_ns, able=True)
            standing = tenure.standing(self.now_ns)
            if standing is not None:
                slot = 0xFFFFFFFF
                row = seal_role_report(
                    standing, **self._life(node), slot=slot, key=key_of(node.name)
                )
                self._send(node, row)

    def _life(self, node):
        return {"node": node_id(node.name), "incarnation": node.protocol.incarnation}

    def _send(self, node, data):
        self.recorded.append((data, node.peer))
        if node.lose_count:
            node.lose_count -= 1
        elif not node.is_cut:
            self._under_way.append((self.now_ns + node.delay_ns, data, node.peer))

    # -- the monitor ----------------------------------------------------------------------------

    def _turn(self):
        came = [item for item in self._under_way if item[0] <= self.now_ns]
        self._under_way = [item for item in self._under_way if item[0] > self.now_ns]
        batches = tuple(datagrams([data], arrived_ns, peer=peer) for arrived_ns, data, peer in came)
        orders, self._orders = tuple(self._orders), []
        outcomes, self._outcomes = tuple(self._outcomes), []
        inputs = Inputs(
            self.now_ns,
            self.now_ns + MICROSECOND,
            batches,
            journaled=self.entries[-1].sequence if self.entries else 0,
            orders=orders,
            outcomes=outcomes,
        )
        output = self.monitor.step(inputs)
        self._note(output)
        self._deliver(output.replies)

    def _note(self, output):
        self.entries += output.entries
        for entry in output.entries:
            self._tell(entry.at_ns, str(entry.event), entry.explanation)
        for action in output.actions:
            self.running[action.name] = action
            self._tell(
                self.now_ns, "> run", f"{action.name} for {action.node}, attempt {action.attempt}"
            )

    def _tell(self, at_ns, what, words):
        self.lines.append(f"{(at_ns - START) / 1e9:9.3f}  {what:<10}  {words}")

    def _deliver(self, replies):
        by_peer = {node.peer: node for node in self.nodes.values()}
        for row, peer in zip(replies.rows, replies.peers, strict=True):
            node = by_peer[peer.tobytes()]
            if node.protocol is None or node.is_cut:
                continue
            data, key = row.tobytes(), key_of(node.name)
            for answer in node.protocol.receive(data, self.now_ns):
                self._send(node, answer)
            grant = open_grant(data, **self._life(node), key=key)
            for tenure in node.tenures.values() if grant is not None else ():
                tenure.hear(grant, self.now_ns)
            if node.protocol.next_due_ns == NEVER:
                node.protocol = None
