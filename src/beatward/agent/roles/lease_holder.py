"""One member's hold on the role of one service, as a pure machine: who may act, and until when.

The theory is that of leases (Gray and Cheriton, 1989). The monitor lends the role for a while and
lends it again as long as it hears the holder. A holder that is not heard has to give the role up
by itself, in time, without being told: a word that does not arrive can say nothing. So everything
here hangs on one instant, `lease_end_ns`. It is counted from when the standing was *sent* that the
monitor has answered, because that is the one instant both sides can bound, on a clock that counts
suspended time; and it is cut short by what two quartzes may differ.

    STANDBY, UNABLE ──PROMOTE(token above all seen)──► PROMOTING ──promoted──► ACTIVE
          ▲   ▲                                          │ failed                │
          │   └─────────────demoted──── DEMOTING ◄───────┴──── lease over, DEMOTE, a higher token,
          │                                │ failed, or too slow                 `give_up`
          └──stopped────── STUCK ◄─────────┴──stop failed, or the time is over

    lease_end            - reserve          lease_end + demote
        │ demote hook          │ stop, kill         │
        ├──────────────────────┼────────────────────┤ over: the next holder may act

A token is used once. What must not be forgotten is `memory`, and the order of the caller's steps is
part of the proof:

    holder.turn(now_ns)
    write holder.memory to disk, if it has changed; a promotion waits for that, and looks at the
        clock once more: turn(now_ns) again
    if holder.command is not what is being done: break that off, and begin with holder.command
    standing = holder.standing(now_ns); send it, if it is not None

Used by the agent, by the SDK and by the simulator alike. Not here: clocks, sockets, hooks, disks.
"""

from dataclasses import dataclass, replace
from typing import Literal

from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.protocol.roles import (
    COUNTER_MAX,
    Grant,
    RoleOrder,
    RoleReport,
    State,
    lease_end_ns,
    service_id,
)

# Before a lease is known; and what is not answered is repeated at this spacing, so that one lost
# datagram does not delay a change of state by a quarter of a long lease.
SPACING_NS = 500 * MILLISECOND
# Four words a lease: three may be lost before the holder has to give up.
WORDS_PER_LEASE = 4
# Answers that may still be on their way; at four a lease, older ones could extend nothing.
SENT_COUNT_MAX = 32
# Of the time to give the role up, this part is for `stop` and for killing: a SIGKILL needs a few
# milliseconds, a machine that is short of memory a few hundred.
KILL_RESERVE_NS = 300 * MILLISECOND
# What a member allows a demotion that a former life left behind, if it never heard a number.
DEMOTE_MS = 1000
# A workload that cannot be stopped is stopped again after this pause.
STUCK_PAUSE_NS = 5 * SECOND
# While a role is held, its runner looks at the clock at this spacing: the kernel's timers stand
# still while a machine is suspended.
LOOK_NS = 100 * MILLISECOND


@dataclass(frozen=True, slots=True)
class HolderState:
    """What a member has to know after a crash.

    token       the highest it has ever seen
    held        the one it has taken and not yet given up for certain; 0: none
    demote_ms   how long giving it up may take after its lease's end
    """

    token: int = 0
    held: int = 0
    demote_ms: int = 0


@dataclass(frozen=True, slots=True)
class RoleCommand:
    """What has to be done now; two that are equal are one. attempt: counts repeated stops."""

    kind: Literal["promote", "demote", "stop"]
    token: int
    attempt: int = 1


class LeaseHolder:
    """A member's side of the conversation about one role; see the module for the order of calls.

    service       its name
    memory        what the last life left; if it held the role, this one begins by demoting
    state         what the next standing says
    freshness     what the next standing says of the data; None: not known
    lease_end_ns  until then it may act, if the state is PROMOTING or ACTIVE; never moves back
    over_ns       by then it has given the role up for certain; the next holder may act from then on
    able          it could be promoted; False until `report` says so
    """

    def __init__(self, service: str, memory: HolderState | None = None, *, now_ns: int) -> None:
        self.service = service
        self.id = service_id(service)
        self.memory = memory or HolderState()
        self.able = False
        self.freshness: int | None = None
        self.lease_ms = 0
        self.lease_end_ns = 0
        self.over_ns = 0
        self.state = State.UNABLE
        self._attempt = 1
        self._is_stopping = False
        self._retry_ns = NEVER
        self._counter = 0
        self._answered = 0
        self._sent: dict[int, int] = {}
        self._spoken_ns = now_ns
        self._speaks_at_once = True
        self._now_ns = now_ns
        if self.memory.held:
            # When its lease ends is not known any more, so it counts as ended.
            self._extend(now_ns)
            self.state = State.DEMOTING

    # --- what others may know ---

    @property
    def token(self) -> int:
        """The token it holds, gives up or is stuck with; of who has none, the highest it saw."""
        return self.memory.held or self.memory.token

    @property
    def is_holding(self) -> bool:
        """Whether the role may be acted upon: promoting or active, and the lease runs.

        As of the last call; who acts without calling compares `lease_end_ns` with the clock.
        """
        return self._may_act and self._now_ns < self.lease_end_ns

    @property
    def is_heard(self) -> bool:
        """Whether the monitor has answered to the state as it is now."""
        return self._answered == self._counter and not self._speaks_at_once

    @property
    def demote_until_ns(self) -> int:
        """How long the demote hook may run; after that the workload is stopped."""
        return self.over_ns - min(KILL_RESERVE_NS, self._demote_ns // 2)

    @property
    def command(self) -> RoleCommand | None:
        """What is to be done now. It stays the same until `done`, or until it is overtaken."""
        held = self.memory.held
        if self.state == State.PROMOTING:
            return RoleCommand("promote", held)
        if self.state in (State.DEMOTING, State.STUCK) and self._retry_ns == NEVER:
            return RoleCommand("stop" if self._is_stopping else "demote", held, self._attempt)
        return None

    @property
    def next_due_ns(self) -> int:
        """When `turn` or `standing` has something to do, if nothing comes in before."""
        return min(self.standing_due_ns, self.turn_due_ns)

    @property
    def turn_due_ns(self) -> int:
        """When `turn` has something to do, if nothing comes in before."""
        if self._may_act:
            return self.lease_end_ns
        if self.state == State.DEMOTING:
            return self.over_ns if self._is_stopping else self.demote_until_ns
        return self._retry_ns

    @property
    def standing_due_ns(self) -> int:
        """When the next standing is due."""
        if self._counter >= COUNTER_MAX:
            return NEVER  # Decades of one life; its roles end with their leases.
        if self._speaks_at_once:
            return self._spoken_ns
        spacing_ns = self.lease_ms * MILLISECOND // WORDS_PER_LEASE or SPACING_NS
        if self._answered < self._counter:
            spacing_ns = min(spacing_ns, SPACING_NS)
        return self._spoken_ns + spacing_ns

    # --- driving it ---

    def turn(self, now_ns: int) -> int:
        """Let time do what it does and return the next instant that matters."""
        self._now_ns = now_ns
        if self._may_act and now_ns >= self.lease_end_ns:
            self._demote()
        if self.state == State.DEMOTING and now_ns >= self.demote_until_ns:
            self._is_stopping = True
        if self.state == State.DEMOTING and now_ns >= self.over_ns:
            self._become(State.STUCK)
        if now_ns >= self._retry_ns:
            self._retry_ns = NEVER
            self._attempt += 1
        return self.next_due_ns

    def standing(self, now_ns: int) -> RoleReport | None:
        """Return what is to be said now, or None if nothing is due; to be sent not before now_ns.

        A standing that is returned counts as sent at now_ns: earlier than it was really sent only
        shortens the lease.
        """
        self.turn(now_ns)
        if now_ns < self.standing_due_ns:
            return None
        self._counter += 1
        self._sent[self._counter] = now_ns
        if len(self._sent) > SENT_COUNT_MAX:
            del self._sent[next(iter(self._sent))]
        self._spoken_ns = now_ns
        self._speaks_at_once = False
        return RoleReport(self.id, self._counter, self.state, self.token, self.freshness)

    def hear(self, grant: Grant, now_ns: int) -> None:
        """Take in what the monitor answered; what is old, or not for this service, does nothing."""
        self.turn(now_ns)
        sent_ns = self._sent.get(grant.counter)
        if grant.service != self.id or sent_ns is None:
            return
        self._answered = max(self._answered, grant.counter)
        if grant.lease_ms:
            self.lease_ms = grant.lease_ms
        end_ns = lease_end_ns(sent_ns, grant.lease_ms)
        if self.memory.held:
            self._heed(grant, end_ns)
        elif grant.order == RoleOrder.PROMOTE:
            self._take(grant, end_ns, now_ns)
        elif grant.token > self.memory.token:
            self.memory = replace(self.memory, token=grant.token)

    def report(self, now_ns: int, *, able: bool, freshness: int | None = None) -> None:
        """Say whether this member could be promoted, and how far its data has come."""
        self.turn(now_ns)
        self.able, self.freshness = able, freshness
        if self.state in (State.STANDBY, State.UNABLE):
            self._become(State.STANDBY if able else State.UNABLE)

    def done(self, command: RoleCommand, now_ns: int, *, ok: bool) -> None:
        """Say what became of a command; one that was overtaken meanwhile is ignored."""
        self.turn(now_ns)
        if command != self.command:
            return
        if command.kind == "promote" and ok:
            self._become(State.ACTIVE)
        elif command.kind == "promote":
            self._demote()
        elif ok:
            self.memory = replace(self.memory, held=0)
            self._become(State.STANDBY if self.able else State.UNABLE)
        elif command.kind == "demote":
            self._is_stopping = True
        else:
            self._retry_ns = now_ns + STUCK_PAUSE_NS
            self._become(State.STUCK)

    def give_up(self, now_ns: int) -> None:
        """Give the role up of one's own accord: the workload is dead, or the member leaves."""
        self.turn(now_ns)
        if self._may_act:
            self._demote()

    # --- inside ---

    @property
    def _may_act(self) -> bool:
        return self.state in (State.PROMOTING, State.ACTIVE)

    def _take(self, grant: Grant, end_ns: int, now_ns: int) -> None:
        """Take the role, or refuse it in a way that the monitor hears of."""
        if now_ns >= end_ns or grant.token <= self.memory.token:
            # Late: it is said again to the next standing. Or a token that is used up.
            return
        if self.state == State.STANDBY:
            self.memory = HolderState(grant.token, grant.token, grant.demote_ms)
            self._extend(end_ns)
            self._become(State.PROMOTING)
        else:
            # Having seen the token and not holding it is how a member says no.
            self.memory = replace(self.memory, token=grant.token)
            self._speaks_at_once = True

    def _heed(self, grant: Grant, end_ns: int) -> None:
        """As one that holds, or gives up: a longer lease, or its end."""
        held = self.memory.held
        if grant.token > held:
            # Another holder's: there is nothing to be extended any more.
            self.memory = replace(self.memory, token=max(grant.token, self.memory.token))
        if grant.token == held and grant.order != RoleOrder.STAND_BY:
            if grant.demote_ms:
                self.memory = replace(self.memory, demote_ms=grant.demote_ms)
            self._extend(end_ns)
        is_over = grant.token > held or (grant.token == held and grant.order == RoleOrder.DEMOTE)
        if is_over and self._may_act:
            self._demote()

    @property
    def _demote_ns(self) -> int:
        return (self.memory.demote_ms or DEMOTE_MS) * MILLISECOND

    def _extend(self, end_ns: int) -> None:
        # Two maxima, for settings may change from one grant to the next: the monitor counts for
        # each grant the times that stood in it, too.
        self.lease_end_ns = max(self.lease_end_ns, end_ns)
        self.over_ns = max(self.over_ns, end_ns + self._demote_ns)

    def _demote(self) -> None:
        self._is_stopping = False
        self._attempt = 1
        self._retry_ns = NEVER
        self._become(State.DEMOTING)

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._speaks_at_once = True
