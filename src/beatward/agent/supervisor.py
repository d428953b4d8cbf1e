"""The process between the wrapper and its command: parent of the one, and of all that it leaves.

    wrapper ──run, signals──► supervisor ──fork──► command ──► whatever it starts
            ◄──began, ended──┘

The wrapper may be killed at any moment. The monitor calls the node dead then, and others act on
that, so the command has to end, and everything that the command has started. The supervisor sees
the wrapper's end of their socket close, and kills all that is below it. It is a subreaper, so a
process that has forked away from its parent, or has a session of its own, is still below it. The
wrapper is a subreaper as well, and does the same when the supervisor is killed.

The supervisor is forked before any thread is there. So it may run Python between its own fork and
exec, and what the command inherits is exact: descriptors, signal mask, ignored signals, process
group, environment. It has a process group of its own: a signal to the wrapper's whole group, even
SIGKILL, leaves the one who cleans up.

Not here: when the command runs again, and what the monitor hears of it (`command`).
"""

import contextlib
import ctypes
import errno
import gc
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from beatward.core.instants import MILLISECOND, NEVER, SECOND

from . import clock
from .attempts import Backoff
from .processes import become_subreaper, processes_below

NOT_EXECUTABLE = 126
NOT_FOUND = 127
# What is left is sent SIGKILL again and again for this long; longer waits only for a broken disk.
KILL_NS = 5 * SECOND
# Between two looks at whether those are gone that were told to end.
LOOK_MIN_NS = 5 * MILLISECOND
LOOK_MAX_NS = 200 * MILLISECOND

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_MESSAGE = struct.Struct("<iq")
# Variables that name the process which they are meant for. systemd writes the wrapper's number.
_OWN_NUMBER = (b"LISTEN_PID", b"WATCHDOG_PID", b"SYSTEMD_EXEC_PID")
# It says the same as LISTEN_PID in another way, and may be left out.
_OWN_INODE = b"LISTEN_PIDFDID"
# Python ignores these from its start on, whatever it found.
_PYTHONS_OWN = tuple(
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)
)


class Order(IntEnum):
    """From the wrapper to the supervisor, with a number."""

    RUN = 1  # start the command
    SIGNAL = 2  # send the command this signal
    END = 3  # end all that is left; nanoseconds between SIGTERM and SIGKILL
    LEAVE = 4  # the wrapper ends in order: end too, and leave what runs alone


class SupervisorEvent(IntEnum):
    """From the supervisor to the wrapper, with a number."""

    BEGAN = 1  # the command's process
    REFUSED = 2  # why there is none: an errno, or minus one where it could not even be tried
    STOPPED = 3
    CONTINUED = 4
    ENDED = 5  # exit code, or minus the signal
    LEFT = 6  # the answer to END: how many processes could not be ended


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and with what it is to find itself.

    mask      signals that were blocked when the wrapper was started
    ignored   signals that were ignored then
    orphan    what becomes of it when the wrapper is killed: `kill`, `term` or `keep`
    """

    command: tuple[str, ...]
    environment: Mapping[bytes, bytes]
    mask: frozenset[int]
    ignored: frozenset[int]
    orphan: str

    def become(self) -> NoReturn:
        """Turn this process, which has one thread, into the command; raises OSError."""
        if signal.SIGINT not in self.ignored:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # And not Python's exception.
        # First of all, while SIGPIPE is ignored: one that waits must not end what is to come.
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        for number in _PYTHONS_OWN:
            signal.signal(number, signal.SIG_DFL)
        for number in self.ignored:
            signal.signal(number, signal.SIG_IGN)
        os.execvpe(self.command[0], self.command, self.environment)  # noqa: S606  what we are for

    def of_child(self, parent: int) -> "Program":
        """Return it for a process that is not the wrapper's own, which has the number `parent`."""
        found = dict(self.environment)
        meant = str(parent).encode()
        mine = str(os.getpid()).encode()
        if found.get(_OWN_NUMBER[0]) == meant:
            found.pop(_OWN_INODE, None)
        found |= {name: mine for name in _OWN_NUMBER if found.get(name) == meant}
        return Program(self.command, found, self.mask, self.ignored, self.orphan)


def original_environment() -> dict[bytes, bytes]:
    """Return this process's environment without what Python has added to it at its start."""
    found = dict(os.environb)
    # In the C locale Python sets LC_CTYPE (PEP 538), for itself and all its children.
    with contextlib.suppress(OSError):
        given = Path("/proc/self/environ").read_bytes().split(b"\0")
        if b"LC_CTYPE" in found and not any(row.startswith(b"LC_CTYPE=") for row in given):
            del found[b"LC_CTYPE"]
    return found


class Supervisor:
    """The wrapper's side. `events` is to be asked for after every SIGCHLD.

    pid       of the supervisor, which also sends SIGCHLD when it has any
    is_lost   it was killed, or its socket is gone
    """

    def __init__(self, program: Program) -> None:
        """Fork it; this process must have one thread. Raises OSError."""
        ours, its = socket.socketpair()
        parent = os.getpid()
        become_subreaper()
        gc.freeze()  # So that the two share what is never written to again.
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _run(_Nurse(program, its, parent))
        its.close()
        ours.setblocking(False)  # noqa: FBT003  its only parameter
        self._socket = ours
        self._received = b""
        self.is_lost = False

    def order(self, what: Order, number: int = 0) -> None:
        """Ask for something; nothing happens when the supervisor is lost."""
        with contextlib.suppress(OSError):
            self._socket.send(_MESSAGE.pack(what, number))

    def run(self) -> list[tuple[SupervisorEvent, int]]:
        """Start the command: the first event is BEGAN or REFUSED; none if the supervisor died."""
        self.order(Order.RUN)
        found: list[tuple[SupervisorEvent, int]] = []
        while not found and not self.is_lost:
            select.select([self._socket], [], [])
            found = self.events()
        return found

    def events(self) -> list[tuple[SupervisorEvent, int]]:
        """Return what has happened since the last call, in order."""
        try:
            while data := self._socket.recv(4096):
                self._received += data
            self.is_lost = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_lost = True
        whole = len(self._received) // _MESSAGE.size * _MESSAGE.size
        data, self._received = self._received[:whole], self._received[whole:]
        return [(SupervisorEvent(what), number) for what, number in _MESSAGE.iter_unpack(data)]

    def leave(self) -> None:
        """End the supervisor, and nothing that it is the parent of."""
        self.order(Order.LEAVE)
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class _Nurse:
    """The supervisor's own loop.

    parent   the wrapper; a signal SIGCHLD tells it that there is something to read
    """

    def __init__(self, program: Program, channel: socket.socket, parent: int) -> None:
        self._program = program
        self._channel = channel
        self._parent = parent
        self._group = os.getpgrp()
        self._command = 0  # The command's process while it runs.
        self._received = b""
        self._is_over = False
        # How it is ended what is left, if it is: when SIGKILL, when to give up, when to look again.
        self._kill_ns = self._give_up_ns = self._look_ns = NEVER
        self._backoff = Backoff(2 * LOOK_MIN_NS, LOOK_MAX_NS)
        self._is_deserted = False

    def run(self) -> None:
        """Return when the wrapper has ended, or is gone and nothing has to be ended any more."""
        self._pid = os.getpid()
        # Of its own, in the same session: the command can still join the wrapper's.
        os.setpgid(0, 0)
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        # Whatever is sent to all processes of a name or a terminal is meant for the wrapper.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - {signal.SIGCHLD})
        while not self._is_over:
            self._wait(reader)
            self._reap()
            self._end_what_is_left(clock.now_ns())

    def _wait(self, reader: int) -> None:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        if not self._is_deserted:
            poll.register(self._channel, select.POLLIN)
        wait_ns = self._look_ns - clock.now_ns()
        found = poll.poll(None if self._look_ns == NEVER else max(wait_ns, 0) // MILLISECOND + 1)
        for fileno, _ in found:
            if fileno == reader:
                os.read(reader, 4096)
            else:
                self._listen()

    def _listen(self) -> None:
        try:
            data = self._channel.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._be_deserted()
        self._received += data
        while len(self._received) >= _MESSAGE.size:
            what, number = _MESSAGE.unpack(self._received[: _MESSAGE.size])
            self._received = self._received[_MESSAGE.size :]
            self._heed(Order(what), number)

    def _heed(self, what: Order, number: int) -> None:
        if what == Order.RUN:
            self._launch()
        elif what == Order.SIGNAL and self._command:
            # It cannot be another process: it is reaped by this one only.
            os.kill(self._command, number)
        elif what == Order.END:
            self._begin_ending(number)
        elif what == Order.LEAVE:
            self._is_over = True

    def _be_deserted(self) -> None:
        """Make true what the monitor says of the node, whose wrapper was killed."""
        self._is_deserted = True
        if self._program.orphan == "kill":
            self._begin_ending(0)
            self._give_up_ns = NEVER
            return
        if self._program.orphan == "term":
            self._signal_all(signal.SIGTERM)
        self._is_over = True

    # --- the command ---

    def _launch(self) -> None:
        try:
            reader, writer = os.pipe()
            child = os.fork()
        except OSError as error:
            self._tell(SupervisorEvent.REFUSED, -(error.errno or 1))
            return
        if child == 0:
            self._become(writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:  # Closed by exec, or with the errno in it.
            refusal = pipe.read()
        if refusal:
            os.waitpid(child, 0)
            self._tell(SupervisorEvent.REFUSED, int(refusal))
        else:
            self._command = child
            self._tell(SupervisorEvent.BEGAN, child)

    def _become(self, writer: int) -> NoReturn:
        number = errno.EINTR
        try:
            signal.set_wakeup_fd(-1)
            with contextlib.suppress(OSError):  # The wrapper has just been killed.
                os.setpgid(0, self._group)
            if self._program.orphan == "kill" and sys.platform == "linux":
                # For the moment in which the wrapper and the supervisor are killed together.
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
                if os.getppid() != self._pid:
                    os.kill(os.getpid(), signal.SIGKILL)
            self._program.of_child(self._parent).become()
        except OSError as error:
            number = error.errno or number
        finally:  # Two processes must never run the supervisor's code.
            os.write(writer, str(number).encode())
            os._exit(NOT_FOUND)

    def _reap(self) -> None:
        options = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
        while True:
            try:
                pid, status = os.waitpid(-1, options)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self._command:
                continue
            if os.WIFSTOPPED(status):
                self._tell(SupervisorEvent.STOPPED)
            elif os.WIFCONTINUED(status):
                self._tell(SupervisorEvent.CONTINUED)
            else:
                self._command = 0
                self._tell(SupervisorEvent.ENDED, os.waitstatus_to_exitcode(status))

    # --- what it has left ---

    def _begin_ending(self, patience_ns: int) -> None:
        now_ns = self._look_ns = clock.now_ns()
        self._kill_ns = now_ns + patience_ns
        self._give_up_ns = self._kill_ns + KILL_NS
        self._backoff.reset()
        if patience_ns and self._has_children():
            self._signal_all(signal.SIGTERM)

    def _end_what_is_left(self, now_ns: int) -> None:
        if self._look_ns == NEVER or (now_ns < self._look_ns and self._has_children()):
            return
        if self._has_children() and now_ns < self._give_up_ns:
            if now_ns >= self._kill_ns:
                self._signal_all(signal.SIGKILL)
            pause_ns = self._backoff.next_ns()
            self._look_ns = min(now_ns + pause_ns, max(self._kill_ns, now_ns + LOOK_MIN_NS))
            return
        self._look_ns = NEVER
        self._is_over = self._is_deserted
        self._tell(
            SupervisorEvent.LEFT, len(processes_below(self._pid)) if self._has_children() else 0
        )

    @staticmethod
    def _has_children() -> bool:
        """Tell whether anything is left: a subreaper is the parent of all that has no other."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _signal_all(self, number: int) -> None:
        found = processes_below(self._pid)
        if self._command and self._command not in found:  # Without /proc.
            found.append(self._command)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                if number == signal.SIGTERM:
                    os.kill(pid, signal.SIGCONT)  # What is stopped could not end.

    def _tell(self, what: SupervisorEvent, number: int = 0) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(_MESSAGE.pack(what, number))
            if what not in (SupervisorEvent.BEGAN, SupervisorEvent.REFUSED):
                os.kill(self._parent, signal.SIGCHLD)


def _run(nurse: _Nurse) -> NoReturn:
    """Be the supervisor and nothing else: what the wrapper does at its exit is not done here."""
    code = 1
    try:
        become_subreaper()
        if sys.platform == "linux":
            # Another name than the wrapper's, so that `pkill -9 beatward` leaves it to clean up.
            ctypes.CDLL(None).prctl(_PR_SET_NAME, b"bw-supervisor", 0, 0, 0)
        nurse.run()
        code = 0
    finally:
        os._exit(code)
