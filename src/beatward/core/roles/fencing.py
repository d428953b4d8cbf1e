"""Isolating a holder that may act and cannot be asked: when, under which key, and what follows.

    holder dead or stuck, role not given back -> action `SERVICE/TOKEN/fence` -> success: it is free

A fence makes the role free sooner than time does, or at all where time is not trusted. A node that
speaks again before the action has begun, and acts only as it may, is left alone; but the word of
another process of its name proves nothing while the role waits for the fence. Not here: the deed
(`actions/`), when it may be done (`core.outbox`), and what follows (`core.roles.machine`).
"""

from beatward.core.membership import Cause, Membership, Status
from beatward.core.roles.lease import GIVEN_UP
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.other_processes import replaces
from beatward.core.roles.phases import Phase


def why_fence(role: RoleMachine, membership: Membership, now_ns: int) -> str:
    """Say why the holder is to be isolated now, as a few words about it; empty: it is not.

    Who left in order has said that it gave the role up, as a rule; such a one is only isolated
    where nothing else makes the role free.
    """
    member, settings = role.holding, role.settings
    if not settings.fence or role.fence or not role.lease.granted_ns or role.doubt:
        return ""
    if not role.is_automatic and role.target is None:
        return ""
    if role.stuck:
        return "could not be demoted"
    if member is None:
        return ""
    status, is_waiting = membership.status[member.slot], role.phase == Phase.WAITING
    if status == Status.LEFT and is_waiting and settings.fence_required:
        return "left without saying that it gave the role up"
    if settings.fence_required and replaces(role.lease, member) and now_ns >= role.lease.until_ns:
        # Time is not trusted, its own word cannot come any more, and the node will not be dead.
        return "answers as another process, which knows nothing of the first one,"
    was_seen = membership.cause[member.slot] == Cause.EXITED
    return "is dead" if status == Status.DEAD and (was_seen or is_waiting) else ""


def is_answered(role: RoleMachine, node: str, token: int, since_ns: int) -> bool:
    """Whether a node that was to be isolated has spoken since then, and acts only as it may."""
    lease = role.lease
    if role.phase == Phase.HELD and (lease.holder, lease.token) == (node, token):
        return lease.spoke_ns > since_ns
    if (lease.holder, lease.token) == (node, token):
        return False  # its own word would have freed the role
    if lease.token == token and lease.is_given_up:
        return True
    report = next((one.report for one in role.members.values() if one.node == node), None)
    return report is not None and report.token >= token and report.state in GIVEN_UP
