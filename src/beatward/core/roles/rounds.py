"""Which candidates have failed at a role and when they are tried again, and to whom it goes back.

A round ends when every candidate has failed. The next one begins after a second, then after twice
as long each time, up to the time that a promotion may take: what failed for a moment must not keep
a service down. Not here: who is a candidate (`core.roles.candidates`).
"""

from collections.abc import Sequence

from beatward.core.instants import NEVER, SECOND
from beatward.core.membership import Membership
from beatward.core.roles.candidates import Member

ROUND_PAUSE_NS = SECOND


class Rounds:
    """Who has failed in this round; `again_ns`: when the next one begins, if that is planned."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}  # node -> what became of it
        self.again_ns = NEVER
        self._count = 0  # how many have failed since a member held for long enough

    def fail(self, node: str, why: str) -> None:
        """Note that a node has failed, if that is not known yet."""
        self.failed.setdefault(node, why)

    def forgive(self) -> None:
        """Let all be tried again who have failed in this round."""
        self.failed, self.again_ns = {}, NEVER

    def end(self) -> None:
        """Note that a member has held the role for long enough."""
        self.failed, self._count = {}, 0

    def choose(self) -> None:
        """Note that a candidate was chosen."""
        self.again_ns = NEVER

    def untried(self, able: Sequence[Member], now_ns: int) -> list[Member]:
        """Return which candidates have not failed in this round; begin the next if it is due."""
        if able and all(one.node in self.failed for one in able) and now_ns >= self.again_ns:
            self.failed = {}
        return [one for one in able if one.node not in self.failed]

    def plan(self, now_ns: int, *, longest_ns: int) -> str:
        """Plan the next round, for all have failed; return what became of each."""
        if self.again_ns == NEVER:
            pause_ns = ROUND_PAUSE_NS << min(self._count, 20)
            self.again_ns = now_ns + min(pause_ns, longest_ns)
            self._count += 1
        return "; ".join(f"{node}: {why}" for node, why in sorted(self.failed.items()))


class Failback:
    """Who is preferred to the holder, and able since when.

    All the time: who lags too far behind now and then (seed 60233), or has failed at it (10058),
    would be asked for and not promoted, and so it would go on for ever.
    """

    def __init__(self) -> None:
        self._able: dict[str, int] = {}

    def end(self) -> None:
        """Forget all."""
        self._able = {}

    def choose(
        self, able: Sequence[Member], membership: Membership, now_ns: int, *, able_for_ns: int
    ) -> Member | None:
        """Return the first of those preferred, once it has been able for long enough."""
        self._able = {one.node: self._able.get(one.node, now_ns) for one in able}
        if not able:
            return None
        best = able[0]
        since_ns = max(best.able_ns or now_ns, int(membership.since_ns[best.slot]))
        is_due = now_ns - max(since_ns, self._able[best.node]) >= able_for_ns
        return best if is_due else None
