"""What the commands that order something share: labels, who orders, and waiting until it is so.

The monitor's answer says that an order is on its way; a command returns when it is in effect, so
that `beatward pause web-1 && reboot-it` is safe. Not here: the orders themselves.
"""

import contextlib
import getpass
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from beatward.cli.client import Client, Command, Refused, node_path
from beatward.cli.screen import print_json
from beatward.core.instants import parse_duration
from beatward.core.protocol.keys import is_pattern

# A snapshot appears every 200 ms; 100,000 nodes take some seconds.
_SPACING_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0

Labels = tuple[tuple[str, str], ...]


def duration_text(text: str) -> str:
    """Check a duration here, so that a mistake in it is one of usage; the monitor reads it."""
    with contextlib.suppress(ValueError):
        if parse_duration(text) > 0:
            return text
    raise click.BadParameter(f"{text!r} is not a duration; write it like 30m, 2h or 7d")


def label_pair(text: str) -> tuple[str, str]:
    """Split `zone=a`."""
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise click.BadParameter(f"{text!r} is not a label; write it like zone=a")
    return key, value


def label_option(command: Command) -> Command:
    """Give a command `--label`."""
    return click.option(
        "--label",
        "labels",
        multiple=True,
        type=label_pair,
        metavar="KEY=VALUE",
        help="Only nodes with this label; may be repeated, all must fit.",
    )(command)


def label_words(labels: Labels) -> list[str] | None:
    """Return labels as the API wants them in a query; None where there are none."""
    return [f"{key}={value}" for key, value in labels] or None


def service_option(text: str) -> Callable[[Command], Command]:
    """Give a command `--service`."""
    return click.option("--service", metavar="NAME", help=text)


def only_service(nodes: tuple[str, ...], labels: Labels) -> None:
    """Raise a mistake of usage when nodes are meant beside a service."""
    if nodes or labels:
        raise click.UsageError("either --service or nodes: they are ordered one after the other")


def by_option(command: Command) -> Command:
    """Give a command `--by`."""
    return click.option(
        "--by", metavar="NAME", default=whoami, help="Who says so; by default your user name."
    )(command)


def whoami() -> str:
    """Return the user's name, or nothing where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def in_effect(is_so: Callable[[], bool]) -> bool:
    """Wait until something is so; False: it takes longer than a user should wait."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(_SPACING_SECONDS)
    return True


def count_paused(client: Client, nodes: tuple[str, ...], labels: Labels) -> tuple[int, int]:
    """Return how many of the nodes that are meant are paused, and how many are not."""
    paused = rest = 0
    for name in nodes or ("*",):
        if is_pattern(name):
            asked: dict[str, Any] = {"match": name, "label": label_words(labels), "limit": 1}
            every = client.get("/v1/nodes", **asked)["matching"]
            those = client.get("/v1/nodes", **asked, status="paused")["matching"]
            paused, rest = paused + those, rest + every - those
            continue
        is_paused = status_of(client, name) == "paused"
        paused, rest = paused + is_paused, rest + (not is_paused)
    return paused, rest


def status_of(client: Client, name: str) -> str | None:
    """Return a node's status; None where there is no such node."""
    try:
        return str(client.get(node_path(name))["status"])
    except Refused as error:
        if error.status != 404:
            raise
        return None


def tell_ordered(answer: Mapping[str, Any], sentence: str, *, as_json: bool, is_done: bool) -> None:
    """Say what was ordered; where it is on its way and not yet in effect, end with exit code 1."""
    if as_json:
        print_json({**answer, "in_effect": is_done})
    else:
        click.echo(sentence)
    if not is_done:
        warn_late()


def warn_late() -> None:
    """Say that an order is on its way and not yet in effect, and end with exit code 1."""
    click.echo("beatward: the order is on its way, but not all of it is in effect yet", err=True)
    click.get_current_context().exit(1)
