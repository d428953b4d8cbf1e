"""`beatward silences`: the silences that have not ended."""

import click

from beatward.cli.client import Client, asking
from beatward.cli.columns import Cell, Column, print_table
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
    headings = ("id", "about", "holds", "until", "left", "by", "reason")
    rows: list[list[Cell]] = []
    for one in answer["silences"]:
        holds = "notifications, repairs" if one["actions"] else "notifications"
        left = ago(one["left_ns"])
        until = when(one["until"])
        rows.append([one["id"], about(one), holds, until, left, one["by"] or "-", one["reason"]])
    print_table(screen, [Column(heading) for heading in headings], rows)
