"""The heartbeat of one node as a pure machine: what to send, when, and what an answer means.

The sender keeps an absolute grid: heartbeat i is due at start + i * interval, so its sequence
number *is* its slot on the grid and the monitor can tell a late heartbeat from a late network
without comparing clocks (Chen's NFD-E stands on this). After a stall or a suspended machine the
missed slots are skipped, never caught up: one heartbeat goes out with the current index.

The monitor may wish for another interval in its acknowledgements; what then happens to the grid is
in `stride`.

There is no jitter on the grid. Each heartbeat that is shifted on purpose widens the margin that
the monitor must allow for, so 5 % of jitter costs 5 % of an interval of detection time for every
node, always. What jitter is for, nodes in lockstep, comes from starting together, and grids that
begin when each node is ready to speak do not.

Until the monitor has acknowledged something, the heartbeat of a long interval is repeated every
second: a monitor that has just enrolled a node waits for it no longer than its start grace, and
one lost datagram must not look like a node that never came. A monitor that is heard but does not
acknowledge has taken the first and calls the others replays; so there are at most five of them.

    start ──► beat, beat, beat ... ──► goodbye, goodbye ... ──► next_due_ns == NEVER
                 ▲                           (until acknowledged, at most 5)
    receive ─────┘  probe: answered at once; acknowledgement: round trip, slot, mail

How to drive it (the simulator and `heart` do just this):

    while protocol.next_due_ns != NEVER:
        wait for a datagram until protocol.next_due_ns
        for reply in protocol.receive(datagram, now_ns): send(reply)
        if now_ns >= protocol.next_due_ns: send(protocol.beat(now_ns, report))
        if protocol.wants_reconnect: reopen the socket; protocol.reconnected(now_ns)

`now_ns` is handed in and should count suspended time (CLOCK_BOOTTIME). Not here: clocks, sockets,
chance, and the choice of an incarnation.
"""

from dataclasses import dataclass, replace

from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import (
    INCARNATION_MAX,
    INTERVAL_MS_MAX,
    NO_SLOT,
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    gauge,
    open_record,
    seal,
    with_exit_code,
)
from beatward.core.protocol.roles import (
    LAST_WORD,
    Grant,
    RoleReport,
    State,
    open_grant,
    seal_role_report,
)
from beatward.errors import MalformedRecord

from .send_schedule import Bounds, SendSchedule

INTERVAL_MIN_NS = MILLISECOND
INTERVAL_MAX_NS = INTERVAL_MS_MAX * MILLISECOND
# An acknowledgement every 10 s keeps the round trip fresh and finds a monitor that moved within
# half a minute, for 10 % more datagrams at an interval of 1 s.
ASK_SPACING_NS = 10 * SECOND
# An ask that was not answered within a second, longer than any round trip we would call healthy,
# is lost; it is repeated at this pace whatever the interval.
ASK_PATIENCE_NS = SECOND
UNANSWERED_MAX = 3
# Of this many asks under way it is known when they were sent: 2.5 s of them at an interval of 20
# ms.
ASKED_MAX = 128
# Half of the default start grace.
INTRODUCTION_COUNT_MAX = 5
GOODBYE_COUNT_MAX = 5
SESSION_END = 2**31
GOODBYE_SPACING_NS = 100 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Report:
    """What a node says of itself; cpu and memory in percent, load in runnable processes."""

    health: Health = Health.WELL
    cpu: float | None = None
    memory: float | None = None
    load: float | None = None


class HeartbeatProtocol:
    """One node's side of the conversation with one monitor.

    incarnation          this life's number; larger than that of every earlier life of the name
    interval_ns          whole milliseconds; the one to begin with
    start_ns             the grid's origin: heartbeat 0 is due then
    bounds               what the monitor may wish; None: no other interval
    mail_waits           the monitor said that an action waits; reset by `take_mail`
    acknowledged_count   how often the monitor has acknowledged something in this life
    rival_incarnation    the life that another process leads under this name; None: none was seen
    round_trip_ns        of the last acknowledgement that could be measured, or None
    session              the monitor's own number, another one after its restart; 0: not known yet
    """

    def __init__(
        self,
        name: str,
        key: bytes,
        *,
        incarnation: int,
        interval_ns: int,
        start_ns: int,
        bounds: Bounds | None = None,
    ) -> None:
        assert INTERVAL_MIN_NS <= interval_ns <= INTERVAL_MAX_NS
        assert interval_ns % MILLISECOND == 0
        assert 0 <= incarnation <= INCARNATION_MAX
        self.name = name
        self.incarnation = incarnation
        self.mail_waits = False
        self.acknowledged_count = 0
        self.rival_incarnation: int | None = None
        self.round_trip_ns: int | None = None
        self.session = 0
        self._node = node_id(name)
        self._key = key
        self._schedule = SendSchedule(interval_ns, start_ns, bounds)
        self._start_ns = start_ns
        self._due_ns = start_ns
        self._sequence = -1
        self._report = Report()
        self._slot = NO_SLOT
        self._echo = 0
        self._goodbye: Record | None = None
        self._goodbye_count = 0
        self.goodbye_count_max = GOODBYE_COUNT_MAX
        self._is_known = False  # by the monitor, which has acknowledged us since we were enrolled
        self._introduction_count = 0
        self._forget_asks()

    @property
    def next_due_ns(self) -> int:
        """The instant of the next `beat`; NEVER after a goodbye that was heard or given up."""
        return self._due_ns

    @property
    def interval_ns(self) -> int:
        """The interval in force: whole milliseconds."""
        return self._schedule.interval_ns

    @property
    def promise_ns(self) -> int:
        """What is promised now: the interval in force, or the longer one that is announced."""
        return self._schedule.promise_ns

    @property
    def is_acknowledged(self) -> bool:
        """Whether the monitor has acknowledged this life."""
        return self.acknowledged_count > 0

    @property
    def wants_reconnect(self) -> bool:
        """Whether enough asks went unanswered that the address or the socket may be stale."""
        return self._unanswered_count >= UNANSWERED_MAX

    @property
    def is_leaving(self) -> bool:
        """Whether the goodbye was begun."""
        return self._goodbye is not None

    @property
    def goodbye_is_acknowledged(self) -> bool:
        """Whether the monitor has confirmed the goodbye."""
        return self._goodbye is not None and self._acknowledged_sequence >= self._goodbye.sequence

    def beat(self, now_ns: int, report: Report) -> bytes:
        """Return what is due now: a heartbeat with the current slot's index, or a goodbye again.

        Must not be called before `next_due_ns`: a slot has one heartbeat, said again only while
        the monitor does not know this node.
        """
        assert now_ns >= self._due_ns, "this slot's heartbeat was sent already"
        if self._goodbye is not None:
            return self._repeat_goodbye(now_ns)
        sequence = self._schedule.slot(now_ns)
        is_repeated = sequence == self._sequence
        self._sequence = sequence
        self._schedule.sent(sequence)
        self._report = report
        self._due_ns = self._next_slot_ns()
        if self._introduces():
            self._due_ns = min(self._due_ns, now_ns + ASK_PATIENCE_NS)
        flags = 0
        if self._asks(now_ns, is_repeated=is_repeated):
            flags = Flag.ACKNOWLEDGE
            self._note_ask(sequence, now_ns)
        return self._seal(Kind.HEARTBEAT, sequence, report, flags=flags)

    def receive(self, data: bytes, now_ns: int) -> list[bytes]:
        """Take a datagram in and return what to send back at once.

        What is not from our monitor, or not for this node, changes nothing.
        """
        try:
            heard = open_record(data, self._key)
        except MalformedRecord:
            return []
        if heard.node != self._node:
            return []
        if heard.kind == Kind.PROBE:
            return self._answer_probe(heard, now_ns)
        if heard.kind == Kind.ACKNOWLEDGEMENT:
            self._take_acknowledgement(heard, now_ns)
        return []

    def seal_role_report(self, standing: RoleReport) -> bytes:
        """Return a member's word as this life says it."""
        return seal_role_report(
            standing,
            node=self._node,
            incarnation=self.incarnation,
            slot=self._slot,
            key=self._key,
        )

    def seal_last_word(self, service: int, token: int, life: int) -> bytes:
        """Return the word that a life, this one or one before, has given a token up for ever."""
        return seal_role_report(
            RoleReport(service, LAST_WORD, State.UNABLE, token),
            node=self._node,
            incarnation=life,
            slot=self._slot,
            key=self._key,
        )

    def open_grant(self, data: bytes) -> Grant | None:
        """Return a grant that is meant for this life, or None."""
        return open_grant(data, node=self._node, incarnation=self.incarnation, key=self._key)

    def goodbye(self, now_ns: int, farewell: Farewell, *, exit_code: int | None = None) -> bytes:
        """Begin to say goodbye and return the first one; `beat` repeats it while it is due.

        exit_code   of the process that ended, or minus the signal that ended it
        """
        assert self._goodbye is None, "goodbye is said once"
        # One past the last heartbeat, although that slot is not due yet: so a goodbye is newer
        # than all that was said, and its acknowledgement cannot be mistaken for a heartbeat's.
        goodbye = Record(
            kind=Kind.GOODBYE,
            node=self._node,
            incarnation=self.incarnation,
            sequence=max(self._schedule.slot(now_ns), self._sequence + 1),
            interval_ms=self.promise_ns // MILLISECOND,
            status=farewell,
            flags=Flag.ACKNOWLEDGE,
        )
        self._goodbye = goodbye if exit_code is None else with_exit_code(goodbye, exit_code)
        return self._repeat_goodbye(now_ns)

    def reconnected(self, now_ns: int) -> None:
        """Note that the socket is fresh: as many asks may go unanswered again.

        The monitor that may have slowed this node down is gone, or another one by now.
        """
        self._unanswered_count = 0
        if self._goodbye is None and self._sequence >= 0:
            self._schedule.forget_wish(now_ns)
            self._due_ns = min(self._due_ns, self._next_slot_ns())

    def introduce(self, now_ns: int) -> None:
        """Speak at once: the monitor has just enrolled this name, and may have lost what it knew.

        Without it a node with a long interval would be silent for longer than the start grace.
        """
        self._is_known = False
        self._introduction_count = 0
        self._next_ask_ns = 0
        # The slot that is said again may be acknowledged again.
        if self._acknowledged_sequence == self._sequence:
            self._acknowledged_sequence -= 1
        if self._goodbye is None and self._sequence >= 0:
            self._due_ns = min(self._due_ns, now_ns)

    def doubt(self) -> None:
        """Ask with the next heartbeats: the network below says that nothing listens."""
        self._next_ask_ns = 0

    def take_mail(self) -> bool:
        """Tell whether an action waits, and forget it until the monitor says so again."""
        waits, self.mail_waits = self.mail_waits, False
        return waits

    def _introduces(self) -> bool:
        """Decide whether this heartbeat is said again in a second."""
        if self._is_known:
            return False
        self._introduction_count += 1
        return self._echo == 0 or self._introduction_count < INTRODUCTION_COUNT_MAX

    def _next_slot_ns(self) -> int:
        return self._schedule.due_ns(self._sequence + 1)

    def _seal(
        self, kind: Kind, sequence: int, report: Report, *, flags: int = 0, echo: int | None = None
    ) -> bytes:
        spoken = Record(
            kind=kind,
            node=self._node,
            incarnation=self.incarnation,
            sequence=sequence,
            interval_ms=self.promise_ns // MILLISECOND,
            slot=self._slot,
            status=report.health,
            flags=flags | (Flag.SLOWING if self._schedule.is_slowing else 0),
            cpu=gauge(report.cpu),
            memory=gauge(report.memory),
            load=gauge(report.load),
            echo=self._echo if echo is None else echo,
        )
        return seal(spoken, self._key)

    def _repeat_goodbye(self, now_ns: int) -> bytes:
        assert self._goodbye is not None
        self._goodbye_count += 1
        given_up = self._goodbye_count >= self.goodbye_count_max
        self._due_ns = NEVER if given_up else now_ns + GOODBYE_SPACING_NS
        # Slot and echo as of now: an answer to the first goodbye may have brought a new echo.
        return seal(replace(self._goodbye, slot=self._slot, echo=self._echo), self._key)

    # --- asking for acknowledgements ---

    def _forget_asks(self) -> None:
        self._acknowledged_sequence = -1
        self._asked_ns: dict[int, int] = {}  # by sequence, in order
        self._is_asking = False
        self._next_ask_ns = 0
        self._counted_ns = 0
        self._unanswered_count = 0

    def _asks(self, now_ns: int, *, is_repeated: bool) -> bool:
        """Decide whether this heartbeat asks, and count an earlier ask that was not answered."""
        if self._is_asking and now_ns - self._counted_ns >= ASK_PATIENCE_NS:
            # A monitor that was heard may take a repeated heartbeat for a replay and be silent.
            self._unanswered_count += not (is_repeated and self._echo != 0)
            self._counted_ns = now_ns
            return True
        if self._is_asking:
            # A new life asks with every heartbeat, so that a short interval is proven fast; and so
            # does who announces a longer one, because only the newest announcement counts.
            return self._schedule.is_slowing or not self.is_acknowledged
        if now_ns < self._next_ask_ns and not self._schedule.is_slowing:
            return False
        self._is_asking = True
        self._counted_ns = now_ns
        return True

    def _note_ask(self, sequence: int, now_ns: int) -> None:
        # Not only the newest: where an answer takes longer than an interval, another ask is always
        # under way while a life is new, and its first round trip would not be measured.
        self._asked_ns[sequence] = now_ns
        if len(self._asked_ns) > ASKED_MAX:
            del self._asked_ns[next(iter(self._asked_ns))]

    def _take_acknowledgement(self, heard: Record, now_ns: int) -> None:
        if heard.incarnation > self.incarnation:
            self._meet_a_newer_life(heard, now_ns)
            return
        newest = self._sequence if self._goodbye is None else self._goodbye.sequence
        # An older life's, a repeated or a replayed acknowledgement says nothing about now.
        if heard.incarnation < self.incarnation:
            return
        if not self._acknowledged_sequence < heard.sequence <= newest:
            return
        if heard.sequence in self._asked_ns:
            self.round_trip_ns = now_ns - self._asked_ns[heard.sequence]
        for sequence in [one for one in self._asked_ns if one <= heard.sequence]:
            del self._asked_ns[sequence]
        self._acknowledged_sequence = heard.sequence
        self._is_asking = False
        self._unanswered_count = 0
        self._next_ask_ns = now_ns + ASK_SPACING_NS
        self.acknowledged_count += 1
        if self._goodbye is None:
            self._take_wish(heard, now_ns)
        self._is_known = True
        self._remember(heard)
        if self.goodbye_is_acknowledged:
            self._due_ns = NEVER

    def _take_wish(self, heard: Record, now_ns: int) -> None:
        due_ns = self._next_slot_ns()
        wish_ms = heard.wish_ms
        self._schedule.heard(heard.sequence, heard.interval_ms * MILLISECOND, now_ns)
        self._schedule.wish(None if wish_ms is None else wish_ms * MILLISECOND, now_ns)
        if not self._is_known or self._next_slot_ns() != due_ns:
            self._due_ns = self._next_slot_ns()

    def _meet_a_newer_life(self, heard: Record, now_ns: int) -> None:
        if self.is_acknowledged or heard.incarnation >= INCARNATION_MAX:
            # We were believed, and then a newer life was: that is another process.
            self.rival_incarnation = heard.incarnation
            return
        # Our clock was behind when this life was numbered. Go on as the next life, at once.
        self.incarnation = heard.incarnation + 1
        self._forget_asks()
        self._remember(heard)
        if self._goodbye is not None:
            self._goodbye = replace(self._goodbye, incarnation=self.incarnation)
        else:
            self._due_ns = min(self._due_ns, max(now_ns, self._start_ns))

    def _answer_probe(self, heard: Record, now_ns: int) -> list[bytes]:
        if heard.incarnation > self.incarnation:
            return []  # It asks for another life than ours.
        self._remember(heard)
        if self._goodbye is not None:
            # With the echo that proves it; but a reply would say that we are still there.
            return [] if self._due_ns == NEVER else [self._repeat_goodbye(now_ns)]
        if self._sequence < 0:
            return []  # We have not said a word yet; the first heartbeat will carry the echo.
        # It was missed, so the monitor may wish for another interval: ask soon.
        self.doubt()
        sequence = self._schedule.slot(now_ns)
        return [self._seal(Kind.PROBE_REPLY, sequence, self._report, echo=heard.echo)]

    def _remember(self, heard: Record) -> None:
        self._echo = heard.echo
        # Larger numbers are asked of this node alone, to prove a point.
        if 0 < heard.echo < SESSION_END:
            self.session = heard.echo
        self._slot = heard.slot
        self.mail_waits = self.mail_waits or bool(heard.flags & Flag.MAIL)
