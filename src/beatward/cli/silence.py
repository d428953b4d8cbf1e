"""`beatward silence`: hold notifications."""

import click

from beatward.cli.client import Client, asking
from beatward.cli.ordering import (
    Labels,
    by_option,
    duration_text,
    in_effect,
    label_option,
    label_words,
    tell_ordered,
)
from beatward.cli.screen import nodes_meant, when


@click.command("silence")
@click.argument("node", required=False, metavar="[NODE|PATTERN]")
@label_option
@click.option("--all", "everything", is_flag=True, help="About every node.")
@click.option(
    "--for",
    "duration",
    type=duration_text,
    required=True,
    metavar="DURATION",
    help="How long, such as 2h.",
)
@click.option("--actions", is_flag=True, help="Hold repairs as well.")
@click.option("--reason", default="", help="Why, for those who look.")
@by_option
@asking
def silence_command(
    client: Client,
    as_json: bool,
    *,
    node: str | None,
    labels: Labels,
    everything: bool,
    duration: str,
    actions: bool,
    reason: str,
    by: str,
) -> None:
    """Hold notifications about a node, a pattern, a label or all, for a time.

    Nodes are judged as ever, and repairs run. When it ends, what was held and is still so is told.
    Exit code 1 when a name is unknown.
    """
    if sum((node is not None or bool(labels), everything)) != 1:
        raise click.UsageError("say about whom: a name, a pattern, --label, or else --all")
    body = {"labels": dict(labels), "for": duration, "actions": actions, "by": by, "reason": reason}
    if node is not None or everything:
        body["node"] = node or "*"
    answer = client.send("POST", "/v1/silences", body)
    is_done = in_effect(
        lambda: any(one["id"] == answer["id"] for one in client.get("/v1/silences")["silences"])
    )
    asked = {"match": node or "*", "label": label_words(labels), "limit": 1}
    count = client.get("/v1/nodes", **asked)["matching"]
    what = "notifications and repairs" if actions else "notifications"
    meant = nodes_meant(count, ())
    until = when(answer["until"])
    sentence = f"silence {answer['id']}: {what} are held until {until}; {meant} meant now"
    tell_ordered({**answer, "matching": count}, sentence, as_json=as_json, is_done=is_done)
