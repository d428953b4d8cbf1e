"""`beatward simulate`: play worlds from their seeds and say whether every promise held."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .worlds import print_json, print_report, print_totals

if TYPE_CHECKING:
    from beatward.simulate import WorldReport

_SEEDS = "1..20"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, small enough to be handed to another process."""

    minutes: float
    without: frozenset[str] = frozenset()
    only: frozenset[int] | None = None
    config: Path | None = None

    def command(self, seed: int) -> str:
        """Return the command that plays a seed again."""
        parts = [f"beatward simulate --seed {seed}", f"--minutes {self.minutes:g}"]
        parts += [f"--without {kind}" for kind in sorted(self.without)]
        if self.only is not None:
            parts.append(f"--only {','.join(map(str, sorted(self.only)))}")
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


def _choose(text: str | None, without: frozenset[str], *, with_roles: bool) -> Sequence[int]:
    """Return the seeds to play; `with_roles`: those whose worlds have services."""
    from beatward.simulate.scenario import SERVICES
    from beatward.simulate.services import count_services

    seeds = _parse_seeds(text or _SEEDS)
    if not with_roles:
        return seeds
    if SERVICES in without:
        raise click.UsageError("--roles or --without services, not both")
    found = [seed for seed in seeds if count_services(seed)]
    if not found:
        raise click.UsageError("none of these worlds has services")
    return found


def _check_kinds(context: click.Context, option: click.Parameter, kinds: tuple[str, ...]) -> Any:
    from beatward.simulate.faults import FaultKind
    from beatward.simulate.scenario import ADVERSARY, SERVICES

    known = (*FaultKind, ADVERSARY, SERVICES)
    for kind in kinds:
        if kind not in known:
            raise click.BadParameter(
                f"{kind!r} is no kind of fault; there are: {', '.join(known)}", context, option
            )
    return frozenset(kinds)


def _check_only(_context: click.Context, _option: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise click.BadParameter(f"expected numbers of nodes such as 0,3, found {text!r}")
    return frozenset(map(int, numbers))


@click.command("simulate")
@click.option("--seed", type=int, help="Play this one world and tell what happened in numbers.")
@click.option("--seeds", metavar="A..B", help=f"Play all of these worlds; default {_SEEDS}.")
@click.option(
    "--roles", "with_roles", is_flag=True, help="Of --seeds, play only worlds that have services."
)
@click.option("--minutes", default=6.0, show_default=True, help="Virtual minutes of each world.")
@click.option(
    "--without",
    multiple=True,
    metavar="KIND",
    callback=_check_kinds,
    help="Leave a kind of fault out; all else stays as it was. May be repeated.",
)
@click.option(
    "--only",
    metavar="0,3",
    callback=_check_only,
    help="Let only these nodes exist, by number; all else stays as it was.",
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
@click.option(
    "--minimise",
    is_flag=True,
    help="With --seed: look for the smallest world that breaks the same promise.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a world, one a line.")
def simulate_command(
    *,
    seed: int | None,
    seeds: str | None,
    with_roles: bool,
    minutes: float,
    without: frozenset[str],
    only: frozenset[int] | None,
    config: Path | None,
    jobs: int | None,
    log_all: bool,
    minimise: bool,
    as_json: bool,
) -> None:
    """Play simulated worlds: nodes crash, networks fail, the monitor dies, an attacker forges.

    A seed decides everything, so the same seed has the same digest on every run. Every promise of
    the monitor is checked against what is really so in that world. Exit code 1 when one is broken.
    """
    if seed is not None and seeds is not None:
        raise click.UsageError("--seed or --seeds, not both")
    if seed is not None and with_roles:
        raise click.UsageError("--roles chooses among --seeds")
    for wanted, name in ((log_all, "--log"), (minimise, "--minimise"), (only, "--only")):
        if wanted and seed is None:
            raise click.UsageError(f"{name} needs --seed")
    chosen = _choose(seeds, without, with_roles=with_roles) if seed is None else [seed]
    asked = Asked(minutes, without, only, config)
    settings_of(asked)
    if minimise:
        _minimise(chosen[0], asked)
        return
    totals: Counter[str] = Counter()
    broken = []
    for report in _reports(chosen, asked, jobs or min(len(chosen), os.cpu_count() or 1)):
        totals.update(report.counts)
        if report.violations:
            broken.append(report.seed)
        if as_json:
            print_json(report)
        else:
            again = asked.command(report.seed)
            print_report(report, again, log_all=log_all, details=seed is not None)
    if not as_json and seed is None:
        print_totals(totals, len(chosen), broken)
    if broken:
        raise click.exceptions.Exit(1)


def settings_of(asked: Asked) -> Any:
    """Return the core's settings in the file that was named; None without one."""
    from beatward.config import load
    from beatward.server.settings import core_settings

    return None if asked.config is None else core_settings(load(asked.config))


def _play(seed: int, asked: Asked) -> "WorldReport":
    from beatward.simulate import run

    return run(
        seed,
        minutes=asked.minutes,
        without=asked.without,
        only=asked.only,
        chosen=settings_of(asked),
    )


def _minimise(seed: int, asked: Asked) -> None:
    """Look for a smaller world that fails as this one does; exit 1 when there is a failure."""
    report = _play(seed, asked)
    if not report.violations:
        click.echo(f"seed {seed}: every promise held; there is nothing to make smaller")
        return
    smallest = minimised(report, asked, _play)
    print_report(_play(seed, smallest), smallest.command(seed), log_all=False, details=False)
    raise click.exceptions.Exit(1)


def minimised(
    report: "WorldReport", asked: Asked, again: Callable[[int, Asked], "WorldReport"]
) -> Asked:
    """Return the smallest that still breaks the first promise of a report, and tell of each try."""
    from beatward.simulate.scenario import ADVERSARY, SERVICES
    from beatward.simulate.shrink import Variant, shrink

    rule, scenario = report.violations[0].rule, report.scenario

    def wished(wish: Variant) -> Asked:
        return replace(asked, minutes=wish.minutes, without=wish.without, only=wish.only)

    def fails(wish: Variant) -> bool:
        found = again(report.seed, wished(wish)).violations
        return any(violation.rule == rule for violation in found)

    wish = Variant(asked.minutes, asked.without, asked.only)
    kinds = (
        *((SERVICES,) if scenario.services else ()),
        *scenario.kinds,
        *((ADVERSARY,) if scenario.adversary_ns else ()),
    )
    for step in shrink(wish, kinds, scenario.nodes, fails):
        wish = step.wish
        click.echo(f"{step.tried}: {'still broken' if step.is_smaller else 'holds'}", err=True)
    return wished(wish)


def _reports(seeds: Sequence[int], asked: Asked, jobs: int) -> Iterator["WorldReport"]:
    with _progress(len(seeds)) as advance:
        if jobs == 1 or len(seeds) == 1:
            for seed in seeds:
                yield _play(seed, asked)
                advance()
            return
        # Not forked: a copy of this process's threads and locks would not be repeatable.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for report in pool.map(_play, seeds, [asked] * len(seeds)):
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
