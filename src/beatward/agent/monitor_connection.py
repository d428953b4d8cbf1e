"""One node's connection to its monitor: enrolment, link and heartbeat protocol, driven by turns.

    turn(now_ns) ── take what was found ─► answer what came in ─► beat if due ─► when again
                         ▲
    search: what blocks (HTTP, name servers) runs in a thread of its own and wakes the turn,
            so that nothing ever delays a heartbeat

A turn never blocks and never raises for the network: with the monitor away the heartbeats go on
and it is looked for, ever more patiently. `heart` turns this in a thread or on an event loop.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from beatward.core.instants import MILLISECOND, NEVER, SECOND, format_duration
from beatward.core.protocol.join import Credential
from beatward.core.protocol.record import Farewell
from beatward.errors import JoinRefused, MonitorUnreachable

from . import clock
from .attempts import Backoff, LogOnce, in_background
from .enrol import Identity, MonitorFound, find, resolve
from .heartbeat_protocol import HeartbeatProtocol, Report
from .link import Forget, HttpLink, Link, UdpLink
from .registrations import Registrar, Registrations
from .reporter import Reporter
from .send_schedule import Bounds
from .state import StateFile

# The first steps are short, because a monitor and its nodes often start together; the last one
# bounds what 100,000 nodes ask of a monitor that is back: 5,000 enrolments a second at most.
SEEK_NS = 500 * MILLISECOND
SEEK_MAX_NS = 30 * SECOND
# A process that ends waits this long for an enrolment under way, so that one which lived only
# for an instant is heard of at all.
FAREWELL_PATIENCE_NS = SECOND
# A node's goodbye only saves the monitor some waiting; the result of a job's run is all there is of
# it. Ten seconds outlast a monitor that is being restarted.
JOB_GOODBYE_COUNT_MAX = 100
# A monitor shows a node a moment after its enrolment, and until then takes it for unknown.
NEWLY_ENROLLED_NS = 2 * SECOND
# What one turn reads at most: a flood of datagrams must not keep a heartbeat from going out.
RECEIVE_COUNT_MAX = 64

log = logging.getLogger("beatward.agent")


class MonitorConnection:
    """One life of a node; a new life is a new connection.

    wake           called from another thread when a turn is wanted
    bounds         what the monitor may wish the interval to be; None: no other one
    forget         called with a file descriptor before it is closed
    on_mail        called when the monitor says that an action waits, which it repeats until the
                   agent fetches it; must not block
    registrations  services to declare and lease holders to speak for
    reporter       what the program says of itself beside its heartbeats
    refusal        the monitor's reason when it refused to enrol this node, or ""
    """

    def __init__(
        self,
        identity: Identity,
        file: StateFile,
        *,
        interval_ns: int,
        transport: str,
        wake: Callable[[], None],
        bounds: Bounds | None = None,
        forget: Forget = lambda _: None,
        on_mail: Callable[[], None] = lambda: None,
        registrations: Registrations | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.identity = identity
        self.refusal = ""
        self.incarnation = file.next_incarnation(clock.wall_us())
        self._file = file
        self._interval_ns = interval_ns
        self._bounds = bounds
        self._wants_udp = transport == "udp"
        self._wake = wake
        self._forget = forget
        self._on_mail = on_mail
        self._registrations = registrations or Registrations()
        self._registrar = Registrar(self._registrations, is_offering=file.state.is_offering)
        self._reporter = reporter or Reporter()
        self._protocol: HeartbeatProtocol | None = None
        self._link: Link | None = None
        self._search: Future[MonitorFound] | None = None
        self._credential: Credential | None = None
        self._monitor = ""
        self._seek_due_ns = 0
        self._seek_backoff = Backoff(SEEK_NS, SEEK_MAX_NS)
        self._seek_again_ns = 0
        self._is_enrolled_in_vain = False
        self._enrolled_ns = -NEVER
        self._is_lost = False  # the monitor has lost what the enrolment had taught it
        self._farewell: tuple[Farewell, int | None] | None = None
        self._farewell_due_ns = NEVER
        self._heard_count = 0
        self._is_silent = False
        self._rival: int | None = None
        self._log = LogOnce(identity.name)

    # --- what others may know ---

    @property
    def credential(self) -> Credential | None:
        """The node's credential, once there is one."""
        return self._credential

    @property
    def monitor(self) -> str:
        """The address of the monitor that gave the credential, or "" before that."""
        return self._monitor

    @property
    def is_acknowledged(self) -> bool:
        """Whether the monitor has acknowledged this life."""
        return self._protocol is not None and self._protocol.is_acknowledged

    @property
    def round_trip_ns(self) -> int | None:
        """The last measured time from asking to acknowledgement."""
        return None if self._protocol is None else self._protocol.round_trip_ns

    @property
    def is_over(self) -> bool:
        """Whether the goodbye was heard, given up, or had no monitor to go to."""
        if self._farewell is None:
            return False
        return self._farewell_due_ns == NEVER and (
            self._protocol is None or self._protocol.next_due_ns == NEVER
        )

    @property
    def next_turn_ns(self) -> int:
        """When `turn` is due again; `wake` may ask for it earlier."""
        due_ns = NEVER if self._protocol is None else self._protocol.next_due_ns
        seek_ns = self._seek_due_ns if self._search is None and self._may_seek else NEVER
        due_ns = min(due_ns, seek_ns, self._farewell_due_ns)
        if not self._speaks:
            return due_ns
        return min(
            due_ns, self._registrations.due_ns, self._registrar.due_ns, self._reporter.due_ns
        )

    def fileno(self) -> int:
        """Return what to wait on for reading, or -1."""
        return -1 if self._link is None else self._link.fileno()

    # --- driving it ---

    def begin(self, now_ns: int) -> None:
        """Take up the credential of an earlier life, if there is one for this monitor."""
        state = self._file.state
        wanted = self.identity.monitor
        if state.credential is None or wanted not in (None, state.monitor):
            return
        self._credential, self._monitor = state.credential, state.monitor
        addresses: tuple[Any, ...] = ()
        try:
            if self._wants_udp:
                addresses, _ = resolve(state.credential.udp, state.monitor, may_ask=False)
        except MonitorUnreachable:
            return  # A name server has to be asked, and that takes a search.
        self._take_up(MonitorFound(state.credential, state.monitor, addresses), now_ns)
        if (state.labels, state.job) == (self.identity.labels, self.identity.job):
            self._seek_due_ns = NEVER

    def turn(self, now_ns: int, report: Callable[[], Report]) -> int:
        """Do what is due and return the instant of the next turn.

        report   called for each heartbeat
        """
        self._take_news(now_ns)
        if self._protocol is not None and self._link is not None:
            self._listen(self._protocol, self._link, now_ns)
            if now_ns >= self._protocol.next_due_ns:
                self._link.send(self._protocol.beat(now_ns, report()))
            if self._protocol.wants_reconnect:
                self._reconnect(self._protocol, self._link, now_ns)
            if self._speaks:
                self._offer(self._protocol, self._link, now_ns)
        if now_ns >= self._farewell_due_ns:
            self._farewell_due_ns = NEVER
            self._say_farewell(now_ns)
        if now_ns >= self._seek_due_ns and self._may_seek:
            self._seek(now_ns)
        return self.next_turn_ns

    def say_goodbye(self, now_ns: int, farewell: Farewell, exit_code: int | None = None) -> None:
        """Begin to end this life; turn on until `is_over`."""
        if self._farewell is None:
            self._farewell = (farewell, exit_code)
            if self._search is not None:
                self._farewell_due_ns = now_ns + FAREWELL_PATIENCE_NS
            if self._search is None or not self._is_undeclared:
                self._say_farewell(now_ns)

    @property
    def _is_undeclared(self) -> bool:
        """Whether the monitor does not know yet that this is the end of a run."""
        return self._file.state.job != self.identity.job or (self._is_lost and self._is_job)

    @property
    def _is_job(self) -> bool:
        return bool(self.identity.job)

    @property
    def _may_seek(self) -> bool:
        # A node that leaves is soon forgiven. A job's result is all there is of its run, and a
        # monitor that has lost its journal does not know of the job.
        return self._farewell is None or self._is_job

    def close(self) -> None:
        """Let go of the link; the last turn was taken."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._protocol is not None:
            heard = self._protocol.goodbye_is_acknowledged
            log.info(
                "%s said goodbye to %s%s",
                self.identity.name,
                self._monitor,
                "" if heard else ", which did not answer",
            )

    # --- talking ---

    def _listen(self, protocol: HeartbeatProtocol, link: Link, now_ns: int) -> None:
        for _ in range(RECEIVE_COUNT_MAX):
            data = link.receive()
            if data is None:
                break
            if not self._registrations.take(data, protocol, now_ns, where=link.peer):
                for reply in protocol.receive(data, now_ns):
                    link.send(reply)
        if link.take_refusal():
            protocol.doubt()
        if link.take_loss() and now_ns - self._enrolled_ns >= NEWLY_ENROLLED_NS:
            # It was enrolled by its heartbeat alone: labels and job have to be declared again.
            self._is_lost = True
            self._seek_due_ns = now_ns
        if protocol.incarnation != self.incarnation:
            log.info("an earlier life of %s is known with a later number", self.identity.name)
            self.incarnation = protocol.incarnation
            self._file.note_incarnation(protocol.incarnation)
        if protocol.rival_incarnation != self._rival:
            self._rival = protocol.rival_incarnation
            log.error(
                "another process beats as %s, and the monitor listens to that one; "
                "give each process a name of its own",
                self.identity.name,
            )
        if protocol.acknowledged_count > self._heard_count:
            self._note_heard(protocol)
        if protocol.take_mail():
            self._on_mail()

    @property
    def _speaks(self) -> bool:
        """Whether the monitor knows this life, so that it can be told of its services."""
        return self.is_acknowledged and self._farewell is None

    def _offer(self, protocol: HeartbeatProtocol, link: Link, now_ns: int) -> None:
        if self._wants_udp:
            for data in self._registrations.speak(protocol, now_ns):
                link.send(data)
        if self._credential is not None:
            heard = self._registrar.turn(
                now_ns, self._credential, self._monitor, session=protocol.session, wake=self._wake
            )
            self._reporter.turn(
                now_ns,
                self._credential,
                self._monitor,
                life=(self.incarnation, protocol.session),
                wake=self._wake,
            )
            if heard is not None:
                self._file.note_offering(is_offering=bool(self._registrations.declarations()))

    def _note_heard(self, protocol: HeartbeatProtocol) -> None:
        if self._heard_count == 0 or self._is_silent:
            trip_ns = protocol.round_trip_ns
            took = "" if trip_ns is None else f" (round trip {format_duration(trip_ns)})"
            log.info("%s: the monitor answers%s", self._monitor, took)
        self._heard_count = protocol.acknowledged_count
        self._is_silent = self._is_enrolled_in_vain = False
        self._seek_backoff.reset()
        self._log.clear()

    def _reconnect(self, protocol: HeartbeatProtocol, link: Link, now_ns: int) -> None:
        protocol.reconnected(now_ns)
        # A role is lent to one address of ours, and by IPv6 we have another one than by IPv4.
        link.reopen(stays=self._registrations.are_held)
        if not self._is_silent:
            log.warning("%s does not answer; heartbeats go on, and it is looked for", self._monitor)
        self._is_silent = True
        if self._is_enrolled_in_vain and self._wants_udp and self._credential is not None:
            self._log.warn(
                f"{self._monitor} answers over HTTP but not to datagrams at "
                f"{self._credential.udp}; if UDP is blocked on the way, use transport = http"
            )
        if self._seek_due_ns == NEVER:
            self._seek_due_ns = max(now_ns, self._seek_again_ns)

    # --- finding the monitor ---

    def _seek(self, now_ns: int) -> None:
        if self._search is not None:
            return
        identity, known, monitor = self.identity, self._credential, self._monitor
        wants_udp = self._wants_udp
        try:
            self._search = in_background(
                lambda: find(identity, known, monitor, wants_udp=wants_udp), self._wake
            )
        except RuntimeError:  # The interpreter is going down and starts no more threads.
            self._seek_due_ns = NEVER
            return
        # Half to all of the pause, so that a fleet does not come back in step.
        chance = int.from_bytes(os.urandom(2)) / 2**16
        self._seek_due_ns = now_ns + int(self._seek_backoff.next_ns() * (0.5 + chance / 2))
        self._seek_again_ns = self._seek_due_ns

    def _take_news(self, now_ns: int) -> None:
        search = self._search
        if search is None or not search.done():
            return
        self._search = None
        try:
            found = search.result()
        except JoinRefused as error:
            self.refusal = str(error)
            self._log.warn(self.refusal)
        except Exception as error:  # noqa: BLE001  whatever it was, the program must go on
            self._log.warn(str(error) or type(error).__name__)
        else:
            self._take_up(found, now_ns)
            self._seek_due_ns = NEVER
            if found.refusal:
                self._log.warn(found.refusal)
            elif found.is_enrolled:
                self._note_enrolled(found, now_ns)
        if self._farewell is not None:
            self._farewell_due_ns = NEVER
            self._say_farewell(now_ns)

    def _say_farewell(self, now_ns: int) -> None:
        """Say goodbye if it is time and was not done; without a link it waits for the search."""
        if self._farewell is None or self._protocol is None or self._link is None:
            return
        self._farewell_due_ns = NEVER
        if not self._protocol.is_leaving:
            farewell, exit_code = self._farewell
            self._link.send(self._protocol.goodbye(now_ns, farewell, exit_code=exit_code))
            if self._is_job and self._search is None:
                self._seek_due_ns = min(self._seek_due_ns, now_ns + FAREWELL_PATIENCE_NS)

    def _take_up(self, found: MonitorFound, now_ns: int) -> None:
        """Speak under this credential to this address from now on."""
        credential, monitor = found.credential, found.monitor
        is_new = credential != self._credential or monitor != self._monitor
        if found.hint:
            self._log.warn(found.hint)
        if is_new:
            log.info("%s is enrolled with %s", credential.name, monitor)
        old_key = None if self._credential is None else self._credential.key
        self._credential, self._monitor = credential, monitor
        if self._protocol is None or old_key != credential.key:
            self._protocol = HeartbeatProtocol(
                credential.name,
                credential.key,
                incarnation=self.incarnation,
                interval_ns=self._interval_ns,
                start_ns=now_ns,
                bounds=self._bounds,
            )
            if self.identity.job:
                self._protocol.goodbye_count_max = JOB_GOODBYE_COUNT_MAX
            self._heard_count = 0
        self._take_link(found, is_new=is_new)

    def _note_enrolled(self, found: MonitorFound, now_ns: int) -> None:
        self._registrar.renew()
        if self._protocol is not None:
            self._protocol.introduce(now_ns)
        labels = self.identity.labels
        self._file.note_credential(
            found.credential, monitor=found.monitor, labels=labels, job=self.identity.job
        )
        self.refusal = ""
        self._enrolled_ns, self._is_lost = now_ns, False
        self._is_enrolled_in_vain = self._is_silent

    def _take_link(self, found: MonitorFound, *, is_new: bool) -> None:
        if isinstance(self._link, UdpLink) and self._link.addresses == found.addresses:
            return
        if isinstance(self._link, HttpLink) and not is_new:
            return
        if self._link is not None:
            self._link.close()
        if self._wants_udp:
            self._link = UdpLink(found.addresses, self._forget)
        else:
            self._link = HttpLink(found.monitor, found.credential, self._forget)
