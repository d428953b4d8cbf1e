"""`beatward switchover`: move a role in good order."""

import click

from beatward.cli.client import Client, asking, service_path
from beatward.cli.moving import Move, telling_options, to_option
from beatward.core.instants import parse_duration


@click.command("switchover")
@click.argument("service")
@to_option
@telling_options
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

    No node is promoted before the holder has given it up, so there is a short gap and never two.
    Returns when a node holds the role. If the target is gone meanwhile the best other one gets
    it, the old holder included. Exit code 1 when it was refused, or went elsewhere than asked.
    """
    before = client.get(service_path(service))
    move = Move(client, service, before, as_json, parse_duration(wait))
    move.order("switchover", {"to": to, "reason": reason, "by": by})
