"""Nobody misses an alarm: real nodes die, and what people are told is looked at from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.harness import Monitor, free_address, nodes
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

QUICK = """
start_grace = "3s"
[probe]
window = "400ms"
spacing = "100ms"
[guard]
window = "2s"
"""


class Receiver:
    """Takes webhooks; `bodies` are those it has answered with 200, in the order they came."""

    def __init__(self, address="127.0.0.1:0"):
        bodies = self.bodies = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        host, port = address.rsplit(":", 1)
        self.server = ThreadingHTTPServer((host, int(port)), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def wait(self, question, *, timeout=20):
        return wait_for(
            lambda: next((one for one in self.bodies if question(one)), None),
            timeout=timeout,
            what=f"a webhook after {[(one['node'], one['status']) for one in self.bodies]}",
        )


@contextmanager
def hanging():
    """Yield the URL of a receiver that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def webhook(name, url, *, more=""):
    return f'[action.{name}]\nkind = "webhook"\nurl = "{url}"\n{more}'


def rule(*names):
    return f'[[rule]]\non = ["dead"]\nactions = {json.dumps(names)}\n'


def names_of(*numbers):
    return [f"web-{number}" for number in numbers]


@contextmanager
def fleet(monitor, *groups):
    """Run each group of nodes in a process of its own, and yield their pids once all are alive."""
    with ExitStack() as stack:
        pids = [
            stack.enter_context(nodes(monitor.data, group, interval="200ms")) for group in groups
        ]
        for group in groups:
            monitor.wait_status(group, "alive")
        yield pids


def test_a_mass_failure_is_told_with_names_and_a_node_that_dies_later_alone_is_told_at_once(
    tmp_path,
):
    with Receiver() as alarm:
        mended = tmp_path / "mended"
        script = f'echo "$BEATWARD_NODE" >>{mended}'
        mend = f'[action.mend]\nkind = "exec"\ncommand = ["sh", "-c", {json.dumps(script)}]\n'
        settings = QUICK + webhook("alarm", alarm.url) + mend + rule("alarm", "mend")
        with (
            Monitor(tmp_path, settings) as monitor,
            fleet(monitor, names_of(1, 2, 3), names_of(4), names_of(5, 6, 7, 8)) as pids,
        ):
            os.kill(pids[0], signal.SIGKILL)
            mass = alarm.wait(lambda one: one["cause"] == "mass_failure")
            # The window, within which silences are one, has passed; the three stay dead.
            wait_for(
                lambda: [
                    one
                    for one in monitor.get("/v1/guard")["holds"]
                    if one["since_ns"] > 4_000_000_000
                ],
                what="the end of the window",
            )
            os.kill(pids[1], signal.SIGKILL)
            alone = alarm.wait(lambda one: one["node"] == "web-4")
            assert alone["status"] == "dead"
            assert "at once" not in alone["explanation"]
            wait_for(mended.exists, what="the repair of web-4")
            assert mended.read_text() == "web-4\n"
            assert monitor.get("/v1/guard")["holds"][0]["dark"] == 3
            assert [one["node"] for one in alarm.bodies] == ["", "web-4"]
            assert mass["explanation"].startswith(
                "3 of 8 nodes of the fleet went dark at once: web-1, web-2, web-3; "
            )
            assert (mass["nodes"], mass["count"]) == (names_of(1, 2, 3), 3)


def test_an_action_that_only_tells_is_taken_in_a_mass_failure_too(tmp_path):
    said = tmp_path / "said"
    command = json.dumps(["sh", "-c", f'echo "$1" >>{said}', "note", "{explanation} ({count})"])
    note = f'[action.note]\nkind = "notify"\ncommand = {command}\n'
    settings = QUICK + note + rule("note")
    with (
        Monitor(tmp_path, settings) as monitor,
        fleet(monitor, names_of(1, 2, 3), names_of(4, 5)) as (pid, _),
    ):
        os.kill(pid, signal.SIGKILL)
        wait_for(said.exists, what="the note")
        (line,) = said.read_text().splitlines()
        assert line.startswith("3 of 5 nodes of the fleet went dark at once: web-1, web-2, web-3; ")
        assert line.endswith("(3)")


def test_a_receiver_that_hangs_keeps_nothing_from_another(tmp_path):
    everybody = names_of(*range(120))
    with Receiver() as quick, hanging() as slow_url:
        settings = (
            QUICK
            + "count = 1000\n"
            + webhook("slow", slow_url, more='timeout = "60s"\n')
            + webhook("quick", quick.url, more='timeout = "60s"\n')
            + rule("slow", "quick")
        )
        with (
            Monitor(tmp_path, settings) as monitor,
            fleet(monitor, everybody, ["other"]) as (pid, _),
        ):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: len(quick.bodies) == 120, timeout=15, what="all 120 alarms")
            assert {one["node"] for one in quick.bodies} == set(everybody)
            done = [one for one in monitor.events() if one["event"] == "outcome"]
            assert {one["action"] for one in done} <= {"quick"}


def test_an_alarm_that_cannot_be_delivered_is_told_of_everywhere_until_one_is(tmp_path):
    closed = free_address(socket.SOCK_STREAM)
    settings = (
        QUICK
        + webhook(
            "alarm",
            f"http://{closed}/",
            more='retry = "200ms"\nretry_max = "500ms"\nattempts = 1000\n',
        )
        + rule("alarm")
    )
    with Monitor(tmp_path, settings) as monitor:

        def health():
            return monitor.get("/v1/status")["health"]

        def is_told():
            return health()["status"] == "degraded" and any(
                "alarm" in reason and "Connection refused" in reason
                for reason in health()["reasons"]
            )

        def metric():
            with urllib.request.urlopen(monitor.url + "/metrics", timeout=5) as answer:
                return answer.read().decode()

        with fleet(monitor, ["web-1"]) as (pid,):
            os.kill(pid, signal.SIGKILL)
        wait_for(is_told, what="that status tells of the alarm")
        open_health = monitor.get("/healthz")
        assert open_health["status"] == "degraded"
        assert any("alarm failed" in reason for reason in open_health["reasons"])
        assert 'beatward_action_failing{action="alarm"} 1.0' in metric()
        assert monitor.log.count("the action alarm failed; web-1, attempt 1: ") == 1
        doctor = [sys.executable, "-m", "beatward", "doctor", "--monitor", monitor.url]
        told = subprocess.run(doctor, capture_output=True, text=True, check=False).stdout
        assert "alarm failed" in " ".join(told.split())
        # What the journal knows of it outlives the monitor; nothing is due in the new one's start.
        monitor.kill()
        monitor.start()
        wait_for(is_told, what="that a restarted monitor tells of it")
        with Receiver(closed) as receiver:
            receiver.wait(lambda one: one["node"] == "web-1")
            wait_for(lambda: not is_told(), what="the end of the trouble")
            assert 'beatward_action_failing{action="alarm"} 0.0' in metric()
        assert "the action alarm works again" in monitor.log
