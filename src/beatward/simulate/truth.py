"""What is really so: which node was down, frozen or cut off, and when; and what it really said.

Only the checkers read it. The monitor under test sees datagrams, its own clock and its own disk,
and is judged by what stands here. Instants are true time. Not here: judgement (`checkers`).
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from beatward.core.instants import NEVER


class Trouble(StrEnum):
    """What can keep a node from being heard, or from hearing."""

    DOWN = "down"
    WAITING = "waiting to be enrolled"
    FROZEN = "frozen"
    SUSPENDED = "suspended"
    CUT_UP = "cut to the monitor"
    CUT_DOWN = "cut from the monitor"


# These keep every datagram of a node from the monitor; a cut the other way does not.
SILENCING = (Trouble.DOWN, Trouble.WAITING, Trouble.FROZEN, Trouble.SUSPENDED, Trouble.CUT_UP)


@dataclass(slots=True)
class Span:
    """A trouble from `begin_ns` to `end_ns`; NEVER while it lasts."""

    trouble: str
    begin_ns: int
    end_ns: int = NEVER


class History:
    """Troubles of one machine over time; the same trouble may be caused twice at once."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._open: dict[str, Span] = {}
        self._depth: Counter[str] = Counter()

    def begin(self, trouble: str, now_ns: int) -> None:
        """Note that a trouble begins."""
        self._depth[trouble] += 1
        if self._depth[trouble] == 1:
            span = Span(trouble, now_ns)
            self._open[trouble] = span
            self.spans.append(span)

    def end(self, trouble: str, now_ns: int) -> None:
        """Note that one cause of a trouble has ended."""
        assert self._depth[trouble] > 0
        self._depth[trouble] -= 1
        if self._depth[trouble] == 0:
            self._open.pop(trouble).end_ns = now_ns

    def has(self, trouble: str) -> bool:
        """Tell whether a trouble lasts."""
        return self._depth[trouble] > 0

    def within(self, begin_ns: int, end_ns: int) -> list[Span]:
        """Return the troubles that touch a stretch of time."""
        return [s for s in self.spans if s.begin_ns <= end_ns and s.end_ns >= begin_ns]


@dataclass(slots=True)
class NodeTruth:
    """What is really so with one node.

    interval_ns  the longest that it has promised so far
    farewells    goodbyes really said: (instant, farewell, exit code or None)
    illness      when it said of itself that it is not well
    """

    name: str
    interval_ns: int
    history: History = field(default_factory=History)
    farewells: list[tuple[int, int, int | None]] = field(default_factory=list)
    illness: History = field(default_factory=History)

    def is_silent(self) -> bool:
        """Tell whether nothing that it says can reach the monitor."""
        return any(self.history.has(trouble) for trouble in SILENCING)

    def silent_since_ns(self, now_ns: int) -> int | None:
        """Return since when it has been silent without a break, or None."""
        since_ns = now_ns
        found = False
        # Spans are in order of their beginning, so one pass from the end joins touching ones.
        for span in sorted(self.history.spans, key=lambda span: -span.end_ns):
            if span.trouble in SILENCING and span.begin_ns <= since_ns <= span.end_ns:
                since_ns = span.begin_ns
                found = True
        return since_ns if found else None
