"""`beatward resume`: end maintenance, or let a service's role move by itself again."""

import click

from beatward.cli.client import Client, asking, service_path
from beatward.cli.ordering import (
    Labels,
    by_option,
    count_paused,
    in_effect,
    label_option,
    only_service,
    service_option,
    tell_ordered,
)
from beatward.cli.screen import nodes_meant


@click.command("resume")
@click.argument("nodes", nargs=-1, metavar="[NODE|PATTERN]...")
@label_option
@service_option("This service fails over by itself again; instead of nodes.")
@by_option
@asking
def resume_command(
    client: Client,
    as_json: bool,
    *,
    nodes: tuple[str, ...],
    labels: Labels,
    service: str | None,
    by: str,
) -> None:
    """Watch nodes again; each has the start grace before its silence counts.

    Those that are not paused stay as they are. Exit code 1 when a name is unknown; then nothing is
    changed.
    """
    if service is not None:
        only_service(nodes, labels)
        answer = client.send("POST", service_path(service, "resume"), {"by": by})
        is_done = in_effect(lambda: client.get(service_path(service))["paused"] is None)
        sentence = f"{service} fails over by itself again"
        tell_ordered(answer, sentence, as_json=as_json, is_done=is_done)
        return
    if not nodes and not labels:
        raise click.UsageError("say which nodes: names, patterns, or --label; or --service")
    body = {"nodes": nodes, "labels": dict(labels), "by": by}
    answer = client.send("POST", "/v1/resume", body)
    is_done = in_effect(lambda: count_paused(client, nodes, labels)[0] == 0)
    sentence = f"{nodes_meant(answer['count'], nodes)} watched again"
    tell_ordered(answer, sentence, as_json=as_json, is_done=is_done)
