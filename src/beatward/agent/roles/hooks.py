"""Running a member's hooks: none of them blocks, floods or outlives the one who runs it unseen.

One thread, one `poll`. A hook has a session of its own; all that it says is read, so that it never
waits for a reader, and only its beginning and its end are kept. What it leaves in the background
may go on, and may go on speaking; `processes` finds it.

Not here: which hook is run when (`guardian`).
"""

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from beatward.agent import clock
from beatward.agent.processes import processes_below
from beatward.core.instants import MILLISECOND, NEVER, format_duration

# What is kept of both ends of what a hook says: a line with a state, and the reason of a failure.
OUTPUT_SIZE_MAX = 4096
OUTPUT_SHOWN_MAX = 400
READ_SIZE = 65536
# Pipes that processes in the background hold open; those of the oldest are closed.
DRAIN_COUNT_MAX = 64
# Between two looks at whether those are gone that were killed.
KILL_PAUSE_NS = 5 * MILLISECOND


@dataclass(frozen=True, slots=True)
class HookEnd:
    """What became of a hook. code: None: it could not be started; below 0: minus the signal.

    head   the first that it said on standard output, at most OUTPUT_SIZE_MAX bytes
    said   how it ended, for people, with the last that it said on either output
    """

    code: int | None
    head: str
    text: str

    @property
    def is_ok(self) -> bool:
        """Whether it did what it is for."""
        return self.code == 0


class Hook:
    """One hook that runs, or has run; `limit_ns` is when it is killed."""

    def __init__(self, kind: str, command: Sequence[str], limit_ns: int) -> None:
        self.kind = kind
        self.command = command
        self.limit_ns = limit_ns
        self.process: subprocess.Popen[bytes] | None = None
        self.ended: HookEnd | None = None
        self._head = b""
        self._tail = b""
        self._began_ns = clock.now_ns()
        self._is_late = False

    @property
    def pid(self) -> int:
        """Its process, which leads its session; 0 if it never had one."""
        return 0 if self.process is None else self.process.pid

    def pipes(self) -> list[IO[bytes]]:
        """Return where it speaks, or what it left in the background does: what is still open."""
        found = [] if self.process is None else [self.process.stdout, self.process.stderr]
        return [pipe for pipe in found if pipe is not None and not pipe.closed]

    def begin(self, environment: Mapping[str, str]) -> None:
        """Start it; what cannot be started has ended."""
        try:
            self.process = subprocess.Popen(  # noqa: S603  the command is from the node's settings
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self.ended = HookEnd(None, "", f"{self.kind}: {self.command[0]}: {why}")
            return
        for pipe in self.pipes():
            os.set_blocking(pipe.fileno(), False)

    def read(self, pipe: IO[bytes]) -> None:
        """Read what is there, a bounded part of it; closes what will not speak any more."""
        try:
            data = os.read(pipe.fileno(), READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            pipe.close()
        assert self.process is not None
        if pipe is self.process.stdout:
            self._head = (self._head + data)[:OUTPUT_SIZE_MAX]
        self._tail = (self._tail + data)[-OUTPUT_SIZE_MAX:]

    def end(self, code: int) -> None:
        """Take note of its exit code, or minus the signal that ended it."""
        assert self.process is not None
        self.process.returncode = code
        for pipe in self.pipes():
            self.read(pipe)
        took = format_duration(clock.now_ns() - self._began_ns)
        how = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        if self._is_late:
            how = "did not end in time and was killed"
        last = self._tail.decode("utf-8", "replace").strip()[-OUTPUT_SHOWN_MAX:]
        text = f"{self.kind}: {how} after {took}{f': {last}' if last else ''}"
        self.ended = HookEnd(code, self._head.decode("utf-8", "replace"), text)

    def kill(self, *, is_late: bool = False) -> None:
        """End it and its session, for certain; what has left the session is not meant."""
        self._is_late = self._is_late or is_late
        if self.pid and self.ended is None:
            # Its number cannot be another's yet: it is not reaped before `ended` is set.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


class Hooks:
    """Runs hooks side by side; the only one in this process that waits for children."""

    def __init__(self) -> None:
        self._running: list[Hook] = []
        self._drained: list[Hook] = []
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        # A child's end has to wake the poll; the handler itself has nothing to do.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def begin(
        self,
        kind: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        limit_ns: int = NEVER,
    ) -> Hook:
        """Start a hook. Look at its `ended` after `wait`, or now: it may be impossible to start."""
        hook = Hook(kind, command, limit_ns)
        hook.begin(environment)
        if hook.ended is None:
            self._running.append(hook)
            self._drained.append(hook)
            self._drained = [old for old in self._drained if old.pipes()]
            if len(self._drained) > DRAIN_COUNT_MAX:
                for pipe in next(old for old in self._drained if old is not hook).pipes():
                    pipe.close()
        return hook

    def wait(self, filenos: Iterable[int], until_ns: int) -> set[int]:
        """Wait until something happens or the instant comes; returns which filenos can be read."""
        limits = [hook.limit_ns for hook in self._running]
        poll = select.poll()
        watched = set(filenos)
        drained = {pipe.fileno(): (hook, pipe) for hook in self._drained for pipe in hook.pipes()}
        for fileno in (*watched, *drained, self._reader):
            poll.register(fileno, select.POLLIN)
        wait_ns = min([until_ns, *limits]) - clock.now_ns()
        found = {fileno for fileno, _ in poll.poll(max(-(-wait_ns // MILLISECOND), 0))}
        if self._reader in found:
            os.read(self._reader, READ_SIZE)
        for fileno in found & drained.keys():
            hook, pipe = drained[fileno]
            hook.read(pipe)
        self.reap()
        for hook in self._running:
            if clock.now_ns() >= hook.limit_ns:
                hook.limit_ns = NEVER
                hook.kill(is_late=True)
        return found & watched

    def reap(self) -> None:
        """Take note of every child that has ended, also of those that were left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for hook in self._running:
                if hook.pid == pid:
                    hook.end(os.waitstatus_to_exitcode(status))
            self._running = [hook for hook in self._running if hook.ended is None]

    def kill_below(self, root: int, spare: set[int], until_ns: int) -> int:
        """Kill all that is below a process; returns how many there were, -1: some are still there.

        It comes back at until_ns at the latest, and may be called again.
        """
        killed: set[int] = set()
        while True:
            found = processes_below(root, spare)
            if not found:
                return len(killed)
            if clock.now_ns() >= until_ns:
                return -1
            for pid in found:
                # Not the session: each is looked at by itself, wherever it has gone.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            killed |= set(found)
            self.wait((), min(clock.now_ns() + KILL_PAUSE_NS, until_ns))
