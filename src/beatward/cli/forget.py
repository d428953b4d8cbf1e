"""`beatward forget`: remove nodes."""

from typing import Any

import click

from beatward.cli.client import Client, Refused, asking, node_path
from beatward.cli.ordering import by_option, in_effect, status_of, warn_late
from beatward.cli.screen import ago, print_json

_COMES_BACK = "enrols again by itself: stop it"
_MAY_COME_BACK = (
    "enrols again by itself where it has a join token, and else is turned away and listed by "
    "`beatward status`: stop it"
)


_REVOKED = "has a key that opens nothing any more; with a join token it enrols again: stop it"


@click.command("forget")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option(
    "--revoke", is_flag=True, help="Also let its key, bearer token and bare URL open nothing more."
)
@by_option
@asking
def forget_command(
    client: Client, as_json: bool, *, nodes: tuple[str, ...], revoke: bool, by: str
) -> None:
    """Remove nodes from the table; their history stays in the journal.

    Stop the node first. One that still runs comes back by itself if it has a join token (as all
    nodes on the monitor's own machine have) or reports over HTTP or by a bare URL. One that has
    only its key, and sends datagrams, does not: it is told why, and `beatward status` lists it.

    With --revoke a stolen key is shut out: what has it is turned away by every door, at once and
    for good, also when the journal is lost. NODE may be a name that is not known any more. A node
    of this name enrols again with a join token only, and gets another key.

    Exit code 1 when a name is unknown; the others are removed all the same.
    """
    removed, unknown, living = [], [], []
    for name in dict.fromkeys(nodes):
        node = _known(client, name)
        if node is None and not revoke:
            unknown.append(name)
            continue
        try:
            client.send("DELETE", node_path(name), by=by, revoke=revoke)
        except Refused as error:
            if error.status != 404:
                raise
            unknown.append(name)
            continue
        removed.append(name)
        if node is None or node["heard"] is None:
            continue
        if node["status"] in ("alive", "failing", "recovering"):
            living.append((name, ago(node["silent_ns"]), node["via"]))
    is_done = in_effect(lambda: all(status_of(client, name) is None for name in removed))
    if as_json:
        answer = {"ordered": "forget", "nodes": removed, "unknown": unknown}
        print_json({**answer, "revoked": removed} if revoke else answer)
    elif removed:
        click.echo(_sentence(removed, revoke=revoke))
    for name, silent, via in living:
        comes = _COMES_BACK if via != "udp" else _MAY_COME_BACK
        click.echo(
            f"beatward: {name} was heard {silent} ago; if it still runs, it "
            + (_REVOKED if revoke else comes),
            err=True,
        )
    for name in unknown:
        click.echo(f"beatward: no node is called {name!r}", err=True)
    if not is_done:
        warn_late()
    if unknown:
        click.get_current_context().exit(1)


def _known(client: Client, name: str) -> dict[str, Any] | None:
    try:
        return client.get(node_path(name))
    except Refused as error:
        if error.status != 404:
            raise
        return None


def _sentence(names: list[str], *, revoke: bool) -> str:
    shown, is_one = ", ".join(names), len(names) == 1
    forgotten = f"{shown} {'is' if is_one else 'are'} forgotten"
    if not revoke:
        return forgotten
    return forgotten + (", and its key is revoked" if is_one else ", and their keys are revoked")
