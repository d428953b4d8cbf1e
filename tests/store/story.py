"""An endless story of entries, the same in every process: seven nodes and what happens to them."""

import random

from beatward.core.entry import ActionRecord, Entry, Event, NodeRecord

STATUSES = ("new", "alive", "suspect", "dead", "left", "paused", "failing", "recovering")
STATES = ("decided", "done", "failed", "withdrawn")


def entry_for(sequence):
    """Return entry number `sequence`; each stands alone, so a store may be asked to replay it."""
    chance = random.Random(sequence)
    node = f"node-{chance.randrange(7)}"
    status = chance.choice(STATUSES)
    told = {"sequence": sequence, "at_ns": sequence * 1000, "node": node, "status": status}
    kind = chance.randrange(10)
    if kind == 0:
        return Entry(event=Event.FORGOTTEN, **told)
    if kind == 1:
        told["node"] = None
        return Entry(event=Event.GUARD, explanation="own pause", **told)
    if kind < 5:
        state = chance.choice(STATES)
        key = f"{chance.randrange(40)}-page"
        record = ActionRecord(key, "page", "webhook", node, state, sequence % 5, {"node": node})
        return Entry(event=Event.ACTION, action="page", action_record=record, **told)
    record = NodeRecord(
        name=node,
        node=chance.randrange(1, 2**64),
        status=status,
        cause="silence",
        since_ns=sequence * 1000 - 7,
        incarnation=chance.randrange(2**63),
        interval_ns=1_000_000_000,
        address=chance.randbytes(28),
        via="udp",
        labels={"zone": f"z{sequence % 3}"},
    )
    return Entry(
        event=Event.TRANSITION,
        cause="silence",
        explanation=f"{node} {status}: silent {sequence} ms",
        detail={"silent_ns": sequence},
        node_record=record,
        **told,
    )
