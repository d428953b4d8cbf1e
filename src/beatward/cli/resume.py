"""`beatward resume`: end maintenance."""

import click

from beatward.cli.client import Client, asking
from beatward.cli.ordering import (
    Labels,
    by_option,
    count_paused,
    in_effect,
    label_option,
    warn_late,
)
from beatward.cli.screen import nodes_meant, print_json


@click.command("resume")
@click.argument("nodes", nargs=-1, metavar="[NODE|PATTERN]...")
@label_option
@by_option
@asking
def resume_command(
    client: Client,
    as_json: bool,
    *,
    nodes: tuple[str, ...],
    labels: Labels,
    by: str,
) -> None:
    """Watch nodes again; each has the start grace before its silence counts.

    Those that are not paused stay as they are. Exit code 1 when a name is unknown; then nothing is
    changed.
    """
    if not nodes and not labels:
        raise click.UsageError("say which nodes: names, patterns, or --label")
    body = {"nodes": nodes, "labels": dict(labels), "by": by}
    answer = client.send("POST", "/v1/resume", body)
    is_done = in_effect(lambda: count_paused(client, nodes, labels)[0] == 0)
    if as_json:
        print_json({**answer, "in_effect": is_done})
    else:
        click.echo(f"{nodes_meant(answer['count'], nodes)} watched again")
    if not is_done:
        warn_late()
