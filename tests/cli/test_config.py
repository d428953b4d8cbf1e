"""config check and config explain."""

import pytest

from beatward.cli.config import settings
from beatward.config import Settings, parse

GOOD = """
[detector]
margin = "80ms"
[action.page]
kind = "webhook"
url = "https://example.org/hook"
[[rule]]
on = ["dead"]
actions = ["page"]
"""


def test_a_good_file_is_ok(beatward, tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(GOOD, "utf-8")
    done = beatward("config", "check", path)
    assert (done.code, done.out) == (0, f"{path}: ok, 1 actions, 1 rules\n")
    done = beatward("config", "check", path, "--json")
    assert done.json == {
        "ok": True,
        "file": str(path),
        "actions": 1,
        "rules": 1,
        "kind": "monitor",
        "hints": [],
    }


NOTE = """
[action.note]
kind = "{kind}"
command = ["/usr/bin/logger", "{{node}} is {{status}}"]
"""


def test_an_exec_that_seems_to_tell_people_gets_a_hint_and_a_notify_gets_none(beatward, tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(NOTE.format(kind="exec"), "utf-8")
    done = beatward("config", "check", path)
    assert done.code == 0
    assert "hint: action.note: /usr/bin/logger seems to tell people" in done.out
    for more in ("destructive = false", "destructive = true"):
        path.write_text(NOTE.format(kind="exec") + more, "utf-8")
        assert "hint" not in beatward("config", "check", path).out
    path.write_text(NOTE.format(kind="notify"), "utf-8")
    assert "hint" not in beatward("config", "check", path).out
    path.write_text(NOTE.format(kind="notify") + "destructive = true", "utf-8")
    assert "no revives, no destructive with kind = notify" in beatward("config", "check", path).err
    fence = '[service.db]\nfence = "note"\n' + NOTE.format(kind="notify")
    path.write_text(fence, "utf-8")
    assert "an action that cuts a node off" in beatward("config", "check", path).err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[probe]\nwindow = "1"', ("probe.window", "'1'", "2s")),
        ("[monitor]\ntimout = 1", ("monitor.timout", "no such key", "beatward config explain")),
        ("[monitor\n", ("the file", "valid TOML")),
        ('[[rule]]\non = ["dead"]\nactions = ["page"]', ("'page'", "none is defined")),
    ],
)
def test_a_bad_file_says_key_found_and_expected(beatward, tmp_path, text, words):
    path = tmp_path / "settings.toml"
    path.write_text(text, "utf-8")
    done = beatward("config", "check", path)
    assert (done.code, done.out) == (2, "")
    assert str(path) in done.err
    for word in words:
        assert word in done.err
    done = beatward("config", "check", path, "--json")
    assert done.code == 2
    assert done.json["ok"] is False
    assert {"file", "key", "found", "expected"} <= done.json.keys()


def test_a_file_that_is_not_there_is_exit_code_2(beatward, tmp_path):
    assert beatward("config", "check", tmp_path / "none.toml").code == 2


def test_every_setting_is_explained_with_unit_default_and_reason():
    found = {one.key: one for one in settings()}
    assert len(found) >= 30
    for key, one in found.items():
        assert one.unit, key
        assert len(one.reason) > 15, key
    tables = {key.partition(".")[0] for key in found}
    assert tables == Settings.model_fields.keys()


def test_defaults_are_shown_as_they_could_be_written():
    found = {one.key: one for one in settings() if one.key.startswith(("monitor.", "detector."))}
    assert found["monitor.tick"].default == "5ms"
    assert found["monitor.tick"].unit == "duration, as 250ms or 2s"
    assert found["detector.margin"].unit == 'duration or "auto"'
    assert found["detector.samples"].unit == "whole number, 2 to 65535"
    assert found["detector.gain"].unit == "number, above 0, at most 1"
    assert found["monitor.advertise"].unit == "host:port"
    assert found["monitor.data"].unit == "path"
    parse({"monitor": {"tick": found["monitor.tick"].default}}, "test")


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("probe", ["probe.window", "probe.spacing", "probe.rate"]),
        ("probe.window", ["probe.window"]),
        ("action.NAME.url", ["action.NAME.url"]),
        (
            "recovery",
            ["recovery.heartbeats", "recovery.hold", "recovery.hold_max", "recovery.calm"],
        ),
    ],
)
def test_a_table_or_a_single_setting_can_be_asked_for(beatward, key, keys):
    done = beatward("config", "explain", key, "--json")
    assert [one["key"] for one in done.json] == keys
    text = beatward("config", "explain", key).out
    assert all(one["reason"].split()[0] in text for one in done.json)
    assert text.count("default") >= len(keys)


def test_an_unknown_setting_names_the_tables(beatward):
    done = beatward("config", "explain", "timout")
    assert (done.code, done.out) == (2, "")
    names = "action.NAME, detector, failover, goal, guard, job, monitor, pace, probe, recovery, "
    assert f"{names}rule, service.NAME" in done.err


MANY = """
[monitor]
doors = "2"
name = ""
timout = 1
[guard]
count = true
[action.note]
kind = "notify"
command = ["echo", "{nodse} is dead"]
[action.page]
kind = "webhook"
url = "https://example.org/hook"
retry = "10m"
retry_max = "1m"
[[rule]]
on = ["dead"]
nodes = "web-["
actions = ["pgae"]
[[rule]]
on = ["ded"]
actions = ["page"]
[detectr]
"""


def test_all_mistakes_are_told_at_once_with_their_lines_and_the_way_out(beatward, tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(MANY, "utf-8")
    done = beatward("config", "check", path)
    assert (done.code, done.out) == (2, "")
    head, *lines = done.err.splitlines()
    assert head == f"beatward: {path}: 10 settings cannot be used:"
    wanted = [
        (3, "monitor.doors: found '2', expected a whole number, without quotes"),
        (4, "monitor.name: found '', expected text that is not empty"),
        (5, "monitor.timout: found 'timout', expected no such key"),
        (7, "guard.count: found True, expected a whole number, without quotes"),
        (8, "action.note: found {'kind': 'notify', 'command': ['echo', '{nodse} is dead']}"),
        (11, "action.page: found "),
        (18, "rule.0.nodes: found 'web-[', expected a pattern such as"),
        (19, "rule.0.actions: found 'pgae', expected the name of an [action.NAME] table"),
        (21, "rule.1.on.0: found 'ded', expected 'new', 'alive'"),
        (23, "detectr: found 'detectr', expected no such key; did you mean 'detector'"),
    ]
    assert len(lines) == len(wanted)
    for line, (number, words) in zip(lines, wanted, strict=True):
        assert line.startswith(f"  {path}:{number}: {words}"), line
    assert "retry no longer than retry_max" in lines[5]
    assert "and not {nodse}; did you mean 'node'" in lines[4]
    assert "(note, page); did you mean 'page'" in lines[7]
    assert "did you mean 'dead'" in lines[8]
    problems = beatward("config", "check", path, "--json").json["problems"]
    assert [problem["line"] for problem in problems] == [number for number, _ in wanted]
    # Whoever starts the monitor with it is told the same.
    assert beatward("monitor", "-c", path).err == done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[monitor]\nkernel_timestamps = 1", "expected true or false, without quotes"),
        ("[monitor]\nmetrics_per_node = 'yes'", "expected true or false, without quotes"),
        ("[detector]\nlate = '0.1'", "expected a number, without quotes"),
        ("[recovery]\nheartbeats = 3.0", "expected a whole number, without quotes"),
        ("[monitor]\ndata = 3", "expected text in quotes"),
        ("monitor = 3", "expected a table"),
        ("[pace]\nbudget = '10/s'\nweights = {'zone=a[' = 2}", "a bracket is not closed"),
    ],
)
def test_types_are_strict_and_said_in_words(beatward, tmp_path, text, words):
    path = tmp_path / "settings.toml"
    path.write_text(text, "utf-8")
    done = beatward("config", "check", path)
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "BOM"])
def test_a_file_from_any_editor_in_utf_8_is_read(beatward, tmp_path, mark, ending):
    path = tmp_path / "settings.toml"
    path.write_bytes(mark + GOOD.encode().replace(b"\n", ending))
    done = beatward("config", "check", path)
    assert (done.code, done.out) == (0, f"{path}: ok, 1 actions, 1 rules\n")
    path.write_bytes(mark + b"[probe]\nwindow = 3\n".replace(b"\n", ending))
    assert f"{path}:2: probe.window" in beatward("config", "check", path).err


@pytest.mark.parametrize("options", [(), ("--agent",)])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD.encode("utf-16"), "found 'UTF-16 or UTF-32', expected a readable TOML file in UTF-8"),
        (b'\n[monitor]\nname = "z\xfcrich"', ":3: the file: found 'the byte 0xfc, which is not"),
    ],
    ids=["UTF-16", "Latin 1"],
)
def test_another_encoding_is_refused_with_a_sentence(beatward, tmp_path, content, words, options):
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    done = beatward("config", "check", path, *options)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


AGENT = """
name = "web-1"
interval = "2s"
[service.web]
port = 80
[action.restart-web]
command = ["systemctl", "restart", "web"]
"""


@pytest.mark.parametrize(
    ("text", "options", "counts"),
    [
        (AGENT, (), "1 actions, 1 services"),
        (AGENT.partition("[service")[0], (), "0 actions, 0 services"),
        ("[action.a]\ncommand = ['ls']", (), "1 actions, 0 services"),
        ("[service.db]\nport = 5432", (), "0 actions, 1 services"),
        ("", ("--agent",), "0 actions, 0 services"),
    ],
)
def test_an_agents_file_is_recognised_and_checked(beatward, tmp_path, text, options, counts):
    path = tmp_path / "agent.toml"
    path.write_text(text, "utf-8")
    done = beatward("config", "check", path, *options)
    assert (done.code, done.out) == (0, f"{path}: ok for an agent, {counts}\n")
    assert beatward("config", "check", path, *options, "--json").json["kind"] == "agent"


@pytest.mark.parametrize("text", ["[service.db]\nlease = '4s'", "[action.a]\nkind = 'exec'", ""])
def test_a_monitors_file_is_not_taken_for_an_agents(beatward, tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text, "utf-8")
    assert "for an agent" not in beatward("config", "check", path).out


def test_all_mistakes_of_an_agents_file_are_told_at_once(beatward, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text(
        'nam = "x"\ninterval = 1\nlabels = 3\n[service.db]\nport = "80"\nweigth = 1\n'
        '[action.a]\ncommand = "ls"\n[action.b]\ncommand = ["ls"]\ntimeout = "0s"\n',
        "utf-8",
    )
    done = beatward("config", "check", path)
    assert done.code == 2
    head, *lines = done.err.splitlines()
    assert head.endswith("7 settings cannot be used:")
    keys = ["nam", "interval", "labels", "service.db.port", "service.db.weigth"]
    keys += ["action.a.command", "action.b.timeout"]
    numbers = [1, 2, 3, 5, 6, 8, 11]
    for line, key, number in zip(lines, keys, numbers, strict=True):
        assert line.startswith(f"  {path}:{number}: {key}: found "), line
    assert lines[0].endswith("; did you mean 'name'")
    assert lines[4].endswith("; did you mean 'weight'")
    # Whoever starts the agent with it is told the same.
    assert beatward("agent", "-c", path).err == done.err


def test_what_does_not_fit_together_in_an_agents_file_is_told(beatward, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('interval = "1s"\ninterval_min = "2s"\ntransport = "udp"\n', "utf-8")
    done = beatward("config", "check", path)
    assert done.code == 2
    assert f"{path}:1: interval: found '1s', expected interval_min <= interval" in done.err
    assert "expected expected" not in done.err
    done = beatward("exec", "x", "--interval-min", "2s", "--", "true")
    assert done.code == 2
    assert "expected expected" not in done.err


OLD_NAMES = {
    "detector": {"window": 64, "window_short": 2, "late": 0.01, "kind": "two_window"},
    "guard": {"window": "20s", "late": "50ms"},
}
NEW_NAMES = {
    "detector": {
        "samples": 64,
        "samples_short": 2,
        "late_probability": 0.01,
        "kind": "two_window",
    },
    "guard": {"mass_within": "20s", "late_turn": "50ms"},
}


def test_the_old_name_of_a_key_goes_on_working_and_is_remarked(beatward, tmp_path):
    assert parse(OLD_NAMES, "old") == parse(NEW_NAMES, "new")
    file = tmp_path / "old.toml"
    file.write_text('[detector]\nwindow = 64\n\n[guard]\nlate = "50ms"\n', "utf-8")
    done = beatward("config", "check", file)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.startswith("hint: ")] == [
        "hint: detector.window is called samples now; the old name goes on working",
        "hint: guard.late is called late_turn now; the old name goes on working",
    ]


def test_an_old_name_beside_the_new_one_is_refused(beatward, tmp_path):
    file = tmp_path / "both.toml"
    file.write_text("[detector]\nwindow = 64\nsamples = 32\n", "utf-8")
    done = beatward("config", "check", file)
    assert done.code == 2
    assert "both.toml:2: detector.window" in done.err
    assert "samples alone, which is its name of today" in done.err


def test_an_old_name_is_explained_under_the_new_one(beatward):
    done = beatward("config", "explain", "detector.late")
    assert "late_probability  (number" in done.out


def test_an_error_steers_no_terminal_by_what_it_quotes(beatward, tmp_path):
    done = beatward("config", "check", str(tmp_path / "a\x1b]0;stolen\x07b.toml"))
    assert done.code == 2
    assert "stolen" in done.err
    assert all(line.isprintable() for line in done.err.split("\n"))
