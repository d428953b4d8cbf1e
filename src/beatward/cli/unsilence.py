"""`beatward unsilence`: end a silence before its time."""

from urllib.parse import quote

import click

from beatward.cli.client import Client, asking
from beatward.cli.ordering import by_option, in_effect, warn_late
from beatward.cli.screen import print_json


@click.command("unsilence")
@click.argument("name", metavar="ID")
@by_option
@asking
def unsilence_command(client: Client, as_json: bool, *, name: str, by: str) -> None:
    """End a silence before its time; what it held and is still so is told now.

    Exit code 1 when there is no silence of that id.
    """
    answer = client.send("DELETE", f"/v1/silences/{quote(name, safe='')}", by=by)
    is_done = in_effect(
        lambda: all(one["id"] != name for one in client.get("/v1/silences")["silences"])
    )
    if as_json:
        print_json({**answer, "in_effect": is_done})
    else:
        click.echo(f"silence {name} is ended")
    if not is_done:
        warn_late()
