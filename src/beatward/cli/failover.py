"""`beatward failover`: move a role without its holder, and say first what that risks."""

import sys
from typing import Any

import click

from beatward.cli.client import Client, asking, service_path
from beatward.cli.moving import Move, telling_options, to_option
from beatward.cli.screen import ago
from beatward.core.instants import parse_duration

# What a member says of itself while it may act under a token.
_ACTING = ("active", "promoting", "demoting", "stuck")


@click.command("failover")
@click.argument("service")
@click.option("--force", is_flag=True, help="At once, whatever the monitor is unsure of.")
@to_option
@click.option(
    "--yes-i-accept-two-holders",
    "accepted",
    metavar="SERVICE",
    help="Instead of typing the name, for scripts; with --force.",
)
@telling_options
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

    Without --force as soon as no node can hold it any more, also while automatic failover is
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
            "this needs a terminal to be confirmed; a script says --yes-i-accept-two-holders "
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
    lines = [f"{name}: the role is taken away without knowing that no node holds it."]
    suspects = _may_hold(service)
    if not suspects:
        lines.append("  No node is known to hold it now.")
    for member in suspects:
        node = member["node"]
        since_ns = member["heard_ago_ns"]
        report = "has said nothing yet"
        if member["state"]:
            when = "" if since_ns is None else f" {ago(since_ns)} ago"
            report = f"last said `{member['state']}`{when}"
        lines.append(
            f"  {node} may still hold it: its node is {member['status']}, and it {report}."
        )
    lines.append(f"  {_until(service, suspects)}")
    if _answers(service):
        lines.append(
            f"  {service['holder']} answers: `beatward switchover {name}` moves the role in good "
            "order, and risks nothing."
        )
    who = " and of ".join(member["node"] for member in suspects) or "every node that offers it"
    lines.append(
        f"  To be safe, one of these must be true of {who}: it is switched off; or its {name} is "
        "stopped and does not start by itself; or it cannot be reached, and what it writes is "
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
    """Return the holder, and who else says now that it acts, such as after a failover by force.

    Who said so before the role moved on, and is silent since, was waited for when it moved.
    """
    mine = [member for member in service["members"] if member["node"] == service["holder"]]
    others = [
        member
        for member in service["members"]
        if member["node"] != service["holder"]
        and member["state"] in _ACTING
        and (_is_near(service, member) or member["token"] > service["token"])
    ]
    return mine + others


def _answers(service: dict[str, Any]) -> bool:
    holders = [member for member in service["members"] if member["node"] == service["holder"]]
    return any(one["state"] == "active" and _is_near(service, one) for one in holders)


def _is_near(service: dict[str, Any], member: dict[str, Any]) -> bool:
    """Tell whether a member was heard just now; it speaks four times in a lease."""
    heard_ago_ns = member["heard_ago_ns"]
    return heard_ago_ns is not None and bool(2 * heard_ago_ns < service["lease_ns"])


def _until(service: dict[str, Any], suspects: list[dict[str, Any]]) -> str:
    """Say how long a node may still hold the role."""
    if any(member["state"] == "stuck" for member in suspects):
        return "It could not be made to stop, so no waiting makes this safe."
    left_ns = service["until_in_ns"]
    if left_ns is None:
        return "No lease of it runs any more, as far as this monitor knows."
    text = f"Its lease and the time to stop run for another {ago(left_ns)}"
    is_paused = service["paused"] is not None or not service["automatic"]
    if service["phase"] != "waiting":
        return f"{text} at least."
    if is_paused:
        return f"{text}; then `beatward failover {service['name']}` moves the role safely."
    return f"{text}; then the role moves by itself, and safely."
