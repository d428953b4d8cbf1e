"""OpenAPI for what FastAPI cannot know: the doors in front of the router, and our errors.

The schemas of the doors come from the very types that read and write their JSON.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from beatward.core.protocol.record import RECORD_SIZE
from beatward.web import service_shapes, shapes
from beatward.web.bounds import BODY_SIZE_MAX
from beatward.web.heartbeat import HeartbeatAnswer, HeartbeatBody
from beatward.web.records import RecordsAnswer
from beatward.web.shapes import problems

_SCHEMAS = "#/components/schemas/{name}"
# A component has its class's name without `Shape`, but for this one of the first version.
_COMPONENTS = {"PendingActionShape": "Letter"}


def describe(app: FastAPI) -> None:
    """Make an application's `openapi()` tell of the doors as well."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    # FastAPI's documented way to extend the schema is to replace this method.
    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    _rename_components(schema)
    schemas = schema["components"]["schemas"]
    for model in (*vars(shapes).values(), *vars(service_shapes).values()):
        # FastAPI drops every null on its way, also from examples, which are then no longer true.
        extra = getattr(model, "model_config", {}).get("json_schema_extra", {})
        if extra and (name := _component(model.__name__)) in schemas:
            schemas[name]["examples"] = extra["examples"]
    problem = shapes.ProblemShape.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["Problem"] = problem
    _, of_doors = msgspec.json.schema_components(
        (HeartbeatBody, HeartbeatAnswer, RecordsAnswer), ref_template=_SCHEMAS
    )
    schemas.update(of_doors)
    schemas["HeartbeatBody"]["oneOf"] = [{"required": ["interval"]}, {"required": ["interval_ms"]}]
    schema["paths"].update(_HEARTBEAT | _RECORDS | _PINGS)
    # Every error is ours, so FastAPI's own shape of a wrong request never appears.
    for method, operation in _operations(schema):
        if method == "get" and operation.get("security"):
            # Reads are open on the monitor's own machine, see `access`.
            operation["security"] = [{}, *operation["security"]]
        operation["responses"].setdefault("413", problems(413)[413])
        # A parameter that a route does not have is refused everywhere.
        if "text/plain" not in operation["responses"].get("422", {}).get("content", {}):
            operation["responses"]["422"] = problems(422)[422]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return schema


def _rename_components(schema: dict[str, Any]) -> None:
    """Give the components the names of the document, which the classes of shapes do not have."""
    shaped = schema["components"]["schemas"]
    for old, component in shaped.items():
        component["title"] = _component(old)
    schema["components"]["schemas"] = dict(sorted((_component(old), shaped[old]) for old in shaped))
    references = {
        _SCHEMAS.format(name=old): _SCHEMAS.format(name=_component(old)) for old in shaped
    }
    _rename_references(schema, references)


def _component(class_name: str) -> str:
    return _COMPONENTS.get(class_name, class_name.removesuffix("Shape"))


def _rename_references(part: Any, references: Mapping[str, str]) -> None:
    if isinstance(part, dict):
        if part.get("$ref") in references:
            part["$ref"] = references[part["$ref"]]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            _rename_references(one, references)


def _operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (method, operation)
        for item in schema["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]


def _json(name: str, example: Any) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(name=name)}
    return {"application/json": {"schema": schema, "example": example}}


_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The node's name.",
    "schema": {"type": "string", "maxLength": 128},
    "example": "web-3",
}
_HEARTBEAT: dict[str, Any] = {
    "/v1/nodes/{name}/heartbeat": {
        "parameters": [_NAME],
        "post": {
            "tags": ["heartbeats"],
            "operationId": "post_heartbeat",
            "summary": "Send a heartbeat as JSON",
            "description": (
                "For nodes that cannot send datagrams. Post the first heartbeat of a life with "
                "`echo` 0, and again at once with the `echo` of the answer: only then is it "
                "believed, so that nothing recorded earlier can be played again. The node is "
                "enrolled with its first heartbeat."
            ),
            "security": [{"nodeBearer": []}],
            "requestBody": {
                "required": True,
                "content": _json(
                    "HeartbeatBody",
                    {
                        "incarnation": 1_795_418_102_123_456,
                        "sequence": 0,
                        "interval": "2s",
                        "status": "ok",
                        "cpu": 12.5,
                        "echo": 0,
                    },
                ),
            },
            "responses": {
                "202": {
                    "description": "It is in the monitor's inbox.",
                    "content": _json(
                        "HeartbeatAnswer",
                        {
                            "echo": 1_596_996_162,
                            "interval_ms": 2000,
                            "mail": False,
                            "known": True,
                            "incarnation": 1_795_418_102_123_456,
                            "newer": None,
                        },
                    ),
                },
                **{str(status): answer for status, answer in problems(400, 401, 422, 503).items()},
            },
        },
    },
}
_RECORDS: dict[str, Any] = {
    "/v1/records": {
        "post": {
            "tags": ["heartbeats"],
            "operationId": "post_records",
            "summary": "Hand over what nodes behind a relay have sealed",
            "description": (
                "1 to 1,024 records of 64 bytes, one after the other, as docs/protocol.md has "
                "them: each sealed by its own node, with the flag *relayed*. No token is asked "
                "for, because every record carries its own proof; it is checked when the answer "
                "has long been sent, and what fails is counted in /metrics. Hand the answer's "
                "`echo` to all nodes behind you. After 503 send the same body again."
            ),
            "parameters": [
                {
                    "name": "newer",
                    "in": "query",
                    "description": "`true`: tell in `newer` who has to begin a newer life.",
                    "schema": {"type": "boolean"},
                }
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {
                        "schema": {
                            "type": "string",
                            "format": "binary",
                            "minLength": RECORD_SIZE,
                            "maxLength": BODY_SIZE_MAX,
                        }
                    }
                },
            },
            "responses": {
                "202": {
                    "description": "They are in the monitor's inbox.",
                    "content": _json(
                        "RecordsAnswer",
                        {"taken": 100, "unmarked": 0, "echo": 1_596_996_162, "newer": []},
                    ),
                },
                **{str(status): answer for status, answer in problems(400, 422, 503).items()},
            },
        },
    },
}


def _ping(path: str, word: str, summary: str, description: str) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    key = {**_NAME, "name": "key", "description": "The secret part; `beatward token ping NAME`."}
    code = {**_NAME, "name": "code", "description": "The exit code of a job.", "example": "0"}
    interval = {
        "name": "interval",
        "in": "query",
        "description": "The next ping is promised within this: `5m`, `1d`. 60 s without it.",
        "schema": {"type": "string"},
        "example": "5m",
    }
    parameters = [_NAME, {**key, "example": "mz4w..."}, interval]
    if "{code}" in path:
        parameters.insert(2, code)
    return {
        path: {
            method: {
                "tags": ["heartbeats"],
                "operationId": f"{method}_ping{word}",
                "summary": summary if method == "get" else f"{summary}, with POST",
                "description": description,
                "parameters": parameters,
                "responses": {
                    "200": {"description": "ok", "content": text},
                    "404": {"description": "Something in the URL is wrong.", "content": text},
                    "422": {
                        "description": "The interval is no duration, or is called otherwise.",
                        "content": text,
                    },
                    "503": {"description": "Service unavailable; try again.", "content": text},
                },
            }
            for method in ("get", "post")
        }
    }


_PINGS: dict[str, Any] = {
    **_ping(
        "/ping/{name}/{key}/start",
        "_start",
        "Say that a job begins a run",
        "The other pings end it. Of a node that is no job it is a heartbeat.",
    ),
    **_ping(
        "/ping/{name}/{key}",
        "",
        "Send a heartbeat by a bare URL",
        "For scripts and cron: `curl -fsS URL?interval=1d`. The first ping enrols the node.",
    ),
    **_ping(
        "/ping/{name}/{key}/fail",
        "_fail",
        "Say that a job failed",
        "The node is here and not well: it is `failing`.",
    ),
    **_ping(
        "/ping/{name}/{key}/exit/{code}",
        "_exit",
        "Say how a job ended",
        "`curl -fsS URL/exit/$?`: 0 is well, anything else is `failing`.",
    ),
}
