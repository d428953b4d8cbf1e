"""The sentence behind every status, literally; the same words go to journal, API and messages."""

import json

import pytest

from beatward.core.explanation import Facts, numbers, sentence
from beatward.core.guard import Pauses
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.membership import Cause, Status

AT = 1_000 * SECOND
FACTS = Facts(
    node="web-3",
    status=Status.ALIVE,
    cause=Cause.HEARD,
    at_ns=AT,
    since_ns=AT,
    heard_ns=AT - 2_310 * MILLISECOND,
    sequence=4710,
    interval_ns=SECOND,
    due_ns=AT - 1_020 * MILLISECOND,
    deadline_ns=AT - 810 * MILLISECOND,
    margin_ns=210 * MILLISECOND,
    margin_from="at most 1 in 1,000 comes later: the last 128 spread by 6.6 ms",
    via="udp",
    probes_sent=5,
    window_ns=SECOND,
    bound_ns=2_210 * MILLISECOND,
    pauses=Pauses(),
    started_ns=AT - 60 * SECOND,
    exit_code=None,
)
SILENCE = (
    "silent 2.31 s; heartbeat 4711 was due 1.02 s ago with margin 210 ms "
    "(at most 1 in 1,000 comes later: the last 128 spread by 6.6 ms)"
)
PAUSED = Pauses(2, AT - 90 * SECOND, 15 * SECOND, 15 * SECOND, 16 * SECOND)
SUSPECTED = {"status": Status.SUSPECT, "cause": Cause.OVERDUE}
DEAD = {"status": Status.DEAD, "cause": Cause.SILENT}
EXITED = {"status": Status.DEAD, "cause": Cause.EXITED}
BACK = {"status": Status.RECOVERING, "cause": Cause.HEARD}
NEVER_HEARD = {"heard_ns": None, "due_ns": None, "sequence": None}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cause": Cause.ENROLLED}, "is enrolled; nothing was heard of it yet"),
        ({}, "is alive: heartbeat 4710 arrived"),
        ({"sequence": None}, "is alive: it proved that it speaks now"),
        (BACK, "is back: it answered when it was asked; waiting for it to be steady"),
        (
            {**BACK, "via": "http"},
            "is back: heartbeat 4710 arrived; waiting for it to be steady",
        ),
        (
            SUSPECTED,
            f"suspected: {SILENCE}; probing for 1 s; the monitor itself never paused",
        ),
        (
            {**SUSPECTED, "pauses": PAUSED},
            (
                f"suspected: {SILENCE}; probing for 1 s; the monitor itself last paused 90 s ago "
                "for 15 s, and began its deadlines anew"
            ),
        ),
        (
            {**SUSPECTED, **NEVER_HEARD},
            (
                "suspected: nothing was heard of it since the monitor's start or its enrolment; "
                "probing for 1 s; the monitor itself never paused"
            ),
        ),
        (
            DEAD,
            f"dead: {SILENCE}; 5 probes over 1 s unanswered; the monitor itself never paused",
        ),
        (
            {**DEAD, "probes_sent": 1},
            f"dead: {SILENCE}; 1 probe over 1 s unanswered; the monitor itself never paused",
        ),
        (
            {**DEAD, "probes_sent": 0},
            (
                f"dead: {SILENCE}; no address to probe, so 1 s were waited; the monitor itself "
                "never paused"
            ),
        ),
        (
            {**DEAD, "via": "ping", "probes_sent": 0},
            (
                f"dead: {SILENCE}; it reports over HTTP and cannot be probed, so 1 s were waited; "
                "the monitor itself never paused"
            ),
        ),
        (EXITED, "dead: its agent saw the process end"),
        ({**EXITED, "exit_code": 3}, "dead: its agent saw the process end with exit code 3"),
        ({**EXITED, "exit_code": -9}, "dead: its agent saw the process end by signal 9"),
        (
            {"cause": Cause.REFUTED},
            "is alive: the suspicion was refuted by a heartbeat or an answer to one of 5 probes",
        ),
        (
            {"cause": Cause.REFUTED, "probes_sent": 1},
            "is alive: the suspicion was refuted by a heartbeat or the answer to the probe",
        ),
        (
            {"cause": Cause.REFUTED, "probes_sent": 0},
            "is alive: the suspicion was refuted by a heartbeat",
        ),
        ({"cause": Cause.GOODBYE, "status": Status.LEFT}, "left: it said goodbye"),
        (
            {"cause": Cause.PAUSE, "status": Status.PAUSED},
            "is paused: maintenance was announced, silence does not count",
        ),
        (
            {"cause": Cause.RESUME, "status": Status.NEW},
            "is watched again: maintenance is over",
        ),
        (
            {"cause": Cause.ILL, "status": Status.FAILING},
            "is failing: its heartbeats arrive and say that it is not well",
        ),
        ({"cause": Cause.WELL}, "is alive: it says that it is well again"),
        (
            {"cause": Cause.STEADY},
            "is alive: it was steady for long enough after its return",
        ),
    ],
)
def test_every_cause_has_its_sentence(changed, words):
    assert sentence(FACTS._replace(**changed)) == f"web-3 {words}"


def test_no_cause_is_without_a_sentence():
    for cause in Cause:
        assert sentence(FACTS._replace(cause=cause)).startswith("web-3 ")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "silence for another 0 s would make it suspect"),
        (
            {"deadline_ns": AT + 890 * MILLISECOND},
            "silence for another 890 ms would make it suspect",
        ),
        ({"deadline_ns": None}, "silence beyond the start grace would make it suspect"),
        (SUSPECTED, "an answer to a probe, or a heartbeat in time, within 1 s"),
        (DEAD, "an answer to a probe, which any heartbeat of it leads to, or a new life"),
        (EXITED, "a new life of the node, as its restart begins one"),
        ({"status": Status.LEFT}, "a heartbeat"),
        ({"status": Status.PAUSED}, "the end of the maintenance (resume)"),
    ],
)
def test_it_says_what_would_change_the_verdict(changed, words):
    assert numbers(FACTS._replace(**changed))["would_change"] == words


@pytest.mark.parametrize(("wish_ns", "words"), [(0, False), (SECOND, False), (4 * SECOND, True)])
def test_a_wish_for_another_interval_is_told_until_it_is_followed(wish_ns, words):
    told = sentence(FACTS._replace(wish_ns=wish_ns))
    wished = "; it promises a heartbeat every 1 s and is asked for one every 4 s"
    assert told.endswith(wished) is words


def test_the_numbers_behind_the_words():
    assert numbers(FACTS._replace(**DEAD, pauses=PAUSED)) == {
        "silent_ns": 2_310 * MILLISECOND,
        "sequence_heard": 4710,
        "sequence_due": 4711,
        "interval_ns": SECOND,
        "interval_wished_ns": None,
        "overdue_ns": 1_020 * MILLISECOND,
        "margin_ns": 210 * MILLISECOND,
        "margin_from": "at most 1 in 1,000 comes later: the last 128 spread by 6.6 ms",
        "via": "udp",
        "probes_sent": 5,
        "probe_window_ns": SECOND,
        "bound_ns": 2_210 * MILLISECOND,
        "exit_code": None,
        "monitor_pauses": 2,
        "monitor_pause_ns": 15 * SECOND,
        "monitor_health": 1,
        "monitor_drops": 0,
        "monitor_running_ns": 60 * SECOND,
        "hold_down_ns": 0,
        "held_back": None,
        "would_change": "an answer to a probe, which any heartbeat of it leads to, or a new life",
    }


@pytest.mark.parametrize("status", Status)
def test_the_numbers_are_json_also_where_nothing_was_heard(status):
    facts = FACTS._replace(status=status, deadline_ns=None, **NEVER_HEARD)
    shown = json.loads(json.dumps(numbers(facts)))
    assert shown["silent_ns"] is shown["sequence_heard"] is shown["overdue_ns"] is None
