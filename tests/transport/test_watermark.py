"""The watermark's promise, against a world that sends at the worst moments.

Datagrams are sent just before and just after every reading of the clock and just before every
read of the socket, so any stamp taken a line too early or too late is caught. Loopback hands a
datagram over within the call that sends it.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beatward.transport import WIRES, UdpSocket
from beatward.transport.wire import BATCH_SIZE

# Around a batch's size the choice between "emptied" and "at the limit" is made.
BURSTS = st.sampled_from([0, 0, 0, 1, 2, 7, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1])
# No more than fits into the receive buffer at the worst: 768 bytes of kernel memory each.
WAITING_MAX = 5000


class World:
    """A clock that counts its readings, and a sender that strikes at chosen moments."""

    def __init__(self, line, bursts):
        self.line = line
        self.bursts = bursts
        self.moment = 0  # every strike and every reading has an instant of its own
        self.sent_at = []
        self.received = []
        self.stamps = []

    def strike(self):
        self.moment += 1
        wanted = self.bursts.pop() if self.bursts else 0
        room = WAITING_MAX - (len(self.sent_at) - len(self.received))
        for _ in range(min(wanted, room)):
            self.line.say(len(self.sent_at).to_bytes(8, "little"))
            self.sent_at.append(self.moment)

    def now_ns(self):
        self.strike()
        self.moment += 1
        reading = self.moment
        self.strike()
        return reading

    def check(self, drain):
        for batch in drain.batches:
            self.received += batch.rows[:, :8].copy().view("<u8")[:, 0].tolist()
            self.stamps += batch.arrived_ns.tolist()
        assert self.received == list(range(len(self.received)))
        assert self.stamps == sorted(self.stamps)
        due = sum(moment < drain.watermark_ns for moment in self.sent_at)
        assert len(self.received) >= due, "sent before the watermark, and not handed over"
        if drain.emptied and self.stamps:
            assert self.stamps[-1] <= drain.watermark_ns


class StruckBatch:
    """A real batch before whose every read the world strikes."""

    def __init__(self, batch, world):
        self._batch = batch
        self._world = world
        self.rows, self.peers, self.sizes = batch.rows, batch.peers, batch.sizes
        self.stamped_ns = batch.stamped_ns

    def fill(self):
        self._world.strike()
        return self._batch.fill()


class StruckWire:
    """A real wire whose batches are struck."""

    is_stamped = False

    def __init__(self, wire, world):
        self._wire = wire
        self._world = world

    def new_batch(self):
        return StruckBatch(self._wire.new_batch(), self._world)

    def write(self, rows, peers, starts):
        return self._wire.write(rows, peers, starts)


@pytest.fixture(scope="module", params=sorted(WIRES))
def chosen(request):
    return request.param


@given(
    bursts=st.lists(BURSTS, max_size=40),
    limits=st.lists(st.integers(1, 3), min_size=1, max_size=8),
)
# A quarter of the usual, because an example sends some thousand datagrams.
@settings(max_examples=max(settings.default.max_examples // 4, 1), deadline=None)
def test_property_what_was_sent_before_the_watermark_has_been_handed_over(
    chosen, open_line, bursts, limits
):
    with open_line("127.0.0.1:0", wire=chosen) as line:
        world = World(line, bursts)
        listener = line.door._listener
        wire = StruckWire(WIRES[chosen](listener), world)
        door = UdpSocket(listener, wire, world.now_ns, opened_ns=0)
        for limit in limits:
            world.check(door.drain(limit))
        world.bursts.clear()
        while not (drain := door.drain()).emptied:
            world.check(drain)
        world.check(drain)
        assert len(world.received) == len(world.sent_at) == door.datagrams_count
        assert drain.watermark_ns > max(world.sent_at, default=0)
        assert door.drops() in {0, None}
