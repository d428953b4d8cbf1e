"""Why a node says that it is failing, and metrics of its own: by the SDK and by JSON heartbeats."""

import json
import subprocess
import sys

import httpx2
import pytest
from tests.harness import Monitor
from tests.live.test_life import _local
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

PROGRAM = """
import json, sys
from beatward import Heart
data, name, transport = sys.argv[1:]
with Heart(name, interval="100ms", data=data, transport=transport) as heart:
    assert heart.wait_acknowledged("20s")
    print("ready", flush=True)
    for line in sys.stdin:
        heart.report(**json.loads(line))
"""


@pytest.fixture(scope="module")
def monitor(tmp_path_factory):
    with Monitor(tmp_path_factory.mktemp("reports")) as started:
        yield started


def node(monitor, name):
    return monitor.get(f"/v1/nodes/{name}")


def transitions(monitor, name, status):
    events = (event for event in monitor.events() if event["event"] == "transition")
    return [event for event in events if (event["node"], event["status"]) == (name, status)]


@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_reason_and_metrics_are_shown_and_journalled(monitor, transport):
    name = f"sdk-{transport}"
    command = [sys.executable, "-c", PROGRAM, str(monitor.data), name, transport]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as program:
        assert program.stdout.readline() == "ready\n"

        def report(**said):
            program.stdin.write(json.dumps(said) + "\n")
            program.stdin.flush()

        report(status="failing", reason="the queue is full", metrics={"queue": 4711, "load": 0.5})
        monitor.wait_status(name, "failing")
        (event,) = transitions(monitor, name, "failing")
        assert event["explanation"].endswith("say that it is not well: the queue is full")
        assert event["detail"]["reason"] == "the queue is full"
        found = node(monitor, name)
        assert (found["reason"], found["metrics"]) == ("the queue is full", {"queue": 4711.0})
        assert found["load"] == 0.5
        why = monitor.get(f"/v1/nodes/{name}/explain")
        assert "the queue is full" in why["sentence"]
        shown = subprocess.run(
            [sys.executable, "-m", "beatward", "nodes", "--monitor", monitor.url],
            capture_output=True,
            text=True,
            check=True,
            env={**_local(monitor.data)},
        )
        assert "the queue is full" in shown.stdout

        report(status="ok", metrics={"queue": 3})
        monitor.wait_status(name, "alive")
        wait_for(lambda: node(monitor, name)["metrics"] == {"queue": 3.0}, what="the new metrics")
        assert node(monitor, name)["reason"] is None
        program.communicate("", timeout=30)


def test_a_json_heartbeat_carries_its_reason(monitor):
    command = [sys.executable, "-m", "beatward", "token", "node", "json-1", "--data"]
    token = subprocess.check_output([*command, str(monitor.data)], text=True).strip()

    def beat(sequence, echo, **said):
        body = {"incarnation": 5, "sequence": sequence, "interval": "10s", "echo": echo, **said}
        return monitor.post("/v1/nodes/json-1/heartbeat", body, token=token)["echo"]

    echo = beat(0, 0)
    beat(0, echo)
    monitor.wait_status("json-1", "alive")
    beat(1, echo, status="failing", reason="no disk", metrics={"disk": 0})
    monitor.wait_status("json-1", "failing")
    (event,) = transitions(monitor, "json-1", "failing")
    assert event["detail"]["reason"] == "no disk"
    assert (node(monitor, "json-1")["reason"], node(monitor, "json-1")["metrics"]) == (
        "no disk",
        {"disk": 0.0},
    )
    # What the next one leaves out, it says still.
    beat(2, echo, status="failing")
    beat(3, echo, status="failing", reason="")
    wait_for(lambda: node(monitor, "json-1")["reason"] is None, what="no reason any more")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "\x1b[2J"}, "reason"),
        ({"reason": "x" * 201}, "200"),
        ({"metrics": {"a b": 1}}, "metrics"),
        ({"metrics": {"queue": "3"}}, "metrics"),
        ({"metrics": {f"m{number}": 1 for number in range(17)}}, "16"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_every_door(monitor, said, message):
    command = [sys.executable, "-m", "beatward", "token", "node", "json-2", "--data"]
    token = subprocess.check_output([*command, str(monitor.data)], text=True).strip()
    beat = {"incarnation": 5, "sequence": 0, "interval": "10s", **said}
    for path, body in (
        ("/v1/agent/report", {"name": "json-2", "incarnation": 5, **said}),
        ("/v1/nodes/json-2/heartbeat", beat),
    ):
        with pytest.raises(httpx2.HTTPStatusError) as refused:
            monitor.post(path, body, token=token)
        assert refused.value.response.status_code == 422
        assert message in refused.value.response.json()["detail"]
