"""A service's lock file: whose guardian is there, and what the last one has given up for certain.

Locked is it by a guardian and its shadow together, so it is free when both are gone. What stands in
it is the token that was given up, and in which life of the machine: a guardian that comes after
need not stop what its predecessor, or that one's shadow, has stopped already. After a start of
the machine anything may run, whoever started it, so nothing is taken from before.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SIZE_MAX = 100


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
        """Let somebody else take it, for this process and its fork."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def given_up(self) -> int:
        """Return the token that a guardian before has given up for certain, or 0."""
        found = os.pread(self._file, _SIZE_MAX, 0).decode("ascii", "replace")
        boot, _, token = found.partition(" ")
        return int(token) if boot and boot == self._boot and token.isdigit() else 0

    def note(self, token: int) -> None:
        """Write down that a token was given up for certain; 0: one is held, or may be."""
        with contextlib.suppress(OSError):  # Whoever comes next stops it once more.
            os.ftruncate(self._file, 0)
            if token:
                os.pwrite(self._file, f"{self._boot} {token}".encode(), 0)
