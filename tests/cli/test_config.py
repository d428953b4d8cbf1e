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
    assert done.json == {"ok": True, "file": str(path), "actions": 1, "rules": 1, "hints": []}


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
    assert found["detector.margin"].unit == 'duration, as 250ms or 2s or "auto"'
    assert found["detector.window"].unit == "whole number, at least 2, at most 65535"
    assert found["monitor.advertise"].unit == "host:port"
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
