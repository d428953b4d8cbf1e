"""Every error of the API in one form: RFC 9457, `application/problem+json`.

`type` is stable and for machines, `detail` is a sentence for people: what was expected, what was
found, what to do. Not here: the ping URL, which answers in plain text to scripts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from beatward.errors import Busy, PermanentError, TemporaryError, did_you_mean

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Refused",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    422: "Not as expected",
    429: "Too often",
    500: "Internal server error",
    503: "Service unavailable",
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# How much of a wrong value is shown again.
_SHOWN_LENGTH_MAX = 80


class Problem(HTTPException):
    """A no with a reason.

    kind   the last word of `type`, such as `unknown-node`
    more   further members of the object
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.more = dict(more or {})
        super().__init__(status, detail, headers=headers)

    def body(self) -> bytes:
        """Return the object as JSON."""
        return msgspec.json.encode(
            {
                "type": f"urn:beatward:problem:{self.kind}",
                "title": _TITLES.get(self.status_code, "Error"),
                "status": self.status_code,
                "detail": self.detail,
                **self.more,
            }
        )

    def response(self) -> Response:
        """Return it as Starlette sends it."""
        return Response(
            self.body(), self.status_code, dict(self.headers or {}), media_type=MEDIA_TYPE
        )


def inbox_full() -> Problem:
    """Return the answer for the moment when the wheel cannot take more."""
    detail = "the monitor's inbox is full; nothing was taken, send it again in a second"
    return Problem(503, "inbox-full", detail, headers={"Retry-After": "1"})


def shown(value: object) -> str:
    """Return a wrong value as it may be shown again: bounded."""
    text = repr(value)
    if len(text) <= _SHOWN_LENGTH_MAX:
        return text
    return text[: _SHOWN_LENGTH_MAX - 3] + "..."


def install(app: FastAPI) -> None:
    """Make an application answer every error in this form."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_wrong_request)
    app.add_exception_handler(Busy, _on_busy)
    app.add_exception_handler(TemporaryError, _on_unreadable_journal)
    app.add_exception_handler(PermanentError, _on_unreadable_journal)
    app.add_exception_handler(Exception, _on_our_mistake)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return error.response()
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        detail = f"nothing is at {shown(request.url.path)}; /docs lists what there is"
        return Problem(404, "no-such-path", detail).response()
    if error.status_code == 405:
        allowed = _allowed(request)
        detail = f"{request.method} is not possible here, but {allowed} is"
        return Problem(405, "method-not-allowed", detail, headers={"Allow": allowed}).response()
    return Problem(
        error.status_code, "refused", str(error.detail), headers=error.headers
    ).response()


def _allowed(request: Request) -> str:
    """Return the methods of a path; the framework names only those of the first route that fits."""
    routes: list[BaseRoute] = request.app.router.routes
    found = [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] == Match.FULL for route in routes
        )
    ]
    if "GET" in found:
        found.insert(1, "HEAD")  # see `app.Front`
    return ", ".join(found)


async def _on_wrong_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    members = _members(request.scope.get("route"))
    wrong = [_wrong_field(item, members) for item in error.errors()]
    first = wrong[0]
    detail = f"{first['where']}: found {first['found']}, expected {first['expected']}"
    if len(wrong) > 1:
        detail += f"; and {len(wrong) - 1} more, see `errors`"
    # A body that is no JSON at all is a different mistake from one with a wrong field.
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return Problem(400, "no-json", detail).response()
    return Problem(422, "not-as-expected", detail, more={"errors": wrong}).response()


def _members(route: object) -> list[str]:
    """Return what the body of a route may have, as it is called in JSON."""
    body = route.body_field if isinstance(route, APIRoute) else None
    shape = None if body is None else next(iter(get_args(body.field_info.annotation)), None)
    shape = shape or (None if body is None else body.field_info.annotation)
    fields: Mapping[str, FieldInfo] = getattr(shape, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _wrong_field(item: Mapping[str, Any], members: Sequence[str]) -> dict[str, str]:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return {"where": where, "found": "nothing", "expected": "a value"}
    if item["type"] == "extra_forbidden":
        alike = did_you_mean(str(item["loc"][-1]), members) if len(item["loc"]) == 2 else ""
        expected = f"no such member{alike}"
        return {"where": where, "found": shown(item["input"]), "expected": expected}
    if item["loc"] == ("body",) and isinstance(item["input"], bytes):
        expected = "JSON, sent with `Content-Type: application/json`"
        return {"where": where, "found": shown(item["input"]), "expected": expected}
    if item["type"] == "json_invalid":
        # pydantic's place is an offset, and its input an empty object.
        found = f"text that is no JSON: {item['ctx']['error']}, at character {item['loc'][-1]}"
        return {"where": str(item["loc"][0]), "found": found, "expected": "JSON"}
    expected = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return {"where": where, "found": shown(item["input"]), "expected": expected}


async def _on_unreadable_journal(request: Request, error: Exception) -> Response:
    del request
    headers = {"Retry-After": "1"} if isinstance(error, TemporaryError) else None
    detail = f"the journal cannot be read: {error}"
    return Problem(503, "journal-unreadable", detail, headers=headers).response()


async def _on_busy(request: Request, error: Exception) -> Response:
    del request
    detail = f"the monitor cannot answer just now: {error}. Heartbeats are not touched by this"
    return Problem(503, "busy", detail, headers={"Retry-After": "1"}).response()


async def _on_our_mistake(request: Request, error: Exception) -> Response:
    # Starlette raises it again behind us, so it is in the log with its traceback.
    del request, error
    detail = "the monitor made a mistake; its log says more. Heartbeats are not touched by this"
    return Problem(500, "our-mistake", detail).response()
