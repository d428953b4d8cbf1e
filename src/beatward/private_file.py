"""A file that is written whole, or not at all, and that only its owner reads."""

import os
from pathlib import Path


def write_private(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Write a file of mode 0600 in place of what was there; raises OSError.

    is_durable   text and name are on disk then, so that losing power loses neither
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    # What a crash has left behind; it, or a link in its place, is not written through.
    fresh.unlink(missing_ok=True)
    # 0600 before there is a secret in it.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if is_durable:
            os.fsync(file.fileno())
    fresh.replace(path)
    if is_durable:
        _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
