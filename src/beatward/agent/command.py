"""`beatward exec NAME -- CMD`: a command under a heartbeat, and its exit reported at once.

The exit of a process is direct evidence: the monitor hears of it in the same moment and does not
have to wait for silence. Each run of the command is one life of the node, and there are no
heartbeats while it is down.

The wrapper is to be invisible. The command stays in the wrapper's process group, so that job
control of a terminal works as without it. Ctrl-C and Ctrl-Z are sent by the terminal to
the whole group, so they are not passed on, or the command would have them twice; what a process
sends to the wrapper alone is passed on. The kernel says which it was, and only `sigwaitinfo`
hands that out; so signals are blocked and waited for in the main thread, and the heart beats in
its own.

A wrapper that is killed with SIGKILL cannot say anything more. The monitor will call the node
dead and may move its work elsewhere, so by default the kernel then kills the command as well: a
verdict that others act upon has to become true.
"""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from beatward.core.instants import MINUTE, NEVER, SECOND, format_duration

from . import clock
from .deeds import signal_name
from .heart import Heart

log = logging.getLogger("beatward.agent")

NOT_EXECUTABLE = 126
NOT_FOUND = 127
BACKOFF_NS = SECOND
BACKOFF_MAX_NS = MINUTE
# A command that ran for so long had started well; its next failure is a new one.
STEADY_NS = MINUTE

_PASSED_ON = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "TSTP", "CONT")
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PR_SET_PDEATHSIG = 1
# Where a system cannot wait for signals with a time limit, it is asked this often instead.
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and what to do when it ends.

    restart   `never`, `on-failure` (any exit code but 0, and any signal) or `always`
    orphan    what happens to the command when this wrapper is killed: `kill`, `term` or `keep`
    is_job    each run is to be reported, also one that could not begin or was ended from outside
    """

    command: Sequence[str]
    restart: str = "never"
    backoff_ns: int = BACKOFF_NS
    backoff_max_ns: int = BACKOFF_MAX_NS
    orphan: str = "kill"
    is_job: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A signal; `is_ours` when a process sent it to the wrapper and not the kernel to the group."""

    number: int
    is_ours: bool


class Wrapper:
    """Runs the plan; uses the main thread, and every child of this process is taken for its."""

    def __init__(self, heart: Heart, plan: Plan) -> None:
        self._heart = heart
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_code: int | None = None
        self._ended_by = 0
        self._failures = 0
        self._signals: set[int] = set()
        self._mask: set[int | signal.Signals] = set()

    def run(self) -> int:
        """Run the command until it ends for good, and return the code to exit with."""
        with self._signals_blocked():
            while True:
                started_ns = clock.now_ns()
                refusal = self._start()
                if refusal is not None:
                    return refusal
                code = self._attend()
                ran_ns = clock.now_ns() - started_ns
                self._failures = 0 if ran_ns >= STEADY_NS else self._failures + 1
                if not self._wants_restart(code, ran_ns):
                    return code if code >= 0 else 128 - code
                if not self._pause():
                    return 128 + self._ended_by

    def _start(self) -> int | None:
        """Start the command and its life; returns an exit code when there is no such command."""
        self._exit_code = None
        try:
            self._process = subprocess.Popen(  # noqa: S603  running it is what we are for
                self._plan.command,
                preexec_fn=self._preparation(),  # noqa: PLW1509  see there
            )
        except OSError as error:
            # As a shell says it, and without a traceback: the mistake is in the command line.
            log.error("%s: %s", self._plan.command[0], error.strerror)  # noqa: TRY400
            refusal = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            if self._plan.is_job:
                self._heart.start()
                self._heart.stop(refusal)
            return refusal
        self._heart.report("ok")
        self._heart.start()
        return None

    def _attend(self) -> int:
        """Wait for the command to end and report it; returns its exit code or minus its signal."""
        while self._exit_code is None:
            heard = wait_signal(self._signals, NEVER)
            if heard is not None and heard.number == signal.SIGCHLD:
                self._reap()
            elif heard is not None:
                self._pass_on(heard)
        code = self._exit_code
        # Ended because we were told to end it: an orderly leave, whatever its code. A job that was
        # ended has not done its work.
        is_orderly = self._ended_by and not self._plan.is_job
        self._heart.stop(None if is_orderly else code)
        return code

    def _wants_restart(self, code: int, ran_ns: int) -> bool:
        ended = f"exited with code {code}" if code >= 0 else f"was ended by {signal_name(-code)}"
        how = f"{self._heart.name}: {self._plan.command[0]} {ended} after {format_duration(ran_ns)}"
        is_failure = code != 0
        wanted = self._plan.restart == "always" or (
            self._plan.restart == "on-failure" and is_failure
        )
        if self._ended_by or not wanted:
            log.log(logging.WARNING if is_failure else logging.INFO, "%s", how)
            return False
        log.warning("%s; it starts again in %s", how, format_duration(self._backoff_ns))
        return True

    @property
    def _backoff_ns(self) -> int:
        # 2**40 is past every maximum, and keeps a year of failures from growing a huge number.
        exponent = min(max(self._failures - 1, 0), 40)
        return min(self._plan.backoff_ns << exponent, self._plan.backoff_max_ns)

    def _pause(self) -> bool:
        """Wait before the next start; returns False when told to end meanwhile."""
        due_ns = clock.now_ns() + self._backoff_ns
        while (left_ns := due_ns - clock.now_ns()) > 0:
            heard = wait_signal(self._signals, left_ns)
            if heard is None:
                return True
            if heard.number == signal.SIGCHLD:
                self._reap()
            elif self._note_ending(heard):
                return False
            elif heard.number == signal.SIGTSTP:
                os.kill(os.getpid(), signal.SIGSTOP)
        return True

    # --- signals ---

    @contextlib.contextmanager
    def _signals_blocked(self) -> Iterator[None]:
        numbers = {signal.Signals[f"SIG{name}"] for name in _PASSED_ON}
        # What we were told to ignore, as by nohup, the command is to ignore as well.
        self._signals = {
            number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN
        }
        # Some systems drop a signal that nobody handles even while it is blocked.
        default = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._signals.add(signal.SIGCHLD)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            signal.signal(signal.SIGCHLD, default)

    def _pass_on(self, heard: Heard) -> None:
        self._note_ending(heard)
        if heard.is_ours and self._process is not None:
            # It cannot be another process: ours is not reaped before `_reap`, in this thread.
            os.kill(self._process.pid, heard.number)
        if heard.number == signal.SIGTSTP:
            # Stop as the terminal asks, heartbeats and all: the command does not serve either.
            os.kill(os.getpid(), signal.SIGSTOP)

    def _note_ending(self, heard: Heard) -> bool:
        # A SIGHUP that a process sent means "read your settings again"; one of the kernel's means
        # that the terminal is gone.
        is_hangup = heard.number == signal.SIGHUP and not heard.is_ours
        if heard.number in _ENDING or is_hangup:
            self._ended_by = heard.number
        return self._ended_by != 0

    def _reap(self) -> None:
        """Take note of what became of the command, and of orphans if we are a container's init."""
        options = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
        while True:
            try:
                pid, status = os.waitpid(-1, options)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._process is None or pid != self._process.pid:
                continue
            if os.WIFSTOPPED(status):
                self._heart.report("failing")
            elif os.WIFCONTINUED(status):
                self._heart.report("ok")
            else:
                self._exit_code = os.waitstatus_to_exitcode(status)
                self._process.returncode = self._exit_code

    # --- the child's side of the fork ---

    def _preparation(self) -> Callable[[], None]:
        """Return what the child does before it becomes the command; all of it is loaded here.

        Between fork and exec only this thread exists, so nothing there may wait for a lock that
        another held: two system calls and a comparison.
        """
        mask, parent = self._mask, os.getpid()
        wanted = {"kill": signal.SIGKILL, "term": signal.SIGTERM}.get(self._plan.orphan)
        prctl = None
        if wanted is not None and sys.platform == "linux":
            prctl = ctypes.CDLL(None, use_errno=True).prctl

        def prepare() -> None:
            if prctl is not None and wanted is not None:
                prctl(_PR_SET_PDEATHSIG, int(wanted), 0, 0, 0)
                if os.getppid() != parent:  # Killed before the kernel knew what we want.
                    os.kill(os.getpid(), wanted)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        return prepare


def wait_signal(numbers: set[int], timeout_ns: int) -> Heard | None:
    """Wait for one of the blocked signals; returns None when the time is up.

    timeout_ns   NEVER: as long as it takes
    """
    if hasattr(signal, "sigtimedwait"):
        if timeout_ns == NEVER:
            info = signal.sigwaitinfo(numbers)
        else:
            timed = signal.sigtimedwait(numbers, timeout_ns / SECOND)
            if timed is None:
                return None
            info = timed
        # Negative and zero are kill, tgkill and sigqueue; positive is the kernel on its own.
        return Heard(info.si_signo, info.si_code <= 0)
    deadline_ns = NEVER if timeout_ns == NEVER else clock.now_ns() + timeout_ns
    while not signal.sigpending() & numbers:
        if clock.now_ns() >= deadline_ns:
            return None
        time.sleep(_POLL_S)
    number = signal.sigwait(numbers)
    return Heard(number, not _is_from_keyboard(number))


def _is_from_keyboard(number: int) -> bool:
    """Guess whether a terminal sent a signal, where the system does not say."""
    if number not in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
