"""The name of this machine's time zone, as the monitor needs it: `Europe/Berlin`, not an offset.

The order is that of the C library, by which cron goes: TZ, then /etc/localtime. That file is mostly
a link whose target ends with the name. Where it is a copy, or is mounted into a container, the name
is that of the file under zoneinfo which has the same bytes: first the one in /etc/timezone, which
Debian keeps but the C library does not read, so that it may be out of date.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

LOCALTIME = Path("/etc/localtime")
TIMEZONE = Path("/etc/timezone")
FOLDERS = tuple(
    Path(folder)
    for folder in ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo")
)
_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
# Copies of the whole tree, and what is no zone.
_NOT_NAMES = ("posix/", "right/", "localtime", "posixrules")


def local_zone() -> str:
    """Return the time zone of this machine; raises ValueError where it cannot be told.

    A machine without /etc/localtime has UTC.
    """
    named = os.environ.get("TZ", "").removeprefix(":")
    if named.startswith("/"):
        return _of_file(Path(named), "TZ")
    if named:
        is_known = named == "UTC" or any((folder / named).is_file() for folder in FOLDERS)
        # Without the files the monitor, which has them, will say whether there is such a zone.
        if _NAME.fullmatch(named) and (is_known or "/" in named):
            return named
        raise ValueError(f"TZ is {named!r}, which is not the name of a time zone")
    if not os.path.lexists(LOCALTIME):
        return "UTC"
    return _of_file(LOCALTIME, str(LOCALTIME))


def _of_file(path: Path, what: str) -> str:
    _, _, linked = os.path.realpath(path).partition("/zoneinfo/")
    if linked and not linked.startswith(_NOT_NAMES):
        return linked
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{what} cannot be read: {error.strerror}") from error
    name = _noted()
    if name and _is_same(name, data):
        return name
    # All of them have the same rules; a place is understood best.
    found = sorted(_names_of(data), key=lambda name: ("/" not in name, name[:4] == "Etc/", name))
    if not found:
        raise ValueError(f"{what} is a copy, and no file of {FOLDERS[0]} has the same content")
    return found[0]


def _noted() -> str:
    try:
        name = TIMEZONE.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if _NAME.fullmatch(name) else ""


def _is_same(name: str, data: bytes) -> bool:
    for folder in FOLDERS:
        try:
            if (folder / name).read_bytes() == data:
                return True
        except OSError:
            continue
    return False


def _names_of(data: bytes) -> Iterator[str]:
    for folder in FOLDERS:
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            if name.startswith(_NOT_NAMES) or not _NAME.fullmatch(name):
                continue
            try:
                is_like = path.is_file() and path.stat().st_size == len(data)
                if is_like and path.read_bytes() == data:
                    yield name
            except OSError:
                continue
