"""A settings file as text: how it is read, where in it a key stands, and all its mistakes at once.

    located(path) ─► (tables, a context that gives every mistake its line)

For the monitor's file and for an agent's, so only the standard library. Not here: what the
settings mean (`config`, `agent.settings`).
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from beatward.errors import ConfigError, ConfigErrors

_UTF_8_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(?P<list>\[)?\[\s*(?P<name>{_DOTTED})\s*\]")
_SETTING = re.compile(rf"\s*(?P<name>{_DOTTED})\s*=")


def located(path: Path) -> tuple[dict[str, Any], AbstractContextManager[None]]:
    """Read a file of TOML; raises ConfigError where it is none.

    Mistakes that are raised inside the context are given the lines that they stand in.
    """
    import tomllib  # noqa: PLC0415  2 MB that an agent without a file does not need

    text = _read(path)
    try:
        return tomllib.loads(text), _giving_lines(_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "the file", str(error), "valid TOML") from error


class Mistakes:
    """Collects what is wrong, so that all of it is told at once and not one after the other."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Keep the mistake that is raised inside, and go on behind it."""
        try:
            yield
        except ConfigError as error:
            self._found += error.problems

    def tell(self) -> None:
        """Raise what was caught, if anything was."""
        if self._found:
            raise together(self._found)


def together(found: list[ConfigError]) -> ConfigError:
    """Return one exception for several mistakes; a single one stays itself."""
    return found[0] if len(found) == 1 else ConfigErrors(tuple(found))


def _read(path: Path) -> str:
    wanted = "a readable TOML file"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), "the file", str(error), wanted) from error
    if content.startswith(_UTF_16_MARKS) or b"\0" in content[:4]:
        advice = f"{wanted} in UTF-8: save it again with that encoding"
        raise ConfigError(str(path), "the file", "UTF-16 or UTF-32", advice)
    try:
        # Editors on Windows begin a file with a mark, and end its lines in two characters.
        return content.removeprefix(_UTF_8_MARK).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{content[error.start]:02x}, which is not UTF-8"
        advice = f"{wanted} in UTF-8: save it again with that encoding"
        raise ConfigError(str(path), "the file", found, advice, line=line) from error


@contextmanager
def _giving_lines(lines: dict[str, int]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            if problem.line is None:
                problem.line = _line_of(problem.key, lines)
        raise


def _line_of(key: str, lines: dict[str, int]) -> int | None:
    """Return the line of a key, or of the table that it is missing in."""
    while key:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


def _lines(text: str) -> dict[str, int]:
    """Return where each table and key begins, by its path: `rule.0.actions`, counted from 1.

    Keys of tables that are written on one line are not found; the line is then the table's.
    """
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table, in_text = "", ""
    for number, line in enumerate(text.split("\n"), start=1):
        if in_text:
            in_text = "" if line.count(in_text) % 2 else in_text
            continue
        in_text = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
        if header := _HEADER.match(line):
            table = _path(header["name"])
            if header["list"]:
                count = counts.get(table, 0)
                counts[table] = count + 1
                found.setdefault(table, number)
                table = f"{table}.{count}"
            found.setdefault(table, number)
        elif setting := _SETTING.match(line):
            path = _path(setting["name"])
            found.setdefault(f"{table}.{path}" if table else path, number)
    return found


def _path(dotted: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_PART, dotted))
