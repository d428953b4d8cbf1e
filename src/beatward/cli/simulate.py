"""`beatward simulate`: play worlds from their seeds and say whether every promise held."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from beatward.simulate import Report

_SEEDS = "1..20"
_NEIGHBOURHOOD_NS = 60_000_000_000
# Enough to see what led to it; --log writes everything.
_LINES_MAX = 60


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was asked for, small enough to be handed to another process."""

    minutes: float
    without: tuple[str, ...]
    config: Path | None

    def words(self, seed: int) -> str:
        """Return the command that plays a seed again."""
        parts = [f"beatward simulate --seed {seed}", f"--minutes {self.minutes:g}"]
        parts += [f"--without {kind}" for kind in self.without]
        if self.config is not None:
            parts.append(f"--config {self.config}")
        return " ".join(parts)


def _parse_seeds(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), int(last if dots else first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise click.BadParameter(f"expected a range such as 1..300, found {text!r}")
    return seeds


def _check_kinds(context: click.Context, option: click.Parameter, kinds: tuple[str, ...]) -> Any:
    from beatward.simulate.faults import Kind

    for kind in kinds:
        if kind not in set(Kind):
            raise click.BadParameter(
                f"{kind!r} is no kind of fault; there are: {', '.join(Kind)}", context, option
            )
    return kinds


@click.command("simulate")
@click.option("--seed", type=int, help="Play this one world and tell what happened in numbers.")
@click.option("--seeds", metavar="A..B", help=f"Play all of these worlds; default {_SEEDS}.")
@click.option("--minutes", default=6.0, show_default=True, help="Virtual minutes of each world.")
@click.option(
    "--without",
    multiple=True,
    metavar="KIND",
    callback=_check_kinds,
    help="Leave a kind of fault out; all else stays as it was. May be repeated.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Try the detector, probe, recovery and grace of this settings file.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    help="Worlds at a time; default: one a processor, for many seeds.",
)
@click.option("--log", "log_all", is_flag=True, help="With --seed: print all that happened.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a world, one a line.")
def simulate_command(
    *,
    seed: int | None,
    seeds: str | None,
    minutes: float,
    without: tuple[str, ...],
    config: Path | None,
    jobs: int | None,
    log_all: bool,
    as_json: bool,
) -> None:
    """Play simulated worlds: nodes crash, networks fail, the monitor dies, somebody forges.

    A seed decides everything, so the same seed has the same digest on every run. Every promise of
    the monitor is checked against what is really so in that world. Exit code 1 when one is broken.
    """
    if seed is not None and seeds is not None:
        raise click.UsageError("--seed or --seeds, not both")
    if log_all and seed is None:
        raise click.UsageError("--log needs --seed")
    chosen = _parse_seeds(seeds or _SEEDS) if seed is None else range(seed, seed + 1)
    wish = _Wish(minutes, without, config)
    _play(0, wish, only_check=True)
    totals: Counter[str] = Counter()
    broken = []
    for report in _reports(chosen, wish, jobs or min(len(chosen), os.cpu_count() or 1)):
        totals.update(report.counts)
        if report.violations:
            broken.append(report.seed)
        if as_json:
            _print_json(report)
        else:
            _print_report(report, wish, log_all=log_all, details=seed is not None)
    if not as_json and seed is None:
        _print_totals(totals, len(chosen), broken)
    if broken:
        raise click.exceptions.Exit(1)


def _play(seed: int, wish: _Wish, *, only_check: bool = False) -> Any:
    """Play one world; `only_check` reads the settings file and plays nothing."""
    from beatward.config import load
    from beatward.server.settings import core_settings
    from beatward.simulate import run

    settings = None if wish.config is None else core_settings(load(wish.config))
    if only_check:
        return None
    return run(seed, minutes=wish.minutes, without=frozenset(wish.without), chosen=settings)


def _reports(seeds: range, wish: _Wish, jobs: int) -> Iterator["Report"]:
    with _progress(len(seeds)) as advance:
        if jobs == 1 or len(seeds) == 1:
            for seed in seeds:
                yield _play(seed, wish)
                advance()
            return
        # Not forked: a copy of this process's threads and locks is nobody's idea of repeatable.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for report in pool.map(_play, seeds, [wish] * len(seeds)):
                yield report
                advance()


@contextmanager
def _progress(count: int) -> Iterator[Any]:
    """Show a bar on a terminal when there is something to wait for."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if count == 1 or not console.is_terminal:
        yield lambda: None
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("worlds", total=count)
        yield lambda: progress.advance(task)


def _print_json(report: "Report") -> None:
    from dataclasses import asdict

    from beatward.cli.screen import print_json_line

    print_json_line(
        {
            "seed": report.seed,
            "digest": report.digest,
            "violations": [asdict(violation) for violation in report.violations],
            "unlucky_probabilities": list(report.probabilities),
            "counts": report.counts,
        }
    )


def _print_report(report: "Report", wish: _Wish, *, log_all: bool, details: bool) -> None:
    counts = report.counts
    verdict = f"promises BROKEN: {len(report.violations)}" if report.violations else "all held"
    click.echo(
        f"seed {report.seed}  {report.digest[:16]}  {counts['nodes']} nodes  "
        f"entries {len(report.journal)}  verdicts {counts.get('verdicts', 0)} "
        f"(unlucky {counts.get('verdicts unlucky', 0)})  {verdict}"
    )
    if log_all:
        for line in report.log:
            _print_line(line)
    elif details:
        click.echo(f"digest {report.digest}")
        for name, count in counts.items():
            click.echo(f"{count:9}  {name}")
    for violation in report.violations:
        click.echo(f"  {_at(violation.at_ns)}  {violation.rule}  {_who(violation.node)}", nl=False)
        click.echo(f": {violation.message}")
    if report.violations and not log_all:
        _print_story(report)
    if report.violations:
        click.echo(f"  play it again: {wish.words(report.seed)} --log")


def _print_story(report: "Report") -> None:
    """Print what happened to the node of the first broken promise, and to the monitor, before."""
    first = report.violations[0]
    begin_ns = first.at_ns - _NEIGHBOURHOOD_NS
    story = [
        line
        for line in report.log
        if begin_ns <= line.at_ns <= first.at_ns and line.node in (first.node, "")
    ]
    for line in story[-_LINES_MAX:]:
        _print_line(line)


def _print_line(line: Any) -> None:
    click.echo(f"    {_at(line.at_ns)}  {_who(line.node)}  {line.text}")


def _print_totals(totals: Counter[str], worlds: int, broken: list[int]) -> None:
    click.echo(
        f"{worlds} worlds: {totals['verdicts']} verdicts, {totals['verdicts unlucky']} unlucky; "
        f"{totals['deeds']} deeds; {totals['sessions']} sessions of the monitor; "
        f"{totals['datagrams sent']} datagrams"
    )
    if broken:
        click.echo(f"promises broken in {len(broken)} worlds, seeds: {_list(broken)}")
    else:
        click.echo("every promise held")


def _list(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _at(at_ns: int) -> str:
    return f"{at_ns / 1e9:10.3f} s"


def _who(node: str) -> str:
    return node or "monitor"
