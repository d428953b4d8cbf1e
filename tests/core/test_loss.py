"""Loss and jitter: what is missing on a sender's grid, whatever else comes and goes."""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.by_hand import LIFE, said
from tests.core.measured import answer, by_hand, fleet, of

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.record import Kind


def told(monitor, *sequences, **fields):
    """Say heartbeats in one batch; return (slots, missing)."""
    monitor.step(monitor.now + SECOND, *(said(sequence=one, **fields) for one in sequences))
    found = of(monitor)
    return found["slots"], found["missing"]


def test_what_never_came_is_missing():
    monitor = by_hand()
    assert told(monitor, 5) == (1, 0)  # nobody listened before
    assert told(monitor, 6) == (2, 0)
    assert told(monitor, 9) == (5, 2)
    assert told(monitor, 7, 8, 9, 9) == (5, 2)  # overtaken, or said again
    assert told(monitor, 2, incarnation=LIFE + 1) == (6, 2)  # a new life has a new grid
    assert told(monitor, 4, incarnation=LIFE + 1) == (8, 3)
    assert of(monitor)["loss"] == 3 / 8
    assert told(monitor, 6, kind=Kind.GOODBYE, incarnation=LIFE + 1) == (9, 4)
    assert told(monitor, 6, kind=Kind.GOODBYE, incarnation=LIFE + 1) == (9, 4)
    assert fleet(monitor)["slots"] == 9


def test_a_jump_that_no_clock_makes_is_another_grid():
    monitor = by_hand()
    assert told(monitor, 0, 1) == (2, 0)
    assert told(monitor, 2**61) == (3, 0)
    assert told(monitor, 2**61 + 3) == (6, 2)


def test_a_queue_that_is_flushed_is_not_missing():
    monitor = by_hand()
    assert told(monitor, *range(100)) == (100, 0)
    assert told(monitor, *range(100, 200, 2)) == (199, 49)
    assert fleet(monitor)["slots"] == 199


def test_an_answer_is_on_no_grid():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(22_050_000_000)  # 20, 21 and 22 were lost
    answer(monitor, 22_050_000_000, sequence=22)
    assert (of(monitor)["slots"], of(monitor)["missing"]) == (22, 2)
    monitor.beat(23)
    assert (of(monitor)["slots"], of(monitor)["missing"]) == (24, 3)


def test_jitter_is_what_rfc_3550_says():
    monitor = by_hand()
    late_ns = {8: 16 * MILLISECOND, 16: 33 * MILLISECOND}
    for sequence in range(17):
        at_ns = (1 + sequence) * SECOND + late_ns.get(sequence, 0)
        monitor.walk(at_ns)
        monitor.step(at_ns, said(sequence=sequence))
    # 16 ms / 16 = 1 ms, and then 1 ms + (33 ms - 1 ms) / 16.
    assert of(monitor)["jitter_ns"] == 3_000_000


def test_what_our_own_pause_stamped_is_no_jitter():
    monitor = by_hand()
    monitor.beat(*range(8))
    pause = 5 * SECOND
    # It came in time and was read 5 s later; the next is measured from nothing.
    monitor.step(7 * SECOND + pause, said(sequence=8), drained_ns=12_001_000_000)
    monitor.beat(*range(13, 16))
    assert of(monitor)["jitter_ns"] is None
    monitor.step(15 * SECOND)
    monitor.beat(16)
    assert of(monitor)["jitter_ns"] is None


_WORDS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=12
)


@given(batches=_WORDS, rng=st.randoms(use_true_random=False))
def test_loss_is_what_a_slow_count_finds_and_never_negative(batches, rng):
    monitor = by_hand()
    lives, life, newest = {}, 0, -1
    for advance, begin, count in batches:
        if not lives or advance == 0:  # the node has restarted
            life, newest = life + 1, -1
            lives[life] = set()
        sequences = [begin + rng.randrange(20) for _ in range(count)]
        monitor.step(
            monitor.now + SECOND,
            *(said(sequence=one, incarnation=LIFE + life) for one in sequences),
        )
        lives[life] |= _taken(sequences, newest)
        newest = max(newest, *sequences)
    found = of(monitor)
    slots = sum(max(one) - min(one) + 1 for one in lives.values())
    assert found["slots"] == slots
    assert found["missing"] == slots - sum(map(len, lives.values()))
    assert 0 <= found["missing"] <= found["slots"]
    assert (fleet(monitor)["slots"], fleet(monitor)["missing"]) == (slots, found["missing"])


def _taken(sequences, newest):
    """Return what is news in a batch: four in a row, and of the others all that came in between."""
    taken, rest = set(), sequences
    for _ in range(4):
        rest = [one for one in rest if one > newest]
        if not rest:
            return taken
        newest = rest[0]
        taken.add(newest)
        rest = rest[1:]
    return taken | {one for one in rest if one > newest}
