"""What agents fetch and report: actions that the monitor asks a node's own settings to run, and
what services a node offers.

The monitor hands out a name and a key, never a command line. Not here: when an action is handed
out and when it has been waited for long enough (`actions.agent`), who gets a role
(`core.roles.machine`), and what people ask of services (`services`).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from beatward.actions.agent import KEY_LENGTH_MAX, MESSAGE_LENGTH_MAX
from beatward.core.entry import Declaration
from beatward.core.order_kinds import Declare, Join, Order
from beatward.core.outbox import AttemptResult, Outcome
from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.core.protocol.roles import service_id
from beatward.core.snapshot import Snapshot
from beatward.web.access import NODE_BEARER, Served, admit_node
from beatward.web.problems import Problem, inbox_full, shown
from beatward.web.remarks import REMARK_LENGTH_MAX
from beatward.web.request_fields import Body, HostText, Labels, LabelText, PrintedText, Whole
from beatward.web.selection import find_service
from beatward.web.shapes import problems

router = APIRouter(prefix="/v1/agent", tags=["agents"], dependencies=[Depends(NODE_BEARER)])
_Name = Annotated[
    str,
    Field(
        description="The agent's own node; the bearer token is that node's.",
        max_length=NAME_LENGTH_MAX,
        examples=["web-3"],
    ),
]


class InboxBody(Body):
    """Who asks."""

    name: _Name


class PendingActionShape(BaseModel):
    """One action to run."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(description="The name of the deed for ever: run it once, report it again.")
    name: str = Field(description="What the agent's own settings call the run.")
    node: str = Field(description="The node it is about; not always the agent's own.")
    attempt: int = Field(description="1 for the first.")
    timeout_ns: int = Field(description="End the run when it takes longer.")


class InboxAnswer(BaseModel):
    """What waits, oldest first; it is there again until it is reported."""

    model_config = ConfigDict(extra="forbid")
    actions: list[PendingActionShape] = Field(description="At most 64; ask again for more.")


class OutcomeBody(Body):
    """What became of one attempt."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "web-3",
                    "key": "4711/restart",
                    "attempt": 1,
                    "result": "success",
                    "message": "nginx runs again after 1.2 s",
                }
            ]
        },
    )
    name: _Name
    key: str = Field(description="The action's key.", max_length=KEY_LENGTH_MAX)
    attempt: Whole = Field(description="The attempt's number.", ge=1, le=1_000_000)
    result: Literal["success", "temporary", "permanent"] = Field(
        description="`temporary` is tried again, `permanent` never."
    )
    message: PrintedText = Field(
        default="",
        description=f"A sentence for people; {MESSAGE_LENGTH_MAX} characters are kept.",
        max_length=4000,
    )


class OutcomeAnswer(BaseModel):
    """The report was taken, or no action waits for it any more."""

    model_config = ConfigDict(extra="forbid")
    taken: bool = Field(description="False: too late, or for an attempt that was not asked for.")


_ServiceName = Annotated[
    str,
    Field(
        description="The service: letters, digits and `._:@-`.",
        max_length=NAME_LENGTH_MAX,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$",
        examples=["db"],
    ),
]
SERVICES_MAX = 32


class OfferedService(Body):
    """One service as a node offers it."""

    name: _ServiceName
    mode: Literal["balance", "failover"] = Field(
        default="balance",
        description="`balance`: all healthy members serve; `failover`: one of them holds the role.",
    )
    address: HostText = Field(
        default="", description="The host name or IP address where it is reached."
    )
    port: Whole = Field(default=0, description="And at which port; 0: none.", ge=0, le=65535)
    weight: Whole = Field(default=100, description="Its share of traffic.", ge=0, le=1_000_000)
    priority: Whole = Field(
        default=100,
        description="The highest is promoted first.",
        ge=-1_000_000,
        le=1_000_000,
    )
    zone: LabelText = Field(default="", description="Without it the node's own label `zone`.")
    version: LabelText = Field(default="", description="What of it runs here.")
    labels: Labels = Field(default_factory=dict, description="Words about it.")


class ServicesBody(Body):
    """All that a node offers, in place of what it offered before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "db-1",
                    "services": [
                        {"name": "db", "mode": "failover", "address": "10.0.0.1", "port": 5432}
                    ],
                }
            ]
        },
    )
    name: _Name
    services: list[OfferedService] = Field(
        description="None: it offers nothing any more.", max_length=SERVICES_MAX
    )


class KnownService(BaseModel):
    """What a service is called on the wire."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="The service.")
    id: int = Field(description="Its identity in standings and grants; see docs/protocol.md.")


class ServicesAnswer(BaseModel):
    """The declaration is on its way into the journal."""

    model_config = ConfigDict(extra="forbid")
    services: list[KnownService] = Field(description="In the order of the request.")


class MemberRemark(Body):
    """What a node says of itself as a member of one service."""

    service: _ServiceName
    remark: Annotated[PrintedText, Field(max_length=REMARK_LENGTH_MAX)] = Field(
        description="Words for people, mostly those of a hook that failed."
    )


class RemarksBody(Body):
    """What a node says of itself as a member of services, in place of what it said before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "db-1", "remarks": [{"service": "db", "remark": "start: no disk"}]}
            ]
        },
    )
    name: _Name
    remarks: list[MemberRemark] = Field(
        description="None: there is nothing to say any more.", max_length=SERVICES_MAX
    )


class RemarksAnswer(BaseModel):
    """The remarks were taken; they are shown until others come, or the monitor ends."""

    model_config = ConfigDict(extra="forbid")
    taken: int = Field(description="How many.")


class PrimaryBody(Body):
    """Who asks about which service."""

    name: _Name
    service: _ServiceName


class Holder(BaseModel):
    """Who has a role, and where it serves."""

    model_config = ConfigDict(extra="forbid")
    node: str = Field(description="The node.")
    address: str = Field(description="As it declared it; may be empty.")
    port: int = Field(description="As it declared it; 0: none.")


class PrimaryAnswer(BaseModel):
    """Who holds a role, as of a moment ago."""

    model_config = ConfigDict(extra="forbid")
    service: str = Field(description="The service.")
    token: int = Field(description="The newest fencing token; 0: there was none yet.")
    phase: str | None = Field(description="As `GET /v1/services/{name}` has it.")
    holder: Holder | None = Field(description="Null: none, or the service is balanced.")


@router.post(
    "/services",
    summary="Declare services",
    status_code=202,
    responses=problems(400, 401, 409, 413, 422, 503),
)
def declare_services(body: ServicesBody, request: Request, backend: Served) -> ServicesAnswer:
    """Say which services a node offers; say it at every start, unchanged it costs nothing.

    A service has one mode: as long as another node offers it, this one cannot offer it otherwise.
    """
    admit_node(request, body.name)
    snapshot = backend.machine.snapshot()
    _check(snapshot, body.name, body.services)
    declared = tuple(Declaration(**one.model_dump()) for one in body.services)
    orders: list[Order] = [Declare(body.name, services=declared)]
    if snapshot.find(body.name) < 0:
        # Enrolled a moment ago, or forgotten since; who holds the node's token may enrol it.
        orders.insert(0, Join(body.name))
    if not all(backend.machine.order(order) for order in orders):
        raise inbox_full()
    known = [KnownService(name=one.name, id=service_id(one.name)) for one in declared]
    return ServicesAnswer(services=known)


@router.post(
    "/remarks",
    summary="Say why a member is unable",
    status_code=202,
    responses=problems(400, 401, 413, 422),
)
def take_remarks(body: RemarksBody, request: Request, backend: Served) -> RemarksAnswer:
    """Say in words what keeps a member from taking a role; it is only shown, never judged by."""
    admit_node(request, body.name)
    backend.remarks.note(body.name, {one.service: one.remark for one in body.remarks})
    return RemarksAnswer(taken=len(body.remarks))


@router.post(
    "/primary",
    summary="Ask who holds a role",
    responses=problems(400, 401, 404, 413, 422),
)
def ask_primary(body: PrimaryBody, request: Request, backend: Served) -> PrimaryAnswer:
    """Say which node has the role of a service, for programs that follow it."""
    admit_node(request, body.name)
    view = find_service(backend.machine.snapshot(), body.service)
    holder = None
    for member in view.members:
        if member.node == view.holder:
            holder = Holder(node=member.node, address=member.address, port=member.port)
    phase = None if view.phase is None else str(view.phase)
    return PrimaryAnswer(service=view.name, token=view.token, phase=phase, holder=holder)


@router.post(
    "/inbox",
    summary="Fetch actions",
    response_model=InboxAnswer,
    responses=problems(400, 401, 413, 422),
)
def fetch_actions(body: InboxBody, request: Request, backend: Served) -> Response:
    """Return the actions that wait for the agent on a node; ask when an answer said `mail`."""
    admit_node(request, body.name)
    pending: list[Any] = [msgspec.to_builtins(one) for one in backend.mail.waiting(body.name)]
    return Response(msgspec.json.encode({"actions": pending}), media_type="application/json")


@router.post(
    "/outcome",
    summary="Report an action",
    responses=problems(400, 401, 413, 422),
)
def report_outcome(body: OutcomeBody, request: Request, backend: Served) -> OutcomeAnswer:
    """Say what became of an action; say it again when no answer came, it counts once."""
    admit_node(request, body.name)
    result = AttemptResult(body.result)
    outcome = Outcome(body.key, body.attempt, result, body.message[:MESSAGE_LENGTH_MAX])
    return OutcomeAnswer(taken=backend.mail.outcome(body.name, outcome))


def _check(snapshot: Snapshot, node: str, offered: Sequence[OfferedService]) -> None:
    """Raise Problem when these services cannot stand beside each other, or beside the known."""
    names = [one.name for one in offered]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        detail = f"body.services: expected each service once; {shown(twice[0])} is there twice"
        raise Problem(422, "not-as-expected", detail)
    taken = {service_id(name): name for name in snapshot.services}
    for one in offered:
        other = taken.setdefault(service_id(one.name), one.name)
        if other != one.name:
            detail = (
                f"{shown(one.name)} and {shown(other)} have the same identity on the wire, by "
                "chance; call one of them otherwise"
            )
            raise Problem(409, "name-taken", detail)
        view = snapshot.services.get(one.name)
        others = [member.node for member in view.members if member.node != node] if view else []
        if view is not None and others and view.mode != one.mode:
            detail = (
                f"{node} offers {one.name} in mode {one.mode}, and {others[0]} in mode "
                f"{view.mode}; a service has one mode: change one of them"
            )
            raise Problem(409, "other-mode", detail)
