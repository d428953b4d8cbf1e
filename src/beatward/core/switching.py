"""What people ask of a role: to move it in order, to move it when it can be moved, or by force.

An order that is in vain changes nothing and says why in an entry: the API refuses it before, and
this is for what has changed in the moment between. Not here: who may order (`web.access`), and what
happens then (`core.failover`).
"""

from collections.abc import Mapping

from beatward.core.candidates import Member, why_nobody
from beatward.core.entry import Maintenance
from beatward.core.explanation import credit
from beatward.core.failover import Role
from beatward.core.instants import NEVER, format_duration
from beatward.core.roles import DOES, Fact, Phase


def switch_over(role: Role, to: str, who: str, now_ns: int) -> Fact:
    """Move the role in order, to a node or (empty) to the best.

    who   who asks and why, as a clause
    """
    able, others = role.candidates(now_ns)
    why = _why_not(to, able, others)
    if role.phase != Phase.HELD:
        why = "nobody holds the role, so nobody can give it up in order"
    if why:
        return _decline(role, "switchover", to, f"{who}: {why}")
    role.forgive()
    return role.ask_back("switchover", to, f" as asked{who}", now_ns)


def fail_over(role: Role, to: str, who: str) -> Fact:
    """Let the role move, to a node or to the best, as soon as no member can hold it."""
    holder = role.lease.holder
    if role.doubt or role.stuck:
        return _decline(role, "failover", to, f"{who}: {role.reason}")
    if role.phase in DOES:
        why = f"{holder} has the role and answers; a switchover moves it in order"
        return _decline(role, "failover", to, f"{who}: {why}")
    role.forgive()
    role.wish_for(to)
    words = f"the role is to go to {to or 'the best'} as soon as nobody can hold it{who}"
    return Fact("failover", f"{role.name}: {words}", holder)


def force(role: Role, to: str, who: str, now_ns: int) -> Fact:
    """Give the role to a node or to the best at once, whatever the machine is unsure of."""
    able, others = role.candidates(now_ns, any_lag=True)
    why = _why_not(to, able, others)
    if why:
        return _decline(role, "failover --force", to, f"{who}: {why}")
    why = f", by force{who}{_risk(role, now_ns)}"
    role.overrule(to, now_ns)
    return role.promote(role.chosen(able), now_ns, of_count=len(able), cause="forced", why=why)


def pause(role: Role, paused: Maintenance, now_ns: int) -> Fact:
    """Let nothing fail over by itself; its holder goes on."""
    role.pause(paused)
    planned = paused.until_ns != NEVER
    left = f" for {format_duration(paused.until_ns - now_ns)}" if planned else ""
    words = f"automatic failover is paused{left}{credit(paused.by, paused.reason)}"
    return Fact("paused", f"{role.name}: {words}", role.lease.holder)


def _risk(role: Role, now_ns: int) -> str:
    holder, lease, risks = role.lease.holder, role.lease, [role.doubt]
    if role.stuck:
        risks.append(f"{holder} could not be demoted and may still act")
    elif holder:
        left = format_duration(max(lease.until_ns - now_ns, 0))
        risks.append(f"{holder} may still act under token {lease.token} for {left}")
    if role.remembered is not None and role.is_unsure:
        risks.append(f"how far the others are behind {role.remembered.node} is not known")
    told = "; ".join(filter(None, risks))
    return f", at this risk: {told}" if told else ""


def _why_not(to: str, able: list[Member], others: Mapping[str, str]) -> str:
    """Say why the role cannot go to a node, or without one to any member; empty: it can."""
    if to and all(one.node != to for one in able):
        return f"{to} {others.get(to, 'does not offer the service')}"
    return "" if able else f"there is nobody to take it: {why_nobody(others)}"


def _decline(role: Role, what: str, to: str, why: str) -> Fact:
    goal = f" to {to}" if to else ""
    return Fact("declined", f"{role.name}: a {what}{goal} was declined{why}", role.lease.holder)
