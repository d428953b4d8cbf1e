"""`beatward acknowledge`: an operator knows of an alarm."""

import click

from beatward.cli.client import Client, asking, node_path
from beatward.cli.ordering import by_option, in_effect, tell_ordered


@click.command("acknowledge")
@click.argument("node")
@by_option
@click.option("--note", default="", help="What you know, for those who look.")
@click.option("--remove", "is_removed", is_flag=True, help="Take the acknowledgement back.")
@asking
def acknowledge_command(
    client: Client, as_json: bool, *, node: str, by: str, note: str, is_removed: bool
) -> None:
    """Say that you know of NODE's alarm: no notification of it is sent until it is over.

    It ends with the recovery. What gets worse is told: the death of a node that was acknowledged
    as failing. Repairs go on. Exit code 1 when the node is unknown or has no alarm.
    """
    path = node_path(node, "acknowledgement")
    if is_removed:
        answer = client.send("DELETE", path, by=by)
    else:
        answer = client.send("POST", path, {"by": by, "note": note})

    def is_so() -> bool:
        found = client.get(node_path(node))
        known = found["acknowledgement"]
        if is_removed:
            return known is None
        is_over = found["status"] in ("alive", "left", "paused", "new")
        return is_over or (known is not None and known["by"] == by and known["note"] == note)

    is_done = in_effect(is_so)
    sentence = f"the alarm of {node} is acknowledged" + (f" by {by}" if by else "")
    if is_removed:
        sentence = f"the alarm of {node} is not acknowledged any more"
    tell_ordered(answer, sentence, as_json=as_json, is_done=is_done)
