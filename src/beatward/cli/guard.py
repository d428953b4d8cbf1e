"""`beatward guard`: what is held back because many are dark at once, and the word to go on."""

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from beatward.cli.client import Client, asking
from beatward.cli.screen import cleaned, console, print_json

_NODES_SHOWN = 10


@click.command("guard")
@click.option("--lift", is_flag=True, help="Let what is held back go on, at the rate that is set.")
@click.option("--zone", default="", help="With --lift: only in this zone.")
@asking
def guard_command(client: Client, as_json: bool, lift: bool, zone: str) -> None:
    """Show what the guard against mass failures holds back, or say that it may go on.

    Exit code 1 when something is held back.
    """
    if zone and not lift:
        message = "--zone says where to --lift; all zones are shown"
        raise click.UsageError(message)
    if lift:
        answer = client.send("POST", "/v1/guard/lift", {"zone": zone or None})
        if as_json:
            print_json(answer)
        else:
            where = f"in zone {zone}" if zone else "everywhere"
            console().print(f"ordered: what is held back {where} goes on", markup=False)
        return
    answer = client.get("/v1/guard")
    if as_json:
        print_json(answer)
    else:
        _show(console(), cleaned(answer))
    if answer["holds"]:
        click.get_current_context().exit(1)


def _show(screen: Console, answer: dict[str, Any]) -> None:
    if not answer["holds"]:
        screen.print("No mass failure holds anything back.")
    for hold in answer["holds"]:
        screen.print(Text(f"{hold['cause']} for {hold['for']}: {hold['sentence']}", style="yellow"))
    if answer["guarded"]:
        screen.print(f"{answer['guarded']} destructive actions wait:")
    for node, names in list(answer["nodes"].items())[:_NODES_SHOWN]:
        screen.print(Text(f"  {', '.join(names)} for {node}"))
    more = len(answer["nodes"]) - _NODES_SHOWN
    if more > 0:
        screen.print(f"  and those of {more} nodes more")
