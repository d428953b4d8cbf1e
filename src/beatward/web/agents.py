"""What agents fetch and report: actions that the monitor asks a node's own settings to run.

The monitor hands out a name and a key, never a command line. Not here: when an action is handed
out and when it has been waited for long enough (`actions.restart.mailbox`).
"""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from beatward.actions.restart.mailbox import KEY_LENGTH_MAX, MESSAGE_LENGTH_MAX
from beatward.core.outbox import Outcome
from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.web.access import NODE_BEARER, Keyring, Served, shown_token, unauthorized
from beatward.web.problems import shown
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


class InboxBody(BaseModel):
    """Who asks."""

    model_config = ConfigDict(extra="forbid")
    name: _Name


class Letter(BaseModel):
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
    actions: list[Letter] = Field(description="At most 64; ask again for more.")


class OutcomeBody(BaseModel):
    """What became of one attempt."""

    model_config = ConfigDict(
        extra="forbid",
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
    attempt: int = Field(description="The attempt's number.", ge=1, le=1_000_000)
    result: Literal["success", "temporary", "permanent"] = Field(
        description="`temporary` is tried again, `permanent` never."
    )
    message: str = Field(
        default="",
        description=f"A sentence for people; {MESSAGE_LENGTH_MAX} characters are kept.",
        max_length=4000,
    )


class OutcomeAnswer(BaseModel):
    """The report was taken, or nobody waits for it any more."""

    model_config = ConfigDict(extra="forbid")
    taken: bool = Field(description="False: too late, or for an attempt nobody asked for.")


@router.post(
    "/inbox",
    summary="Fetch actions",
    response_model=InboxAnswer,
    responses=problems(400, 401, 413, 422),
)
def fetch_actions(body: InboxBody, request: Request, backend: Served) -> Response:
    """Return the actions that wait for the agent on a node; ask when an answer said `mail`."""
    _admit(request, body.name)
    letters: list[Any] = [msgspec.to_builtins(one) for one in backend.mail.waiting(body.name)]
    return Response(msgspec.json.encode({"actions": letters}), media_type="application/json")


@router.post(
    "/outcome",
    summary="Report an action",
    responses=problems(400, 401, 413, 422),
)
def report_outcome(body: OutcomeBody, request: Request, backend: Served) -> OutcomeAnswer:
    """Say what became of an action; say it again when no answer came, it counts once."""
    _admit(request, body.name)
    outcome = Outcome(body.key, body.attempt, body.result, body.message[:MESSAGE_LENGTH_MAX])
    return OutcomeAnswer(taken=backend.mail.outcome(body.name, outcome))


def _admit(request: Request, name: str) -> None:
    keyring: Keyring = request.app.state.keyring
    if keyring.admit_bearer(name, shown_token(request.scope)) is None:
        raise unauthorized(
            f"expected the bearer token of the node {shown(name)}, bwn1_...; it is derived from "
            "the node's key"
        )
