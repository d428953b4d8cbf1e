"""How the asking commands look: one colour a status, one form a time, and plain JSON.

Colour is a hint beside the word, never instead of it, and goes away by itself when the output is
not a terminal (rich also heeds NO_COLOR).
"""

import json
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.text import Text

COLOURS = {
    "new": "cyan",
    "alive": "green",
    "suspect": "yellow",
    "dead": "bold red",
    "left": "dim",
    "paused": "blue",
    "failing": "magenta",
    "recovering": "bright_cyan",
}
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def console() -> Console:
    """Return where to print; when it is no terminal, wide enough that no row is cut."""
    plain = Console(highlight=False, soft_wrap=False)
    return plain if plain.is_terminal else Console(highlight=False, width=200)


def print_json(value: Any) -> None:
    """Print an answer for programs: one object, indented, keys as the API has them."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print one object a line, at once."""
    click.echo(json.dumps(value, ensure_ascii=False))


def status_text(word: str | None) -> Text:
    """Return a status in its colour."""
    return Text(word or "", style=COLOURS.get(word or "", ""))


def ago(duration_ns: int | None) -> str:
    """Return a length of time as people say it: `3.1 s`, `12 min`, or a dash for never."""
    if duration_ns is None:
        return "-"
    seconds = duration_ns / 1e9
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def print_event(screen: Console, event: Mapping[str, Any]) -> None:
    """Print one event on a line of its own, which the terminal may fold but we never cut."""
    screen.print(event_line(event), soft_wrap=True)


def event_line(event: Mapping[str, Any]) -> Text:
    """Return one event as one line: when, which node, what."""
    at = str(event["at"])
    # Appended, not given to Text itself: its own style would lie under the whole line.
    line = Text()
    line.append(f"{at[:10]} {at[11:23]}Z ", style="dim")
    line.append(f"{event['id']:>6}  ", style="dim")
    word = event["status"] if event["event"] == "transition" else event["event"]
    line.append(f"{word or '':<10} ", style=COLOURS.get(word or "", "bold"))
    line.append(str(event["explanation"] or _summary(event)))
    return line


def _summary(event: Mapping[str, Any]) -> str:
    parts = (event["node"], event["action"], event["outcome"], event["cause"])
    return " ".join(str(part) for part in parts if part)
