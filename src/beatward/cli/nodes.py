"""`beatward nodes`: the table of nodes."""

from collections.abc import Iterator
from typing import Any, get_args

import click

from beatward.action_settings import StatusWord
from beatward.cli.client import Client, Refused, asking, node_path
from beatward.cli.columns import Cell, Column, print_table
from beatward.cli.job import due_words
from beatward.cli.ordering import Labels, label_option, label_words
from beatward.cli.screen import ago, console, print_json, remarks, status_cell
from beatward.core.protocol.keys import is_pattern

_PAGE_COUNT = 2000
_COLUMNS = (
    Column("node"),
    Column("status"),
    *(Column(heading, is_number=True) for heading in ("since", "silent", "interval")),
    Column("via"),
    *(Column(heading, is_number=True) for heading in ("cpu", "memory", "load")),
)


@click.command("nodes")
@click.argument("names", nargs=-1, metavar="[NAME|PATTERN]...")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(get_args(StatusWord)),
    help="Only nodes with this status; may be repeated.",
)
@label_option
@asking
def nodes_command(
    client: Client,
    as_json: bool,
    *,
    names: tuple[str, ...],
    statuses: tuple[str, ...],
    labels: Labels,
) -> None:
    """List nodes: all, those named, or those whose names match a pattern such as 'web-*'.

    Exit code 1 when a node that was asked for by name is unknown.
    """
    found: dict[str, dict[str, Any]] = {}
    unknown = []
    for asked in names or ("*",):
        if is_pattern(asked):
            pages = _pages(client, asked, statuses, labels)
            found.update((node["name"], node) for node in pages)
            continue
        try:
            node = client.get(node_path(asked))
        except Refused as error:
            if error.status not in (404, 422):
                raise
            unknown.append(asked)
            continue
        fits = all(node["labels"].get(key) == value for key, value in labels)
        if fits and (not statuses or node["status"] in statuses):
            found[asked] = node
    nodes = [found[name] for name in sorted(found)]
    if as_json:
        print_json({"nodes": nodes, "unknown": unknown})
    else:
        _show(nodes)
    for name in unknown:
        click.echo(f"beatward: no node is called {name!r}", err=True)
    if unknown:
        click.get_current_context().exit(1)


def _pages(
    client: Client, match: str, statuses: tuple[str, ...], labels: Labels
) -> Iterator[dict[str, Any]]:
    after = None
    asked = {
        "match": match,
        "status": list(statuses) or None,
        "label": label_words(labels),
        "limit": _PAGE_COUNT,
    }
    while True:
        page = client.get("/v1/nodes", **asked, after=after)
        yield from page["nodes"]
        after = page["next"]
        if after is None:
            return


def _show(nodes: list[dict[str, Any]]) -> None:
    screen = console()
    if not nodes:
        screen.print("No node matches.", style="dim")
        return
    has_jobs = any(node["job"] for node in nodes)
    notes = [remarks(node) for node in nodes]
    has_remarks = any(notes)
    columns = [*_COLUMNS]
    columns += [Column("due")] if has_jobs else []
    columns += [Column("labels")]
    columns += [Column("remarks")] if has_remarks else []
    rows: list[list[Cell]] = []
    for node, note in zip(nodes, notes, strict=True):
        row = [
            node["name"],
            status_cell(node["status"]),
            ago(node["since_ns"]),
            ago(node["silent_ns"]),
            _interval(node["interval_ns"], node["interval_wished_ns"]),
            node["via"] or "-",
            _gauge(node["cpu"], " %"),
            _gauge(node["memory"], " %"),
            _gauge(node["load"], ""),
        ]
        if has_jobs:
            row.append(due_words(node["job"]) if node["job"] else "-")
        row.append(" ".join(f"{key}={value}" for key, value in sorted(node["labels"].items())))
        rows.append([*row, note] if has_remarks else row)
    print_table(screen, columns, rows)


def _interval(promised_ns: int | None, wished_ns: int | None) -> str:
    if wished_ns in (None, promised_ns):
        return ago(promised_ns)
    return f"{ago(promised_ns)} > {ago(wished_ns)}"


def _gauge(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}{unit}" if unit else f"{value:.2f}"
