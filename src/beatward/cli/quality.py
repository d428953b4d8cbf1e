"""`beatward quality`: how soon deaths are found, how seldom wrongly, what is lost on the way."""

from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beatward.backtest import Past, instant_ns
from beatward.cli.client import Client, asking, node_path
from beatward.cli.columns import Cell, Column, print_table
from beatward.cli.screen import cleaned, console, duration, print_json
from beatward.core.figures import BOUNDS_NS, Goal
from beatward.core.instants import format_duration, parse_duration
from beatward.errors import BeatwardError
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
        _show(console(), cleaned(report), from_journal=since_ns is not None)
    if any(goal["state"] == "missed" for goal in _goals(report["quality"]).values()):
        click.get_current_context().exit(1)


def _goals(quality: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the goals that the settings have, by their names."""
    return {name: goal for name, goal in (quality["goal"] or {}).items() if goal is not None}


# -- from the journal ---------------------------------------------------------------------------


def _from_journal(client: Client, report: dict[str, Any], since_ns: int) -> dict[str, Any]:
    """Return the same report, counted once more from the journal of that time."""
    node, by = report["node"], report["by"]
    goal = {key: one["goal_ns"] for key, one in _goals(report["quality"]).items()}
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
    after, mark = _first_id(client, begin_ns), None
    while True:
        answer = client.get("/v1/events", after=after, mark=mark, limit=_PAGE_COUNT, node=node)
        if answer.get("anew"):
            message = f"{answer['anew']} Nothing was counted; ask again"
            raise BeatwardError(message)
        page = answer["events"]
        yield from (event for event in page if instant_ns(event["at"]) >= begin_ns)
        if len(page) < _PAGE_COUNT:
            return
        after, mark = page[-1]["id"], answer.get("mark")


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
    seen = f"{source}, {duration(report['since_ns'])} since {report['since']}"
    screen.print(Text.assemble((whose, "bold"), f": {seen}"))
    screen.print()
    table = Table.grid(padding=(0, 2))
    for row in _rows(quality):
        table.add_row(*row)
    screen.print(table)
    if quality["outages"]["count"]:
        screen.print()
        screen.print(_histogram(quality["outages"]["counts"], _bar_of(screen)))
    if report["groups"]:
        screen.print()
        _show_groups(screen, report)


def _rows(quality: dict[str, Any]) -> Iterator[tuple[str, Text]]:
    goal = _goals(quality)
    yield "detection time", _detection(quality, goal.get("detect_within"))
    exits = quality["exits"]
    if exits["count"]:
        yield "exits told", Text(f"{exits['count']}{_spread(exits)}")
    wrong, verdicts = quality["suspicions_refuted"], quality["verdicts_refuted"]
    mistakes = Text(f"{_counted(wrong, 'suspicion')} and {_counted(verdicts, 'verdict')} refuted")
    mistakes.append(f" in {duration(quality['alive_ns'])} alive")
    yield "mistakes", mistakes
    yield "  one every", _recurrence(quality, goal.get("mistakes_every"))
    yield "  lasting", Text(duration(quality["mistake_duration_ns"]))
    yield "query accuracy", Text(_accuracy(quality["query_accuracy"]))
    if quality["slots"]:
        missing = f"{quality['missing']:,} of {quality['slots']:,} heartbeats"
        yield "loss", Text(f"{_share(quality['loss'])}, {missing}")
        yield "jitter", Text(duration(quality["jitter_ns"]))
        yield "round trip", Text(duration(quality["round_trip_ns"]))
    outages = quality["outages"]
    not_over = f"; {outages['open']} not over" if outages["open"] else ""
    yield "outages", Text(f"{outages['count']}{_spread(outages)}{not_over}")


def _detection(quality: dict[str, Any], goal: dict[str, Any] | None) -> Text:
    found = quality["detection_time"]
    text = Text("no death found")
    if found["count"]:
        overdue = duration(found["overdue_mean_ns"])
        text = Text(f"{duration(found['mean_ns'])} mean, {duration(found['max_ns'])} longest")
        text.append(f", of {found['count']}; {overdue} of it after the due heartbeat")
    if goal:
        beyond = f" by {goal['beyond']}" if goal["beyond"] else ""
        text.append_text(_goal("within", goal, beyond))
    return text


def _recurrence(quality: dict[str, Any], goal: dict[str, Any] | None) -> Text:
    text = Text("-")
    if quality["mistake_recurrence_time_ns"] is not None:
        text = Text(f"{duration(quality['mistake_recurrence_time_ns'])} of a node's life")
        if (rate := quality["mistake_rate_per_hour"]) is not None:
            text.append(f", {rate:.3g} an hour")
    return text.append_text(_goal("every", goal, "")) if goal else text


def _goal(word: str, goal: dict[str, Any], more: str) -> Text:
    state = {"open": "too early to say"}.get(goal["state"], goal["state"])
    text = Text(f"; goal {word} {duration(goal['goal_ns'])}: ")
    return text.append(f"{state}{more}", style=_STATES.get(goal["state"], ""))


def _bar_of(screen: Console) -> str:
    return "█" if screen.encoding.startswith("utf") else "#"


def _histogram(counts: Sequence[int], bar: str) -> Table:
    table = Table.grid(padding=(0, 2))
    bounds = [f"up to {format_duration(bound_ns)}" for bound_ns in BOUNDS_NS]
    bounds.append(f"over {format_duration(BOUNDS_NS[-1])}")
    rows = list(zip(bounds, counts, strict=False))
    while rows and rows[-1][1] <= 0:
        rows.pop()
    most = max((count for _, count in rows), default=0)
    has_begun = False
    for bound, count in rows:
        has_begun = has_begun or count > 0
        if has_begun:
            table.add_row(f"  {bound}", f"{count}", bar * -(-count * _BAR // most))
    return table


def _show_groups(screen: Console, report: dict[str, Any]) -> None:
    columns = [Column(report["by"] or "label")]
    columns += [Column(heading, is_number=True) for heading in _COLUMNS]
    rows: list[list[Cell]] = []
    for group in report["groups"]:
        quality = group["quality"]
        row: list[Cell] = [
            group["value"] or ("none", "dim"),
            f"{quality['nodes']}",
            duration(quality["detection_time"]["mean_ns"]),
            f"{quality['suspicions_refuted'] + quality['verdicts_refuted']}",
            duration(quality["mistake_recurrence_time_ns"]),
            duration(quality["mistake_duration_ns"]),
            _accuracy(quality["query_accuracy"]),
            _share(quality["loss"]),
            duration(quality["jitter_ns"]),
            f"{quality['outages']['count']}",
        ]
        rows.append(row)
    print_table(screen, columns, rows)
    if report["groups_total"] > len(report["groups"]):
        caption = f"the largest {len(report['groups']):,} of {report['groups_total']:,}"
        screen.print(caption, style="dim")


def _spread(found: dict[str, Any]) -> str:
    if found["mean_ns"] is None:
        return ""
    return f"; {duration(found['mean_ns'])} mean, {duration(found['max_ns'])} longest"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.5f} %".replace("100.00000", "100")
