"""Identity to slot: enrolling, forgetting, using again, growing; and the first of each slot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.arrays import grown
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import BODY_SIZE, NO_GAUGE, NO_SLOT, tag
from beatward.core.registry import NO_VIA, Registry

MASTER = bytes(range(32))
NAMES = st.text("abc", min_size=1, max_size=2)


def find(registry, *wanted):
    """Look up (hint, name) pairs."""
    hints = np.array([hint for hint, _ in wanted], np.uint32)
    nodes = np.array([node_id(name) if name else 0 for _, name in wanted], np.uint64)
    return registry.find(hints, nodes).tolist()


def begin_life(registry, slot, incarnation):
    registry.begin_lives(np.array([slot]), np.array([incarnation]))


def arrays(registry):
    """Return all that is held of slots, but where the names lie and scratch space."""
    rooms = {**vars(registry), **vars(registry.peers)}
    return {
        name: value
        for name, value in rooms.items()
        if isinstance(value, np.ndarray) and name not in ("_text_start", "_scratch")
    }


def knows_key(registry, slot, key):
    body = np.arange(BODY_SIZE, dtype=np.uint8)
    made = registry.tags.seal(body.reshape(1, -1), np.array([slot]), registry.secret)
    return made.tobytes() == tag(key, body.tobytes())


def test_names_get_slots_in_the_order_they_come():
    registry = Registry(MASTER)
    assert [registry.enrol(name, {}) for name in ("a", "b", "a")] == [
        (0, True),
        (1, True),
        (0, False),
    ]
    assert len(registry) == registry.count == 2
    assert [registry.slot_of(name) for name in ("a", "b", "c")] == [0, 1, -1]
    assert registry.name(1) == "b"


def test_a_new_slot_knows_nothing_but_name_and_key():
    registry = Registry(MASTER)
    slot, _ = registry.enrol("a", {"zone": "1"})
    assert registry.node[slot] == node_id("a")
    assert knows_key(registry, slot, node_key(MASTER, node_id("a")))
    assert registry.labels == {0: {"zone": "1"}}
    assert not registry.proven[slot]
    assert registry.sequence[slot] == -1
    assert registry.via[slot] == NO_VIA
    assert registry.cpu[slot] == NO_GAUGE


def test_enrolling_again_changes_labels_only_if_there_are_any():
    registry = Registry(MASTER)
    registry.enrol("a", {"zone": "1"})
    registry.enrol("a", {})
    assert registry.labels[0] == {"zone": "1"}
    registry.enrol("a", {"zone": "2"})
    assert registry.labels[0] == {"zone": "2"}


def test_a_hint_is_believed_only_where_it_is_right():
    registry = Registry(MASTER)
    for name in ("a", "b", "c"):
        registry.enrol(name, {})
    assert find(registry, (0, "a"), (0, "b"), (NO_SLOT, "c"), (3, "a"), (1023, "b")) == [
        0,
        1,
        2,
        0,
        1,
    ]
    assert find(registry, (0, "nobody"), (NO_SLOT, "nobody"), (0, None), (5, None)) == [-1] * 4


def test_a_forgotten_slot_is_used_again_and_keeps_nothing():
    registry = Registry(MASTER)
    registry.enrol("a", {"zone": "1"})
    registry.enrol("b", {})
    begin_life(registry, 0, 7)
    for array in (registry.heard_ns, registry.interval_ms, registry.health):
        array[0] = 9
    for octet in (9, 8):
        registry.peers.note(np.array([0]), np.full((1, PEER_SIZE), octet, np.uint8))
    registry.via[0] = registry.cpu[0] = registry.memory[0] = registry.load[0] = 0
    registry.forget(0)
    assert len(registry) == 1
    assert registry.slot_of("a") == -1
    assert find(registry, (0, "a"), (0, None)) == [-1, -1]
    assert not registry.secret[0].any()
    assert registry.in_use().tolist() == [False, True]
    assert registry.enrol("c", {}) == (0, True)
    assert list(registry.names) == ["c", "b"]
    assert registry.labels == {}
    fresh = Registry(MASTER)
    fresh.enrol("c", {})
    expected = arrays(fresh)
    for name, array in arrays(registry).items():
        assert array[0].tolist() == expected[name][0].tolist(), name


def test_a_name_that_comes_back_goes_on_where_its_last_life_was():
    # Or else what was recorded of that life could be played again: same key, same session.
    registry = Registry(MASTER)
    registry.enrol("a", {})
    begin_life(registry, 0, 7)
    registry.sequence[0] = 41
    registry.forget(0)
    registry.enrol("b", {})
    slot, new = registry.enrol("a", {})
    assert (slot, new) == (1, True)
    assert (registry.incarnation[1], registry.sequence[1], registry.proven[1]) == (7, 41, True)
    assert (registry.incarnation[0], registry.sequence[0], registry.proven[0]) == (0, -1, False)


def test_the_memory_of_forgotten_nodes_is_bounded():
    registry = Registry(MASTER, past_max=2)
    for name in ("a", "b", "c"):
        slot, _ = registry.enrol(name, {})
        begin_life(registry, slot, 7)
        registry.forget(slot)
    assert [registry.incarnation[registry.enrol(name, {})[0]] for name in "abc"] == [0, 7, 7]


def test_a_new_life_begins_its_sequence_anew():
    registry = Registry(MASTER)
    registry.enrol("a", {})
    begin_life(registry, 0, 7)
    registry.sequence[0], registry.health[0] = 41, 1
    begin_life(registry, 0, 8)
    assert registry.incarnation[0] == 8
    assert registry.proven[0]
    assert registry.sequence[0] == -1
    assert registry.health[0] == 0


def test_two_names_with_one_identity_are_refused():
    registry = Registry(MASTER)
    registry.enrol("a", {})
    registry._text[:] = b"b"  # as if the slot had been given to a name of the same hash
    with pytest.raises(ValueError, match="'a' has the identity of 'b'; choose another"):
        registry.enrol("a", {})
    assert registry.slot_of("a") == -1


def test_growing_keeps_every_value_and_every_slot():
    registry = Registry(MASTER)
    for number in range(1025):
        slot, _ = registry.enrol(f"n{number}", {})
        begin_life(registry, slot, number)
    assert registry.capacity == 2048
    assert registry.incarnation[:1025].tolist() == list(range(1025))
    assert registry.sequence[1024] == -1
    assert registry.via[1024] == NO_VIA
    assert registry.cpu[1024] == NO_GAUGE
    assert knows_key(registry, 1024, node_key(MASTER, node_id("n1024")))
    assert find(registry, (NO_SLOT, "n1024"), (1024, "n1024")) == [1024, 1024]


def test_a_grown_array_leaves_the_old_one_to_its_readers():
    old = np.array([1, 2])
    new = grown(old, 4)
    new[0] = 5
    assert old.tolist() == [1, 2]
    assert new.tolist() == [5, 2, 0, 0]


@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=40))
def test_any_sequence_of_enrolling_and_forgetting_agrees_with_a_dictionary(orders):
    registry = Registry(MASTER)
    expected = {}
    for joins, name in orders:
        if joins:
            expected[name] = registry.enrol(name, {})[0]
        elif name in expected:
            registry.forget(expected.pop(name))
    assert len(registry) == len(expected) == int(registry.in_use().sum())
    assert len(set(expected.values())) == len(expected)
    for name, slot in expected.items():
        assert registry.slot_of(name) == slot
        assert find(registry, (NO_SLOT, name), (slot, name)) == [slot, slot]


@given(st.lists(st.integers(0, 9), max_size=60))
def test_the_first_of_each_agrees_with_the_plain_way(slots):
    met = set()
    expected = [not (slot in met or met.add(slot)) for slot in slots]
    registry = Registry(MASTER)
    assert registry.first_of_each(np.array(slots, np.int64)).tolist() == expected


def test_names_enrolled_together_are_new_once_and_keep_their_order():
    registry = Registry(MASTER)
    registry.enrol("b", {})
    slots, is_new = registry.enrol_all(["a", "b", "c", "a"])
    assert slots.tolist() == [1, 0, 2, 1]
    assert is_new.tolist() == [True, False, True, False]
    assert list(registry.names) == ["b", "a", "c"]


def test_of_names_enrolled_together_only_the_one_that_is_taken_is_refused():
    registry = Registry(MASTER)
    registry.enrol("a", {})
    registry._text[:] = b"b"  # as if the slot had been given to a name of the same hash
    slots, is_new = registry.enrol_all(["c", "a", "d"])
    assert slots.tolist() == [1, -1, 2]
    assert is_new.tolist() == [True, False, True]
