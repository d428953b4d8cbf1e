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

The monitor's word about the node is a word about all that the command has started: others may take
its work over. So what is left of a command that has failed, or was told to end, is ended before the
monitor hears of it, and when the wrapper is killed the supervisor between it and the command ends
everything. A command that ends well by itself may leave what it likes, as a daemon does.

What watches must never stop what is watched: whatever fails in the heart ends the watching, with a
line on standard error, and the command goes on.
"""

import contextlib
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from beatward.core.instants import MINUTE, NEVER, SECOND, format_duration

from . import clock
from .action_runner import signal_name
from .heart import Heart
from .processes import processes_below
from .supervisor import (
    KILL_NS,
    LOOK_MIN_NS,
    NOT_EXECUTABLE,
    NOT_FOUND,
    Order,
    Program,
    Supervisor,
    SupervisorEvent,
    original_environment,
)

log = logging.getLogger("beatward.agent")

BACKOFF_NS = SECOND
BACKOFF_MAX_NS = MINUTE
# A command that ran for this long had started well; its next failure is a new one.
STEADY_NS = MINUTE
# This many runs in a row that ended before they were steady are a restart loop.
LOOP_COUNT = 3
# Between SIGTERM and SIGKILL for what a command has left that ended well or was told to end.
REST_PATIENCE_NS = 5 * SECOND

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_STOPPING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
# What `alarm` and `setitimer` have asked for before the wrapper was started: the kernel sends it,
# but to this process alone, and the command would have had it.
_TIMERS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
# Python ignores them by itself, whatever it found at its start.
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)
_SUPERVISOR_LOST = "the supervisor of the command was killed, and the command with it"
# Where a system cannot wait for signals with a time limit, it is asked this often instead.
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class CommandPlan:
    """What to run, and what to do when it ends.

    restart   `never`, `on-failure` (any exit code but 0, and any signal) or `always`
    orphan    what happens to the command when this wrapper is killed: `kill`, `term` or `keep`
    is_job    each run is to be reported, also one that could not begin or was ended from outside
    environment   of the command; None: as this process's
    """

    command: tuple[str, ...]
    restart: str = "never"
    backoff_ns: int = BACKOFF_NS
    backoff_max_ns: int = BACKOFF_MAX_NS
    orphan: str = "kill"
    is_job: bool = False
    environment: Mapping[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """A signal; `is_ours` when a process sent it to the wrapper and not the kernel to the group.

    sender   that process, 0 where it is not known
    """

    number: int
    is_ours: bool
    sender: int = 0


class Watch:
    """The heart, which may be missing and may fail: neither is the command's business."""

    def __init__(self, name: str, heart: Heart | None) -> None:
        self.name = name
        self._heart = heart

    def begin(self) -> None:
        """Begin a life."""
        self._do(lambda heart: heart.report("ok"))
        self._do(lambda heart: heart.start())

    def tell(self, status: str) -> None:
        """Say how the command is."""
        self._do(lambda heart: heart.report(status))

    def end(self, code: int | None, *, is_failure: bool = False) -> None:
        """End this life; None: an orderly leave. is_failure: also with the exit code 0."""
        self._do(lambda heart: heart.stop(code, is_failure=is_failure))

    def _do(self, act: Callable[[Heart], object]) -> None:
        if self._heart is None:
            return
        try:
            act(self._heart)
        except Exception as error:  # noqa: BLE001  whatever it is, the command goes on
            self._heart = None
            why = str(error) or type(error).__name__
            message = "%s: not watched any more: %s; the command goes on"
            log.error(message, self.name, why)  # noqa: TRY400


class Wrapper:
    """Runs the plan; uses the main thread, and every child of this process is taken for its.

    heart   None: the command runs without being watched
    """

    def __init__(self, name: str, heart: Heart | None, plan: CommandPlan) -> None:
        self._watch = Watch(name, heart)
        self._plan = plan
        self._pid = 0
        self._exit_code: int | None = None
        self._left_count = 0
        self._ended_by = 0
        self._quick_count = 0
        self._signals: set[int] = set()

    def run(self) -> int:
        """Run the command until it ends for good, and return the code to exit with."""
        with self._signals_blocked() as program:
            try:
                self._supervisor = Supervisor(program)
            except OSError as error:
                self._become(program, str(error.strerror))
            try:
                events = self._supervisor.run()
                if not events or events[0][1] < 0:
                    self._become(
                        program, os.strerror(-events[0][1]) if events else _SUPERVISOR_LOST
                    )
                return self._run(events)
            finally:
                self._supervisor.leave()

    def _run(self, events: Sequence[tuple[SupervisorEvent, int]]) -> int:
        while True:
            started_ns = clock.now_ns()
            refusal = self._begin(events)
            if refusal is not None:
                return refusal
            code = self._attend()
            ran_ns = clock.now_ns() - started_ns
            self._quick_count = 0 if ran_ns >= STEADY_NS else self._quick_count + 1
            wants_restart = self._wants_restart(code, ran_ns)
            self._end_what_is_left(code, is_last=not wants_restart)
            self._report_end(code, wants_restart=wants_restart)
            if not wants_restart or self._supervisor.is_lost:
                return code if code >= 0 else 128 - code
            if not self._pause():
                return 128 + self._ended_by
            events = self._supervisor.run() or [(SupervisorEvent.REFUSED, errno.ECHILD)]

    def _begin(self, events: Sequence[tuple[SupervisorEvent, int]]) -> int | None:
        """Begin a life with its command; returns an exit code when there is no such command."""
        self._exit_code = None
        found, number = events[0]
        if found == SupervisorEvent.REFUSED:
            number = abs(number)
            # As a shell says it, and without a traceback: the mistake is in the command line.
            log.error("%s: %s", self._plan.command[0], os.strerror(number))
            refusal = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE
            if self._plan.is_job:
                self._watch.begin()
                self._watch.end(refusal)
            return refusal
        self._pid = number
        self._watch.begin()
        self._take_events(events[1:])
        return None

    def _become(self, program: Program, trouble: str) -> NoReturn:
        """Be the command, unwatched: for a supervisor the machine has no means."""
        log.error("%s: not watched: %s; the command runs", self._watch.name, trouble)
        try:
            program.become()
        except OSError as error:
            log.error("%s: %s", self._plan.command[0], error.strerror)  # noqa: TRY400
            sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)

    def _attend(self) -> int:
        """Wait for the command to end; returns its exit code or minus its signal."""
        while self._exit_code is None:
            heard = wait_signal(self._signals, NEVER)
            if heard is not None:
                self._take(heard)
        return self._exit_code

    def _report_end(self, code: int, *, wants_restart: bool) -> None:
        # Ended because we were told to end it: an orderly leave, whatever its code. A job that was
        # ended has not done its work.
        is_orderly = self._ended_by and not self._plan.is_job
        # A service that ends well again and again does not serve: it must not be taken for one that
        # has left in order.
        is_loop = wants_restart and self._quick_count >= LOOP_COUNT and not self._plan.is_job
        self._watch.end(None if is_orderly else code, is_failure=is_loop)

    def _wants_restart(self, code: int, ran_ns: int) -> bool:
        ended = f"exited with code {code}" if code >= 0 else f"was ended by {signal_name(-code)}"
        name = self._watch.name
        how = f"{name}: {self._plan.command[0]} {ended} after {format_duration(ran_ns)}"
        is_failure = code != 0
        wanted = self._plan.restart == "always" or (
            self._plan.restart == "on-failure" and is_failure
        )
        if self._ended_by or not wanted:
            log.log(logging.WARNING if is_failure else logging.INFO, "%s", how)
            return False
        log.warning("%s; it starts again in %s", how, format_duration(self._backoff_ns))
        if self._quick_count == LOOP_COUNT:
            log.error(
                "%s: restart loop: the last %d runs have each ended within %s",
                name,
                LOOP_COUNT,
                format_duration(STEADY_NS),
            )
        return True

    @property
    def _backoff_ns(self) -> int:
        # 2**40 is past every maximum, and keeps a year of failures from growing a huge number.
        exponent = min(max(self._quick_count - 1, 0), 40)
        return min(self._plan.backoff_ns << exponent, self._plan.backoff_max_ns)

    def _pause(self) -> bool:
        """Wait before the next start; returns False when told to end meanwhile."""
        due_ns = clock.now_ns() + self._backoff_ns
        while (left_ns := due_ns - clock.now_ns()) > 0:
            heard = wait_signal(self._signals, left_ns)
            if heard is None:
                return True
            self._take(heard)
            if self._ended_by:
                return False
        return True

    # --- what the command has left ---

    def _end_what_is_left(self, code: int, *, is_last: bool) -> None:
        """End what the command has started and left, unless that is how it is meant."""
        is_meant = code == 0 and is_last and not self._ended_by
        if is_meant or self._plan.orphan == "keep":
            return
        if self._supervisor.is_lost:
            self._kill_below()
            return
        is_gentle = code == 0 or self._ended_by or self._plan.orphan == "term"
        self._left_count = -1
        self._supervisor.order(Order.END, REST_PATIENCE_NS if is_gentle else 0)
        while self._left_count < 0 and not self._supervisor.is_lost:
            heard = wait_signal(self._signals, NEVER)
            if heard is not None:
                self._take(heard)
        if self._left_count > 0:
            log.error(
                "%s: %d processes that the command has left could not be ended",
                self._watch.name,
                self._left_count,
            )

    def _kill_below(self) -> None:
        """Kill all that the supervisor has left to this process, with its end."""
        until_ns = clock.now_ns() + KILL_NS
        while clock.now_ns() < until_ns and (found := processes_below(os.getpid())):
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            wait_signal({signal.SIGCHLD}, LOOK_MIN_NS)
            self._reap()

    # --- signals ---

    @contextlib.contextmanager
    def _signals_blocked(self) -> Iterator[Program]:
        numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
        # What we were told to ignore, as by nohup, the command is to ignore as well.
        ignored = {
            number
            for number in signal.valid_signals()
            if number not in _PYTHONS_OWN and signal.getsignal(number) == signal.SIG_IGN
        }
        self._signals = {signal.SIGCHLD, *(numbers - ignored)}
        # Some systems drop a signal that is not handled even while it is blocked.
        default = signal.signal(signal.SIGCHLD, lambda *_: None)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        environment = self._plan.environment
        try:
            yield Program(
                self._plan.command,
                original_environment() if environment is None else environment,
                frozenset(mask),
                frozenset(ignored),
                self._plan.orphan,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            signal.signal(signal.SIGCHLD, default)

    def _take(self, heard: ReceivedSignal) -> None:
        if heard.number == signal.SIGCHLD:
            self._reap()
            self._take_events(self._supervisor.events())
            if heard.sender == self._supervisor.pid:
                return
        self._note_ending(heard)
        is_timer = heard.number in _TIMERS and heard.sender == 0
        # What the command says to its whole group, itself in it, is not said to it once more.
        if (heard.is_ours and heard.sender != self._pid) or is_timer:
            self._supervisor.order(Order.SIGNAL, heard.number)
        if heard.number in _STOPPING:
            # Stop as the terminal asks, heartbeats and all: the command does not serve either.
            _stop(heard.number)

    def _take_events(self, events: Sequence[tuple[SupervisorEvent, int]]) -> None:
        for what, number in events:
            if what == SupervisorEvent.STOPPED:
                self._watch.tell("failing")
            elif what == SupervisorEvent.CONTINUED:
                self._watch.tell("ok")
            elif what == SupervisorEvent.ENDED:
                self._exit_code, self._pid = number, 0
            elif what == SupervisorEvent.LEFT:
                self._left_count = number
        if self._supervisor.is_lost and self._exit_code is None:
            # The kernel has killed the command with it, or `_kill_below` does.
            log.error("%s: %s", self._watch.name, _SUPERVISOR_LOST)
            self._exit_code = -signal.SIGKILL

    def _note_ending(self, heard: ReceivedSignal) -> None:
        # A SIGHUP that a process sent means "read your settings again"; one of the kernel's means
        # that the terminal is gone.
        is_hangup = heard.number == signal.SIGHUP and not heard.is_ours
        if heard.number in _ENDING or is_hangup:
            self._ended_by = heard.number

    def _reap(self) -> None:
        """Reap the supervisor, and orphans if we are a container's init."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _stop(number: int) -> None:
    """Stop this process as the blocked signal would, until it is continued."""
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def wait_signal(numbers: set[int], timeout_ns: int) -> ReceivedSignal | None:
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
        # Negative and zero are kill, tgkill and sigqueue; positive is the kernel on its own. What
        # a write to a closed pipe has caused comes from this process itself.
        is_ours = info.si_code <= 0 and info.si_pid != os.getpid()
        return ReceivedSignal(info.si_signo, is_ours, info.si_pid if info.si_code <= 0 else 0)
    deadline_ns = NEVER if timeout_ns == NEVER else clock.now_ns() + timeout_ns
    while not signal.sigpending() & numbers:
        if clock.now_ns() >= deadline_ns:
            return None
        time.sleep(_POLL_S)
    number = signal.sigwait(numbers)
    return ReceivedSignal(number, not _is_from_keyboard(number))


def _is_from_keyboard(number: int) -> bool:
    """Guess whether a terminal sent a signal, where the system does not say."""
    if number not in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
