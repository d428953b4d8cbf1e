"""What a node offers, as its connection sees it: services to declare, and holders to speak for.

    declare    POST /v1/agent/services, at the start and again after each enrolment, and whenever
               the monitor's session is a new one: it may know nothing of us
    speak      what a holder has to say, sealed, over the heartbeat's own socket
    take       a grant that came in
    remark     POST /v1/agent/remarks, what holders say in words, whenever that has changed

Declarations block, so they are made in the background; standings and grants are datagrams and
never wait.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.join import Credential
from beatward.core.protocol.roles import service_id
from beatward.errors import MonitorUnreachable

from .attempts import Backoff, LogOnce, in_background
from .heartbeat_protocol import HeartbeatProtocol
from .post import Answer, post_as
from .roles.shared_holder import SharedLeaseHolder
from .services import SERVICE_COUNT_MAX, Service

DECLARE_PAUSE_NS = SECOND
DECLARE_PAUSE_MAX_NS = 30 * SECOND
# A hook that fails each time in another way is not worth more than this.
REMARK_PAUSE_NS = 5 * SECOND
# As the monitor's /v1/agent/remarks has it.
REMARK_SIZE_MAX = 500


class Registrations:
    """All that a node offers; safe to use from several threads. version: counts changes."""

    def __init__(self) -> None:
        self._plain: tuple[Service, ...] = ()
        self._lock = threading.Lock()
        self.holders: tuple[SharedLeaseHolder, ...] = ()
        self.version = 0

    def add_plain(self, service: Service) -> None:
        """Offer a service without a role; raises ValueError as `add`."""
        with self._lock:
            self._check_new(service.name)
            self._plain = (*self._plain, service)
            self.version += 1

    def add(self, holder: SharedLeaseHolder) -> None:
        """Offer a service with a role; raises ValueError when it is offered already."""
        with self._lock:
            self._check_new(holder.name)
            self.holders = (*self.holders, holder)
            self.version += 1

    def _check_new(self, name: str) -> None:
        """Raise ValueError unless it can stand beside what is offered already."""
        known = [declared["name"] for declared in self.declarations()]
        if service_id(name) in map(service_id, known):
            raise ValueError(
                f"expected a service that this node does not offer yet, found {name!r}"
            )
        if len(known) >= SERVICE_COUNT_MAX:
            raise ValueError(f"expected at most {SERVICE_COUNT_MAX} services, found {name!r} too")

    def remove(self, holder: SharedLeaseHolder) -> None:
        """Offer it no more."""
        with self._lock:
            self.holders = tuple(other for other in self.holders if other is not holder)
            self.version += 1

    def declarations(self) -> list[Mapping[str, Any]]:
        """Return what the monitor is to be told, as a whole."""
        plain = (service.declaration() for service in self._plain)
        return [*plain, *(holder.declaration for holder in self.holders)]

    @property
    def due_ns(self) -> int:
        """When a holder has something to say."""
        return min((holder.standing_due_ns for holder in self.holders), default=NEVER)

    @property
    def are_held(self) -> bool:
        """Whether a role is taken, held or being given up."""
        return any(holder.is_held for holder in self.holders)

    def speak(self, protocol: HeartbeatProtocol, now_ns: int) -> Sequence[bytes]:
        """Return the datagrams that are due, to be sent at once."""
        datagrams: list[bytes] = []
        for holder in self.holders:
            report = holder.standing(now_ns)
            if report is not None:
                last = holder.word_of_the_ended(protocol)
                datagrams += [protocol.seal_role_report(report), *([] if last is None else [last])]
        return datagrams

    def take(
        self,
        data: bytes,
        protocol: HeartbeatProtocol,
        now_ns: int,
        *,
        where: tuple[int, Any] | None,
    ) -> bool:
        """Take in a datagram, if it is a grant; returns whether it is one.

        where   the monitor's socket, if there is one
        """
        grant = protocol.open_grant(data) if self.holders else None
        if grant is None:
            return False
        for holder in self.holders:
            holder.hear(grant, now_ns, protocol, where)
        return True


class Registrar:
    """Declares the registrations to one monitor after the other; `turn` never blocks."""

    def __init__(self, registrations: Registrations, *, is_offering: bool) -> None:
        self._registrations = registrations
        self._has_something = is_offering
        self._declared: tuple[Any, ...] = ()
        self._asked: tuple[Any, ...] = ()
        self._declaring: Future[Answer] | None = None
        self._due_ns = 0
        self._backoff = Backoff(DECLARE_PAUSE_NS, DECLARE_PAUSE_MAX_NS)
        self._log = LogOnce("services could not be declared")
        # What was said, to which session; nothing is what a new session knows.
        self._remarked: tuple[int, Mapping[str, str]] = (0, {})
        self._remark: Future[Answer] | None = None
        self._remark_due_ns = 0

    def renew(self) -> None:
        """Declare once more: the monitor has enrolled this node anew."""
        self._declared = ()

    @property
    def due_ns(self) -> int:
        """When `turn` has something to do that it could not do before."""
        return NEVER if self._declaring is not None or self._due_ns == 0 else self._due_ns

    def turn(
        self,
        now_ns: int,
        credential: Credential,
        monitor: str,
        *,
        session: int,
        wake: Callable[[], None],
    ) -> bool | None:
        """Declare what this monitor has not heard; returns whether anything is offered, once heard.

        session   the monitor's own number, which is another one after its restart; 0: not known
        """
        heard = self._take(now_ns)
        declarations = self._registrations.declarations()
        if declarations:
            self._has_something = True
        wanted = (credential, monitor, session, self._registrations.version)
        is_due = self._declaring is None and now_ns >= self._due_ns
        if self._has_something and session and wanted != self._declared and is_due:
            self._asked = wanted
            body = {"services": declarations}
            self._declaring = in_background(
                lambda: post_as(credential, monitor, "/v1/agent/services", body), wake
            )
        elif self._declared == wanted:
            self._say_remarks(now_ns, credential, monitor, session=session)
        return heard

    def _say_remarks(
        self, now_ns: int, credential: Credential, monitor: str, *, session: int
    ) -> None:
        """Say what has changed; what is lost on its way is said again with the next change."""
        if self._remark is not None and self._remark.done():
            self._remark = None
        remarks = {
            holder.name: holder.remark[:REMARK_SIZE_MAX] for holder in self._registrations.holders
        }
        known = self._remarked[1] if self._remarked[0] == session else {}
        news = {name: text for name, text in remarks.items() if text}
        if self._remark is not None or news == known or now_ns < self._remark_due_ns:
            return
        self._remarked, self._remark_due_ns = (session, news), now_ns + REMARK_PAUSE_NS
        rows = [{"service": service, "remark": text} for service, text in news.items()]
        body = {"remarks": rows}
        self._remark = in_background(
            lambda: post_as(credential, monitor, "/v1/agent/remarks", body), lambda: None
        )

    def _take(self, now_ns: int) -> bool | None:
        declaring = self._declaring
        if declaring is None or not declaring.done():
            return None
        self._declaring = None
        try:
            answer = declaring.result()
            trouble = "" if 200 <= answer.status < 300 else answer.reason
        except MonitorUnreachable as error:
            trouble = str(error)
        if not trouble:
            self._declared, self._due_ns = self._asked, 0
            self._backoff.reset()
            self._log.clear()
            return self._has_something
        self._log.warn(trouble)
        self._due_ns = now_ns + self._backoff.next_ns()
        return None
