"""`beatward unsilence`: end a silence before its time."""

from urllib.parse import quote

import click

from beatward.cli.client import Client, asking
from beatward.cli.ordering import by_option, in_effect, tell_ordered


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
    tell_ordered(answer, f"silence {name} is ended", as_json=as_json, is_done=is_done)
