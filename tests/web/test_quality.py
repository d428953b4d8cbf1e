"""GET /v1/quality, the quality in node objects, and its families in /metrics."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from beatward.core.figures import BOUNDS_NS
from beatward.web import quality_shapes as shapes


def enrol(monitor, name, **labels):
    monitor.enrol(name, labels)


@pytest.fixture(scope="module")
def wronged(monitor):
    """A node of zone `q-a` that was suspected once and lived, and lost two of five heartbeats."""
    enrol(monitor, "qua-1", zone="q-a")
    enrol(monitor, "qua-2", zone="q-b")
    echo = monitor.live("qua-1", interval="300ms")
    monitor.wait_status("qua-1", "suspect")
    said = {"incarnation": 1, "interval": "60s", "echo": echo}
    monitor.beat("qua-1", sequence=1, **said)
    monitor.beat("qua-1", sequence=4, **said)
    return monitor.wait_status("qua-1", "alive")


def test_a_mistake_is_counted_for_its_node(monitor, wronged, wait_until):
    def found():
        report = monitor.get("/v1/quality", node="qua-1")
        return report if report["quality"]["slots"] == 5 else None

    report = wait_until(found, "both heartbeats are counted")
    assert shapes.QualityReport.model_validate(report, strict=True)
    assert report.keys() == shapes.QualityReport.model_fields.keys()
    quality = report["quality"]
    assert quality.keys() == shapes.QualityShape.model_fields.keys()
    assert (report["node"], report["by"], report["groups"]) == ("qua-1", None, [])
    assert report["outage_bounds_ns"] == list(BOUNDS_NS)
    assert quality["nodes"] == 1
    assert (quality["suspicions_refuted"], quality["verdicts_refuted"]) == (1, 0)
    assert 0 < quality["mistake_duration_ns"] < quality["alive_ns"]
    accuracy = 1 - quality["mistake_duration_ns"] / quality["alive_ns"]
    assert quality["query_accuracy"] == pytest.approx(accuracy)
    assert quality["mistake_recurrence_time_ns"] == quality["alive_ns"]
    assert quality["loss"] == 2 / 5
    assert quality["outages"]["count"] == sum(quality["outages"]["counts"]) == 1
    assert quality["goal"] is None


def test_nodes_carry_the_essence(monitor, wronged):
    node = monitor.node("qua-1")
    (listed,) = monitor.get("/v1/nodes", match="qua-1")["nodes"]
    for one in (node["quality"], listed["quality"]):
        assert shapes.Brief.model_validate(one, strict=True)
        assert (one["suspicions_refuted"], one["verdicts_refuted"]) == (1, 0)
        assert (one["outages"], one["loss"]) == (1, 0.4)
        assert one["query_accuracy"] < 1
    blank = monitor.node("qua-2")["quality"]
    assert blank["query_accuracy"] is blank["loss"] is blank["jitter_ns"] is None


def test_groups_are_the_values_of_a_label(monitor, wronged):
    monitor.ping("qua-3")
    monitor.wait_status("qua-3", "alive")
    report = monitor.get("/v1/quality", by="zone")
    assert shapes.QualityReport.model_validate(report, strict=True)
    groups = {group["value"]: group["quality"] for group in report["groups"]}
    assert report["groups_total"] == len(groups)
    assert groups["q-a"]["suspicions_refuted"] == 1
    assert groups["q-a"]["nodes"] == groups["q-b"]["nodes"] == 1
    assert groups[None]["nodes"] >= 1
    assert sum(group["nodes"] for group in groups.values()) == report["quality"]["nodes"]
    sizes = [group["quality"]["nodes"] for group in report["groups"]]
    assert sizes == sorted(sizes, reverse=True)
    nobody = monitor.get("/v1/quality", by="no-such-label")
    assert [group["value"] for group in nobody["groups"]] == [None]


def test_an_unknown_node_has_no_quality(monitor, problem):
    problem(monitor.http.get("/v1/quality?node=nobody"), 404, "unknown-node")
    problem(monitor.http.get(f"/v1/quality?by={'x' * 257}"), 422, "not-as-expected")


def test_metrics_count_what_quality_is_made_of(monitor, wronged):
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(monitor.http.get("/metrics").text)
        for sample in family.samples
    }
    assert found["beatward_mistakes_total", "suspicion"] >= 1
    assert found["beatward_alive_seconds_total",] > found["beatward_mistake_seconds_total",] > 0
    assert found["beatward_heartbeats_missing_total",] >= 2
    assert found["beatward_heartbeat_slots_total",] >= 5
    assert 0 < found["beatward_query_accuracy",] < 1
    assert found["beatward_outage_seconds_count",] >= 1
    bounds = [key[1] for key in found if key[0] == "beatward_outage_seconds_bucket"]
    assert bounds == [*(str(bound / 10**9) for bound in BOUNDS_NS), "+Inf"]
    assert ("beatward_detection_time_seconds_bucket", "2.0") in found
    assert not any(name.startswith("beatward_goal") for name, *_ in found)


def test_single_nodes_have_series_only_where_they_are_asked_for(open_monitor):
    open_monitor.live("qua-4")
    open_monitor.wait_status("qua-4", "alive")
    text = open_monitor.http.get("/metrics", headers=open_monitor.api).text
    assert 'beatward_node_query_accuracy{node="qua-4"} 1.0' in text
    assert 'beatward_node_mistakes{node="qua-4"} 0.0' in text
    assert 'beatward_node_loss_ratio{node="qua-4"} 0.0' in text
    assert 'beatward_node_jitter_seconds{node="qua-4"}' not in text
