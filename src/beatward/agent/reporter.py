"""What a program says of itself beside its heartbeats: POST /v1/agent/report, whenever it changes.

A heartbeat has no room for a reason or for metrics of a program's own. They go over HTTP in
the background, the newest at most once a second, and again to each session of the monitor, which
keeps them in memory. Best effort: heartbeats never wait for it, but a `failing` waits for its
reason for a moment (`HOLD_NS`), so that the entry of it has both. Not here: what may be said
(`core.protocol.report`).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future

from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.join import Credential
from beatward.errors import MonitorUnreachable

from . import clock
from .attempts import Backoff, LogOnce, in_background
from .post import Answer, post_as

# How long a heartbeat says `ok` still, while the reason of the `failing` is under way.
HOLD_NS = SECOND
SPACING_NS = SECOND
RETRY_MAX_NS = 30 * SECOND

Remarks = tuple[str, Mapping[str, float]]
NOTHING: Remarks = ("", {})


class Reporter:
    """One node's reports, over all its lives; `tell` from any thread, the rest from one."""

    def __init__(self) -> None:
        self._wanted = NOTHING
        self._hold_until_ns = 0
        self._reported: tuple[object, ...] = ()
        self._asked: tuple[object, ...] = ()
        self._posting: Future[Answer] | None = None
        self._due_ns = 0
        self._backoff = Backoff(SPACING_NS, RETRY_MAX_NS)
        self._log = LogOnce("a reason or metrics were not taken")

    def tell(self, reason: str, metrics: Mapping[str, float], *, holds: bool) -> None:
        """Say this from now on; holds: a status waits for it."""
        self._wanted = (reason, dict(metrics))
        self._hold_until_ns = clock.now_ns() + HOLD_NS if holds else 0

    def holds(self, now_ns: int) -> bool:
        """Tell whether a status waits for its reason still."""
        is_reported = bool(self._reported) and self._reported[0] == self._wanted
        return now_ns < self._hold_until_ns and not is_reported

    @property
    def due_ns(self) -> int:
        """When `turn` has something to do that it could not do before."""
        is_pending = self._posting is None and self._asked[:1] != (self._wanted,)
        return self._due_ns if is_pending and self._wanted != NOTHING else NEVER

    def turn(
        self,
        now_ns: int,
        credential: Credential,
        monitor: str,
        *,
        life: tuple[int, int],
        wake: Callable[[], None],
    ) -> None:
        """Say what this monitor has not heard; never blocks.

        life   this life's incarnation, and the monitor's session, 0 when that is not known
        """
        self._take(now_ns)
        wanted = (self._wanted, credential, monitor, life)
        # What was never said has not to be taken back.
        is_news = wanted != self._reported and (self._wanted != NOTHING or bool(self._reported))
        if self._posting is not None or not is_news or not life[1] or now_ns < self._due_ns:
            return
        reason, metrics = self._wanted
        body = {"incarnation": life[0], "reason": reason, "metrics": metrics}
        self._asked = wanted
        self._posting = in_background(
            lambda: post_as(credential, monitor, "/v1/agent/report", body), wake
        )

    def _take(self, now_ns: int) -> None:
        posting = self._posting
        if posting is None or not posting.done():
            return
        self._posting = None
        try:
            answer = posting.result()
            trouble = "" if 200 <= answer.status < 300 else answer.reason
            # An older monitor has no such route, and will have none until it is another one.
            is_final = answer.status in (404, 405)
        except MonitorUnreachable as error:
            trouble, is_final = str(error), False
        if trouble:
            self._log.warn(trouble)
        else:
            self._log.clear()
        if trouble and not is_final:
            self._asked = ()
            self._due_ns = now_ns + self._backoff.next_ns()
            return
        self._reported, self._due_ns = self._asked, now_ns + SPACING_NS
        self._backoff.reset()
