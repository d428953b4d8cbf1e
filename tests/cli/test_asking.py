"""status, nodes, events and explain: what they print, and what they end with."""

import http.server
import threading

import pytest

ASKING = [
    ("status",),
    ("nodes",),
    ("nodes", "web-1"),
    ("events",),
    ("events", "--follow"),
    ("watch",),
    ("watch", "--json"),
    ("explain", "web-1"),
]


def test_exit_codes_are_those_of_the_process(process, monitor):
    answers = {
        0: process("nodes", "--json", "--monitor", monitor.url),
        1: process("nodes", "nobody", "--json", "--monitor", monitor.url),
        2: process("nodes", "--monitor", "nonsense"),
        3: process("nodes", "--monitor", "http://127.0.0.1:9"),
    }
    assert {code: done.code for code, done in answers.items()} == {0: 0, 1: 1, 2: 2, 3: 3}
    assert answers[0].json["unknown"] == []
    assert answers[1].json["unknown"] == ["nobody"]
    for code, done in answers.items():
        assert len(done.err.splitlines()) == (code > 0)


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_nobody_there_is_exit_code_3(beatward, command):
    done = beatward(*command, "--monitor", "http://127.0.0.1:9")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("beatward: no monitor answers at http://127.0.0.1:9 (--monitor)")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("url", ["127.0.0.1:7227", "ftp://x", "http://", "http://a:b"])
def test_a_wrong_address_is_exit_code_2(beatward, url):
    done = beatward("status", "--monitor", url)
    assert (done.code, done.out) == (2, "")
    assert f"found {url!r}, expected http://host:port" in done.err
    assert beatward("status", BEATWARD_MONITOR=url).code == 2


@pytest.mark.parametrize("command", [("status", "--bad"), ("explain",), ("events", "--limit", "0")])
def test_wrong_usage_is_exit_code_2(beatward, command):
    assert beatward(*command).code == 2


class _NotAMonitor(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_):
        pass


def test_something_else_at_the_address_is_no_monitor(beatward):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _NotAMonitor)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = beatward("status", "--monitor", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (done.code, done.out) == (3, "")
    assert "not as a beatward monitor would" in done.err


def test_the_monitor_is_found_by_option_environment_and_data_folder(beatward, monitor):
    nowhere = "http://127.0.0.1:9"
    found = [
        beatward("status", "--json", "--monitor", monitor.url, BEATWARD_MONITOR=nowhere),
        beatward("status", "--json", BEATWARD_MONITOR=monitor.url),
        beatward("status", "--json", "--data", monitor.data),
        beatward("status", "--json", BEATWARD_DATA=str(monitor.data)),
    ]
    for done in found:
        assert done.json["name"] == "monitor", done.err
    # The option is stronger than the environment.
    assert beatward("status", "--monitor", nowhere, BEATWARD_MONITOR=monitor.url).code == 3


def test_status_is_one_screen(beatward, monitor):
    monitor.ping("scr-1")
    monitor.wait_status("scr-1", "alive")
    done = beatward("status", "--monitor", monitor.url)
    assert done.code == (
        0 if beatward("status", "--monitor", monitor.url, "--json").json["well"] else 1
    )
    assert done.out.startswith(f"monitor at {monitor.url}, beatward ")
    for word in ("nodes", "heartbeats", "journal", "actions", "pauses", "alive"):
        assert word in done.out
    assert len(done.out.splitlines()) <= 24


def test_status_as_json_has_what_the_api_says_and_the_last_events(beatward, monitor):
    monitor.ping("scr-2")
    monitor.wait_status("scr-2", "alive")
    status = beatward("status", "--monitor", monitor.url, "--json").json
    assert status["nodes"]["total"] >= 1
    assert status["events"][-1]["id"] <= status["last_event"]
    assert {"health", "counters", "rejects", "pauses", "actions"} <= status.keys()


def test_trouble_with_the_journal_is_told_in_red(beatward, make_monitor, wait_until):
    # The journal's files may not grow beyond this, as on a disk that is full.
    running = make_monitor(file_size_max=96 * 1024)
    running.ping("full-1")
    running.wait_status("full-1", "alive")

    def ask(*options, **environment):
        # Now and then SQLite makes room in its files, so both are asked until there is none.
        for word in ("pause", "resume") * 25:
            running.order("full-1", word)
        return beatward("status", "--monitor", running.url, *options, **environment)

    def told_in_json():
        done = ask("--json")
        return done if done.json["health"]["journal"]["error"] else None

    def told_in_red():
        done = ask(FORCE_COLOR="1", TERM="xterm-256color")
        red = [line for line in done.out.splitlines() if "\x1b[1;31m" in line]
        return done if any("the journal holds" in line for line in red) else None

    done = wait_until(told_in_json, "the journal cannot be written")
    assert (done.code, done.json["health"]["status"]) == (1, "degraded")
    assert done.json["health"]["journal"]["waiting"] > 0
    assert wait_until(told_in_red, "the trouble in red").code == 1


@pytest.fixture(scope="module")
def flock(monitor):
    for name in ("flock-1", "flock-2", "flock-3", "other-1"):
        monitor.ping(name)
        monitor.wait_status(name, "alive")
    monitor.order("flock-2", "pause")
    monitor.wait_status("flock-2", "paused")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("flock-*",), ["flock-1", "flock-2", "flock-3"]),
        (("flock-3", "flock-1"), ["flock-1", "flock-3"]),
        (("flock-*", "flock-1", "other-?"), ["flock-1", "flock-2", "flock-3", "other-1"]),
        (("flock-*", "--status", "paused"), ["flock-2"]),
        (("flock-1", "--status", "paused"), []),
        (("flock-*", "--status", "paused", "--status", "alive"), ["flock-1", "flock-2", "flock-3"]),
        (("none-*",), []),
    ],
    ids=range(7),
)
def test_nodes_are_chosen_by_name_pattern_and_status(beatward, monitor, flock, asked, expected):
    done = beatward("nodes", *asked, "--monitor", monitor.url, "--json")
    assert done.code == 0
    assert [node["name"] for node in done.json["nodes"]] == expected
    assert done.json["unknown"] == []


def test_an_unknown_node_is_exit_code_1_and_the_others_are_shown(beatward, monitor, flock):
    done = beatward("nodes", "flock-1", "nobody", "--monitor", monitor.url)
    assert done.code == 1
    assert "flock-1  alive" in done.out
    assert "no node is called 'nobody'" in done.err
    done = beatward("nodes", "nobody", "--monitor", monitor.url, "--json")
    assert (done.code, done.json) == (1, {"nodes": [], "unknown": ["nobody"]})
    done = beatward("explain", "nobody", "--monitor", monitor.url)
    assert (done.code, done.out) == (1, "")
    assert "'nobody'" in done.err


def test_the_table_of_nodes_is_coloured_by_status_on_a_terminal(beatward, monitor, flock):
    done = beatward(
        "nodes", "flock-*", "--monitor", monitor.url, FORCE_COLOR="1", TERM="xterm-256color"
    )
    assert "\x1b[32malive" in done.out
    assert "\x1b[34mpaused" in done.out
    assert "\x1b[" not in beatward("nodes", "--monitor", monitor.url).out


def test_explain_has_the_sentence_the_numbers_and_the_last_verdict(beatward, monitor, flock):
    done = beatward("explain", "flock-1", "--monitor", monitor.url)
    assert done.code == 0
    assert done.out.startswith("flock-1 is alive")
    assert "interval" in done.out
    assert "60 s" in done.out
    assert "It was never suspected" in done.out
    answer = beatward("explain", "flock-1", "--monitor", monitor.url, "--json").json
    assert answer["detail"]["interval_ns"] == 60_000_000_000


def test_where_nothing_has_happened_it_is_said(beatward, monitor, flock):
    last = str(beatward("events", "--json", "--monitor", monitor.url).json["last"])
    done = beatward("events", "--after", last, "--monitor", monitor.url)
    assert (done.code, done.out, done.err) == (0, "No event matches.\n", "")


@pytest.mark.parametrize("command", [["events"], ["events", "--follow"], ["watch"]])
def test_events_of_a_node_that_never_was_are_refused_with_the_names_that_are_alike(
    beatward, monitor, flock, command
):
    done = beatward(*command, "--node", "flok-1", "--monitor", monitor.url)
    assert done.code == 1
    assert "no node is called 'flok-1'" in done.err
    assert "flock-1" in done.err
    done = beatward(*command, "--node", "flok-1", "--json", "--monitor", monitor.url)
    assert (done.code, "flock-1" in done.json["alike"]) == (1, True)


def test_events_are_shown_oldest_first_and_behind_an_id(beatward, monitor, flock):
    asked = ("events", "--node", "flock-2", "--monitor", monitor.url)
    page = beatward(*asked, "--json").json
    found = [event["event"] for event in page["events"]]
    assert found == ["joined", "transition", "transition"]
    first, second, third = (event["id"] for event in page["events"])
    after = beatward(*asked, "--json", "--after", second).json["events"]
    assert [event["id"] for event in after] == [third]
    newest = beatward(*asked, "--json", "--limit", "1").json["events"]
    assert [event["id"] for event in newest] == [third]
    lines = beatward(*asked).out.splitlines()
    assert len(lines) == 3
    assert "flock-2 was enrolled" in lines[0]
    assert first < second < third


def test_a_monitor_that_others_can_reach_wants_the_token(beatward, make_monitor):
    running = make_monitor(host="0.0.0.0")
    token = running.local["api_token"]
    asked = ("nodes", "--json", "--monitor", running.url)
    for done in (beatward(*asked), beatward(*asked, BEATWARD_API_TOKEN="bwa1_wrong")):
        assert (done.code, done.out) == (2, "")
        assert "BEATWARD_API_TOKEN" in done.err
        assert "beatward token api" in done.err
    assert beatward(*asked, BEATWARD_API_TOKEN=token).code == 0
    assert beatward("nodes", "--data", running.data).code == 0
    # The token in local.json is for the monitor that it names, and for no other.
    elsewhere = running.url.replace("127.0.0.1", "127.0.0.2")
    assert beatward("nodes", "--monitor", elsewhere, "--data", running.data).code == 2
