"""How a program with a heart ends, and what the monitor is told of it: one rule for both forms.

    end of the program, exit code 0      it has left
    Ctrl-C, SIGTERM                      it has left: it was asked to end
    another exit code, an exception      it has exited with that code, and is held for dead
    SIGKILL, os._exit, a crash           nothing is said; the monitor finds out by silence

`docs/sdk.md` has the whole table. Python tells an exit function neither the exit code nor that a
signal came, so this room listens while a heart beats, and takes both back when the last one stops:

    sys.exit   raises a SystemExit that notes when the interpreter itself asks for its code
    SIGTERM    only while it would have ended the program without a word: hearts say goodbye in a
               thread, then the signal is sent again with its default action, so that the
               program's parent sees the same end. A second SIGTERM ends the program at once.

Not here: how a goodbye is said (`heart`, `conversation`).
"""

import _thread
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

log = logging.getLogger("beatward.agent")

# As a shell writes "ended by this signal": a handler that was asked to end says so in this way.
_ASKED_TO_END = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@dataclass(frozen=True, slots=True, eq=False)
class Beating:
    """One life of a heart in this process.

    is_job     it is a run, which an end from outside has cut short
    announce   begins to say goodbye, if that takes no waiting
    leave      says goodbye and waits until it was heard; from any thread
    """

    is_job: bool
    announce: Callable[[int | None], None]
    leave: Callable[[int | None], None]


class Terminated(BaseException):
    """SIGTERM as the reason for an end; never raised."""


def exit_code_of(error: BaseException | None, *, is_job: bool = False) -> int | None:
    """Say with which exit code a program ends that is left by this exception.

    is_job    an end from outside is a failure: the work was not done
    Returns None for an orderly end, or the code as the program's parent sees it; a signal is
    negative.
    """
    if isinstance(error, SystemExit):
        code = _status(error.code)
        return None if code in _ASKED_TO_END and not is_job else code
    if isinstance(error, KeyboardInterrupt | Terminated):
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        return -number if is_job else None
    # CancelledError is how a loop ends its tasks in order; asyncio is not imported to say so.
    is_failure = isinstance(error, Exception) or (is_job and not isinstance(error, GeneratorExit))
    return 1 if error is not None and is_failure else None


def _status(code: object) -> int | None:
    if code is None:
        return None
    if not isinstance(code, int):
        return 1  # The interpreter prints it and ends with 1.
    return code & 0xFF if os.name == "posix" else int(code)


_AGAIN_S = 0.05
_CODE: Any = SystemExit.__dict__["code"]


class _NotedExit(SystemExit):
    """What `sys.exit` raises while a heart beats; code that catches it finds a SystemExit."""

    @property
    def code(self) -> Any:
        """The exit code; the interpreter asks for it from no frame at all, and only at the end."""
        found = _CODE.__get__(self)
        if sys._getframe().f_back is None:  # noqa: SLF001  documented, and there is no other way
            _ending.noted = SystemExit(found)
        return found

    @code.setter
    def code(self, value: Any) -> None:
        _CODE.__set__(self, value)


class _Ending:
    """The hearts of this process, and what was put in place for them."""

    def __init__(self) -> None:
        self.hearts: list[Beating] = []
        self.noted: SystemExit | None = None
        self.is_asked = self.is_over = False
        self._lock = threading.RLock()
        self._pause = threading.Event()
        self._exit = sys.exit

    def add(self, heart: Beating, *, handle_sigterm: bool) -> None:
        """Let a heart say goodbye when the program ends."""
        with self._lock:
            if not self.hearts:
                self.noted = None
                self._exit, sys.exit = sys.exit, self._noted_exit
                atexit.register(self._at_exit)
                self._attend_child()
            self.hearts.append(heart)
            if handle_sigterm:
                self._handle_sigterm()

    def remove(self, heart: Beating) -> None:
        """Forget a heart that has stopped."""
        with self._lock:
            if heart not in self.hearts:
                return
            self.hearts.remove(heart)
            if not self.hearts:
                self._withdraw()

    def forget_all(self) -> None:
        """Begin anew in a forked child, in which no heart beats."""
        self._lock = threading.RLock()
        if self.hearts or self.is_asked:
            self.hearts, self.is_asked = [], False
            self._withdraw()

    def end_all(self, error: BaseException | None) -> None:
        """Say goodbye for all hearts; one after the other, but none waits for the monitor alone."""
        with self._lock:
            hearts = list(reversed(self.hearts))
        codes = [exit_code_of(error, is_job=heart.is_job) for heart in hearts]
        for heart, code in zip(hearts, codes, strict=True):
            heart.announce(code)
        for heart, code in zip(hearts, codes, strict=True):
            try:
                heart.leave(code)
            except Exception:
                # A program that ends is not held up, nor is the next heart.
                log.exception("a goodbye failed")

    # --- what is put in place ---

    def _noted_exit(self, status: Any = None, /) -> NoReturn:
        """Exit the interpreter by raising SystemExit(status), as `sys.exit` does."""
        raise _NotedExit(status)

    def _withdraw(self) -> None:
        if self.is_asked:
            return  # Whatever the program still does, it ends by the signal.
        if sys.exit == self._noted_exit:
            sys.exit = self._exit
        atexit.unregister(self._at_exit)
        if signal.getsignal(signal.SIGTERM) == self._take_sigterm:
            # Elsewhere than in the main thread it stays, and does what would be done without it.
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle_sigterm(self) -> None:
        is_ours_to_take = (
            os.name == "posix"
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        if is_ours_to_take:
            self.is_asked = self.is_over = False
            with contextlib.suppress(ValueError):  # Another interpreter of this process.
                signal.signal(signal.SIGTERM, self._take_sigterm)

    def _take_sigterm(self, number: int, _: FrameType | None) -> None:
        if self.is_asked or not self.hearts:
            self.is_over = True
            _die(number)
            return
        self.is_asked = True
        # Nothing is waited for here: what the main thread was doing may hold a lock that a goodbye
        # needs. The bare call takes none itself.
        _thread.start_new_thread(self._end_by_sigterm, ())

    def _end_by_sigterm(self) -> None:
        try:
            self.end_all(Terminated())
        finally:
            main = threading.main_thread().ident
            # Python's handlers run in the main thread, so it is that one which has to be woken; a
            # signal that comes just before it begins to wait is not seen, and is sent again.
            while not self.is_over and main is not None:
                signal.pthread_kill(main, signal.SIGTERM)
                self._pause.wait(_AGAIN_S)

    def _at_exit(self) -> None:
        self.end_all(self._reason())
        if self.is_asked:
            _die(signal.SIGTERM)

    def _reason(self) -> BaseException | None:
        if self.is_asked:
            return Terminated()
        if self.noted is not None:
            return self.noted
        # Set by the interpreter when an exception ended the program; in a session at the prompt
        # it is only the last one that was shown.
        shown = getattr(sys, "last_value", None)
        return shown if isinstance(shown, BaseException) and not hasattr(sys, "ps1") else None

    def _attend_child(self) -> None:
        """Hear of the end of a process of `multiprocessing`, which calls no exit functions."""
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize  # noqa: PLC0415  loaded by now

            # It is called while the exception that ends the process is on its way.
            Finalize(
                None, lambda: self.end_all(sys.exc_info()[1] or self._reason()), exitpriority=0
            )


def _die(number: int) -> None:
    """End as the signal would have ended the program; a container's first process outlives it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


_ending = _Ending()
add = _ending.add
remove = _ending.remove
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ending.forget_all)
