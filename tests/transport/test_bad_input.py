"""What a hostile or broken sender may do to a real door with the machine behind it."""

import socket
import sys
import time

import numpy as np
import pytest

from beatward.core.entry import Event
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Join
from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import Kind, Record, seal
from beatward.transport.wire import BATCH_SIZE

MASTER = bytes(32)
SESSION = 4711
PATIENCE_NS = 20 * SECOND


def said(name, sequence, interval_ms=1000):
    record = Record(
        Kind.HEARTBEAT, node_id(name), 1, sequence, interval_ms=interval_ms, echo=SESSION
    )
    return seal(record, node_key(MASTER, node_id(name)))


class Machine:
    """A monitor behind a door, turned by hand, on the real clock."""

    def __init__(self, line, *names):
        self.line = line
        settings = CoreSettings(membership=MembershipSettings(100 * MILLISECOND, 20 * MILLISECOND))
        self.monitor = Monitor(settings, master=MASTER, session=SESSION)
        self.changes = []
        self.turn(orders=tuple(Join(name) for name in names))

    def turn(self, batches_max=8, **inputs):
        drain = self.line.door.drain(batches_max)
        output = self.monitor.step(
            Inputs(
                drain.watermark_ns,
                time.monotonic_ns(),
                drain.batches,
                dropped=drain.dropped,
                **inputs,
            )
        )
        self.changes += [
            (entry.node, entry.status)
            for entry in output.entries
            if entry.event == Event.TRANSITION
        ]
        return drain

    def counts(self):
        snapshot = self.monitor.snapshot(0)
        return snapshot.counters["accepted"], snapshot.rejects["replay"]

    def sequence(self, name):
        snapshot = self.monitor.snapshot(0)
        return int(snapshot.state.registry.sequence[snapshot.find(name)])


def test_a_thousand_sequences_of_one_node_in_one_batch_are_a_few_rounds_of_work(line):
    machine = Machine(line, "loud", "calm")
    line.say(*[said("loud", sequence) for sequence in range(BATCH_SIZE - 1)], said("calm", 7))
    drain = machine.turn()
    assert [len(batch.sizes) for batch in drain.batches] == [BATCH_SIZE]
    # Four rounds and the newest of the rest; see `core.hearing`.
    assert machine.counts() == (5 + 1, BATCH_SIZE - 1 - 5)
    assert machine.sequence("loud") == BATCH_SIZE - 2
    assert machine.sequence("calm") == 7


def test_the_same_datagram_a_thousand_times_is_heard_once(line):
    machine = Machine(line, "echo", "calm")
    line.say(*[said("echo", 3)] * (BATCH_SIZE - 1), said("calm", 7))
    machine.turn()
    assert machine.counts() == (2, BATCH_SIZE - 2)
    assert (machine.sequence("echo"), machine.sequence("calm")) == (3, 7)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's stamps are Linux's")
@pytest.mark.parametrize("stamped", [True, False])
def test_a_flood_that_keeps_the_door_from_ever_being_empty_hides_no_death(open_line, stamped):
    wall_ns = time.time_ns if stamped else None
    with open_line("127.0.0.1:0", wall_ns=wall_ns, wire="recvmmsg") as line:
        machine = Machine(line, "web-1")
        for sequence in range(3):
            line.say(said("web-1", sequence, interval_ms=20))
            machine.turn()
        flood = [seal(Record(Kind.HEARTBEAT, 5, 1, 1, interval_ms=1000), bytes(32))] * BATCH_SIZE
        line.say(flood[0])
        begun_ns = time.monotonic_ns()
        patience_ns = PATIENCE_NS if stamped else SECOND
        while time.monotonic_ns() - begun_ns < patience_ns and len(machine.changes) < 3:
            line.say(*flood)
            assert not machine.turn(batches_max=1).emptied
        found = [("web-1", "alive"), ("web-1", "suspect"), ("web-1", "dead")]
        # Without stamps nobody is judged on what may lie unread: this is what they are for.
        assert machine.changes == (found if stamped else found[:1])


def test_errors_that_others_answer_to_our_replies_are_no_reads(line):
    with socket.socket(line.sender.family, socket.SOCK_DGRAM) as gone:
        gone.sendto(b"a" * 64, line.to)
        peers = line.door.drain().batches[0].peers.copy()
    # Nobody is there any more; the answer comes back as an error of the network.
    wanted = peers.repeat(3, axis=0)
    line.door._wire.write(wanted[:, :28].copy(), wanted, np.arange(3))
    line.say(b"b" * 64)
    assert line.collect(1).datagrams == [b"b" * 64]
