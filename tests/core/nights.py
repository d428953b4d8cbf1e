"""One job and its nights: due instants, words by the bare URL, runs under heartbeats.

Instants are nanoseconds after START, which is 02:00:00 CET on 2026-11-23: an hour before the first
due instant.
"""

from tests.core.by_hand import START, ByHand, changes, said

from beatward.core.entry import JobPlan
from beatward.core.guard import GuardSettings
from beatward.core.instants import DAY, HOUR, MINUTE, SECOND
from beatward.core.intake import Via
from beatward.core.jobs import Dues
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Join
from beatward.core.protocol.record import Farewell, Flag, Health, Kind, exit_code_field

WALL_NS = 1_795_395_600 * SECOND
OFFSET_NS = WALL_NS - START
NIGHTLY = JobPlan("0 3 * * *", "Europe/Berlin", grace_ns=10 * MINUTE, run_ns=2 * HOUR)
HOURLY = JobPlan(period_ns=HOUR, grace_ns=5 * MINUTE, run_ns=5 * MINUTE)
DUE = HOUR
# Turns a minute apart are no pauses of the monitor here: a night has many.
UNHURRIED = CoreSettings(guard=GuardSettings(pause_limit_ns=DAY))
JOB = "web-1"


class Nights:
    """One job whose runs are due at DUE and each day after it; instants are after START."""

    def __init__(self, plan=NIGHTLY, *, recovered=None, settings=UNHURRIED):
        self.hand = ByHand(settings, nodes=(), recovered=recovered)
        self.plans = dict(self.hand.first.plans)
        if recovered is None:
            output = self.step(0, orders=(Join(JOB, job=plan),))
            self.plans = dict(output.plans)
        if plan.schedule:
            self.step(0, dues=(self.dues(),))

    def dues(self, first=DUE, *, every=DAY, anew=False):
        instants = tuple(START + first + day * every for day in range(4))
        return Dues(JOB, instants, HOUR, "CET", anew=anew)

    def step(self, at_ns, *rows, **inputs):
        return self.hand.step(at_ns, *rows, wall_offset_ns=OFFSET_NS, **inputs)

    def walk(self, to_ns):
        return self.hand.walk(to_ns, tick_ns=MINUTE, wall_offset_ns=OFFSET_NS)

    def ping(self, at_ns, **fields):
        """Take a word by the bare URL at an instant, and return the changes since the last."""
        found = self.walk(at_ns)
        row = said(incarnation=1, **fields)
        return found + changes(self.step(at_ns, row, via=Via.PING))

    def start(self, at_ns):
        return self.ping(at_ns, flags=Flag.STARTED)

    def succeed(self, at_ns):
        return self.ping(at_ns)

    def fail(self, at_ns, code=None):
        if code is None:
            return self.ping(at_ns, status=Health.ILL)
        fields = {"status": Farewell.EXITED, "cpu": exit_code_field(code)}
        return self.ping(at_ns, kind=Kind.GOODBYE, **fields)

    @property
    def words(self):
        return [entry.explanation for entry in self.hand.entries]

    @property
    def explained(self):
        snapshot = self.hand.snapshot()
        return snapshot.explain(snapshot.find(JOB))

    @property
    def record(self):
        rows = (entry.node_record for entry in self.hand.entries if entry.node_record is not None)
        return list(rows)[-1]


class Under(Nights):
    """The same, run by `beatward exec`: a life is a run."""

    life = 1_700_000_000_000_000

    def begin(self, at_ns):
        self.life += 1
        self.sequence = -1
        return self.beat(at_ns)

    def beat(self, at_ns, **fields):
        self.sequence += 1
        row = said(incarnation=self.life, sequence=self.sequence, **fields)
        return changes(self.step(at_ns, row))

    def end(self, at_ns, code=0):
        fields = {"status": Farewell.EXITED, "cpu": exit_code_field(code)} if code else {}
        return self.beat(at_ns, kind=Kind.GOODBYE, **fields)
