"""Acting for one shared within a program: its callbacks are called, and their time is watched.

    conversation ──grants──► shared ──command──► steward ──► workload: promote, demote
                 ◄─standings─┘                 │
                                    late, or failed: the process ends itself

A thread of its own, so that it has its turn while a callback hangs. There is no guardian: what runs
in this process ends with it, and that is what the steward does when the role's time is over and the
program has not let go. It has a lock beside the node's state file, as a guardian has: of two
processes of one name only one stands by. Not here: what a program is told (`role`, `async_role`).
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from beatward.agent import clock
from beatward.agent.state import StateFile
from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.protocol.roles import State

from .lease_holder import LeaseHolder, RoleCommand
from .lock import Lock, lock_path
from .shared_holder import HEARD_PATIENCE_NS, SharedLeaseHolder

log = logging.getLogger("beatward.agent")

LOCK_PAUSE_NS = 100 * MILLISECOND
# EX_SOFTWARE of sysexits.h: the program's own mistake.
EXIT_CODE = 70


class Finish(Protocol):
    """How a workload says what became of what it was asked for; from any thread."""

    def __call__(self, *, ok: bool) -> bool:
        """Say how it went; returns whether the role is held now, under its token."""


class Workload(Protocol):
    """What takes the role and gives it up; neither call may block, and each is to be finished."""

    def promote(self, token: int, finish: Finish) -> None:
        """Begin to act under a token."""

    def demote(self, finish: Finish) -> None:
        """Stop acting; it may be asked of one that does not act, and while it is promoted."""


class Callbacks:
    """Two functions of the program's, each called in a thread of its own, one after the other."""

    def __init__(
        self, name: str, promote: Callable[[int], object], demote: Callable[[], object]
    ) -> None:
        self._name = name
        self._promote = promote
        self._demote = demote
        self._thread: threading.Thread | None = None

    def promote(self, token: int, finish: Finish) -> None:
        """Call the one; an exception gives the role back."""
        self._call("promote", lambda: self._promote(token), finish)

    def demote(self, finish: Finish) -> None:
        """Call the other, as soon as the one has returned."""
        self._call("demote", self._demote, finish)

    def _call(self, kind: str, function: Callable[[], object], finish: Finish) -> None:
        former = self._thread

        def run() -> None:
            if former is not None:
                former.join()
            try:
                function()
            except Exception:
                log.exception("%s: %s failed", self._name, kind)
                finish(ok=False)
            else:
                finish(ok=True)

        thread = threading.Thread(target=run, name=f"beatward-{kind}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The interpreter is going down and starts no more threads.
            run()
        else:
            self._thread = thread


class Steward:
    """One service of one program; `start` once, then `stand`, and in the end `leave`.

    exit_when_stuck   end the process when the role is over and the workload has not let go
    """

    def __init__(
        self,
        declaration: Mapping[str, Any],
        workload: Workload,
        *,
        wake: Callable[[], None],
        exit_when_stuck: bool,
    ) -> None:
        self.name = str(declaration["name"])
        self._changed = threading.Event()
        self.shared = SharedLeaseHolder(self.name, declaration, self._changed.set)
        self._workload = workload
        self._wake = wake
        self._exit_when_stuck = exit_when_stuck
        self._is_able = False
        self._is_leaving = False
        self._is_over = False
        self._command: RoleCommand | None = None
        self._has_left = threading.Event()
        self._lock: Lock | None = None
        self._has_waited = False
        name = f"beatward-{self.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, file: StateFile) -> None:
        """Take up what a former life left: if that held the role, it is demoted first.

        Where another process stands by for this node already, that one's end is waited for.
        """
        self._file = file
        self._begin()
        self._thread.start()

    def stand(self, *, is_able: bool) -> None:
        """Say whether the program would take the role."""
        self._is_able = is_able
        self._changed.set()

    def give_up(self) -> None:
        """Give the role up, if it is held."""
        with self.shared.lock:
            if self.shared.holder is not None:
                self.shared.holder.give_up(clock.now_ns())
        self._changed.set()

    def leave(self) -> None:
        """Give up what is held and end; waits until that is done, and a moment for the monitor."""
        self._is_leaving = True
        self._changed.set()
        with self.shared.lock:
            holder = self.shared.holder
            left_ns = holder.over_ns - clock.now_ns() if holder and holder.memory.held else 0
        if holder is not None:
            self._has_left.wait((max(left_ns, 0) + HEARD_PATIENCE_NS) / SECOND)
        self._is_over = True
        self._changed.set()
        self._thread.join(HEARD_PATIENCE_NS / SECOND)

    @property
    def held(self) -> int:
        """The token under which the role may be acted upon at this very moment, or 0."""
        with self.shared.lock:
            holder = self.shared.holder
            is_active = holder is not None and holder.state == State.ACTIVE
            is_lent = holder is not None and clock.now_ns() < holder.lease_end_ns
            return holder.memory.held if holder is not None and is_active and is_lent else 0

    # --- the loop ---

    def _run(self) -> None:
        while not self._is_over:
            self._changed.clear()
            try:
                wait_ns = self._turn()
            except Exception:
                log.exception("%s: a turn failed", self.name)
                wait_ns = SECOND
            self._changed.wait(max(wait_ns, 0) / SECOND)
        if self._lock is not None:
            with self.shared.lock:
                is_free = self.shared.holder is None or not self.shared.holder.memory.held
            if is_free and self.shared.holder is not None:
                self._lock.note(0)
            if is_free:
                self._lock.close()

    def _begin(self) -> LeaseHolder | None:
        """Return the holder, which begins when no other process stands by for this node."""
        if self.shared.holder is not None:
            return self.shared.holder
        try:
            lock = self._lock or Lock(lock_path(self._file.path, self.name))
            is_taken = lock.take()
        except OSError:
            # A folder that cannot be written, or a file system without locks. The monitor tells
            # processes of one name apart also without the lock; only the fast way back is lost.
            return self.shared.begin(self._file, clock.now_ns())
        self._lock = lock
        if is_taken:
            return self.shared.begin(self._file, clock.now_ns(), ended=lock.ended())
        if not self._has_waited:
            self._has_waited = True
            log.warning(
                "%s: another process stands by for it under this node's name and data folder; "
                "its end is waited for, because two must not take one role",
                self.name,
            )
        return None

    def _turn(self) -> int:
        holder = self._begin()
        if holder is None:
            return LOCK_PAUSE_NS
        is_able = self._is_able and not self._is_leaving
        is_written = bool(holder.memory.held) or self.shared.remember(self._file)
        with self.shared.lock:
            holder.report(clock.now_ns(), able=is_able and is_written)
            if self._is_leaving:
                holder.give_up(clock.now_ns())
            command = holder.command
        if command != self._command:
            self._command = None
            if command is not None:
                self._attend(command, holder)
        self.shared.remember(self._file)
        with self.shared.lock:
            if holder.standing_due_ns <= clock.now_ns():
                self._wake()
            has_left = not holder.able and not holder.memory.held and holder.is_heard
            if self._is_leaving and has_left:
                self._has_left.set()
            now_ns = clock.now_ns()
            return self.shared.turn_due_ns(now_ns) - now_ns

    def _attend(self, command: RoleCommand, holder: LeaseHolder) -> None:
        if command.kind == "promote":
            if not self.shared.prepare_promotion(command, self._file):
                self._changed.set()
                return
            self._note_held(command)
            self._command = command
            log.info("%s: promoted under token %d", self.name, command.token)
            self._workload.promote(command.token, partial(self._finish, command))
            return
        self._command = command
        if command.kind == "stop" and command.attempt == 1:
            self._be_stuck(command, holder)
        else:
            # Once more, if it has failed before.
            self._workload.demote(partial(self._finish, command))

    def _note_held(self, command: RoleCommand) -> None:
        """Leave word of what this process holds: whoever gets its lock knows that it has ended."""
        last = self.shared.last_word
        if self._lock is not None and last is not None and last.token == command.token:
            self._lock.note_held(last.token, last.life)

    def _be_stuck(self, command: RoleCommand, holder: LeaseHolder) -> None:
        """End what has not let go: there is nothing to kill but ourselves."""
        left = format_duration(holder.over_ns - clock.now_ns())
        what = "this process ends itself" if self._exit_when_stuck else "nobody else is promoted"
        log.critical(
            "%s: token %d is not given up %s before its time is over: %s",
            self.name,
            command.token,
            left,
            what,
        )
        if self._exit_when_stuck:
            os._exit(EXIT_CODE)

    def _finish(self, command: RoleCommand, *, ok: bool) -> bool:
        """Take in what became of a command; returns whether the role is held under its token."""
        with self.shared.lock:
            now_ns, holder = clock.now_ns(), self.shared.holder
            assert holder is not None, "what has not begun has no command"
            current = holder.command
            is_late = command.kind == "demote" and current is not None and current.kind == "stop"
            if is_late and current is not None and current.token == command.token:
                command = current  # It has let go after all, too late to be demoted in order.
            holder.done(command, now_ns, ok=ok)
            is_held = holder.is_holding and holder.memory.held == command.token
        self._changed.set()
        return is_held
