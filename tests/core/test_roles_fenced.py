"""Holders that cannot be asked: waited for, isolated, left alone; and who has to be healthy."""

from dataclasses import replace

import pytest
from tests.core.by_hand import ByHand, said
from tests.core.roles_by_hand import ROLES, TICK, Roles, with_holder

from beatward.core.entry import Declaration, Event
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import AddSilence, Declare, FailOver, PauseService
from beatward.core.outbox import Outcome
from beatward.core.policy import ActionRules, Rule
from beatward.core.protocol.record import Farewell, Kind
from beatward.core.roles.settings import RoleSettings

OFF = {"off": ActionRules("off", "fence", attempts_max=2, revives=True, destructive=True)}
FENCED = replace(ROLES, fence="off")
STRICT = replace(FENCED, fence_required=True)
FOUR = ("db-1", "db-2", "db-3", "db-4")


class Fences(Roles):
    """Collects the actions that are released."""

    def __init__(self, *args, **fields):
        super().__init__(*args, **fields)
        self.deeds = [*self.first.actions, *getattr(self, "deeds", ())]

    def turn(self, at_ns, *rows, **inputs):
        output = super().turn(at_ns, *rows, **inputs)
        self.deeds = [*getattr(self, "deeds", ()), *output.actions]
        return output

    def report(self, result, message="done"):
        """Let the last action have an outcome."""
        deed = self.deeds[-1]
        outcome = Outcome(deed.key, deed.attempt, result, message)
        self.turn(self.now + MILLISECOND, outcomes=(outcome,))


def held(roles=FENCED, **fields):
    """db-1 of four holds the role under token 1."""
    return with_holder(roles, make=Fences, nodes=FOUR, actions=OFF, **fields)


def die(hand, *names):
    """Let nodes fall silent altogether, until they are dead."""
    hand.silent.update(names)
    hand.run(4 * SECOND)


def test_a_dead_holder_is_isolated_under_its_token():
    hand = held()
    die(hand, "db-1")
    (deed,) = hand.deeds
    assert (deed.key, deed.name, deed.node, deed.kind) == ("db/1/fence", "off", "db-1", "fence")
    assert (deed.event["event"], deed.event["status"]) == ("role", "dead")
    assert deed.event["explanation"] == (
        "db: off is to isolate it: db-1 is dead and may still act under token 1"
    )
    assert deed.event["detail"]["token"] == 1
    decided = next(entry for entry in hand.entries if entry.event == Event.ACTION)
    assert decided.explanation == "off for db-1, because it is dead"


def test_what_is_isolated_makes_the_role_free_at_once():
    hand = held(replace(FENCED, lease_ns=20 * SECOND))
    hand.silent.add("db-1")
    hand.run(20 * SECOND + SECOND // 2)
    assert hand.role == "waiting db-1 1"
    hand.report("success")
    assert hand.facts()[-3:] == ["fence", "fenced", "chosen"]
    assert hand.role == "promoting db-2 2"


def test_where_time_is_trusted_the_role_does_not_wait_for_the_fence():
    hand = held()
    die(hand, "db-1")
    assert hand.role == "promoting db-2 2"


def test_where_it_is_not_the_role_waits_for_the_fence():
    hand = held(STRICT)
    die(hand, "db-1")
    hand.run(20 * SECOND)
    assert hand.role == "waiting db-1 1"
    assert hand.view.reason == "db-1 may still act: off is not confirmed"
    hand.report("temporary", "the switch does not answer")
    hand.run(20 * SECOND)
    assert hand.role == "waiting db-1 1"
    hand.report("success")
    assert hand.role == "promoting db-2 2"


def test_a_fence_that_failed_leaves_it_to_people():
    hand = held(STRICT)
    die(hand, "db-1")
    hand.report("permanent", "no such plug")
    hand.run(SECOND)
    assert hand.role == "refused db-1 1"
    assert hand.view.reason == "db-1 may still act: off has failed"
    again = hand.restarted(actions=OFF)
    again.run(10 * SECOND)
    assert again.view.holder == "db-1"
    hand.order(FailOver, force=True)
    assert hand.role == "promoting db-2 2"


def test_what_is_given_back_needs_no_fence():
    hand = held(STRICT)
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    assert hand.deeds == []


def test_a_candidate_that_was_never_told_needs_no_fence():
    hand = Fences(STRICT, nodes=FOUR, actions=OFF)
    hand.say("db-1", "standby")
    hand.lag = True
    hand.run(4 * SECOND)
    hand.hush("db-1")
    hand.run(3 * SECOND)
    hand.say("db-2", "standby")
    hand.lag = False
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_candidate_that_never_got_the_word_says_so_and_needs_no_fence():
    hand = Fences(STRICT, nodes=FOUR, actions=OFF)
    hand.say("db-1", "standby")
    hand.run(4 * SECOND)
    assert hand.role == "promoting db-1 1"
    hand.run(40 * SECOND)  # its words come through and ours do not
    assert hand.role in ("demoting db-1 1", "waiting db-1 1")
    hand.grants.clear()
    hand.run(SECOND)
    assert hand.heard_words("db-1") == [("STAND_BY", 1)]
    hand.say("db-1", "standby", 1)
    hand.run(2 * SECOND)
    assert (hand.view.token, hand.deeds) == (2, [])


def test_a_candidate_that_began_a_new_life_is_not_told_and_has_to_be_isolated():
    """It may have taken the role in the life before, and forgotten that."""
    hand = Fences(STRICT, nodes=FOUR, actions=OFF)
    hand.say("db-1", "standby")
    hand.run(40 * SECOND)
    hand.lives["db-1"] += 1
    hand.counters["db-1"] = 0
    hand.say("db-1", "standby")
    hand.grants.clear()
    hand.run(5 * SECOND)
    assert hand.heard_words("db-1") == []


def test_a_holder_that_is_silent_and_not_dead_is_not_isolated():
    hand = held()
    hand.hush("db-1")  # its node beats on
    hand.run(20 * SECOND)
    assert hand.deeds == []


def test_who_speaks_again_before_the_action_has_begun_is_left_alone():
    hand = held(replace(FENCED, lease_ns=10 * SECOND))
    hand.silent.add("db-1")
    hand.lag = True
    hand.run(10 * SECOND + SECOND // 2)
    assert hand.facts()[-1] == "fence"
    assert hand.deeds == []
    hand.silent.clear()
    hand.run(SECOND)
    assert hand.role == "held db-1 1"
    hand.lag = False
    hand.run(5 * SECOND)
    assert hand.deeds == []
    assert [entry.outcome for entry in hand.entries if entry.event == Event.OUTCOME] == [
        "withdrawn"
    ]
    # And when it falls silent again, it is decided again.
    hand.silent.add("db-1")
    hand.run(12 * SECOND)
    assert len(hand.deeds) == 1


def test_a_node_that_is_back_is_isolated_all_the_same_until_it_speaks_of_its_role():
    hand = held(STRICT)
    hand.lag = True
    die(hand, "db-1")
    hand.hush("db-1")
    hand.silent.clear()
    hand.beats += 8
    hand.run(SECOND)
    hand.lag = False
    hand.run(SECOND)
    assert [deed.key for deed in hand.deeds] == ["db/1/fence"]


def test_a_fence_that_was_decided_goes_on_over_a_restart():
    hand = held(STRICT)
    hand.lag = True
    die(hand, "db-1")
    assert hand.facts()[-2:] == ["fence", "unfenced"]
    again = hand.restarted(actions=OFF, make=Fences)
    again.silent = {"db-1"}
    again.run(12 * SECOND)
    assert [deed.key for deed in again.deeds] == ["db/1/fence"]
    again.report("success")
    again.run(4 * SECOND)
    assert again.role == "promoting db-2 2"


def test_what_was_decided_before_a_restart_is_not_decided_again():
    hand = held(STRICT)
    hand.lag = True
    die(hand, "db-1")
    again = hand.restarted(actions=OFF, make=Fences)
    again.silent = {"db-1"}
    again.run(12 * SECOND)
    assert "fence" not in again.facts()
    assert len(again.deeds) == 1


def test_a_fence_that_comes_late_does_not_take_the_role_from_the_next():
    hand = held()
    die(hand, "db-1")
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    hand.report("success")
    assert hand.role == "held db-2 2"


def test_a_silence_does_not_hold_a_fence_over_a_restart():
    hand = held(STRICT)
    hand.turn(hand.now, orders=(AddSilence("s", 3600 * SECOND, actions=True),))
    hand.lag = True
    die(hand, "db-1")
    again = hand.restarted(actions=OFF, make=Fences)
    again.silent = {"db-1"}
    again.run(12 * SECOND)
    assert [deed.key for deed in again.deeds] == ["db/1/fence"]


def test_a_mass_failure_holds_a_fence_back():
    hand = held()
    die(hand, "db-1", "db-2", "db-3")
    assert hand.deeds == []
    assert hand.snapshot().outbox["guarded"] == 1


def test_no_fence_is_decided_while_automatic_failover_is_paused():
    hand = held()
    hand.order(PauseService)
    die(hand, "db-1")
    hand.run(10 * SECOND)
    assert hand.deeds == []
    hand.order(FailOver)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


@pytest.mark.parametrize("roles", [FENCED, STRICT])
def test_who_left_is_isolated_only_where_nothing_else_frees_the_role(roles):
    hand = held(roles)
    hand.silent.add("db-1")
    hand.turn(hand.now + MILLISECOND, said("db-1", Kind.GOODBYE, sequence=999, interval_ms=500))
    hand.run(6 * SECOND)
    assert len(hand.deeds) == (roles is STRICT)
    reasons = [entry.explanation for entry in hand.entries if entry.event == Event.ACTION]
    reason = "off for db-1, because it left without saying that it gave the role up"
    assert reasons == ([reason] if roles is STRICT else [])


def test_who_was_seen_to_end_is_isolated_at_once():
    hand = held(replace(FENCED, lease_ns=20 * SECOND))
    hand.silent.add("db-1")
    gone = said("db-1", Kind.GOODBYE, sequence=999, interval_ms=500, status=Farewell.EXITED)
    hand.turn(hand.now + MILLISECOND, gone)
    hand.run(SECOND)
    assert len(hand.deeds) == 1


# --- a holder that could not be demoted ---


def test_who_could_not_be_demoted_is_not_waited_out():
    hand = with_holder()
    hand.say("db-1", "stuck", 1)
    hand.run(60 * SECOND)
    assert hand.role == "refused db-1 1"
    assert hand.view.reason == "db-1 could not be demoted"
    assert hand.facts().count("stuck") == 1
    hand.hush("db-1")
    hand.run(60 * SECOND)
    assert hand.role == "refused db-1 1"
    again = hand.restarted()
    again.run(60 * SECOND)
    assert again.role == "refused db-1 1"
    hand.order(FailOver)
    assert hand.facts()[-1] == "declined"
    hand.order(FailOver, force=True)
    assert hand.role == "promoting db-2 2"
    assert "db-1 could not be demoted and may still act" in hand.words()


def test_who_could_be_demoted_after_all_gives_the_role_back():
    hand = with_holder()
    hand.say("db-1", "stuck", 1)
    hand.run(SECOND)
    hand.say("db-1", "unable", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_who_could_not_be_demoted_is_isolated_though_its_node_lives():
    hand = held()
    hand.say("db-1", "stuck", 1)
    hand.run(SECOND)
    (deed,) = hand.deeds
    assert deed.key == "db/1/fence"
    assert deed.event["explanation"] == (
        "db: off is to isolate it: db-1 could not be demoted and may still act under token 1"
    )
    decided = next(entry for entry in hand.entries if entry.event == Event.ACTION)
    assert (decided.status, decided.explanation) == (
        "alive",
        "off for db-1, because it could not be demoted",
    )
    assert "db-1 could not be demoted" in hand.view.explanation
    hand.report("success")
    assert hand.role == "promoting db-2 2"


# --- minimum healthy members ---


WEB = ("web-1", "web-2", "web-3")


class Fleet(ByHand):
    """Three nodes that offer `web`; a rule drains whoever says that it is alive again."""

    def __init__(self, least, mode="balance"):
        super().__init__(
            CoreSettings(
                rules=(Rule(("alive",), ("drain",)),),
                actions={"drain": ActionRules("drain", "exec", destructive=True)},
                services={"web": RoleSettings(min_healthy=least)},
            ),
            nodes=WEB,
        )
        offer = (Declaration("web", mode),)
        orders = tuple(Declare(name, services=offer) for name in WEB)
        self.step(MILLISECOND, orders=orders)
        self.deeds = []

    def beat_on(self, seconds):
        for second in seconds:
            for at in range(second * SECOND, (second + 1) * SECOND, TICK):
                rows = [said(name, sequence=second) for name in WEB] * (at == second * SECOND)
                journaled = self.entries[-1].sequence
                self.deeds += self.step(at + 2 * MILLISECOND, *rows, journaled=journaled).actions


@pytest.mark.parametrize("mode", ["balance", "failover"])
@pytest.mark.parametrize(("least", "count"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_so_many_members_are_spared_as_have_to_be_healthy(least, count, mode):
    fleet = Fleet(least, mode)
    fleet.beat_on(range(1, 4))
    assert len(fleet.deeds) == count
    assert fleet.snapshot().outbox["guarded"] == 3 - count


def test_when_one_is_healthy_again_the_next_may_go():
    fleet = Fleet(2)
    fleet.beat_on(range(1, 4))
    (deed,) = fleet.deeds
    done = Outcome(deed.key, 1, "success", "drained")
    fleet.step(fleet.now + MILLISECOND, outcomes=(done,))
    fleet.beat_on(range(4, 6))
    assert len(fleet.deeds) == 2
