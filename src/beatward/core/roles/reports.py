"""Role reports of members -> received ones: of a proven life, and of services that there are.

The part of hearing that is about roles. A report proves no life: it counts only from one that a
heartbeat has proved in this session. Of several of one member in a batch the newest says all,
because what a member says of itself only moves forward. A last word is of a life that may be over,
and true for ever: it needs no proof, and is neither newer nor older than others. Not here: whether
the node offers the service, and whether it said this before (`core.roles.candidates`).
"""

from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.intake import ROLE_REPORT, Heartbeats, Intake, Reject, Via
from beatward.core.protocol.roles import LAST_WORD, NO_FRESHNESS, RoleReport, State
from beatward.core.registry import Registry

_STATE_MAX = max(State)


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """A role report, of which life it is, where it came from and when it arrived."""

    slot: int
    incarnation: int
    report: RoleReport
    peer: bytes
    arrived_ns: int


class RoleReports:
    """Opens role reports."""

    def __init__(self, registry: Registry, intake: Intake) -> None:
        self._registry = registry
        self._intake = intake
        self.accepted_count = 0

    def take(self, beats: Heartbeats, services: IntArray) -> list[ReceivedReport]:
        """Return the reports of an authenticated batch that count, in order of arrival.

        services   (s,) the identities of those in failover mode, in order
        """
        beats = self._believed(beats, services)
        self.accepted_count += len(beats.slots)
        beats = beats.take(_newest_of_each(beats))
        reports = beats.records.view(ROLE_REPORT)
        columns = (
            beats.slots,
            reports["incarnation"],
            reports["service"],
            reports["counter"],
            reports["claim"],
            reports["freshness"],
            beats.arrived_ns,
        )
        return [
            ReceivedReport(
                slot,
                incarnation,
                RoleReport(
                    service,
                    counter,
                    State(claim & 0xFF),
                    claim >> 8,
                    None if replication_position == NO_FRESHNESS else replication_position,
                ),
                peer.tobytes(),
                arrived_ns,
            )
            for peer, (
                slot,
                incarnation,
                service,
                counter,
                claim,
                replication_position,
                arrived_ns,
            ) in zip(
                beats.peers, zip(*(column.tolist() for column in columns), strict=True), strict=True
            )
        ]

    def _believed(self, beats: Heartbeats, services: IntArray) -> Heartbeats:
        reports, registry = beats.records.view(ROLE_REPORT), self._registry
        incarnation = reports["incarnation"].astype(np.int64)
        known = registry.incarnation[beats.slots]
        is_current = registry.proven[beats.slots] & (incarnation == known)
        state = reports["claim"] & 0xFF
        is_last = reports["counter"] == LAST_WORD
        checks = (
            # A grant has to find the way back, and only a datagram has one.
            (Reject.KIND, np.full(len(reports), beats.via == Via.UDP)),
            (Reject.RANGE, (state > 0) & (state <= _STATE_MAX)),
            (Reject.OLD_LIFE, (incarnation >= known) | is_last),
            (Reject.UNPROVEN, is_current | is_last),
            (Reject.NO_MEMBER, _are_among(services, reports["service"])),
        )
        kept = np.ones(len(reports), np.bool_)
        for reason, passed in checks:
            self._intake.refuse(reason, int((kept & ~passed).sum()))
            kept &= passed
        return beats.take(kept)


def _are_among(known: IntArray, services: IntArray) -> BoolArray:
    # `np.isin` sorts both each time, which for the few words of one turn is most of their cost.
    if not len(known):
        return np.zeros(len(services), np.bool_)
    places = np.minimum(np.searchsorted(known, services), len(known) - 1)
    found: BoolArray = known[places] == services
    return found


def _newest_of_each(beats: Heartbeats) -> BoolArray:
    """Return which rows have the highest counter of their member; of equals the first.

    Last words are left as they are.
    """
    reports, count = beats.records.view(ROLE_REPORT), len(beats.slots)
    if count < 2:
        return np.ones(count, np.bool_)
    order = np.lexsort((-np.arange(count), reports["counter"], reports["service"], beats.slots))
    slots, services = beats.slots[order], reports["service"][order]
    is_last = np.ones(count, np.bool_)
    is_last[:-1] = (slots[1:] != slots[:-1]) | (services[1:] != services[:-1])
    newest = np.zeros(count, np.bool_)
    newest[order[is_last]] = True
    newest |= reports["counter"] == LAST_WORD
    return newest
