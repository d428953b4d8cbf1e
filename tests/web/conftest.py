"""A monitor that really runs: the production program in a thread of ours, on ephemeral ports."""

import contextlib
import json

import pytest
from tests.harness import Monitor
from tests.waiting import wait_for
from tests.web.members import Member, service, wait_heard


@pytest.fixture(scope="session")
def monitor(tmp_path_factory):
    """One monitor for all tests of this room; each test uses names of its own."""
    with Monitor(tmp_path_factory.mktemp("monitor"), in_thread=True) as running:
        yield running


@pytest.fixture(scope="session")
def open_monitor(tmp_path_factory):
    """A monitor whose HTTP listener others can reach, with single nodes in its metrics."""
    folder, settings = tmp_path_factory.mktemp("open"), "metrics_per_node = true\n"
    with Monitor(folder, settings, host="0.0.0.0", in_thread=True) as running:
        yield running


@pytest.fixture(scope="module")
def start_monitor(tmp_path_factory):
    """Start monitors that end with the module."""
    with contextlib.ExitStack() as running:

        def start():
            monitor = Monitor(tmp_path_factory.mktemp("more"), in_thread=True)
            return running.enter_context(monitor)

        yield start


@pytest.fixture
def own_monitor(tmp_path):
    """A monitor that a test may end or disturb."""
    with Monitor(tmp_path, in_thread=True) as running:
        yield running


@pytest.fixture
def slow_monitor(tmp_path):
    """A monitor whose wheel turns once a second, so that its inbox can be filled."""
    settings = 'tick = "1s"\npause_limit = "3s"\n'
    with Monitor(tmp_path, settings, in_thread=True) as running:
        yield running


@pytest.fixture(scope="session")
def wait_until():
    return wait_for


@pytest.fixture
def problem():
    """Check that an answer is a problem of one kind, and return it."""

    def check(answer, status, kind):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = json.loads(answer.content)
        assert body["type"] == f"urn:beatward:problem:{kind}"
        assert body["status"] == status
        assert body["title"]
        assert body["detail"]
        return body

    return check


@pytest.fixture
def phase(monitor, wait_until):
    """Wait until a service is as it should be, and return it."""

    def wait(name, phase, **more):
        def has_it():
            found = service(monitor, name)
            wanted = {"phase": phase, **more}
            return found if found and wanted.items() <= found.items() else None

        return wait_until(has_it, f"{name} is {phase} {more}, not {service(monitor, name)}")

    return wait


@pytest.fixture
def seen(monitor, wait_until):
    """Wait until a member is shown as it should be, and return its service."""

    def wait(name, node, **wanted):
        def has_it():
            found = service(monitor, name)
            (member,) = [one for one in found["members"] if one["node"] == node]
            return found if wanted.items() <= member.items() else None

        return wait_until(has_it, f"{node} of {name} is {wanted}")

    return wait


@pytest.fixture
def members(monitor):
    """Make members; all of one service begin before any of them can be promoted."""
    made = []

    def make(name, *nodes, **offers):
        said = [offers.get(node.replace("-", "_"), {}) for node in nodes]
        for node, offer in zip(nodes, said, strict=True):
            made.append(Member(monitor.url, monitor.master, node, name, offer).start())
        wait_heard(monitor, name, nodes)
        return made[-len(nodes) :]

    yield make
    for member in made:
        member.end()
