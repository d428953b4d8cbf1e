"""watch and events --follow: nothing lost, nothing twice, also when the monitor restarts."""

import io
import itertools
import json
import re
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console
from tests.terminal import Terminal

from beatward.cli.services import brief


class Watching:
    """A command that prints one event a line, read as it comes."""

    def __init__(self, arguments, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beatward", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self, count):
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def end(self):
        """Press Ctrl-C; returns (exit code, what came on stderr)."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=10)
        return self.process.returncode, err


@pytest.fixture
def start(environment):
    started = []

    def begin(*arguments):
        started.append(Watching(map(str, arguments), environment()))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("command", [("watch",), ("events", "--follow", "--limit", "1000")])
def test_a_restart_of_the_monitor_loses_and_doubles_nothing(
    make_monitor, start, wait_until, command
):
    running = make_monitor()
    running.ping("w-1")
    running.wait_status("w-1", "alive")
    watching = start(*command, "--after", "0", "--json", "--monitor", running.url)
    found = watching.read(3)
    # `events` asks for a page first; only a stream that was open is taken up again.
    wait_until(lambda: "beatward_streams 1.0" in running.http.get("/metrics").text, "a stream")
    running.end()
    running.start()  # at the same port, with the same journal
    running.wait_status("w-1", "alive")
    for word in ("pause", "resume"):
        running.order("w-1", word)
    # A busy machine may have the monitor write of a pause of its own as well.
    while found[-1]["status"] != "new":
        found += watching.read(1)
    code, err = watching.end()
    assert [event["id"] for event in found] == list(range(1, len(found) + 1))
    assert [event["status"] for event in found if event["node"] == "w-1"][-2:] == ["paused", "new"]
    assert code == 0
    assert "trying again behind event 3" in err
    assert err.count("the stream goes on") == 1


def test_json_lines_have_stable_keys(monitor, start):
    watching = start("watch", "--after", "0", "--json", "--monitor", monitor.url)
    (event,) = watching.read(1)
    watching.end()
    assert list(event) == [
        *("id", "event", "at", "node", "status", "cause", "explanation", "action", "outcome"),
        "detail",
    ]


def test_watch_begins_with_what_happens_next(monitor, start, beatward):
    monitor.ping("w-2")
    monitor.wait_status("w-2", "alive")
    watching = start("watch", "--json", "--node", "w-2", "--monitor", monitor.url)
    # On a busy machine the command begins late; so something goes on happening until it follows.
    is_seen = threading.Event()

    def go_on():
        for word in itertools.cycle(("pause", "resume")):
            monitor.order("w-2", word)
            if is_seen.wait(0.3):
                return

    teller = threading.Thread(target=go_on)
    teller.start()
    (event,) = watching.read(1)
    is_seen.set()
    teller.join()
    assert event["node"] == "w-2"
    assert event["cause"] in ("pause", "resume")
    assert watching.end()[0] == 0


def test_watch_on_a_terminal_is_a_screen_that_keeps_up(make_monitor, environment):
    running = make_monitor()
    running.ping("w-3")
    running.wait_status("w-3", "alive")
    terminal = Terminal(
        ["watch", "--monitor", running.url],
        environment(),
        *(100, 30),
    )
    terminal.wait_for("w-3 is alive")
    terminal.wait_for("1 alive")
    running.order("w-3", "pause")
    terminal.wait_for("w-3 is paused")
    terminal.wait_for("1 paused")
    running.end()
    terminal.wait_for("trying again behind event")
    running.start()
    running.ping("w-4")
    terminal.wait_for("w-4 was enrolled")
    terminal.press(b"\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.raw
    assert "\x1b[?1049l" in terminal.raw  # the screen that was there before is back


# So long nobody has the role that even a busy machine draws it.
SLOW = '[failover]\nlease = "1s"\ndemote_within = "3s"\n'
SERVICES = re.compile(r"service +phase +holder +token +since +healthy")


def test_watch_shows_what_becomes_of_services(make_monitor, members, environment):
    running = make_monitor(settings=SLOW)
    running.ping("w-5")
    terminal = Terminal(["watch", "--monitor", running.url], environment(), 80, 24)
    terminal.wait_for("w-5 is alive")
    assert not SERVICES.search(terminal.text)
    first, _ = members("w-db", "w-6", "w-7", at=running)
    terminal.wait_for(re.compile(r"w-db +held +w-6 +1 +[0-9.]+ s +2/2"))
    assert SERVICES.search(terminal.text)
    first.die()
    terminal.wait_for(re.compile("w-db +waiting +w-6 +1 .* 1/2 +may hold it [0-9.]+ s more"))
    terminal.wait_for(re.compile(r"w-db +held +w-7 +2 +[0-9.]+ s +1/2"))
    terminal.press(b"\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.raw


def shown(services, line_count, width):
    screen = Console(width=width, file=io.StringIO(), color_system=None)
    screen.print(brief(services, line_count))
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]


def role(name, *healthy, **more):
    held = {
        "phase": "held",
        "holder": f"{name}-1",
        "token": 7,
        "since_ns": 10**9,
        "mode": "failover",
    }
    calm = {"reason": "", "paused": None, "automatic": True, "target": None, "until_in_ns": None}
    members = [
        {"node": f"{name}-{number}", "status": "alive" if one else "dead", "healthy": one}
        | {"heard_ago_ns": 1_600_000_000}
        for number, one in enumerate(healthy or (True, True), start=1)
    ]
    return {"name": name, "members": members, **held, **calm, **more}


def test_services_are_a_line_each_however_narrow_the_screen_is():
    lost = {"phase": "waiting", "reason": "db-1 is silent", "until_in_ns": 1_200_000_000}
    words = "may hold it 1.2 s more; db-1 is silent"
    asked = {"phase": "demoting", "target": "ip-2"}
    plain = {"phase": None, "holder": None, "mode": "balance", "token": 0, "since_ns": None}
    services = [role("db", False, True, **lost), role("ip", **asked), role("web", **plain)]
    assert shown(services, 4, 120) == [
        "service  phase     holder  token  since  healthy  remarks",
        f"db       waiting   db-1        7  1.0 s      1/2  {words}",
        "ip       demoting  ip-1        7  1.0 s      2/2  on its way to ip-2",
        "web      balance   -           -      -      2/2",
    ]
    assert [line[50:] for line in shown(services, 4, 70)] == [
        "remarks",
        "may hold it 1.2 s m…",
        "on its way to ip-2",
        "",
    ]


def test_a_dead_holder_whose_lease_runs_on_is_remarked():
    words = "db-1 is dead, heard 1.6 s ago"
    assert shown([role("db", False, True)], 2, 120)[1].endswith(f"1/2  {words}")
    assert shown([role("db", True, False)], 2, 120)[1].endswith("1/2")


def test_where_there_are_many_services_trouble_is_shown_first():
    services = [role(f"s{index}") for index in range(6)]
    services[4] |= {"phase": "vacant", "holder": None, "reason": "nobody could take the role"}
    lines = shown(services, 4, 120)
    assert [line.split()[0] for line in lines] == ["service", "s0", "s4", "and"]
    assert lines[-1] == "and 4 more, all in order"
    lines = shown([role(f"s{index}", False) for index in range(6)], 4, 120)
    assert lines[-1] == "and 4 more"
    assert len(shown(services, 7, 120)) == 7
