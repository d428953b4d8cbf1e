"""Transition -> actions, as data: which rule answers which change of a node, or of a role.

A rule is a row of the settings, never code. Not here: when an action may run (`core.outbox`) and
how (`actions/`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate


@dataclass(frozen=True, slots=True)
class ActionRules:
    """One named action, as far as deciding and retrying need to know it.

    kind          `webhook`, `notify` and `exec` (on the monitor), `agent` (a name in its settings)
                  or `fence`
    attempts_max  how often it is tried in all before it counts as failed
    retry_ns      wait before the second attempt; doubles up to retry_max_ns
    revives       whether it repairs the node, and so is withdrawn once the node is back
    destructive   whether it interferes with the node: guards hold it back, and its rate is limited
    """

    name: str
    kind: str
    attempts_max: int = 20
    retry_ns: int = 1_000_000_000
    retry_max_ns: int = 300_000_000_000
    revives: bool = False
    destructive: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """When a node, or a service's role, comes to be so, take these actions, in this order.

    statuses  words of `core.membership.Status`, lower case, of nodes whose name matches `nodes`
    roles     words of `core.roles.TOLD`, of services whose name matches `services`
    """

    statuses: tuple[str, ...]
    actions: tuple[str, ...]
    nodes: str = "*"
    roles: tuple[str, ...] = ()
    services: str = "*"


def decide(rules: tuple[Rule, ...], node: str, status: str) -> tuple[str, ...]:
    """Return the names of the actions that a change of a node to a status calls for, each once."""
    names = (
        name
        for rule in rules
        if status in rule.statuses and fnmatchcase(node, rule.nodes)
        for name in rule.actions
    )
    return tuple(dict.fromkeys(names))


def decide_for_role(rules: tuple[Rule, ...], service: str, word: str) -> tuple[str, ...]:
    """Return the names of the actions that what became of a role calls for, each once."""
    names = (
        name
        for rule in rules
        if word in rule.roles and fnmatchcase(service, rule.services)
        for name in rule.actions
    )
    return tuple(dict.fromkeys(names))


def decide_for_many(
    rules: tuple[Rule, ...], nodes: Sequence[str], statuses: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the actions that any of these nodes would call for in any of these
    statuses, each once.
    """
    names = (
        name
        for rule in rules
        if not set(rule.statuses).isdisjoint(statuses)
        and any(map(re.compile(translate(rule.nodes)).match, nodes))
        for name in rule.actions
    )
    return tuple(dict.fromkeys(names))
