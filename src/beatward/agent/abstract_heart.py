"""What a heart of either kind is told, checks and knows; `heart` drives it."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from beatward.core.protocol.join import Credential
from beatward.core.protocol.record import Health
from beatward.core.protocol.report import check_reason

from . import clock
from .enrol import identify
from .heartbeat_protocol import Report
from .monitor_connection import MonitorConnection
from .registrations import Registrations
from .reporter import Reporter
from .roles.runner import RoleRunner, Workload
from .services import Service
from .state import StateFile
from .validation import (
    check_bounds,
    check_flag,
    check_function,
    check_interval,
    check_job,
    check_metrics,
    check_transport,
    split_metrics,
)

STATUSES = {"ok": Health.WELL, "failing": Health.ILL}

Measure = Callable[[], Mapping[str, float]]

log = logging.getLogger("beatward.agent")


class AbstractHeart:
    """What a heart of either kind is told, checks and knows."""

    def __init__(
        self,
        name: str | None = None,
        *,
        interval: str = "1s",
        interval_min: str | None = None,
        interval_max: str | None = None,
        monitor: str | None = None,
        token: str | None = None,
        labels: Mapping[str, str] | None = None,
        transport: str = "udp",
        data: Path | str | None = None,
        measure: Measure | None = None,
        on_mail: Callable[[], None] | None = None,
        job: Mapping[str, str] | None = None,
        services: Iterable[Service] = (),
        handle_sigterm: bool = True,
    ) -> None:
        """Check what was given; nothing is sent before `start`.

        name        default: BEATWARD_NAME, or the machine's own
        interval    a heartbeat each; shorter finds a death sooner, and costs as much more
        interval_min, interval_max   what the monitor may wish it to be, see docs/pace.md;
                    default: from a tenth to ten times as long
        monitor     `http://host:port`; default: BEATWARD_MONITOR, or this machine's
        token       from `beatward token new`; default: BEATWARD_TOKEN, or this machine's
        labels      words about the node, such as its zone
        transport   `udp`, or `http` for nodes behind proxies
        data        folder of the state file; default as the monitor's
        measure     called before each heartbeat, returns metrics as `report` takes them; cheap
        on_mail     called when an action waits at the monitor; it must not block
        job         each life is a run: `schedule` and `timezone` or `every`, `grace`, `max_run`,
                    see docs/jobs.md
        services    that this node offers beside others which do; a role is asked for by `role`
        handle_sigterm   say goodbye when SIGTERM would end the program, see docs/sdk.md; only
                    while the program has no handler of its own
        Raises ValueError with what was expected.
        """
        identity = identify(name, monitor=monitor, token=token, labels=labels, data=data)
        self.identity = replace(identity, job=check_job({} if job is None else job))
        self.name = self.identity.name
        self._interval_ns = check_interval(interval)
        self._bounds = check_bounds(self._interval_ns, interval_min, interval_max)
        self._transport = check_transport(transport)
        check_function("measure", measure)
        check_function("on_mail", on_mail)
        self._measure = measure
        self._may_warn_of_measure = True
        self._on_mail = on_mail or (lambda: None)
        self._handle_sigterm = check_flag("handle_sigterm", handle_sigterm)
        self.registrations = Registrations()
        for service in _listed(services):
            self.registrations.add_plain(_without_role(service))
        self._runners: list[RoleRunner] = []
        self._report = Report()
        self._reporter = Reporter()
        self._connection: MonitorConnection | None = None
        self._file: StateFile | None = None
        self._process = 0

    @property
    def is_job(self) -> bool:
        """Whether each life of this node is a run."""
        return bool(self.identity.job)

    @property
    def credential(self) -> Credential | None:
        """The node's credential, once there is one."""
        return None if self._connection is None else self._connection.credential

    @property
    def monitor(self) -> str:
        """The address of the monitor that enrolled this node, or "" before that."""
        return "" if self._connection is None else self._connection.monitor

    @property
    def incarnation(self) -> int:
        """The number of this life, 0 before the first."""
        return 0 if self._connection is None else self._connection.incarnation

    @property
    def refusal(self) -> str:
        """Why the monitor would not enrol this node, or ""."""
        return "" if self._connection is None else self._connection.refusal

    @property
    def is_acknowledged(self) -> bool:
        """Whether the monitor has acknowledged this life."""
        return self._connection is not None and self._connection.is_acknowledged

    @property
    def round_trip_ns(self) -> int | None:
        """The last measured time from asking the monitor to its answer, or None."""
        return None if self._connection is None else self._connection.round_trip_ns

    @property
    def state_file(self) -> StateFile:
        """What this node remembers between starts."""
        if self._file is None:
            self._file = StateFile(self.identity.data, self.name)
        return self._file

    def report(
        self,
        status: str = "ok",
        metrics: Mapping[str, float] | None = None,
        *,
        reason: str = "",
    ) -> None:
        """Say how the service is, from the next heartbeat on until the next report.

        status    `ok`, or `failing`: the process lives but the service is ill
        metrics   `cpu` and `memory` in percent, `load` in runnable processes; they take the place
                  of what `measure` found. Up to 16 numbers of the program's own by other names,
                  which are shown, and sent at most once a second.
        reason    why it is failing, on one line of at most 200 characters
        Raises ValueError with what was expected.
        """
        value: object = status
        if not isinstance(value, str) or value not in STATUSES:
            raise ValueError(f"expected status ok or failing, found {status!r}")
        if check_reason(reason) and status == "ok":
            raise ValueError("reason: expected status failing beside it, found ok")
        gauges, own = split_metrics({} if metrics is None else metrics)
        is_new = STATUSES[status] == Health.ILL and self._report.health == Health.WELL
        self._reporter.tell(reason, own, holds=bool(reason) and is_new)
        self._report = Report(STATUSES[status], **gauges)
        if self._connection is not None and not self._is_inherited:
            self.wake()

    def wake(self) -> None:
        """Let the heart look at once whether there is something to say; from any thread."""
        raise NotImplementedError

    def _new_runner(self, service: Service) -> RoleRunner:
        """Return what `_engage` takes."""
        return RoleRunner(service.declaration(), self.state_file, wake=self.wake)

    def _engage(self, runner: RoleRunner, workload: Workload) -> None:
        """Begin to stand by for a role; raises ValueError for what cannot be offered."""
        if self._connection is None or self._is_inherited:
            raise RuntimeError(f"the heart of {self.name} does not beat; start it first")
        if self._transport != "udp":
            raise ValueError(f"expected transport udp for a role, found {self._transport!r}")
        self.registrations.add(runner.shared)
        self._runners.append(runner)
        runner.start(workload)
        self.wake()

    def _dismiss(self, runner: RoleRunner) -> None:
        """Give up what it holds and stand by no more; blocks until that is done."""
        runner.close()
        self.registrations.remove(runner.shared)
        if runner in self._runners:
            self._runners.remove(runner)

    def _current(self) -> Report:
        report = self._report
        if self._reporter.holds(clock.now_ns()):
            report = replace(report, health=Health.WELL)
        if self._measure is None:
            return report
        try:
            found = check_metrics(self._measure())
        except Exception:
            if self._may_warn_of_measure:
                log.exception("%s: measuring failed; heartbeats go on without", self.name)
                self._may_warn_of_measure = False
            return report
        return Report(
            report.health,
            cpu=found.get("cpu") if report.cpu is None else report.cpu,
            memory=found.get("memory") if report.memory is None else report.memory,
            load=found.get("load") if report.load is None else report.load,
        )

    def _new_conversation(
        self, wake: Callable[[], None], forget: Callable[[int], None] = lambda _: None
    ) -> MonitorConnection:
        return MonitorConnection(
            self.identity,
            self.state_file,
            interval_ns=self._interval_ns,
            bounds=self._bounds,
            transport=self._transport,
            wake=wake,
            forget=forget,
            on_mail=self._on_mail,
            registrations=self.registrations,
            reporter=self._reporter,
        )

    @property
    def _is_inherited(self) -> bool:
        # In a forked child the thread is gone but this object is there, sockets and all.
        return self._process != os.getpid()


def _listed(services: Any) -> Iterable[Service]:
    if isinstance(services, Service) or not isinstance(services, Iterable):
        message = f"services: expected a list of Service, found {services!r}"
        raise ValueError(message)  # noqa: TRY004  as below
    return services


def _without_role(service: Service) -> Service:
    if not isinstance(service, Service):
        # A program without a type checker learns it here.
        raise ValueError(f"services: expected a Service, found {service!r}")  # noqa: TRY004
    if service.has_role:
        expected = f'"balance"; `role({service.name!r})` takes the role of a service'
        raise ValueError(
            f"mode of the service {service.name}: expected {expected}, found {service.mode!r}"
        )
    return service
