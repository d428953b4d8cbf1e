"""`beatward quality`: how soon deaths are found, how seldom wrongly, what is lost on the way."""

from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beatward.backtest import Past, instant_ns
from beatward.cli.client import Client, asking, node_path
from beatward.cli.screen import console, print_json
from beatward.core.figures import BOUNDS_NS, Goal
from beatward.core.instants import format_duration, parse_duration
from beatward.store.rows import timestamp

_PAGE_COUNT = 1000
_STATES = {"kept": "green", "missed": "bold red", "open": "dim"}
_COLUMNS = (
    *("nodes", "detection", "mistakes", "one every", "lasting", "accuracy", "loss", "jitter"),
    "outages",
)
_BAR = 30


def _read_since(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("quality")
@click.argument("node", required=False)
@click.option("--by", metavar="LABEL", help="Also by the values of this label.")
@click.option(
    "--since",
    "since_ns",
    metavar="DURATION",
    callback=_read_since,
    help="From the journal: so far back, over restarts of the monitor, without loss and jitter.",
)
@asking
def quality_command(
    client: Client, as_json: bool, *, node: str | None, by: str | None, since_ns: int | None
) -> None:
    """Show mistakes, detection times, outages and loss of the fleet, or of NODE.

    Counted since the monitor began its session, or --since from the journal. Exit code 1 when a
    goal of the settings is missed, or NODE is unknown.
    """
    report = client.get("/v1/quality", node=node, by=by)
    if since_ns is not None:
        report = _from_journal(client, report, since_ns)
    if as_json:
        print_json(report)
    else:
        _show(console(), report, from_journal=since_ns is not None)
    compared = report["quality"]["goal"] or {}
    if any(one["state"] == "missed" for one in compared.values()):
        click.get_current_context().exit(1)


# -- from the journal ---------------------------------------------------------------------------


def _from_journal(client: Client, report: dict[str, Any], since_ns: int) -> dict[str, Any]:
    """Return the same report, counted once more from the journal of so long."""
    node, by = report["node"], report["by"]
    goal = {key: one["goal_ns"] for key, one in (report["quality"]["goal"] or {}).items()}
    end_ns = instant_ns(report["at"])
    begin_ns = end_ns - since_ns
    past = Past(begin_ns, Goal(goal.get("detect_within"), goal.get("mistakes_every")))
    for event in _events(client, begin_ns, node):
        past.take(event)
    nodes = [client.get(node_path(node))] if node else list(_nodes(client))
    for one in nodes:
        if one["job"] is not None:
            continue  # a calendar judges it
        past.stand(one["name"], one["status"], instant_ns(one["since"] or report["at"]))
    names = past.names if node is None else (node,)
    figures = past.figures(end_ns, dict.fromkeys(names, 0), 1)
    values = {one["name"]: one["labels"].get(by) for one in nodes} if by and not node else {}
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values.values()))}
    groups = {name: numbers[value] for name, value in values.items()}
    grouped = past.figures(end_ns, groups, len(numbers))
    found = [
        {"value": value, "quality": grouped.public(number)} for value, number in numbers.items()
    ]
    found.sort(key=lambda group: (-group["quality"]["nodes"], group["value"] or ""))
    return {
        **report,
        "since": timestamp(begin_ns),
        "since_ns": since_ns,
        "quality": figures.public(0),
        "groups": found[: len(report["groups"]) or None],
        "groups_total": len(found),
    }


def _events(client: Client, begin_ns: int, node: str | None) -> Iterator[dict[str, Any]]:
    after = _first_id(client, begin_ns)
    while True:
        page = client.get("/v1/events", after=after, limit=_PAGE_COUNT, node=node)["events"]
        yield from (event for event in page if instant_ns(event["at"]) >= begin_ns)
        if len(page) < _PAGE_COUNT:
            return
        after = page[-1]["id"]


def _first_id(client: Client, begin_ns: int) -> int:
    """Return an id of which no event behind it is missing, in some twenty questions."""
    before, behind = 0, int(client.get("/v1/events", limit=1)["last"])
    while before < behind:
        middle = (before + behind) // 2
        found = client.get("/v1/events", after=middle, limit=1)["events"]
        if found and instant_ns(found[0]["at"]) < begin_ns:
            before = int(found[0]["id"])
        else:
            behind = middle
    return before


def _nodes(client: Client) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = client.get("/v1/nodes", limit=_PAGE_COUNT, after=after)
        yield from page["nodes"]
        after = page["next"]
        if after is None:
            return


# -- printing -----------------------------------------------------------------------------------


def _show(screen: Console, report: dict[str, Any], *, from_journal: bool) -> None:
    quality = report["quality"]
    count = quality["nodes"]
    whose = report["node"] or f"{count} node{'' if count == 1 else 's'}"
    source = "from the journal" if from_journal else "this session"
    seen = f"{source}, {format_duration(report['since_ns'])} since {report['since']}"
    screen.print(Text.assemble((whose, "bold"), f": {seen}"))
    screen.print()
    table = Table.grid(padding=(0, 2))
    for row in _rows(quality):
        table.add_row(*row)
    screen.print(table)
    if quality["outages"]["count"]:
        screen.print()
        screen.print(_histogram(quality["outages"]["counts"]))
    if report["groups"]:
        screen.print()
        screen.print(_by(report))


def _rows(quality: dict[str, Any]) -> Iterator[tuple[str, Text]]:
    goal = quality["goal"] or {}
    yield "detection time", _detection(quality, goal.get("detect_within"))
    exits = quality["exits"]
    if exits["count"]:
        yield "exits told", Text(f"{exits['count']}{_spread(exits)}")
    wrong, verdicts = quality["suspicions_refuted"], quality["verdicts_refuted"]
    mistakes = Text(f"{_counted(wrong, 'suspicion')} and {_counted(verdicts, 'verdict')} refuted")
    mistakes.append(f" in {_time(quality['alive_ns'])} alive")
    yield "mistakes", mistakes
    yield "  one every", _recurrence(quality, goal.get("mistakes_every"))
    yield "  lasting", Text(_time(quality["mistake_duration_ns"]))
    yield "query accuracy", Text(_accuracy(quality["query_accuracy"]))
    if quality["slots"]:
        missing = f"{quality['missing']:,} of {quality['slots']:,} heartbeats"
        yield "loss", Text(f"{_share(quality['loss'])}, {missing}")
        yield "jitter", Text(_time(quality["jitter_ns"]))
        yield "round trip", Text(_time(quality["round_trip_ns"]))
    outages = quality["outages"]
    not_over = f"; {outages['open']} not over" if outages["open"] else ""
    yield "outages", Text(f"{outages['count']}{_spread(outages)}{not_over}")


def _detection(quality: dict[str, Any], goal: dict[str, Any] | None) -> Text:
    found = quality["detection_time"]
    text = Text("no death found")
    if found["count"]:
        overdue = _time(found["overdue_mean_ns"])
        text = Text(f"{_time(found['mean_ns'])} mean, {_time(found['max_ns'])} longest")
        text.append(f", of {found['count']}; {overdue} of it after the due heartbeat")
    if goal:
        beyond = f" by {goal['beyond']}" if goal["beyond"] else ""
        text.append_text(_goal("within", goal, beyond))
    return text


def _recurrence(quality: dict[str, Any], goal: dict[str, Any] | None) -> Text:
    text = Text("-")
    if quality["mistake_recurrence_time_ns"] is not None:
        rate = quality["mistake_rate_per_hour"]
        every = _time(quality["mistake_recurrence_time_ns"])
        text = Text(f"{every} of a node's life, {rate:.3g} an hour")
    return text.append_text(_goal("every", goal, "")) if goal else text


def _goal(word: str, goal: dict[str, Any], more: str) -> Text:
    state = {"open": "too early to say"}.get(goal["state"], goal["state"])
    text = Text(f"; goal {word} {_time(goal['goal_ns'])}: ")
    return text.append(f"{state}{more}", style=_STATES[goal["state"]])


def _histogram(counts: Sequence[int]) -> Table:
    table = Table.grid(padding=(0, 2))
    places = [place for place, count in enumerate(counts) if count]
    bounds = [f"up to {format_duration(bound_ns)}" for bound_ns in BOUNDS_NS]
    bounds.append(f"over {format_duration(BOUNDS_NS[-1])}")
    most = max(counts)
    for place in range(places[0], places[-1] + 1):
        bar = "█" * -(-counts[place] * _BAR // most)
        table.add_row(f"  {bounds[place]}", f"{counts[place]}", bar)
    return table


def _by(report: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(report["by"], no_wrap=True)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for group in report["groups"]:
        quality = group["quality"]
        table.add_row(
            group["value"] or Text("none", style="dim"),
            f"{quality['nodes']}",
            _time(quality["detection_time"]["mean_ns"]),
            f"{quality['suspicions_refuted'] + quality['verdicts_refuted']}",
            _time(quality["mistake_recurrence_time_ns"]),
            _time(quality["mistake_duration_ns"]),
            _accuracy(quality["query_accuracy"]),
            _share(quality["loss"]),
            _time(quality["jitter_ns"]),
            f"{quality['outages']['count']}",
        )
    if report["groups_total"] > len(report["groups"]):
        table.caption = f"the largest {len(report['groups']):,} of {report['groups_total']:,}"
    return table


def _spread(found: dict[str, Any]) -> str:
    if found["mean_ns"] is None:
        return ""
    return f"; {_time(found['mean_ns'])} mean, {_time(found['max_ns'])} longest"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _time(duration_ns: int | None) -> str:
    return "-" if duration_ns is None else format_duration(duration_ns)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.5f} %".replace("100.00000", "100")
