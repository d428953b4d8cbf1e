"""A member of a service with a role, run by hooks: holder, guardian and state in one loop.

    conversation ──grants──► shared ──command──► guardian ──► hooks
                 ◄─standings─┘  ▲               │ done, ending, gone
                                └── state file ─┘

One thread a service; nothing in it waits but for its poll: hooks run in the guardian, questions to
the monitor are asked in the background, and the disk is waited for before a promotion, which no
holder needs. It is able to be promoted while its guardian is there, its start hook has succeeded,
its state hook answers, and what it must not forget is on the disk.
"""

import logging
import threading
from collections.abc import Callable

from beatward.agent import clock
from beatward.agent.attempts import LogOnce
from beatward.agent.post import Access
from beatward.agent.services import HookedService
from beatward.agent.state import StateFile
from beatward.agent.waker import Waker
from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.protocol.roles import State

from .channel import Lease, Plan, lease_of
from .guardian_client import GuardianClient, HookResult
from .lease_holder import LeaseHolder, RoleCommand
from .lock import lock_path
from .shared_holder import HEARD_PATIENCE_NS, IDLE_NS, SharedLeaseHolder
from .standby import Primary, Standby

log = logging.getLogger("beatward.agent")

# A machine under load makes everybody wait: so long a guardian may be silent, or a lease, if that
# is longer. While a role is given up there is less time; half of it is left for the shadow then.
PATIENCE_NS = 5 * SECOND
PATIENCE_MIN_NS = 100 * MILLISECOND
# A loop that has not turned for so long hangs, and the watchdog must not be fed for it.
TURN_PATIENCE_NS = 2 * SECOND
# So often in a row a holder whose hook fails says `none`, or any holder `standby`.
GONE_COUNT_MAX = 3
STATES = ("primary", "standby", "none")


class Member:
    """One service's member; `start`, and in the end `leave`, `wait_left` and `stop`."""

    def __init__(
        self,
        service: HookedService,
        file: StateFile,
        *,
        node: str,
        access: Access,
        wake: Callable[[], None],
    ) -> None:
        """Put it together; nothing runs before `start`.

        wake   called when the conversation has something to say for it
        """
        self.service = service
        self._file = file
        self._wake = wake
        self._waker = Waker()
        self.shared = SharedLeaseHolder(service.name, service.declaration(), self._waker.wake)
        lock = lock_path(file.path, service.name)
        self._client = GuardianClient(Plan(node, service.name, service.hooks, str(lock)))
        run = self._run_start if "start" in service.hooks else None
        self._standby = Standby(service.name, access=access, run=run, wake=self._waker.wake)
        self._command: RoleCommand | None = None
        self._command_number = self._start_number = self._state_number = 0
        self._lent: Lease | None = None
        self._has_state = "state" in service.hooks
        self._is_state_good = not self._has_state
        self._freshness: int | None = None
        self._state_due_ns = 0
        self._gone_count = 0
        self._log = LogOnce(service.name)
        self._is_leaving = self._is_over = False
        self._left_ns = NEVER
        self._has_left = threading.Event()
        self.last_turn_ns = clock.now_ns()
        name = f"beatward-{service.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin: wait for a former guardian, demote what a former life held, stand by."""
        self._thread.start()

    def leave(self) -> None:
        """Give up what is held and be unable from now on; see `wait_left`."""
        self._is_leaving = True
        self._waker.wake()

    def wait_left(self, timeout_s: float) -> bool:
        """Wait until nothing is held and the monitor has heard of it, or had its time to."""
        return self._has_left.wait(timeout_s)

    def stop(self) -> None:
        """End the loop and let the guardian go; a standby's workload goes on."""
        self._is_over = True
        self._waker.wake()
        self._thread.join(3 * IDLE_NS / SECOND)

    def is_in_order(self, now_ns: int, within_ns: int = 0) -> bool:
        """Tell whether nothing speaks against feeding a watchdog that bites within so long.

        The loop turns, and no role could be acted upon any more when it bites.
        """
        with self.shared.lock:
            holder = self.shared.holder
            is_safe = (
                holder is None or not holder.memory.held or now_ns + within_ns < holder.over_ns
            )
        return is_safe and now_ns - self.last_turn_ns < TURN_PATIENCE_NS

    @property
    def lease_ns(self) -> int:
        """How long a holder has from its last word until all is over; 0: not known yet."""
        with self.shared.lock:
            holder = self.shared.holder
            lent_ms = 0 if holder is None else holder.lease_ms + holder.memory.demote_ms
        return lent_ms * MILLISECOND

    # --- the loop ---

    def _run(self) -> None:
        while not self._is_over:
            try:
                due_ns = self._turn()
            except Exception:
                # The guardian ends the role in time, whatever is wrong here.
                log.exception("%s: a turn failed", self.service.name)
                due_ns = clock.now_ns() + SECOND
            wait_ns = due_ns - clock.now_ns()
            if wait_ns > 0 and not self._is_over:
                self._waker.wait(self._client.fileno(), wait_ns)
        self._client.end()

    def _turn(self) -> int:
        """Do what is due and return when to look again."""
        now_ns = self.last_turn_ns = clock.now_ns()
        holder = self._hear_guardian(now_ns)
        if holder is None:
            return min(self.shared.turn_due_ns(now_ns), self._client.next_due_ns)
        self._report(holder)
        self._attend(holder)
        self._lend(holder)
        if self._is_idle(holder):
            self._standby.turn(clock.now_ns(), holder.token)
        self._look(holder, clock.now_ns())
        self._report(holder)
        self.shared.remember(self._file)
        if self._is_leaving:
            self._note_left(holder)
        if self.shared.standing_due_ns <= clock.now_ns():
            self._wake()
        due_ns = min(self.shared.turn_due_ns(now_ns), self._client.next_due_ns)
        if self._is_idle(holder):
            due_ns = min(due_ns, self._standby.due_ns)
        return min(due_ns, self._state_due_ns if self._may_look(holder) else NEVER)

    def _hear_guardian(self, now_ns: int) -> LeaseHolder | None:
        """Take in what the guardian says; None: there has never been one yet."""
        holder = self.shared.holder
        answers = self._client.heard()
        is_lost = not self._client.turn(now_ns, _patience_ns(holder))
        if holder is None:
            if not self._client.is_ready:
                return None
            holder = self.shared.begin(self._file, now_ns, ended=self._client.ended)
        if is_lost or self._client.take_ending():
            with self.shared.lock:
                holder.give_up(now_ns)
        if is_lost:
            # What it was asked for is not answered; the next one is asked again.
            self._command = self._lent = None
            self._start_number = self._state_number = 0
            self._standby.forget()
            self._state_due_ns = 0
        for told in answers:
            self._take(told, holder, now_ns)
        return holder

    def _take(self, told: HookResult, holder: LeaseHolder, now_ns: int) -> None:
        if told.number == self._command_number and self._command is not None:
            if not told.is_ok:
                log.warning("%s: %s", self.service.name, told.said)
                self.shared.remark = told.said
            elif self._command.kind == "promote":
                self._be_well()
            self._finish(self._command, holder, now_ns, is_ok=told.is_ok)
        elif told.number == self._start_number:
            self._start_number = 0
            if not told.is_ok:
                self._tell(told.said)
            self._standby.started(now_ns, is_ok=told.is_ok)
            if told.is_ok and not self._has_state:
                self._be_proved()
            self._state_due_ns = 0
        elif told.number == self._state_number:
            self._state_number = 0
            self._take_state(told, holder, now_ns)

    def _finish(
        self, command: RoleCommand, holder: LeaseHolder, now_ns: int, *, is_ok: bool
    ) -> None:
        self._command = None
        if command.kind != "promote" and is_ok:
            # What stood by before is not what stands there now.
            self._standby.forget()
            self._is_state_good = not self._has_state
            self._report(holder)
        with self.shared.lock:
            holder.done(command, now_ns, ok=is_ok)
        self._gone_count = 0
        self._state_due_ns = now_ns + self.service.state_every_ns if holder.is_holding else 0
        log.info(
            "%s: %s under token %d %s",
            self.service.name,
            command.kind,
            command.token,
            "is done" if is_ok else "has failed",
        )

    # --- the role ---

    def _report(self, holder: LeaseHolder) -> None:
        is_able = (
            self._client.is_ready
            and self._standby.is_ready
            and self._is_state_good
            and not self._is_leaving
            and (bool(holder.memory.held) or self.shared.remember(self._file))
        )
        with self.shared.lock:
            holder.report(clock.now_ns(), able=is_able, freshness=self._freshness)
            if self._is_leaving:
                holder.give_up(clock.now_ns())

    def _attend(self, holder: LeaseHolder) -> None:
        """See to it that what has to be done is under way."""
        with self.shared.lock:
            holder.turn(clock.now_ns())
            command = holder.command
        if command == self._command or not self._client.is_ready:
            return
        self._command = None
        if command is None:
            return
        # What the workload says of itself meanwhile is neither here nor there.
        self._state_number = 0
        if command.kind == "promote":
            self._promote(command, holder)
        else:
            # What has to end does not wait for the disk.
            self._command_number = self._client.end_role(command, holder)
            self._command = command

    def _promote(self, command: RoleCommand, holder: LeaseHolder) -> None:
        if not self.shared.prepare_promotion(command, self._file):
            self._waker.wake()
            return
        with self.shared.lock:
            primary, last = self._standby.primary, self.shared.last_word
            self._command_number = self._client.promote(holder, primary, last)
        self._command = command

    def _lend(self, holder: LeaseHolder) -> None:
        """Tell the guardian how long the lease runs, whenever that has changed."""
        with self.shared.lock:
            # Between the grant and its writing down nothing is under way that has to end.
            is_begun = self._command is not None or holder.state != State.PROMOTING
            lease = lease_of(holder) if holder.memory.held and is_begun else None
        if lease is not None and lease != self._lent and self._client.is_ready:
            self._client.lend(lease)
            self._lent = lease

    def _note_left(self, holder: LeaseHolder) -> None:
        now_ns = clock.now_ns()
        with self.shared.lock:
            if holder.memory.held or holder.able:
                return
            self._left_ns = min(self._left_ns, now_ns)
            if holder.is_heard or now_ns - self._left_ns >= HEARD_PATIENCE_NS:
                self._has_left.set()

    # --- the workload ---

    def _is_idle(self, holder: LeaseHolder) -> bool:
        is_idle = holder.state in (State.STANDBY, State.UNABLE)
        return is_idle and self._client.is_ready and not self._is_leaving

    def _run_start(self, primary: Primary) -> None:
        holder = self.shared.holder
        token = 0 if holder is None else holder.token
        timeout_ns = self.service.start_timeout_ns
        self._start_number = self._client.run("start", token, primary, timeout_ns=timeout_ns)

    def _may_look(self, holder: LeaseHolder) -> bool:
        is_at_rest = self._is_idle(holder) or holder.state == State.ACTIVE
        is_ready = self._client.is_ready and self._standby.is_ready
        return self._has_state and is_at_rest and is_ready and self._state_number == 0

    def _look(self, holder: LeaseHolder, now_ns: int) -> None:
        """Ask the workload what it is, if it is time."""
        if self._may_look(holder) and now_ns >= self._state_due_ns:
            self._state_due_ns = now_ns + self.service.state_every_ns
            timeout_ns = self.service.state_timeout_ns
            primary = self._standby.primary
            self._state_number = self._client.run(
                "state", holder.token, primary, timeout_ns=timeout_ns
            )

    def _take_state(self, told: HookResult, holder: LeaseHolder, now_ns: int) -> None:
        if not told.is_ok:
            self._tell(told.said)
        word, freshness = read_state(told.head)
        is_good = told.is_ok and word in STATES
        self._freshness = freshness if is_good else None
        self._is_state_good = is_good
        if not is_good and told.is_ok:
            self._tell(f"state: found {told.head[:80]!r}, expected primary, standby or none")
        if holder.state == State.ACTIVE:
            self._judge_primary(word, holder, now_ns, is_sure=told.is_ok)
        elif is_good and (word == "primary" or (word == "none" and "start" in self.service.hooks)):
            self._be_no_standby(word, now_ns)
        elif is_good:
            self._be_proved()

    def _judge_primary(self, word: str, holder: LeaseHolder, now_ns: int, *, is_sure: bool) -> None:
        """Give a role up whose workload is gone. A hook that fails is no proof that it is."""
        is_gone = word in ("none", "standby")
        self._gone_count = self._gone_count + 1 if is_gone else 0
        if (word == "none" and is_sure) or self._gone_count >= GONE_COUNT_MAX:
            log.error(
                "%s: the workload is %s although this node holds the role, which is given up",
                self.service.name,
                "gone" if word == "none" else "a standby",
            )
            with self.shared.lock:
                holder.give_up(now_ns)

    def _be_no_standby(self, word: str, now_ns: int) -> None:
        """Take note that what should stand by does not; without a start hook `none` would."""
        if word == "primary":
            self._tell("state: it is a primary although this node does not hold the role")
        else:
            self._tell("state: it is gone, although it should stand by")
        self._is_state_good = False
        if "start" in self.service.hooks:
            self._standby.lose(now_ns)

    def _be_proved(self) -> None:
        """Take note that the workload stands by: there is nothing to say of it any more."""
        self._be_well()
        self._standby.prove()

    def _be_well(self) -> None:
        self.shared.remark = ""
        self._log.clear()

    def _tell(self, trouble: str) -> None:
        # How long a hook took does not make its failure another one.
        if self._log.warn(trouble, kind=trouble.partition(" after ")[0]):
            self.shared.remark = trouble


def _patience_ns(holder: LeaseHolder | None) -> int:
    if holder is None:
        return PATIENCE_NS
    if holder.state == State.DEMOTING:
        return max(holder.memory.demote_ms * MILLISECOND // 2, PATIENCE_MIN_NS)
    return max(PATIENCE_NS, holder.lease_ms * MILLISECOND)


def read_state(head: str) -> tuple[str, int | None]:
    """Read the first line of a state hook: a word, and how far its data has come if it says."""
    words = head.partition("\n")[0].split()
    freshness = words[1] if len(words) > 1 else ""
    is_number = freshness.isascii() and freshness.isdigit() and len(freshness) < 20
    return (words[0] if words else ""), (int(freshness) if is_number else None)
