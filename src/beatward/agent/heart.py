"""One line in a program, and it is watched: `Heart("web-1").start()`.

    with Heart("web-1") as heart:
        heart.report(status="failing")      # until the next report

`Heart` beats from a daemon thread, so it says that the process lives. `AsyncHeart` beats from the
event loop itself, so it also says that the loop turns: a loop that is blocked falls silent, which
is what a user of that service sees too.

The program is never taken down, nor held up, by a monitor that is away: heartbeats go on, it is
looked for in the background, and the log (`beatward.agent`) says so. Wrong arguments raise
ValueError at once. A program that ends says goodbye by itself, by `with`, `stop()` or at exit;
one that is killed does not, and the monitor finds that out by silence. No signal handler is
installed. A forked child does not beat: start a heart of another name in the child.
"""

import atexit
import logging
import math
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from beatward.core.instants import MILLISECOND, SECOND, format_duration, parse_duration
from beatward.core.protocol.join import Credential
from beatward.core.protocol.record import Farewell, Health

from . import clock
from .conversation import Conversation
from .enrol import identify
from .pulse import INTERVAL_MAX_NS, Report
from .state import StateFile
from .stride import Bounds

# Ten heartbeats a second find a dead process in a quarter of a second; faster than 10 ms a
# Python process cannot keep its own promise while the collector runs.
INTERVAL_MIN_NS = 10 * MILLISECOND
# What the monitor may wish, unless the settings say otherwise: enough for a fleet to become ten
# times cheaper, and no more than a decade away from what somebody chose for this node.
BOUNDS_FACTOR = 10
# Waits end at least this often: the kernel's timers stand still while a machine is suspended and
# would make the first heartbeat after it late by what was left of the wait.
WAIT_MAX_NS = 5 * SECOND
STOP_TIMEOUT_S = 3.0
JOB_STOP_TIMEOUT_S = 15.0
# What each gauge may be; the wire carries hundredths in 16 bits.
METRICS_MAX = {"cpu": 100.0, "memory": 100.0, "load": 655.34}
STATUSES = {"ok": Health.WELL, "failing": Health.ILL}
TRANSPORTS = ("udp", "http")

Measure = Callable[[], Mapping[str, float]]

log = logging.getLogger("beatward.agent")


class _Vitals:
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
        Raises ValueError with what was expected.
        """
        identity = identify(name, monitor=monitor, token=token, labels=labels, data=data)
        self.identity = replace(identity, job=dict(job or {}))
        self.name = self.identity.name
        self._interval_ns = check_interval(interval)
        self._bounds = check_bounds(self._interval_ns, interval_min, interval_max)
        self._transport = check_transport(transport)
        self._measure = measure
        self._may_warn_of_measure = True
        self._on_mail = on_mail or (lambda: None)
        self._report = Report()
        self._conversation: Conversation | None = None
        self._file: StateFile | None = None
        self._process = 0

    @property
    def credential(self) -> Credential | None:
        """The node's credential, once there is one."""
        return None if self._conversation is None else self._conversation.credential

    @property
    def monitor(self) -> str:
        """The address of the monitor that enrolled this node, or "" before that."""
        return "" if self._conversation is None else self._conversation.monitor

    @property
    def incarnation(self) -> int:
        """The number of this life, 0 before the first."""
        return 0 if self._conversation is None else self._conversation.incarnation

    @property
    def refusal(self) -> str:
        """Why the monitor would not enrol this node, or ""."""
        return "" if self._conversation is None else self._conversation.refusal

    @property
    def is_acknowledged(self) -> bool:
        """Whether the monitor has acknowledged this life."""
        return self._conversation is not None and self._conversation.is_acknowledged

    @property
    def round_trip_ns(self) -> int | None:
        """The last measured time from asking the monitor to its answer, or None."""
        return None if self._conversation is None else self._conversation.round_trip_ns

    @property
    def state_file(self) -> StateFile:
        """What this node remembers between starts."""
        if self._file is None:
            self._file = StateFile(self.identity.data, self.name)
        return self._file

    def report(self, status: str = "ok", metrics: Mapping[str, float] | None = None) -> None:
        """Say how the service is, from the next heartbeat on until the next report.

        status    `ok`, or `failing`: the process lives but the service is ill
        metrics   `cpu` and `memory` in percent, `load` in runnable processes; they take the place
                  of what `measure` found. Nothing else is carried yet, so any other key raises
                  ValueError rather than being dropped silently.
        """
        if status not in STATUSES:
            raise ValueError(f"expected status ok or failing, found {status!r}")
        gauges = {} if metrics is None else _check_metrics(metrics)
        self._report = Report(STATUSES[status], **gauges)

    def _current(self) -> Report:
        report = self._report
        if self._measure is None:
            return report
        try:
            found = _check_metrics(self._measure())
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
    ) -> Conversation:
        return Conversation(
            self.identity,
            self.state_file,
            interval_ns=self._interval_ns,
            bounds=self._bounds,
            transport=self._transport,
            wake=wake,
            forget=forget,
            on_mail=self._on_mail,
        )

    @property
    def _is_inherited(self) -> bool:
        # In a forked child the thread is gone but this object is there, sockets and all.
        return self._process != os.getpid()


class Heart(_Vitals):
    """Beats from a daemon thread until `stop`, the end of `with`, or the program's exit."""

    def start(self) -> Self:
        """Begin a life; returns at once, the rest happens in the background."""
        if self._conversation is not None and not self._is_inherited:
            raise RuntimeError(f"the heart of {self.name} beats already")
        self._process = os.getpid()
        self._farewell: tuple[Farewell, int | None] | None = None
        self._waker = Waker()
        self._acknowledged = threading.Event()
        self.last_turn_ns = clock.now_ns()
        self._conversation = self._new_conversation(self._waker.wake)
        self._thread = threading.Thread(
            target=self._run, args=(self._conversation, self._waker), name="beatward", daemon=True
        )
        self._thread.start()
        atexit.register(self._stop_at_exit)
        return self

    def stop(self, exit_code: int | None = None) -> None:
        """Say goodbye and end this life; waits until it was heard, half a second at most.

        exit_code   of the process that stood behind this heart, or minus its signal: anything
                    but 0 tells the monitor that it has failed. None or 0 is an orderly leave.
        Does nothing when the heart does not beat.
        """
        if self._conversation is None or self._is_inherited:
            return
        atexit.unregister(self._stop_at_exit)
        self._farewell = (Farewell.EXITED if exit_code else Farewell.LEFT, exit_code)
        self._waker.wake()
        self._thread.join(JOB_STOP_TIMEOUT_S if self.identity.job else STOP_TIMEOUT_S)
        self._conversation = None

    def wait_acknowledged(self, timeout: str = "5s") -> bool:
        """Wait until the monitor has acknowledged this life; returns whether it did in time."""
        if self._conversation is None:
            raise RuntimeError(f"the heart of {self.name} does not beat")
        return self._acknowledged.wait(parse_duration(timeout) / SECOND)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(exit_code_of(error))

    def _stop_at_exit(self) -> None:
        # Set by the interpreter when an exception ended the program; in a session at the prompt
        # it is only the last one that was shown.
        has_failed = hasattr(sys, "last_value") and not hasattr(sys, "ps1")
        self.stop(1 if has_failed else None)

    def _run(self, conversation: Conversation, waker: "Waker") -> None:
        conversation.begin(clock.now_ns())
        while not conversation.is_over:
            try:
                self._turn(conversation)
            except Exception:
                # Our own mistake must neither take the program down nor silence the heart.
                log.exception("%s: a turn failed", self.name)
                waker.wait(-1, SECOND)
                continue
            wait_ns = min(conversation.next_turn_ns - clock.now_ns(), WAIT_MAX_NS)
            if not conversation.is_over:
                waker.wait(conversation.fileno(), max(wait_ns, 0))
        conversation.close()
        waker.close()

    def _turn(self, conversation: Conversation) -> None:
        self.last_turn_ns = clock.now_ns()
        conversation.turn(self.last_turn_ns, self._current)
        if conversation.is_acknowledged and not self._acknowledged.is_set():
            self._acknowledged.set()
        if self._farewell is not None:
            conversation.say_goodbye(self.last_turn_ns, *self._farewell)


class AsyncHeart(_Vitals):
    """Beats from the running event loop: `async with AsyncHeart("web-1") as heart:`."""

    async def start(self) -> Self:
        """Begin a life on the running loop."""
        import asyncio  # noqa: PLC0415  a program without it must not pay for it

        if self._conversation is not None:
            raise RuntimeError(f"the heart of {self.name} beats already")
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._over = self._loop.create_future()
        self._watched = -1
        # Its state file is on a disk, which may take its time.
        conversation = await self._loop.run_in_executor(
            None, self._new_conversation, self._wake, self._forget
        )
        self._conversation = conversation
        conversation.begin(clock.now_ns())
        self._turn()
        return self

    async def stop(self, exit_code: int | None = None) -> None:
        """Say goodbye and end this life, as `Heart.stop`."""
        conversation = self._conversation
        if conversation is None or self._is_inherited:
            return
        farewell = Farewell.EXITED if exit_code else Farewell.LEFT
        conversation.say_goodbye(clock.now_ns(), farewell, exit_code)
        self._turn()
        await self._over
        self._conversation = None
        await self._loop.run_in_executor(None, conversation.close)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop(exit_code_of(error))

    def _turn(self) -> None:
        conversation = self._conversation
        if conversation is None or self._is_inherited or self._over.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        wait_ns = SECOND
        try:
            next_ns = conversation.turn(clock.now_ns(), self._current)
            wait_ns = min(next_ns - clock.now_ns(), WAIT_MAX_NS)
        except Exception:
            log.exception("%s: a turn failed", self.name)
        if conversation.is_over:
            self._forget(self._watched)
            self._over.set_result(None)
            return
        self._watch(conversation.fileno())
        self._timer = self._loop.call_later(max(wait_ns, 0) / SECOND, self._turn)

    def _watch(self, fileno: int) -> None:
        if fileno != self._watched:
            self._forget(self._watched)
            if fileno >= 0:
                self._loop.add_reader(fileno, self._turn)
            self._watched = fileno

    def _forget(self, fileno: int) -> None:
        if fileno >= 0 and fileno == self._watched:
            self._loop.remove_reader(fileno)
            self._watched = -1

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._turn)
        except RuntimeError:
            log.debug("the loop has ended")


class Waker:
    """Lets one thread wait for a socket, for a time, and for a call of `wake` from elsewhere."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)  # noqa: FBT003  its only parameter
        self._writer.setblocking(False)  # noqa: FBT003  its only parameter

    def wake(self) -> None:
        """End the wait, or the next one if there is none now."""
        try:
            self._writer.send(b"\0")
        except OSError:
            log.debug("woken already, or over")

    def wait(self, fileno: int, timeout_ns: int) -> None:
        """Wait until the descriptor (unless it is -1) is readable, `wake`, or the time is up."""
        watched = [self._reader.fileno(), *([fileno] if fileno >= 0 else [])]
        timeout_ms = -(-timeout_ns // MILLISECOND)
        if hasattr(select, "poll"):
            # Not select, which fails in a program that has a thousand files open.
            poll = select.poll()
            for number in watched:
                poll.register(number, select.POLLIN)
            poll.poll(timeout_ms)
        else:
            select.select(watched, [], [], timeout_ms / 1000)
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


def exit_code_of(error: BaseException | None) -> int | None:
    """Say with which exit code a program ends that is left by this exception."""
    if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit):
        return None
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code
        return 1
    # CancelledError is how a loop ends its tasks in order; asyncio is not imported to say so.
    return 1 if isinstance(error, Exception) else None


def check_transport(transport: str) -> str:
    """Return a transport that there is, or raise ValueError."""
    if transport not in TRANSPORTS:
        raise ValueError(f"expected transport udp or http, found {transport!r}")
    return transport


def check_interval(interval: str) -> int:
    """Return an interval in nanoseconds that a heart can keep, or raise ValueError."""
    try:
        interval_ns = parse_duration(str(interval))
    except ValueError as error:
        raise ValueError(f"expected an interval as 250ms or 2s, found {interval!r}") from error
    if interval_ns % MILLISECOND or not INTERVAL_MIN_NS <= interval_ns <= INTERVAL_MAX_NS:
        raise ValueError(
            f"expected an interval of whole milliseconds, 10ms to 49d, found {interval!r}"
        )
    return interval_ns


def check_bounds(interval_ns: int, interval_min: str | None, interval_max: str | None) -> Bounds:
    """Return what the monitor may wish an interval to be, or raise ValueError."""
    tenth_ns = max(interval_ns // BOUNDS_FACTOR // MILLISECOND * MILLISECOND, INTERVAL_MIN_NS)
    min_ns = tenth_ns if interval_min is None else check_interval(interval_min)
    most_ns = min(BOUNDS_FACTOR * interval_ns, INTERVAL_MAX_NS)
    max_ns = most_ns if interval_max is None else check_interval(interval_max)
    if not min_ns <= interval_ns <= max_ns:
        own = format_duration(interval_ns)
        bounds = f"{format_duration(min_ns)} to {format_duration(max_ns)}"
        raise ValueError(
            f"expected interval_min <= interval <= interval_max, found {own} and {bounds}"
        )
    return Bounds(min_ns, max_ns)


def _check_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    for key, value in metrics.items():
        if key not in METRICS_MAX:
            known = ", ".join(METRICS_MAX)
            raise ValueError(f"metrics: {key!r} is not carried; expected {known}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 <= value <= METRICS_MAX[key]:
            raise ValueError(f"metrics: {key}: found {value!r}, expected 0 to {METRICS_MAX[key]}")
    return dict(metrics)
