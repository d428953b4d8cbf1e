"""One run of a command that outlives the monitor and is never done again after it succeeded.

A monitor that is killed between a deed and its entry in the journal does not know that the deed
was done, and is asked for it again. So the deed itself writes down how it ended: a small shell
stands over the command, in a session of its own, and leaves `<attempt>.exit` in the key's folder.

That alone is not enough. Between the instant when a monitor starts that shell and the instant when
the shell could have written anything, a kill and a quick restart would start it twice. So the key
is locked *before* anything is started, with flock(2), and the lock goes down to the shell as an
open file. A lock belongs to the open file and not to the process that took it: it is held for as
long as the shell lives, whatever happens to the monitor, and the kernel lets go of it when the
shell ends, however it ends. There is no moment in between, and no process number that could have
been given to another process meanwhile.

    lock taken, a success on record   ->  done, nothing is run
    lock taken, none                  ->  run, and hand the lock down
    lock not to be had                ->  an earlier run goes on: wait for the lock

What the command prints goes through `tail`, so it is bounded however much it is, and goes on being
read when the monitor is gone. `tail` stays while a process holds the other end; a daemon that a
command left behind with its output open therefore neither hangs us nor dies of a broken pipe.

Not here: which command, and what its exit status means (`command.py`).
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OUTPUT_SIZE_MAX = 4096

SHELL = "/bin/sh"
TOLD = 128 + signal.SIGTERM
# 0 is the reading and 1 the writing end of the pipe for output, 2 the lock: the three numbers that
# every way to start a process can set. The command keeps neither the lock nor the reading end. Its
# exit status is written with one write(2) and read only under the lock, so no process can see
# half of it. After a TERM nothing is written: a command that was told to stop and then exits with 0
# has stopped, not succeeded. The shell's own remarks ("Terminated") are no command's output, so its
# standard error is not the command's. `command -p` finds the system's tail, whatever PATH says.
SCRIPT = f"""
exec 9>&2 8<&0 7>&1 </dev/null >/dev/null 2>&1
beatward_path=$1/$2 beatward_told=
echo "$$ $2" >&9
shift 2
(
    trap '' TERM
    command -p tail -c {OUTPUT_SIZE_MAX} >"$beatward_path.part" &&
        command -p mv -f "$beatward_path.part" "$beatward_path.out"
) <&8 7>&- 8<&- 9>&- &
exec 8<&-
trap 'beatward_told=1' TERM
(exec >&7 2>&7 7>&- 9>&-; exec "$@")
beatward_status=$?
exec 7>&-
[ -z "$beatward_told" ] || {{ wait; exit {TOLD}; }}
echo "$beatward_status" >"$beatward_path.exit"
exit "$beatward_status"
"""

# Waiting: an eighth of what has passed already, so short deeds are seen to end at once and long
# ones cost next to nothing.
_POLL_MIN_SECONDS = 0.005
_POLL_MAX_SECONDS = 0.1
_OUTPUT_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a run ended.

    status  the exit status as a shell gives it (128 + number for a signal); None when the run was
            ended before it could write one
    output  the end of what it printed; None when something it left behind still holds it open
    """

    status: int | None
    output: str | None


class CommandRun:
    """A run under way: our own child, or one that an earlier life of the monitor began."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder = folder
        self.attempt = attempt
        self._lock: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None

    @classmethod
    def begin(
        cls, folder: Path, attempt: int, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> "CommandRun | None":
        """Start, or find, the run of a key; None when it has succeeded before. Blocks on disk.

        folder   of this key alone
        Raises OSError when no process or file can be had.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        run = cls(folder, attempt)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock)
            if not _take(lock):
                stack.pop_all()  # Kept open: it is what we wait for.
                run._lock = lock
                return run
            if any(_status(path) == 0 for path in folder.glob("*.exit")):
                return None
            os.truncate(lock, 0)
            _clear(folder)
            run._child = _start(lock, folder, attempt, arguments, environment)
            run._leader = run._child.pid
        return run

    def is_running(self) -> bool:
        """Tell whether the command still runs; what it left in the background does not count."""
        if self._child is not None:
            return self._child.poll() is None
        if self._lock is None:
            return False  # Let go of: there is nothing left to wait for.
        self._read_leader(self._lock)
        return not _take(self._lock)

    async def wait_ended(self) -> None:
        """Wait until the command has ended; may be cancelled."""
        await _wait_until(lambda: not self.is_running())

    async def end(self, grace_seconds: float) -> None:
        """Tell everything in the run's session to stop, and after the grace make it."""
        # A run that has only just been handed the lock has not written its number yet.
        await _bounded(lambda: self._leader is not None or not self.is_running(), 1)
        self._signal(signal.SIGTERM)
        if not await _bounded(self._is_gone, grace_seconds):
            self._signal(signal.SIGKILL)
            # A process in uninterruptible sleep outlives even this; the lock knows.
            await _bounded(self._is_gone, 1)

    async def collect(self, grace_seconds: float) -> CommandEnd:
        """Return how the run ended, once it has, and let go of it.

        What is left of a run whose shell was killed is ended first: the next attempt must not
        find the last one still at work.
        """
        if await asyncio.to_thread(self._read_status) is None:
            await self.end(grace_seconds)
        written = self.folder / f"{self.attempt}.out"
        await _bounded(written.exists, _OUTPUT_WAIT_SECONDS)
        return await asyncio.to_thread(self._collect)

    def release(self) -> None:
        """Let go without ending anything."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._child is not None and self._child.poll() is None:
            # It has to be reaped if this process lives on.
            threading.Thread(target=self._child.wait, daemon=True).start()

    def _collect(self) -> CommandEnd:
        output = None
        with contextlib.suppress(OSError):
            raw = (self.folder / f"{self.attempt}.out").read_bytes()
            output = raw[-OUTPUT_SIZE_MAX:].decode("utf-8", "replace")
        ended = CommandEnd(self._read_status(), output)
        self.release()
        return ended

    def _read_status(self) -> int | None:
        status = _status(self.folder / f"{self.attempt}.exit")
        if status is not None or self._child is None:
            return status
        # The disk may be full; the shell's own status says the same, as long as we live to see it.
        status = self._child.returncode
        return None if status is None or status < 0 else status

    def _read_leader(self, lock: int) -> None:
        fields = os.pread(lock, 64, 0).split()
        if len(fields) == 2 and all(word.isdigit() for word in fields):
            self._leader, self.attempt = int(fields[0]), int(fields[1])

    def _signal(self, number: signal.Signals) -> None:
        if self._leader is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader, number)

    def _is_gone(self) -> bool:
        if self.is_running():
            return False
        if self._leader is None:
            return True
        try:
            os.killpg(self._leader, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False  # Something in it has become another user's.
        return False


def _start(
    lock: int,
    folder: Path,
    attempt: int,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    reading, writing = os.pipe()
    try:
        return subprocess.Popen(  # noqa: S603 - the user's own settings say what is run
            [SHELL, "-c", SCRIPT, "beatward", str(folder.absolute()), str(attempt), *arguments],
            stdin=reading,
            stdout=writing,
            stderr=lock,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(reading)
        os.close(writing)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _status(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink(missing_ok=True)


async def _wait_until(condition: Callable[[], bool]) -> None:
    pause_seconds = _POLL_MIN_SECONDS
    while not condition():
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 9 / 8, _POLL_MAX_SECONDS)


async def _bounded(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition at most for a time; return whether it came true."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _wait_until(condition)
    return condition()


def remove(folder: Path) -> None:
    """Drop everything about a key; a run under way goes on and is no longer known."""
    shutil.rmtree(folder, ignore_errors=True)
