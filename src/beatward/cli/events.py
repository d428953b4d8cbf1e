"""`beatward events`: the journal, page by page or as it grows."""

import contextlib
from typing import Any

import click

from beatward.cli.client import Client, asking, node_path
from beatward.cli.following import Follower
from beatward.cli.screen import console, print_event, print_json, print_json_line
from beatward.core.protocol.texts import shown

_PAGE_MAX = 1000


@click.command("events")
@click.option("--after", type=click.IntRange(min=0), help="Only events behind this id.")
@click.option("--limit", type=click.IntRange(1, _PAGE_MAX), default=50, help="How many at most.")
@click.option("--node", metavar="NAME", help="Only events of this node.")
@click.option("--follow", "-f", "is_following", is_flag=True, help="Go on with what happens next.")
@asking
def events_command(
    client: Client,
    as_json: bool,
    *,
    after: int | None,
    limit: int,
    node: str | None,
    is_following: bool,
) -> None:
    """Show the newest events, or those behind --after, oldest first.

    With --follow JSON is one event a line, else one object with all of them. Exit code 1 when no
    node is called NAME and no event is about it.
    """
    page = client.get("/v1/events", after=after, limit=limit, node=node)
    if node is not None and not page["events"]:
        # Without one event of it there was never such a node, and nothing to wait for.
        client.get(node_path(node))
    if page.get("anew"):
        click.echo(
            f"beatward: {shown(page['anew'])} Its events follow from the beginning", err=True
        )
        after = None
    if as_json and not is_following:
        print_json(page)
        return
    screen = console()

    def show(event: dict[str, Any]) -> None:
        if as_json:
            print_json_line(event)
        else:
            print_event(screen, event)

    for event in page["events"]:
        show(event)
    if not is_following:
        if not page["events"]:
            screen.print("No event matches.", style="dim")
        return
    # Nothing falls through between the page and the stream: it goes on behind what was shown.
    start = page["events"][-1]["id"] if page["events"] else (after or page["last"])
    with contextlib.suppress(KeyboardInterrupt):
        for event in Follower(client).events(start, mark=page.get("mark"), node=node):
            show(event)
