"""The table of a role's phases: every row is walked, and nothing but its rows.

Walks of one role, in which members, operators, fences, the journal and time do at random what they
can do; also what only a hostile member would. A row that no walk reaches is one that the machine
does not need, and a step that has no row raises.
"""

from collections import Counter
from itertools import islice
from random import Random

import pytest

from beatward.core.entry import Declaration, Maintenance
from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.membership import Membership, MembershipSettings, Status
from beatward.core.protocol.roles import RoleReport, State
from beatward.core.roles.candidates import Member
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.phases import TABLE, FenceState, Phase, RoleCause
from beatward.core.roles.reports import ReceivedReport
from beatward.core.roles.rows import row_of
from beatward.core.roles.settings import RoleSettings

from .by_hand import PEER

NODES = ("db-1", "db-2", "db-3")
# The same machine from another port, and another machine.
PEERS = (PEER, PEER[:2] + bytes((0x99, 0x99)) + PEER[4:], PEER[:7] + b"\x09" + PEER[8:])
WALKS = 1500
STEPS = 150


class Walked(RoleMachine):
    """Counts the rows that it goes through."""

    def __init__(self, *args, rows, **fields):
        super().__init__(*args, **fields)
        self.rows = rows

    def _enter(self, cause, *args, **fields):
        self.rows[self.phase, cause] += 1
        return super()._enter(cause, *args, **fields)


class Walk:
    """One role of three members, to which something happens at each step."""

    def __init__(self, seed, rows, settings=None):
        self.rng = Random(seed)
        self.rows = rows
        self.now = 100 * SECOND
        self.counter = 0
        self.lives = [1, 1, 1]
        self.mute = -1  # the slot of which nothing is heard
        self.membership = Membership(MembershipSettings(), len(NODES))
        self.membership.status[:] = Status.ALIVE
        self.redraws = settings is None
        self.settings = settings or self.draw()
        self.role = self.make()
        for slot, node in enumerate(NODES):
            offer = Declaration("db", "failover", priority=self.rng.choice((100, 200)))
            self.role.join(Member(node, slot, offer))
        self.deeds = (
            *(self.report,) * 12,
            *(self.stand_by,) * 6,
            *(self.wait,) * 6,
            *(self.ask,) * 2,
            *(self.fence,) * 3,
            *(self.restart,) * 2,
            self.change_status,
        )

    def make(self):
        return Walked("db", self.settings, self.membership, now_ns=self.now, rows=self.rows)

    def draw(self):
        rng, fence = self.rng, self.rng.choice(("", "off"))
        return RoleSettings(
            promote_ns=rng.choice((2, 30)) * SECOND,
            failback_ns=rng.choice((None, SECOND)),
            max_lag=rng.choice((None, 10)),
            fence=fence,
            fence_required=bool(fence) and rng.random() < 0.5,
            automatic=rng.random() < 0.9,
        )

    def run(self, steps):
        for _ in range(steps):
            self.rng.choice(self.deeds)()
            self.settle()

    def settle(self):
        """Take one turn, as `Services.turn` does; the journal may lag."""
        role = self.role
        if not role.lease.is_written and self.rng.random() < 0.9:
            role.written()
            for member in filter(None, (role.holding,)):
                role.answer(member.slot, self.now, self.now)
        while role.advance(self.now) is not None:
            pass
        # A monitor with very many roles leads some of them in its next turn.
        if self.rng.random() < 0.9:
            for slot in role.heard:
                role.answer(slot, self.now, self.now)

    def hear(self, slot, state, token, *, counter=None):
        if slot == self.mute:
            return
        self.counter += 1
        position = self.rng.choice((None, 0, 5, 100))
        said = RoleReport(
            self.role.id, self.counter if counter is None else counter, state, token, position
        )
        peer = self.rng.choices(PEERS, (8, 1, 1))[0]
        claim = ReceivedReport(slot, self.lives[slot], said, peer, self.now)
        if counter == 0:
            self.role.hear_last(claim, self.now)
        else:
            self.role.hear(claim, self.now, is_stale=False)

    def report(self):
        """Let the holder report anything, or seldom another member what makes people doubt."""
        role, rng = self.role, self.rng
        if not role.lease.holder or not role.lease.is_written:
            self.stand_by()
            return
        slot, token = NODES.index(role.lease.holder), role.lease.journaled
        if rng.random() < 0.03:
            self.lives[slot] += 1
        state = rng.choices(list(State), (2, 1, 2, 8, 3, 1))[0]
        if rng.random() < 0.003:
            slot, token = rng.randrange(len(NODES)), token + rng.choice((0, 1))
        self.hear(slot, state, token, counter=0 if rng.random() < 0.05 else None)

    def stand_by(self):
        for slot in range(len(NODES)):
            if NODES[slot] != self.role.lease.holder and self.rng.random() < 0.8:
                self.hear(slot, State.STANDBY, self.rng.choice((0, self.role.lease.journaled)))

    def go_on(self):
        """Let 100 ms pass, in which the holder holds and the others stand by."""
        role = self.role
        for slot, node in enumerate(NODES):
            is_lent = node == role.lease.holder and bool(role.lease.granted_ns)
            self.hear(slot, State.ACTIVE if is_lent else State.STANDBY, role.lease.journaled)
        self.now += SECOND // 10
        self.settle()

    def wait(self):
        self.now += self.rng.choice((50, 50, 500, 500, 1000, 2100, 4000, 40_000)) * MILLISECOND

    def ask(self):
        role, rng = self.role, self.rng
        to = rng.choice(("", *NODES, "db-9"))
        until = rng.choice((NEVER, self.now + 10 * SECOND))
        rng.choice(
            (
                lambda: role.switch_over(to, "", self.now),
                lambda: role.switch_over(to, "", self.now),
                lambda: role.fail_over(to, ""),
                lambda: role.force(to, "", self.now),
                lambda: role.pause(Maintenance(until), self.now),
                lambda: role.resume("ann", self.now),
            )
        )()

    def fence(self):
        role, rng = self.role, self.rng
        if role.settings.fence and role.lease.holder and not role.fence:
            role.begin_fence("is dead")
        elif role.fence == FenceState.DECIDED and rng.random() < 0.8:
            role.end_fence(role.lease.token, "done", self.now, done=rng.random() < 0.3)
        else:
            role.note_fence(role.lease.token, FenceState.NONE)

    def restart(self):
        """Begin again from the row, with other settings perhaps."""
        record, members = row_of(self.role, self.now), self.role.members.values()
        if self.redraws and self.rng.random() < 0.3:
            self.settings = self.draw()
        self.role = self.make()
        for member in members:
            self.role.join(Member(member.node, member.slot, member.offer))
        self.role.restore(record, self.now)

    def change_status(self):
        slot = self.rng.randrange(len(NODES))
        self.membership.status[slot] = self.rng.choice((Status.ALIVE, Status.ALIVE, Status.DEAD))
        self.mute = self.rng.choice((slot, -1))


def held(rows, **settings):
    """Return a walk whose first node holds the role, as all members say in order."""
    walk = Walk(1, rows, RoleSettings(**settings))
    for _ in range(50):
        walk.go_on()
    assert walk.role.phase == Phase.HELD
    return walk


def walk_unsure(rows):
    """A holder that may have written on is never heard again, over two restarts."""
    walk = held(rows, max_lag=10)
    walk.mute = NODES.index(walk.role.lease.holder)
    for _ in range(3):
        walk.restart()
        for _ in range(60):
            walk.go_on()


def test_every_row_is_walked_and_nothing_else():
    rows = Counter()
    for seed in range(WALKS):
        Walk(seed, rows).run(STEPS)
    walk_unsure(rows)
    assert sorted(set(TABLE) - set(rows)) == []
    assert sorted(set(rows) - set(TABLE)) == []


def test_a_report_that_a_turn_did_not_lead_in_time_moves_nothing_any_more():
    """It led back and forth between two phases, without end."""
    walk = held(Counter(), fence="off", fence_required=True)
    role = walk.role
    walk.hear(NODES.index(role.lease.holder), State.DEMOTING, role.lease.journaled)
    walk.now += 10 * SECOND
    events = islice(iter(lambda: role.advance(walk.now), None), 10)
    assert [event.cause for event in events] == ["unfenced"]


def test_a_step_that_has_no_row_raises():
    """Each phase, with each cause that does not lead on from it."""
    for phase in Phase:
        for cause in set(RoleCause) - {one for before, one in TABLE if before == phase}:
            role = Walk(0, Counter()).role
            role.phase = phase
            with pytest.raises(KeyError):
                role._enter(cause, "", 0)


def test_a_cause_leads_to_one_phase_and_every_phase_can_be_left():
    assert len({(cause, after) for (_, cause), after in TABLE.items()}) == len(RoleCause)
    assert {before for before, _ in TABLE} == set(Phase)
