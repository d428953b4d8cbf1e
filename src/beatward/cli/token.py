"""`beatward token`: every secret that an operator may need to paste.

All of them are derived from the data folder's master key, so nothing is registered and nothing is
asked of the monitor; the commands work while it is down. Run them as the monitor's user.
"""

import secrets
import time
from pathlib import Path

import click

from beatward.cli.client import find_monitor
from beatward.cli.screen import print_json
from beatward.config import default_data_folder
from beatward.core.instants import SECOND, format_duration, parse_duration
from beatward.core.protocol import keys
from beatward.core.protocol.join import new_token
from beatward.errors import ConfigError
from beatward.server.identity import load_or_create
from beatward.server.key_book import KeyBook

_DATA = click.option(
    "--data",
    envvar="BEATWARD_DATA",
    type=click.Path(path_type=Path, file_okay=False),
    help="The monitor's data folder; made with a new key if there is none.",
)
_MONITOR = click.option("--monitor", "monitor_url", metavar="URL", help="The address to print.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("token")
def token_command() -> None:
    """Make join tokens, and print the secrets of nodes and of the API."""


@token_command.command("new")
@click.option("--node", "names", default="*", help="The name, or pattern of names, it enrols.")
@click.option("--expires", metavar="DURATION", help="Refuse it after this, as 24h; else never.")
@click.option(
    "--replace",
    "replaces",
    is_flag=True,
    help="Also enrol a node that has lost its key under a name that is taken.",
)
@_MONITOR
@_DATA
@_JSON
def new_command(
    *,
    names: str,
    expires: str | None,
    replaces: bool,
    monitor_url: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make a join token, with which nodes enrol themselves.

    A node that holds it may enrol under the names it is for, until it expires. A name that is taken
    is not given out again, unless the node still has its key, or the token has --replace: for a
    machine that was made anew, and for containers that keep no state.
    """
    if not keys.is_pattern(names) and not keys.is_name(names):
        raise ConfigError(
            "token new", "--node", names, "a name or pattern of letters, digits, ._:@-"
        )
    expires_at = 0 if expires is None else int(time.time()) + _seconds(expires)
    serial = secrets.token_hex(4)
    token = new_token(
        _master(data), serial=serial, expires=expires_at, names=names, replaces=replaces
    )
    url = find_monitor(monitor_url, data).url
    if as_json:
        terms = {"names": names, "expires": expires_at or None, "replace": replaces, "monitor": url}
        print_json({"token": token, **terms})
        return
    until = "never expires" if expires is None else f"expires in {_shown(expires)}"
    name = "$(hostname)" if keys.is_pattern(names) else names
    click.echo(f"{token}\n")
    taken = ", also where one is enrolled already," if replaces else ""
    click.echo(f"It is for nodes called {names!r}{taken} and {until}. On a node:\n")
    click.echo(f"  export BEATWARD_MONITOR={url}")
    click.echo(f"  export BEATWARD_TOKEN={token}")
    click.echo(f"  export BEATWARD_NAME={name}")
    click.echo("  beatward agent\n")
    if keys.is_pattern(names):
        click.echo("With curl alone, without an agent or this token:\n")
        click.echo("  beatward token ping NAME")
    else:
        click.echo("Or with curl alone, without an agent or this token:\n")
        click.echo(f"  curl -fsS {_ping_url(data, url, names)}")


@token_command.command("ping")
@click.argument("name")
@_MONITOR
@_DATA
@_JSON
def ping_command(name: str, monitor_url: str | None, data: Path | None, as_json: bool) -> None:
    """Print the bare URL that is NAME's heartbeat: `curl -fsS URL`, URL/fail or URL/exit/$?."""
    url = _ping_url(data, find_monitor(monitor_url, data).url, _checked(name))
    if as_json:
        print_json({"node": name, "url": url})
    else:
        click.echo(url)


@token_command.command("node")
@click.argument("name")
@_MONITOR
@_DATA
@_JSON
def node_command(name: str, monitor_url: str | None, data: Path | None, as_json: bool) -> None:
    """Print the bearer token of NAME's JSON heartbeats; it speaks for that node only."""
    key = _key(data, _checked(name))
    url = f"{find_monitor(monitor_url, data).url}/v1/nodes/{name}/heartbeat"
    if as_json:
        print_json({"node": name, "bearer": keys.bearer(key), "url": url})
    else:
        click.echo(keys.bearer(key))


@token_command.command("api")
@_DATA
@_JSON
def api_command(data: Path | None, as_json: bool) -> None:
    """Print the token with which an operator asks and commands over HTTP."""
    token = keys.api_token(_master(data))
    if as_json:
        print_json({"api_token": token})
    else:
        click.echo(token)


def _master(data: Path | None) -> bytes:
    return load_or_create(data or default_data_folder())


def _key(data: Path | None, name: str) -> bytes:
    """Return the key that a node of this name has now."""
    master, node = _master(data), keys.node_id(name)
    return keys.node_key(master, node, KeyBook(data or default_data_folder()).epoch(node))


def _checked(name: str) -> str:
    if not keys.is_name(name):
        raise ConfigError("beatward token", "NAME", name, "letters, digits and ._:@-, at most 128")
    return name


def _ping_url(data: Path | None, monitor: str, name: str) -> str:
    return f"{monitor}/ping/{name}/{keys.ping_key(_key(data, name))}"


def _seconds(expires: str) -> int:
    try:
        seconds = parse_duration(expires) // SECOND
    except ValueError as error:
        raise ConfigError("token new", "--expires", expires, "a duration as 24h") from error
    if seconds < 1:
        raise ConfigError("token new", "--expires", expires, "at least 1s")
    return seconds


def _shown(expires: str) -> str:
    return format_duration(parse_duration(expires))
