"""POST /v1/join, and the quiet enrolment of a node that shows a secret only it can have.

A node's bearer token and ping URL are derived from the master key, so who shows one was given it
by the monitor's owner: the node is enrolled with its first heartbeat, without a join.
"""

import secrets
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from beatward.core.instants import SECOND
from beatward.core.order_kinds import Join
from beatward.core.protocol import join
from beatward.core.protocol.keys import NAME_LENGTH_MAX, node_id
from beatward.errors import JoinRefused, TemporaryError
from beatward.web.access import Keyring, Served
from beatward.web.backend import Backend, MonitorMachine
from beatward.web.challenges import Challenges
from beatward.web.jobs import JobBody, plan_of
from beatward.web.problems import Problem, inbox_full
from beatward.web.request_fields import Body, Labels
from beatward.web.shapes import problems

router = APIRouter(tags=["agents"])


def enrol_if_unknown(machine: MonitorMachine, name: str) -> bool:
    """Order the enrolment of a name unless it is known; False: the inbox is full.

    Between an order and the next snapshot a second order may follow; it changes nothing.
    """
    return machine.snapshot().find(name) >= 0 or machine.order(Join(name))


_BASE64URL = r"^[A-Za-z0-9_-]*$"
Encoded = Annotated[str, StringConstraints(max_length=512, pattern=_BASE64URL)]
# The largest labels fit as UTF-8, and the body around it is at most 64 KiB.
_REQUEST_LENGTH_MAX = 60_000
_OLDER = (
    "this agent joins as an older version did, without a challenge of the monitor: upgrade "
    "beatward on the node to the monitor's version. Nodes that are enrolled go on as they are"
)


class JoinBody(Body):
    """Who a node wants to be, and the proof that it holds a join token."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request": "eyJuYW1lIjogIndlYi0zIiwgIm5vbmNlIjogIjNxMi03d0FBQUFBQUFBQUEifQ",
                    "payload": "eyJleHBpcmVzIjogMCwgIm5hbWVzIjogIioiLCAic2VyaWFsIjogIjEifQ",
                    "challenge": "AAAAAAAAAAC7u7u7u7u7uwAAAAAAAAAAAAAAAAAAAAA",
                    "proof": "0Y1o1mFfRk3cG7v0r7ZQ0w",
                }
            ]
        },
    )
    request: Annotated[
        str, StringConstraints(max_length=_REQUEST_LENGTH_MAX, pattern=_BASE64URL)
    ] = Field(
        description="base64url of JSON: `name` and `nonce` (chance, base64url), and if wanted "
        "`labels` and `job`, as `POST /v1/agent/node` has them."
    )
    payload: Encoded = Field(description="The middle part of the join token.")
    challenge: Encoded = Field(description="What `POST /v1/join/challenge` gave, within 60 s.")
    proof: Encoded = Field(description="Made with the token's secret; see docs/protocol.md.")
    known: Encoded = Field(
        "", description="The same made with the name's key, by a node that has it."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_older(cls, said: Any) -> Any:
        if isinstance(said, dict) and "nonce" in said and "challenge" not in said:
            raise _refused(_OLDER)
        return said


class JoinText(Body):
    """What the request of a join says, once its proof was checked."""

    name: str = Field(max_length=NAME_LENGTH_MAX)
    nonce: Encoded
    job: JobBody | None = None
    labels: Labels = Field(default_factory=dict)


class Challenge(BaseModel):
    """What a join has to prove within a minute."""

    challenge: str = Field(description="base64url; good for one join.")


class Joined(BaseModel):
    """What the node needs to speak; only who knows the token's secret can open the key."""

    node: str = Field(description="The node's identity on the wire, 16 hexadecimal digits.")
    udp: str = Field(description="host:port that takes the node's datagrams.")
    nonce: str = Field(description="The monitor's chance, base64url.")
    sealed_key: str = Field(description="The node's key under a pad of the secret, base64url.")
    proof: str = Field(description="That the answer comes from the maker of the token.")


@router.post("/v1/join/challenge", summary="Ask for a challenge", responses=problems(422))
def make_challenge(request: Request) -> Challenge:
    """Return a challenge for one join within the next 60 s; it costs the monitor nothing."""
    return Challenge(challenge=_challenges(request).make())


@router.post("/v1/join", summary="Enrol a node", responses=problems(400, 403, 422, 503))
def ask_to_join(body: JoinBody, request: Request, backend: Served) -> Joined:
    """Enrol under a name with the proof of a join token.

    The token's secret and the node's key never cross the network; a join may go over plain HTTP.
    A name that is taken is given to a node that proves to have its key, or that holds a token of
    `beatward token new --replace`.
    """
    sent = body.payload, body.challenge, body.proof, body.known
    try:
        asked, said = _opened(join.JoinRequest("", "", body.request, *sent), request, backend)
        terms = _checked_terms(asked, backend)
        _challenges(request).use(asked.challenge)
        keyring: Keyring = request.app.state.keyring
        key = keyring.key_of(node_id(said.name))
        is_replaced = _check_taken(asked, terms, key, backend)
    except JoinRefused as error:
        raise _refused(str(error)) from error
    except TemporaryError as error:
        raise Problem(503, "too-many-joins", str(error), headers={"Retry-After": "5"}) from error
    host = request.client.host if request.client else ""
    order = Join(
        said.name,
        said.labels,
        relabels="labels" in said.model_fields_set,
        job=None if said.job is None else plan_of(said.name, said.job),
        replaced_by=f"{host} with the join token {terms.serial}" if is_replaced else "",
    )
    if not backend.machine.order(order):
        raise inbox_full()
    nonce = secrets.token_bytes(join.NONCE_SIZE)
    identity = backend.identity
    answer = join.answer(identity.master, asked, key, nonce=nonce, udp=identity.udp)
    return Joined(**asdict(answer))


def _opened(
    sent: join.JoinRequest, request: Request, backend: Backend
) -> tuple[join.JoinRequest, JoinText]:
    """Check challenge and proof, and only then read what the text says."""
    _challenges(request).check(sent.challenge)
    join.check_proof(backend.identity.master, sent)
    try:
        said = JoinText.model_validate_json(join.decoded(sent.text))
    except ValidationError as error:
        found = [{**one, "loc": ("body", "request", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found) from error
    except ValueError as error:
        raise JoinRefused("the request of the join is no base64url") from error
    return replace(sent, name=said.name, nonce=said.nonce), said


def _checked_terms(asked: join.JoinRequest, backend: Backend) -> join.JoinTerms:
    machine = backend.machine
    return join.check_terms(asked, (machine.now_ns() + machine.wall_offset_ns()) // SECOND)


def _check_taken(
    asked: join.JoinRequest, terms: join.JoinTerms, key: bytes, backend: Backend
) -> bool:
    """Tell whether the name is taken and given out again; raises JoinRefused where it may not.

    Taken is a name that has spoken. One that was only declared, as a job of the settings, or whose
    agent died before its first heartbeat, is not: nothing is lost by giving its key out.
    """
    snapshot = backend.machine.snapshot()
    row = snapshot.find(asked.name)
    if row < 0 or not snapshot.state.registry.incarnation[row] or join.has_key(asked, key):
        return False
    if terms.replaces:
        return True
    raise JoinRefused(
        f"a node called {asked.name} is enrolled already, and this join shows neither its key nor "
        "a token that may replace it. If this is another node, give it another name "
        "(BEATWARD_NAME); if it has lost its state, make a token for it on the monitor's machine: "
        f"beatward token new --node {asked.name} --replace"
    )


def _refused(reason: str) -> Problem:
    return Problem(403, "join-refused", reason, more={"reason": reason})


def _challenges(request: Request) -> Challenges:
    found: Challenges = request.app.state.challenges
    return found
