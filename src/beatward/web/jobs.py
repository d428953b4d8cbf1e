"""Jobs: declaring them, and asking about their runs."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field, StringConstraints, ValidationError
from starlette.responses import Response

from beatward.config import JobSettings
from beatward.core.entry import JobPlan
from beatward.core.order_kinds import Join
from beatward.store.rows import timestamp
from beatward.web import shapes
from beatward.web.access import Served, may_command, may_read
from beatward.web.nodes import Name, node_objects
from beatward.web.problems import Problem, inbox_full
from beatward.web.request_fields import Body
from beatward.web.shapes import problems

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_Words = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class JobBody(Body):
    """What a job promises: a schedule or a period, and how late and how long it may be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "schedule": "0 3 * * *",
                    "timezone": "Europe/Berlin",
                    "grace": "10m",
                    "max_run": "2h",
                }
            ]
        },
    )
    schedule: _Words | None = Field(None, description="Five fields of cron. Or say `every`.")
    timezone: _Words = Field("UTC", description="Of the schedule, as in `Europe/Berlin`.")
    every: _Words | None = Field(None, description="Due this long after the last run ended.")
    grace: _Words = Field("10m", description="How late a run may begin, or end.")
    max_run: _Words | None = Field(
        None, description="How long a run may take. Default: as `grace`."
    )


def plan_of(name: str, body: JobBody) -> JobPlan:
    """Return what a job promises, checked as in the settings; raises Problem."""
    members = body.model_dump(exclude_none=True)
    try:
        return JobSettings.model_validate({"name": name, **members}).plan()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        expected = str(first["msg"]).removeprefix("Value error, ")
        detail = f"the job {name}: expected {where + ': ' if where else ''}{expected}"
        raise Problem(422, "not-as-expected", detail) from error


@router.get(
    "",
    summary="List jobs",
    response_model=shapes.JobList,
    dependencies=[Depends(may_read)],
    responses=problems(401),
)
def list_jobs(backend: Served) -> Response:
    """Return all nodes that are jobs, in order of their names."""
    snapshot = backend.machine.snapshot()
    rows = sorted(snapshot.state.jobs.records, key=snapshot.names.__getitem__)
    body = {
        "at": timestamp(snapshot.taken_ns + snapshot.wall_offset_ns),
        "jobs": node_objects(snapshot, rows),
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


@router.put(
    "/{name}",
    summary="Declare a job",
    status_code=202,
    dependencies=[Depends(may_command)],
    responses=problems(400, 401, 422, 503),
)
def declare_job(name: Name, body: JobBody, backend: Served) -> shapes.Ordered:
    """Make a node a job, or change what it promises; a node that is not known is enrolled.

    `DELETE /v1/nodes/{name}` removes it.
    """
    if not backend.machine.order(Join(name, job=plan_of(name, body))):
        raise inbox_full()
    return shapes.Ordered(ordered="job", node=name)
