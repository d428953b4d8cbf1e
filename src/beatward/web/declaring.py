"""POST /v1/agent/node: a node declares itself again, by the key that it got at its enrolment.

A join token is needed once. The monitor learns again without one what the enrolment taught it:
after its journal was lost (every key can be derived from the master key), after its address for
datagrams has changed, and when the node has other labels or its job another plan. The answer is
proved by the node's key, because it says where datagrams go.

One name is refused: a node that an operator has forgotten needs a join token. The journal says so,
for as long as there is this journal; a lost one knows nothing of it.
"""

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from beatward.core.order_kinds import Readmit
from beatward.core.protocol import join
from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.web.access import NODE_BEARER, Served, admit_node
from beatward.web.enrolment import Encoded
from beatward.web.jobs import JobBody, plan_of
from beatward.web.problems import Problem, inbox_full
from beatward.web.request_fields import Body, Labels
from beatward.web.shapes import problems
from beatward.web.strangers import Strangers

router = APIRouter(prefix="/v1/agent", tags=["agents"], dependencies=[Depends(NODE_BEARER)])


class NodeBody(Body):
    """A node as it declares itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "web-3", "nonce": "3q2-7wAAAAAAAAAAAAAAAA", "labels": {"zone": "b"}}
            ]
        },
    )
    name: str = Field(
        max_length=NAME_LENGTH_MAX, description="The node; the bearer token is that node's."
    )
    nonce: Encoded = Field(description="Chance, base64url without padding, new each time.")
    labels: Labels | None = Field(
        default=None,
        description="Its labels, in place of those it had; without it they stay.",
    )
    job: JobBody | None = Field(None, description="What it promises, if it runs now and then.")


class Declared(BaseModel):
    """The declaration was taken."""

    model_config = ConfigDict(extra="forbid")
    node: str = Field(description="The node's identity on the wire, 16 hexadecimal digits.")
    udp: str = Field(description="host:port that takes the node's datagrams.")
    proof: str = Field(description="That the monitor says so; see docs/protocol.md.")


@router.post("/node", summary="Declare a node", responses=problems(400, 401, 403, 413, 422, 503))
def declare_node(body: NodeBody, request: Request, backend: Served) -> Declared:
    """Declare a node by its own key: enrols it if it is not known, and takes its labels and job.

    403 for a node that was forgotten by an operator: that one needs a join token.
    """
    keys = admit_node(request, body.name)
    strangers: Strangers = request.app.state.strangers
    if backend.machine.snapshot().find(body.name) < 0 and backend.events.was_forgotten(body.name):
        strangers.note(body.name, request.scope, "http", is_forgotten=True)
        detail = (
            f"an operator has forgotten {body.name}, so it is not watched; enrol it again with a "
            f"join token (`beatward token new --node {body.name}` on the monitor's machine), or "
            "end what still runs as it"
        )
        raise Problem(403, "forgotten", detail)
    order = Readmit(
        body.name,
        body.labels or {},
        relabels=body.labels is not None,
        job=None if body.job is None else plan_of(body.name, body.job),
    )
    if not backend.machine.order(order):
        raise inbox_full()
    strangers.drop(body.name)
    udp = backend.identity.udp
    proof = join.vouch(keys.key, body.nonce, udp, body.name)
    return Declared(node=f"{keys.node:016x}", udp=udp, proof=proof)
