"""The two halves of a lease together: the real `Lease` of the monitor and the real `LeaseHolder`.

`tests/core/test_lease.py` has the formula; this has what the two machines make of it while grants
are late, lost and overtaken, settings change with a restart of the monitor, and the member is asked
to give up: until it says that it has, it never believes for longer than the monitor waits.
"""

from dataclasses import dataclass, replace
from heapq import heappop, heappush

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from beatward.agent.roles.lease_holder import LeaseHolder
from beatward.core.entry import Declaration
from beatward.core.instants import HOUR, MILLISECOND, SECOND
from beatward.core.protocol.roles import DRIFT_PPM, State
from beatward.core.roles.candidates import Member
from beatward.core.roles.lease import Lease, LeaseSettings, Speaker
from beatward.simulate.clock import HostClock

LATENESS_MAX_NS = 99 * MILLISECOND


@dataclass(frozen=True)
class Step:
    """What happens next: so long after the step before, and how long the way there and back takes.

    what   `time` only, `asked` (the monitor wants the role back), `restart` (with other terms)
    """

    wait_ns: int
    there_ns: int
    back_ns: int
    is_heard: bool
    what: str
    terms: LeaseSettings


_times = st.one_of(st.integers(0, 50 * MILLISECOND), st.integers(0, 3 * SECOND))
_terms = st.builds(
    LeaseSettings,
    lease_ns=st.sampled_from((200, 1000, 5000, 60_000)).map(lambda ms: ms * MILLISECOND),
    demote_ns=st.sampled_from((100, 1000, 5000, 60_000)).map(lambda ms: ms * MILLISECOND),
)
_steps = st.builds(
    Step,
    wait_ns=_times,
    there_ns=_times,
    back_ns=_times,
    is_heard=st.sampled_from((True, True, True, False)),
    what=st.sampled_from(("time",) * 8 + ("asked", "restart")),
    terms=_terms,
)
_ppm = st.sampled_from((-DRIFT_PPM, 0, DRIFT_PPM))


# The member's, of whose address nothing is known here.
PROCESS = Speaker(0, b"")


class Pair:
    """Both, and the way between them."""

    def __init__(self, terms, member_ppm, monitor_ppm):
        self.true_ns = 0
        self.there = HostClock(boot_ns=HOUR, wall_ns=0, drift_ppb=1000 * member_ppm)
        self.here = HostClock(boot_ns=3 * HOUR, wall_ns=0, drift_ppb=1000 * monitor_ppm)
        self.tenure = LeaseHolder("role", now_ns=self.there.now_ns(0))
        self.tenure.report(self.there.now_ns(0), able=True)
        self.terms, self.recorded = terms, terms.takeover_wait_ns
        self.lease = Lease(self.tenure.id, terms)
        self.lease.begin(1, "a", PROCESS, self.here.now_ns(0))
        self.lease.written()
        self.until_ns = 0  # in true time
        self.member = Member("a", 0, Declaration("role", "failover"))
        self.events = []

    def at(self, true_ns, *what):
        heappush(self.events, (true_ns, len(self.events), *what))

    def run_to(self, true_ns):
        while self.events and self.events[0][0] <= true_ns:
            self.true_ns, _, deed, report = heappop(self.events)
            deed(report)
        self.true_ns = true_ns

    def speak(self, step):
        now_ns = self.there.now_ns(self.true_ns)
        self.tenure.turn(now_ns)
        command = self.tenure.command
        if command is not None and command.kind == "promote":
            self.tenure.done(command, now_ns, ok=True)
        standing = self.tenure.standing(now_ns)
        if standing is not None:
            self.at(self.true_ns + step.there_ns, self.answer, (standing, step))

    def answer(self, report):
        standing, step = report
        before = self.member.report
        if before is not None and standing.counter <= before.counter:
            return
        self.member = replace(self.member, report=standing)
        now_ns = self.here.now_ns(self.true_ns)
        promoting = standing.state == State.STANDBY and standing.token == 0
        grant = self.lease.answer(self.member, now_ns, now_ns, is_promoting=promoting)
        self.until_ns = max(self.until_ns, self.here.true_ns(self.lease.until_ns))
        if grant is not None and step.is_heard:
            self.at(self.true_ns + step.back_ns, self.hear, grant)

    def hear(self, grant):
        self.tenure.hear(grant, self.there.now_ns(self.true_ns))
        self.check()

    def restart(self, terms):
        lease = Lease(self.tenure.id, terms)
        now_ns = self.here.now_ns(self.true_ns)
        lease.take_up(self.lease.token, "a", PROCESS, now_ns, takeover_wait_ns=self.recorded)
        if not lease.is_written:
            self.recorded = lease.takeover_left_ns(now_ns)
            lease.written()
        self.lease = lease
        self.until_ns = self.here.true_ns(lease.until_ns)

    def check(self):
        if self.tenure.memory.held:
            over_ns = self.there.true_ns(self.tenure.over_ns)
            assert over_ns + LATENESS_MAX_NS <= self.until_ns


@given(_terms, _ppm, _ppm, st.lists(_steps, min_size=2, max_size=25))
@hypothesis_settings(max_examples=300)
def test_until_it_says_so_a_member_never_believes_for_longer_than_the_monitor_waits(
    terms, member_ppm, monitor_ppm, steps
):
    pair = Pair(terms, member_ppm, monitor_ppm)
    for step in steps:
        pair.run_to(pair.true_ns + step.wait_ns)
        if step.what == "restart":
            pair.restart(step.terms)
        elif step.what == "asked":
            pair.lease.ask_back(pair.here.now_ns(pair.true_ns) + 10 * SECOND)
        pair.speak(step)
        pair.check()
    pair.run_to(pair.true_ns + 10 * SECOND)
    pair.check()


def _step(terms, what="time"):
    return Step(40 * MILLISECOND, MILLISECOND, MILLISECOND, True, what, terms)


def test_a_shorter_time_to_demote_holds_for_who_was_promoted_under_a_longer_one():
    """Or a monitor that restarts with it stops waiting for the longer one while that still runs."""
    longer, shorter = (
        LeaseSettings(400 * MILLISECOND, 5 * SECOND),
        LeaseSettings(400 * MILLISECOND, SECOND),
    )
    pair = Pair(longer, 0, 0)
    for number in range(400):
        step = _step(shorter)
        pair.run_to(pair.true_ns + step.wait_ns)
        if number == 20:
            pair.restart(shorter)
        pair.speak(step)
        pair.check()
    assert pair.tenure.state == State.ACTIVE
