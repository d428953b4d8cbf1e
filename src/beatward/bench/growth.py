"""How the price grows: of a heartbeat and of a turn, with the number of nodes and with the rate.

A heartbeat should cost the same however many nodes there are, but for the caches that a large
fleet no longer fits into; a turn, whose sweep looks at every deadline, should cost the same a node.
A turn is measured while no node speaks: all nodes have promised to be back in an hour. What it
costs is then subtracted from the turns that also take heartbeats.

`ratios` are quotients of figures of one run; they say what an algorithm does, and hold on another
machine within a factor.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from beatward.bench import bare, chart, ingest, machine, sender, subject
from beatward.bench.report import BenchCheck, BenchReport, BenchTable, Tell, number

_RELAYED = 20  # records in a datagram of a relay
# Behind the waking of the fleet, until its last snapshot is over.
_CALM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class GrowthOptions:
    """What is to be measured: each of `counts` of nodes at `rate`, then `rates` at the first count.

    `rates` and `rate` are heartbeats a second, `seconds` the length of each step.
    """

    counts: tuple[int, ...]
    rates: tuple[float, ...]
    rate: float
    seconds: float


def measure(options: GrowthOptions, folder: Path, tell: Tell) -> BenchReport:
    """Measure all counts and all rates."""
    steps = len(options.counts) + 2
    by_nodes: list[dict[str, Any]] = []
    by_rate: list[dict[str, Any]] = []
    for index, count in enumerate(sorted(options.counts)):
        tell(f"{count:,} nodes", index / steps)
        here = folder / str(count)
        here.mkdir()
        with subject.scene(here, count) as scene:
            by_nodes.append(_at_count(scene, count, options))
            if index == 0:
                tell("rates", (steps - 2) / steps)
                idle = by_nodes[0]["idle_cores"]
                by_rate = [
                    _step(scene, count, rate, options.seconds, idle) for rate in options.rates
                ]
    tell("bare receiver", (steps - 1) / steps)
    bare_ns, language = _bare(folder / str(min(options.counts)), min(options.counts), options)
    ratios = _ratios(by_nodes, by_rate, bare_ns)
    figures = {
        "rate": options.rate,
        "seconds": options.seconds,
        "bare": language,
        "bare_ns": bare_ns,
        "by_nodes": by_nodes,
        "by_rate": by_rate,
        "ratios": ratios,
    }
    drops = sum(row["drops"] for row in (*by_nodes, *by_rate))
    promise = BenchCheck("no heartbeat was dropped", drops == 0, f"{drops} dropped")
    return BenchReport(
        "growth",
        machine.describe(),
        figures,
        (_nodes_table(by_nodes), _rates_table(by_rate), _ratios_table(ratios)),
        (promise,),
    )


def _at_count(scene: subject.Scene, count: int, options: GrowthOptions) -> dict[str, Any]:
    scene.wake(count)
    time.sleep(_CALM_SECONDS)
    meter = machine.Meter(scene.processes, time.monotonic())
    turns, spent_s = scene.subject.wheel()
    time.sleep(options.seconds)
    later, then_s = scene.subject.wheel()
    used = meter.look(time.monotonic())
    idle = used.cores[scene.subject.process_id]
    single = _step(scene, count, options.rate, options.seconds, idle)
    relayed = _step(scene, count, options.rate, options.seconds, idle, per_datagram=_RELAYED)
    return {
        "nodes": count,
        "turn_us": (then_s - spent_s) / max(later - turns, 1) * 1e6,
        "idle_cores": idle,
        "heartbeat_ns": single["heartbeat_ns"],
        "relayed_ns": relayed["heartbeat_ns"],
        "drops": single["drops"] + relayed["drops"],
        "strangers_cores": max(single["strangers_cores"], relayed["strangers_cores"]),
    }


def _step(
    scene: subject.Scene,
    count: int,
    rate: float,
    seconds: float,
    idle: float,
    *,
    per_datagram: int = 1,
) -> dict[str, Any]:
    """Measure one rate; `idle` cores are what the monitor uses while no node speaks."""
    pace = sender.pace_of(count, rate, per_datagram=per_datagram)
    scene.sender.begin(pace)
    step = ingest.step_of(
        scene.sender,
        scene.subject.process_id,
        lambda: ingest.seen_by_monitor(scene.subject),
        pace.rate,
        seconds=seconds,
    )
    beating_cores = max(step.cores - idle, 0.0)
    return {
        "rate": step.rate,
        "offered": pace.rate,
        "cores": step.cores,
        "heartbeat_ns": beating_cores / step.rate * 1e9 if step.rate else None,
        "drops": step.drops,
        "strangers_cores": step.strangers_cores,
    }


def _bare(folder: Path, count: int, options: GrowthOptions) -> tuple[float | None, str]:
    with (
        bare.running(folder, tick_ns=subject.TICK_NS, receive_buffer=subject.RECEIVE_BUFFER) as it,
        sender.running(folder / "fleet.npz") as hands,
    ):
        hands.aim(it.address, proving=False)
        pace = sender.pace_of(count, options.rate)
        hands.begin(pace)
        step = ingest.step_of(
            hands,
            it.process_id,
            lambda: ingest.seen_by_bare(it),
            pace.rate,
            seconds=options.seconds,
        )
        return step.ns, it.language


def _ratios(
    by_nodes: Sequence[Mapping[str, Any]],
    by_rate: Sequence[Mapping[str, Any]],
    bare_ns: float | None,
) -> dict[str, float]:
    """Return the quotients that should stay what they are, whatever machine measures them."""
    first, last = by_nodes[0], by_nodes[-1]
    found: dict[str, float] = {}

    def note(name: str, above: float | None, below: float | None) -> None:
        if above and below:
            found[name] = round(above / below, 2)

    note("heartbeat_of_most_nodes_to_fewest", last["heartbeat_ns"], first["heartbeat_ns"])
    note("heartbeat_single_to_relayed", first["heartbeat_ns"], first["relayed_ns"])
    note("heartbeat_to_bare", first["heartbeat_ns"], bare_ns)
    # Of a turn the fixed part is left out: what is added per node must not grow with their number.
    slopes = list(_slopes(by_nodes))
    if len(slopes) >= 2:
        note("turn_per_node_most_to_fewest", slopes[-1], slopes[0])
    if len(by_rate) >= 2:
        note(
            "heartbeat_at_slowest_to_fastest",
            by_rate[0]["heartbeat_ns"],
            by_rate[-1]["heartbeat_ns"],
        )
    return found


def _slopes(by_nodes: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    for fewer, more in pairwise(by_nodes):
        yield max(more["turn_us"] - fewer["turn_us"], 0) / (more["nodes"] - fewer["nodes"])


def picture(figures: Mapping[str, Any]) -> str:
    """Return what was measured as an SVG."""
    by_nodes, by_rate = figures["by_nodes"], figures["by_rate"]

    def line(rows: Sequence[Mapping[str, Any]], name: str, x: str, y: str) -> chart.ChartLine:
        return chart.ChartLine(name, [(row[x], row[y]) for row in rows if row[y]])

    panels = [
        chart.Panel(
            f"Processor time a heartbeat, ns, at {figures['rate']:,.0f}/s",
            "nodes",
            [
                line(by_nodes, "one a datagram", "nodes", "heartbeat_ns"),
                line(by_nodes, f"{_RELAYED} a datagram", "nodes", "relayed_ns"),
            ],
        ),
        chart.Panel(
            "A turn without heartbeats, us", "nodes", [line(by_nodes, "turn", "nodes", "turn_us")]
        ),
        chart.Panel(
            f"Processor time a heartbeat, ns, {by_nodes[0]['nodes']:,} nodes",
            "heartbeats a second",
            [line(by_rate, "one a datagram", "rate", "heartbeat_ns")],
        ),
    ]
    return chart.draw([p for p in panels if all(len(found.points) >= 2 for found in p.lines)])


def _nodes_table(rows: Sequence[Mapping[str, Any]]) -> BenchTable:
    columns = ("nodes", "turn us", "idle cores", "heartbeat ns", "relayed ns", "drops", "others")
    return BenchTable(
        columns,
        tuple(
            (
                number(row["nodes"]),
                number(row["turn_us"]),
                number(row["idle_cores"], 3),
                number(row["heartbeat_ns"]),
                number(row["relayed_ns"]),
                number(row["drops"]),
                number(row["strangers_cores"], 2),
            )
            for row in rows
        ),
    )


def _rates_table(rows: Sequence[Mapping[str, Any]]) -> BenchTable:
    return BenchTable(
        ("heartbeats/s", "cores", "heartbeat ns", "drops", "others"),
        tuple(
            (
                number(row["rate"]),
                number(row["cores"], 2),
                number(row["heartbeat_ns"]),
                number(row["drops"]),
                number(row["strangers_cores"], 2),
            )
            for row in rows
        ),
    )


def _ratios_table(ratios: Mapping[str, float]) -> BenchTable:
    return BenchTable(("ratio", ""), tuple((name, number(at, 2)) for name, at in ratios.items()))
