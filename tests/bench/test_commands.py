"""Every measurement once, tiny: it runs, its sums hold, its keys stay. No figure is judged here."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

pytestmark = [
    pytest.mark.quiet,
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="beatward bench needs Linux"),
]

TIMES = {"count", "p50", "p99", "max"}
STEP = {
    *(
        "offered",
        "rate",
        "seconds",
        "cores",
        "waited",
        "ns",
        "drops",
        "sender_cores",
        "strangers_cores",
    ),
    *("sender_late_ms", "sender_skipped", "kept_up", "bare_ns", "bare_each_ns", "bare_drops"),
    *("share", "share_aim"),
}


def bench(*arguments):
    """Run a measurement as a user does; returns (exit code, what it said as JSON)."""
    done = subprocess.run(
        [sys.executable, "-m", "beatward", "bench", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    keys = {"bench", "machine", "figures", "promises", "remarks", "kept"}
    assert set(report) == keys
    assert report["bench"] == arguments[0]
    assert report["kept"] == all(promise["kept"] for promise in report["promises"])
    assert done.returncode == (0 if report["kept"] else 1)
    return report


def promise(report, words):
    """Return whether the promise that contains these words was kept."""
    (found,) = (each for each in report["promises"] if words in each["promise"])
    return found["kept"]


def test_ingest_accounts_for_every_heartbeat():
    report = bench("ingest", "--nodes", 300, "--rate", 3000, "--seconds", 0.5)
    figures = report["figures"]
    counters = figures["counters"]
    taken = counters["accepted"] + counters["refused"] + counters["kernel_drops"]
    assert counters["sent"] == taken
    assert counters["lost"] == 0
    # Each node beats once to be known, and more than a second at its rate.
    assert counters["accepted"] > 300 + 3000
    assert counters["refused"] == 1, "the first word of a fleet has not proved its life yet"
    (step,) = figures["steps"]
    assert set(step) == STEP
    assert step["ns"] > 0
    assert len(step["bare_each_ns"]) == 2
    assert figures["bare"] in ("c", "python")
    assert promise(report, "accounted for")


def test_lateness_finds_all_who_fell_silent_and_nobody_else():
    report = bench(*("lateness", "--nodes", 200, "--rate", 1000, "--stop", 20, "--seconds", 1))
    figures = report["figures"]
    assert figures["suspected"] == figures["dead"] == figures["stopped"] == 20
    assert figures["false_verdicts"] == 0
    assert figures["lost"] == 0
    for key in ("lateness_ms", "told_ms", "detection_time_ms"):
        assert set(figures[key]) == TIMES
        assert figures[key]["count"] == 20
    # Beyond a deadline there is nothing before it; the follower reads what was written before.
    assert 0 <= figures["lateness_ms"]["p50"] <= figures["told_ms"]["p50"]
    # The interval is 200 ms and the least margin 50 ms: nobody can know earlier.
    assert figures["detection_time_ms"]["p50"] > 250
    assert report["kept"]


def test_memory_knows_every_node_again():
    report = bench("memory", "--nodes", 100, "--nodes", 5000, "--seconds", 0.3)
    figures = report["figures"]
    assert [row["nodes"] for row in figures["counts"]] == [100, 5000]
    assert all(row["alive"] == row["nodes"] for row in figures["counts"])
    assert all(row["resident_bytes"] > 10_000_000 for row in figures["counts"])
    assert report["kept"]


def test_api_measures_every_route_and_the_way_to_a_follower():
    report = bench("api", "--nodes", 200, "--rate", 1000, "--seconds", 1)
    figures = report["figures"]
    routes = {"GET node", "GET status", "GET events", "event to follower"}
    assert set(figures["latency_ms"]) == routes
    for times in figures["latency_ms"].values():
        assert set(times) == TIMES
        assert 0 < times["p50"] <= times["p99"] <= times["max"]
    assert figures["lost"] == 0
    assert promise(report, "every event reached the follower")


def test_http_heartbeats_are_believed_and_not_only_answered():
    report = bench("http", "--nodes", 2000, "--connections", 4, "--seconds", 0.3)
    rows = report["figures"]["routes"]
    assert [(row["route"], row["records"]) for row in rows] == [
        ("JSON heartbeat", 1),
        ("100 records of relays", 100),
        ("1000 records of relays", 1000),
        ("bare URL", 1),
        ("FastAPI, POST inbox", 0),
    ]
    assert all(row["per_second"] > 0 and row["monitor_us"] > 0 for row in rows)
    for row in rows[:4]:
        assert row["heartbeats_per_second"] == pytest.approx(
            row["per_second"] * row["records"], rel=0.01
        )
        assert row["heartbeat_ns"] > 0
        assert promise(report, row["route"])
    assert report["kept"]


def test_an_agent_is_measured_while_it_is_heard():
    report = bench(
        *("agent", "--interval", "100ms", "--seconds", 0.5),
        *("--row", "interpreter alone", "--row", "Heart"),
    )
    alone, heart = report["figures"]["rows"]
    assert alone["accepted"] == 0
    assert heart["accepted"] >= 10
    assert heart["resident_bytes"] > alone["resident_bytes"]
    assert report["kept"]


def test_growth_draws_what_it_measures(tmp_path):
    path = tmp_path / "growth.svg"
    report = bench(
        *("growth", "--nodes", 200, "--nodes", 1000, "--rate", 100_000, "--seconds", 0.5),
        *("--rates", 10_000, "--rates", 40_000, "--svg", path),
    )
    figures = report["figures"]
    assert [row["nodes"] for row in figures["by_nodes"]] == [200, 1000]
    assert len(figures["by_rate"]) == 2
    assert all(row["turn_us"] > 0 for row in figures["by_nodes"])
    assert figures["ratios"]["heartbeat_of_most_nodes_to_fewest"] > 0
    picture = ET.fromstring(path.read_text("utf-8"))
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"


def test_idle_counts_turns_and_wake_ups_of_a_monitor_and_of_agents():
    report = bench("idle", "--nodes", 0, "--nodes", 20, "--seconds", 1)
    assert promise(report, "heard its nodes")
    rows = report["figures"]["rows"]
    assert [row.get("nodes", row.get("process")) for row in rows] == [
        *(0, 20, "agent", "agent that holds a role"),
        *("its guardian's shadow", "its guardian"),
    ]
    assert all(row["resident_bytes"] > 0 and row["percent"] >= 0 for row in rows)
    assert all(0 < row["turns"] < 60 for row in rows if "nodes" in row)
    assert all(row["wake_ups"] > 0 for row in rows if row.get("process") != "its guardian's shadow")
