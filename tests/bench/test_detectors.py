"""The frontier: knobs, points and aims; the two stages by hand; and the command, tiny."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from beatward.bench import chart, detectors, frontier, two_stage
from beatward.cli.bench import bench_command
from beatward.core.detect import DETECTORS
from beatward.core.instants import MILLISECOND, SECOND
from beatward.simulate.traces import TRACES, Bernoulli, Exponential, Spells, TracePath, TraceWeather
from beatward.simulate.traces import generator as generator_of

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bench needs Linux")


# --- the frontier -----------------------------------------------------------------------------


def test_every_detector_that_is_registered_has_a_knob():
    assert frontier.KNOBS.keys() | frontier.SAME.keys() == DETECTORS.keys()
    assert not frontier.KNOBS.keys() & frontier.SAME.keys()
    assert set(frontier.SAME.values()) <= frontier.KNOBS.keys()


@pytest.mark.parametrize("kind", frontier.KNOBS)
def test_a_knob_trades_mistakes_for_time(kind):
    found = frontier.frontier("burst", 1, 20_000, kind, 8)
    points = found["points"]
    assert points
    assert found["knob"]
    values, means = ([p[key] for p in points] for key in ("value", "mean_s"))
    assert [p["mistakes_per_hour"] for p in points] == sorted(
        (p["mistakes_per_hour"] for p in points), reverse=True
    )
    assert values == sorted(values)
    assert means == sorted(means)
    for p in points:
        assert p["mean_s"] < p["p99_s"] <= p["max_s"]


def test_no_rate_is_told_that_was_not_counted():
    hours = frontier.trace_figures("iid", 1, 20_000)["hours"]
    for point in frontier.frontier("iid", 1, 20_000, "chen", 8)["points"]:
        assert point["mistakes_per_hour"] * hours >= frontier.FEWEST


@pytest.mark.parametrize(
    ("value", "text"), [(0.4226, "0.423"), (4.226, "4.23"), (42.26, "42.3"), (1422.6, "1,423")]
)
def test_figures_have_three_digits(value, text):
    assert frontier.significant(value) == text


def test_a_legend_below_names_every_line_once():
    lines = [chart.ChartLine(f"line {i}", [(1, 1 + i), (10, 10)]) for i in range(9)]
    panels = [chart.Panel(f"panel {i}", "x", lines) for i in range(3)]
    picture = ET.fromstring(chart.draw(panels, legend_below=True))
    words = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word.startswith("line")] == [line.name for line in lines]
    assert len(picture.findall("{http://www.w3.org/2000/svg}g")) == 3


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ((0.3, 4.0), ["0.2", "0.5", "1", "2", "5"]),
        ((1.0, 1.0), ["1", "2"]),
        ((2_000.0, 2_500.0), ["2k", "5k"]),
        # Over many powers of ten only these are marked.
        ((0.03, 4_000.0), ["0.01", "0.1", "1", "10", "100", "1k", "10k"]),
    ],
)
def test_an_axis_has_room_for_its_values_and_not_much_more(values, marks):
    axis = chart._Axis.of(values, 0.0, 100.0)
    assert [words for _, words in axis.ticks()] == marks
    assert all(0.0 <= axis.at(value) <= 100.0 for value in values)
    assert axis.ticks()[0][0] == 0.0
    assert axis.ticks()[-1][0] == pytest.approx(100.0)


# --- two stages -------------------------------------------------------------------------------

MS = MILLISECOND
LATER = 10 * SECOND


def probing(*, fresh_ns=LATER, outages=(), pauses=(), loss=0.0):
    """Suspect a node at 1 s and probe it for 1 s, every 200 ms; 10 ms each way."""

    def spells(pairs):
        ends = np.array(pairs, np.int64).reshape(-1, 2) * MS
        return Spells(ends[:, 0], ends[:, 1])

    weather = TraceWeather(outages=spells(outages), sender_pauses=spells(pauses))
    path = TracePath(Exponential(0.0, least_ns=10 * MS), Bernoulli(loss), weather)
    return two_stage.probe(
        generator_of(1, "probing"),
        path,
        np.array([SECOND]),
        np.array([fresh_ns]),
        window_ns=SECOND,
        spacing_ns=200 * MS,
    )


def test_an_answer_refutes_and_ends_the_probing():
    found = probing()
    assert (found.mistaken.tolist(), found.answered.tolist()) == ([False], [True])
    assert found.answered_ns.tolist() == [1020 * MS]
    assert found.answer_sent_ns.tolist() == [1010 * MS]
    assert found.messages == 2


def test_probes_are_lost_in_an_outage_and_the_first_after_it_refutes():
    found = probing(outages=[(900, 1500)])
    assert found.answered_ns.tolist() == [1620 * MS]
    assert found.messages == 4 + 1


def test_an_answer_is_lost_in_an_outage_as_well():
    # The first probe gets through, its answer does not.
    found = probing(outages=[(1005, 1100)])
    assert found.answered_ns.tolist() == [1220 * MS]
    assert found.messages == 2 + 2


def test_an_outage_longer_than_the_window_is_a_mistake():
    found = probing(outages=[(900, 2500)])
    assert (found.mistaken.tolist(), found.answered.tolist()) == ([True], [False])
    assert found.messages == 5


def test_a_paused_node_answers_when_its_pause_is_over():
    found = probing(pauses=[(900, 1700)])
    assert found.answered_ns.tolist() == [1710 * MS]
    # Four probes by then, and each is answered.
    assert found.messages == 8
    assert probing(pauses=[(900, 1995)]).mistaken.tolist() == [True]


def test_a_heartbeat_refutes_without_an_answer():
    found = probing(outages=[(900, 1500)], fresh_ns=1300 * MS)
    assert (found.mistaken.tolist(), found.answered.tolist()) == ([False], [False])
    assert found.messages == 2


@pytest.fixture(scope="module")
def rows():
    return {
        (row["channel"], row["margin"], row["window_s"]): row
        for name in ("A", "C")
        for row in two_stage.measure_channel(name, 1, 0.01)
    }


def test_two_stages_take_what_their_parts_take(rows):
    # 20 ms on the way, margin and window; half an interval less on average. The margin is learnt,
    # and larger for a while after a pause.
    for (channel, margin, window_s), row in rows.items():
        interval_s = two_stage.CHANNELS[channel].interval_ns / SECOND
        longest = 0.02 + interval_s + row["margin_s"] + window_s
        assert row["detection_mean_s"] == pytest.approx(longest - interval_s / 2, rel=0.05)
        most = 0.15 if margin == "set" else 1.2 * interval_s
        assert longest <= row["detection_max_s"] < longest + most


def test_two_stages_cost_two_messages_for_every_lost_heartbeat(rows):
    assert rows["A", "set", 0.5]["extra"] == pytest.approx(0.02, rel=0.2)
    assert rows["C", "set", 1.0]["extra"] == pytest.approx(0.01, rel=0.3)


def test_independent_losses_refute_themselves(rows):
    assert rows["A", "learnt", 1.0]["mistakes"] == 0
    # Listening alone has to wait for several intervals until all losses are over.
    assert (
        rows["A", "learnt", 1.0]["passive_mean_s"]
        > 1.2 * rows["A", "learnt", 1.0]["detection_mean_s"]
    )


# --- aims -------------------------------------------------------------------------------------


def trace(**means):
    points = {
        kind: {
            "points": [
                {"mistakes_per_hour": rate, "mean_s": mean, "p99_s": 2 * mean, "max_s": 3 * mean}
                for rate in (30, 6)
            ]
        }
        for kind, mean in means.items()
    }
    return {"detectors": points}


def test_an_aim_is_met_or_says_by_how_much_it_is_missed():
    aims = list(detectors._adaptive_aims({"wan": trace(adaptive=0.7, chen=1.0, phi=0.8)}))
    assert [(aim["found"], aim["met"]) for aim in aims[:3]] == [
        (pytest.approx(0.3), True),
        (pytest.approx(0.125), False),
        (pytest.approx(0.7), True),
    ]


def test_an_aim_that_was_not_measured_is_not_met():
    aims = list(detectors._adaptive_aims({"iid": trace(chen=1.0)}))
    assert [(aim["found"], aim["met"]) for aim in aims] == [(None, False)]


def test_figures_are_not_believed_where_a_detector_or_the_twin_is_missing():
    twin = detectors.twin
    week = {
        "lost": twin.LOST,
        "gaps": twin.BURSTS,
        "arrival_mean_s": twin.ARRIVAL_MEAN_S,
        "arrival_deviation_s": twin.ARRIVAL_DEVIATION_S,
    }
    good = {"wan": {**trace(chen=1.0), **week}}
    assert all(promise.kept for promise in detectors._promises(good))
    other = {"wan": {**trace(chen=1.0), **week, "lost": 2 * twin.LOST}}
    assert [promise.kept for promise in detectors._promises(other)] == [True, False]
    empty = {"iid": {"detectors": {"chen": {"points": []}}}}
    (promise,) = detectors._promises(empty)
    assert (promise.kept, promise.found) == (False, "chen on iid")


# --- the command ------------------------------------------------------------------------------


@linux
@pytest.mark.slow
@pytest.mark.real
def test_the_command_measures_everything_and_draws_it(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "beatward", "bench", "detectors", "--quick", "--jobs", "1"),
            *("--traces", "iid", "--svg", str(tmp_path), "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    figures = report["figures"]
    assert figures["traces"].keys() == {"iid"}
    assert figures["traces"]["iid"]["detectors"].keys() == frontier.KNOBS.keys()
    assert {row["channel"] for row in figures["two_stage"]} == two_stage.CHANNELS.keys()
    assert figures["aims"]
    assert any("quick" in remark for remark in report["remarks"])
    picture = ET.parse(tmp_path / "iid.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"


@linux
def test_an_unknown_trace_is_refused_by_name():
    done = CliRunner().invoke(bench_command, ["detectors", "--traces", "lunch"])
    assert done.exit_code == 2
    assert "no trace 'lunch'" in done.output
    assert all(name in done.output.replace("\n", " ") for name in TRACES)
