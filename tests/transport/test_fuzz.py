"""A million datagrams that nobody should believe, through a real socket into the whole machine.

Every one is hostile: noise, records with flipped bits, records cut or glued, other people's tags,
and true records recorded earlier and played again. Nothing may be raised, nothing may change, and
every record must be counted under the reason for which it was refused. `make test` throws a share;
BEATWARD_FUZZ=1000000 throws all of them and BEATWARD_SEED chooses which.
"""

import os
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beatward.core.intake import Datagrams, Intake, Reject
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Join
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol import keys
from beatward.core.protocol.record import (
    DATAGRAM_SIZE_MAX,
    NO_SLOT,
    RECORD_SIZE,
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    seal,
)
from beatward.core.protocol.roles import RoleReport, State, seal_role_report
from beatward.core.registry import Registry
from beatward.transport.wire import ROW_SIZE

COUNT = int(os.environ.get("BEATWARD_FUZZ", "20000"))
SEED = int(os.environ.get("BEATWARD_SEED", "1"))
BATCH = 400  # between two drains; the sender's datagrams must all fit into the kernel's buffer

MASTER = bytes(range(32))
SESSION = 0x5E551017
NAMES = [f"node-{index}" for index in range(24)]
LIFE = 1_700_000_000_000_000
SEQUENCE = 100
BASE = Record(
    kind=Kind.HEARTBEAT,
    node=0,
    incarnation=LIFE,
    sequence=SEQUENCE,
    interval_ms=3_600_000,  # nobody falls silent while we watch
    echo=SESSION,
)


def sealed(name, **changes):
    node = keys.node_id(name)
    return seal(replace(BASE, node=node, **changes), keys.node_key(MASTER, node))


def recorded():
    """True records, as somebody on the way may have kept them; all of them are old by now."""
    for slot, name in enumerate(NAMES):
        for sequence in (0, SEQUENCE - 1, SEQUENCE):
            yield sealed(name, sequence=sequence, slot=slot)
            yield sealed(name, sequence=sequence, flags=Flag.ACKNOWLEDGE, status=Health.ILL)
        yield sealed(name, kind=Kind.PROBE_REPLY, echo=SESSION, slot=slot)
        yield sealed(name, kind=Kind.PROBE_REPLY, sequence=SEQUENCE + 5, echo=4711)
        yield sealed(name, kind=Kind.GOODBYE, sequence=SEQUENCE - 1, status=Farewell.EXITED)
        # Of a life that ended, of an earlier session of the monitor, and the monitor's own words.
        yield sealed(name, incarnation=LIFE - 1, sequence=SEQUENCE + 9, flags=Flag.ACKNOWLEDGE)
        yield sealed(name, incarnation=LIFE + 1, sequence=7, echo=SESSION - 1)
        yield sealed(name, kind=Kind.GOODBYE, incarnation=LIFE + 1, echo=0)
        yield sealed(name, kind=Kind.ACKNOWLEDGEMENT, sequence=SEQUENCE + 1)
        yield sealed(name, kind=Kind.PROBE, sequence=SEQUENCE + 1, flags=Flag.MAIL)
        yield sealed(name, interval_ms=0, sequence=SEQUENCE + 1)
        yield sealed(name, incarnation=2**63)
        # A word about a role, by who has none.
        yield seal_role_report(
            RoleReport(4711, 1, State.ACTIVE, 9),
            node=keys.node_id(name),
            incarnation=LIFE,
            slot=slot,
            key=keys.node_key(MASTER, keys.node_id(name)),
        )
    yield sealed("a node that nobody enrolled", slot=0)


class Adversary:
    """Makes hostile datagrams, each of a manner drawn by chance."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.recorded = list(recorded())
        self.manners = (self.noise, self.replay, self.flip, self.cut, self.dress_up, self.graft)

    def datagram(self):
        return self.chance.choice(self.manners)()

    def noise(self):
        size = self.chance.choice((0, 1, 48, 63, 64, 65, 128, 640, 1408, 1409, 1472, 1473, 4000))
        return self.chance.randbytes(self.chance.choice((size, self.chance.randrange(1500))))

    def replay(self):
        return b"".join(self.chance.choices(self.recorded, k=self.chance.choice((1, 1, 2, 5, 22))))

    def flip(self):
        """Change 1 to 3 different bytes of one record; the other records stay true, and old."""
        found = bytearray(self.replay())
        start = self.chance.randrange(len(found) // RECORD_SIZE) * RECORD_SIZE
        for place in self.chance.sample(range(RECORD_SIZE), self.chance.randint(1, 3)):
            found[start + place] ^= self.chance.randrange(1, 256)
        return bytes(found)

    def cut(self):
        found = self.replay()
        if self.chance.random() < 0.5:
            return found[: self.chance.randrange(len(found))]
        return found + self.chance.randbytes(self.chance.randrange(1, 200))

    def dress_up(self):
        """A record that looks right up to its tag, and asks for as much as it can."""
        slot = self.chance.randrange(len(NAMES))
        fields = {
            "kind": self.chance.choice((Kind.HEARTBEAT, Kind.PROBE_REPLY, Kind.GOODBYE)),
            "node": keys.node_id(NAMES[slot]),
            "sequence": self.chance.choice((SEQUENCE + 1, 2**62 - 1)),
            "incarnation": self.chance.choice((LIFE, LIFE + 1, 2**63 - 1)),
            "slot": self.chance.choice((slot, 0, NO_SLOT, NO_SLOT - 1, len(NAMES))),
            "flags": self.chance.randrange(256),
        }
        return seal(replace(BASE, **fields), self.chance.randbytes(32))

    def graft(self):
        """The body of one true record with the tag of another."""
        body, other = self.chance.sample(self.recorded, 2)
        return body[:48] + other[48:]


class Ticking:
    """A clock that moves a millisecond when it is read, so that a busy host is no own pause."""

    def __init__(self):
        self.reading = 10**15

    def now_ns(self):
        self.reading += 1_000_000
        return self.reading


def frozen(monitor):
    """Copy everything that a hostile datagram must not change."""
    registry, membership = monitor._registry, monitor._membership
    held = {**vars(registry), **vars(registry.peers)}
    del held["_scratch"]
    arrays = {
        **{name: array for name, array in held.items() if isinstance(array, np.ndarray)},
        "status": membership.status,
        "due_ns": membership.due_ns,
        "challenge": membership.challenge,
        "deadline_ns": monitor._detector.deadline_ns,
    }
    assert {"_head", "proven", "incarnation", "sequence", "secret", "heard_ns"} <= set(arrays)
    return {name: array.copy() for name, array in arrays.items()}


def changed(before, after):
    return [name for name in before if not np.array_equal(before[name], after[name])]


class World:
    """A monitor with living nodes behind a real door, and the socket that everything comes from."""

    def __init__(self, line, clock):
        self.line = line
        self.clock = clock
        self.monitor = Monitor(CoreSettings(), master=MASTER, session=SESSION)
        orders = tuple(Join(name) for name in NAMES)
        now_ns = clock.now_ns()
        self.monitor.step(Inputs(watermark_ns=now_ns, drained_ns=now_ns, orders=orders))
        self.believed(SEQUENCE)

    def believed(self, sequence):
        """Let every node beat once, and see that it is heard."""
        before = self.monitor.snapshot(0).counters["accepted"]
        self.throw([sealed(name, sequence=sequence) for name in NAMES])
        assert self.monitor.snapshot(0).counters["accepted"] == before + len(NAMES)

    def throw(self, datagrams):
        """Send datagrams and take turns until all of them have been through the machine."""
        due = self.line.door.datagrams_count + len(datagrams)
        self.line.say(*datagrams)
        outputs = []
        for _ in range(1000):
            drain = self.line.door.drain()
            inputs = Inputs(drain.watermark_ns, self.clock.now_ns(), drain.batches)
            outputs.append(self.monitor.step(inputs))
            if self.line.door.datagrams_count == due:
                return outputs
        raise AssertionError(f"{due - self.line.door.datagrams_count} datagrams were lost")

    def rejects(self):
        return self.monitor._intake.rejects.copy()


MAIL_ANSWERS = {
    sealed(name, kind=Kind.PROBE_REPLY, echo=SESSION, slot=slot) for slot, name in enumerate(NAMES)
}


def pieces(datagram):
    """Cut a datagram into its records."""
    starts = range(0, len(datagram), RECORD_SIZE)
    return [datagram[start : start + RECORD_SIZE] for start in starts]


def is_shaped(datagram):
    return 0 < len(datagram) <= DATAGRAM_SIZE_MAX and len(datagram) % RECORD_SIZE == 0


@pytest.mark.fuzz
def test_hostile_datagrams_are_counted_and_change_nothing(wire, open_line):
    clock = Ticking()
    adversary = Adversary(SEED)
    with open_line("127.0.0.1:0", wire=wire, now_ns=clock.now_ns) as line:
        world = World(line, clock)
        before, records_before = frozen(world.monitor), world.monitor._intake.records_count
        rejects_before = world.rejects()
        misshapen = records = mail_answers = 0
        for start in range(0, COUNT, BATCH):
            thrown = [adversary.datagram() for _ in range(min(BATCH, COUNT - start))]
            unbelieved = world.rejects()
            outputs = world.throw(thrown)
            assert [output.entries for output in outputs] == [()] * len(outputs), (SEED, start)
            assert changed(before, frozen(world.monitor)) == [], (SEED, start)
            answered = sum(len(output.replies.rows) for output in outputs)
            refused = world.rejects() - unbelieved
            # Only who proved to be somebody gets an answer, and one record at most for each.
            assert answered <= refused[Reject.OLD_LIFE] + refused[Reject.UNPROVEN]
            misshapen += sum(not is_shaped(datagram) for datagram in thrown)
            said = [piece for one in thrown if is_shaped(one) for piece in pieces(one)]
            records += len(said)
            mail_answers += sum(piece in MAIL_ANSWERS for piece in said)
        rejects = world.rejects() - rejects_before
        assert rejects[Reject.LENGTH] == misshapen
        assert world.monitor._intake.records_count - records_before == records
        # An answer to a probe that only brought mail is true and no news: nothing to refuse.
        uncounted = records - (rejects.sum() - rejects[Reject.LENGTH])
        assert uncounted in {0, mail_answers}
        assert [reason.name for reason in Reject if not rejects[reason]] == []
        assert line.door.errors_count == 0
        world.believed(SEQUENCE + 1)


def datagrams_of(rows):
    """Make a batch by hand, as a door would."""
    block = np.zeros((len(rows), ROW_SIZE), np.uint8)
    for index, row in enumerate(rows):
        cut = row[:ROW_SIZE]
        block[index, : len(cut)] = np.frombuffer(cut, np.uint8)
    count = len(rows)
    sizes = np.array([len(row) for row in rows], np.int64)
    return Datagrams(
        block, sizes, np.zeros((count, PEER_SIZE), np.uint8), np.zeros(count, np.int64)
    )


RECORDED = list(recorded())
PIECES = st.one_of(
    st.sampled_from(RECORDED),
    st.binary(max_size=130),
    st.builds(
        lambda record, rest: record[: len(rest)] + rest,
        st.sampled_from(RECORDED),
        st.binary(max_size=64),
    ),
    st.builds(lambda rest: b"BW\x01\x01" + rest, st.binary(min_size=60, max_size=60)),
)


@pytest.fixture(scope="module")
def registry():
    registry = Registry(MASTER)
    for name in NAMES:
        registry.enrol(name, {})
    return registry


@given(st.lists(st.lists(PIECES, max_size=24).map(b"".join), max_size=40))
@example([])
@example([b""])
@example([RECORDED[0] * 22])
@example([RECORDED[0] * 23])
def test_property_intake_counts_whatever_it_does_not_open(registry, rows):
    intake = Intake(registry)
    opened = intake.open([datagrams_of(rows)])
    count = len(opened.slots)
    assert count == len(opened.records) == len(opened.peers) == len(opened.arrived_ns)
    assert intake.rejects[Reject.LENGTH] == sum(not is_shaped(row) for row in rows)
    assert intake.records_count == sum(len(row) // RECORD_SIZE for row in rows if is_shaped(row))
    assert intake.rejects.sum() - intake.rejects[Reject.LENGTH] + count == intake.records_count
    # What it opened is, byte for byte, something that was sealed.
    sealed_ones = set(RECORDED)
    assert all(opened.records[index].tobytes() in sealed_ones for index in range(count))


@pytest.mark.parametrize("kind", [Kind.HEARTBEAT, Kind.PROBE_REPLY, Kind.GOODBYE])
def test_a_true_record_with_any_one_bit_flipped_is_opened_by_nobody(registry, kind):
    true = int.from_bytes(sealed(NAMES[3], kind=kind, slot=3), "little")
    flipped = [(true ^ (1 << bit)).to_bytes(RECORD_SIZE, "little") for bit in range(512)]
    intake = Intake(registry)
    assert len(intake.open([datagrams_of(flipped)]).slots) == 0
    assert intake.rejects.sum() == 512
    assert len(intake.open([datagrams_of([true.to_bytes(RECORD_SIZE, "little")])]).slots) == 1
