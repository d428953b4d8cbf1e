"""`beatward doctor`: look at this machine as a monitor would, and say what to do.

Each check looks and changes nothing. `fail` is what keeps a monitor from working, `warn` what
will surprise an operator later.
"""

import contextlib
import os
import shutil
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from beatward.actions.fence import find_agent
from beatward.cli.client import Client, Place, find_monitor
from beatward.cli.screen import console, print_json
from beatward.config import Settings, load
from beatward.core.protocol.keys import KEY_SIZE
from beatward.core.tags import FASTEST
from beatward.errors import BeatwardError, MonitorUnreachable
from beatward.values import split_address

# From here on SQLite's WAL is safe with several writers (its release notes, March 2026).
_SQLITE_SAFE = (3, 51, 3)
_FREE_FEW = 1024**3
_FREE_NONE = 64 * 1024**2
# One descriptor a connection or stream, and some of our own.
_DESCRIPTORS_FEW = 4096
_DESCRIPTORS_NONE = 256
# A monitor on this machine answers in milliseconds; a stranger may never.
_ANSWER_SECONDS = 1.0
_SPEAKERS_SHOWN = 10
_SLOW_CLOCKS = ("jiffies", "hpet", "acpi_pm", "pit")

OK, WARN, FAIL = "ok", "warn", "fail"
_COLOURS = {OK: "green", WARN: "yellow", FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `advice` says what to do when it is not ok."""

    check: str
    result: str
    found: str
    advice: str = ""


@click.command("doctor")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file of the monitor.",
)
@click.option(
    "--data",
    envvar="BEATWARD_DATA",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data folder; stronger than the settings file.",
)
@click.option("--monitor", "monitor_url", metavar="URL", help="The monitor to ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(
    path: Path | None, data: Path | None, monitor_url: str | None, as_json: bool
) -> None:
    """Check this machine and the monitor on it; exit code 1 when something fails."""
    settings = load(path)
    folder = data or settings.data_folder()
    own = None if path is None else Place(_url(settings.monitor.http), found=str(path))
    place = find_monitor(monitor_url, folder, own=own)
    found = list(_examine(settings, folder, place))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        _show(found)
    if any(one.result == FAIL for one in found):
        click.get_current_context().exit(1)


def _examine(settings: Settings, folder: Path, place: Place) -> Iterator[Finding]:
    yield check_python()
    yield check_tags(FASTEST.name)
    yield check_sqlite(sqlite3.sqlite_version_info)
    yield from check_folder(folder)
    yield from check_key(folder / "master.key")
    yield check_address(settings.monitor.http, "http", socket.SOCK_STREAM)
    yield check_address(settings.monitor.udp, "udp", socket.SOCK_DGRAM)
    yield check_buffer(settings.monitor.receive_buffer)
    yield check_clock()
    yield check_descriptors()
    yield from check_fences(settings)
    monitor = check_monitor(place)
    yield monitor
    if monitor.result != FAIL:
        yield from check_services(place)
        yield from check_speakers(place)


def check_python() -> Finding:
    """Look at the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036  an install may have been forced
        return Finding("python", FAIL, version, "install Python 3.11 or newer")
    return Finding("python", OK, version)


def check_tags(name: str) -> Finding:
    """Look how heartbeats would be authenticated; all ways are right, one is slow."""
    if name == "python":
        # No advice: below tens of thousands of heartbeats a second it makes no difference.
        found = "python: the extension is not built; with a C compiler and Python.h it would be"
        return Finding("tags", OK, f"{found}, and take several times as many heartbeats")
    return Finding("tags", OK, f"{name}, by the compiled extension")


def check_sqlite(version: tuple[int, ...]) -> Finding:
    """Look at the SQLite that Python was built with."""
    shown = ".".join(map(str, version))
    if version < _SQLITE_SAFE:
        advice = (
            "before 3.51.3 a database in WAL mode can be damaged when two connections write; the "
            "monitor has exactly one, so let no other program write to journal.sqlite3"
        )
        return Finding("sqlite", WARN, shown, advice)
    return Finding("sqlite", OK, shown)


def check_folder(folder: Path) -> Iterator[Finding]:
    """Look at the data folder: there, ours, closed to others, room left."""
    if not folder.exists():
        above = next((one for one in folder.parents if one.exists()), Path("/"))
        if os.access(above, os.W_OK):
            yield Finding("data folder", OK, f"{folder} is not there yet; it will be made")
        else:
            advice = "make it and give it to the monitor's user, or choose another with --data"
            yield Finding("data folder", FAIL, f"{folder} cannot be made in {above}", advice)
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        advice = "run this as the monitor's user, or give the folder to this one"
        yield Finding("data folder", FAIL, f"{folder} is not writable for this user", advice)
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        yield Finding(
            "data folder", FAIL, f"{folder} has mode {mode:03o}", f"run: chmod 700 {folder}"
        )
    else:
        yield Finding("data folder", OK, f"{folder}, mode {mode:03o}")
    free = shutil.disk_usage(folder).free
    shown = f"{free / 1024**3:.1f} GiB free"
    advice = "make room: while the disk is full, decisions are held back and nothing is done"
    grade = FAIL if free < _FREE_NONE else WARN if free < _FREE_FEW else OK
    yield Finding("free space", grade, shown, "" if grade == OK else advice)


def check_key(path: Path) -> Iterator[Finding]:
    """Look at the master key without showing it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        yield Finding("master key", OK, f"{path} is not there yet; it will be made")
        return
    except PermissionError:
        yield Finding(
            "master key", FAIL, f"{path} cannot be seen", "run this as the monitor's user"
        )
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        advice = f"run: chmod 600 {path}; if others could read it, make a new one and enrol again"
        yield Finding("master key", FAIL, f"{path} has mode {mode:03o}", advice)
    elif found.st_size != KEY_SIZE:
        advice = "restore it from a backup; with another key every node has to enrol again"
        yield Finding("master key", FAIL, f"{path} has {found.st_size} bytes", advice)
    else:
        yield Finding("master key", OK, f"{path}, mode {mode:03o}")


def check_address(address: str, name: str, kind: socket.SocketKind) -> Finding:
    """Look whether the monitor could listen there, or who does."""
    host, port = split_address(address)
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=kind)[0]
        with socket.socket(family, kind) as trial:
            if kind == socket.SOCK_STREAM:
                # As the monitor does: connections of a life before it are no hindrance.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(target)
    except PermissionError:
        advice = "choose a port above 1023, or give the monitor CAP_NET_BIND_SERVICE"
        return Finding(name, FAIL, f"{address} is not allowed for this user", advice)
    except OSError as error:
        return _occupied(address, name, error)
    return Finding(name, OK, f"{address} is free")


def _occupied(address: str, name: str, error: OSError) -> Finding:
    _, port = split_address(address)
    client = Client(Place(_url(address)), timeout_seconds=_ANSWER_SECONDS)
    with contextlib.closing(client), contextlib.suppress(BeatwardError):
        client.get("/healthz")
        return Finding(name, OK, f"{address} is taken by a beatward monitor that answers")
    advice = f"see who has it: ss -lnp | grep {port}; or choose another address in [monitor]"
    return Finding(name, FAIL, f"{address} cannot be had: {error.strerror or error}", advice)


def _url(address: str) -> str:
    """Return how this machine itself reaches what listens at an address."""
    host, port = split_address(address)
    shown = f"[{host}]" if ":" in host else host
    local = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(shown, shown)  # noqa: S104  compared only
    return f"http://{local}:{port}"


def check_buffer(wanted: int) -> Finding:
    """Look whether the kernel grants the receive buffer of the settings."""
    path = Path("/proc/sys/net/core/rmem_max")
    try:
        granted = int(path.read_text("ascii"))
    except (OSError, ValueError):
        return Finding(
            "receive buffer", OK, f"{wanted:,} bytes wanted; this system has no rmem_max"
        )
    found = f"{wanted:,} bytes wanted, net.core.rmem_max = {granted:,}"
    if granted >= wanted:
        return Finding("receive buffer", OK, found)
    if os.geteuid() == 0:
        return Finding("receive buffer", OK, f"{found}, which root may exceed")
    advice = f"else bursts are dropped by the kernel; run: sysctl -w net.core.rmem_max={wanted}"
    return Finding("receive buffer", WARN, found, advice)


def check_clock() -> Finding:
    """Look at the clocks that heartbeats are stamped with."""
    has_boottime = hasattr(time, "CLOCK_BOOTTIME")
    path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    try:
        source = path.read_text("ascii").strip()
    except OSError:
        source = "unknown"
    found = f"source {source}, CLOCK_BOOTTIME {'is there' if has_boottime else 'is missing'}"
    if source in _SLOW_CLOCKS:
        advice = "a slow clock costs microseconds a reading; prefer tsc or the hypervisor's clock"
        return Finding("clock", WARN, found, advice)
    if not has_boottime:
        return Finding("clock", WARN, found, "agents here do not count time spent suspended")
    return Finding("clock", OK, found)


def check_descriptors() -> Finding:
    """Look at how many files and connections one process may have."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return Finding("open files", OK, "no limit is known on this system")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS_FEW:
        return Finding("open files", OK, f"at most {soft:,}")
    advice = "every HTTP connection needs one; run: ulimit -n 65536, or LimitNOFILE= in systemd"
    return Finding("open files", FAIL if soft < _DESCRIPTORS_NONE else WARN, f"{soft:,}", advice)


def check_monitor(place: Place) -> Finding:
    """Ask the monitor how it is."""
    client = Client(place)
    with contextlib.closing(client):
        try:
            health = client.get("/healthz")
        except MonitorUnreachable as error:
            # Unless the user named it, it may just not have been started yet.
            result = FAIL if place.found in ("--monitor", "BEATWARD_MONITOR") else WARN
            return Finding("monitor", result, str(error), "start it: beatward monitor")
        except BeatwardError as error:
            return Finding("monitor", FAIL, str(error))
    found = f"{place.url} is {health['status']}"
    result = {"ok": OK, "degraded": WARN}.get(health["status"], FAIL)
    return Finding("monitor", result, found, "; ".join(health["reasons"]))


def check_fences(settings: Settings) -> Iterator[Finding]:
    """Look whether the fence agents of the settings are on this machine."""
    for name, action in sorted(settings.action.items()):
        if action.kind == "fence":
            path = find_agent(action.program or "")
            if path is None:
                advice = "without it no node is fenced; Debian has it in the package fence-agents"
                yield Finding(f"fence {name}", FAIL, f"{action.program} is not here", advice)
            else:
                yield Finding(f"fence {name}", OK, path)


def check_services(place: Place) -> Iterator[Finding]:
    """Ask the monitor of services whose roles have no holder."""
    client = Client(place)
    with contextlib.closing(client), contextlib.suppress(BeatwardError):
        summary = client.get("/v1/status")["services"]
        for one in summary["remarks"]:
            advice = f"see: beatward services {one['service']}"
            yield Finding(f"service {one['service']}", WARN, one["remark"], advice)
        total = summary["counts"]["total"]
        if total and not summary["remarks"]:
            yield Finding("services", OK, f"{total}, and each is served")


def check_speakers(place: Place) -> Iterator[Finding]:
    """Ask the monitor which nodes speak and are not watched."""
    client = Client(place)
    with contextlib.closing(client), contextlib.suppress(BeatwardError):
        unknown = client.get("/v1/status")["unknown"]
        for one in unknown["speakers"][:_SPEAKERS_SHOWN]:
            yield Finding("unknown speaker", WARN, one["node"] or one["id"], one["sentence"])
        rest = unknown["count"] - _SPEAKERS_SHOWN
        if rest > 0:
            yield Finding(
                "unknown speaker", WARN, f"and {rest} more", "see: beatward status --json"
            )


def _show(found: list[Finding]) -> None:
    screen = console()
    table = Table.grid(padding=(0, 2))
    for one in found:
        table.add_row(Text(one.result, style=_COLOURS[one.result]), one.check, Text(one.found))
        if one.advice:
            table.add_row("", "", Text(one.advice, style=_COLOURS[one.result]))
    screen.print(table)
