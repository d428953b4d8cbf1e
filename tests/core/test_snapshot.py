"""What readers in other threads see: a copy of one instant, which nothing later changes."""

import numpy as np
from tests.core.by_hand import LIFE, MASTER, SESSION, START, ByHand, key_of, said

from beatward.core.instants import SECOND
from beatward.core.membership import Status
from beatward.core.order_kinds import Forget, Join
from beatward.core.protocol.record import Kind


def test_a_snapshot_shows_what_was_held_to_be_true():
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.step(0, said(cpu=1250), orders=(Join("web-2", {"zone": "a"}),))
    snapshot = hand.snapshot()
    assert list(snapshot.names) == ["web-1", "web-2"]
    assert [Status(status).word for status in snapshot.status] == ["alive", "new"]
    assert snapshot.cause.tolist() == [1, 0]
    assert snapshot.since_ns.tolist() == [START, START]
    assert snapshot.rows().tolist() == [0, 1]
    assert [snapshot.find(name) for name in ("web-1", "web-2", "web-3")] == [0, 1, -1]
    assert snapshot.labels == {1: {"zone": "a"}}
    assert snapshot.state.registry.cpu[0] == 1250
    assert snapshot.state.registry.incarnation[0] == LIFE
    assert snapshot.taken_ns == START
    assert snapshot.session == SESSION
    assert snapshot.tags in ("sha-ni", "scalar", "python")
    assert snapshot.turns == 2
    assert snapshot.sequence == hand.entries[-1].sequence == 6
    assert snapshot.counters["records"] == snapshot.counters["accepted"] == 1
    assert not any(snapshot.rejects.values())
    assert snapshot.outbox == {"waiting": 0, "running": 0, "held": 0, "guarded": 0}


def test_it_explains_what_it_shows():
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.step(0, said())
    words, numbers = hand.snapshot().explain(0)
    assert words == "web-1 is alive: heartbeat 0 arrived"
    shown = ("sequence_heard", "sequence_due", "margin_ns", "overdue_ns", "silent_ns")
    assert [numbers[name] for name in shown] == [0, 1, SECOND, -SECOND, 0]
    words, numbers = hand.snapshot().explain(1)
    assert words == "web-2 is enrolled; nothing was heard of it yet"
    assert [numbers[name] for name in shown] == [None, None, 0, None, None]


def test_a_snapshot_stays_as_it_was():
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.step(0, said())
    before = hand.snapshot()
    hand.step(SECOND, orders=(Forget("web-1"), Join("web-3", {"zone": "b"})))
    assert [before.find(name) for name in ("web-1", "web-2", "web-3")] == [0, 1, -1]
    assert list(before.names) == ["web-1", "web-2"]
    assert before.rows().tolist() == [0, 1]
    assert before.labels == {}
    assert before.explain(0)[0] == "web-1 is alive: heartbeat 0 arrived"
    after = hand.snapshot()
    assert [after.find(name) for name in ("web-1", "web-2", "web-3")] == [-1, 1, 0]


NAMES = tuple(f"web-{number}" for number in range(100))


def own_bytes(frozen, live):
    """Return how many bytes of arrays a snapshot has for itself: not shared, and not all zeros."""
    rooms = ("registry", "membership", "detector", "quality")
    columns = [
        (getattr(getattr(frozen, room), name), getattr(getattr(live, room), name))
        for room in rooms
        for name in getattr(live, room).ROWS
    ]
    return sum(
        copy.nbytes
        for copy, array in columns
        if copy.size and copy.strides[0] and not np.shares_memory(copy, array)
    )


def test_a_snapshot_of_a_fleet_that_is_well_copies_only_what_heartbeats_write():
    hand = ByHand(nodes=NAMES)
    for second in range(10):
        hand.step(second * SECOND, *(said(name, sequence=second) for name in NAMES))
        hand.walk((second + 1) * SECOND)
    live = hand.monitor.state
    assert own_bytes(hand.snapshot().state, live) <= 115 * len(NAMES)
    frozen = hand.snapshot().state
    assert np.shares_memory(frozen.registry._index._table, live.registry._index._table)


def test_a_snapshot_sees_no_change_of_what_it_shares():
    hand = ByHand(nodes=NAMES)
    hand.step(0, *(said(name) for name in NAMES))
    before = hand.snapshot()
    shown = [before.status.copy(), before.since_ns.copy(), list(before.names)]
    lives = before.state.registry.incarnation.copy()
    hand.step(
        SECOND,
        said("web-7", incarnation=LIFE + 1),
        said("web-8", kind=Kind.GOODBYE, sequence=1),
        orders=(Forget("web-9"), Join("db-1", {"zone": "b"})),
    )
    assert np.array_equal(before.status, shown[0])
    assert np.array_equal(before.since_ns, shown[1])
    assert list(before.names) == shown[2]
    assert np.array_equal(before.state.registry.incarnation, lives)
    assert before.find("web-9") == 9
    after = hand.snapshot()
    assert after.state.registry.incarnation[7] == LIFE + 1
    assert Status(after.status[8]) == Status.LEFT
    assert after.find("web-9") == -1
    assert after.names[9] == "db-1"


def test_a_name_enrolled_since_is_not_there_yet():
    hand = ByHand(nodes=())
    before = hand.snapshot()
    hand.step(0, orders=(Join("web-1"),))
    assert before.find("web-1") == -1
    assert hand.snapshot().find("web-1") == 0


def test_a_snapshot_holds_no_secrets():
    hand = ByHand()
    registry = hand.snapshot().state.registry
    held = [value for value in vars(registry).values() if isinstance(value, np.ndarray | bytes)]
    for value in held:
        data = value if isinstance(value, bytes) else value.tobytes()
        assert MASTER not in data
        assert key_of("web-1") not in data
        assert hand.monitor._registry.secret[0].tobytes() not in data


def test_a_free_row_is_no_node():
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.step(0, orders=(Forget("web-1"),))
    snapshot = hand.snapshot()
    assert snapshot.rows().tolist() == [1]
    assert snapshot.names[0] == ""
