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


def when(at: str) -> str:
    """Write an instant of the API to the second."""
    return f"{at[:10]} {at[11:19]}Z"


def nodes_meant(count: int, names: tuple[str, ...]) -> str:
    """Say which nodes, and `is` or `are` behind it."""
    if len(names) == 1 and count == 1:
        return f"{names[0]} is"
    return "1 node is" if count == 1 else f"{count:,} nodes are"


def about(silence: Mapping[str, Any]) -> str:
    """Say whom a silence is about."""
    labels = " ".join(f"{key}={value}" for key, value in sorted(silence["labels"].items()))
    if silence["node"] != "*":
        return f"{silence['node']} {labels}".rstrip()
    return labels or "everything"


def remarks(node: Mapping[str, Any]) -> str:
    """Say what people have said of a node: paused until when, acknowledged by whom, silenced."""
    said = []
    if (pause := node["maintenance"]) is not None:
        until = f"until {when(pause['until'])}" if pause["until"] else "until somebody ends it"
        said.append(f"paused {until}{credit(pause['by'], pause['reason'])}")
    if (known := node["acknowledgement"]) is not None:
        said.append(f"acknowledged{credit(known['by'], known['note'])}")
    if node["silence"] is not None:
        said.append(f"silenced by {node['silence']}")
    return "; ".join(said)


def credit(by: str, words: str) -> str:
    """Say who has said so and why, where that is known, as the end of a clause."""
    return (f" by {by}" if by else "") + (f" ({words})" if words else "")


def print_event(screen: Console, event: Mapping[str, Any]) -> None:
    """Print one event on a line of its own, which the terminal may fold but we never cut."""
    screen.print(event_line(event), soft_wrap=True)


def event_line(event: Mapping[str, Any], *, in_full: bool = True) -> Text:
    """Return one event as one line: when, which node, what; or without its day and its id."""
    at = str(event["at"])
    # Appended, not given to Text itself: its own style would lie under the whole line.
    line = Text()
    line.append(f"{at[:10]} " if in_full else "", style="dim")
    line.append(f"{at[11:23]}Z ", style="dim")
    line.append(f"{event['id']:>6}  " if in_full else "", style="dim")
    word = event["status"] if event["event"] == "transition" else event["event"]
    line.append(f"{word or '':<10} ", style=COLOURS.get(word or "", "bold"))
    line.append(str(event["explanation"] or _summary(event)))
    return line


def _summary(event: Mapping[str, Any]) -> str:
    parts = (event["node"], event["action"], event["outcome"], event["cause"])
    return " ".join(str(part) for part in parts if part)
