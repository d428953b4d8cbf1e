"""`beatward forget`: remove nodes."""

import click

from beatward.cli.client import Client, Refused, asking, node_path
from beatward.cli.ordering import in_effect, status_of, warn_late
from beatward.cli.screen import ago, print_json

_COMES_BACK = "enrols again by itself: stop it"
_MAY_COME_BACK = (
    "enrols again by itself where it has a join token, and else is turned away and listed by "
    "`beatward status`: stop it"
)


@click.command("forget")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@asking
def forget_command(client: Client, as_json: bool, nodes: tuple[str, ...]) -> None:
    """Remove nodes from the table; their history stays in the journal.

    Stop the node first. One that still runs comes back by itself if it has a join token (as all
    nodes on the monitor's own machine have) or reports over HTTP or by a bare URL. One that has
    only its key, and sends datagrams, does not: it is told why, and `beatward status` lists it.

    Exit code 1 when a name is unknown; the others are removed all the same.
    """
    removed, unknown, living = [], [], []
    for name in dict.fromkeys(nodes):
        try:
            node = client.get(node_path(name))
            client.send("DELETE", node_path(name))
        except Refused as error:
            if error.status != 404:
                raise
            unknown.append(name)
            continue
        removed.append(name)
        if node["status"] in ("alive", "failing", "recovering") and node["heard"] is not None:
            living.append((name, ago(node["silent_ns"]), node["via"]))
    is_done = in_effect(lambda: all(status_of(client, name) is None for name in removed))
    if as_json:
        print_json({"ordered": "forget", "nodes": removed, "unknown": unknown})
    elif removed:
        click.echo(f"{', '.join(removed)} {'is' if len(removed) == 1 else 'are'} forgotten")
    for name, silent, via in living:
        click.echo(
            f"beatward: {name} was heard {silent} ago; if it still runs, it "
            + (_COMES_BACK if via != "udp" else _MAY_COME_BACK),
            err=True,
        )
    for name in unknown:
        click.echo(f"beatward: no node is called {name!r}", err=True)
    if not is_done:
        warn_late()
    if unknown:
        click.get_current_context().exit(1)
