"""Which nodes are down, by name: for `status`, and for the head of `watch`.

The counts say how many; these are the first of them, the dead before those that are only suspect.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from beatward.cli.client import Client
from beatward.cli.screen import COLOURS, ago, cleaned, remarks

# The worst first. A node that recovers is on its way back, and one that left said goodbye.
_DOWN = ("dead", "failing", "suspect")
# A fleet with such a node, or a service with a role in such a phase, is not well. A suspicion is
# not a verdict yet.
_UNWELL = ("dead", "failing")
_UNSERVED = ("vacant", "refused")


def is_well(status: Mapping[str, Any]) -> bool:
    """Tell whether the monitor is well, no node is dead or failing, and each role has a holder."""
    services = status["services"]["counts"]
    return (
        status["health"]["status"] == "ok"
        and not any(status["nodes"].get(word, 0) for word in _UNWELL)
        and not any(services.get(word, 0) for word in _UNSERVED)
    )


def ask_down(client: Client, counts: Mapping[str, int], limit: int) -> list[dict[str, Any]]:
    """Return at most `limit` nodes that are down; asks nothing where the counts have none."""
    found: list[dict[str, Any]] = []
    for word in _DOWN:
        rest = limit - len(found)
        if rest > 0 and counts.get(word, 0) > 0:
            found += client.get("/v1/nodes", status=word, limit=rest)["nodes"]
    return [cleaned(node) for node in found]


def down_lines(
    nodes: Sequence[Mapping[str, Any]], counts: Mapping[str, int], line_count: int
) -> list[Text]:
    """Return at most `line_count` lines that name them, and how many more there are."""
    total = sum(max(counts.get(word, 0), 0) for word in _DOWN)
    if line_count < 1 or not nodes:
        return []
    if line_count == 1 and total > 1:
        return [_all_in_one(nodes, total)]
    shown = nodes[: line_count - (total > line_count)]
    width = max(len(node["name"]) for node in shown)
    lines = [_line(node, width) for node in shown]
    if total > len(shown):
        lines.append(Text(f"and {total - len(shown):,} more", style="dim"))
    return lines


def _line(node: Mapping[str, Any], width: int) -> Text:
    line = Text()
    line.append(f"{node['status']:<8}", style=COLOURS.get(node["status"], ""))
    line.append(f"{node['name']:<{width}}", style="bold")
    line.append(f"  for {ago(node['since_ns'])}")
    if node["silent_ns"] is not None:
        line.append(f", silent for {ago(node['silent_ns'])}")
    note = remarks(node)
    return line.append(f"; {note}" if note else "")


def _all_in_one(nodes: Sequence[Mapping[str, Any]], total: int) -> Text:
    line = Text()
    for index, node in enumerate(nodes):
        line.append(", " if index else "")
        line.append(f"{node['name']} {node['status']}", style=COLOURS.get(node["status"], ""))
    return line.append(f" and {total - len(nodes):,} more" if total > len(nodes) else "")


def by_trouble(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return what there is of each status, the worst first: the end is cut on a narrow screen."""
    order = {word: rank for rank, word in enumerate(("total", *_DOWN, "recovering"))}
    found = [(word, count) for word, count in counts.items() if word == "total" or count]
    return sorted(found, key=lambda pair: order.get(pair[0], len(order)))
