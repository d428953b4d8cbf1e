"""An adversary on the network that records datagrams, repeats them, and invents others.

He has no keys. He replays datagrams of nodes to the monitor, old and new, from their own address,
his own or another node's, whole, cut, damaged, altered or many in one; he prefers nodes that are
dead, and the moments after the monitor's restart or pause, when it knows least. He plays the
monitor's own words back to nodes. With `Weather.withhold_probability` he swallows a datagram first
and says it later. None of that may change any status. Not here: any knowledge of keys.
"""

from collections.abc import Callable
from random import Random

from beatward.core.instants import SECOND
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.record import MAGIC, RECORD_SIZE, RECORDS_MAX, VERSION, Kind

from .chance import exponential_ns, happens
from .event_queue import EventQueue
from .network import MONITOR, Datagram, Network, flipped

# How many datagrams he remembers of each node; beyond that a new one takes the place of another
# by chance, so that old ones survive for long.
MEMORY_MAX = 64
BURST_SIZE = 30
TRICKS = ("replayed", "released", "forged", "invented", "mangled", "played back")
_OWN_ADDRESS = bytes((2, 0, 0x1A, 0x0B, 10, 99, 99, 99)).ljust(PEER_SIZE, b"\0")


class Adversary:
    """Listens to everything, and speaks at random moments until told to stop.

    is_dead   tells whether a node is down now; he can see that for himself
    """

    def __init__(
        self,
        event_queue: EventQueue,
        network: Network,
        rng: Random,
        *,
        spacing_ns: int,
        is_dead: Callable[[str], bool],
    ) -> None:
        self._event_queue = event_queue
        self._network = network
        self._rng = rng
        self._spacing_ns = spacing_ns
        self._is_dead = is_dead
        self._memory: dict[str, list[Datagram]] = {}
        self._withheld: dict[str, Datagram] = {}  # what he swallowed last of each node
        self._is_stopped = False
        self.counts = dict.fromkeys(TRICKS, 0)
        network.watch = self._watch

    def begin(self) -> None:
        """Begin to speak."""
        self._event_queue.after(exponential_ns(self._rng, self._spacing_ns), self._speak)

    def stop(self) -> None:
        """Fall silent for good."""
        self._is_stopped = True

    def burst(self) -> None:
        """Say many things at once, as after a restart of the monitor."""
        for _ in range(BURST_SIZE):
            wait_ns = exponential_ns(self._rng, SECOND // 5)
            self._event_queue.after(wait_ns, self._say_something)

    def _watch(self, datagram: Datagram, name: str, withheld: bool) -> None:  # noqa: FBT001
        if withheld and datagram.author != MONITOR:
            self._withheld[name] = datagram
        memory = self._memory.setdefault(name, [])
        if len(memory) < MEMORY_MAX:
            memory.append(datagram)
        else:
            memory[self._rng.randrange(MEMORY_MAX)] = datagram

    def _speak(self) -> None:
        if self._is_stopped:
            return
        self._say_something()
        self._event_queue.after(exponential_ns(self._rng, self._spacing_ns), self._speak)

    def _say_something(self) -> None:
        if self._is_stopped or not self._memory:
            return
        rng = self._rng
        draw = rng.random()
        if draw < 0.1:
            self._invent()
            return
        names = sorted(self._memory)
        dead = [name for name in names if self._is_dead(name)]
        name = rng.choice(dead if dead and happens(rng, 0.5) else names)
        recorded = rng.choice(self._memory[name])
        if name in self._withheld and happens(rng, 0.2):
            self.counts["released"] += 1
            recorded = self._withheld[name]
        if recorded.author == MONITOR:
            self.counts["played back"] += 1
            # To the address where the node is now, or a monitor's words back to the monitor.
            target = recorded.target if happens(rng, 0.8) else b""
            source = _OWN_ADDRESS if not target else b""
            self._network.inject(Datagram(recorded.data, source, target, "", 0))
        elif draw < 0.2:
            self.counts["forged"] += 1
            self._inject(self._forged(recorded.data), recorded)
        elif draw < 0.3:
            self.counts["mangled"] += 1
            self._inject(self._mangled(recorded.data), recorded)
        else:
            self.counts["replayed"] += 1
            self._inject(recorded.data, recorded)

    def _inject(self, data: bytes, recorded: Datagram) -> None:
        draw = self._rng.random()
        source = recorded.source
        if draw < 0.2:
            source = _OWN_ADDRESS
        elif draw < 0.3:
            other = self._memory[self._rng.choice(sorted(self._memory))]
            source = self._rng.choice(other).source or _OWN_ADDRESS
        self._network.inject(Datagram(data, source, b"", "", 0))

    def _forged(self, data: bytes) -> bytes:
        """Turn a record into what he would like it to say; the tag he has to leave as it was."""
        rng = self._rng
        forged = bytearray(data)
        later = int.from_bytes(forged[32:40], "little") + rng.choice((0, 1, 10, 100_000))
        forged[32:40] = (later % 2**62).to_bytes(8, "little")
        forged[3] = rng.choice((forged[3], Kind.HEARTBEAT, Kind.PROBE_REPLY, Kind.GOODBYE))
        if happens(rng, 0.3):
            forged[24] ^= 1  # another life
        if happens(rng, 0.3):
            forged[12] ^= 1  # another health or farewell
        return bytes(forged)

    def _mangled(self, data: bytes) -> bytes:
        rng = self._rng
        draw = rng.random()
        if draw < 0.3:
            return flipped(rng, data)
        if draw < 0.5:
            return data[: rng.randrange(len(data))]
        # A relay's datagram: records of several nodes in one, in any order, now and then too many.
        every = [one for name in sorted(self._memory) for one in self._memory[name]]
        records = [one.data for one in every if one.author != MONITOR and one.data]
        count = rng.randint(2, RECORDS_MAX + 2)
        return data + b"".join(rng.choice(records or [data]) for _ in range(count - 1))

    def _invent(self) -> None:
        self.counts["invented"] += 1
        rng = self._rng
        size = rng.choice((0, 1, 47, 63, RECORD_SIZE, RECORD_SIZE, 65, 128, 1408, 1500))
        data = bytearray(rng.randbytes(size))
        if size >= RECORD_SIZE and happens(rng, 0.7):
            data[:4] = MAGIC + bytes((VERSION, rng.randint(0, 6)))
        self._network.inject(Datagram(bytes(data), _OWN_ADDRESS, b"", "", 0))
