"""`beatward bench`: measure this machine with the product as it runs in production.

Every subcommand starts a monitor of its own on a scratch folder and free ports, and leaves nothing
behind; but for `detectors`, which replays simulated heartbeats and starts none. Exit code 1 when a
promise of the run did not hold, such as that nothing is lost.
"""

import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from beatward.cli.screen import console, print_json
from beatward.core.instants import MILLISECOND, SECOND, parse_duration

if TYPE_CHECKING:
    from beatward.bench.report import BenchReport, Tell

Command = TypeVar("Command", bound=Callable[..., Any])

_NODES = click.IntRange(1, 1_000_000)
_RATE = click.FloatRange(1, 5_000_000)
_RECORDS = click.IntRange(1, 22)


@click.group("bench")
def bench_command() -> None:
    """Measure this machine: heartbeats a second, lateness, memory, the API, agents.

    On loopback, with a monitor and a fleet of its own; takes some seconds to minutes and two
    cores. Read ratios rather than times, and look at what others use meanwhile.
    """


def _measuring(default_seconds: float) -> Callable[[Command], Command]:
    """Give a subcommand --seconds and --json; it gets `folder` and `tell`."""

    def wrap(command: Command) -> Command:
        @click.option(
            "--seconds",
            default=default_seconds,
            show_default=True,
            type=click.FloatRange(0.2, 3600),
            help="Length of one measurement.",
        )
        @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        @functools.wraps(command)
        def wrapped(as_json: bool, **rest: Any) -> None:
            _linux_only()
            with (
                tempfile.TemporaryDirectory(prefix="beatward-bench-") as folder,
                _progress() as tell,
            ):
                report: BenchReport = command(folder=Path(folder), tell=tell, **rest)
            if not show(report, as_json=as_json):
                click.get_current_context().exit(1)

        return wrapped  # type: ignore[return-value]

    return wrap


@bench_command.command("ingest")
@click.option("--nodes", default=20_000, show_default=True, type=_NODES, help="How many beat.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=_RATE,
    default=(50_000, 100_000, 200_000),
    show_default=True,
    help="Heartbeats a second; may be given several times.",
)
@click.option(
    "--records", default=1, show_default=True, type=_RECORDS, help="Heartbeats in a datagram."
)
@click.option(
    "--asks/--no-asks",
    default=True,
    show_default=True,
    help="Nodes ask for an acknowledgement every 10 s, as agents do.",
)
@_measuring(3)
def ingest_command(
    nodes: int, rates: tuple[float, ...], records: int, asks: bool, **how: Any
) -> "BenchReport":
    """Send heartbeats through the whole monitor, beside a loop that only receives."""
    from beatward.bench import ingest

    seconds = how.pop("seconds")
    options = ingest.IngestOptions(
        nodes, tuple(sorted(rates)), seconds, per_datagram=records, asks=asks
    )
    return ingest.measure(options, **how)


@bench_command.command("lateness")
@click.option("--nodes", default=10_000, show_default=True, type=_NODES, help="How many beat.")
@click.option(
    "--rate",
    type=_RATE,
    help="Heartbeats a second, of all together; default: one of each node.",
)
@click.option(
    "--stop", "stopped", default=200, show_default=True, type=_NODES, help="How many fall silent."
)
@click.option(
    "--records", default=1, show_default=True, type=_RECORDS, help="Heartbeats in a datagram."
)
@click.option(
    "--asks/--no-asks",
    default=True,
    show_default=True,
    help="Nodes ask for an acknowledgement every 10 s, as agents do.",
)
@_measuring(10)
def lateness_command(nodes: int, rate: float | None, stopped: int, **how: Any) -> "BenchReport":
    """Let some of a fleet fall silent: is every one found, how late, and no other node?"""
    from beatward.bench import lateness

    seconds, records, asks = how.pop("seconds"), how.pop("records"), how.pop("asks")
    if stopped > nodes:
        raise click.BadParameter(f"at most --nodes, which is {nodes}", param_hint="--stop")
    options = lateness.LatenessOptions(
        nodes, rate or nodes, seconds, stopped, per_datagram=records, asks=asks
    )
    return lateness.measure(options, **how)


@bench_command.command("memory")
@click.option(
    "--nodes",
    "counts",
    multiple=True,
    type=_NODES,
    default=(1_000, 10_000, 100_000),
    show_default=True,
    help="How many are known; may be given several times.",
)
@_measuring(2)
def memory_command(counts: tuple[int, ...], **how: Any) -> "BenchReport":
    """Measure what a known node costs in memory, and how long a restart takes."""
    from beatward.bench import memory

    return memory.measure(counts, **how)


@bench_command.command("api")
@click.option("--nodes", default=20_000, show_default=True, type=_NODES, help="How many beat.")
@click.option(
    "--rate", default=100_000, show_default=True, type=_RATE, help="Heartbeats a second meanwhile."
)
@click.option(
    "--records", default=1, show_default=True, type=_RECORDS, help="Heartbeats in a datagram."
)
@_measuring(10)
def api_command(nodes: int, rate: float, records: int, **how: Any) -> "BenchReport":
    """Ask the API, and wait for events as a follower, while a fleet beats."""
    from beatward.bench import api

    return api.measure(api.ApiOptions(nodes, rate, how.pop("seconds"), records), **how)


@bench_command.command("http")
@click.option(
    "--nodes", default=2_000, show_default=True, type=_NODES, help="How many beat for themselves."
)
@click.option(
    "--relayed",
    default=32_768,
    show_default=True,
    type=click.IntRange(2_000, 1_000_000),
    help="How many more beat through two relays; fewer than by default may beat too often.",
)
@click.option(
    "--connections",
    default=32,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Connections of --nodes, each of which waits for its answers.",
)
@_measuring(5)
def http_command(nodes: int, relayed: int, connections: int, **how: Any) -> "BenchReport":
    """Measure heartbeats over HTTP: JSON, relays, the bare URL, and an ordinary route."""
    from beatward.bench import http_door

    if connections > nodes:
        raise click.BadParameter(f"at most --nodes, which is {nodes}", param_hint="--connections")
    return http_door.measure(nodes, relayed, connections, **how)


@bench_command.command("agent")
@click.option("--interval", default="1s", show_default=True, help="Between two heartbeats.")
@click.option("--row", "rows", multiple=True, help="Measure only this row; may be repeated.")
@_measuring(20)
def agent_command(interval: str, rows: tuple[str, ...], **how: Any) -> "BenchReport":
    """Measure what an agent costs its node: memory, and processor time a heartbeat."""
    from beatward.bench import agent

    try:
        interval_ns = parse_duration(interval)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--interval") from error
    if not 10 * MILLISECOND <= interval_ns <= 60 * SECOND:
        raise click.BadParameter("between 10ms and 60s", param_hint="--interval")
    if unknown := set(rows) - agent.ROWS.keys():
        known = ", ".join(repr(row) for row in agent.ROWS)
        raise click.BadParameter(f"no {sorted(unknown)}, but {known}", param_hint="--row")
    return agent.measure(interval_ns, only=rows, **how)


@bench_command.command("idle")
@click.option(
    "--nodes",
    "counts",
    multiple=True,
    type=click.IntRange(0, 100_000),
    default=(0, 10, 100, 1_000),
    show_default=True,
    help="How many beat once a second; may be given several times.",
)
@click.option("--agents/--no-agents", default=True, show_default=True, help="Agents as well.")
@_measuring(20)
def idle_command(counts: tuple[int, ...], *, agents: bool, **how: Any) -> "BenchReport":
    """Measure what a monitor, an agent and a guardian cost while little happens."""
    from beatward.bench import idle

    return idle.measure(sorted(set(counts)), agents=agents, **how)


@bench_command.command("growth")
@click.option(
    "--nodes",
    "counts",
    multiple=True,
    type=_NODES,
    default=(1_000, 10_000, 100_000),
    show_default=True,
    help="How many are known; may be given several times.",
)
@click.option(
    "--rate", default=50_000, show_default=True, type=_RATE, help="Heartbeats a second with each."
)
@click.option(
    "--rates",
    multiple=True,
    type=_RATE,
    default=(10_000, 50_000, 100_000, 200_000),
    show_default=True,
    help="Heartbeats a second with the fewest nodes; may be given several times.",
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the figures into this file.",
)
@_measuring(3)
def growth_command(
    counts: tuple[int, ...],
    rate: float,
    rates: tuple[float, ...],
    svg: Path | None,
    **how: Any,
) -> "BenchReport":
    """Show how the price of a heartbeat and of a turn grows with nodes and rate."""
    from beatward.bench import growth

    options = growth.GrowthOptions(
        tuple(sorted(set(counts))), tuple(sorted(rates)), rate, how.pop("seconds")
    )
    report = growth.measure(options, **how)
    if svg is not None:
        svg.write_text(growth.picture(report.figures), "utf-8")
    return report


def _known_traces(
    context: click.Context, option: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    from beatward.simulate.traces import TRACES

    for name in names:
        if name not in TRACES:
            known = ", ".join(TRACES)
            raise click.BadParameter(f"no trace {name!r}; there are: {known}", context, option)
    return names


@bench_command.command("detectors")
@click.option(
    "--traces",
    multiple=True,
    metavar="NAME",
    callback=_known_traces,
    help="Only this trace; may be given several times. Default: all.",
)
@click.option("--seed", default=1, show_default=True, help="Decides every heartbeat.")
@click.option("--quick", is_flag=True, help="Only see that it runs: two traces, too short to tell.")
@click.option(
    "--svg",
    type=click.Path(path_type=Path, file_okay=False),
    help="Draw one picture a trace into this folder.",
)
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: one a processor, 8.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def detectors_command(
    *,
    traces: tuple[str, ...],
    seed: int,
    quick: bool,
    svg: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Compare all detectors: mistakes against detection time, on simulated heartbeats.

    Minutes for hundreds of hours of each trace. At equal mistakes: how long a crash takes to
    show, on average, in 99 of 100 cases, at worst; and what the two stages of a verdict gain.
    """
    _linux_only()
    from beatward.bench import detectors, frontier
    from beatward.simulate.traces import TRACES

    chosen = traces or (detectors.QUICK_TRACES if quick else tuple(TRACES))
    with _progress() as tell:
        options = detectors.DetectorOptions(tuple(dict.fromkeys(chosen)), seed, quick, jobs)
        report = detectors.measure(options, tell)
    if svg is not None:
        svg.mkdir(parents=True, exist_ok=True)
        for name, figures in report.figures["traces"].items():
            (svg / f"{name}.svg").write_text(frontier.picture(figures), "utf-8")
    if not show(report, as_json=as_json):
        click.get_current_context().exit(1)


def _linux_only() -> None:
    if not sys.platform.startswith("linux"):
        raise click.UsageError("beatward bench needs Linux: /proc, recvmmsg, UDP_SEGMENT")


@contextmanager
def _progress() -> Iterator["Tell"]:
    """Show a bar on a terminal, on standard error; elsewhere nothing."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda _text, _share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        def tell(text: str, share: float) -> None:
            progress.update(task, description=text, completed=share)

        yield tell


def show(report: "BenchReport", *, as_json: bool) -> bool:
    """Print a report and return whether its promises were kept."""
    if as_json:
        print_json({**_plain(report), "kept": report.kept})
    else:
        _show(console(), report)
    return report.kept


def _plain(report: "BenchReport") -> dict[str, Any]:
    return {
        "bench": report.bench,
        "machine": report.machine,
        "figures": report.figures,
        "promises": [asdict(promise) for promise in report.promises],
        "remarks": list(report.remarks),
    }


def _show(screen: Console, report: "BenchReport") -> None:
    machine = report.machine
    screen.print(
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['linux']}, "
        f"Python {machine['python']}, tags {machine['tags']}, load {machine['load']}"
    )
    for found in report.tables:
        table = Table(box=None, pad_edge=False)
        for index, column in enumerate(found.columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=True)
        for row in found.rows:
            table.add_row(*row)
        screen.print(table)
    for promise in report.promises:
        word, style = ("kept", "green") if promise.kept else ("broken", "bold red")
        screen.print(Text.assemble((f"{word:7}", style), f"{promise.promise}: {promise.found}"))
    for remark in report.remarks:
        screen.print(Text(remark, style="yellow"))
