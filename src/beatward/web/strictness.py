"""What a request may not hold: parameters and a body that its route knows nothing of.

A mistyped `?stauts=dead` that is ignored lists all nodes, and a `{"for": "1h"}` that is ignored
pauses a node without end. So they are refused, and the names that look alike are told. Members of
bodies are refused by the bodies themselves (`request_fields.Body`).
"""

from collections.abc import Collection
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.routing import APIRoute

from beatward.errors import did_you_mean
from beatward.web.problems import Problem, shown

# At most this many wrong names are shown; the others are refused all the same.
_TOLD_MAX = 10


def refuse_parameters(query: bytes, known: Collection[str]) -> None:
    """Raise Problem 422 when a query string has parameters other than the known ones."""
    if not query:
        return
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    wrong = [name for name in dict.fromkeys(names) if name not in known]
    if not wrong:
        return
    there = f"one of {', '.join(sorted(known))}" if known else "no parameters"
    errors = [
        {
            "where": f"query.{shown(name)[1:-1]}",
            "found": "a parameter that this route does not have",
            "expected": there + did_you_mean(name, known),
        }
        for name in wrong[:_TOLD_MAX]
    ]
    raise _not_as_expected(errors)


def read_flag(query: bytes, name: str) -> bool:
    """Return a parameter that is `true` or `false`, by default false; raises Problem 422."""
    if not query:
        return False
    parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = [value for key, value in parameters if key == name]
    for value in values:
        if value not in ("true", "false"):
            wrong = {"where": f"query.{name}", "found": shown(value), "expected": "true or false"}
            raise _not_as_expected([wrong])
    return "true" in values


async def refuse_unknown(request: Request) -> None:
    """Raise Problem 422 when a request has a parameter, or a body, that its route does not take."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = {parameter.alias for parameter in route.dependant.query_params}
    refuse_parameters(request.scope["query_string"], known)
    # The body of a GET has no meaning (RFC 9110, 9.3.1), and some clients send one.
    if route.body_field is None and request.method != "GET" and await request.body():
        wrong = {"where": "body", "found": "a body", "expected": "none: this route takes no body"}
        raise _not_as_expected([wrong])


def _not_as_expected(errors: list[dict[str, str]]) -> Problem:
    first = errors[0]
    detail = f"{first['where']}: found {first['found']}, expected {first['expected']}"
    return Problem(422, "not-as-expected", detail, more={"errors": errors})
