"""What `beatward simulate` says: a line a world, what led to a broken promise, what was covered."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from beatward.core.instants import format_duration

from .screen import print_json_line

if TYPE_CHECKING:
    from beatward.simulate import Scenario, WorldReport

_NEIGHBOURHOOD_NS = 60_000_000_000
# Enough to see what led to it; --log writes everything.
_LINES_MAX = 60
_WIDTH = 100


def print_json(report: "WorldReport") -> None:
    """Print one world as one line of JSON."""
    print_json_line(
        {
            "seed": report.seed,
            "digest": report.digest,
            "violations": [asdict(violation) for violation in report.violations],
            "unlucky_probabilities": list(report.probabilities),
            "counts": report.counts,
        }
    )


def print_report(report: "WorldReport", again: str, *, log_all: bool, details: bool) -> None:
    """Print a world in one line; what was broken with what led to it and how to play it `again`."""
    counts = report.counts
    verdict = f"promises BROKEN: {len(report.violations)}" if report.violations else "all held"
    click.echo(
        f"seed {report.seed}  {report.digest[:16]}  {counts['nodes']} nodes  "
        f"entries {len(report.journal)}  verdicts {counts.get('verdicts', 0)} "
        f"(unlucky {counts.get('verdicts unlucky', 0)})  {verdict}"
    )
    if log_all or details or report.violations:
        _print_lines(_described(report.scenario, counts))
    if log_all:
        for line in report.log:
            _print_line(line)
    elif details:
        click.echo(f"digest {report.digest}")
        for name, count in counts.items():
            click.echo(f"{count:9}  {name}")
    if report.violations and not log_all:
        _print_story(report)
    for violation in report.violations:
        click.echo(f"  {_at(violation.at_ns)}  {violation.rule}  {_who(violation.node)}", nl=False)
        click.echo(f": {violation.message}")
    if report.violations:
        click.echo(f"  play it again: {again} --log")
        click.echo(f"  make it smaller: {again} --minimise")


def _described(scenario: "Scenario", counts: Mapping[str, int]) -> Iterable[str]:
    """Say what was drawn, in a few lines."""
    settings, probing = scenario.settings, scenario.settings.membership
    window, spacing = format_duration(probing.window_ns), format_duration(probing.spacing_ns)
    grace = format_duration(settings.start_grace_ns)
    links = [name.removeprefix("link ") for name in counts if name.startswith("link ")]
    every = format_duration(scenario.adversary_ns)
    yield (
        f"{settings.detector.kind}; window {window}, probes every {spacing}; start grace {grace}; "
        f"adversary: {f'every {every}' if scenario.adversary_ns else 'none'}"
    )
    yield f"links: {', '.join(links)}"
    for one in scenario.services:
        lease, members = format_duration(one.settings.lease_ns), len(one.members)
        nodes = ", ".join(f"node-{number}" for number in one.members)
        yield f"{one.name}: lease {lease}, {members} members: {nodes}"
    yield f"faults: {', '.join(scenario.kinds) or 'none'}"
    yield (
        f"from {format_duration(scenario.heal_ns)} on nothing is broken; the end is at "
        + format_duration(scenario.end_ns)
    )


def _print_story(report: "WorldReport") -> None:
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
    click.echo(f"    {_at(line.at_ns)}  {_who(line.node):<8}  {line.text}")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        wrapped = textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="    ")
        click.echo("\n".join(wrapped))


def print_totals(totals: Counter[str], worlds: int, broken: list[int]) -> None:
    """Print what many worlds came to: what was met, what never was, and which seeds failed."""
    from beatward.simulate.coverage import WANTED, missing, ways_taken

    click.echo(
        f"{worlds} worlds: {totals['verdicts']} verdicts, {totals['verdicts unlucky']} unlucky; "
        f"{totals['deeds']} deeds; {totals['sessions']} sessions of the monitor; "
        f"{totals['datagrams sent']} datagrams"
    )
    for family, names in WANTED.items():
        met = [f"{name} {totals[key]}" for name in names if totals[key := f"{family} {name}"]]
        _print_lines([f"{family}: {', '.join(met) or 'none'}"])
    taken, every = ways_taken(totals)
    _print_lines([f"{taken} of {every} rows of the table of statuses were taken"])
    if never := missing(totals):
        _print_lines([f"never met: {', '.join(never)}"])
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
