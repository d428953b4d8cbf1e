"""POST /v1/join, and the quiet enrolment of a node that shows a secret only it can have.

A node's bearer token and ping URL are derived from the master key, so who shows one was given it
by the monitor's owner: the node is enrolled with its first heartbeat, without a join.
"""

import secrets
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from beatward.core.instants import SECOND
from beatward.core.order_kinds import Join
from beatward.core.protocol import join
from beatward.core.protocol.keys import node_id
from beatward.errors import JoinRefused
from beatward.web.access import Served
from beatward.web.backend import MonitorMachine
from beatward.web.jobs import JobBody, plan_of
from beatward.web.problems import Problem, inbox_full
from beatward.web.shapes import Body, Labels, problems

router = APIRouter(tags=["agents"])


def enrol_if_unknown(machine: MonitorMachine, name: str) -> bool:
    """Order the enrolment of a name unless it is known; False: the inbox is full.

    Between an order and the next snapshot a second order may follow; it changes nothing.
    """
    return machine.snapshot().find(name) >= 0 or machine.order(Join(name))


Encoded = Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9_-]*$")]


class JoinBody(Body):
    """Who a node wants to be, and the proof that it holds a join token."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "web-3",
                    "payload": "eyJleHBpcmVzIjogMCwgIm5hbWVzIjogIioiLCAic2VyaWFsIjogIjEifQ",
                    "nonce": "3q2-7wAAAAAAAAAAAAAAAA",
                    "proof": "0Y1o1mFfRk3cG7v0r7ZQ0w",
                    "labels": {"zone": "a"},
                }
            ]
        },
    )
    name: str = Field(max_length=128, description="The name to be enrolled under.")
    payload: Encoded = Field(description="The middle part of the join token.")
    nonce: Encoded = Field(description="Chance, base64url without padding.")
    proof: Encoded = Field(description="Made with the token's secret; see docs/protocol.md.")
    job: JobBody | None = Field(None, description="What it promises, if it runs now and then.")
    labels: Labels = Field(
        default_factory=dict,
        description="Words about the node, such as its zone; without it they stay.",
    )


class Joined(BaseModel):
    """What the node needs to speak; only who knows the token's secret can open the key."""

    node: str = Field(description="The node's identity on the wire, 16 hexadecimal digits.")
    udp: str = Field(description="host:port that takes the node's datagrams.")
    nonce: str = Field(description="The monitor's chance, base64url.")
    sealed_key: str = Field(description="The node's key under a pad of the secret, base64url.")
    proof: str = Field(description="That the answer comes from the maker of the token.")


@router.post(
    "/v1/join",
    summary="Enrol a node",
    responses=problems(400, 403, 422, 503),
)
def ask_to_join(body: JoinBody, backend: Served) -> Joined:
    """Enrol under a name with the proof of a join token, again as often as you like.

    The token's secret and the node's key never cross the network; a join may go over plain HTTP.
    """
    asked = join.JoinRequest(body.name, body.payload, body.nonce, body.proof)
    machine = backend.machine
    try:
        answer = join.answer(
            backend.identity.master,
            asked,
            nonce=secrets.token_bytes(join.NONCE_SIZE),
            udp=backend.identity.udp,
            now=(machine.now_ns() + machine.wall_offset_ns()) // SECOND,
            epoch=backend.key_records.epoch(node_id(body.name)),
        )
    except JoinRefused as error:
        raise Problem(403, "join-refused", str(error), more={"reason": str(error)}) from error
    job = None if body.job is None else plan_of(body.name, body.job)
    relabels = "labels" in body.model_fields_set
    order = Join(body.name, body.labels, relabels=relabels, job=job)
    if not machine.order(order):
        raise inbox_full()
    return Joined(
        node=answer.node,
        udp=answer.udp,
        nonce=answer.nonce,
        sealed_key=answer.sealed_key,
        proof=answer.proof,
    )
