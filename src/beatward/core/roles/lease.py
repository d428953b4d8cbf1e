"""What the holder of one role was lent, and what every member is told; arithmetic and no decisions.

A grant counts from when the report was sent that it answers. We do not know when that was, but
it had arrived when the drain ended that brought it (`base_ns`): so whatever the holder believes in
is over a term after that, and `until_ns` is the latest such instant of all grants. The watermark
would be too early: where the monitor itself is frozen within a drain, what arrives meanwhile was
sent long after it.

A new token is sent to no member before the journal has it. A journal that is restored, or has lost
its end, would give the same token to another node; and members could not tell the two apart.

A token is lent to one process, its owner. Two processes may bear one name: a copied folder, a
restored machine. Only the owner's word about its token frees anything, and only the owner is lent
more under it (docs/decisions/014-whose-word-frees-a-role.md).
"""

from dataclasses import dataclass
from typing import NamedTuple

from beatward.core.instants import MILLISECOND
from beatward.core.peers import host_of
from beatward.core.protocol.roles import Grant, RoleOrder, RoleReport, State, takeover_wait_ns
from beatward.core.roles.candidates import Member

# Who has given a token up says so in one of these.
GIVEN_UP = frozenset((State.STANDBY, State.UNABLE))
ACTING = frozenset((State.PROMOTING, State.ACTIVE))
HOLDING = frozenset((*ACTING, State.DEMOTING))


class Speaker(NamedTuple):
    """A process, as well as it can be told from others of its name; host empty: not known."""

    life: int
    host: bytes

    def is_same(self, other: "Speaker") -> bool:
        """Whether both may be one process; a port changes, and an address hardly ever."""
        return self.life == other.life and self.is_near(other)

    def is_near(self, other: "Speaker") -> bool:
        """Whether both may be on one machine."""
        return self.host == other.host or not self.host or not other.host


def speaker(incarnation: int, peer: bytes) -> Speaker:
    """Return who speaks in a life, from a raw socket address."""
    return Speaker(incarnation, host_of(peer))


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """How long a lease is, and how long giving the role up may take after it."""

    lease_ns: int
    demote_ns: int

    @property
    def takeover_wait_ns(self) -> int:
        """How long after a grant its holder may still hold."""
        return takeover_wait_ns(self.lease_ns, self.demote_ns)


class Lease:
    """The newest token, who it is for, and until when that one may act under it."""

    def __init__(self, service: int, terms: LeaseSettings) -> None:
        self._service = service
        self._terms = terms
        self.token = 0
        self.journaled = 0  # the newest token that the journal has, and members are told
        self.is_written = True  # it has all that has to be known before anything is lent
        self.holder = ""
        self.until_ns = 0
        self.granted_ns = 0  # when something may have been lent last under this token; 0: never
        self._lent_ns = 0  # when something was, by ourselves
        self.spoke_ns = 0  # when the owner last spoke under this token
        self.claimed_ns = 0  # and when any process of its name did
        self.is_taken = False  # whether it ever did, as far as is known
        self.owner: Speaker | None = None  # the process that the token was lent to; None: unknown
        self.is_stuck = False  # its owner has said that it could not give it up
        self.is_given_up = False  # as its owner has said, or could say if nothing was ever lent
        self.replication_position: int | None = None  # of its owner's data, as reported last
        self.others_ns = 0  # until then others of the name may act, who were told to demote
        self.is_asked = False  # the holder is to give it up
        self.lease_by_ns = 0  # and until then its lease goes on

    def begin(self, token: int, holder: str, owner: Speaker, now_ns: int) -> None:
        """Let a new token be one process's; it is told when the journal has it (`written`)."""
        assert token > self.token, "tokens only grow"
        self.token, self.holder, self.is_written = token, holder, False
        self.until_ns = self.granted_ns = self._lent_ns = self.lease_by_ns = 0
        self.spoke_ns = self.claimed_ns = now_ns
        self.is_taken, self.is_given_up, self.others_ns = False, False, 0
        self.owner, self.replication_position, self.is_stuck = owner, None, False
        self.is_asked = False

    def written(self) -> None:
        """Note that the journal has the newest token, and for how long it may be lent."""
        self.journaled, self.is_written = self.token, True

    def take_up(
        self, token: int, holder: str, owner: Speaker | None, now_ns: int, *, takeover_wait_ns: int
    ) -> None:
        """Go on with what the journal knew before a restart: all that may have been lent runs.

        owner     None: the journal does not know; then the first that says it acts
        term_ns   by the settings of then. Where a term is longer now, nothing is lent before the
                  journal knows it: the next restart would not wait long enough
        """
        self.token = self.journaled = token
        self.holder = holder
        self.is_taken = True
        self.owner = owner
        if holder:
            self.granted_ns = self.spoke_ns = self.claimed_ns = now_ns
            self.until_ns = now_ns + max(takeover_wait_ns, self._terms.takeover_wait_ns)
            self.is_written = takeover_wait_ns >= self._terms.takeover_wait_ns

    def remember(self, replication_position: int | None, *, is_stuck: bool) -> None:
        """Take what the owner said last, as the journal knows it."""
        self.replication_position, self.is_stuck = replication_position, is_stuck

    def end(self) -> None:
        """Let no node be the holder."""
        self.holder = ""
        self.until_ns = self.granted_ns = self.lease_by_ns = 0
        self.is_asked = False

    def hear(self, report: RoleReport, who: Speaker, now_ns: int) -> bool:
        """Take the holder's word under our token; return whether it is the owner's own.

        Where nothing was lent yet, every process of the name may say that it has nothing.
        """
        self.is_taken, self.claimed_ns = True, now_ns
        is_own = not self.granted_ns or self.is_owner(who)
        if is_own:
            self.spoke_ns = now_ns
            self.is_given_up = self.is_given_up or report.state in GIVEN_UP
            self.is_stuck = report.state == State.STUCK
            self.replication_position = (
                self.replication_position
                if report.replication_position is None
                else report.replication_position
            )
        return is_own

    def is_owner(self, who: Speaker) -> bool:
        """Whether this is the process that our token was lent to."""
        return self.owner is not None and self.owner.is_same(who)

    def ask_back(self, lease_by_ns: int) -> None:
        """Ask for the role from the next answer on; until an instant its lease goes on."""
        self.is_asked, self.lease_by_ns = True, lease_by_ns

    def is_running(self, now_ns: int) -> bool:
        """Whether a holder that gives up now cannot have done so because its lease was over."""
        return self._lent_ns > 0 and now_ns - self._lent_ns < self._terms.lease_ns

    def is_quiet(self, now_ns: int) -> bool:
        """Whether the holder has neither said nor been lent anything for a whole lease."""
        return now_ns - max(self.spoke_ns, self.granted_ns) >= self._terms.lease_ns

    def takeover_left_ns(self, now_ns: int) -> int:
        """Return how long a holder may still hold whom we lend something now, or have lent."""
        return max(self._terms.takeover_wait_ns, self.until_ns - now_ns)

    # -- what members are told ---------------------------------------------------------------

    def answer(
        self, member: Member, now_ns: int, base_ns: int, *, is_promoting: bool
    ) -> Grant | None:
        """Answer what a member said last; None: with silence.

        base_ns        not before it arrived
        is_promoting   the holder may take the role, if it has not done so yet
        """
        report = member.report
        if report is None:
            return None
        if member.node != self.holder:
            word = RoleOrder.DEMOTE if report.state in ACTING else RoleOrder.STAND_BY
            return self._tell(report, word)
        if not self.is_written:
            return None
        who = speaker(member.incarnation, member.peer)
        if report.token != self.token:
            return self._answer_untaken(report, who, base_ns, is_promoting=is_promoting)
        if self.granted_ns and self.owner is not None and not self.is_owner(who):
            return self._answer_other(report, base_ns)
        return self._answer_holder(report, who, now_ns, base_ns)

    def _answer_untaken(
        self, report: RoleReport, who: Speaker, base_ns: int, *, is_promoting: bool
    ) -> Grant | None:
        """Answer a holder that does not speak under our token.

        Told of the token, it says that it has not taken it, and the next one is tried. But one that
        has forgotten it would say so too, while its workload may still run: then its time has to
        pass. A process in which the token was never taken cannot have forgotten it. Seeds 20012,
        where it was not able any more, and 40019, where a needless fence was waited for.
        """
        if report.state not in GIVEN_UP:
            return None
        is_owner = self.is_owner(who)
        if is_owner and is_promoting and report.state == State.STANDBY:
            return self._lend(report, who, RoleOrder.PROMOTE, base_ns)
        is_untaken = is_owner and not self.is_taken
        return self._tell(report, RoleOrder.STAND_BY) if is_untaken or not self.granted_ns else None

    def _answer_other(self, report: RoleReport, base_ns: int) -> Grant:
        """Answer another process of the holder's name, which speaks under our token."""
        if report.state not in ACTING:
            return self._tell(report, RoleOrder.STAND_BY)
        self._wait_for_demotion(base_ns)
        self.others_ns = max(self.others_ns, base_ns + takeover_wait_ns(0, self._terms.demote_ns))
        return self._tell(report, RoleOrder.DEMOTE)

    def _answer_holder(self, report: RoleReport, who: Speaker, now_ns: int, base_ns: int) -> Grant:
        if self.is_asked and now_ns < self.lease_by_ns and report.state in HOLDING:
            return self._lend(report, who, RoleOrder.DEMOTE, base_ns)
        if report.state not in ACTING:
            # Who gives it up already is not asked to: it would take that for more time.
            return self._tell(report, RoleOrder.STAND_BY)
        if not self.is_asked:
            return self._lend(report, who, RoleOrder.HOLD, base_ns)
        self._wait_for_demotion(base_ns)
        return self._tell(report, RoleOrder.DEMOTE)

    def _wait_for_demotion(self, base_ns: int) -> None:
        # Without a lease, and yet an agent may count the demotion from here.
        self.until_ns = max(self.until_ns, base_ns + takeover_wait_ns(0, self._terms.demote_ns))

    def _lend(self, report: RoleReport, who: Speaker, word: RoleOrder, base_ns: int) -> Grant:
        assert self.is_written, "what the journal does not know is not lent"
        assert self.owner is None or self.is_owner(who), "a token is lent to one process"
        self.owner = who
        self.granted_ns = self._lent_ns = max(self.granted_ns, base_ns)
        self.until_ns = max(self.until_ns, base_ns + self._terms.takeover_wait_ns)
        return self._grant(report, word, self._terms.lease_ns)

    def _tell(self, report: RoleReport, word: RoleOrder) -> Grant:
        # Who stands by learns from the lease how often to speak; it is no lease of its own.
        return self._grant(report, word, self._terms.lease_ns if word == RoleOrder.STAND_BY else 0)

    def _grant(self, report: RoleReport, word: RoleOrder, lease_ns: int) -> Grant:
        lease_ms, demote_ms = lease_ns // MILLISECOND, self._terms.demote_ns // MILLISECOND
        return Grant(self._service, report.counter, word, self.journaled, lease_ms, demote_ms)
