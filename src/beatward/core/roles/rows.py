"""A role as the row that the journal keeps of it.

Not here: how a session takes it up again (`machine.RoleMachine.restore`).
"""

from beatward.core.entry import ServiceRecord
from beatward.core.roles.candidates import recalled
from beatward.core.roles.machine import RoleMachine


def row_of(role: RoleMachine, now_ns: int) -> ServiceRecord:
    """Return the row of a role as it is now."""
    node, members = role.lease.holder or role.former, role.members.values()
    memory = recalled(role.remembered, members, now_of=node)
    # Whose end is proven needs no other process to be told from it.
    owner = None if role.lease.is_given_up else role.lease.owner
    return ServiceRecord(
        role.name,
        token=role.lease.token,
        holder=role.lease.holder,
        phase=str(role.phase),
        since_ns=role.since_ns,
        # A longer lease of an earlier session may still run.
        term_ns=role.lease.takeover_left_ns(now_ns),
        reason=role.reason,
        paused=role.paused,
        former=role.former,
        seen=role.seen,
        doubt=role.doubt,
        stuck=role.stuck,
        target=None if role.target is None else role.target.to,
        freshness=None if memory is None else memory.replication_position,
        unsure=memory is not None and memory.is_unsure,
        life=0 if owner is None else owner.life,
        host="" if owner is None else owner.host.hex(),
    )
