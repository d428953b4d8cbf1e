"""`beatward agent` as a process: heartbeats with metrics, actions by name, systemd, settings."""

import json
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from beatward.agent import settings
from beatward.agent.action_runner import ActionRunner, FetchedAction, end_group, run
from beatward.agent.settings import LocalAction
from beatward.agent.state import DONE_COUNT_MAX, StateFile
from beatward.agent.system_metrics import ProcMetrics, system_metrics
from beatward.agent.systemd import notify, watchdog_ns
from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.record import NO_GAUGE, Farewell
from beatward.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "agent.toml"


def action(key="1/a", name="touch", attempt=1, node="web-2", timeout_ns=0):
    fields = {"key": key, "name": name, "node": node, "attempt": attempt}
    return {**fields, "timeout_ns": timeout_ns}


def read_until(stream, wanted):
    lines = []
    while not lines or wanted not in lines[-1]:
        line = stream.readline()
        assert line, f"the log ended without {wanted!r}: {lines}"
        lines.append(line)
    return lines


# --- the process ---


@pytest.mark.real
def test_the_agent_beats_with_facts_and_leaves_on_sigterm(monitor, beatward):
    process = beatward("agent", "--name", "web-1", "--interval", "20ms", "--label", "zone=a")
    said = monitor.wait_beats("web-1", 3)[-1]
    assert 0 <= said.cpu <= 10_000
    assert 0 < said.memory < 10_000
    assert said.load != NO_GAUGE
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0
    assert monitor.wait_goodbye("web-1").status == Farewell.LEFT
    assert monitor.joins[0]["labels"] == {"zone": "a"}
    lines = error.splitlines()
    assert lines[0] == "web-1 beats"
    assert f"web-1 is enrolled with {monitor.url}" in lines
    assert "SIGTERM: goodbye" in lines
    assert lines[-1] == f"web-1 said goodbye to {monitor.url}"


@pytest.mark.real
def test_settings_come_from_the_file_the_environment_and_the_command_line(
    monitor, beatward, environment, tmp_path
):
    path = tmp_path / "agent.toml"
    path.write_text('name = "file"\ninterval = "30ms"\nlabels = { from = "file" }\n')
    beatward("agent", "-c", str(path), "--interval", "20ms")
    assert monitor.wait_beats("file", 1)[0].interval_ms == 20
    assert monitor.joins[-1]["labels"] == {"from": "file"}
    environment["BEATWARD_NAME"] = "environment"
    beatward("agent", "-c", str(path))
    assert monitor.wait_beats("environment", 1)[0].interval_ms == 30


@pytest.mark.real
def test_a_refused_agent_ends_with_1_and_the_monitors_reason(monitor, beatward, environment):
    environment["BEATWARD_TOKEN"] = monitor.token(names="db-*")
    process = beatward("agent", "--name", "web-1")
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "this join token is for 'db-*', not for 'web-1'" in error.splitlines()[-1]


@pytest.mark.real
def test_wrong_settings_end_with_2_and_name_file_and_key(beatward, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('intervall = "1s"\n')
    process = beatward("agent", "-c", str(path))
    _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert (
        f"{path}:1: intervall: found 'intervall', expected one of action, data, interval" in error
    )


@pytest.mark.real
def test_actions_run_by_name_and_their_outcome_is_posted(monitor, beatward, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text(
        f"""
        data = "{tmp_path / "agent"}"
        [action.touch]
        command = ["sh", "-c", "echo $BEATWARD_ACTION $BEATWARD_NODE $BEATWARD_ATTEMPT >> ran"]
        [action.fail]
        command = ["sh", "-c", "echo because; exit 3"]
        """
    )
    options = ("agent", "-c", str(path), "--name", "web-1", "--interval", "20ms")
    process = beatward(*options, cwd=tmp_path)
    monitor.wait_beats("web-1", 2)
    # While it runs: the next probe says that there is mail.
    monitor.actions["web-1"] = [
        action("1/a", "touch"),
        action("1/b", "fail"),
        action("1/c", "reboot"),
    ]
    monitor.session += 1
    monitor.wait(lambda: len(monitor.outcomes) == 3)
    assert [(told["key"], told["result"]) for told in monitor.outcomes] == [
        ("1/a", "success"),
        ("1/b", "temporary"),
        ("1/c", "permanent"),
    ]
    assert {told["name"] for told in monitor.outcomes} == {"web-1"}
    assert monitor.outcomes[1]["message"] == "exit code 3: because"
    assert "no action 'reboot'" in monitor.outcomes[2]["message"]
    process.terminate()
    assert process.wait(30) == 0
    # After a restart of the agent, the monitor asks again because it lost the outcome.
    monitor.actions["web-1"] = [action("1/a", "touch", attempt=2)]
    beatward(*options, cwd=tmp_path)
    monitor.wait(lambda: len(monitor.outcomes) == 4)
    assert (monitor.outcomes[3]["result"], monitor.outcomes[3]["attempt"]) == ("success", 2)
    assert (tmp_path / "ran").read_text() == "touch web-2 1\n"


@pytest.mark.real
def test_actions_reach_an_agent_that_speaks_http_only(monitor, beatward, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('transport = "http"\n[action.touch]\ncommand = ["touch", "ran"]\n')
    process = beatward("agent", "-c", str(path), "--name", "web-1", cwd=tmp_path)
    read_until(process.stderr, "the monitor answers")
    monitor.actions["web-1"] = [action()]
    monitor.wait(lambda: monitor.outcomes)
    assert (tmp_path / "ran").exists()


@pytest.mark.real
@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(monitor, beatward, environment, tmp_path, abstract):
    address = f"\0beatward-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(30)
        environment["NOTIFY_SOCKET"] = address.replace("\0", "@")
        environment["WATCHDOG_USEC"] = "100000"
        process = beatward("agent", "--name", "web-1")
        words = [channel.recv(100) for _ in range(3)]
        process.terminate()
        while words[-1] != b"STOPPING=1":
            words.append(channel.recv(100))
    assert words[:3] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    assert process.wait(30) == 0


def test_without_systemd_nothing_is_told_and_no_watchdog_is_due(tmp_path):
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert watchdog_ns({}) == NEVER
    assert watchdog_ns({"WATCHDOG_USEC": "30000000"}) == 15 * SECOND
    assert watchdog_ns({"WATCHDOG_USEC": "2", "WATCHDOG_PID": str(os.getpid())}) == 1000
    assert watchdog_ns({"WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"}) == NEVER


# --- running a command ---


def local(*command, seconds=20.0):
    return LocalAction("deed", command, int(seconds * SECOND))


FETCHED = FetchedAction("1/a", "deed", "web-2", 3)


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "result", "message"),
    [
        ("true", "success", "exit code 0"),
        ("echo done; echo well >&2", "success", "exit code 0: done\nwell"),
        ("echo why; exit 9", "temporary", "exit code 9: why"),
        ("kill -9 $$", "temporary", "ended by SIGKILL"),
        ("cat; echo $BEATWARD_ACTION_KEY", "success", "exit code 0: 1/a"),
    ],
)
def test_the_outcome_of_a_command_says_how_it_ended(text, result, message):
    found = run(local("sh", "-c", text), FETCHED)
    assert (found.result, found.message) == (result, message)


@pytest.mark.real
@pytest.mark.parametrize("program", ["/no/such/program", "/etc/passwd"])
def test_a_program_that_cannot_run_is_not_tried_again(program):
    found = run(local(program), FETCHED)
    assert found.result == "permanent"
    assert program in found.message


@pytest.mark.real
def test_output_is_bounded_and_its_end_is_kept():
    found = run(local("sh", "-c", "yes loud | head -c 5000000; echo the end; exit 1"), FETCHED)
    assert len(found.message) < 500
    assert found.message.startswith("exit code 1: ")
    assert found.message.endswith("the end")


@pytest.mark.real
@pytest.mark.parametrize("by", ["settings", "monitor"])
def test_a_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path, by):
    # The shell's child would outlive a signal to the shell alone.
    text = f"sleep 60 & echo $! > {tmp_path}/pid; echo waiting; wait"
    limits = {"settings": (0.5, 0), "monitor": (60, SECOND // 2)}
    seconds, timeout_ns = limits[by]
    fetched = FetchedAction("1/a", "deed", "web-2", 1, timeout_ns)
    found = run(local("sh", "-c", text, seconds=seconds), fetched)
    assert (found.result, found.message) == ("temporary", "ended after 500 ms: waiting")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "(sleep) Z" not in _stat(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # Another process has to move; there is nothing to wait on.


def _stat(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "(sleep) Z"


@pytest.mark.real
def test_a_command_that_ignores_sigterm_is_killed():
    found = run(
        local("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", seconds=0.3), FETCHED
    )
    assert found.message == "ended after 300 ms"


@pytest.mark.real
def test_a_service_left_in_the_background_is_neither_waited_for_nor_ended(tmp_path):
    text = f"sleep 60 & echo $! > {tmp_path}/pid"
    found = run(local("sh", "-c", text), FETCHED)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert found.result == "success"
        assert "(sleep) Z" not in _stat(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


# --- runner against the test's monitor ---


@pytest.fixture
def runner(monitor, told, tmp_path):
    from beatward.agent.enrol import find, identify

    identity = identify("web-1", **told)
    credential = find(identity, None, "", wants_udp=False).credential
    ran = tmp_path / "ran"
    actions = {
        "touch": LocalAction("touch", ("sh", "-c", f"echo $BEATWARD_ACTION_KEY >> {ran}")),
        "slow": LocalAction("slow", ("sleep", "60"), 60 * SECOND),
        "fail": LocalAction("fail", ("sh", "-c", f"echo $BEATWARD_ACTION_KEY >> {ran}; exit 1")),
    }
    file = StateFile(tmp_path, "web-1")
    made = ActionRunner("web-1", actions, file, lambda: (credential, monitor.url))
    made.start()
    made.ran = lambda: ran.read_text().split() if ran.exists() else []
    yield made
    made.stop(0.1)


@pytest.mark.real
def test_an_outcome_is_posted_again_until_it_is_taken_and_the_action_is_done_once(monitor, runner):
    monitor.refuses_outcomes = 2
    monitor.actions["web-1"] = [action()]
    runner.notify()
    monitor.wait(lambda: monitor.outcomes)
    assert runner.ran() == ["1/a"]
    posted = [body for path, body in monitor.requests if path == "/v1/agent/outcome"]
    assert posted == [posted[0]] * 3


@pytest.mark.real
def test_an_action_that_comes_again_is_answered_again_but_not_run_again(monitor, runner):
    for count, attempt, name in ((1, 1, "fail"), (2, 1, "fail"), (3, 2, "fail")):
        monitor.actions["web-1"] = [action("1/f", name, attempt)]
        runner.notify()
        monitor.wait(lambda count=count: len(monitor.outcomes) == count)
    # The second was the first attempt handed out again; the third is a new attempt.
    assert runner.ran() == ["1/f", "1/f"]
    assert {told["result"] for told in monitor.outcomes} == {"temporary"}


@pytest.mark.real
def test_a_strange_inbox_does_not_end_the_runner(monitor, runner, caplog):
    monitor.actions["web-1"] = [{"key": "1/x"}]
    runner.notify()
    monitor.wait(lambda: any("not an action" in record.getMessage() for record in caplog.records))
    monitor.actions["web-1"] = [action()]
    runner.notify()
    monitor.wait(lambda: monitor.outcomes)


@pytest.mark.real
def test_a_runner_that_is_stopped_ends_what_it_runs(monitor, runner):
    monitor.actions["web-1"] = [action("1/s", "slow")]
    runner.notify()
    process = monitor.wait(lambda: runner._process)
    runner.stop(0.05)
    assert process.poll() is not None
    assert not runner._thread.is_alive()
    end_group(process)


# --- the state file ---


def test_the_state_outlives_the_process_and_is_for_one_user_only(tmp_path):
    from beatward.core.protocol.join import Credential

    file = StateFile(tmp_path, "db:1")
    credential = Credential("db:1", bytes(range(32)), "127.0.0.1:7227")
    file.note_credential(credential, monitor="http://m:1", labels={"zone": "a"})
    assert file.next_incarnation(500) == 500
    assert file.next_incarnation(400) == 501
    file.note_done("1/a")
    assert file.path == tmp_path / "agent" / "db%3A1.json"
    assert file.path.stat().st_mode & 0o777 == 0o600
    again = StateFile(tmp_path, "db:1")
    assert again.state == file.state
    assert again.is_done("1/a")
    assert not again.is_done("1/b")
    assert again.state.credential == credential
    assert list(file.path.parent.iterdir()) == [file.path]


def test_the_memory_of_done_keys_is_bounded_and_keeps_the_newest(tmp_path):
    file = StateFile(tmp_path, "web-1")
    file._state = replace(file.state, done=tuple(str(i) for i in range(DONE_COUNT_MAX)))
    file.note_done("new")
    assert len(file.state.done) == DONE_COUNT_MAX
    assert (file.is_done("0"), file.is_done("1"), file.is_done("new")) == (False, True, True)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "not json", '{"name": "other", "key": ""}', json.dumps({"name": "web-1"})],
)
def test_a_damaged_state_file_is_told_and_begun_anew(tmp_path, caplog, text):
    path = tmp_path / "agent" / "web-1.json"
    path.parent.mkdir()
    path.write_text(text)
    assert StateFile(tmp_path, "web-1").state.credential is None
    assert "begins anew" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path, caplog):
    (tmp_path / "agent").write_text("a file where a folder should be")
    file = StateFile(tmp_path, "web-1")
    assert file.next_incarnation(7) == 7
    assert file.next_incarnation(7) == 8
    assert caplog.text.count("kept in memory") == 1


# --- metrics of the system ---


def write_proc(folder, cpu, memory="MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 750 kB\n"):
    (folder / "stat").write_text(f"cpu  {cpu}\ncpu0 1 1 1 1\n")
    (folder / "meminfo").write_text(memory)


def test_cpu_is_the_busy_share_since_the_last_question(tmp_path):
    # user nice system idle iowait irq softirq steal guest guest_nice
    write_proc(tmp_path, "100 0 50 800 50 0 0 0 100 0")
    measure = ProcMetrics(tmp_path)
    write_proc(tmp_path, "110 5 60 860 55 3 2 5 100 0")
    found = measure()
    # 35 of 100 ticks: all but idle and iowait; guest time is in user already.
    assert found["cpu"] == pytest.approx(35.0)
    assert found["memory"] == pytest.approx(25.0)
    assert found["load"] >= 0
    assert measure()["cpu"] == 0.0


def test_what_the_kernel_does_not_say_is_left_out(tmp_path):
    write_proc(tmp_path, "1 1 1 1 1 1 1 1", memory="MemTotal: 1000 kB\n")
    assert "memory" not in ProcMetrics(tmp_path)()


def test_a_clock_of_ticks_that_steps_back_is_no_negative_cpu(tmp_path):
    write_proc(tmp_path, "100 0 0 100 0 0 0 0")
    measure = ProcMetrics(tmp_path)
    write_proc(tmp_path, "90 0 0 200 0 0 0 0")
    assert measure()["cpu"] == 0.0


def test_this_machine_has_facts_that_a_heart_takes(tmp_path):
    from beatward.agent.validation import check_metrics

    assert {"cpu", "memory", "load"} == check_metrics(system_metrics()()).keys()


def test_without_proc_psutil_is_asked_if_it_is_there(tmp_path):
    pytest.importorskip("psutil")
    assert {"cpu", "memory", "load"} == system_metrics(tmp_path)().keys()


# --- the settings file ---


def test_the_example_can_be_loaded_and_says_what_it_shows():
    found = settings.load(EXAMPLE)
    assert found.actions["restart-web"].command == ("systemctl", "restart", "web")


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('nam = "x"', "nam", "one of action, data, interval, interval_max, "),
        ("interval = 1", "interval", "a text in quotes"),
        ('interval = "9ms"', "interval", "an interval of whole milliseconds, 10ms to 49d"),
        ('interval = "soon"', "interval", "an interval as 250ms or 2s"),
        ('name = "a b"', "name", "a node's name of letters"),
        ('monitor = "m:7227"', "monitor", "the monitor's address as http://host:port"),
        ('transport = "tcp"', "transport", "transport udp or http"),
        ('token = "x"', "token", "a join token as a whole"),
        ('token_file = "/no/such/file"', "token_file", "a readable file"),
        ("labels = 3", "labels", "a table"),
        ("labels = { a = 1 }", "labels", "labels of at most 64"),
        ("[action.a]", "action.a.command", "a program and its arguments"),
        ("[action]\na = 1", "action.a", "a table"),
        ('[action.a]\ncommand = "ls"', "action.a.command", "a program and its arguments"),
        ('[action.a]\ncommand = [""]', "action.a.command", "a program and its arguments"),
        ('[action.a]\ncommand = ["ls"]\ntimeout = 5', "action.a.timeout", "a text in quotes"),
        ('[action.a]\ncommand = ["ls"]\ntimeout = "5"', "action.a.timeout", "a duration such as"),
        ('[action.a]\ncommand = ["ls"]\ntimeout = "0s"', "action.a.timeout", "longer than nothing"),
        ('[action.a]\ncommand = ["ls"]\nretry = 5', "action.a.retry", "one of command, timeout"),
        ('[action."a b"]\ncommand = ["ls"]', "action.a b", "a name of letters"),
        ("name = ", "the file", "valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(tmp_path, text, key, expected):
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        settings.load(path)
    assert (raised.value.file, raised.value.key) == (str(path), key)
    assert expected in raised.value.expected


def test_a_token_is_never_shown(tmp_path):
    with pytest.raises(ConfigError) as raised:
        settings.parse({"token": "bwj1.secret"}, "file")
    assert "secret" not in str(raised.value)


def test_a_token_can_stand_in_a_file_of_its_own(tmp_path):
    path = tmp_path / "token"
    path.write_text("bwj1.abc.def\n")
    assert settings.parse({"token_file": str(path)}, "file").token == "bwj1.abc.def"
    with pytest.raises(ConfigError, match="either token or token_file"):
        settings.parse({"token_file": str(path), "token": "bwj1.abc.def"}, "file")


def test_a_missing_file_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="a readable TOML file"):
        settings.load(tmp_path / "none.toml")


def test_layers_lie_over_each_other():
    top = settings.parse({"name": "top"}, "a")
    middle = settings.from_environment({"BEATWARD_NAME": "middle", "BEATWARD_DATA": "/d"})
    bottom = settings.parse({"interval": "2s", "labels": {"a": "b"}, "data": "/e"}, "c")
    merged = settings.merge(top, middle, bottom)
    assert (merged.name, merged.data, merged.interval) == ("top", Path("/d"), "2s")
    assert (merged.labels, merged.transport) == ({"a": "b"}, None)
