"""/metrics, as Prometheus' own parser and checker read it."""

import os
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.core.by_hand import ByHand

from beatward.core.monitor import CoreSettings
from beatward.core.pace import PaceSettings
from beatward.web.metrics import _pace

TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "bin"


def samples(text):
    """Return (name, labels) -> value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[name, frozenset(labels.items())]


@pytest.fixture
def promtool():
    # `make test` unpacks it there without installing anything.
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    if "promtool" in os.environ.get("BEATWARD_MISSING", "") or not any(
        (Path(folder) / "promtool").exists() for folder in path.split(os.pathsep)
    ):
        pytest.skip("promtool is missing; `make test` gets it")
    return lambda text: subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": path},
        check=False,
        timeout=30,
    )


def test_prometheus_finds_no_fault(monitor, open_monitor, promtool):
    monitor.ping("met-1")
    monitor.wait_status("met-1", "alive")
    open_monitor.ping("met-1")
    open_monitor.wait_status("met-1", "alive")
    for running in (monitor, open_monitor):
        done = promtool(running.http.get("/metrics", headers=running.api).text)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_metrics_say_how_heartbeats_are_authenticated(monitor):
    found = samples(monitor.http.get("/metrics").text)
    (labels,) = (dict(labels) for name, labels in found if name == "beatward_build_info")
    assert labels["tags"] == monitor.get("/v1/status")["tags"]


def test_metrics_count_what_happened(own_monitor, wait_until):
    def read():
        return samples(own_monitor.http.get("/metrics").text)

    before = read()
    own_monitor.ping("met-2")
    own_monitor.wait_status("met-2", "alive")
    answer = own_monitor.beat("met-3", incarnation=1, sequence=0, interval="60s")
    assert answer.status_code == 202
    own_monitor.http.post("/v1/nodes/met-3/heartbeat")
    own_monitor.wait_status("met-3", "new")
    wait_until(
        lambda: (
            value(read(), "beatward_rejects_total", reason="unproven")
            > value(before, "beatward_rejects_total", reason="unproven")
        ),
        "the unproven heartbeat is counted",
    )
    after = read()

    def grown(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("beatward_records_total") == 2
    assert grown("beatward_accepted_total") == 1
    assert grown("beatward_nodes", status="alive") == 1
    assert grown("beatward_nodes", status="new") == 1
    assert grown("beatward_http_total", door="ping", result="taken") == 1
    assert grown("beatward_http_total", door="heartbeat", result="taken") == 1
    assert grown("beatward_http_total", door="heartbeat", result="refused") == 1
    assert grown("beatward_wheel_turns_total") > 0
    assert value(after, "beatward_journal_written") >= 3
    assert value(after, "beatward_journal_failing") == 0
    assert value(after, "beatward_kernel_drops_total") == 0


def test_single_nodes_are_shown_only_where_they_are_asked_for(monitor, open_monitor):
    for running in (monitor, open_monitor):
        running.ping("met-4")
        running.wait_status("met-4", "alive")
    assert "met-4" not in monitor.http.get("/metrics").text
    found = samples(open_monitor.http.get("/metrics", headers=open_monitor.api).text)
    assert value(found, "beatward_node_up", node="met-4") == 1
    assert value(found, "beatward_node_status", node="met-4") == 1
    assert value(found, "beatward_node_interval_seconds", node="met-4") == 60
    assert 0 <= value(found, "beatward_node_silent_seconds", node="met-4") < 60


def test_openmetrics_is_spoken_when_it_is_asked_for(monitor):
    accept = "application/openmetrics-text; version=1.0.0"
    answer = monitor.http.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_a_budget_of_heartbeats_is_shown_beside_what_is_promised_and_planned():
    hand = ByHand(CoreSettings(pace=PaceSettings(budget=0.25)))
    hand.beat(*range(5))
    families = {family.name: family for family in _pace(hand.snapshot())}
    rates = families["beatward_pace_heartbeats_per_second"].samples
    assert {sample.labels["rate"]: sample.value for sample in rates} == {
        "budget": 0.25,
        "promised": 1.0,
        "planned": pytest.approx(0.25),
    }
    assert [one.value for one in families["beatward_pace_deaf_nodes"].samples] == [0]
    assert list(_pace(ByHand().snapshot())) == []
