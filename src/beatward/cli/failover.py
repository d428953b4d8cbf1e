"""`beatward failover`: move a role without its holder, and say first what that risks."""

import sys
from typing import Any

import click

from beatward.cli.client import Client, asking, service_path
from beatward.cli.moving import Move
from beatward.cli.ordering import by_option, duration_text
from beatward.cli.screen import ago
from beatward.core.instants import SECOND, parse_duration


@click.command("failover")
@click.argument("service")
@click.option("--force", is_flag=True, help="At once, whatever the monitor is unsure of.")
@click.option("--to", metavar="NODE", help="Who is to have the role; by default the best.")
@click.option(
    "--yes-i-accept-two-holders",
    "accepted",
    metavar="SERVICE",
    help="Instead of typing the name, for scripts; with --force.",
)
@click.option(
    "--wait",
    type=duration_text,
    default="2m",
    show_default=True,
    metavar="DURATION",
    help="How long to follow it; it goes on without us.",
)
@click.option("--reason", default="", help="Why, for those who look.")
@by_option
@asking
def failover_command(
    client: Client,
    as_json: bool,
    *,
    service: str,
    force: bool,
    to: str | None,
    accepted: str | None,
    wait: str,
    reason: str,
    by: str,
) -> None:
    """Give the role of SERVICE to another node, although its holder does not answer.

    Without --force as soon as nobody can hold it any more, also while automatic failover is
    paused. With --force at once: what that risks is said first, and you type the service's name.
    """
    if accepted is not None and not force:
        message = "--yes-i-accept-two-holders goes with --force; without it there are never two"
        raise click.UsageError(message)
    before = client.get(service_path(service))
    if force and before["phase"] is not None:
        _confirm(before, accepted)
    move = Move(client, service, before, as_json, parse_duration(wait))
    move.order("failover", {"force": force, "to": to, "reason": reason, "by": by})


def _confirm(service: dict[str, Any], accepted: str | None) -> None:
    """Say what a failover by force risks, and go on only when its name was typed."""
    name = service["name"]
    if accepted is not None:
        if accepted != name:
            message = f"--yes-i-accept-two-holders says {accepted!r}, and the service is {name!r}"
            raise click.UsageError(message)
        return
    click.echo("\n".join(risks(service)), err=True)
    if not sys.stdin.isatty():
        message = (
            "nobody is there to confirm this; a script says --yes-i-accept-two-holders "
            f"{name} when it has made sure"
        )
        raise click.UsageError(message)
    typed = click.prompt(f"Type {name} to go on", default="", show_default=False, err=True)
    if typed.strip() != name:
        click.echo("beatward: nothing was done", err=True)
        click.get_current_context().exit(1)


def risks(service: dict[str, Any]) -> list[str]:
    """Return what a failover by force risks now: who may hold it, how long, what must be true."""
    name = service["name"]
    lines = [f"{name}: the role is taken away without knowing that nobody holds it."]
    suspects = _may_hold(service)
    if not suspects:
        lines.append("  Nobody is known to hold it now.")
    for member in suspects:
        node = member["node"]
        said = f"last said `{member['state']}` {ago(member['heard_ago_ns'])} ago"
        said = said if member["state"] else "has said nothing yet"
        lines.append(f"  {node} may still hold it: its node is {member['status']}, and it {said}.")
    lines += [f"  {words}" for words in _until(service)]
    if any(_answers(member) for member in suspects if member["node"] == service["holder"]):
        lines.append(
            f"  {service['holder']} answers: `beatward switchover {name}` moves the role in good "
            "order, and risks nothing."
        )
    for node in [member["node"] for member in suspects]:
        lines.append(
            f"  To be safe, one of these must be true: {node} is switched off; or its {name} is "
            "stopped and does not start by itself; or nobody can reach it, and what it writes is "
            "thrown away."
        )
    lines.append(
        "  If none is, two nodes act as the primary at once, and what both have written cannot be "
        "brought together again."
    )
    if service["reason"]:
        lines.append(f"  What the monitor is unsure of: {service['reason']}.")
    return lines


def _may_hold(service: dict[str, Any]) -> list[dict[str, Any]]:
    mine = [member for member in service["members"] if member["node"] == service["holder"]]
    others = [
        member
        for member in service["members"]
        if member["node"] != service["holder"]
        and member["state"] in ("active", "promoting", "demoting", "stuck")
    ]
    return mine + others


def _answers(member: dict[str, Any]) -> bool:
    is_able = member["state"] in ("active", "promoting") and member["heard_ago_ns"] is not None
    return is_able and bool(member["heard_ago_ns"] < 2 * SECOND)


def _until(service: dict[str, Any]) -> list[str]:
    left_ns = service["until_in_ns"]
    if left_ns is None:
        return ["No lease of it runs any more, as far as this monitor knows."]
    words = f"Its lease and the time to stop run for another {ago(left_ns)}"
    is_free = service["phase"] == "waiting" and service["paused"] is None and service["automatic"]
    if is_free and not service["reason"]:
        return [f"{words}; then the role moves by itself, and safely."]
    return [f"{words} at least."]
