"""`beatward explain NODE`: why a node is held to be what it is."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beatward.cli.client import Client, asking, node_path
from beatward.cli.screen import cleaned, console, print_event, print_json, status_text
from beatward.core.instants import format_duration

# Where the key of the API, its underscores taken away, would not say it.
_LABELS = {
    "actions_guarded": "actions held back",
    "run_exit_code": "last run's exit code",
    "run_failed": "last run failed",
}


@click.command("explain")
@click.argument("node")
@asking
def explain_command(client: Client, as_json: bool, node: str) -> None:
    """Say why NODE has the status it has: one sentence, the numbers, and its last verdict.

    Exit code 1 when the node is unknown.
    """
    answer = client.get(node_path(node, "explain"))
    if as_json:
        print_json(answer)
    else:
        _show(console(), cleaned(answer))


def _show(screen: Console, answer: dict[str, Any]) -> None:
    screen.print(Text(answer["sentence"], style="bold"))
    screen.print(Text.assemble("now ", status_text(answer["status"]), f", as of {answer['at']}"))
    screen.print()
    table = Table.grid(padding=(0, 2))
    for key, value in answer["detail"].items():
        table.add_row(Text(_label(key), style="dim"), _value(key, value))
    screen.print(table)
    verdict = answer["last_verdict"]
    screen.print()
    if verdict is None:
        screen.print("It was never suspected, dead or gone.", style="dim")
        return
    screen.print("last verdict", style="dim")
    print_event(screen, verdict)


def _label(key: str) -> str:
    return _LABELS.get(key) or key.removesuffix("_ns").replace("_", " ")


def _value(key: str, value: object) -> str:
    """Return a value of the API as people write it: a dash, yes or no, a list, a length of time."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_value("", one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_value(name, one)}" for name, one in value.items()) or "none"
    if key.endswith("_ns") and isinstance(value, int):
        return format_duration(value)
    return str(value)
