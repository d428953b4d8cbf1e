"""A monitor whose every turn is written out by the test: records made and sent by hand.

Instants are nanoseconds after START, the turn in which the monitor began its session.
"""

import numpy as np

from beatward.core.entry import Event, Recovered
from beatward.core.instants import MICROSECOND, SECOND
from beatward.core.intake import Datagrams, Via
from beatward.core.membership import Status
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Join
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import RECORD_SIZE, Kind, Record, open_record, seal

MASTER = bytes(range(32))
SESSION = 77
START = 1_000 * SECOND
LIFE = 1_700_000_000_000_000
PEER = bytes([2, 0, 0x1C, 0x3B, 127, 0, 0, 1]).ljust(PEER_SIZE, b"\0")
NO_PEER = bytes(PEER_SIZE)


def key_of(name):
    return node_key(MASTER, node_id(name))


def said(name="web-1", kind=Kind.HEARTBEAT, *, sequence=0, **fields):
    """Seal a record of a node, by default of a life that has heard this session's number."""
    usual = {"incarnation": LIFE, "interval_ms": 1000, "echo": SESSION}
    return seal(Record(kind, node_id(name), sequence=sequence, **{**usual, **fields}), key_of(name))


def datagrams(rows, arrived_ns, *, via=Via.UDP, peer=PEER):
    """Lay datagrams of any size into one drain; `arrived_ns` is one instant or one a row."""
    records_count = -(-max(map(len, rows), default=1) // RECORD_SIZE)
    width = max(records_count, 1) * RECORD_SIZE
    block = b"".join(row.ljust(width, b"\0") for row in rows)
    count = len(rows)
    return Datagrams(
        np.frombuffer(block, np.uint8).reshape(count, width),
        np.array([len(row) for row in rows], np.int64),
        np.frombuffer((peer if via == Via.UDP else NO_PEER) * count, np.uint8).reshape(
            count, PEER_SIZE
        ),
        np.broadcast_to(np.asarray(arrived_ns, np.int64), (count,)),
        via,
    )


def changes(output):
    """Return the transitions among a turn's entries as (node, status, cause)."""
    return [
        (entry.node, entry.status, entry.cause)
        for entry in output.entries
        if entry.event == Event.TRANSITION
    ]


class ByHand:
    """A monitor with nodes enrolled at START, and all entries it has made since."""

    def __init__(self, settings=None, *, nodes=("web-1",), session=SESSION, recovered=None):
        self.monitor = Monitor(settings or CoreSettings(), master=MASTER, session=session)
        self.monitor.restore(recovered or Recovered(), START)
        self.entries = []
        self.rejects_before = {}
        self.now = 0
        joins = tuple(Join(name) for name in nodes)
        self.first = self.step(0, orders=joins)

    def step(self, at_ns, *rows, via=Via.UDP, arrived_ns=None, drained_ns=None, **inputs):
        """Take one turn at an instant; rows are datagrams, which arrived just then."""
        self.now = at_ns
        watermark = START + at_ns
        arrived = at_ns if arrived_ns is None else arrived_ns
        batches = (datagrams(rows, START + arrived, via=via),) if rows else ()
        drained = watermark + MICROSECOND if drained_ns is None else START + drained_ns
        wall_offset_ns = inputs.pop("wall_offset_ns", 0)
        batches = inputs.pop("batches", batches)
        output = self.monitor.step(
            Inputs(watermark, drained, batches, **inputs), wall_offset_ns=wall_offset_ns
        )
        self.entries += output.entries
        return output

    def walk(self, to_ns, *, tick_ns=100_000_000, **inputs):
        """Take turns until an instant with nothing coming in; return all transitions."""
        found = []
        while self.now < to_ns:
            found += changes(self.step(min(self.now + tick_ns, to_ns), **inputs))
        return found

    def beat(self, *seconds, name="web-1", via=Via.UDP, **fields):
        """Let heartbeats of one second arrive on time, each in a turn of its own."""
        found = []
        for second in seconds:
            found += self.walk(second * SECOND)
            row = said(name, sequence=second, **fields)
            found += changes(self.step(second * SECOND, row, via=via))
        return found

    def come_back(self, at_ns, *, kind=Kind.PROBE_REPLY, **fields):
        """Let a node that was gone speak, be asked, and answer; return the turn of the answer."""
        (asked,) = heard(self.step(at_ns, said(**{**fields, "echo": 0})))
        return self.step(at_ns, said(kind=kind, **{**fields, "echo": asked.echo}))

    def snapshot(self):
        return self.monitor.snapshot(START + self.now)

    def peer(self):
        """Return where the first node is to be answered; zeros where nowhere."""
        return self.monitor._registry.peers.of(np.array([0])).tobytes()

    def status(self, name="web-1"):
        snapshot = self.snapshot()
        return Status(snapshot.status[snapshot.find(name)]).word

    def deadline(self, name="web-1"):
        """Return when silence becomes suspicion, after START."""
        snapshot = self.snapshot()
        return int(snapshot.state.detector.deadline_ns[snapshot.find(name)]) - START

    def rejected(self):
        """Return what was refused since the last call, by reason."""
        before, self.rejects_before = self.rejects_before, dict(self.snapshot().rejects)
        return {
            reason: count - before.get(reason, 0)
            for reason, count in self.rejects_before.items()
            if count != before.get(reason, 0)
        }


def heard(output):
    """Open the replies of a turn, each with the key of the node it is for."""
    keys = {node_id(name): key_of(name) for name in ("web-1", "web-2", "web-3")}
    rows = [row.tobytes() for row in output.replies.rows]
    return [open_record(row, keys[int.from_bytes(row[16:24], "little")]) for row in rows]
