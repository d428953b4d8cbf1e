"""Decided actions: nothing before the receipt, the same key in every attempt, success only once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.entry import ActionRecord
from beatward.core.instants import MINUTE, NEVER, SECOND
from beatward.core.outbox import Action, Outbox, Outcome, Rate
from beatward.core.policy import ActionRules

SETTINGS = {
    "page": ActionRules("page", "webhook"),
    "twice": ActionRules("twice", "webhook", attempts_max=2),
    "restart": ActionRules("restart", "exec", revives=True),
    "kill": ActionRules("kill", "exec", destructive=True),
    "revive": ActionRules("revive", "exec", revives=True, destructive=True),
    "slow": ActionRules("slow", "exec", retry_ns=7 * SECOND, retry_max_ns=60 * SECOND),
}
RETRY = Outcome("1-page", 1, "temporary", "no route")


def decided(name="page", *, key=None, node="web-1", attempt=0):
    kind = SETTINGS[name].kind
    return ActionRecord(key or f"1-{name}", name, kind, node, "decided", attempt, {"id": 1})


class Zones:
    """A gate: `web-2` is in zone 2 and so on, and some zones are shut."""

    def __init__(self, *shut):
        self.shut = set(shut)

    def zone_of(self, node):
        return int(node.rpartition("-")[2])

    def holder_of(self, node):
        return None

    def lasts(self, number):
        return False

    def may_act(self, zone, ready_ns, now_ns):
        return zone not in self.shut


def box(*records, sequence=2, not_before_ns=0, gate=None, per_minute=60):
    outbox = Outbox(SETTINGS, gate=gate or Zones(), per_minute=per_minute)
    for record in records:
        outbox.add(record, sequence=sequence, not_before_ns=not_before_ns)
    return outbox


def outcome(result, *, key="1-page", attempt=1, message="because", retry_after_ns=0):
    return Outcome(key, attempt, result, message, retry_after_ns)


def states(settled):
    return [(one.record.name, one.record.state, one.outcome) for one in settled]


# --- when an action may run ---


def test_nothing_runs_before_the_journal_holds_its_decision():
    outbox = box(decided(), sequence=5)
    assert outbox.release(4, now_ns=SECOND) == ()
    assert outbox.next_ns(4) == NEVER
    assert outbox.next_ns(5) == 0
    assert outbox.release(5, now_ns=SECOND) == (
        Action("1-page", "page", "webhook", "web-1", 1, {"id": 1}),
    )


def test_nothing_runs_before_its_time():
    outbox = box(decided(), not_before_ns=SECOND)
    assert outbox.release(9, now_ns=SECOND - 1) == ()
    assert outbox.next_ns(9) == SECOND
    assert len(outbox.release(9, now_ns=SECOND)) == 1


def test_a_released_action_is_released_once():
    outbox = box(decided())
    assert outbox.counts() == {"waiting": 1, "running": 0, "held": 0, "guarded": 0}
    assert len(outbox.release(2, now_ns=0)) == 1
    assert outbox.release(2, now_ns=10**18) == ()
    assert outbox.next_ns(2) == NEVER
    assert outbox.counts() == {"waiting": 0, "running": 1, "held": 0, "guarded": 0}


def test_actions_run_in_the_order_they_were_decided():
    outbox = box(decided("slow"), decided("page"), decided("restart"))
    assert [action.name for action in outbox.release(2, now_ns=0)] == ["slow", "page", "restart"]


# --- what holds back the destructive ---


def nodes_of(released):
    return [action.node for action in released]


def kills(*numbers, name="kill"):
    return [decided(name, key=f"{number}-{name}", node=f"web-{number}") for number in numbers]


def test_a_destructive_action_waits_while_its_zone_is_shut_and_alarms_do_not():
    gate = Zones(1)
    outbox = box(*kills(1), decided(), gate=gate)
    assert [action.name for action in outbox.release(2, now_ns=0)] == ["page"]
    assert outbox.counts() == {"waiting": 0, "running": 1, "held": 0, "guarded": 1}
    assert outbox.guarded_nodes(10) == {"web-1": ("kill",)}
    gate.shut.clear()
    again_ns = outbox.next_ns(2)
    assert 0 < again_ns <= SECOND
    assert nodes_of(outbox.release(2, now_ns=again_ns)) == ["web-1"]
    assert outbox.guarded_nodes(10) == {}
    assert outbox.next_ns(2) == NEVER


def test_one_zone_does_not_hold_up_another_and_what_is_held_goes_in_order_later():
    gate = Zones(1)
    outbox = box(*kills(1, 2), *kills(1, 3, name="revive"), gate=gate)
    assert nodes_of(outbox.release(2, now_ns=0)) == ["web-2", "web-3"]
    gate.shut.clear()
    released = outbox.release(2, now_ns=SECOND)
    assert [action.key for action in released] == ["1-kill", "1-revive"]


def test_the_rate_is_kept_and_the_rest_follows_in_order():
    outbox = box(*kills(*range(1, 6)), per_minute=2)
    assert nodes_of(outbox.release(2, now_ns=0)) == ["web-1", "web-2"]
    came = []
    for second in range(1, 120):
        came += [(second, node) for node in nodes_of(outbox.release(2, now_ns=second * SECOND))]
    assert came == [(30, "web-3"), (60, "web-4"), (90, "web-5")]


def test_what_is_held_is_dropped_when_its_node_is_back():
    gate = Zones(1)
    outbox = box(*kills(1, name="revive"), *kills(1), gate=gate)
    assert outbox.release(2, now_ns=0) == ()
    assert states(outbox.withdraw("web-1", "back")) == [("revive", "withdrawn", "withdrawn")]
    assert outbox.counts() == {"waiting": 0, "running": 0, "held": 0, "guarded": 1}
    gate.shut.clear()
    assert [action.key for action in outbox.release(2, now_ns=SECOND)] == ["1-kill"]


def test_another_attempt_passes_the_gate_again():
    gate = Zones()
    outbox = box(*kills(1), gate=gate)
    assert len(outbox.release(2, now_ns=0)) == 1
    gate.shut.add(1)
    outbox.settle(outcome("temporary", key="1-kill"), now_ns=0)
    assert outbox.release(2, now_ns=10 * SECOND) == ()
    assert outbox.counts()["guarded"] == 1


@given(
    st.integers(1, 20),
    st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=60),
)
def test_whatever_comes_no_stretch_of_time_sees_more_than_the_rate(per_minute, waits_ns):
    rate, now_ns, taken = Rate(per_minute), 0, []
    for wait_ns in waits_ns:
        now_ns += wait_ns
        while rate.take(now_ns):
            taken.append(now_ns)
    for first, begin_ns in enumerate(taken):
        for last, end_ns in enumerate(taken[first:], first):
            allowed = per_minute * (1 + (end_ns - begin_ns) / MINUTE)
            assert last - first + 1 <= allowed + 1e-6


# --- what an outcome means ---


@pytest.mark.parametrize(
    ("result", "state", "word"),
    [("success", "done", "success"), ("permanent", "failed", "failed")],
)
def test_a_final_outcome_ends_an_action(result, state, word):
    outbox = box(decided())
    outbox.release(2, now_ns=0)
    settled = outbox.settle(outcome(result), 0)
    assert (settled.record.state, settled.outcome, settled.message) == (state, word, "because")
    assert settled.record.attempt == 1
    assert settled.again_in_ns is None
    assert len(outbox) == 0
    assert outbox.settle(outcome(result), 0) is None


def test_a_result_of_no_known_kind_is_an_error_and_not_tried_again():
    outbox = box(decided())
    outbox.release(2, now_ns=0)
    with pytest.raises(ValueError, match="perhaps"):
        outbox.settle(outcome("perhaps"), 0)


@pytest.mark.parametrize(
    ("attempt", "wait_s"),
    [(1, 7), (2, 14), (3, 28), (4, 56), (5, 60), (6, 60), (19, 60)],
)
def test_a_temporary_failure_waits_twice_as_long_each_time_up_to_a_limit(attempt, wait_s):
    outbox = box(decided("slow", attempt=attempt - 1))
    outbox.release(2, now_ns=0)
    failed = outcome("temporary", key="1-slow", attempt=attempt)
    settled = outbox.settle(failed, 100 * SECOND)
    assert settled.again_in_ns == wait_s * SECOND
    assert (settled.record.state, settled.outcome) == ("decided", "retry")
    assert settled.record.attempt == attempt
    assert outbox.next_ns(2) == (100 + wait_s) * SECOND
    (again,) = outbox.release(2, now_ns=(100 + wait_s) * SECOND)
    assert (again.key, again.attempt) == ("1-slow", attempt + 1)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0, 1), (1, 1), (30, 30), (3600, 3600)])
def test_who_asks_for_more_patience_gets_it(asked_s, wait_s):
    outbox = box(decided())
    outbox.release(2, now_ns=0)
    failed = outcome("temporary", retry_after_ns=asked_s * SECOND)
    assert outbox.settle(failed, 0).again_in_ns == wait_s * SECOND


def test_the_last_attempt_says_that_it_was_the_last():
    outbox = box(decided("twice", attempt=1))
    outbox.release(2, now_ns=0)
    settled = outbox.settle(outcome("temporary", key="1-twice", attempt=2), 0)
    assert (settled.record.state, settled.outcome) == ("failed", "failed")
    assert settled.message == "because (attempt 2, the last)"
    assert len(outbox) == 0


@pytest.mark.parametrize(
    "early", [outcome("success"), outcome("temporary"), outcome("success", key="2-page")]
)
def test_an_outcome_nobody_waits_for_changes_nothing(early):
    outbox = box(decided())
    assert outbox.settle(early, 0) is None
    assert outbox.counts() == {"waiting": 1, "running": 0, "held": 0, "guarded": 0}


def test_an_outcome_said_twice_is_not_that_of_the_next_attempt():
    outbox = box(decided())
    outbox.release(2, now_ns=0)
    outbox.settle(outcome("temporary"), 0)
    outbox.release(2, now_ns=SECOND)
    assert outbox.settle(outcome("temporary"), SECOND) is None
    assert outbox.counts() == {"waiting": 0, "running": 1, "held": 0, "guarded": 0}


# --- taking back ---


def test_repairs_that_have_not_begun_are_withdrawn_when_the_node_is_back():
    outbox = box(decided("restart"), decided("page"), decided("restart", key="2", node="web-2"))
    settled = outbox.withdraw("web-1", "web-1 is alive without it")
    assert states(settled) == [("restart", "withdrawn", "withdrawn")]
    assert settled[0].message == "web-1 is alive without it"
    assert settled[0].record.attempt == 0
    released = outbox.release(2, now_ns=0)
    assert [(action.name, action.node) for action in released] == [
        ("page", "web-1"),
        ("restart", "web-2"),
    ]


def test_a_repair_under_way_is_not_withdrawn_but_one_that_failed_for_now_is():
    outbox = box(decided("restart"))
    outbox.release(2, now_ns=0)
    assert outbox.withdraw("web-1", "") == []
    outbox.settle(outcome("temporary", key="1-restart"), 0)
    (settled,) = outbox.withdraw("web-1", "")
    assert settled.record.attempt == 1
    assert len(outbox) == 0


def test_what_has_ended_cannot_be_withdrawn():
    outbox = box(decided("restart"), decided("restart", key="2"))
    outbox.release(2, now_ns=0)
    outbox.settle(outcome("success", key="1-restart"), 0)
    outbox.settle(outcome("temporary", key="2"), 0)
    assert [one.record.key for one in outbox.withdraw("web-1", "")] == ["2"]
    assert outbox.withdraw("web-1", "") == []


def test_what_was_cancelled_and_is_decided_again_waits_for_its_new_entry():
    # The fence of a holder that spoke again, and then fell silent again.
    outbox = box(decided("kill", key="k"), sequence=5)
    assert outbox.cancel("k", "it speaks").record.state == "withdrawn"
    outbox.add(decided("kill", key="k"), sequence=9, not_before_ns=0)
    assert outbox.release(8, now_ns=SECOND) == ()
    assert [action.key for action in outbox.release(9, now_ns=2 * SECOND)] == ["k"]
    assert outbox.release(9, now_ns=3 * SECOND) == ()


def test_what_was_cancelled_when_its_time_had_come_has_a_new_time():
    outbox = box(decided(key="k"), sequence=5, not_before_ns=4 * SECOND)
    assert outbox.next_ns(5) == 4 * SECOND
    outbox.cancel("k", "it speaks")
    outbox.add(decided(key="k"), sequence=6, not_before_ns=7 * SECOND)
    assert outbox.release(6, now_ns=5 * SECOND) == ()
    assert len(outbox.release(6, now_ns=7 * SECOND)) == 1


def test_what_has_begun_cannot_be_cancelled():
    outbox = box(decided(key="k"))
    outbox.release(2, now_ns=0)
    assert outbox.cancel("k", "it speaks") is None
    assert outbox.cancel("unknown", "it speaks") is None


def test_an_action_that_the_settings_no_longer_name_is_dropped():
    outbox = box(decided())
    settled = outbox.drop("1-page", "no longer named")
    assert states([settled]) == [("page", "failed", "failed")]
    assert settled.record.attempt == 0
    assert outbox.settings("page") is SETTINGS["page"]
    assert outbox.settings("nothing") is None


# --- a restart in between ---


@given(
    st.lists(
        st.sampled_from(["release", "success", "temporary", "permanent", "restart"]), max_size=40
    )
)
def test_whatever_happens_in_between_an_action_keeps_its_key_and_succeeds_once(steps):
    record, outbox, now, running, succeeded = decided("slow"), box(decided("slow")), 0, None, 0
    for step in steps:
        now += 60 * SECOND
        if step == "restart":  # the journal holds the row of the last outcome
            outbox, running = box(), None
            if record.state == "decided":
                outbox.add(record, sequence=0, not_before_ns=now)
        elif step == "release":
            for action in outbox.release(2, now_ns=now):
                assert action.key == "1-slow"
                assert action.attempt == record.attempt + 1
                assert not succeeded
                assert running is None
                running = action
        elif running is not None:
            settled = outbox.settle(outcome(step, key="1-slow", attempt=running.attempt), now)
            record, running = settled.record, None
            succeeded += step == "success"
    assert succeeded <= 1
    assert len(outbox) == (record.state == "decided")
