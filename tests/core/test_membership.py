"""The table of statuses: what it says happens, and nothing else; alarms and windows.

The picture in docs/statuses.md is made from the table; BEATWARD_REWRITE=1 draws it again.
"""

import os
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from beatward.core.instants import NEVER, SECOND
from beatward.core.membership import (
    RUNG_MAX,
    TABLE,
    WATCHED,
    Cause,
    Change,
    Membership,
    MembershipSettings,
    Status,
)

NOW = 100 * SECOND
SLOT = np.array([1])
SETTINGS = MembershipSettings(window_ns=1000, spacing_ns=200, recovery_heartbeats=3)

# Written down a second time, by hand; what is in no row must leave the status as it is.
EXPECTED = {
    ("heard", "new left", "alive"),
    ("heard", "dead suspect", "recovering"),
    ("overdue", "new alive failing recovering", "suspect"),
    ("refuted", "suspect", "alive"),
    ("silent", "suspect", "dead"),
    ("exited", "new alive failing suspect recovering", "dead"),
    ("goodbye", "new alive failing suspect recovering dead", "left"),
    ("pause", "new alive failing suspect recovering dead left", "paused"),
    ("resume", "paused", "new"),
    ("ill", "alive recovering", "failing"),
    ("well", "failing", "alive"),
    ("steady", "recovering", "alive"),
}


def expected_after(status, cause):
    for word, befores, after in EXPECTED:
        if word == cause.word and status.word in befores.split():
            return Status[after.upper()]
    return None


def placed(status, due_ns=NEVER, capacity=3):
    membership = Membership(SETTINGS, capacity)
    everyone = np.arange(capacity)
    membership.place(everyone, Status.NEW, Cause.ENROLLED, since_ns=0, due_ns=NEVER)
    membership.place(SLOT, status, Cause.ENROLLED, since_ns=5, due_ns=due_ns)
    return membership


def arrays(membership):
    return {
        name: value.tolist()
        for name, value in vars(membership).items()
        if isinstance(value, np.ndarray)
    }


# --- the table ---


@pytest.mark.parametrize(
    ("status", "cause"), list(product(Status, Cause)), ids=lambda value: value.word
)
def test_every_pair_does_what_the_table_says_or_nothing(status, cause):
    membership = placed(status, due_ns=NOW + 7)
    before = arrays(membership)
    changes = membership.apply(SLOT, cause, NOW)
    after = expected_after(status, cause)
    assert TABLE.get((status, cause)) == after
    if after is None:
        assert changes == []
        assert arrays(membership) == before
        return
    assert changes == [Change(1, status, after, cause, NOW, 5)]
    assert membership.status[1] == after
    assert membership.cause[1] == cause
    assert membership.since_ns[1] == NOW
    assert membership.status[[0, 2]].tolist() == [Status.NEW, Status.NEW]


def test_only_some_of_many_slots_change_in_the_order_given():
    membership = Membership(SETTINGS, 4)
    membership.status[:] = [Status.ALIVE, Status.DEAD, Status.PAUSED, Status.FAILING]
    changes = membership.apply(np.array([3, 2, 1, 0]), Cause.OVERDUE, NOW)
    assert [(change.slot, change.before) for change in changes] == [
        (3, Status.FAILING),
        (0, Status.ALIVE),
    ]
    words = [Status(status).word for status in membership.status]
    assert words == ["suspect", "dead", "paused", "suspect"]


def test_every_status_can_be_reached_and_left():
    assert set(TABLE.values()) == set(Status)
    assert {before for before, _ in TABLE} == set(Status)


def test_no_cause_leaves_a_status_as_it_is():
    assert all(before != after for (before, _), after in TABLE.items())


@pytest.mark.parametrize("status", Status)
def test_silence_counts_exactly_where_the_table_knows_overdue(status):
    assert WATCHED[status] == ((status, Cause.OVERDUE) in TABLE)


# --- alarms ---


@pytest.mark.parametrize(("status", "cause"), list(TABLE), ids=lambda value: value.word)
def test_the_alarm_clock_of_who_is_not_watched_any_more_is_off(status, cause):
    membership = placed(status, due_ns=NOW + 7)
    membership.window_ends_ns[1] = NOW + 9
    membership.apply(SLOT, cause, NOW)
    if cause == Cause.OVERDUE:
        return  # The window that opens next sets both.
    assert membership.window_ends_ns[1] == 0
    assert membership.due_ns[1] == (NOW + 7 if WATCHED[membership.status[1]] else NEVER)


@pytest.mark.parametrize("status", Status)
def test_only_the_watched_get_a_deadline(status):
    membership = placed(status)
    membership.watch(SLOT, np.array([NOW]))
    assert membership.due_ns[1] == (NOW if WATCHED[status] else NEVER)


@pytest.mark.parametrize(("due_ns", "rings"), [(NOW - 1, True), (NOW, True), (NOW + 1, False)])
def test_an_alarm_rings_at_its_instant(due_ns, rings):
    due = placed(Status.ALIVE, due_ns).sweep(3, NOW)
    assert due.overdue.tolist() == ([1] if rings else [])
    assert due.probed.tolist() == due.silent.tolist() == []


def test_slots_never_used_do_not_ring():
    membership = placed(Status.ALIVE, NOW)
    assert membership.sweep(1, NOW).overdue.tolist() == []
    assert membership.earliest_ns(0) == NEVER
    assert membership.earliest_ns(1) == NEVER
    assert membership.earliest_ns(3) == NOW


def test_so_many_alarms_ring_in_one_turn_and_the_rest_in_the_next():
    membership = Membership(SETTINGS, RUNG_MAX + 5)
    membership.due_ns[:] = NOW
    first = membership.sweep(RUNG_MAX + 5, NOW).overdue
    assert first.tolist() == list(range(RUNG_MAX))
    membership.due_ns[first] = NEVER
    assert membership.sweep(RUNG_MAX + 5, NOW).overdue.tolist() == list(
        range(RUNG_MAX, RUNG_MAX + 5)
    )


# --- the window ---


def test_a_window_is_probed_every_spacing_and_ends_in_silence():
    membership = placed(Status.SUSPECT)
    membership.suspect(SLOT, np.array([77], np.uint32), NOW)
    membership.due_ns[SLOT] = NOW
    found = []
    for now in range(NOW, NOW + 1200, 50):
        due = membership.sweep(3, now)
        assert due.overdue.tolist() == []
        if len(due.silent):
            found.append((now - NOW, "silent"))
            membership.apply(due.silent, Cause.SILENT, now)
        elif len(due.probed):
            found.append((now - NOW, "probe"))
            membership.probe(due.probed, now, sent=np.array([True]))
    probes = [(at, "probe") for at in (0, 200, 400, 600, 800)]
    assert found == [*probes, (1000, "silent")]
    assert membership.probes_sent[1] == 5
    assert membership.due_ns[1] == NEVER


def test_probes_that_had_no_address_are_not_counted_and_the_window_ends_all_the_same():
    membership = placed(Status.SUSPECT)
    membership.suspect(SLOT, np.array([77], np.uint32), NOW)
    membership.probe(SLOT, NOW + 900, sent=np.array([False]))
    assert membership.probes_sent[1] == 0
    assert membership.due_ns[1] == NOW + 1000


def test_opening_a_window_anew_counts_and_asks_anew():
    membership = placed(Status.SUSPECT)
    for number, now in ((77, NOW), (78, NOW + 500)):
        membership.suspect(SLOT, np.array([number], np.uint32), now)
        membership.probe(SLOT, now, sent=np.array([True]))
    assert membership.probes_sent[1] == 1
    assert membership.challenge[1] == 78
    assert membership.window_ends_ns[1] == NOW + 1500
    assert membership.answer_by_ns[1] == NOW + 2500


def test_a_suspect_that_may_not_be_judged_yet_may_answer_each_later_round():
    """The monitor hears no node at all, so it goes on asking, once a window."""
    membership = placed(Status.SUSPECT)
    membership.suspect(SLOT, np.array([77], np.uint32), NOW)
    for windows in (1, 2, 3):
        membership.probe(SLOT, NOW + windows * 1000, sent=np.array([True]))
        assert membership.answer_by_ns[1] == NOW + (windows + 2) * 1000
    assert membership.challenge[1] == 77


# --- the way back ---


def test_so_many_good_heartbeats_make_a_returned_node_steady():
    membership = placed(Status.RECOVERING)
    assert [membership.steady(SLOT, NOW).tolist() for _ in range(3)] == [[], [], [1]]


@pytest.mark.parametrize("status", [status for status in Status if status != Status.RECOVERING])
def test_good_heartbeats_are_counted_only_on_the_way_back(status):
    membership = placed(status)
    assert membership.steady(SLOT, NOW).tolist() == []
    assert membership.good_count[1] == 0


def test_every_change_begins_the_count_of_good_heartbeats_anew():
    membership = placed(Status.RECOVERING)
    for _ in range(2):
        membership.steady(SLOT, NOW)
    membership.apply(SLOT, Cause.PAUSE, NOW)
    assert membership.good_count[1] == 0
    membership.apply(SLOT, Cause.RESUME, NOW)
    assert membership.steady(SLOT, NOW).tolist() == []


def test_who_is_suspected_on_the_way_back_is_returning_until_the_next_change():
    membership = placed(Status.RECOVERING)
    membership.steady(SLOT, NOW)
    assert membership.is_returning(SLOT).tolist() == [False]
    membership.apply(SLOT, Cause.OVERDUE, NOW)
    assert membership.is_returning(SLOT).tolist() == [True]
    membership.apply(SLOT, Cause.HEARD, NOW)
    assert (membership.status[1], membership.good_count[1]) == (Status.RECOVERING, 0)
    assert [membership.steady(SLOT, NOW).tolist() for _ in range(3)] == [[], [], [1]]


def died_and_back(membership, died_ns, back_ns):
    """Let the node die and come back; return how long it is held down."""
    membership.apply(SLOT, Cause.EXITED, died_ns)
    membership.apply(SLOT, Cause.HEARD, back_ns)
    return int(membership.hold_down_ns(SLOT)[0])


def test_the_first_death_holds_nobody_down_and_each_further_one_doubles_it():
    membership = Membership(MembershipSettings(), 3)
    membership.place(SLOT, Status.ALIVE, Cause.HEARD, since_ns=0, due_ns=NEVER)
    seconds = [
        died_and_back(membership, number * SECOND, number * SECOND + 1) // SECOND
        for number in range(300)
    ]
    assert seconds[:8] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert set(seconds[8:]) == {300}


def test_a_node_is_steady_only_when_its_hold_down_is_over_however_good_its_heartbeats():
    membership = Membership(MembershipSettings(), 3)
    membership.place(SLOT, Status.ALIVE, Cause.HEARD, since_ns=0, due_ns=NEVER)
    died_and_back(membership, SECOND, 2 * SECOND)
    assert died_and_back(membership, 3 * SECOND, 4 * SECOND) == 10 * SECOND
    # More than the counter holds.
    for number in range(300):
        assert membership.steady(SLOT, 4 * SECOND + number).tolist() == []
    assert membership.steady(SLOT, 14 * SECOND - 1).tolist() == []
    assert membership.steady(SLOT, 14 * SECOND).tolist() == [1]


@pytest.mark.parametrize(
    ("calm", "hold_down_s"), [(599, 40), (601, 20), (1201, 10), (1801, 0), (10**9, 0)]
)
def test_calm_time_makes_deaths_be_forgotten_one_by_one(calm, hold_down_s):
    membership = Membership(MembershipSettings(), 3)
    membership.place(SLOT, Status.ALIVE, Cause.HEARD, since_ns=0, due_ns=NEVER)
    for second in (1, 2, 3):
        died_and_back(membership, second * SECOND, second * SECOND + 1)
    membership.apply(SLOT, Cause.EXITED, 4 * SECOND)
    membership.apply(SLOT, Cause.HEARD, (4 + calm) * SECOND)
    assert membership.hold_down_ns(SLOT).tolist() == [hold_down_s * SECOND]


def test_a_slot_that_is_used_again_has_never_died():
    membership = Membership(MembershipSettings(), 3)
    membership.place(SLOT, Status.ALIVE, Cause.HEARD, since_ns=0, due_ns=NEVER)
    for second in range(5):
        died_and_back(membership, second * SECOND, second * SECOND + 1)
    membership.place(SLOT, Status.NEW, Cause.ENROLLED, since_ns=6 * SECOND, due_ns=NEVER)
    assert membership.hold_down_ns(SLOT).tolist() == [0]


def test_flaps_cost_nine_bytes_a_node():
    membership = Membership(SETTINGS, 1)
    assert membership.deaths.itemsize + membership.died_ns.itemsize == 9


# --- room ---


def test_growing_keeps_every_value():
    membership = placed(Status.SUSPECT, NOW)
    membership.suspect(SLOT, np.array([77], np.uint32), NOW)
    before = arrays(membership)
    membership.grow(8)
    grown = arrays(membership)
    assert {name: values[:3] for name, values in grown.items()} == before
    fresh = arrays(Membership(SETTINGS, 5))
    assert {name: values[3:] for name, values in grown.items()} == fresh


def test_placing_leaves_nothing_of_what_was_there():
    membership = placed(Status.SUSPECT, NOW)
    membership.suspect(SLOT, np.array([77], np.uint32), NOW)
    membership.probe(SLOT, NOW, sent=np.array([True]))
    membership.place(SLOT, Status.NEW, Cause.ENROLLED, since_ns=0, due_ns=NEVER)
    fresh = placed(Status.NEW)
    fresh.since_ns[1] = 0
    membership.answer_by_ns[1] = 0  # nothing is asked any more, so it says nothing
    assert arrays(membership) == arrays(fresh)


# --- the page ---

PAGE = Path(__file__).parents[2] / "docs" / "statuses.md"


def picture():
    arrows = {}
    for (before, cause), after in TABLE.items():
        arrows.setdefault((before, after), []).append(cause.word)
    lines = [
        f"    {before.name} --> {after.name}: {', '.join(causes)}"
        for (before, after), causes in arrows.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> NEW", *lines, "```"])


def test_the_page_shows_the_table():
    text = PAGE.read_text("utf-8")
    if os.environ.get("BEATWARD_REWRITE") == "1":
        text = re.sub(r"```mermaid\n.*?```", picture(), text, flags=re.DOTALL)
        PAGE.write_text(text, "utf-8")
    assert picture() in text


@pytest.mark.parametrize("kind", [Status, Cause])
def test_the_page_says_what_every_status_and_cause_means(kind):
    text = PAGE.read_text("utf-8")
    for one in kind:
        assert re.search(rf"^\| `{one.word}` \| \S", text, re.MULTILINE), one.word
