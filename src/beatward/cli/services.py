"""`beatward services`: what nodes offer, who holds its role, and why the others could not."""

from collections import Counter
from typing import Any

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from beatward.cli.client import Client, asking, service_path
from beatward.cli.columns import Cell, Column, print_table
from beatward.cli.screen import (
    ago,
    cleaned,
    console,
    credit,
    duration,
    heard,
    print_json,
    status_cell,
    when,
)

PHASE_COLOURS = {
    "held": "green",
    "promoting": "bright_cyan",
    "demoting": "bright_cyan",
    "waiting": "yellow",
    "vacant": "bold red",
    "refused": "bold red",
}
_STATE_COLOURS = {"active": "green", "stuck": "bold red", "unable": "yellow"}


@click.command("services")
@click.argument("name", required=False)
@asking
def services_command(client: Client, as_json: bool, name: str | None) -> None:
    """List services, or show one with its members and why the role could not go to them.

    Exit code 1 when a service that was asked for by name is unknown.
    """
    if name is None:
        answer = client.get("/v1/services")
        if as_json:
            print_json(answer)
        elif answer["services"]:
            _show_all(console(), answer["services"])
        else:
            console().print("No node offers a service.", style="dim")
        return
    service = client.get(service_path(name))
    if as_json:
        print_json(service)
    else:
        _show_one(console(), cleaned(service))


def phase_cell(service: dict[str, Any]) -> tuple[str, str]:
    """Return where a role stands, and its colour; of a balanced service how many serve."""
    if service["phase"] is None:
        healthy = sum(member["healthy"] for member in service["members"])
        text = f"{healthy} of {len(service['members'])} healthy"
        return text, "green" if healthy else "bold red"
    return service["phase"], PHASE_COLOURS.get(service["phase"], "")


def remark(service: dict[str, Any]) -> str:
    """Say what people should know of a service beside its row."""
    notes = [service["reason"]] if service["reason"] else []
    if service["phase"] == "waiting" and service["until_in_ns"]:
        # First, because it is what is waited for: where there is little room the end is cut.
        notes.insert(0, f"may hold it {ago(service['until_in_ns'])} more")
    if service["phase"] == "held":
        holders = [one for one in service["members"] if one["node"] == service["holder"]]
        notes += [
            f"{one['node']} is {one['status']}, {heard(one['heard_ago_ns'])}"
            for one in holders
            if one["status"] != "alive"
        ]
    if (pause := service["paused"]) is not None:
        until = f"until {when(pause['until'])}" if pause["until"] else "until it is resumed"
        notes.append(f"failover paused {until}{credit(pause['by'], pause['reason'])}")
    elif service["phase"] is not None and not service["automatic"]:
        notes.append("does not fail over by itself")
    if service["target"]:
        notes.append(f"on its way to {service['target']}")
    return "; ".join(notes)


def brief(services: list[dict[str, Any]], line_count: int, style: str = "") -> Group:
    """Return a table of at most `line_count` lines; where room is short, trouble is first."""
    rows_max = max(line_count - 1, 1)
    if len(services) > rows_max:
        by_need = sorted(services, key=_is_calm)
        shown, hidden = by_need[: rows_max - 1], by_need[rows_max - 1 :]
    else:
        shown, hidden = services, []
    table = Table(box=None, pad_edge=False, header_style="bold", style=style)
    for heading in ("service", "phase", "holder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("token", "since", "healthy"):
        table.add_column(heading, justify="right", no_wrap=True)
    # The only column that may be cut; nothing takes a second line.
    table.add_column(_cut("remarks" if any(map(remark, shown)) else ""))
    for service in sorted(shown, key=lambda one: str(one["name"])):
        table.add_row(
            service["name"],
            Text(*phase_cell(service)) if service["phase"] is not None else service["mode"],
            *_role_cells(service),
            _healthy_text(service),
            _cut(remark(service)),
        )
    if not hidden:
        return Group(table)
    rest = f"and {len(hidden):,} more" + (", all in order" if all(map(_is_calm, hidden)) else "")
    return Group(table, Text(rest, style="dim"))


def _role_cells(service: dict[str, Any]) -> tuple[str, str, str]:
    """Return holder, token and since when; a balanced service has none of them."""
    if service["phase"] is None:
        return "-", "-", "-"
    return service["holder"] or "-", str(service["token"]), ago(service["since_ns"])


def _is_calm(service: dict[str, Any]) -> bool:
    healthy = sum(member["healthy"] for member in service["members"])
    return service["phase"] in (None, "held") and healthy > 0 and not remark(service)


def _healthy_text(service: dict[str, Any]) -> Text:
    healthy, total = sum(one["healthy"] for one in service["members"]), len(service["members"])
    style = "green" if healthy == total else "yellow" if healthy else "bold red"
    return Text(f"{healthy}/{total}", style=style)


def _cut(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _show_all(screen: Console, services: list[dict[str, Any]]) -> None:
    notes = [remark(service) for service in services]
    has_remarks = any(notes)
    columns = [Column(heading) for heading in ("service", "mode", "phase", "holder")]
    columns += [Column(heading, is_number=True) for heading in ("token", "since")]
    columns += [Column("members"), *([Column("remarks")] if has_remarks else [])]
    rows: list[list[Cell]] = [
        [
            service["name"],
            service["mode"],
            phase_cell(service),
            *_role_cells(service),
            _members(service),
            *([note] if has_remarks else []),
        ]
        for service, note in zip(services, notes, strict=True)
    ]
    print_table(screen, columns, rows)


def _members(service: dict[str, Any]) -> str:
    """Count members by where they stand; of a balanced service by the status of their nodes."""
    key = "status" if service["phase"] is None else "state"
    counts = Counter(member[key] or "silent" for member in service["members"])
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))


def _show_one(screen: Console, service: dict[str, Any]) -> None:
    head = Text.assemble((service["name"], "bold"), f", mode {service['mode']}: ")
    head.append(*phase_cell(service))
    screen.print(head)
    screen.print(Text(f"  {service['explanation']}"), soft_wrap=True)
    if service["phase"] is not None:
        if not service["automatic"]:
            screen.print("  it does not fail over by itself, as the settings say")
        lease = duration(service["lease_ns"])
        stop = duration(service["demote_within_ns"])
        screen.print(Text(f"  lent for {lease} at a time; its holder stops within {stop} after"))
    screen.print()
    _show_members(screen, service)


def _show_members(screen: Console, service: dict[str, Any]) -> None:
    has_role = service["phase"] is not None
    columns = [Column("member"), Column("status")]
    if has_role:
        numbers = ("token", "freshness", "heard", "priority")
        columns += [Column("state"), *(Column(heading, is_number=True) for heading in numbers)]
    else:
        columns.append(Column("weight", is_number=True))
    columns += [Column(heading) for heading in ("zone", "version", "address")]
    columns.append(Column("why not" if has_role else "trouble"))
    rows = []
    for member in service["members"]:
        row: list[Cell] = [member["node"], status_cell(member["status"])]
        if has_role:
            state = member["state"] or "-"
            row += [
                (state, _STATE_COLOURS.get(state, "")),
                "-" if member["state"] is None else str(member["token"]),
                "-" if member["freshness"] is None else f"{member['freshness']:,}",
                ago(member["heard_ago_ns"]),
                str(member["priority"]),
            ]
        else:
            row.append(str(member["weight"]))
        port = f":{member['port']}" if member["port"] else ""
        address = f"[{member['address']}]" if ":" in member["address"] else member["address"]
        row += [member["zone"] or "-", member["version"] or "-", f"{address}{port}" or "-"]
        notes = [member["hindrance"], member.get("remark")]
        rows.append([*row, ": ".join(note for note in notes if note)])
    print_table(screen, columns, rows)
