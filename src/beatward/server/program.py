"""The monitor as a program: opened in order, run until it is told to stop, closed in reverse.

    folder, keys, store ─► doors ─► machine restored ─► journal, drivers ─► wheel ─► HTTP

Three threads: the wheel, the journal's writer, and this one with the asyncio loop (HTTP, drivers).
They exchange frozen batches over bounded queues. The doors are opened before the wheel turns and
HTTP last, so who can reach the API finds a monitor that works.
"""

import asyncio
import contextlib
import gc
import json
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beatward.actions import DRIVERS, AgentQueue, Dispatcher, Driver, Surroundings
from beatward.config import Settings
from beatward.core.entry import Entry, Event
from beatward.core.monitor import Monitor
from beatward.core.order_kinds import NotifyAgent
from beatward.core.protocol import join, keys
from beatward.core.protocol.record import SESSION_MAX
from beatward.cycle import Cycle
from beatward.errors import ConfigError, JournalIncomplete
from beatward.private_file import write_private
from beatward.server.bell import Bell
from beatward.server.clock import SystemClock
from beatward.server.identity import load_or_create
from beatward.server.inbox import ServerInbox
from beatward.server.job_scheduler import JobScheduler
from beatward.server.key_book import KeyBook
from beatward.server.logs import ChangeLog, on_loop_trouble
from beatward.server.receipts import Receipts, TrackedJournal
from beatward.server.schedule import TurnSchedule
from beatward.server.settings import core_settings, job_orders
from beatward.server.web_adapters import HealthAdapter, MachineAdapter, decorator
from beatward.server.wheel import Wheel
from beatward.store.journal import JournalWriter
from beatward.store.reader import JournalReader
from beatward.store.sqlite import SqliteStore
from beatward.transport.udp_sockets import UdpSockets, open_doors
from beatward.values import split_address
from beatward.web.app import create_app
from beatward.web.backend import Backend, MonitorIdentity
from beatward.web.journal_signal import JournalSignal
from beatward.web.listener import Listener, connections_allowed

JOURNAL_FILE = "journal.sqlite3"
LOCAL_FILE = "local.json"
# Kinds of entries that are named when the journal could not be written to its end.
_KINDS_MAX = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running monitor can be reached; `udp` and `http` with their real ports."""

    udp: str
    http: str
    data: Path
    known_count: int


@dataclass(slots=True)
class _Opened:
    """What was opened so far; closed in reverse also when the next step fails."""

    clock: SystemClock
    master: bytes
    key_book: KeyBook
    store: SqliteStore
    doors: UdpSockets
    bell: Bell
    listener: socket.socket
    machine: Monitor
    session: int
    # Of what the journal knew. The machine has taken it up, so a million rows are not held twice.
    sequence: int
    known_count: int
    action_keys: tuple[str, ...]


async def serve(
    settings: Settings,
    *,
    file: str,
    stop: asyncio.Event,
    on_ready: Callable[[Endpoints], None],
) -> None:
    """Run a monitor until `stop` is set.

    file      of the settings, for messages
    on_ready  called once everything answers
    Raises ConfigError when an address cannot be had, PermanentError when the data folder is in use
    or damaged, JournalIncomplete when something decided could not be written at the end, and
    whatever broke the wheel.
    """
    asyncio.get_running_loop().set_exception_handler(on_loop_trouble)
    with _opened(settings, file) as opened:
        await _serve(settings, opened, stop=stop, on_ready=on_ready)


@contextlib.contextmanager
def _opened(settings: Settings, file: str) -> Iterator[_Opened]:
    with contextlib.ExitStack() as stack:
        clock = SystemClock()
        data = settings.data_folder()
        _make_folder(data, file)
        master, key_book = load_or_create(data), KeyBook(data)
        store = SqliteStore(data / JOURNAL_FILE)
        stack.callback(store.close)
        monitor = settings.monitor
        doors = open_doors(
            monitor.udp,
            monitor.receive_buffer,
            clock.now_ns,
            wall_ns=clock.wall_ns if monitor.kernel_timestamps else None,
            count=monitor.doors,
            prefilter=monitor.prefilter,
            file=file,
        )
        stack.callback(doors.close)
        bell = Bell(doors.filenos(), clock.now_ns, pause_limit_ns=monitor.pause_limit)
        stack.callback(bell.close)
        listener = _listen(monitor.http, file)
        stack.callback(listener.close)
        session = 1 + secrets.randbelow(SESSION_MAX)
        machine = Monitor(
            core_settings(settings), master=master, session=session, epochs=key_book.epochs()
        )
        recovered = store.load(wall_offset_ns=clock.wall_ns() - clock.now_ns())
        machine.restore(recovered, clock.now_ns())
        sequence, known_count = recovered.sequence, len(recovered.nodes)
        action_keys = tuple(action.key for action in recovered.actions)
        del recovered
        # What is there now stays for good; looking through it for garbage would stop the wheel.
        gc.collect()
        gc.freeze()
        yield _Opened(
            clock=clock,
            master=master,
            key_book=key_book,
            store=store,
            doors=doors,
            bell=bell,
            listener=listener,
            machine=machine,
            session=session,
            sequence=sequence,
            known_count=known_count,
            action_keys=action_keys,
        )


async def _serve(
    settings: Settings,
    opened: _Opened,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[Endpoints], None],
) -> None:
    loop = asyncio.get_running_loop()
    inbox = ServerInbox(opened.doors, opened.clock.now_ns, opened.bell)
    journal_signal = JournalSignal()
    broken: list[BaseException] = []

    def fail(error: BaseException) -> None:
        broken.append(error)
        loop.call_soon_threadsafe(stop.set)

    drivers, clock = _drivers(settings, opened.clock, inbox), opened.clock
    dispatcher = Dispatcher(
        settings.action, inbox.put_outcome, drivers=drivers, now_ns=clock.now_ns
    )
    await dispatcher.retain(opened.action_keys)
    receipts = Receipts(
        receive=inbox.put_receipt,
        publish=lambda sequence: _tell(loop, journal_signal, sequence),
        forget=dispatcher.forget,
    )
    writer = JournalWriter(
        opened.store, receipts.written, now_ns=clock.now_ns, written=opened.sequence
    )
    job_scheduler = _job_scheduler(settings, clock, inbox)
    journal = TrackedJournal(writer, receipts, ChangeLog())
    cycle = _cycle(opened, inbox, journal, dispatcher, job_scheduler)
    wheel = _wheel(cycle, opened, inbox, tick_ns=settings.monitor.tick, fail=fail)
    endpoints = _endpoints(settings, opened)
    health = _health(settings, opened, wheel, writer, job_scheduler)
    machine = MachineAdapter(wheel, inbox, clock)
    reader = JournalReader(endpoints.data / JOURNAL_FILE)
    identity = _identity(settings, opened, endpoints)
    mail, key_book = _agent_queue(drivers), opened.key_book
    backend = Backend(machine, reader, mail, health, identity, key_book, journal_signal)
    _write_local(endpoints, opened.master)
    wheel.start()
    try:
        await _serve_http(backend, opened.listener, stop=stop, ready=lambda: on_ready(endpoints))
    finally:
        wheel.stop()
        _obey_the_rest(cycle, inbox, broken)
        job_scheduler.stop()
        await dispatcher.close()
        await asyncio.to_thread(writer.close)
    _raise_what_is_wrong(writer, broken)


def _obey_the_rest(cycle: Cycle, inbox: ServerInbox, broken: list[BaseException]) -> None:
    """Take turns until no order waits: each was answered with 202 before HTTP was closed."""
    try:
        while inbox.has_orders() and not broken:
            cycle.turn()
    except Exception as error:  # noqa: BLE001  the caller ends the program
        _log.exception("a last turn of the wheel failed")
        broken.append(error)


def _raise_what_is_wrong(writer: JournalWriter, broken: list[BaseException]) -> None:
    incomplete = _incomplete(writer)
    if broken:
        if incomplete is not None:
            _log.error("%s", incomplete)
        raise broken[0]
    if incomplete is not None:
        raise incomplete


def _incomplete(writer: JournalWriter) -> JournalIncomplete | None:
    """Return what a closed journal could not write, as an error that says it."""
    left = writer.unwritten()
    if not left:
        return None
    kinds = Counter(_kind(entry) for entry in left)
    named = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(_KINDS_MAX))
    more = f", and {len(kinds) - _KINDS_MAX} kinds more" if len(kinds) > _KINDS_MAX else ""
    first = next((entry.explanation for entry in left if entry.explanation), "")
    count = "1 entry is" if len(left) == 1 else f"{len(left):,} entries are"
    return JournalIncomplete(
        f"the monitor has stopped, and {count} not in its journal: {named}{more}"
        f"{f'; the first: {first}' if first else ''}. The disk's last word was: "
        f"{writer.health().error or 'none, it hangs'}. After a restart the monitor does not know "
        "of this: what was ordered has to be ordered again"
    )


def _kind(entry: Entry) -> str:
    return f"{entry.event} {entry.status}" if entry.event == Event.TRANSITION else str(entry.event)


def _job_scheduler(settings: Settings, clock: SystemClock, inbox: ServerInbox) -> JobScheduler:
    """Start what tells of due instants, and declare the jobs of the settings."""
    for order in job_orders(settings):
        inbox.put_order(order)
    job_scheduler = JobScheduler(clock, inbox.put_dues)
    job_scheduler.start()
    return job_scheduler


def _health(
    settings: Settings,
    opened: _Opened,
    wheel: Wheel,
    writer: JournalWriter,
    job_scheduler: JobScheduler,
) -> HealthAdapter:
    return HealthAdapter(
        wheel,
        writer,
        opened.doors,
        job_scheduler,
        holds=lambda: opened.machine.state.holds,
        speakers=lambda: opened.machine.unwatched,
        conflicts=lambda: opened.machine.conflicts,
        wanted_buffer=settings.monitor.receive_buffer,
        failures=lambda: opened.machine.failures,
        actions=sorted(settings.action),
    )


def _cycle(
    opened: _Opened,
    inbox: ServerInbox,
    journal: TrackedJournal,
    dispatcher: Dispatcher,
    job_scheduler: JobScheduler,
) -> Cycle:
    return Cycle(
        opened.machine,
        clock=opened.clock,
        inbox=inbox,
        journal=journal,
        sender=opened.doors,
        drivers=dispatcher,
        timetable=job_scheduler,
    )


def _wheel(
    cycle: Cycle,
    opened: _Opened,
    inbox: ServerInbox,
    *,
    tick_ns: int,
    fail: Callable[[BaseException], None],
) -> Wheel:
    doors = opened.doors
    return Wheel(
        cycle,
        opened.clock.now_ns,
        bell=opened.bell,
        schedule=TurnSchedule(tick_ns, buffer=doors.receive_buffer, is_stamped=doors.is_stamped),
        received=lambda: doors.datagrams_count,
        decorate=decorator(doors, inbox),
        on_failure=fail,
    )


async def _serve_http(
    backend: Backend,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    server = Listener(
        create_app(backend), backend.journal_signal, connections_max=connections_allowed()
    )
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn has no event
            await asyncio.sleep(0.005)
        ready()
        await stop.wait()
        server.end()


def _drivers(settings: Settings, clock: SystemClock, inbox: ServerInbox) -> dict[str, Driver]:
    surroundings = Surroundings(
        folder=settings.data_folder() / "actions",
        now_ns=clock.now_ns,
        wall_ns=clock.wall_ns,
        notify_agent=lambda node: _order_mail(inbox, node),
    )
    return {kind: make(surroundings) for kind, make in DRIVERS.items()}


def _agent_queue(drivers: dict[str, Driver]) -> AgentQueue:
    queue = drivers["agent"]
    assert isinstance(queue, AgentQueue)
    return queue


def _order_mail(inbox: ServerInbox, node: str) -> None:
    inbox.put_order(NotifyAgent(node))


def _tell(loop: asyncio.AbstractEventLoop, journal_signal: JournalSignal, sequence: int) -> None:
    # While the program closes, the loop may be gone before the last entry is written.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(journal_signal.publish, sequence)


def _make_folder(data: Path, file: str) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            file, "monitor.data", str(data), f"a folder that can be made and written: {error}"
        ) from error


def _listen(address: str, file: str) -> socket.socket:
    host, port = split_address(address)
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(2048)
    except OSError as error:
        if listener is not None:
            listener.close()
        remedy = (
            f"an address that is free: {error.strerror}; `ss -tlpn` names who has it, or choose "
            "another"
        )
        raise ConfigError(file, "monitor.http", address, remedy) from error
    return listener


def _endpoints(settings: Settings, opened: _Opened) -> Endpoints:
    host, port = opened.listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return Endpoints(
        udp=settings.monitor.advertise or opened.doors.address,
        http=f"{shown}:{port}",
        data=settings.data_folder().absolute(),
        known_count=opened.known_count,
    )


def _identity(settings: Settings, opened: _Opened, endpoints: Endpoints) -> MonitorIdentity:
    host = opened.listener.getsockname()[0]
    return MonitorIdentity(
        master=opened.master,
        name=settings.monitor.name,
        session=opened.session,
        udp=endpoints.udp,
        loopback=host == "::1" or host.startswith("127."),
        metrics_per_node=settings.monitor.metrics_per_node,
    )


def _write_local(endpoints: Endpoints, master: bytes) -> None:
    """Leave what an agent or a command of the same user needs, readable by no other user."""
    content = {
        "monitor": f"http://{_reachable(endpoints.http)}",
        "token": join.new_token(master, serial=secrets.token_hex(4), replaces=True),
        "api_token": keys.api_token(master),
    }
    # Not through to the disk: each start writes it anew.
    write_private(endpoints.data / LOCAL_FILE, json.dumps(content, indent=1), is_durable=False)


def _reachable(address: str) -> str:
    """Turn a wildcard listener into an address that this machine can call."""
    host, port = split_address(address)
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104  compared, not bound
    return f"{local}:{port}" if local else address
