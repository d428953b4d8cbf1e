"""One monitor a data folder: a lock that the operating system takes back when its holder dies.

SQLite's own locks would let two monitors take turns on one journal, each with its own idea of
the next sequence.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from beatward.errors import PermanentError


class FolderLock:
    """Held from construction until `release`, or until the process is gone."""

    def __init__(self, path: Path) -> None:
        """Take the lock on `path`, a file of its own that is made and left lying.

        Raises PermanentError naming folder and holder when another monitor has it. `flock`, not
        POSIX locks: those would let two stores of the same process in, and would be lost with the
        first of them to close.
        """
        self._descriptor: int | None = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PermanentError(
                f"the data folder {path.parent} cannot be used ({error.strerror}): it must exist "
                "and be writable by the user who runs the monitor"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise _refusal(path.parent, holder, error) from error
        self._descriptor = descriptor
        # The number is for people; a full disk must not keep a monitor from starting.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    @property
    def is_held(self) -> bool:
        """Whether it is still ours."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let another monitor in; calling it twice does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # Not unlinked: one who has just opened the old file would lock a name that is gone.
            os.close(descriptor)


def _refusal(folder: Path, holder: str, error: OSError) -> PermanentError:
    if not isinstance(error, BlockingIOError):
        return PermanentError(f"the data folder {folder} cannot be locked: {error.strerror}")
    return PermanentError(
        f"another monitor (process {holder or 'unknown'}) already uses the data folder {folder}: "
        "stop it first, or give this one a folder of its own (data = ... in [monitor])"
    )
