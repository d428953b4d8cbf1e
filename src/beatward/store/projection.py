"""What the tables of nodes, actions, silences and services look like after entries; pure.

Every engine asks here, so they cannot differ in it. Only the last word on a node or an action is
kept: a batch in which a node flaps a hundred times costs one row.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from beatward.core.entry import (
    FAILED,
    SUCCEEDED,
    ActionRecord,
    Entry,
    Event,
    Failure,
    NodeRecord,
    ServiceRecord,
    Silence,
)

# This many of the newest entries are searched for actions whose last attempt failed: 0.1 s.
OUTCOMES_LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node's row after an entry; None where the node was forgotten."""

    sequence: int
    record: NodeRecord | None


@dataclass(frozen=True, slots=True)
class ActionChange:
    """An action's row after an entry; `at_ns` is the entry's instant."""

    sequence: int
    at_ns: int
    record: ActionRecord


@dataclass(frozen=True, slots=True)
class SilenceChange:
    """A silence's row after an entry; None where it has ended."""

    sequence: int
    silence: Silence | None


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """A service's row after an entry; it never goes, for its token must not be given twice."""

    sequence: int
    record: ServiceRecord


@dataclass(frozen=True, slots=True)
class Changes:
    """The last change of every node and service by name, action by key, silence by id."""

    nodes: dict[str, NodeChange] = field(default_factory=dict)
    actions: dict[str, ActionChange] = field(default_factory=dict)
    silences: dict[str, SilenceChange] = field(default_factory=dict)
    services: dict[str, ServiceChange] = field(default_factory=dict)


def changed_node(entry: Entry) -> str | None:
    """Return the name of the node whose row an entry changes or removes."""
    if entry.event == Event.FORGOTTEN:
        return entry.node
    return None if entry.node_record is None else entry.node_record.name


def changed_action(entry: Entry) -> str | None:
    """Return the key of the action whose row an entry changes."""
    return None if entry.action_record is None else entry.action_record.key


def changed_silence(entry: Entry) -> str | None:
    """Return the id of the silence whose row an entry makes or removes."""
    return None if entry.silence is None else entry.silence.id


def changed_service(entry: Entry) -> str | None:
    """Return the name of the service whose row an entry changes."""
    return None if entry.service_record is None else entry.service_record.name


def project(entries: Iterable[Entry]) -> Changes:
    """Return the rows that remain to be written after a batch, in the entries' order."""
    changes = Changes()
    for entry in entries:
        name = changed_node(entry)
        if name is not None:
            forgotten = entry.event == Event.FORGOTTEN
            # Taken out first, so that the last to change is also the last in the dict.
            changes.nodes.pop(name, None)
            record = None if forgotten else entry.node_record
            changes.nodes[name] = NodeChange(entry.sequence, record)
        if entry.action_record is not None:
            key = entry.action_record.key
            changes.actions.pop(key, None)
            changes.actions[key] = ActionChange(entry.sequence, entry.at_ns, entry.action_record)
        if entry.silence is not None:
            ended = entry.event == Event.UNSILENCED
            left = None if ended else entry.silence
            changes.silences[entry.silence.id] = SilenceChange(entry.sequence, left)
        if entry.service_record is not None:
            service = ServiceChange(entry.sequence, entry.service_record)
            changes.services[entry.service_record.name] = service
    return changes


def last_failures(outcomes: Iterable[tuple[str, str, int, str]]) -> tuple[Failure, ...]:
    """Return the actions whose last attempt failed, in the order of their names.

    outcomes   of attempts, oldest first: action, outcome, instant (ns), message
    """
    found: dict[str, Failure] = {}
    for action, outcome, at_ns, message in outcomes:
        if outcome in SUCCEEDED:
            found.pop(action, None)
        elif outcome in FAILED:
            found[action] = Failure(action, at_ns, message)
    return tuple(found[name] for name in sorted(found))
