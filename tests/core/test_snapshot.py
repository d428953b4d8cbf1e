"""What readers in other threads see: a copy of one instant, which nothing later changes."""

import numpy as np
from tests.core.by_hand import LIFE, MASTER, SESSION, START, ByHand, key_of, said

from beatward.core.instants import SECOND
from beatward.core.membership import Status
from beatward.core.order_kinds import Forget, Join


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
