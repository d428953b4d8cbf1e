"""What the holder of one role was lent, and what every member is told; arithmetic and no decisions.

A grant counts from when the standing was sent that it answers. We do not know when that was, but
it had arrived when the drain ended that brought it (`base_ns`): so whatever the holder believes in
is over a term after that, and `until_ns` is the latest such instant of all grants. The watermark
would be too early: where the monitor itself is frozen within a drain, what arrives meanwhile was
sent long after it.

A new token is said to nobody before the journal has it. A journal that is restored, or has lost
its end, would give the same token to somebody else; and members could not tell the two apart.
"""

from dataclasses import dataclass

from beatward.core.candidates import Member
from beatward.core.instants import MILLISECOND
from beatward.core.protocol.roles import Grant, Standing, State, Word, term_ns

# Who has given a token up says so in one of these.
GIVEN_UP = frozenset((State.STANDBY, State.UNABLE))
ACTING = frozenset((State.PROMOTING, State.ACTIVE))
HOLDING = frozenset((*ACTING, State.DEMOTING))


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a lease is, and how long giving the role up may take after it."""

    lease_ns: int
    demote_ns: int

    @property
    def term_ns(self) -> int:
        """How long after a grant its holder may still hold."""
        return term_ns(self.lease_ns, self.demote_ns)


class Lease:
    """The newest token, who it is for, and until when that one may act under it."""

    def __init__(self, service: int, terms: Terms) -> None:
        self._service = service
        self._terms = terms
        self.token = 0
        self.journaled = 0  # the newest token that the journal has, and members are told
        self.is_written = True  # it has all that has to be known before anything is lent
        self.holder = ""
        self.until_ns = 0
        self.granted_ns = 0  # when something may have been lent last under this token; 0: never
        self._lent_ns = 0  # when something was, by ourselves
        self.spoke_ns = 0  # when the holder last spoke under this token
        self.is_taken = False  # whether it ever did, as far as anybody knows
        self._life = 0  # the only one that the token was offered to; 0: several, or not known
        self.is_asked = False  # the holder is to give it up
        self.lease_by_ns = 0  # and until then its lease goes on

    def begin(self, token: int, holder: str, now_ns: int) -> None:
        """Let a new token be somebody's; it is told when the journal has it (`written`)."""
        assert token > self.token, "tokens only grow"
        self.token, self.holder, self.is_written = token, holder, False
        self.until_ns = self.granted_ns = self._lent_ns = self.lease_by_ns = 0
        self.spoke_ns = now_ns
        self.is_taken, self._life = False, 0
        self.is_asked = False

    def written(self) -> None:
        """Note that the journal has the newest token, and for how long it may be lent."""
        self.journaled, self.is_written = self.token, True

    def take_up(self, token: int, holder: str, now_ns: int, *, term_ns: int) -> None:
        """Go on with what the journal knew before a restart: all that may have been lent runs.

        term_ns   by the settings of then. Where a term is longer now, nothing is lent before the
                  journal knows it: the next restart would not wait long enough
        """
        self.token = self.journaled = token
        self.holder = holder
        self.is_taken = True
        if holder:
            self.granted_ns = self.spoke_ns = now_ns
            self.until_ns = now_ns + max(term_ns, self._terms.term_ns)
            self.is_written = term_ns >= self._terms.term_ns

    def end(self) -> None:
        """Let nobody be the holder."""
        self.holder = ""
        self.until_ns = self.granted_ns = self.lease_by_ns = 0
        self.is_asked = False

    def ask_back(self, lease_by_ns: int) -> None:
        """Ask for the role from the next answer on; until an instant its lease goes on."""
        self.is_asked, self.lease_by_ns = True, lease_by_ns

    def is_running(self, now_ns: int) -> bool:
        """Whether a holder that gives up now cannot have done so because its lease was over."""
        return self._lent_ns > 0 and now_ns - self._lent_ns < self._terms.lease_ns

    def is_quiet(self, now_ns: int) -> bool:
        """Whether the holder has neither said nor been lent anything for a whole lease."""
        return now_ns - max(self.spoke_ns, self.granted_ns) >= self._terms.lease_ns

    def term_left_ns(self, now_ns: int) -> int:
        """Return how long a holder may still hold whom we lend something now, or have lent."""
        return max(self._terms.term_ns, self.until_ns - now_ns)

    # -- what members are told ---------------------------------------------------------------

    def answer(
        self, member: Member, now_ns: int, base_ns: int, *, is_promoting: bool
    ) -> Grant | None:
        """Answer what a member said last; None: with silence.

        base_ns        not before it arrived
        is_promoting   the holder may take the role, if it has not done so yet
        """
        said = member.said
        if said is None:
            return None
        if member.node != self.holder:
            word = Word.DEMOTE if said.state in ACTING else Word.STAND_BY
            return self._tell(said, word)
        if not self.is_written:
            return None
        if said.token != self.token:
            return self._answer_untaken(member, base_ns, is_promoting=is_promoting)
        return self._answer_holder(said, now_ns, base_ns)

    def _answer_untaken(self, member: Member, base_ns: int, *, is_promoting: bool) -> Grant | None:
        """Answer a holder that does not speak under our token.

        Told of the token, it says that it has not taken it, and the next one is tried. But one that
        has forgotten it would say so too, while its workload may still run: then its time has to
        pass. A life in which the token was never taken cannot have forgotten it. Seeds 20012, where
        it was not able any more, and 40019, where a fence was waited for that nobody needed.
        """
        said = member.said
        if said is None or said.state not in GIVEN_UP:
            return None
        if is_promoting and said.state == State.STANDBY:
            is_first = not self.granted_ns
            self._life = member.incarnation if is_first or member.incarnation == self._life else 0
            return self._lend(said, Word.PROMOTE, base_ns)
        is_untaken = not self.is_taken and member.incarnation == self._life
        return self._tell(said, Word.STAND_BY) if is_untaken or not self.granted_ns else None

    def _answer_holder(self, said: Standing, now_ns: int, base_ns: int) -> Grant:
        if self.is_asked and now_ns < self.lease_by_ns and said.state in HOLDING:
            return self._lend(said, Word.DEMOTE, base_ns)
        if said.state not in ACTING:
            # Who gives it up already is not asked to: it would take that for more time.
            return self._tell(said, Word.STAND_BY)
        if not self.is_asked:
            return self._lend(said, Word.HOLD, base_ns)
        # Without a lease, and yet an agent may count the demotion from here.
        self.until_ns = max(self.until_ns, base_ns + term_ns(0, self._terms.demote_ns))
        return self._tell(said, Word.DEMOTE)

    def _lend(self, said: Standing, word: Word, base_ns: int) -> Grant:
        assert self.is_written, "what the journal does not know is not lent"
        self.granted_ns = self._lent_ns = max(self.granted_ns, base_ns)
        self.until_ns = max(self.until_ns, base_ns + self._terms.term_ns)
        return self._grant(said, word, self._terms.lease_ns)

    def _tell(self, said: Standing, word: Word) -> Grant:
        # Who stands by learns from the lease how often to speak; it is no lease of its own.
        return self._grant(said, word, self._terms.lease_ns if word == Word.STAND_BY else 0)

    def _grant(self, said: Standing, word: Word, lease_ns: int) -> Grant:
        lease_ms, demote_ms = lease_ns // MILLISECOND, self._terms.demote_ns // MILLISECOND
        return Grant(self._service, said.counter, word, self.journaled, lease_ms, demote_ms)
