"""Who holds the role of a service in failover mode: leases, tokens, and when it may move.

Two may never act as the one. So the role is lent, under a token that is used once, and for a lease
that the holder counts from the instant at which it sent what was answered. A silent holder may
still hold it: until its lease is over, and the time to give the role up after that, on the slower
of two clocks. The role moves

    when it was given back   the process that was lent it says, or who is sure of its end says in
                             its name, that it has no role under our token any more
    when it was fenced       an action has confirmed that the holder cannot act
    when a term has passed   since the last grant that its holder can have had

and otherwise not, whatever a node is held to be: no verdict about a node is a proof about its
workload. What a process says of (token, state) only moves forward, so its word that it has given up
is true for ever, however late it comes and how often. But it is its word: what another process of
the same name says frees nothing (`lease.Lease.owner`), and what it says to hold, holds.

    VACANT ──token──► PROMOTING ──active──► HELD ──asked, or by itself──► DEMOTING ──given back──►
                          └──────silent───────┴──► WAITING ──term──► VACANT

All of its ways are in `phases.TABLE`; nothing else moves it, and nothing but this writes it.
What must survive a crash is the token. A journal that knows less than the members do was restored
or has lost something, and then no member gets anything (`doubt`). A restart decides nothing new for
a whole term, so that they can be heard.

One object is one service; time and reports come in, events and grants go out. It is one file of
some 600 lines, because each method moves the same role between the same phases: a part that is read
alone would hide what the others may do meanwhile. Not here: which nodes offer it and what is
written down (`core.services`), whom to choose (`candidates`, `rounds`), the arithmetic (`lease`).
"""

from dataclasses import replace

from beatward.core.entry import Maintenance, ServiceRecord
from beatward.core.explanation import credit
from beatward.core.instants import NEVER, SECOND, format_duration
from beatward.core.membership import Membership
from beatward.core.protocol.roles import Grant, RoleReport, State, service_id
from beatward.core.roles.candidates import (
    Member,
    Remembered,
    Wanted,
    candidates,
    named,
    remembered,
    wanted_by,
    why_nobody,
    why_not,
)
from beatward.core.roles.lease import GIVEN_UP, HOLDING, Lease, LeaseSettings, speaker
from beatward.core.roles.other_processes import (
    OtherProcesses,
    hear_last,
    is_owner,
    kept,
    owner_of,
    replaces,
    why_silent,
)
from beatward.core.roles.phases import DOES, TABLE, FenceState, Phase, RoleCause, RoleEvent, Target
from beatward.core.roles.reports import ReceivedReport
from beatward.core.roles.rounds import Failback, Rounds
from beatward.core.roles.settings import RoleSettings

# It is looked this often whether something has changed that is not reported, such as a node's
# status.
LOOK_SPACING_NS = SECOND
WAIT_SPACING_NS = SECOND // 10
# What the holder's report under our token says of the role, where it was not asked for it.
_HEARD = {
    State.PROMOTING: RoleCause.TAKING,
    State.ACTIVE: RoleCause.ACTIVE,
    State.DEMOTING: RoleCause.GIVES_UP,
}


class RoleMachine:
    """The role of one service; `members` by slot."""

    def __init__(
        self, name: str, settings: RoleSettings, membership: Membership, *, now_ns: int
    ) -> None:
        self.name = name
        self.id = service_id(name)
        self.settings = settings
        self._membership = membership
        self.members: dict[int, Member] = {}
        self.lease = Lease(self.id, LeaseSettings(settings.lease_ns, settings.demote_ns))
        self.phase, self.since_ns = Phase.VACANT, now_ns
        self.former = ""
        self.reason = self.doubt = ""
        self.latest_news = ""  # what rules were asked about last, a word of `phases.NEWS`
        self.seen = 0  # the highest token that a member has claimed
        self.stuck = False
        self.remembered: Remembered | None = None  # of a session before this one
        self.paused: Maintenance | None = None
        self.target: Target | None = None
        self.fence = FenceState.NONE  # what became of fencing the holder
        # The members of a service that was unknown a moment ago were not all heard yet.
        self.ready_ns = now_ns + self.lease.takeover_left_ns(now_ns)
        self._held_ns: int | None = None  # since when the holder has been active
        self._promote_by_ns = NEVER
        self._rounds, self._failback = Rounds(), Failback()
        self._others = OtherProcesses()
        self._heard: dict[int, None] = {}  # slots that have spoken in this turn, in order

    @property
    def is_automatic(self) -> bool:
        """Whether it fails over by itself now."""
        return self.settings.automatic and self.paused is None

    @property
    def holding(self) -> Member | None:
        """The holder, if it still is a member."""
        return named(self.lease.holder, self.members.values())

    @property
    def is_unsure(self) -> bool:
        """Whether it is unknown how far the members are behind the last holder."""
        memory = self.wanted.remembered
        return self.settings.max_lag is not None and memory is not None and memory.is_unsure

    # -- members -----------------------------------------------------------------------------

    def join(self, member: Member) -> None:
        """Take a node that offers the service, or what it offers by now."""
        self.members[member.slot] = member

    def leave(self, slot: int) -> None:
        """Drop a node that offers it no more; what it may hold, it may hold until its term ends."""
        self.members.pop(slot, None)

    def hear(self, received: ReceivedReport, now_ns: int, *, is_stale: bool) -> bool:
        """Take a member's word; return whether it is one, and news."""
        before = self.members.get(received.slot)
        if before is None:
            return False
        within_ns = self.settings.within_ns
        member = before.hear(received, is_stale=is_stale, within_ns=within_ns)
        if member is None:
            return False
        self.members[received.slot] = member
        self._heard[received.slot] = None
        if self.remembered is not None and self.remembered.node == member.node:
            self.remembered = None
        report, lease = received.report, self.lease
        self._compare(member.node, report)
        if member.node == (lease.holder or self.former):
            self.remembered = kept(lease, member) or self.remembered
        if member.node == lease.holder and report.token == lease.token:
            who = speaker(received.incarnation, received.peer)
            if not lease.hear(report, who, now_ns):
                self._others.hear(report, who)
        return True

    def cut_off(self, slot: int) -> None:
        """Take note that a node was isolated; it may be a member, or not."""
        if slot in self.members:
            self.members[slot] = self.members[slot].cut_off()

    def hear_last(self, received: ReceivedReport, now_ns: int) -> bool:
        """Take a life's last word, which may come after that life; return whether it is news."""
        return hear_last(self.lease, self.members.get(received.slot), received, now_ns)

    def _compare(self, node: str, report: RoleReport) -> None:
        """Doubt the journal where a member's word cannot be true if it is whole."""
        lease, journaled = self.lease, self.lease.journaled
        if report.token > max(journaled, self.seen):
            self.seen = report.token
            self.doubt = (
                f"{node} knows of token {report.token} and the journal only of {journaled}, "
                "so it is older than what has happened"
            )
        elif report.token == journaled and report.state not in GIVEN_UP:
            owner = (journaled == lease.token and lease.holder) or self.former
            if node != owner:
                self.doubt = (
                    f"{node} claims token {report.token}, which the journal gave to "
                    f"{owner or 'no node'}"
                )

    @property
    def heard(self) -> list[int]:
        """The slots that have spoken and were not answered, in order."""
        return list(self._heard)

    def answer(self, slot: int, now_ns: int, base_ns: int) -> Grant | None:
        """Answer what a member said last, see `lease.Lease.answer`."""
        member = self.members.get(slot)
        if member is None or self.doubt:
            return None
        is_promoting = self.phase == Phase.PROMOTING
        self._heard.pop(slot, None)
        grant = self.lease.answer(member, now_ns, base_ns, is_promoting=is_promoting)
        if is_promoting and self.lease.granted_ns and self._promote_by_ns == NEVER:
            self._promote_by_ns = now_ns + self.settings.promote_ns
        return grant

    # -- what operators ask ------------------------------------------------------------------

    # An order that is in vain changes nothing and says why in an entry: the API refuses it before,
    # and this is for what has changed in the moment between.

    def switch_over(self, to: str, who: str, now_ns: int) -> RoleEvent:
        """Move the role in order, to a node or (empty) to the best.

        who   who asks and why, as a clause
        """
        why = why_not(to, *self.candidates(now_ns))
        if self.phase != Phase.HELD:
            why = "no node holds the role, so none can release it in order"
        if why:
            return self._decline("switchover", to, f"{who}: {why}")
        self._rounds.forgive()
        return self._ask_back(RoleCause.SWITCHOVER, to, f", as asked{who}", now_ns)

    def fail_over(self, to: str, who: str) -> RoleEvent:
        """Let the role move, to a node or to the best, as soon as no member can hold it."""
        holder = self.lease.holder
        if self.doubt or self.stuck:
            return self._decline("failover", to, f"{who}: {self.reason}")
        if self.phase in DOES:
            why = f"{holder} has the role and answers; a switchover moves it in order"
            return self._decline("failover", to, f"{who}: {why}")
        self._rounds.forgive()
        self.target = Target(to)
        text = f"the role is to go to {to or 'the best'} as soon as no other node can hold it{who}"
        return self._event("failover", text)

    def force(self, to: str, who: str, now_ns: int) -> RoleEvent:
        """Give the role to a node or to the best at once, whatever it is unsure of."""
        able, others = self.candidates(now_ns, any_lag=True)
        why = why_not(to, able, others)
        if why:
            return self._decline("failover --force", to, f"{who}: {why}")
        why, holder = f", by force{who}{self._risk(now_ns)}", self.lease.holder
        self.former = holder or self.former
        self.doubt, self.stuck, self.remembered = "", False, None
        self._rounds.forgive()
        self.ready_ns = min(self.ready_ns, now_ns)
        self.target = Target(to, away=holder)
        chosen = self._chosen(able)
        return self._promote(RoleCause.FORCED, chosen, now_ns, of_count=len(able), why=why)

    def pause(self, paused: Maintenance, now_ns: int) -> RoleEvent:
        """Let nothing fail over by itself until that ends; its holder goes on."""
        self.paused = paused
        planned = paused.until_ns != NEVER
        left = f" for {format_duration(paused.until_ns - now_ns)}" if planned else ""
        text = f"automatic failover is paused{left}{credit(paused.by, paused.reason)}"
        return self._event("paused", text)

    def resume(self, by: str, now_ns: int) -> RoleEvent | None:
        """End a pause."""
        if self.paused is None:
            return None
        is_over = self.paused.until_ns <= now_ns
        self.paused = None
        why = ": the planned end of its pause has come" if is_over else credit(by, "")
        return self._event("resumed", f"automatic failover is on again{why}")

    def _decline(self, what: str, to: str, why: str) -> RoleEvent:
        goal = f" to {to}" if to else ""
        return self._event("declined", f"a {what}{goal} was declined{why}")

    def _risk(self, now_ns: int) -> str:
        holder, lease, risks = self.lease.holder, self.lease, [self.doubt]
        if self.stuck:
            risks.append(f"{holder} could not be demoted and may still act")
        elif holder:
            left = format_duration(max(lease.until_ns - now_ns, 0))
            risks.append(f"{holder} may still act under token {lease.token} for {left}")
        if self.remembered is not None and self.is_unsure:
            risks.append(f"how far the others are behind {self.remembered.node} is not known")
        risk = "; ".join(filter(None, risks))
        return f", at this risk: {risk}" if risk else ""

    # -- what other rooms do -----------------------------------------------------------------

    def take_news(self, word: str) -> bool:
        """Note what rules are asked about, a word of `phases.NEWS`; return whether that is news."""
        # A reason that changes is no news; another holder always is.
        is_news = word == "held" or word != self.latest_news
        self.latest_news = word
        return is_news

    def written(self) -> None:
        """Note that the journal has the newest token, so that it may be lent."""
        self.lease.written()

    def begin_fence(self, why: str) -> RoleEvent:
        """Note that isolating the holder was decided; `why` as from `fencing.why_fence`."""
        self.fence = FenceState.DECIDED
        text = f"{self.lease.holder} {why} and may still act under token {self.lease.token}"
        return self._event("fence", f"{self.settings.fence} is to isolate it: {text}")

    def note_fence(self, token: int, became: FenceState) -> None:
        """Note what became of fencing the holder of a token; of an older one it says nothing."""
        if self.lease.token == token:
            self.fence = became

    def end_fence(self, token: int, message: str, now_ns: int, *, done: bool) -> RoleEvent | None:
        """Take what became of isolating the holder of a token."""
        holder = self.lease.holder
        if token != self.lease.token or not holder:
            return None
        if not done:
            self.fence = FenceState.FAILED
            return self._event("fence_failed", f"{holder} was not isolated: {message}")
        text = f"{holder} is isolated and cannot act under token {token} any more"
        return self._free(RoleCause.FENCED, text, now_ns)

    # -- what happens ------------------------------------------------------------------------

    def advance(self, now_ns: int) -> RoleEvent | None:
        """Let the next thing happen; None when nothing more does. Call it until then."""
        if self.paused is not None and self.paused.until_ns <= now_ns:
            return self.resume("", now_ns)
        if self.doubt:
            text = f"no node may take the role: {self.doubt}; beatward failover --force ends this"
            return self._stay(RoleCause.DOUBT, self.doubt, text, now_ns)
        return self._follow(now_ns) if self.lease.holder else self._fill(now_ns)

    def _follow(self, now_ns: int) -> RoleEvent | None:
        """Follow who holds the role."""
        member, lease = self.holding, self.lease
        report = member.report if member is not None else None
        if report is not None and report.token != lease.token:
            report = None
        if lease.is_given_up:
            return self._take_back(now_ns) if now_ns >= lease.others_ns else None
        if (event := self._others.take(self.name, lease)) is not None:
            return event
        if replaces(lease, member) and now_ns >= lease.until_ns:
            return self._expire(now_ns)
        if report is not None and report.state == State.STUCK:
            return self._be_stuck(now_ns)
        if self.stuck or not lease.is_written:
            return None
        is_near = now_ns - lease.claimed_ns < self.settings.within_ns
        if is_near and member is not None and report is not None and member.slot in self._heard:
            event = self._hear_holder(report.state, now_ns) if is_owner(lease, member) else None
            if event is not None:
                return event
        if self.phase == Phase.PROMOTING and now_ns >= self._promote_by_ns:
            return self._give_up(now_ns)
        holds = report is not None and report.state in HOLDING
        if now_ns >= lease.until_ns and not (holds and is_near):
            return self._expire(now_ns)
        if self.phase in DOES and lease.is_quiet(now_ns):
            return self._wait(now_ns)
        return self._hold(now_ns) if self.phase == Phase.HELD else None

    def _hear_holder(self, state: State, now_ns: int) -> RoleEvent | None:
        cause = _HEARD.get(state)
        if self.lease.is_asked:
            # It is on its way to giving the role up, whatever it says of that.
            cause = RoleCause.GIVING_UP
        elif (self.phase, cause) == (Phase.PROMOTING, RoleCause.ACTIVE):
            cause = RoleCause.PROMOTED
        if cause is None or (self.phase, cause) not in TABLE:
            return None  # it says what is known
        phase = TABLE[self.phase, cause]
        if phase == Phase.HELD:
            self.target = None
            if self._held_ns is None:
                self._held_ns = now_ns
        if phase == Phase.PROMOTING and self._promote_by_ns == NEVER:
            self._promote_by_ns = now_ns + self.settings.promote_ns
        text = f"{self.lease.holder} {DOES[phase]} under token {self.lease.token}"
        return self._enter(cause, text, now_ns)

    def _give_up(self, now_ns: int) -> RoleEvent:
        late = f"it was not active within {format_duration(self.settings.promote_ns)}"
        self._rounds.fail(self.lease.holder, late)
        self.lease.ask_back(0)
        text = f"{self.lease.holder} is to release the role (token {self.lease.token}): {late}"
        return self._enter(RoleCause.TOO_SLOW, text, now_ns)

    def _hold(self, now_ns: int) -> RoleEvent | None:
        # A member that holds for as long as a promotion may take has not failed at it.
        since_ns = now_ns if self._held_ns is None else self._held_ns
        if now_ns - since_ns >= self.settings.promote_ns:
            self._rounds.end()
        if self.settings.failback_ns is None or not self.is_automatic:
            self._failback.end()
            return None
        return self._fail_back(self.settings.failback_ns, now_ns) if self._heard else None

    def _fail_back(self, able_for_ns: int, now_ns: int) -> RoleEvent | None:
        """Give the role back to a preferred node, once that has been able for long enough."""
        holder, failed = self.holding, self._rounds.failed
        able = [one for one in self.candidates(now_ns)[0] if one.node not in failed]
        if holder is not None:
            able = [one for one in able if one.offer.priority > holder.offer.priority]
        best = self._failback.choose(able, self._membership, now_ns, able_for_ns=able_for_ns)
        if holder is None or best is None:
            return None
        text = f", because its priority is higher and it could for {format_duration(able_for_ns)}"
        return self._ask_back(RoleCause.FAILBACK, best.node, text, now_ns)

    def _ask_back(self, cause: RoleCause, to: str, why: str, now_ns: int) -> RoleEvent:
        """Ask the holder to give the role up in order, so that another can have it."""
        self.target = Target(to, away=self.lease.holder)
        self.lease.ask_back(now_ns + self.settings.switchover_ns)
        text = f"{self.lease.holder} is to release the role (token {self.lease.token})"
        text += f" for {to}" if to else ""
        return self._enter(cause, text + why, now_ns)

    def _take_back(self, now_ns: int) -> RoleEvent:
        node, token = self.lease.holder, self.lease.token
        # Whose lease ran out, because of us or of the network, has not failed at anything.
        is_own_doing = self.lease.is_running(now_ns)
        if self._held_ns is None:
            if is_own_doing:
                self._rounds.fail(node, "it did not become active")
            text = f"{node} released the role (token {token}) and did not become active"
            return self._free(RoleCause.FAILED, text, now_ns)
        if self.lease.is_asked:
            return self._free(
                RoleCause.DEMOTED, f"{node} released the role (token {token}), as asked", now_ns
            )
        if is_own_doing and now_ns - self._held_ns < self.settings.promote_ns:
            self._rounds.fail(node, "it gave the role up soon after")
        return self._free(
            RoleCause.GIVEN_BACK, f"{node} released the role (token {token}) by itself", now_ns
        )

    def _be_stuck(self, now_ns: int) -> RoleEvent | None:
        self.stuck = True
        reason = f"{self.lease.holder} could not be demoted"
        text = (
            f"no node may take the role: {reason} under token {self.lease.token} and may still "
            "act; it has to be fenced, or beatward failover --force takes that risk"
        )
        return self._stay(RoleCause.STUCK, reason, text, now_ns)

    def _wait(self, now_ns: int) -> RoleEvent:
        holder, lease = self.lease.holder, self.lease
        left = format_duration(max(lease.until_ns - now_ns, 0))
        text = (
            f"{holder} has not reported under token {lease.token} for "
            f"{format_duration(now_ns - lease.spoke_ns)}; its lease and its time to demote end in "
            f"{left}"
        )
        reason = why_silent(lease, self.holding)
        return self._enter(RoleCause.SILENT, text, now_ns, reason=reason)

    def _expire(self, now_ns: int) -> RoleEvent | None:
        """Free the role because a term has passed."""
        node, token = self.lease.holder, self.lease.token
        if self.settings.fence_required and self.lease.granted_ns:
            return self._stay_unfenced(now_ns)
        if self._held_ns is None:
            self._rounds.fail(node, "it was not heard any more")
        text = f"{node}'s lease for token {token} has expired"
        return self._free(RoleCause.EXPIRED, text, now_ns)

    def _stay_unfenced(self, now_ns: int) -> RoleEvent | None:
        became = "has failed" if self.fence == FenceState.FAILED else "is not confirmed"
        reason = f"{self.lease.holder} may still act: {self.settings.fence} {became}"
        is_over = self.fence == FenceState.FAILED
        cause = RoleCause.FENCE_FAILED if is_over else RoleCause.UNFENCED
        text = f"no node may take the role: {reason}, and fence_required does not let time decide"
        return self._stay(cause, reason, text, now_ns)

    def _free(self, cause: RoleCause, text: str, now_ns: int) -> RoleEvent:
        """Let no member have the role: its holder cannot act any more."""
        node = self.former = self.lease.holder
        self.lease.end()
        self.stuck, self.fence = False, FenceState.NONE
        self._held_ns, self._promote_by_ns = None, NEVER
        self._failback.end()
        event = self._enter(cause, text, now_ns)
        return replace(event, node=node)

    # -- who is next -------------------------------------------------------------------------

    def _fill(self, now_ns: int) -> RoleEvent | None:
        """Give the role to the best, if it may be given and a member can take it."""
        if now_ns < self.ready_ns:
            self.reason = "members may not all have been heard yet"
            return None
        if not self.is_automatic and self.target is None:
            return self._stay_vacant("automatic failover is off", now_ns)
        able, others = self.candidates(now_ns)
        if able and self.remembered is not None and self.is_unsure:
            return self._stay_unsure(self.remembered.node, now_ns)
        if untried := self._rounds.untried(able, now_ns):
            chosen = self._chosen(untried)
            return self._promote(RoleCause.CHOSEN, chosen, now_ns, of_count=len(able))
        if not able:
            return self._stay_vacant(f"no node can take it: {why_nobody(others)}", now_ns)
        failures = self._rounds.plan(now_ns, longest_ns=self.settings.promote_ns)
        return self._stay_vacant(f"every candidate failed: {failures}", now_ns)

    def _stay_unsure(self, node: str, now_ns: int) -> RoleEvent | None:
        """Promote no member that may lag: the last holder may have written on without us."""
        reason = f"how far the others are behind {node} is not known"
        text = f"no node may take the role: {reason}, for {node} has not been heard since the "
        text += "monitor began, and max_lag is set; beatward failover --force takes that risk"
        return self._stay(RoleCause.UNSURE, reason, text, now_ns)

    def candidates(
        self, now_ns: int, *, any_lag: bool = False
    ) -> tuple[list[Member], dict[str, str]]:
        """Return who could take the role, the best first, and why the others could not."""
        wanted = replace(self.wanted, max_lag=None) if any_lag else self.wanted
        return candidates(self.members.values(), wanted, self._membership, now_ns)

    @property
    def wanted(self) -> Wanted:
        """What is asked of candidates."""
        return wanted_by(self.settings, self.former, self.remembered, self.members.values())

    def _chosen(self, able: list[Member]) -> Member:
        """Return the best, or who is wished for."""
        target = self.target or Target()
        others = [one for one in able if one.node != target.away]
        return named(target.to, able) or (others or able)[0]

    def _stay_vacant(self, reason: str, now_ns: int) -> RoleEvent | None:
        return self._stay(RoleCause.VACANT, reason, f"no node has the role: {reason}", now_ns)

    def _promote(
        self, cause: RoleCause, member: Member, now_ns: int, *, of_count: int, why: str = ""
    ) -> RoleEvent:
        """Decide that a member is to have the role under a new token.

        why   a clause for the end of the sentence
        """
        token = max(self.lease.token, self.seen) + 1
        owner = speaker(member.incarnation, member.peer)
        self.lease.begin(token, member.node, owner, now_ns)
        self._others = OtherProcesses()
        self._held_ns, self._promote_by_ns = None, NEVER
        self._rounds.choose()
        self.fence = FenceState.NONE
        text = f"{member.node} is to take the role under token {token}"
        text += f", the best of {of_count} candidates" if of_count > 1 and not why else ""
        return self._enter(cause, text + why, now_ns)

    def _stay(self, cause: RoleCause, reason: str, text: str, now_ns: int) -> RoleEvent | None:
        """Enter a phase in which nothing happens, unless it is there already for that reason."""
        if (self.phase, self.reason) == (TABLE[self.phase, cause], reason):
            return None
        return self._enter(cause, text, now_ns, reason=reason)

    def _enter(self, cause: RoleCause, text: str, now_ns: int, *, reason: str = "") -> RoleEvent:
        phase = TABLE[self.phase, cause]
        if phase != self.phase:
            self.phase, self.since_ns = phase, now_ns
        self.reason = reason
        return self._event(cause.word, text)

    def _event(self, cause: str, text: str) -> RoleEvent:
        return RoleEvent(cause, f"{self.name}: {text}", self.lease.holder)

    # -- before and after a restart ----------------------------------------------------------

    def restore(self, record: ServiceRecord, now_ns: int, *, life: int = 0) -> None:
        """Take up what the journal knows, at the beginning of a session.

        life   the last one of the holder's node, where the row is of before 014 and names none
        """
        self.phase, self.since_ns = _phase_of(record), min(record.since_ns, now_ns)
        self.former, self.seen, self.doubt = record.former, record.seen, record.doubt
        self.reason, self.stuck, self.paused = record.reason, record.stuck, record.paused
        lease, owner = self.lease, owner_of(record, life)
        lease.take_up(record.token, record.holder, owner, now_ns, takeover_wait_ns=record.term_ns)
        lease.remember(record.freshness if record.life else None, is_stuck=record.stuck)
        self.ready_ns = now_ns + max(record.term_ns, lease.takeover_left_ns(now_ns))
        self.remembered = remembered(record, is_silent=self.phase == Phase.WAITING)
        if record.target is not None:
            self.target = Target(record.target, away=record.holder)
        if self.phase == Phase.PROMOTING:
            self._promote_by_ns = now_ns + self.settings.promote_ns
        elif self.phase != Phase.VACANT:
            self._held_ns = self.since_ns
        if self.phase == Phase.DEMOTING and self.target is not None:
            self.lease.ask_back(now_ns + self.settings.switchover_ns)

    def due_ns(self, now_ns: int) -> int:
        """Return when something may happen without a report; may be early."""
        dues = [NEVER if self.paused is None else self.paused.until_ns]
        lease = self.lease
        if self.doubt or (not self.members and not lease.holder):
            return dues[0]
        if not lease.holder:
            later = [self.ready_ns, self._rounds.again_ns, now_ns + LOOK_SPACING_NS]
        elif lease.is_written:
            quiet_ns = max(lease.spoke_ns, lease.granted_ns) + self.settings.lease_ns
            look_ns = now_ns + (WAIT_SPACING_NS if self.phase == Phase.WAITING else LOOK_SPACING_NS)
            later = [self._promote_by_ns, lease.until_ns, lease.others_ns, quiet_ns, look_ns]
        else:
            later = []
        return min(dues + [at_ns for at_ns in later if at_ns > now_ns])


def _phase_of(record: ServiceRecord) -> Phase:
    """Return the phase that a row of the journal means.

    No monitor writes a row whose phase and holder contradict each other. A person who has mended a
    journal by hand may have; such a row must not keep the monitor from starting.
    """
    phase = Phase(record.phase)
    if record.holder:
        return Phase.WAITING if phase == Phase.VACANT else phase
    return phase if phase == Phase.REFUSED else Phase.VACANT
