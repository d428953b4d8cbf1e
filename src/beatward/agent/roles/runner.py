"""One service's role on this node, in one loop: granted, decided, done by a workload, reported.

    conversation ──grants──► lease holder ──command──► workload: promote, demote, stop
                 ◄─reports──      ▲                       │ finish
                                  └── state file: written before a promotion begins

One thread a role, so that it has its turn while a workload hangs. It waits for nothing but its poll
and, before a promotion, for the disk, which no holder needs. Three workloads: hooks that a guardian
runs (`guardian_workload`), a program's callbacks (`role`), a task of a program's loop
(`async_role`). Not here: who may act, and until when (`lease_holder`).
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from beatward.agent import clock
from beatward.agent.state import StateFile
from beatward.agent.waker import Waker
from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.protocol.roles import State

from .lease_holder import LeaseHolder, RoleCommand
from .lock import lock_path
from .shared_holder import HEARD_PATIENCE_NS, IDLE_NS, SharedLeaseHolder

log = logging.getLogger("beatward.agent")

# A loop that has not turned for this time hangs, and the watchdog must not be fed for it.
TURN_PATIENCE_NS = 2 * SECOND


class Workload(Protocol):
    """What acts while the role is held. The runner's thread makes every call; none may block."""

    @property
    def is_ready(self) -> bool:
        """Whether no other process acts for the role under this node's name and data folder.

        A workload that stops being ready has lost its command, and is given it again.
        """

    @property
    def is_able(self) -> bool:
        """Whether it could be promoted."""

    @property
    def freshness(self) -> int | None:
        """How far its data has come; None: it does not say."""

    @property
    def ended(self) -> tuple[int, int] | None:
        """The token and the life of a former holder that has ended for certain; None: of none."""

    @property
    def due_ns(self) -> int:
        """When `listen` or `look` has something to do."""

    def listen(self, now_ns: int) -> None:
        """Take in what has happened since the last call; the first of a turn."""

    def perform(self, command: RoleCommand) -> None:
        """Begin a command and break off the one before it; its end goes to `RoleRunner.finish`."""

    def look(self) -> None:
        """See to what is neither a command nor an answer; after `perform`, once a role began."""

    def fileno(self) -> int:
        """Return what to wait on for reading, or -1."""

    def close(self) -> None:
        """Let go of everything: the runner has ended."""


class RoleRunner:
    """One role of this node; `start`, and in the end `close`, or `leave`, `wait_left` and `stop`.

    shared   what the conversation speaks for
    """

    def __init__(
        self, declaration: Mapping[str, Any], file: StateFile, *, wake: Callable[[], None]
    ) -> None:
        """Put it together; nothing runs before `start`.

        wake   called when the conversation has something to say for it
        """
        self.name = str(declaration["name"])
        self.shared = SharedLeaseHolder(self.name, declaration, self.wake)
        self.lock_path = lock_path(file.path, self.name)
        self._file = file
        self._wake_conversation = wake
        self._waker: Waker | None = None
        self._workload: Workload
        self._command: RoleCommand | None = None
        self.is_leaving = self._is_over = False
        self._left_ns = NEVER
        self._has_left = threading.Event()
        self.last_turn_ns = clock.now_ns()
        name = f"beatward-{self.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, workload: Workload) -> None:
        """Take up what a former life left: if that held the role, it is demoted first.

        Where another process acts for the role under this node's name, that one's end is waited
        for.
        """
        self._workload = workload
        self._waker = Waker()
        # One turn here, so that a `close` right after this knows what is held.
        self._turn_safely()
        self._thread.start()

    def wake(self) -> None:
        """Let the loop turn at once; from any thread."""
        if self._waker is not None:
            self._waker.wake()

    def give_up(self) -> None:
        """Give the role up, if it is held."""
        with self.shared.lock:
            if self.shared.holder is not None:
                self.shared.holder.give_up(clock.now_ns())
        self.wake()

    def finish(self, command: RoleCommand, *, ok: bool) -> bool:
        """Take in what became of a command, from any thread.

        Returns whether the role is held now, under the token of the command.
        """
        with self.shared.lock:
            holder = self.shared.holder
            assert holder is not None, "what has not begun has no command"
            if ok and command.kind != "promote" and command == holder.command:
                # What stood by before is not what stands there now.
                self._report(holder)
            holder.done(command, clock.now_ns(), ok=ok)
            is_held = holder.is_holding and holder.memory.held == command.token
        self.wake()
        return is_held

    def leave(self) -> None:
        """Give up what is held and be unable from now on; see `wait_left`."""
        self.is_leaving = True
        self.wake()

    def wait_left(self, timeout_s: float) -> bool:
        """Wait until nothing is held and the monitor has heard of it, or had its time to."""
        return self._has_left.wait(timeout_s)

    def stop(self) -> None:
        """End the loop and let the workload go; one that stands by may go on."""
        self._is_over = True
        self.wake()
        self._thread.join(3 * IDLE_NS / SECOND)

    def close(self) -> None:
        """Give up what is held and end; waits until that is done, and a moment for the monitor."""
        self.leave()
        with self.shared.lock:
            holder = self.shared.holder
            left_ns = holder.over_ns - clock.now_ns() if holder and holder.memory.held else 0
        if holder is not None:
            self.wait_left((max(left_ns, 0) + HEARD_PATIENCE_NS) / SECOND)
        self.stop()

    @property
    def token(self) -> int:
        """The token under which the role may be acted upon at this very moment, or 0."""
        with self.shared.lock:
            holder = self.shared.holder
            if holder is None or holder.state != State.ACTIVE:
                return 0
            return holder.memory.held if clock.now_ns() < holder.lease_end_ns else 0

    @property
    def lease_ns(self) -> int:
        """How long a holder has from its last report until all is over; 0: not known yet."""
        with self.shared.lock:
            holder = self.shared.holder
            lent_ms = 0 if holder is None else holder.lease_ms + holder.memory.demote_ms
        return lent_ms * MILLISECOND

    def is_in_order(self, now_ns: int, within_ns: int = 0) -> bool:
        """Tell whether nothing speaks against feeding a watchdog that bites within this time.

        The loop turns, and no role could be acted upon any more when it bites.
        """
        with self.shared.lock:
            holder = self.shared.holder
            held_until_ns = holder.over_ns if holder and holder.memory.held else NEVER
        is_turning = now_ns - self.last_turn_ns < TURN_PATIENCE_NS
        return is_turning and now_ns + within_ns < held_until_ns

    # --- the loop ---

    def _run(self) -> None:
        assert self._waker is not None
        while not self._is_over:
            wait_ns = self._turn_safely() - clock.now_ns()
            if wait_ns > 0 and not self._is_over:
                self._waker.wait(self._workload.fileno(), wait_ns)
        self._workload.close()
        self._waker.close()

    def _turn_safely(self) -> int:
        try:
            return self._turn()
        except Exception:
            # The guardian, or the end of the process, ends the role in time, whatever is wrong.
            log.exception("%s: a turn failed", self.name)
            return clock.now_ns() + SECOND

    def _turn(self) -> int:
        """Do what is due and return when to look again."""
        now_ns = self.last_turn_ns = clock.now_ns()
        workload = self._workload
        workload.listen(now_ns)
        if not workload.is_ready:
            self._command = None
        elif self.shared.holder is None:
            self.shared.begin(self._file, now_ns, ended=workload.ended)
        holder = self.shared.holder
        if holder is not None:
            self._report(holder)
            self._obey(holder)
            workload.look()
            self._report(holder)
            self.shared.remember(self._file)
            if self.is_leaving:
                self._note_left(holder)
            if self.shared.standing_due_ns <= clock.now_ns():
                self._wake_conversation()
        return min(self.shared.turn_due_ns(now_ns), workload.due_ns)

    def _report(self, holder: LeaseHolder) -> None:
        """Let the holder know whether the role could be taken here."""
        is_able = (
            self._workload.is_ready
            and self._workload.is_able
            and not self.is_leaving
            and (bool(holder.memory.held) or self.shared.remember(self._file))
        )
        with self.shared.lock:
            holder.report(clock.now_ns(), able=is_able, freshness=self._workload.freshness)
            if self.is_leaving:
                holder.give_up(clock.now_ns())

    def _obey(self, holder: LeaseHolder) -> None:
        """See to it that what has to be done is under way."""
        with self.shared.lock:
            holder.turn(clock.now_ns())
            command = holder.command
        if command == self._command or not self._workload.is_ready:
            return
        self._command = None
        if command is None:
            return
        # What has to end does not wait for the disk.
        if command.kind == "promote" and not self.shared.prepare_promotion(command, self._file):
            self.wake()
            return
        self._workload.perform(command)
        self._command = command

    def _note_left(self, holder: LeaseHolder) -> None:
        now_ns = clock.now_ns()
        with self.shared.lock:
            if holder.memory.held or holder.able:
                return
            self._left_ns = min(self._left_ns, now_ns)
            if holder.is_heard or now_ns - self._left_ns >= HEARD_PATIENCE_NS:
                self._has_left.set()
