"""The master key: made once, kept in the data folder, readable by its owner only.

Every other secret is derived from it (`core.protocol.keys`), so it is all that has to be backed
up, and all that has to be kept secret.
"""

import contextlib
import os
import secrets
from pathlib import Path

from beatward.core.protocol.keys import KEY_SIZE
from beatward.errors import ConfigError

MASTER_FILE = "master.key"


def load_or_create(data: Path) -> bytes:
    """Return the master key of a data folder; make folder and key where there are none.

    Raises ConfigError when the key cannot be read, is damaged, or is readable by others.
    """
    path = data / MASTER_FILE
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        mode = path.stat().st_mode & 0o777
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), "the master key", str(error), "a readable file") from error
    if len(key) != KEY_SIZE:
        found = f"{len(key)} bytes"
        raise ConfigError(str(path), "the master key", found, f"{KEY_SIZE} bytes; restore a backup")
    if mode & 0o077:
        raise ConfigError(str(path), "its mode", f"{mode:03o}", f"600; run: chmod 600 {path}")
    return key


def _create(path: Path) -> None:
    # Linked into place when it is complete: of two who begin at once, both get the same key.
    fresh = path.with_name(f"{MASTER_FILE}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_SIZE))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # the other was first, and its key is as good
            os.link(fresh, path)
    finally:
        fresh.unlink()
