"""Words about runs of jobs -> what is known of the jobs, and changes of status.

The part of hearing that is about jobs. A life is a run and its goodbye the result; by the bare URL
a run is begun, and ended well or badly. Not here: whether a record is genuine and news
(`core.hearing`), and runs of which nothing is heard (`core.judging`).
"""

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.intake import Heartbeats, Via
from beatward.core.jobs import Jobs, Run
from beatward.core.membership import Cause, Change
from beatward.core.protocol.record import Farewell, Flag, Kind, exit_code_of
from beatward.core.state import State


def exit_code_in(record: np.void) -> int:
    """Return the exit code, or minus the signal, in one goodbye."""
    return exit_code_of(*(int(record[name]) for name in ("flags", "cpu", "memory", "load")))


class Runs:
    """Takes words of jobs only; holds the runs of a batch until they are taken."""

    def __init__(self, state: State, jobs: Jobs) -> None:
        self.jobs = jobs
        self._registry = state.registry
        self._detector = state.detector
        self._membership = state.membership
        self._runs: list[Run] = []

    def take(self) -> tuple[Run, ...]:
        """Hand over what was said since the last call, in order."""
        runs, self._runs = tuple(self._runs), []
        return runs

    def begin_lives(self, slots: list[int], now_ns: int) -> None:
        """Note new lives of slots; those of jobs are runs under heartbeats."""
        jobs = (slot for slot in slots if slot in self.jobs)
        self._runs.extend(self.jobs.begin(slot, now_ns, beats=True) for slot in jobs)

    def end(self, beats: Heartbeats, now_ns: int) -> list[Change]:
        """Take the ends of runs: what is a goodbye of a node is the result of a job."""
        records = beats.records
        failed = records["status"] == Farewell.EXITED
        # The bare URL's /fail is no goodbye, and has no code.
        has_code = failed & (records["kind"] == Kind.GOODBYE)
        changes = []
        for row, slot in enumerate(beats.slots.tolist()):
            # A goodbye is repeated until it is acknowledged; the first has ended the run.
            if beats.via != Via.PING and not self.jobs.is_running(slot):
                continue
            code = exit_code_in(records[row]) if has_code[row] else None
            at_ns, is_bad = int(beats.arrived_ns[row]), bool(failed[row])
            self._runs.append(self.jobs.end(slot, at_ns, failed=is_bad, exit_code=code))
            result = Cause.ILL if is_bad else Cause.WELL
            changes += self._believe(np.array([slot]), result, now_ns)
        return changes

    def ping(self, one: Heartbeats, now_ns: int) -> list[Change]:
        """Take one request of the bare URL, which the registry has noted."""
        slot = int(one.slots[0])
        # It promises nothing but what its plan says, and its load is no node's.
        self._registry.clear_interval(slot)
        self._registry.clear_cpu(slot)
        if not one.records[0]["flags"] & Flag.STARTED:
            return self.end(one, now_ns)
        self._runs.append(self.jobs.begin(slot, int(one.arrived_ns[0]), beats=False))
        return self._believe(one.slots, None, now_ns)

    def _believe(self, slots: IntArray, result: Cause | None, now_ns: int) -> list[Change]:
        """Let a word about one job's run change its status.

        result   WELL: it succeeded, ILL: it failed, None: it began
        """
        causes = [Cause.REFUTED, Cause.HEARD]
        if result == Cause.WELL:
            # One run is enough: good ones in a row, as a node needs, would take a job days.
            causes.append(Cause.STEADY)
        if result is not None:
            causes.append(result)
        self._detector.forget(slots)
        found = [self._membership.apply(slots, cause, now_ns) for cause in causes]
        self.jobs.watch(int(slots[0]))
        return [change for changes in found for change in changes]
