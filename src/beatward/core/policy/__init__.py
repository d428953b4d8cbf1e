"""Transition -> actions, as data: which rule answers which change of status with which action.

A rule is a row of the settings, never code. Not here: when an action may run (`core.outbox`) and
how (`actions/`).
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class ActionSettings:
    """One named action, as far as deciding and retrying need to know it.

    kind          `webhook`, `exec` (on the monitor) or `agent` (a name in an agent's settings)
    attempts_max  how often it is tried in all before it counts as failed
    retry_ns      wait before the second attempt; doubles up to retry_max_ns
    revives       whether it repairs the node, and so is withdrawn once the node is back
    """

    name: str
    kind: str
    attempts_max: int = 20
    retry_ns: int = 1_000_000_000
    retry_max_ns: int = 300_000_000_000
    revives: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """When a node whose name matches enters a status, take these actions, in this order.

    statuses  words of `core.membership.Status`, lower case
    nodes     a pattern as in `web-*`
    """

    statuses: tuple[str, ...]
    actions: tuple[str, ...]
    nodes: str = "*"


def decide(rules: tuple[Rule, ...], node: str, status: str) -> tuple[str, ...]:
    """Return the names of the actions that a change of a node to a status calls for, each once."""
    names = (
        name
        for rule in rules
        if status in rule.statuses and fnmatchcase(node, rule.nodes)
        for name in rule.actions
    )
    return tuple(dict.fromkeys(names))
