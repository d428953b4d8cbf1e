"""A journal that lives as long as its process: for the simulated world, and for tests.

It promises what every engine promises except to outlive the process. No threads, no files and
no clock, so it may be used where those are forbidden.
"""

from collections.abc import Sequence

from beatward.core.entry import (
    FAILED,
    SUCCEEDED,
    ActionRecord,
    ActionState,
    Entry,
    Event,
    NodeRecord,
    Recovered,
    ServiceRecord,
    Silence,
)
from beatward.store.projection import OUTCOMES_LOOKED_AT, last_failures, project


class MemoryStore:
    """`ports.Store` in lists and dicts."""

    def __init__(self) -> None:
        self._entries: list[tuple[Entry, int]] = []
        # Their instants are wall-clock time in here.
        self._nodes: dict[str, NodeRecord] = {}
        self._silences: dict[str, Silence] = {}
        self._services: dict[str, ServiceRecord] = {}
        self._actions: dict[str, ActionRecord] = {}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries in order, their instants on the clock of the monitor that appended them."""
        return tuple(entry for entry, _ in self._entries)

    @property
    def history(self) -> tuple[tuple[Entry, int], ...]:
        """All entries in order, each with its wall-clock nanoseconds."""
        return tuple(self._entries)

    def load(self, *, wall_offset_ns: int) -> Recovered:
        """Return the last sequence, all nodes by name, undecided actions in order of change."""
        nodes = (self._nodes[name] for name in sorted(self._nodes))
        return Recovered(
            sequence=self._last(),
            nodes=tuple(record.moved(-wall_offset_ns) for record in nodes),
            actions=tuple(
                record for record in self._actions.values() if record.state == ActionState.DECIDED
            ),
            silences=tuple(
                self._silences[name].moved(-wall_offset_ns) for name in sorted(self._silences)
            ),
            services=tuple(
                self._services[name].moved(-wall_offset_ns) for name in sorted(self._services)
            ),
            failures=last_failures(
                (
                    str(entry.action),
                    str(entry.outcome),
                    wall_ns - wall_offset_ns,
                    entry.detail["message"],
                )
                for entry, wall_ns in self._entries[-OUTCOMES_LOOKED_AT:]
                if entry.event == Event.OUTCOME and entry.outcome in (*SUCCEEDED, *FAILED)
            ),
        )

    def append(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Take entries and their rows; those already there are skipped. Never fails."""
        last = self._last()
        fresh = [entry for entry in entries if entry.sequence > last]
        self._entries += [(entry, entry.at_ns + wall_offset_ns) for entry in fresh]
        changes = project(fresh)
        for name, node in changes.nodes.items():
            if node.record is None:
                self._nodes.pop(name, None)
            else:
                self._nodes[name] = node.record.moved(wall_offset_ns)
        for key, action in changes.actions.items():
            self._actions.pop(key, None)
            self._actions[key] = action.record
        for name, change in changes.silences.items():
            if change.silence is None:
                self._silences.pop(name, None)
            else:
                self._silences[name] = change.silence.moved(wall_offset_ns)
        for name, service in changes.services.items():
            self._services[name] = service.record.moved(wall_offset_ns)

    def close(self) -> None:
        """Do nothing: there is no file to release, and what was written may still be read."""

    def _last(self) -> int:
        return self._entries[-1][0].sequence if self._entries else 0
