"""Which nodes a request means: by names, patterns, labels; which service; and what to say when
there are none.

Names cannot hold the signs of patterns, so one list has both. Not here: what is asked of them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import translate
from itertools import islice

from beatward.core.protocol.keys import is_pattern
from beatward.core.roles.views import ServiceView
from beatward.core.snapshot import Snapshot
from beatward.core.upkeep import has_labels
from beatward.web.problems import Problem, shown

LABEL_LENGTH_MAX = 256
# Similar names are sought among at most this many, 40 ms for each unknown name.
_COMPARED_MAX = 10_000
_ALIKE_MAX = 5
_NO_LABELS: Mapping[str, str] = {}


def select(snapshot: Snapshot, nodes: Sequence[str], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the nodes that are meant, in order; no `nodes` means all with the labels.

    Raises Problem 404 when a name is unknown, or when a pattern or the labels fit no node.
    """
    rows: dict[int, None] = {}
    unknown = []
    for name in nodes or ("*",):
        found = list(_rows_of(snapshot, name, labels))
        if not found:
            unknown.append(name)
        rows.update(dict.fromkeys(found))
    if unknown and (nodes or labels):
        raise _unknown(snapshot, unknown if nodes else (), labels, ". Nothing was changed")
    names = snapshot.names
    return tuple(sorted(names[row] for row in rows))


def find_service(snapshot: Snapshot, name: str) -> ServiceView:
    """Return a service of a snapshot; raises Problem 404, with the names that are alike."""
    view = snapshot.services.get(name)
    if view is not None:
        return view
    known = list(snapshot.services)
    alike = alike_names([name], known)
    if alike:
        hint = f"alike: {', '.join(alike)}"
    elif known:
        rest = f" and {len(known) - _ALIKE_MAX} more" if len(known) > _ALIKE_MAX else ""
        hint = f"there is {', '.join(known[:_ALIKE_MAX])}{rest}"
    else:
        hint = "no node offers any; agents declare them, see docs/configuration.md"
    more = {"unknown": [name], "alike": alike, "known": len(known)}
    raise Problem(404, "unknown-service", f"no service is called {shown(name)}; {hint}", more=more)


def _rows_of(snapshot: Snapshot, name: str, labels: Mapping[str, str]) -> Iterator[int]:
    if not is_pattern(name):
        row = snapshot.find(name)
        if row >= 0 and has_labels(snapshot.labels.get(row, _NO_LABELS), labels):
            yield row
        return
    fits, names = re.compile(translate(name)).match, snapshot.names
    if labels:
        # Few fleets have labels on all of their nodes, and these are in a dict as it is.
        for row, node_labels in snapshot.labels.items():
            if has_labels(node_labels, labels) and (name == "*" or fits(names[row])):
                yield row
        return
    yield from (row for row in snapshot.rows().tolist() if name == "*" or fits(names[row]))


def unknown_node(snapshot: Snapshot, name: str) -> Problem:
    """Return the answer for a name that no enrolled node has."""
    return _unknown(snapshot, [name], _NO_LABELS)


def _unknown(
    snapshot: Snapshot, unknown: Sequence[str], labels: Mapping[str, str], then: str = ""
) -> Problem:
    wanted = shown(" ".join(f"{key}={value}" for key, value in labels.items()))[1:-1]
    meant = ", ".join(shown(name) for name in unknown[:_ALIKE_MAX])
    if len(unknown) > _ALIKE_MAX:
        meant += f" and {len(unknown) - _ALIKE_MAX} more"
    detail = f"no node is called {meant}" if unknown else f"no node has {wanted}"
    if unknown and labels:
        detail += f" and has {wanted}"
    count = len(snapshot.rows())
    detail += f"; {count:,} nodes are enrolled" if count != 1 else "; 1 node is enrolled"
    names = []
    if unknown and count <= _COMPARED_MAX:
        names = [snapshot.names[row] for row in snapshot.rows().tolist()]
    alike = alike_names(unknown, names) if unknown else _values(snapshot, labels)
    if alike:
        detail += (", alike: " if unknown else ", there is ") + ", ".join(alike)
    # A user who asked for a service as for a node is led to `beatward services`.
    services = [name for name in unknown[:_ALIKE_MAX] if name in snapshot.services]
    if services:
        detail += f"; {services[0]} is a service, see `beatward services {services[0]}`"
    more = {"unknown": list(unknown), "alike": alike, "known": count}
    return Problem(404, "unknown-node", f"{detail}{then}", more=more)


def _values(snapshot: Snapshot, labels: Mapping[str, str]) -> list[str]:
    all_labels = snapshot.labels.values()
    found = {f"{key}={one[key]}" for one in all_labels for key in labels if key in one}
    return sorted(found)[:_ALIKE_MAX]


def alike_names(unknown: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return some of the names that are known and look like those that are not."""
    if len(known) > _COMPARED_MAX:
        return []
    found = (name for one in unknown[:_ALIKE_MAX] for name in get_close_matches(one, known))
    return list(islice(dict.fromkeys(found), _ALIKE_MAX))
