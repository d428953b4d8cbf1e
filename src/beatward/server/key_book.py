"""What the master key cannot say: which keys are not good any more.

Every secret is derived from the master key, so nothing is registered and nothing can be crossed
out. What can be raised is a name's epoch, which is part of the derivation of its key. The epochs
are in `keys.json` beside `master.key` and not in the journal: a journal that is lost, or taken from
a backup, must not make a stolen key good again.

The running monitor and `beatward token` read and write the file; a change is made under a lock, and
is on disk before anything follows from it. Not here: deriving keys (`core.protocol.keys`).
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beatward.core.protocol.keys import is_name, node_id
from beatward.errors import ConfigError, TemporaryError
from beatward.private_file import write_private

KEYS_FILE = "keys.json"
_LOCK_FILE = "keys.lock"
_VERSION = 1
_EPOCH_MAX = (1 << 32) - 1


class KeyBook:
    """Keeps it. `epoch` may be asked from any thread; `revoke` waits for a disk."""

    def __init__(self, data: Path) -> None:
        """Read the file of a data folder; a folder without one has revoked nothing.

        Raises ConfigError when the file is damaged: taken for empty, it would make every stolen
        key good again.
        """
        self._path = data / KEYS_FILE
        # By identity. Replaced as a whole and never changed, so that readers need no lock.
        self._epochs: Mapping[int, int] = _by_identity(self._read())

    def epochs(self) -> Mapping[int, int]:
        """Return the epochs that are not 0, by identity."""
        return self._epochs

    def epoch(self, node: int) -> int:
        """Return how often the key of an identity was revoked."""
        return self._epochs.get(node, 0)

    def revoke(self, name: str) -> int:
        """Raise the epoch of a name and return it; it is on disk then.

        Raises TemporaryError when it cannot be written; then nothing has changed.
        """
        try:
            with self._locked():
                names = self._read()
                names[name] = epoch = names.get(name, 0) + 1
                self._write(names)
                self._epochs = _by_identity(names)
        except (OSError, ConfigError) as error:
            message = f"the key of {name} is not revoked, for {self._path} has to say so: {error}"
            raise TemporaryError(message) from error
        return epoch

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self._path.with_name(_LOCK_FILE), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, int]:
        """Return the epochs by name; raises ConfigError."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._damaged(str(error)) from error
        try:
            names = _epochs_in(json.loads(text))
        except ValueError as error:
            raise self._damaged(str(error)) from error
        return names

    def _damaged(self, found: str) -> ConfigError:
        remedy = (
            "the file as the monitor wrote it: restore a backup of it. Without it keys that were "
            "revoked would be good again"
        )
        return ConfigError(str(self._path), "the epochs of keys", found, remedy)

    def _write(self, names: Mapping[str, int]) -> None:
        content = {"version": _VERSION, "epochs": names}
        write_private(self._path, json.dumps(content, indent=1, sort_keys=True))


def _by_identity(names: Mapping[str, int]) -> Mapping[int, int]:
    return {node_id(name): epoch for name, epoch in names.items()}


def _epochs_in(content: Any) -> dict[str, int]:
    """Check what was read; raises ValueError."""
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise ValueError(f"no object of version {_VERSION}")
    names = content.get("epochs")
    if not isinstance(names, dict) or content.keys() != {"version", "epochs"}:
        raise ValueError("other members than version and epochs")
    for name, epoch in names.items():
        if not is_name(name) or type(epoch) is not int or not 0 < epoch <= _EPOCH_MAX:
            raise ValueError(f"the epoch {epoch!r} of {name!r}")
    return names
