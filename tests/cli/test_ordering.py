"""pause, resume, forget, acknowledge, silence, silences, unsilence: on a monitor that runs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest

ORDERING = [
    ("pause", "web-1"),
    ("resume", "web-1"),
    ("forget", "web-1"),
    ("acknowledge", "web-1"),
    ("silence", "web-1", "--for", "1h"),
    ("silences",),
    ("unsilence", "3f9a1c22"),
]


@pytest.fixture
def order(beatward, monitor):
    def run(*arguments, **more):
        return beatward(*arguments, "--data", monitor.data, **more)

    return run


def alive(monitor, *names):
    for name in names:
        monitor.ping(name)
        monitor.wait_status(name, "alive")


@pytest.mark.parametrize("command", ORDERING, ids=" ".join)
def test_nobody_there_is_exit_code_3(beatward, command):
    done = beatward(*command, "--monitor", "http://127.0.0.1:9")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("beatward: no monitor answers at http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("pause",), "say which nodes"),
        (("resume",), "say which nodes"),
        (("pause", "web-1", "--for", "soon"), "'soon' is not a duration"),
        (("pause", "web-1", "--for", "0s"), "'0s' is not a duration"),
        (("pause", "--label", "zone"), "'zone' is not a label"),
        (("silence", "web-1"), "--for"),
        (("silence", "--for", "1h"), "say about whom"),
        (("silence", "web-1", "--all", "--for", "1h"), "say about whom"),
        (("acknowledge",), "NODE"),
        (("forget",), "NODE"),
        (("unsilence",), "ID"),
    ],
)
def test_wrong_usage_is_exit_code_2(order, command, words):
    done = order(*command)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_commands_want_the_token_also_on_the_same_machine(beatward, monitor):
    alive(monitor, "mine-1")
    elsewhere = monitor.url.replace("127.0.0.1", "localhost")
    for command in (("pause", "mine-1"), ("forget", "mine-1"), ("silence", "--all", "--for", "1h")):
        done = beatward(*command, "--monitor", elsewhere)
        assert (done.code, done.out) == (2, "")
        assert "BEATWARD_API_TOKEN" in done.err
    monitor.wait_status("mine-1", "alive")


def test_a_pause_is_in_effect_when_the_command_returns(order, monitor):
    alive(monitor, "care-1", "care-2")
    done = order(
        "pause", "care-1", "--for", "1h", "--by", "ann", "--reason", "kernel update", "--json"
    )
    assert done.code == 0
    assert {"ordered": "pause", "count": 1, "in_effect": True}.items() <= done.json.items()
    (node,) = order("nodes", "care-1", "--json").json["nodes"]
    assert node["status"] == "paused"
    assert (node["maintenance"]["by"], node["maintenance"]["reason"]) == ("ann", "kernel update")
    shown = order("nodes", "care-*").out
    assert "paused until 2" in shown
    assert "by ann (kernel update)" in shown
    assert "by ann (kernel update)" in order("status").out
    assert "for another" in order("explain", "care-1").out
    done = order("resume", "care-*", "--by", "bob")
    assert (done.code, done.out) == (0, "2 nodes are watched again\n")
    (node,) = order("nodes", "care-1", "--json").json["nodes"]
    assert node["status"] == "new"
    events = order("events", "--node", "care-1").out
    assert "bob has ended its maintenance" in events


def test_a_pause_without_an_end_lasts_until_somebody_ends_it(order, monitor):
    alive(monitor, "open-1")
    assert order("pause", "open-1").out == "open-1 is paused until it is ended\n"
    assert "paused until it is ended" in order("nodes", "open-1").out


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_an_unknown_name_changes_nothing_and_is_told_with_those_like_it(order, monitor, command):
    alive(monitor, "here-1")
    done = order(command, "here-1", "heer-1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("beatward: no node is called 'heer-1'; ")
    assert "alike: here-1" in done.err
    monitor.wait_status("here-1", "alive")
    done = order(command, "here-1", "heer-1", "--json")
    assert (done.code, done.json["unknown"]) == (1, ["heer-1"])
    assert "here-1" in done.json["alike"]
    done = order(command, "--label", "zone=nowhere")
    assert (done.code, done.out) == (1, "")
    assert "no node has zone=nowhere" in done.err


def test_a_node_is_forgotten_and_one_that_lives_is_said_to_live(order, monitor):
    alive(monitor, "bye-1")
    done = order("forget", "bye-1", "nobody")
    assert (done.code, done.out) == (1, "bye-1 is forgotten\n")
    assert "bye-1 was heard" in done.err
    assert "no node is called 'nobody'" in done.err
    assert order("nodes", "bye-1").code == 1
    done = order("forget", "bye-1", "--json")
    assert (done.code, done.json) == (
        1,
        {"ordered": "forget", "nodes": [], "unknown": ["bye-1"]},
    )


def test_a_stolen_key_is_shut_out(order, monitor):
    alive(monitor, "stolen-1")
    stolen = order("token", "ping", "stolen-1").out
    done = order("forget", "--revoke", "stolen-1", "--by", "ann")
    assert (done.code, done.out) == (0, "stolen-1 is forgotten, and its key is revoked\n")
    assert "has a key that opens nothing any more" in done.err
    assert httpx2.get(stolen.strip(), trust_env=False).status_code == 404
    fresh = order("token", "ping", "stolen-1").out
    assert fresh != stolen
    assert httpx2.get(fresh.strip(), trust_env=False).status_code == 200
    assert "was revoked by ann" in order("events", "--node", "stolen-1").out
    # Also one that is not known any more.
    done = order("forget", "--revoke", "never-1", "--json")
    assert (done.code, done.json["revoked"], done.json["unknown"]) == (0, ["never-1"], [])
    assert order("forget", "--revoke", "no name").code == 1


def test_an_alarm_is_acknowledged_and_shown_with_who_knows(order, monitor):
    alive(monitor, "ill-1")
    done = order("acknowledge", "ill-1")
    assert (done.code, done.out) == (1, "")
    assert "there is no alarm" in done.err
    monitor.ping("ill-1", "/fail")
    monitor.wait_status("ill-1", "failing")
    done = order("acknowledge", "ill-1", "--by", "ann", "--note", "the disk")
    assert (done.code, done.out) == (0, "the alarm of ill-1 is acknowledged by ann\n")
    for command in (("nodes", "ill-1"), ("status",)):
        assert "acknowledged by ann (the disk)" in order(*command).out
    assert "acknowledged" in order("explain", "ill-1").out
    done = order("acknowledge", "ill-1", "--remove", "--json")
    assert (done.code, done.json["ordered"]) == (0, "unacknowledge")
    assert order("acknowledge", "ill-1", "--remove").code == 1
    assert order("acknowledge", "nobody").code == 1


def test_silences_are_begun_listed_and_ended(order, monitor):
    alive(monitor, "quiet-1")
    done = order("silence", "quiet-*", "--for", "2h", "--by", "ann", "--reason", "switch", "--json")
    assert done.code == 0
    assert {"ordered": "silence", "matching": 1, "in_effect": True}.items() <= done.json.items()
    called = done.json["id"]
    listed = order("silences", "--json").json["silences"]
    assert called in [one["id"] for one in listed]
    table = order("silences").out
    assert "quiet-*" in table
    assert "switch" in table
    assert f"silenced by {called}" in order("nodes", "quiet-1").out
    assert f"silence {called} " in order("status").out
    assert f"by silence {called} by ann (switch)" in order("explain", "quiet-1").out
    done = order("unsilence", called, "--by", "bob")
    assert (done.code, done.out) == (0, f"silence {called} is ended\n")
    assert "was ended by bob" in order("events").out
    done = order("unsilence", called)
    assert (done.code, done.out) == (1, "")
    assert "no silence is called" in done.err


def test_by_default_it_is_the_user_who_says_so(order, monitor):
    alive(monitor, "user-1")
    order("pause", "user-1", LOGNAME="carol")
    assert " by carol" in order("nodes", "user-1").out


class Receiver:
    """Takes webhooks and remembers which."""

    def __init__(self):
        told = self.told = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def test_a_webhook_is_held_over_a_restart_and_told_when_the_silence_ends(
    beatward, make_monitor, receiver, wait_until
):
    rules = f'[action.tell]\nkind = "webhook"\nurl = "{receiver.url}"\n'
    rules += '[[rule]]\non = ["failing"]\nactions = ["tell"]\n'
    running = make_monitor(settings=rules)

    def order(*arguments):
        done = beatward(*arguments, "--data", running.data)
        assert done.code == 0, done.err
        return done

    for name in ("web-1", "db-1"):
        alive(running, name)
    called = order("silence", "web-*", "--for", "1h", "--json").json["id"]
    for name in ("web-1", "db-1"):
        running.ping(name, "/fail")
    wait_until(lambda: receiver.told, "the other one is told")
    running.wait_status("web-1", "failing")
    wait_until(
        lambda: "held for another" in order("events", "--node", "web-1").out, "it is on disk"
    )
    running.end()
    running.start()
    # A node is failing, so the answer is no.
    status = beatward("status", "--json", "--data", running.data).json
    assert status["actions"] == {"waiting": 0, "running": 0, "held": 1, "guarded": 0}
    assert [one["node"] for one in receiver.told] == ["db-1"]
    order("unsilence", called)
    wait_until(lambda: len(receiver.told) == 2, "what was held is told")
    assert receiver.told[1]["node"] == "web-1"
    assert receiver.told[1]["status"] == "failing"
