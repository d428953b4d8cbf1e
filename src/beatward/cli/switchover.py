"""`beatward switchover`: move a role in good order."""

import click

from beatward.cli.client import Client, asking, service_path
from beatward.cli.moving import Move
from beatward.cli.ordering import by_option, duration_text
from beatward.core.instants import parse_duration


@click.command("switchover")
@click.argument("service")
@click.option("--to", metavar="NODE", help="Who is to have the role; by default the best.")
@click.option(
    "--wait",
    type=duration_text,
    default="2m",
    show_default=True,
    metavar="DURATION",
    help="How long to follow it; it goes on without us.",
)
@click.option("--reason", default="", help="Why, for those who look.")
@by_option
@asking
def switchover_command(
    client: Client,
    as_json: bool,
    *,
    service: str,
    to: str | None,
    wait: str,
    reason: str,
    by: str,
) -> None:
    """Let the holder of SERVICE give its role up, and then another take it.

    Nobody is promoted before the holder has given it up, so there is a short gap and never two.
    Returns when somebody holds the role. If the target is gone meanwhile the best other one gets
    it, the old holder included. Exit code 1 when it was refused, or went elsewhere than asked.
    """
    before = client.get(service_path(service))
    move = Move(client, service, before, as_json, parse_duration(wait))
    move.order("switchover", {"to": to, "reason": reason, "by": by})
