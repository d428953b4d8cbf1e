"""A service's lock file: which process is there, and whose end the file proves.

Locked is it by a guardian and its shadow together, or by a program that stands by itself, so it is
free when these are gone. What stands in it is one of

    BOOT TOKEN LIFE                  a guardian has given that token up for certain, which that life
                                     of the node was lent; LIFE is left out where it is not known
    held BOOT DEVICE:INODE TOKEN LIFE   the program that has the lock holds that token

A guardian that comes after need not stop what its predecessor, or that one's shadow, has stopped
already. After a start of the machine any process may have been started, so that is not taken
from before. Both lines prove a life's end (`ended`): the first is written only then; the second is
true for who has the lock, of that very file and in that boot. In a copy the inode is another.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SIZE_MAX = 300
_HELD = "held"


def lock_path(state: Path, service: str) -> Path:
    """Return the file that a service's guardian or program locks, beside the node's state file."""
    # No service's name has a `+`, so no two files are one.
    return state.with_name(f"{state.stem}+{service.replace(':', '%3A')}.lock")


class Lock:
    """One lock file; a fork shares the lock, and it is held until both have ended."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._boot = ""
        with contextlib.suppress(OSError):
            self._boot = _BOOT_ID.read_text("ascii").strip()

    def take(self) -> bool:
        """Take the lock, or return False at once."""
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def release(self) -> None:
        """Let another process take it, for this process and its fork."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let another process take it, and be done with the file."""
        self.release()
        os.close(self._file)

    def given_up(self) -> int:
        """Return the token that a guardian before has given up for certain, or 0."""
        match self._fields():
            case [boot, token, *_] if boot == self._boot and token.isdigit():
                return int(token)
        return 0

    def ended(self) -> tuple[int, int] | None:
        """Return the token and the life of a holder that has ended for certain; None: of none.

        To be asked by who has the lock.
        """
        match self._fields():
            case [word, boot, place, token, life] if word == _HELD:
                is_this_one = boot == self._boot and place == self._place()
                found = (token, life) if is_this_one else ("", "")
            case [_, token, life]:
                found = (token, life)
            case _:
                return None
        return (int(found[0]), int(found[1])) if all(map(str.isdigit, found)) else None

    def note(self, token: int, life: int = 0) -> None:
        """Write down that a token was given up for certain; 0: one is held, or may be.

        life   which was lent it; 0: not known
        """
        text = f"{self._boot} {token}" if self._boot and token else ""
        self._write(f"{text} {life}" if text and life else text)

    def note_held(self, token: int, life: int) -> None:
        """Write down that the process that has the lock holds a token, in a life of the node."""
        text = f"{_HELD} {self._boot} {self._place()} {token} {life}"
        self._write(text if self._boot else "")

    def _fields(self) -> list[str]:
        return os.pread(self._file, _SIZE_MAX, 0).decode("ascii", "replace").split()

    def _place(self) -> str:
        status = os.fstat(self._file)
        return f"{status.st_dev}:{status.st_ino}"

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # Then the next process stops it once more, and waits.
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)
