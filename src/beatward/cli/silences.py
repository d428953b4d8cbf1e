"""`beatward silences`: the silences that have not ended."""

import click
from rich.table import Table

from beatward.cli.client import Client, asking
from beatward.cli.screen import about, ago, console, print_json, when


@click.command("silences")
@asking
def silences_command(client: Client, as_json: bool) -> None:
    """List the silences, the next to end first."""
    answer = client.get("/v1/silences")
    if as_json:
        print_json(answer)
        return
    screen = console()
    if not answer["silences"]:
        screen.print("There is no silence.", style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "about", "holds", "until", "left", "by"):
        table.add_column(heading, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for one in answer["silences"]:
        holds = "notifications, repairs" if one["actions"] else "notifications"
        left = ago(one["left_ns"])
        until = when(one["until"])
        table.add_row(one["id"], about(one), holds, until, left, one["by"] or "-", one["reason"])
    screen.print(table)
