"""What operators say in simulated worlds is kept to, and a monitor that forgets it is caught."""

from dataclasses import replace

import numpy as np
import pytest
from tests.simulate.broken import NOTHING, _with

from beatward.core.instants import SECOND
from beatward.core.membership import Cause, Membership, Status
from beatward.core.monitor import Monitor
from beatward.core.orders import Orders
from beatward.core.outbox import Outbox
from beatward.simulate import draw, play
from beatward.simulate.faults import Fault, FaultKind, in_order

SEEDS = (1, 2, 3)


def looked_after(seed):
    """Return a world of little else than maintenance, silences, deaths, and monitors that restart.

    Two thirds of what is paused have a planned end, and many are paused while they are down.
    """
    drawn = draw(seed, minutes=3, without=NOTHING)
    begin, end = 20 * SECOND, drawn.heal_ns - 10 * SECOND

    def every(seconds, kind, lasts, shares):
        for number, at in enumerate(range(begin, end, seconds * SECOND)):
            targets = () if kind in (FaultKind.SILENCE, FaultKind.MONITOR_CRASH) else drawn.nodes
            target = (targets[number % len(targets)],) if targets else ()
            share = shares[number % len(shares)]
            yield Fault(at + number, kind, target, lasts * SECOND, share)

    faults = in_order(
        (
            *every(4, FaultKind.CRASH, 9, (0.9,)),
            *every(5, FaultKind.PAUSE, 12, (0.2, 0.3, 0.9)),
            *every(9, FaultKind.SILENCE, 14, (0.111, 0.252, 0.508)),
            *every(31, FaultKind.MONITOR_CRASH, 4, (0.9,)),
        )
    )
    # The right monitor is asked to keep its word, not to be quick: no deed fails by chance.
    return replace(drawn, faults=faults, adversary_ns=0)


class _Forgetful(Monitor):
    """Knows after a restart who is paused, and not until when."""

    def _restore_nodes(self, nodes, now_ns):
        return super()._restore_nodes(replace(nodes, maintenance={}), now_ns)


class _Hurried(Orders):
    """Ends a maintenance without a grace."""

    def end_maintenance(self, slots, now_ns):
        super().end_maintenance(slots, now_ns)
        self._membership.plan(slots, now_ns)


class _Impatient(Orders):
    """Ends every maintenance at half of its time."""

    def _pause(self, slots, maintenance, now_ns):
        super()._pause(slots, maintenance, now_ns)
        paused = slots[self._membership.due_ns[slots] < now_ns + 3600 * SECOND]
        half_ns = (self._membership.due_ns[paused] - now_ns) // 2
        self._membership.plan(paused, now_ns + half_ns)


class _Watchful(Membership):
    """Judges the paused as if they were alive."""

    def apply(self, slots, cause, at_ns):
        if cause in (Cause.OVERDUE, Cause.SILENT):
            paused = slots[self.status[slots] == Status.PAUSED]
            self.own("status")
            self.status[paused] = Status.ALIVE
        return super().apply(slots, cause, at_ns)

    def sweep(self, count, now_ns):
        due = super().sweep(count, now_ns)
        return replace(due, overdue=np.concatenate((due.overdue, due.over)), over=due.over[:0])


class _Busy(Outbox):
    """Repairs who is paused."""

    def withdraw(self, node, message):
        return [] if "paused" in message else super().withdraw(node, message)


class _Loud(Outbox):
    """Takes what a silence holds for decided."""

    def hold(self, record):
        self.add(record, sequence=0, not_before_ns=0)


BROKEN = {
    "forgets planned ends in a restart": (_Forgetful, "maintenance"),
    "gives no grace after a maintenance": (_with("_orders", _Hurried), "maintenance"),
    "ends a maintenance before its time": (_with("_orders", _Impatient), "maintenance"),
    "judges who is paused": (_with("_membership", _Watchful), "maintenance"),
    "repairs who is paused": (_with("_outbox", _Busy), "maintenance"),
    "tells what a silence holds": (_with("_outbox", _Loud), "silence"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_monitor_that_forgets_what_was_said_is_caught(name):
    build, rule = BROKEN[name]
    for seed in SEEDS:
        if rule in {one.rule for one in play(looked_after(seed), build=build).violations}:
            return
    pytest.fail(f"a monitor that {name} goes unnoticed in worlds {SEEDS}")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_monitor_keeps_to_all_of_it(seed):
    report = play(looked_after(seed))
    assert report.violations == ()
    for met in ("maintenance ended as planned", "actions silenced", "event unsilenced"):
        assert report.counts.get(met), met
