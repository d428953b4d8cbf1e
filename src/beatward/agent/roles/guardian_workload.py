"""A workload run by hooks: a guardian runs them, and `start` and `state` say if it stands by.

    runner ──command, lease──► guardian ──► hooks
           ◄─────finish──────     │ done, ending, gone

It is able to be promoted while its guardian is there, its start hook has succeeded and its state
hook answers. Questions to the monitor are asked in the background. Not here: what a guardian does
(`guardian`), and who may act (`lease_holder`).
"""

import logging

from beatward.agent import clock
from beatward.agent.attempts import LogOnce
from beatward.agent.post import Access
from beatward.agent.services import HookedService
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.roles import State

from .channel import GuardianPlan, LeaseTimes, lease_of
from .guardian_client import GuardianClient, HookResult
from .lease_holder import LeaseHolder, RoleCommand
from .runner import RoleRunner
from .standby import Primary, Standby

log = logging.getLogger("beatward.agent")

# A machine under load makes everybody wait: a guardian may be silent for this time, or for a lease,
# if that is longer. While a role is given up there is less time; half of it is left for the shadow.
PATIENCE_NS = 5 * SECOND
PATIENCE_MIN_NS = 100 * MILLISECOND
# How often in a row a holder whose hook fails says `none`, or any holder `standby`.
GONE_COUNT_MAX = 3
STATES = ("primary", "standby", "none")
NO_STANDBY = {
    "primary": "state: it is a primary although this node does not hold the role",
    "none": "state: it is gone, although it should stand by",
}


class GuardianWorkload:
    """The `Workload` of a service with hooks; used by the runner's thread."""

    def __init__(
        self, runner: RoleRunner, service: HookedService, *, node: str, access: Access
    ) -> None:
        self._runner = runner
        self._shared = runner.shared
        self._service = service
        self._name = service.name
        plan = GuardianPlan(node, service.name, service.hooks, str(runner.lock_path))
        self._client = GuardianClient(plan)
        run = self._run_start if "start" in service.hooks else None
        self._standby = Standby(service.name, access=access, run=run, wake=runner.wake)
        self._command: RoleCommand | None = None
        self._command_number = self._start_number = self._state_number = 0
        self._lent: LeaseTimes | None = None
        self._has_state = "state" in service.hooks
        # Without a start hook a workload that is not there stands by.
        self._no_standby = ("primary", "none") if run else ("primary",)
        self._is_state_good = not self._has_state
        self.freshness: int | None = None
        self._state_due_ns = 0
        self._gone_count = 0
        self._log = LogOnce(service.name)

    @property
    def is_ready(self) -> bool:
        """Whether the guardian is there and hooks may be asked for."""
        return self._client.is_ready

    @property
    def is_able(self) -> bool:
        """Whether it stands by as far as its hooks say."""
        return self._standby.is_ready and self._is_state_good

    @property
    def ended(self) -> tuple[int, int] | None:
        """The token and the life of a former holder of which the lock proves the end."""
        return self._client.ended

    @property
    def due_ns(self) -> int:
        """When there is something to do."""
        due_ns, holder = self._client.next_due_ns, self._shared.holder
        if holder is not None and self._is_idle(holder):
            due_ns = min(due_ns, self._standby.due_ns)
        return min(due_ns, self._state_due_ns) if holder and self._may_look(holder) else due_ns

    def listen(self, now_ns: int) -> None:
        """Take in what the guardian says, and start one where there is none."""
        results = self._client.heard()
        is_lost = not self._client.turn(now_ns, _patience_ns(self._shared.holder))
        if is_lost or self._client.take_ending():
            self._runner.give_up()
        if is_lost:
            # What it was asked for is not answered; the next one is asked again.
            self._command = self._lent = None
            self._start_number = self._state_number = 0
            self._standby.forget()
            self._state_due_ns = 0
        for result in results:
            self._take(result, now_ns)

    def perform(self, command: RoleCommand) -> None:
        """Ask the guardian for it."""
        # What the workload says of itself meanwhile is neither here nor there.
        self._state_number = 0
        with self._shared.lock:
            holder, primary, last = self._holder, self._standby.primary, self._shared.last_word
            if command.kind == "promote":
                self._command_number = self._client.promote(holder, primary, last)
            else:
                self._command_number = self._client.end_role(command, holder)
        self._command = command

    def look(self) -> None:
        """Pass the lease on, stand by, and ask the workload what it is, if it is time."""
        holder = self._holder
        self._lend(holder)
        now_ns = clock.now_ns()
        if self._is_idle(holder):
            self._standby.turn(now_ns, holder.token)
        if self._may_look(holder) and now_ns >= self._state_due_ns:
            self._state_due_ns = now_ns + self._service.state_every_ns
            self._state_number = self._run("state", self._service.state_timeout_ns)

    def fileno(self) -> int:
        """Return what the guardian speaks on, or -1."""
        return self._client.fileno()

    def close(self) -> None:
        """Let the guardian go; a standby's workload goes on."""
        self._client.end()

    # --- the role ---

    @property
    def _holder(self) -> LeaseHolder:
        assert self._shared.holder is not None, "what has not begun has no command"
        return self._shared.holder

    def _take(self, result: HookResult, now_ns: int) -> None:
        if result.number == self._command_number and self._command is not None:
            self._finish(self._command, result, now_ns)
        elif result.number == self._start_number:
            self._start_number = 0
            if not result.is_ok:
                self._warn(result.text)
            self._standby.started(now_ns, is_ok=result.is_ok)
            if result.is_ok and not self._has_state:
                self._be_proved()
            self._state_due_ns = 0
        elif result.number == self._state_number:
            self._state_number = 0
            self._take_state(result, now_ns)

    def _finish(self, command: RoleCommand, result: HookResult, now_ns: int) -> None:
        self._command = None
        if not result.is_ok:
            log.warning("%s: %s", self._name, result.text)
            self._shared.remark = result.text
        elif command.kind == "promote":
            self._be_well()
        else:
            # What stood by before is not what stands there now.
            self._standby.forget()
            self._is_state_good = not self._has_state
        is_held = self._runner.finish(command, ok=result.is_ok)
        self._gone_count = 0
        self._state_due_ns = now_ns + self._service.state_every_ns if is_held else 0
        end = "is done" if result.is_ok else "has failed"
        log.info("%s: %s under token %d %s", self._name, command.kind, command.token, end)

    def _lend(self, holder: LeaseHolder) -> None:
        """Tell the guardian how long the lease runs, whenever that has changed."""
        with self._shared.lock:
            # Between the grant and its writing down nothing is under way that has to end.
            is_begun = holder.state != State.PROMOTING or self._command == holder.command
            lease = lease_of(holder) if holder.memory.held and is_begun else None
        if lease is not None and lease != self._lent and self.is_ready:
            self._client.lend(lease)
            self._lent = lease

    # --- the workload ---

    def _is_idle(self, holder: LeaseHolder) -> bool:
        is_idle = holder.state in (State.STANDBY, State.UNABLE)
        return is_idle and self.is_ready and not self._runner.is_leaving

    def _run(self, kind: str, timeout_ns: int) -> int:
        token, primary = self._holder.token, self._standby.primary
        return self._client.run(kind, token, primary, timeout_ns=timeout_ns)

    def _run_start(self, _: Primary) -> None:
        self._start_number = self._run("start", self._service.start_timeout_ns)

    def _may_look(self, holder: LeaseHolder) -> bool:
        is_at_rest = self._is_idle(holder) or holder.state == State.ACTIVE
        is_ready = self.is_ready and self._standby.is_ready
        return self._has_state and is_at_rest and is_ready and self._state_number == 0

    def _take_state(self, result: HookResult, now_ns: int) -> None:
        if not result.is_ok:
            self._warn(result.text)
        state, freshness = read_state(result.head)
        is_good = result.is_ok and state in STATES
        self.freshness = freshness if is_good else None
        self._is_state_good = is_good
        if not is_good and result.is_ok:
            self._warn(f"state: found {result.head[:80]!r}, expected primary, standby or none")
        if self._holder.state == State.ACTIVE:
            self._judge_primary(state, is_sure=result.is_ok)
        elif is_good and state in self._no_standby:
            self._be_no_standby(state, now_ns)
        elif is_good:
            self._be_proved()

    def _judge_primary(self, state: str, *, is_sure: bool) -> None:
        """Give a role up whose workload is gone. A hook that fails is no proof that it is."""
        is_gone = state in ("none", "standby")
        self._gone_count = self._gone_count + 1 if is_gone else 0
        if (state == "none" and is_sure) or self._gone_count >= GONE_COUNT_MAX:
            text = "%s: the workload is %s although this node holds the role, which is given up"
            log.error(text, self._name, "gone" if state == "none" else "a standby")
            self._runner.give_up()

    def _be_no_standby(self, state: str, now_ns: int) -> None:
        """Take note that what should stand by does not."""
        self._warn(NO_STANDBY[state])
        self._is_state_good = False
        if "start" in self._service.hooks:
            self._standby.lose(now_ns)

    def _be_proved(self) -> None:
        """Take note that the workload stands by: there is nothing to say of it any more."""
        self._be_well()
        self._standby.prove()

    def _be_well(self) -> None:
        self._shared.remark = ""
        self._log.clear()

    def _warn(self, trouble: str) -> None:
        # How long a hook took does not make its failure another one.
        if self._log.warn(trouble, kind=trouble.partition(" after ")[0]):
            self._shared.remark = trouble


def _patience_ns(holder: LeaseHolder | None) -> int:
    if holder is None:
        return PATIENCE_NS
    if holder.state == State.DEMOTING:
        return max(holder.memory.demote_ms * MILLISECOND // 2, PATIENCE_MIN_NS)
    return max(PATIENCE_NS, holder.lease_ms * MILLISECOND)


def read_state(head: str) -> tuple[str, int | None]:
    """Read the first line of a state hook: a state, and how far its data has come if it says."""
    fields = head.partition("\n")[0].split()
    freshness = fields[1] if len(fields) > 1 else ""
    is_number = freshness.isascii() and freshness.isdigit() and len(freshness) < 20
    return (fields[0] if fields else ""), (int(freshness) if is_number else None)
