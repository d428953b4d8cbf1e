"""`beatward agent`: a sidecar that beats for its machine and runs the actions it may be asked for.

Heartbeats carry cpu, memory and load. SIGTERM and SIGINT say goodbye and end with 0; systemd is
told when the agent is ready, and its watchdog only while the heart really turns. Not here: the
command line (`cli.agent`), and what runs actions (`action_runner`).
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import fields
from types import FrameType

from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.join import Credential
from beatward.errors import ConfigError, JoinRefused

from . import clock, services
from .action_runner import ActionRunner
from .heart import Heart
from .roles.guardian_workload import GuardianWorkload
from .roles.runner import RoleRunner
from .services import HookedService
from .settings import AgentSettings
from .system_metrics import system_metrics
from .systemd import notify, watchdog_ns
from .waker import WAIT_MAX_NS
from .watchdog import Watchdog

log = logging.getLogger("beatward.agent")

# A heart that has not turned for this long, although it has to every few seconds, hangs.
TURN_PATIENCE_NS = 2 * WAIT_MAX_NS
WATCH_MAX_NS = 60 * SECOND
# A demotion in order ends with its lease, and the longest that is sensible is a minute.
LEAVE_PATIENCE_NS = 60 * SECOND
LEAVE_LOOK_S = 0.1


class Daemon:
    """The whole agent. `run` uses the main thread and returns when it is told to end."""

    def __init__(
        self, settings: AgentSettings, reread: Callable[[], AgentSettings] | None = None
    ) -> None:
        """Put the parts together; nothing is sent before `run`. Raises ConfigError.

        reread   returns the settings as they are now, on SIGHUP; None: there is no file
        """
        self._stopping = threading.Event()
        self._settings = settings
        self._reread = reread
        # Where it was started in a terminal, SIGHUP says that the terminal is gone.
        self._has_terminal = any(os.isatty(fileno) for fileno in (0, 2))
        services.check_transport(settings.services, settings.transport or "udp", "the settings")
        try:
            self._heart = Heart(
                settings.name,
                interval=settings.interval or "1s",
                interval_min=settings.interval_min,
                interval_max=settings.interval_max,
                monitor=settings.monitor,
                token=settings.token,
                labels=settings.labels,
                transport=settings.transport or "udp",
                data=settings.data,
                measure=system_metrics(),
                on_mail=self._take_mail,
                services=[
                    service for service in settings.services.values() if not service.has_role
                ],
            )
        except ValueError as error:
            # All that was said is checked already but for two bounds that contradict each other;
            # what is left is the machine's own name.
            if "interval_min" in str(error):
                found = settings.interval or "1s"
                raise ConfigError("the settings", "interval", found, str(error)) from error
            raise ConfigError("this machine", "name", socket.gethostname(), str(error)) from error
        self._workloads: dict[RoleRunner, GuardianWorkload] = {}
        for service in settings.services.values():
            if isinstance(service, HookedService):
                self._offer(service)
        self._watchdog = None if settings.watchdog is None else Watchdog(settings.watchdog)
        self._actions = ActionRunner(
            self._heart.name, settings.actions, self._heart.state_file, self._access
        )

    def run(self) -> None:
        """Beat until SIGTERM or SIGINT; raises JoinRefused when the monitor will not have us."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take_signal)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._take_hangup)
        self._actions.start()
        self._heart.start()
        for runner, workload in self._workloads.items():
            runner.start(workload)
        if self._watchdog is not None:
            self._watchdog.open()
        log.info("%s beats", self._heart.name)
        notify("READY=1")
        try:
            self._watch()
        finally:
            notify("STOPPING=1")
            self._actions.stop()
            # Who says goodbye while it still acts would be believed too early.
            self._leave_roles()
            self._heart.stop()

    def _offer(self, service: HookedService) -> None:
        runner = RoleRunner(service.declaration(), self._heart.state_file, wake=self._heart.wake)
        self._heart.registrations.add(runner.shared)
        self._workloads[runner] = GuardianWorkload(
            runner, service, node=self._heart.name, access=self._access
        )

    def _leave_roles(self) -> None:
        """Give up what is held, before the goodbye; the watchdog bites if that hangs."""
        for runner in self._workloads:
            runner.leave()
        due_ns = clock.now_ns() + LEAVE_PATIENCE_NS
        while leaving := [runner for runner in self._workloads if not runner.wait_left(0)]:
            if clock.now_ns() >= due_ns:
                log.error("a role could not be given up; its guardian goes on trying")
                return
            self._feed()
            leaving[0].wait_left(LEAVE_LOOK_S)
        for runner in self._workloads:
            runner.stop()
        if self._watchdog is not None:
            self._watchdog.close()

    def _feed(self) -> int:
        """Feed the watchdog, if all is in order; returns when it is to be fed again."""
        if self._watchdog is None:
            return NEVER
        lease_ns = min((lease for one in self._workloads if (lease := one.lease_ns)), default=0)
        self._watchdog.suit(lease_ns)
        now_ns = clock.now_ns()
        within_ns = self._watchdog.promise_ns
        if all(runner.is_in_order(now_ns, within_ns) for runner in self._workloads):
            self._watchdog.feed()
        return self._watchdog.spacing_ns

    def _watch(self) -> None:
        watchdog_due_ns = watchdog_ns()
        while True:
            # Once all is well there is nothing to look at but the watchdog.
            pause_ns = WATCH_MAX_NS if self._heart.is_acknowledged else SECOND
            if self._stopping.wait(min(watchdog_due_ns, pause_ns, self._feed()) / SECOND):
                return
            if self._heart.refusal and self._heart.credential is None:
                # Asking again will not help, and an agent that is not heard should not look well.
                raise JoinRefused(self._heart.refusal)
            is_turning = clock.now_ns() - self._heart.last_turn_ns < TURN_PATIENCE_NS
            if watchdog_due_ns != NEVER and is_turning:
                notify("WATCHDOG=1")

    def _take_mail(self) -> None:
        self._actions.notify()

    def _access(self) -> tuple[Credential | None, str]:
        return self._heart.credential, self._heart.monitor

    def _take_signal(self, number: int, _: FrameType | None) -> None:
        log.info("%s: goodbye", signal.Signals(number).name)
        self._stopping.set()

    def _take_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._has_terminal:
            self._take_signal(number, frame)
        elif self._reread is None:
            log.warning("SIGHUP: there is no settings file to read again; nothing changes")
        else:
            self._reload(self._reread)

    def _reload(self, reread: Callable[[], AgentSettings]) -> None:
        """Take the actions of the settings file; what else is new in it needs a restart."""
        try:
            fresh = reread()
        except ConfigError as error:
            log.error("SIGHUP: %s; the settings stay as they were", error)  # noqa: TRY400
            return
        self._actions.take(fresh.actions)
        names = [field.name for field in fields(fresh) if field.name != "deeds"]
        changed = [name for name in names if getattr(fresh, name) != getattr(self._settings, name)]
        log.info(
            "SIGHUP: the settings were read again; actions: %s", ", ".join(fresh.actions) or "none"
        )
        if changed:
            log.warning("SIGHUP: restart the agent for what is new in: %s", ", ".join(changed))
