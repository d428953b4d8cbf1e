"""What both workloads within a program share: a lock, a lasting wish, and the end of the process.

    runner ──command──► promote, demote ──► callbacks (`role`), or a task (`async_role`)
           ◄──finish───       │
                   late, or failed: the process ends itself

There is no guardian: what runs in this process ends with it, and the process ends when the role's
time is over and the program has not let go. It has a lock beside the node's state file, as a
guardian has: of two processes of one name only one stands by.
"""

import logging
import os
from functools import partial
from typing import Protocol

from beatward.agent import clock
from beatward.core.instants import MILLISECOND, NEVER, format_duration

from .lease_holder import RoleCommand
from .lock import Lock
from .runner import RoleRunner

log = logging.getLogger("beatward.agent")

LOCK_PAUSE_NS = 100 * MILLISECOND
# EX_SOFTWARE of sysexits.h: the program's own mistake.
EXIT_CODE = 70


class Finish(Protocol):
    """How a program says what became of what it was asked for; from any thread."""

    def __call__(self, *, ok: bool) -> bool:
        """Say how it went; returns whether the role is held now, under the command's token."""


class ProgramWorkload:
    """A `Workload` within this process; a kind of it says how `promote` and `demote` are done.

    exit_when_stuck   end the process when the role is over and the program has not let go
    """

    freshness: int | None = None

    def __init__(self, runner: RoleRunner, *, exit_when_stuck: bool) -> None:
        self._runner = runner
        self._shared = runner.shared
        self._exit_when_stuck = exit_when_stuck
        self._lock: Lock | None = None
        self._has_waited = False
        self.is_ready = False
        self.is_able = False
        self.ended: tuple[int, int] | None = None
        self.due_ns = 0

    def stand(self, *, is_able: bool) -> None:
        """Say whether the program would take the role; from any thread."""
        self.is_able = is_able
        self._runner.wake()

    def promote(self, token: int, finish: Finish) -> None:
        """Begin to act under a token; must not block."""
        raise NotImplementedError

    def demote(self, finish: Finish) -> None:
        """Stop acting, also what does not act or is being promoted; must not block."""
        raise NotImplementedError

    def listen(self, now_ns: int) -> None:
        """Take the lock, unless another process has it."""
        if self.is_ready or now_ns < self.due_ns:
            return
        self.due_ns = NEVER
        try:
            self._lock = self._lock or Lock(self._runner.lock_path)
            self.is_ready = self._lock.take()
        except OSError:
            # A folder that cannot be written, or a file system without locks. The monitor tells
            # processes of one name apart also without the lock; only the fast way back is lost.
            self._lock, self.is_ready = None, True
            return
        if self.is_ready:
            self.ended = self._lock.ended()
            return
        self.due_ns = now_ns + LOCK_PAUSE_NS
        if not self._has_waited:
            self._has_waited = True
            log.warning(
                "%s: another process stands by for it under this node's name and data folder; "
                "its end is waited for, because two must not take one role",
                self._runner.name,
            )

    def perform(self, command: RoleCommand) -> None:
        """Hand a command to the program."""
        finish = partial(self._finish, command)
        if command.kind == "promote":
            self._note_held(command)
            log.info("%s: promoted under token %d", self._runner.name, command.token)
            self.promote(command.token, finish)
        elif command.kind == "stop" and command.attempt == 1:
            self._be_stuck(command)
        else:
            # Once more, if it has failed before.
            self.demote(finish)

    def look(self) -> None:
        """Do nothing: a program says by itself whether it is able."""

    def fileno(self) -> int:
        """Return -1: the runner is woken."""
        return -1

    def close(self) -> None:
        """Let another process take the lock, unless something is held still."""
        holder = self._shared.holder
        if self._lock is None or (holder is not None and holder.memory.held):
            return
        if holder is not None:
            self._lock.note(0)
        self._lock.close()

    def _note_held(self, command: RoleCommand) -> None:
        """Write down what this process holds: the next one with the lock knows it has ended."""
        last = self._shared.last_word
        if self._lock is not None and last is not None and last.token == command.token:
            self._lock.note_held(last.token, last.life)

    def _be_stuck(self, command: RoleCommand) -> None:
        """End what has not let go: there is nothing to kill but ourselves."""
        assert self._shared.holder is not None, "what has not begun has no command"
        left = format_duration(self._shared.holder.over_ns - clock.now_ns())
        then = "this process ends itself" if self._exit_when_stuck else "no other node is promoted"
        text = "%s: token %d is not given up %s before its time is over: %s"
        log.critical(text, self._runner.name, command.token, left, then)
        if self._exit_when_stuck:
            os._exit(EXIT_CODE)

    def _finish(self, command: RoleCommand, *, ok: bool) -> bool:
        with self._shared.lock:
            assert self._shared.holder is not None, "what has not begun has no command"
            now = self._shared.holder.command
            is_late = now is not None and (command.kind, now.kind) == ("demote", "stop")
            if is_late and now is not None and now.token == command.token:
                command = now  # It has let go after all, too late to be demoted in order.
            return self._runner.finish(command, ok=ok)
