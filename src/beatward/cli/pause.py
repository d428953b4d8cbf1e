"""`beatward pause`: announce maintenance, or let a service's role stay where it is."""

from typing import Any

import click

from beatward.cli.client import Client, asking, service_path
from beatward.cli.ordering import (
    Labels,
    by_option,
    count_paused,
    duration_text,
    in_effect,
    label_option,
    only_service,
    service_option,
    tell_ordered,
)
from beatward.cli.screen import nodes_meant, when


@click.command("pause")
@click.argument("nodes", nargs=-1, metavar="[NODE|PATTERN]...")
@click.option(
    "--for",
    "duration",
    type=duration_text,
    metavar="DURATION",
    help="How long, such as 1h; without it until `beatward resume`.",
)
@label_option
@service_option("Nothing moves this service's role by itself; instead of nodes.")
@click.option("--reason", default="", help="Why, for those who look.")
@by_option
@asking
def pause_command(
    client: Client,
    as_json: bool,
    *,
    nodes: tuple[str, ...],
    duration: str | None,
    labels: Labels,
    service: str | None,
    reason: str,
    by: str,
) -> None:
    """Announce maintenance of nodes: their silence leads to no suspicion and no action.

    Of a node that is paused already the planned end is changed. At the end it is watched again,
    and has the start grace before its silence counts. Returns when all are paused. Exit code 1
    when a name is unknown; then nothing is changed.

    With --service, its holder goes on holding the role; when it dies, or gives the role up, no
    other node gets it but by `switchover` and `failover`.
    """
    details: dict[str, Any] = {"by": by, "reason": reason}
    if duration is not None:
        details["for"] = duration
    if service is not None:
        only_service(nodes, labels)
        _pause_service(client, service, details, as_json=as_json)
        return
    if not nodes and not labels:
        raise click.UsageError("say which nodes: names, patterns, or --label; or --service")
    body = {"nodes": nodes, "labels": dict(labels), **details}
    answer = client.send("POST", "/v1/pause", body)
    is_done = in_effect(lambda: count_paused(client, nodes, labels)[1] == 0)
    until = when(answer["until"]) if answer["until"] else "it is ended"
    sentence = f"{nodes_meant(answer['count'], nodes)} paused until {until}"
    tell_ordered(answer, sentence, as_json=as_json, is_done=is_done)


def _pause_service(client: Client, name: str, details: dict[str, Any], *, as_json: bool) -> None:
    answer = client.send("POST", service_path(name, "pause"), details)

    def is_so() -> bool:
        pause = client.get(service_path(name))["paused"]
        return pause is not None and (pause["until"] is None) == (answer["until"] is None)

    is_done = in_effect(is_so)
    until = when(answer["until"]) if answer["until"] else "it is resumed"
    sentence = f"automatic failover of {name} is paused until {until}"
    tell_ordered(answer, sentence, as_json=as_json, is_done=is_done)
