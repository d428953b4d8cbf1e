"""Datagrams on their way: lost, delayed, doubled, overtaken, damaged, or cut off for a while.

The model: each datagram is lost with a fixed probability and otherwise delayed
by a fixed part and a random part, exponential or lognormal; independent delays overtake each
other unless the path is FIFO. A path may have the delays and losses of a trace model of its own
instead (`links`); what is doubled, damaged and swallowed comes on top. Outages are time and not
chance: a cut swallows everything in its direction while it lasts. Each path keeps a short memory of
what became of every datagram, because a checker must know whether a silence was chance, an outage,
or no silence at all.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from beatward.core.instants import MILLISECOND, NEVER
from beatward.core.protocol.record import MAGIC, RECORD_SIZE, VERSION, Kind

from .chance import exponential_ns, happens
from .event_queue import EventQueue
from .links import Ahead

MONITOR = "monitor"
# Fewer than the probes of the shortest window that the swarm draws would be a short outage; a few
# more, and now and then he hides a node that is well.
_SWALLOW_MAX = 5
# A verdict looks back over a few intervals and one probing window; with the shortest interval and
# the longest window that the swarm draws that is below a hundred datagrams a path.
FATES_MAX = 256
# Said many times a second, and no evidence about any life; they would push out what is.
_OF_ROLES = tuple(MAGIC + bytes((VERSION, kind)) for kind in (Kind.STANDING, Kind.GRANT))


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network behaves where nothing is broken.

    withhold_probability  the adversary swallows it and some that follow, perhaps to say them later
    delay_ns              the fixed part
    jitter_ns             mean of the random part
    heavy_tail            lognormal with sigma 1 instead of exponential
    """

    loss_probability: float = 0.0
    duplicate_probability: float = 0.0
    damage_probability: float = 0.0
    withhold_probability: float = 0.0
    delay_ns: int = 200_000
    jitter_ns: int = 100_000
    heavy_tail: bool = False
    is_fifo: bool = False

    def draw_delay_ns(self, rng: Random) -> int:
        """Draw how long one datagram takes."""
        if self.heavy_tail:
            # exp(N(-1/2, 1)) has mean 1.
            return self.delay_ns + int(self.jitter_ns * rng.lognormvariate(-0.5, 1.0))
        return self.delay_ns + exponential_ns(rng, self.jitter_ns)

    def late_probability(self, limit_ns: int) -> float:
        """Return the probability that a delay is longer than a limit."""
        beyond_ns = limit_ns - self.delay_ns
        if beyond_ns <= 0:
            return 1.0
        if self.jitter_ns == 0:
            return 0.0
        ratio = beyond_ns / self.jitter_ns
        if self.heavy_tail:
            return 0.5 * math.erfc((math.log(ratio) + 0.5) / math.sqrt(2.0))
        return math.exp(-min(ratio, 700.0))

    def longest_delay_ns(self) -> int:
        """Return a delay that one datagram in a million exceeds."""
        limit_ns = self.delay_ns + self.jitter_ns
        while self.late_probability(limit_ns) > 1e-6:
            limit_ns += max(self.jitter_ns, MILLISECOND)
        return limit_ns


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram under way.

    author   the node that wrote it, MONITOR, or "" for the adversary's own or replayed words
    source   raw socket address it claims to come from; target: where it goes
    """

    data: bytes
    source: bytes
    target: bytes
    author: str
    sent_ns: int


class End(Enum):
    """What became of a datagram."""

    FLYING = "flying"
    LOST = "lost"  # by chance, or damaged
    WITHHELD = "withheld"  # the adversary swallowed it
    CUT = "cut"  # by an outage
    UNHEARD = "unheard"  # it arrived where nothing listened
    ARRIVED = "arrived"


@dataclass(slots=True)
class Fate:
    """One datagram as the truth knows it; `arrived_ns` is when its first good copy arrived."""

    data: bytes
    sent_ns: int
    end: End = End.FLYING
    arrived_ns: int = NEVER


class Path:
    """One direction between one node and the monitor.

    rng     chance of this direction alone: what others say leaves it as it was
    ahead   delays and losses of a trace model; None: those of the weather
    """

    def __init__(self, rng: Random, ahead: Ahead | None = None) -> None:
        self.rng = rng
        self.ahead = ahead
        self.cuts_count = 0
        self.swallow_count = 0  # how many more the adversary is going to swallow
        self.fates: deque[Fate] = deque(maxlen=FATES_MAX)
        self.last_arrival_ns = 0


_COUNTS = ("sent", "lost", "withheld", "cut", "duplicated", "damaged", "unheard")


class Network:
    """All paths.

    watch    the adversary's ear: datagram, node, and whether he swallowed it
    refuse   called with a node whose datagram arrived at the monitor's machine and was not taken
    lay      makes a path for a node; `up` leads to the monitor
    strays   what the monitor sent to addresses that no node ever had
    played   when the adversary first got a record to the monitor; it may be news there
    """

    def __init__(self, event_queue: EventQueue, rng: Random, weather: Weather) -> None:
        self._event_queue = event_queue
        self.weather = weather
        self.is_healed = False
        self.lay: Callable[[str, bool], Path] = lambda _node, _up: Path(rng)
        self.to_monitor: dict[str, Path] = {}
        self.to_node: dict[str, Path] = {}
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.watch: Callable[[Datagram, str, bool], None] = lambda _datagram, _node, _took: None
        self.deliver_to_monitor: Callable[[Datagram], bool] = lambda _datagram: False
        self.refuse: Callable[[str], None] = lambda _node: None
        self.strays: deque[Fate] = deque(maxlen=FATES_MAX)
        self.played: dict[bytes, int] = {}
        self._sockets: dict[bytes, Callable[[Datagram], bool]] = {}
        self._owners: dict[bytes, str] = {}

    def add_node(self, name: str) -> None:
        """Lay the two paths of a node."""
        self.to_monitor[name] = self.lay(name, True)  # noqa: FBT003
        self.to_node[name] = self.lay(name, False)  # noqa: FBT003

    def open_socket(self, address: bytes, owner: str, deliver: Callable[[Datagram], bool]) -> None:
        """Let datagrams to an address reach a node's process; `deliver` says if it was taken."""
        self._sockets[address] = deliver
        self._owners[address] = owner

    def owner_of(self, address: bytes) -> str:
        """Return whose an address is or was; empty: no node's."""
        return self._owners.get(address, "")

    def close_socket(self, address: bytes) -> None:
        """Let datagrams to an address vanish. Its owner stays known: the path still leads there."""
        self._sockets.pop(address, None)

    def cut(self, path: Path) -> None:
        """Begin an outage of a path; outages may overlap."""
        path.cuts_count += 1

    def mend(self, path: Path) -> None:
        """End one outage of a path."""
        assert path.cuts_count > 0
        path.cuts_count -= 1

    def send_to_monitor(self, name: str, source: bytes, data: bytes) -> None:
        """Send from a node."""
        datagram = Datagram(data, source, b"", name, self._event_queue.now_ns)
        self._send(self.to_monitor[name], datagram, name)

    def send_to_node(self, target: bytes, data: bytes) -> None:
        """Send from the monitor; an address that no node ever had leads nowhere."""
        owner = self._owners.get(target)
        if owner is not None:
            datagram = Datagram(data, b"", target, MONITOR, self._event_queue.now_ns)
            self._send(self.to_node[owner], datagram, owner)
        else:
            self.strays.append(Fate(data, self._event_queue.now_ns, End.UNHEARD))

    def inject(self, datagram: Datagram) -> None:
        """Let the adversary's datagram arrive now, past all weather."""
        if self._hand_over(datagram) and not datagram.target:
            for begin in range(0, len(datagram.data), RECORD_SIZE):
                record = datagram.data[begin : begin + RECORD_SIZE]
                self.played.setdefault(record, self._event_queue.now_ns)

    def heal(self) -> None:
        """Lose and damage nothing from now on; the delays stay."""
        self.is_healed = True
        self.weather = replace(
            self.weather,
            loss_probability=0.0,
            damage_probability=0.0,
            withhold_probability=0.0,
            duplicate_probability=0.0,
        )

    def missed_probability(self, path: Path, limit_ns: int) -> float:
        """Return how likely chance keeps a datagram from arriving within a limit, at most."""
        weather, ahead = self.weather, path.ahead
        kept = 1.0 - weather.damage_probability
        if ahead is None:
            kept *= 1.0 - weather.loss_probability
            return 1.0 - kept * (1.0 - weather.late_probability(limit_ns))
        # Who is late may be late because the one before was: so late is late for certain.
        return 1.0 - kept * (1.0 - ahead.loss_probability) * (limit_ns > ahead.longest_ns)

    def longest_delay_ns(self, name: str) -> int:
        """Return a delay that a node's datagrams to the monitor do not exceed, or one in 1e6."""
        ahead = self.to_monitor[name].ahead
        return self.weather.longest_delay_ns() if ahead is None else ahead.longest_ns

    def _send(self, path: Path, datagram: Datagram, name: str) -> None:
        rng, weather = path.rng, self.weather
        fate = Fate(datagram.data, datagram.sent_ns)
        if datagram.data[:4] not in _OF_ROLES:
            path.fates.append(fate)
        self.counts["sent"] += 1
        lost, delay_ns = self._chance(path)
        if not path.swallow_count and happens(rng, weather.withhold_probability):
            path.swallow_count = rng.randint(1, _SWALLOW_MAX)
        withheld = path.swallow_count > 0
        if path.cuts_count:
            self._end(fate, End.CUT, "cut")
            return
        # He sits on the monitor's side of a cut, or he would be a path round it.
        self.watch(datagram, name, withheld)
        if withheld:
            path.swallow_count -= 1
            self._end(fate, End.WITHHELD, "withheld")
        elif lost:
            self._end(fate, End.LOST, "lost")
        else:
            self._fly(path, datagram, fate, delay_ns)
            if happens(rng, weather.duplicate_probability):
                self.counts["duplicated"] += 1
                self._fly(path, datagram, fate, self._chance(path)[1])

    def _chance(self, path: Path) -> tuple[bool, int]:
        """Return whether the next datagram of a path is lost, and how long it is under way."""
        weather = self.weather
        if path.ahead is None:
            lost = happens(path.rng, weather.loss_probability)
            return lost, weather.draw_delay_ns(path.rng)
        lost, delay_ns = path.ahead.draw(self._event_queue.now_ns)
        return lost and not self.is_healed, delay_ns

    def _fly(self, path: Path, datagram: Datagram, fate: Fate, delay_ns: int) -> None:
        sent = self._damaged(path.rng, datagram)
        arrives_ns = self._event_queue.now_ns + delay_ns
        if self.weather.is_fifo if path.ahead is None else path.ahead.keeps_order:
            arrives_ns = max(arrives_ns, path.last_arrival_ns)
        path.last_arrival_ns = max(path.last_arrival_ns, arrives_ns)
        self._event_queue.at(arrives_ns, self._arrive, path, sent, fate)

    def _damaged(self, rng: Random, datagram: Datagram) -> Datagram:
        if not happens(rng, self.weather.damage_probability):
            return datagram
        self.counts["damaged"] += 1
        data = flipped(rng, datagram.data)
        return Datagram(data, datagram.source, datagram.target, "", datagram.sent_ns)

    def _arrive(self, path: Path, datagram: Datagram, fate: Fate) -> None:
        # What is under way when an outage begins is lost with it.
        if path.cuts_count:
            self._end(fate, End.CUT, "cut")
        elif not datagram.author:
            self._hand_over(datagram)
            self._end(fate, End.LOST, "lost")
        elif not self._hand_over(datagram):
            self._end(fate, End.UNHEARD, "unheard")
            if not datagram.target:
                self.refuse(datagram.author)
        elif fate.end != End.ARRIVED:
            fate.end, fate.arrived_ns = End.ARRIVED, self._event_queue.now_ns

    def _hand_over(self, datagram: Datagram) -> bool:
        if not datagram.target:
            return self.deliver_to_monitor(datagram)
        deliver = self._sockets.get(datagram.target)
        return deliver is not None and deliver(datagram)

    def _end(self, fate: Fate, end: End, counter: str) -> None:
        self.counts[counter] += 1
        if fate.end == End.FLYING:
            fate.end = end


def flipped(rng: Random, data: bytes) -> bytes:
    """Return the bytes with one bit turned round."""
    damaged = bytearray(data)
    place = rng.randrange(8 * len(damaged))
    damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)
