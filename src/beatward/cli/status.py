"""`beatward status`: the monitor and its fleet on one screen."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beatward.cli.client import Client, asking
from beatward.cli.down import ask_down, by_trouble, down_lines, is_well
from beatward.cli.screen import (
    COLOURS,
    about,
    ago,
    cleaned,
    console,
    print_event,
    print_json,
    remarks,
    when,
)

_EVENTS_COUNT = 8
_NOTES_MAX = 3
_DOWN_COUNT = 6
_DOWN_KEYS = ("name", "status", "since", "since_ns", "silent_ns")


@click.command("status")
@asking
def status_command(client: Client, as_json: bool) -> None:
    """Show the monitor's health, how many nodes have which status, and the last events.

    Exit code 1 when the monitor is not quite well, a node is dead or failing, or a service has a
    role that no node holds. In JSON `well` says the same, and `down` names the first of the nodes.
    """
    status = client.get("/v1/status")
    events = client.get("/v1/events", limit=_EVENTS_COUNT)["events"]
    down = ask_down(client, status["nodes"], _DOWN_COUNT)
    if as_json:
        brief = [{key: node[key] for key in _DOWN_KEYS} for node in down]
        print_json({**status, "well": is_well(status), "down": brief, "events": events})
    else:
        _show(console(), client.place.url, cleaned(status), down, events)
    if not is_well(status):
        click.get_current_context().exit(1)


def _show(
    screen: Console,
    url: str,
    status: dict[str, Any],
    down: list[dict[str, Any]],
    events: list[dict[str, Any]],
) -> None:
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
    for line in down_lines(down, status["nodes"], _DOWN_COUNT):
        screen.print(Text("  ").append_text(line), soft_wrap=True)
    screen.print()
    screen.print(_counts(status))
    for trouble in _troubles(status["services"]) + _unknown(status["unknown"]):
        screen.print(Text(f"  {trouble}", style="yellow"), soft_wrap=True)
    screen.print()
    notes = _notes(status["said"], status["nodes"]["paused"])
    for line in notes:
        screen.print(line, soft_wrap=True)
    if notes:
        screen.print()
    if not events:
        screen.print("Nothing has happened yet.", style="dim")
    for event in events:
        print_event(screen, event)


def _counts(status: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    nodes = status["nodes"]
    line = Text()
    for word, count in by_trouble(nodes):
        if word != "total":
            line.append(f"{count} {word}   ", style=COLOURS.get(word, ""))
    table.add_row("nodes", f"{nodes['total']}", line if nodes["total"] else Text("none enrolled"))
    services = status["services"]["counts"]
    if services["total"]:
        counts = {word: count for word, count in services.items() if word != "total"}
        table.add_row("services", f"{services['total']}", _listed(counts))
    counters = status["counters"]
    rejects = ", ".join(f"{count} {why}" for why, count in status["rejects"].items() if count)
    turned_away = f"; turned away: {rejects}" if rejects else ""
    table.add_row(
        "heartbeats",
        f"{counters.get('accepted', 0)}",
        f"believed of {counters.get('records', 0) - counters.get('standings', 0)}{turned_away}",
    )
    journal = status["health"]["journal"]
    waiting = f", {journal['waiting']} waiting" if journal["waiting"] else ""
    table.add_row("journal", f"{journal['written']}", f"entries on disk{waiting}")
    actions = status["actions"]
    table.add_row("actions", f"{sum(actions.values())}", _listed(actions) or "none under way")
    pauses = status["pauses"]
    remark = (
        f"times the monitor itself stood still, last {pauses['last']}" if pauses["count"] else ""
    )
    table.add_row("pauses", f"{pauses['count']}", remark)
    return table


def _troubles(services: dict[str, Any]) -> list[str]:
    """Return what people should know of services, a line each; of many only the first."""
    lines = [one["remark"] for one in services["remarks"][:_NOTES_MAX]]
    rest = services["remarks_count"] - len(lines)
    if rest > 0:
        lines.append(f"and {rest} service{'s' if rest > 1 else ''} more")
    return lines


def _unknown(unknown: dict[str, Any]) -> list[str]:
    """Return who speaks and is not watched, a line each; of many only the first."""
    lines = [
        f"{one['sentence']} (heard {ago(one['heard_ns'])} ago)"
        for one in unknown["speakers"][:_NOTES_MAX]
    ]
    rest = unknown["count"] - len(lines)
    if rest > 0:
        lines.append(f"and {rest} more that speak and are not watched")
    if unknown["overflow"]:
        lines.append(f"{unknown['overflow']:,} more looks found no room in that list")
    return lines


def _notes(upkeep: dict[str, Any], paused_count: int) -> list[Text]:
    """Return what people have said of nodes, a line each; of many only the next to end."""
    lines = []
    for one in upkeep["paused"][:_NOTES_MAX]:
        note = remarks({"maintenance": one, "acknowledgement": None, "silence": None})
        lines.append(Text.assemble((f"{one['node']} ", "bold"), note))
    rest = paused_count - len(lines)
    if lines and rest > 0:
        lines.append(Text(f"and {rest:,} more paused", style="dim"))
    for one in upkeep["acknowledged"][:_NOTES_MAX]:
        note = remarks({"maintenance": None, "acknowledgement": one, "silence": None})
        lines.append(Text.assemble((f"{one['node']} ", "bold"), note))
    rest = upkeep["acknowledged_count"] - len(upkeep["acknowledged"][:_NOTES_MAX])
    if rest > 0:
        lines.append(Text(f"and {rest:,} more acknowledged", style="dim"))
    for one in upkeep["silences"][:_NOTES_MAX]:
        what = "notifications and repairs" if one["actions"] else "notifications"
        note = f"{what} about {about(one)} are held until {when(one['until'])}"
        lines.append(Text.assemble((f"silence {one['id']} ", "bold"), note))
    rest = len(upkeep["silences"]) - len(upkeep["silences"][:_NOTES_MAX])
    if rest > 0:
        lines.append(Text(f"and {rest} more silences", style="dim"))
    return lines


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)
