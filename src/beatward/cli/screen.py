"""How the asking commands look: one colour a status, one form a time, and plain JSON.

Colour is a hint beside the word, never instead of it, and goes away by itself when the output is
not a terminal (rich also heeds NO_COLOR). Tables are in `columns`.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from beatward.core.instants import format_duration
from beatward.core.protocol.texts import shown

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
# In a pipe or a file nothing is folded: a line is a record, however long it is.
_UNFOLDED = 1_000_000


def console() -> Console:
    """Return where to print. Only a terminal has a width; no text is taken for markup."""
    width = None if has_width() else _UNFOLDED
    return Console(highlight=False, markup=False, emoji=False, width=width)


def has_width() -> bool:
    """Tell whether the output is a terminal, which FORCE_COLOR does not make of a pipe."""
    return sys.stdout.isatty()


def is_screen(console: Console) -> bool:
    """Tell whether the output can be drawn upon again and again."""
    return has_width() and console.is_terminal and not console.is_dumb_terminal


def print_json(value: Any) -> None:
    """Print an answer for programs: one object, indented, keys as the API has them."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=_is_ascii_safer()))


def print_json_line(value: Any) -> None:
    """Print one object a line, at once."""
    click.echo(json.dumps(value, ensure_ascii=_is_ascii_safer()))


def _is_ascii_safer() -> bool:
    encoding = str(getattr(sys.stdout, "encoding", None) or "utf-8")
    return not encoding.lower().startswith("utf")


def cleaned(value: Any) -> Any:
    """Return an answer of the API with all its texts as `shown` has them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    if isinstance(value, dict):
        return {shown(key): cleaned(one) for key, one in value.items()}
    return value


def status_text(word: str | None) -> Text:
    """Return a status in its colour."""
    return Text(word or "", style=COLOURS.get(word or "", ""))


def status_cell(word: str | None) -> tuple[str, str]:
    """Return a status and its colour, for a table of `columns`."""
    return word or "", COLOURS.get(word or "", "")


def ago(duration_ns: int | None) -> str:
    """Return a length of time as people say it: `3.1 s`, `12 min`, or a dash for never."""
    if duration_ns is None:
        return "-"
    seconds = duration_ns / 1e9
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def duration(duration_ns: int | None) -> str:
    """Return a length of time with three digits: `54.5 ms`, or a dash where there is none."""
    return "-" if duration_ns is None else format_duration(duration_ns)


def when(at: str | None) -> str:
    """Write an instant of the API to the second, or a dash where there is none."""
    return "-" if at is None else f"{at[:10]} {at[11:19]}Z"


def heard(duration_ns: int | None) -> str:
    """Say how long ago something was heard, as a clause: `heard 1.6 s ago`."""
    return "not heard yet" if duration_ns is None else f"heard {ago(duration_ns)} ago"


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
    """Say what was said of a node: by itself why it fails, by people what they do about it."""
    notes = [node["reason"]] if node.get("reason") else []
    if (pause := node["maintenance"]) is not None:
        until = f"until {when(pause['until'])}" if pause["until"] else "until it is ended"
        notes.append(f"paused {until}{credit(pause['by'], pause['reason'])}")
    if (known := node["acknowledgement"]) is not None:
        notes.append(f"acknowledged{credit(known['by'], known['note'])}")
    if node["silence"] is not None:
        notes.append(f"silenced by {node['silence']}")
    if (other := node.get("conflict")) is not None:
        places = f"{other['believed_address']} and {other['other_address']}"
        notes.append(f"two processes: {places}")
    return "; ".join(notes)


def credit(by: str, note: str) -> str:
    """Say who has said so and why, where that is known, as the end of a clause."""
    return (f" by {by}" if by else "") + (f" ({note})" if note else "")


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
    word = shown((event["status"] if event["event"] == "transition" else event["event"]) or "")
    line.append(f"{word:<10} ", style=COLOURS.get(word, "bold"))
    line.append(shown(str(event["explanation"] or _summary(event))))
    return line


def _summary(event: Mapping[str, Any]) -> str:
    parts = (event["node"], event["action"], event["outcome"], event["cause"])
    return " ".join(str(part) for part in parts if part)
