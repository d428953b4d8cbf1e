"""`beatward status`: the monitor and its fleet on one screen."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beatward.cli.client import Client, asking
from beatward.cli.screen import COLOURS, console, print_event, print_json

_EVENTS_COUNT = 8


@click.command("status")
@asking
def status_command(client: Client, as_json: bool) -> None:
    """Show the monitor's health, how many nodes have which status, and the last events.

    Exit code 1 when the monitor is not quite well.
    """
    status = client.get("/v1/status")
    events = client.get("/v1/events", limit=_EVENTS_COUNT)["events"]
    if as_json:
        print_json({**status, "events": events})
    else:
        _show(console(), client.place.url, status, events)
    if status["health"]["status"] != "ok":
        click.get_current_context().exit(1)


def _show(screen: Console, url: str, status: dict[str, Any], events: list[dict[str, Any]]) -> None:
    health = status["health"]
    colour = {"ok": "green", "degraded": "yellow"}.get(health["status"], "bold red")
    head = Text.assemble(
        (status["name"], "bold"),
        f" at {url}, beatward {status['version']}, running {status['running']}: ",
        (health["status"], colour),
    )
    screen.print(head)
    for reason in health["reasons"]:
        # A journal that cannot be written is the one trouble that must not be overlooked.
        is_journal = health["journal"]["error"] is not None and "journal" in reason
        screen.print(Text(f"  {reason}", style="bold red" if is_journal else "yellow"))
    screen.print()
    screen.print(_counts(status))
    screen.print()
    if not events:
        screen.print("Nothing has happened yet.", style="dim")
    for event in events:
        print_event(screen, event)


def _counts(status: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    nodes = status["nodes"]
    line = Text()
    for word, count in nodes.items():
        if word != "total" and count:
            line.append(f"{count} {word}   ", style=COLOURS.get(word, ""))
    table.add_row("nodes", f"{nodes['total']}", line if nodes["total"] else Text("none enrolled"))
    counters = status["counters"]
    rejects = ", ".join(f"{count} {why}" for why, count in status["rejects"].items() if count)
    turned_away = f"; turned away: {rejects}" if rejects else ""
    table.add_row(
        "heartbeats",
        f"{counters.get('accepted', 0)}",
        f"believed of {counters.get('records', 0)}{turned_away}",
    )
    journal = status["health"]["journal"]
    waiting = f", {journal['waiting']} waiting" if journal["waiting"] else ""
    table.add_row("journal", f"{journal['written']}", f"entries on disk{waiting}")
    actions = status["actions"]
    table.add_row("actions", f"{sum(actions.values())}", _words(actions) or "none under way")
    pauses = status["pauses"]
    said = f"times the monitor itself stood still, last {pauses['last']}" if pauses["count"] else ""
    table.add_row("pauses", f"{pauses['count']}", said)
    return table


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)
