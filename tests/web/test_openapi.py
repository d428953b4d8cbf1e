"""The description of the API: complete, true, and shown without anybody else's server."""

import json
import re
from urllib.parse import unquote

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from beatward.core.protocol import keys
from beatward.web.app import create_router

OPENAPI = create_router().openapi()
SCHEMAS = OPENAPI["components"]["schemas"]
# schemathesis knows no "too large", which a body of many long words is whatever it says.
CHECKS = {
    "negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]},
    "positive_data_acceptance": {
        "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "413", "429", "5xx"]
    },
}
# The stream has no end; its own tests are in test_events.py.
OPERATIONS = {
    operation.label: operation
    for operation in (
        result.ok()
        for result in schemathesis.openapi.from_dict(
            OPENAPI, config=schemathesis.Config.from_dict({"checks": CHECKS})
        )
        .exclude(path="/v1/events/stream")
        .get_all_operations()
    )
}
BY_A_NODE = {
    "POST /v1/nodes/{name}/heartbeat",
    "POST /v1/agent/inbox",
    "POST /v1/agent/outcome",
    "POST /v1/agent/services",
    "POST /v1/agent/remarks",
    "POST /v1/agent/report",
    "POST /v1/agent/primary",
}


# A pattern may mean all nodes, and other tests need theirs awake.
OF_MANY = {"POST /v1/pause", "POST /v1/resume", "POST /v1/silences"}


@pytest.fixture(scope="module")
def lonely_monitor(start_monitor):
    return start_monitor()


def token_for(monitor, case):
    """Return what would let a request in, so that it is judged by its content."""
    if case.operation.label not in BY_A_NODE:
        return monitor.api
    body = case.body if isinstance(case.body, dict) else {}
    name = unquote(str((case.path_parameters or body).get("name", "")))
    return monitor.bearer(name) if keys.is_name(name) else {}


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_route_does_what_it_is_described_to_do(request, label):
    name = "lonely_monitor" if label in OF_MANY else "monitor"
    monitor = request.getfixturevalue(name)
    monitor.ping("api-1")
    operation = OPERATIONS[label]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    cases = hypothesis.strategies.one_of(
        *(operation.as_strategy(generation_mode=mode) for mode in modes)
    )

    @hypothesis.settings(max_examples=25, deadline=None, database=None)
    @hypothesis.given(cases)
    def try_it(case):
        case.call_and_validate(
            base_url=monitor.url,
            headers=token_for(monitor, case),
            # "One of both intervals, above 0ms", "a multiple of 64", "at most ten years", "a cron
            # expression" and "each service once" are more than the schema says in machine's words.
            excluded_checks=[positive_data_acceptance]
            if label.endswith(
                (
                    "/heartbeat",
                    "/records",
                    "/jobs/{name}",
                    "/agent/services",
                    "/{name}/pause",
                )
            )
            or label in OF_MANY
            else [],
        )

    try_it()


def test_every_route_is_described():
    paths = {label.partition(" ")[2] for label in OPERATIONS}
    assert {
        "/healthz",
        "/metrics",
        "/v1/join",
        "/v1/join/challenge",
        "/v1/nodes/{name}/heartbeat",
        "/v1/records",
        "/ping/{name}/{key}",
        "/ping/{name}/{key}/start",
        "/v1/jobs",
        "/v1/jobs/{name}",
        "/ping/{name}/{key}/fail",
        "/ping/{name}/{key}/exit/{code}",
        "/v1/agent/inbox",
        "/v1/agent/node",
        "/v1/agent/outcome",
        "/v1/agent/primary",
        "/v1/agent/remarks",
        "/v1/agent/report",
        "/v1/agent/services",
        "/v1/status",
        "/v1/guard",
        "/v1/quality",
        "/v1/guard/lift",
        "/v1/nodes",
        "/v1/nodes/{name}",
        "/v1/nodes/{name}/explain",
        "/v1/nodes/{name}/pause",
        "/v1/nodes/{name}/resume",
        "/v1/events",
        "/v1/nodes/{name}/acknowledgement",
        "/v1/pause",
        "/v1/resume",
        "/v1/services",
        "/v1/services/{name}",
        "/v1/services/{name}/failover",
        "/v1/services/{name}/pause",
        "/v1/services/{name}/resume",
        "/v1/services/{name}/switchover",
        "/v1/silences",
        "/v1/silences/{id}",
    } == paths
    assert "/v1/events/stream" in OPENAPI["paths"]


def operations():
    for path, item in OPENAPI["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                yield f"{method} {path}", operation, parameters


def test_nothing_is_left_without_a_word():
    silent = []
    for label, operation, parameters in operations():
        if not (operation.get("summary") and operation.get("description")):
            silent.append(label)
        silent += [f"{label} {one['name']}" for one in parameters if not one.get("description")]
        silent += [
            f"{label} {status}"
            for status, told in operation["responses"].items()
            if not told.get("description")
        ]
    for name, schema in SCHEMAS.items():
        silent += [name] if not schema.get("description") else []
        for key, member in schema["properties"].items():
            # What refers to a schema is described there.
            if not member.get("description") and "$ref" not in member:
                silent.append(f"{name}.{key}")
    assert not silent


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for _, operation, _ in operations()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)


def test_every_reference_leads_somewhere():
    found = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(OPENAPI)))
    assert found <= SCHEMAS.keys()
    assert SCHEMAS.keys() - found == set()
    assert "HTTPValidationError" not in SCHEMAS


def examples():
    for name, schema in SCHEMAS.items():
        for example in schema.get("examples", []):
            yield name, example
    for _, operation, _ in operations():
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [told.get("content", {}) for told in operation["responses"].values()]
        for content in contents:
            for media in content.values():
                if "example" in media and "$ref" in media["schema"]:
                    yield media["schema"]["$ref"].rpartition("/")[2], media["example"]


EXAMPLES = list(examples())


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_every_example_is_true(name, example):
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    jsonschema_rs.validate(schema, example)


def test_there_are_examples_of_what_matters():
    named = {name for name, _ in EXAMPLES}
    assert {"Node", "Event", "Health", "Problem", "JoinBody", "HeartbeatBody"} <= named


def test_the_page_asks_nobody_else(monitor):
    page = monitor.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', page.text)) - {"data:,"}
    assert linked == {"docs.css", "docs.js", "openapi.json"}
    for path in linked:
        answer = monitor.http.get(f"/{path}")
        assert answer.status_code == 200
        assert "://" not in answer.text.replace("http://www.w3.org", "") or path == "openapi.json"


def test_a_browser_is_led_to_the_page(monitor):
    answer = monitor.http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
