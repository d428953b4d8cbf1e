"""What the API's answers about services look like; the rest is in `shapes`.

The answers themselves are built in `services`, and the tests hold both together.
"""

from typing import Literal

from pydantic import ConfigDict, Field

from beatward.action_settings import StatusWord
from beatward.web.shape import Shape
from beatward.web.shapes import MaintenanceShape

_AT = "RFC 3339, UTC, milliseconds."
ModeWord = Literal["balance", "failover"]
PhaseWord = Literal["vacant", "promoting", "held", "demoting", "waiting", "refused"]
StateWord = Literal["standby", "unable", "promoting", "active", "demoting", "stuck"]


class ServiceMember(Shape):
    """A node that offers a service."""

    node: str = Field(description="The node.")
    status: StatusWord = Field(description="What the monitor holds the node to be.")
    state: StateWord | None = Field(
        description="Where it stands, as it said last; null: it has not said so, or need not."
    )
    token: int = Field(description="The token that it said with it.")
    freshness: int | None = Field(
        description="How far its copy of the data has come, as it said; more is fresher."
    )
    heard: str | None = Field(description=f"When it said so. {_AT}")
    heard_ago_ns: int | None = Field(description="How long ago that was, nanoseconds.")
    address: str = Field(description="Where it serves, as it declared.")
    port: int = Field(description="And at which port; 0: none.")
    weight: int = Field(description="Its share of traffic.")
    priority: int = Field(description="The highest is promoted first.")
    zone: str = Field(description="Its zone, its own or its node's.")
    version: str = Field(description="What of the service runs there.")
    labels: dict[str, str] = Field(description="Words about it.")
    healthy: bool = Field(description="It serves, or could.")
    hindrance: str | None = Field(
        description="Why the role cannot go to it now, in a few words; null: it could."
    )
    remark: str | None = Field(
        default=None,
        description="What it says of itself beside that, mostly what its hook has said.",
    )


class ServiceShape(Shape):
    """A service, who offers it, and who holds its role."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "db",
                    "mode": "failover",
                    "phase": "held",
                    "holder": "db-1",
                    "token": 3,
                    "since": "2026-11-23T07:15:02.123Z",
                    "since_ns": 724_100_000_000,
                    "until": "2026-11-23T07:27:09.331Z",
                    "until_in_ns": 3_108_000_000,
                    "reason": "",
                    "explanation": "db is held by db-1 under token 3",
                    "automatic": True,
                    "paused": None,
                    "target": None,
                    "lease_ns": 2_000_000_000,
                    "demote_within_ns": 1_000_000_000,
                    "members": [
                        {
                            "node": "db-1",
                            "status": "alive",
                            "state": "active",
                            "token": 3,
                            "freshness": 83_886_080,
                            "heard": "2026-11-23T07:27:06.223Z",
                            "heard_ago_ns": 322_000_000,
                            "address": "10.0.0.1",
                            "port": 5432,
                            "weight": 100,
                            "priority": 100,
                            "zone": "a",
                            "version": "15.6",
                            "labels": {},
                            "healthy": True,
                            "hindrance": "holds the role",
                            "remark": None,
                        }
                    ],
                }
            ]
        },
    )
    name: str = Field(description="What it is called.")
    mode: ModeWord = Field(
        description="`balance`: all healthy members serve; `failover`: one of them holds the role."
    )
    phase: PhaseWord | None = Field(description="Where the role stands; null: mode `balance`.")
    holder: str | None = Field(
        description="The node that has the role, takes it or gives it up; null: none."
    )
    token: int = Field(description="The newest fencing token; 0: there was none yet.")
    since: str | None = Field(description=f"When the phase began. {_AT}")
    since_ns: int | None = Field(description="How long ago that was, nanoseconds.")
    until: str | None = Field(
        description="No other node gets the role before this, unless its holder gives it back or "
        f"is fenced; null: nothing holds it back. {_AT}"
    )
    until_in_ns: int | None = Field(description="How far off that is, nanoseconds.")
    reason: str = Field(description="Why no node may have the role, or what is waited for.")
    explanation: str = Field(description="All of it as one sentence.")
    automatic: bool = Field(description="It fails over by itself, unless it is paused.")
    paused: MaintenanceShape | None = Field(
        description="Who paused automatic failover; null: no pause."
    )
    target: str | None = Field(description="The node it is being moved to on request.")
    lease_ns: int = Field(description="How long the role is lent at a time.")
    demote_within_ns: int = Field(description="How long after that a holder may take to stop.")
    members: list[ServiceMember] = Field(description="In order of their names.")


class ServiceList(Shape):
    """All services in order of their names."""

    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    services: list[ServiceShape] = Field(description="All that nodes have declared.")


class OrderedService(Shape):
    """The order is on its way; what follows from it appears in the journal and in the service."""

    ordered: str = Field(
        description="`switchover`, `failover`, `pause_service` or `resume_service`."
    )
    service: str = Field(description="The service.")
    to: str | None = Field(description="The node that was asked for; null: the best.")
    token: int = Field(description="The newest token before the order.")
    until: str | None = Field(description=f"pause: the planned end, if there is one. {_AT}")
    last_event: int = Field(description="What follows has larger ids than this.")
