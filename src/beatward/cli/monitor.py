"""`beatward monitor`: run the monitor in the foreground until SIGTERM or Ctrl-C."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import click

from beatward.agent.systemd import notify
from beatward.config import Settings, load
from beatward.server.logs import LineLimit, StderrLines
from beatward.server.program import Endpoints, serve

_log = logging.getLogger("beatward")


@click.command("monitor")
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file (TOML); without it safe local defaults hold.",
)
@click.option(
    "--data",
    envvar="BEATWARD_DATA",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for keys and journal; stronger than the settings file. Also BEATWARD_DATA.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="How much it says of itself on stderr.",
)
def monitor_command(path: Path | None, data: Path | None, log_level: str) -> None:
    """Listen for heartbeats, judge silence, act.

    Nodes are reached over UDP, everything else over HTTP; by default both on 127.0.0.1:7227.
    """
    # Our own lines at the level asked for; of the libraries only what is wrong: one of them would
    # write a line a webhook, with its address in it.
    lines = StderrLines()
    lines.addFilter(LineLimit())
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    logging.getLogger("beatward").setLevel(log_level.upper())
    try:
        _start(path, data)
    finally:
        lines.close()


def _start(path: Path | None, data: Path | None) -> None:
    settings = load(path)
    if data is not None:
        room = settings.monitor.model_copy(update={"data": data})
        settings = settings.model_copy(update={"monitor": room})
    asyncio.run(_run(settings, str(path or "defaults")))


async def _run(settings: Settings, file: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    had_terminal = _has_terminal()
    # Under nohup it is ignored already, and stays so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, lambda: _on_hangup(stop, had_terminal=had_terminal))
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, _tell_no_reload, number)
    await serve(settings, file=file, stop=stop, on_ready=_announce)
    notify("STOPPING=1")
    _log.info("the monitor has stopped; its journal is complete")


def _on_hangup(stop: asyncio.Event, *, had_terminal: bool) -> None:
    """End in order when the terminal was closed; else say that nothing is read anew.

    The kernel takes the terminal away before it sends the signal, so its absence tells the two
    apart: a hand or logrotate that sends SIGHUP to a monitor must not end it.
    """
    if had_terminal and not _has_terminal():
        _log.info("the terminal was closed (SIGHUP): the monitor ends")
        stop.set()
    else:
        _tell_no_reload(signal.SIGHUP)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _tell_no_reload(number: signal.Signals) -> None:
    _log.warning(
        "%s changes nothing: settings are read at the start only, and no log file is open. "
        "To apply changed settings, `beatward config check` them and restart the monitor: "
        "systemctl restart, or SIGTERM and a new start",
        number.name,
    )


def _announce(endpoints: Endpoints) -> None:
    _log.info(
        "listening: heartbeats on udp %s, API on http://%s/docs; data in %s; %d nodes known",
        endpoints.udp,
        endpoints.http,
        endpoints.data,
        endpoints.known_count,
    )
    notify("READY=1")
