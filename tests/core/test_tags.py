"""Every way to check and make tags, held to the standard library's HMAC.

`make test` compares 100,000 random records; BEATWARD_FUZZ=5000000 compares that many and
BEATWARD_SEED chooses which. The extension is tried by each way this processor has, plain C among
them.
"""

import array
import hmac
import os
import shutil
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core import tags
from beatward.core.protocol.keys import KEY_SIZE
from beatward.core.protocol.record import BODY_SIZE, RECORD_SIZE, TAG_SIZE, Kind, Record, seal

COUNT = int(os.environ.get("BEATWARD_FUZZ", "100000"))
SEED = int(os.environ.get("BEATWARD_SEED", "1"))
BATCH = 10_000
MIDSTATES_SIZE = 64

try:
    from beatward.core import _tags
except ImportError:
    _tags = None

every = pytest.mark.parametrize("maker", tags.IMPLEMENTATIONS.values(), ids=tags.IMPLEMENTATIONS)
compiled = pytest.mark.skipif(
    _tags is None and os.environ.get("CI") != "true",
    reason="the extension is not built: no C compiler, or no Python.h (python3-dev)",
)


def random_bytes(rng, *shape):
    return rng.integers(0, 256, shape, np.uint8)


def true_tags(keys, bodies):
    """The judge: one HMAC after the other, (m, TAG_SIZE)."""
    pairs = zip(keys, bodies, strict=True)
    made = [hmac.new(key.tobytes(), body.tobytes(), "sha256").digest() for key, body in pairs]
    return np.frombuffer(b"".join(made), np.uint8).reshape(-1, 32)[:, :TAG_SIZE]


class Fleet:
    """Nodes with random keys, and a true record of some of them, (m, RECORD_SIZE)."""

    def __init__(self, nodes_count, count, seed=SEED):
        rng = np.random.default_rng(seed)
        self.keys = random_bytes(rng, nodes_count, KEY_SIZE)
        self.slots = rng.integers(0, nodes_count, count)
        self.bodies = random_bytes(rng, count, BODY_SIZE)
        self.tags = true_tags(self.keys[self.slots], self.bodies)
        self.records = np.hstack((self.bodies, self.tags))


# --- the conformance suite -------------------------------------------------------------------


@pytest.mark.fuzz
@every
def test_random_records_are_judged_as_by_the_standard_library(maker):
    rng = np.random.default_rng(SEED)
    for start in range(0, COUNT, BATCH):
        fleet = Fleet(500, min(BATCH, COUNT - start), seed=rng.integers(2**32))
        secret = maker.prepare(fleet.keys)
        assert np.array_equal(maker.seal(fleet.bodies, fleet.slots, secret), fleet.tags), start
        assert maker.verify(fleet.records, fleet.slots, secret).all(), (SEED, start)
        # Half of them get one wrong bit, anywhere.
        wrong = rng.random(len(fleet.slots)) < 0.5
        index = np.flatnonzero(wrong)
        places = rng.integers(0, RECORD_SIZE, len(index))
        fleet.records[index, places] ^= np.left_shift(1, rng.integers(0, 8, len(index))).astype(
            "u1"
        )
        genuine = maker.verify(fleet.records, fleet.slots, secret)
        assert np.array_equal(genuine, ~wrong), (SEED, start)


@every
def test_no_bit_of_a_record_may_change(maker):
    fleet = Fleet(3, 1)
    flipped = np.repeat(fleet.records, RECORD_SIZE * 8, axis=0)
    bits = np.arange(RECORD_SIZE * 8)
    flipped[bits, bits // 8] ^= (1 << bits % 8).astype(np.uint8)
    slots = np.repeat(fleet.slots, len(bits))
    assert not maker.verify(flipped, slots, maker.prepare(fleet.keys)).any()


@every
def test_no_bit_of_a_key_may_change(maker):
    fleet = Fleet(1, 1)
    bits = np.arange(KEY_SIZE * 8)
    keys = np.repeat(fleet.keys, len(bits) + 1, axis=0)
    keys[bits, bits // 8] ^= (1 << bits % 8).astype(np.uint8)
    records = np.repeat(fleet.records, len(keys), axis=0)
    genuine = maker.verify(records, np.arange(len(keys)), maker.prepare(keys))
    assert np.flatnonzero(genuine).tolist() == [len(bits)]


@every
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 63, 64, 65, 1000])
def test_batches_of_every_length_are_judged_row_by_row(maker, count):
    fleet = Fleet(11, count)
    secret = maker.prepare(fleet.keys)
    for wrong in {0, count // 2, count - 1} & set(range(count)):
        records = fleet.records.copy()
        records[wrong, -1] ^= 1
        genuine = maker.verify(records, fleet.slots, secret)
        assert np.flatnonzero(~genuine).tolist() == [wrong]
    genuine = maker.verify(fleet.records, fleet.slots, secret)
    assert (genuine.dtype, genuine.shape) == (np.bool_, (count,))
    assert genuine.all()
    assert maker.seal(fleet.bodies, fleet.slots, secret).shape == (count, TAG_SIZE)


@every
def test_what_is_no_slot_verifies_nothing_and_spoils_nothing(maker):
    fleet = Fleet(1, 1)
    ends = [-(2**63), -(2**32), -2, -1, 0, 1, 2, 64, 2**31, 2**32, 2**58, 2**62, 2**63 - 1]
    records = np.repeat(fleet.records, len(ends), axis=0)
    genuine = maker.verify(records, np.array(ends), maker.prepare(fleet.keys))
    assert [end for end, good in zip(ends, genuine, strict=True) if good] == [0]


@every
def test_a_monitor_without_nodes_verifies_nothing(maker):
    fleet = Fleet(1, 5)
    assert not maker.verify(fleet.records, fleet.slots, maker.prepare(fleet.keys[:0])).any()


@every
@pytest.mark.parametrize("slot", [-1, 3, 2**63 - 1])
def test_nobody_can_be_spoken_for_who_is_not_there(maker, slot):
    fleet = Fleet(3, 2)
    with pytest.raises(ValueError, match="slots: 1 of 2 are outside"):
        maker.seal(fleet.bodies, np.array([0, slot]), maker.prepare(fleet.keys))


@every
@pytest.mark.parametrize("count", [2, 4])
def test_every_row_needs_its_slot(maker, count):
    fleet = Fleet(3, 3)
    secret, slots = maker.prepare(fleet.keys), np.zeros(count, np.int64)
    with pytest.raises(ValueError, match=f"slots: expected 3, one a row, found {count}"):
        maker.verify(fleet.records, slots, secret)
    with pytest.raises(ValueError, match=f"slots: expected 3, one a row, found {count}"):
        maker.seal(fleet.bodies, slots, secret)


@every
def test_rows_may_lie_anywhere_in_memory(maker):
    fleet = Fleet(4, 6)
    secret = maker.prepare(fleet.keys)
    memory = np.zeros((6, RECORD_SIZE + 1), np.uint8)
    memory[:, 1:] = fleet.records
    assert maker.verify(memory[:, 1:], fleet.slots, secret).all()
    assert maker.verify(fleet.records[::-1], fleet.slots[::-1].copy(), secret).all()
    odd = np.frombuffer(b"?" + fleet.records.tobytes(), np.uint8)[1:].reshape(-1, RECORD_SIZE)
    assert maker.verify(odd, fleet.slots, secret).all()
    assert np.array_equal(maker.seal(odd[:, :BODY_SIZE], fleet.slots, secret), fleet.tags)


@every
def test_nothing_that_was_handed_in_is_changed(maker):
    fleet = Fleet(4, 6)
    secret = maker.prepare(fleet.keys).copy()
    held = [fleet.records, fleet.bodies, fleet.slots, secret]
    before = [one.tobytes() for one in held]
    maker.verify(fleet.records, fleet.slots, secret)
    maker.seal(fleet.bodies, fleet.slots, secret)
    assert [one.tobytes() for one in held] == before


@every
@given(st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE), st.integers(0, 2**62 - 1))
def test_property_what_an_agent_seals_is_genuine(maker, key, sequence):
    row = seal(Record(Kind.HEARTBEAT, 1, 1, sequence, interval_ms=1), key)
    secret = maker.prepare(np.frombuffer(key, np.uint8).reshape(1, -1))
    records = np.frombuffer(row, np.uint8).reshape(1, -1)
    assert maker.verify(records, np.array([0]), secret).tolist() == [True]


@every
def test_threads_do_not_disturb_each_other(maker):
    fleets = [Fleet(50, 3000, seed) for seed in range(4)]

    def work(fleet):
        secret = maker.prepare(fleet.keys)
        records = fleet.records.copy()
        records[::3, 0] ^= 1
        expected = np.arange(len(records)) % 3 != 0
        return all(
            np.array_equal(maker.verify(records, fleet.slots, secret), expected) for _ in range(10)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, fleets))


# --- the extension itself --------------------------------------------------------------------


@pytest.mark.needs("cc")
def test_where_there_is_a_compiler_the_extension_is_built():
    if (
        not Path(sysconfig.get_path("include"), "Python.h").exists()
        and os.environ.get("CI") != "true"
    ):
        pytest.skip("Python.h is missing (python3-dev)")
    assert shutil.which("cc")
    assert _tags is not None, "run `make setup-dev`; it rebuilds when the source has changed"
    assert _tags.implementations()[-1] == "scalar"
    assert list(tags.IMPLEMENTATIONS) == [*_tags.implementations(), "python"]


def test_there_is_always_one_in_python_and_the_fastest_is_first():
    assert list(tags.IMPLEMENTATIONS)[-1] == "python"
    assert tags.FASTEST is next(iter(tags.IMPLEMENTATIONS.values()))


class Wrong(tags.InPython):
    """What a compiler or an emulator with a fault would be."""

    def seal(self, bodies, slots, secret):
        return super().seal(bodies, slots, secret) ^ 1


def test_one_that_gets_a_tag_wrong_is_not_used():
    assert tags._is_right(tags.InPython())
    assert not tags._is_right(Wrong())


def others_may_run_beside(call, calls_count):
    """Tell whether another thread gets its turn while `call` is called, and only within it."""
    ready, done = threading.Event(), threading.Event()

    def other():
        ready.wait()
        done.set()

    interval = sys.getswitchinterval()
    # From here nobody is made to hand over: whoever runs, runs until he lets go by himself.
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=other)
        thread.start()  # comes back when the other waits
        ready.set()
        for _ in range(calls_count):
            call()
            if done.is_set():
                return True
        return False
    finally:
        sys.setswitchinterval(interval)
        thread.join()


@compiled
@pytest.mark.parametrize("name", ["verify", "seal"])
def test_a_large_batch_lets_other_threads_run_and_a_small_one_does_not(name):
    fleet = Fleet(5, 20_000)
    midstates = _tags.midstates(fleet.keys)
    rows = fleet.records if name == "verify" else fleet.bodies

    def work(count):
        getattr(_tags, name)(rows[:count], fleet.slots[:count], midstates, "scalar")

    assert others_may_run_beside(lambda: work(20_000), 1000)
    assert not others_may_run_beside(lambda: work(63), 1000)


@compiled
def test_a_processor_that_says_it_hashes_is_believed():
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("only Linux says in /proc/cpuinfo what its processor can do")
    words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    expected = [name for name, flag in (("sha-ni", "sha_ni"), ("armv8", "sha2")) if flag in words]
    assert _tags.implementations() == (*expected, "scalar")


@compiled
def test_midstates_serve_every_way_of_the_extension():
    fleet = Fleet(20, 200)
    midstates = _tags.midstates(fleet.keys)
    assert len(midstates) == 20 * MIDSTATES_SIZE
    for name in (None, *_tags.implementations()):
        assert _tags.verify(fleet.records, fleet.slots, midstates, name) == b"\1" * 200
        assert _tags.seal(fleet.bodies, fleet.slots, midstates, name) == fleet.tags.tobytes()


@compiled
def test_a_way_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="this processor has no 'abacus'"):
        _tags.verify(b"", array.array("q"), b"", "abacus")


@compiled
@pytest.mark.parametrize("size", [1, RECORD_SIZE - 1, RECORD_SIZE + 1])
def test_a_short_buffer_is_refused(size):
    slots = array.array("q", [0])
    with pytest.raises(ValueError, match=f"records: .* multiple of 64 bytes, found {size}"):
        _tags.verify(bytes(size), slots, bytes(64))
    with pytest.raises(ValueError, match=f"midstates: .* multiple of 64 bytes, found {size}"):
        _tags.verify(bytes(64), slots, bytes(size))
    with pytest.raises(ValueError, match=f"bodies: .* multiple of 48 bytes, found {size}"):
        _tags.seal(bytes(size), slots, bytes(64))
    with pytest.raises(ValueError, match=f"keys: .* multiple of 32 bytes, found {size}"):
        _tags.midstates(bytes(size))


@compiled
@pytest.mark.parametrize(
    "slots",
    [np.zeros(1, np.int32), np.zeros(1, np.uint64), np.zeros(1), bytes(8), np.zeros(1, ">i8")],
)
def test_slots_that_are_no_64_bit_integers_are_refused(slots):
    with pytest.raises(ValueError, match="slots: expected integers of 64 bits"):
        _tags.verify(bytes(64), slots, bytes(64))


@compiled
def test_memory_with_holes_is_refused():
    wide = np.zeros((4, 128), np.uint8)
    slots, many = np.zeros(4, np.int64), np.zeros(8, np.int64)
    with pytest.raises(ValueError, match="records: expected contiguous memory"):
        _tags.verify(wide[:, :64], slots, bytes(64))
    with pytest.raises(ValueError, match="slots: expected contiguous memory"):
        _tags.verify(bytes(256), many[::2], bytes(64))
    with pytest.raises(ValueError, match="midstates: expected contiguous memory"):
        _tags.verify(bytes(256), slots, wide[:, :64])
    with pytest.raises(ValueError, match="records: expected contiguous memory"):
        _tags.verify(np.zeros((64, 4), np.uint8).T, slots, bytes(64))


@compiled
def test_what_is_no_buffer_is_refused():
    with pytest.raises(TypeError, match="bytes-like"):
        _tags.verify("text", array.array("q", [0]), bytes(64))
    with pytest.raises(TypeError, match="bytes-like"):
        _tags.midstates(None)
    with pytest.raises(TypeError):
        _tags.verify(bytes(64))


@compiled
def test_a_refused_call_keeps_no_hold_on_its_buffers():
    rows, slots, midstates = bytearray(64), array.array("q", [0, 0]), bytearray(64)
    with pytest.raises(ValueError, match="slots"):
        _tags.verify(rows, slots, midstates)
    # Whoever is still exported cannot be resized.
    rows.clear()
    midstates.clear()
    slots.append(0)


@compiled
def test_slots_may_lie_unaligned():
    fleet = Fleet(5, 9)
    memory = memoryview(bytearray(1 + 8 * 9))
    memory[1:] = fleet.slots.tobytes()
    odd = memory[1:].cast("q")
    assert _tags.verify(fleet.records, odd, _tags.midstates(fleet.keys)) == b"\1" * 9
