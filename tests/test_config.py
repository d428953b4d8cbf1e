"""A settings file that cannot be used is refused by a message that names what is wrong."""

from pathlib import Path

import pytest

from beatward.config import DetectorTable, Settings, load, parse
from beatward.core.detect import DETECTORS
from beatward.core.instants import SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.roles.settings import RoleSettings
from beatward.errors import ConfigError
from beatward.server.settings import core_settings
from beatward.values import split_address

OFF_FOR_A_ROLE = """
[service.db]
fence = "off"
[[rule]]
role = ["held"]
actions = ["off"]
"""
WRONG = [
    ("[detector]\ntimout = '5s'", "detector.timout", "'timout'", "no such key"),
    ("[detector]\nkind = 'fixed'\ntimeout = '-5s'", "detector.timeout", "'-5s'", "a duration"),
    ("[detector]\nkind = 'fixed'\ntimeout = '0s'", "detector.timeout", "'0s'", "greater than 0"),
    ("[detector]\ntimeout = '5s'", "detector", "timeout", "no timeout with kind = chen"),
    ("[detector]\nmargin = 'soon'", "detector.margin", "'soon'", '"auto", or a duration'),
    ("[detector]\nlate_probability = nan", "detector.late_probability", "nan", "a finite number"),
    ("[detector]\nlate = 0.7", "detector.late", "0.7", "less than 0.5"),
    ("[detector]\nsamples = 1", "detector.samples", "1", "greater than or equal to 2"),
    ("[detector]\nkind = 'psi'", "detector.kind", "'psi'", "'phi_exponential' or 'two_window'"),
    (
        "[detector]\nkind = 'fixed'\nsamples = 9",
        "detector",
        "samples",
        "no samples with kind = fixed",
    ),
    (
        "[detector]\nkind = 'phi'\nlate_probability = 0.1",
        "detector",
        "late_probability",
        "no late_probability with kind = phi",
    ),
    ("[detector]\nfactor = 2.0", "detector", "factor", "no factor with kind = chen"),
    (
        "[detector]\nmargin = '1s'\nlate_probability = 0.1",
        "detector",
        "late_probability",
        "no late_probability with a margin of your",
    ),
    ("[detector]\nmargin = '-1s'", "detector.margin", "'-1s'", '"auto", or a duration'),
    (
        "[detector]\nlate_probability = 0",
        "detector.late_probability",
        "0",
        "equal to 0.000000000001",
    ),
    ("[detector]\nsamples = 65536", "detector.samples", "65536", "less than or equal to 65535"),
    (
        "[detector]\nkind = 'two_window'\nsamples_short = 128",
        "detector",
        "samples_short",
        "samples_short smaller than samples",
    ),
    *(
        (f"[detector]\nkind = '{kind}'\n{key} = {value}", f"detector.{key}", found, expected)
        for kind, key, value, found, expected in (
            ("two_window", "samples_short", "0", "0", "greater than or equal to 1"),
            ("phi", "threshold", "0.1", "0.1", "greater than or equal to 0.5"),
            ("phi", "threshold", "inf", "inf", "a finite number"),
            ("phi_exponential", "threshold", "nan", "nan", "a finite number"),
            ("phi_exponential", "threshold", "-8.0", "-8.0", "greater than or equal to 0.5"),
            ("phi", "deviation_min", "'0s'", "'0s'", "greater than 0"),
            ("phi", "pause", "3", "3", "in quotes"),
            ("phi", "tail", "'pekko'", "'pekko'", "'exact' or 'akka'"),
            ("histogram", "factor", "0.5", "0.5", "greater than or equal to 1"),
            ("bertier", "gain", "1.5", "1.5", "less than or equal to 1"),
            ("bertier", "gain", "0", "0", "greater than 0"),
            ("bertier", "delay_weight", "-1.0", "-1.0", "greater than or equal to 0"),
            ("bertier", "deviation_weight", "nan", "nan", "a finite number"),
        )
    ),
    ("[probe]\nwindow = 3", "probe.window", "3", "in quotes"),
    ("[probe]\nwindow = '1s'\nspacing = '2s'", "probe", "spacing", "no longer than window"),
    ("[monitor]\nudp = 'here'", "monitor.udp", "'here'", "such as 127.0.0.1:7227"),
    ("[monitor]\nudp = '1.2.3.4:70000'", "monitor.udp", "70000", "such as 127.0.0.1:7227"),
    ("[monitor]\ntick = '1s'", "monitor", "1s", "pause_limit at least twice tick"),
    ("[recovery]\nheartbeats = 0", "recovery.heartbeats", "0", "greater than or equal to 1"),
    ("[[rule]]\non = 'dead'\nactions = ['a']", "rule.0.on", "'dead'", "a list"),
    ("[[rule]]\non = ['ded']\nactions = ['a']", "rule.0.on.0", "'ded'", "'dead'"),
    ("[[rule]]\non = ['dead']\nactions = ['a']", "rule.0.actions", "'a'", "[action.NAME]"),
    ("[[rule]]\non = ['dead']", "rule.0.actions", "nothing", "a value"),
    ("[[rule]]\nactions = ['a']", "rule.0", "{'actions': ['a']}", "either on"),
    ("[[rule]]\nrole = ['lost']\nactions = ['a']", "rule.0.role.0", "'lost'", "'held'"),
    (
        "[[rule]]\non = ['dead']\nrole = ['held']\nactions = ['a']",
        "rule.0",
        "{'on': ['dead']",
        "either on",
    ),
    (
        "[[rule]]\nrole = ['held']\nnodes = 'db-*'\nactions = ['a']",
        "rule.0",
        "{'role': ['held']",
        "no nodes with role",
    ),
    (
        "[action.a]\nkind = 'exec'\ncommand = ['x']\n[[rule]]\nrole = ['held']\nactions = ['a']",
        "rule.0.actions",
        "'a'",
        "only tells",
    ),
    *(
        (
            f"[action.off]\nkind = 'webhook'\nurl = 'http://x'\n{said}\n" + OFF_FOR_A_ROLE,
            "rule.0.actions",
            "'off'",
            "only tells; this is the fence of service.db",
        )
        for said in ("", "destructive = false")
    ),
    ("[action.a]\nkind = 'webhook'", "action.a", "webhook", "url with kind = webhook"),
    ("[action.a]\nkind = 'exec'\nurl = 'http://x'", "action.a", "exec", "no url"),
    ("[action.a]\nkind = 'webhook'\nurl = 'ftp://x'", "action.a", "ftp://x", "http://"),
    *(
        (f"[[job]]\nname = 'backup'\n{text}", "job.0", found, expected)
        for text, found, expected in (
            ("", "backup", "either schedule"),
            ("schedule = '0 3 * * *'\nevery = '1h'", "0 3 * * *", "either schedule"),
            ("schedule = '0 3 * *'", "0 3 * *", "has 4 fields; expected the five"),
            ("schedule = '61 3 * * *'", "61 3 * * *", "bad minute"),
            ("schedule = '0 3 31 2 *'", "0 3 31 2 *", "bad day-of-month"),
            ("schedule = '0 3 * * *'\ntimezone = 'Berlin'", "Berlin", "'Berlin' is no time zone"),
            ("schedule = '0 3 * * *'\ntimezone = '/etc'", "/etc", "'/etc' is no time zone"),
            ("schedule = '0 3 * * *'\ntimezone = 'Europe'", "Europe", "'Europe' is no time zone"),
            ("schedule = '0 3 * * *'\ntimezone = ''", "timezone", "'' is no time zone"),
        )
    ),
    ("[[job]]\nname = 'a b'\nevery = '1h'", "job.0.name", "'a b'", "a node's name of letters"),
    ("[[job]]\nname = 'a'\nevery = '0s'", "job.0.every", "'0s'", "greater than 0"),
    ("[[job]]\nname = 'a'\nevery = '1h'\ngrace = '0s'", "job.0.grace", "'0s'", "greater than 0"),
    (2 * "[[job]]\nname = 'a'\nevery = '1h'\n", "the file", "a", "a is there twice"),
    ("[nonsense]", "nonsense", "'nonsense'", "no such key"),
    ("[monitor", "the file", "table declaration", "valid TOML"),
]


@pytest.mark.parametrize(("text", "key", "found", "expected"), WRONG)
def test_a_wrong_setting_is_refused_naming_file_key_value_and_what_was_expected(
    tmp_path: Path, text: str, key: str, found: str, expected: str
) -> None:
    path = tmp_path / "beatward.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    error = caught.value
    assert (error.file, error.key) == (str(path), key)
    assert found in repr(error.found)
    assert expected in error.expected
    assert not any("\n" in str(problem) for problem in error.problems)


def test_no_file_means_defaults_that_only_this_machine_can_reach() -> None:
    monitor = load(None).monitor
    assert (monitor.udp, monitor.http) == ("127.0.0.1:7227", "127.0.0.1:7227")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-file"):
        load(tmp_path / "no-such-file.toml")


def test_the_core_gets_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "beatward.toml"
    path.write_text(
        """
        [monitor]
        start_grace = "3s"
        [detector]
        kind = "fixed"
        timeout = "6s"
        [probe]
        window = "2s"
        spacing = "500ms"
        [action.page]
        kind = "webhook"
        url = "http://127.0.0.1/hook"
        attempts = 7
        [action.revive]
        kind = "exec"
        command = ["true"]
        [[rule]]
        on = ["dead", "suspect"]
        nodes = "web-*"
        actions = ["page", "revive"]
        """
    )
    core = core_settings(load(path))
    assert (core.start_grace_ns, core.detector.timeout_ns) == (3 * SECOND, 6 * SECOND)
    assert (core.membership.window_ns, core.membership.spacing_ns) == (2 * SECOND, SECOND // 2)
    assert core.rules[0].statuses == ("dead", "suspect")
    assert core.actions["page"].attempts_max == 7
    # What repairs a node is withdrawn when the node is back; a message about it is not.
    assert [core.actions[name].revives for name in ("page", "revive")] == [False, True]


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (
            {"kind": "phi", "deviation_min": "100ms", "pause": "3s", "tail": "akka"},
            {"deviation_min_ns": SECOND // 10, "pause_ns": 3 * SECOND, "tail": "akka"},
        ),
        ({"kind": "phi_exponential", "threshold": 12}, {"threshold": 12.0, "samples": 128}),
        (
            {"kind": "histogram", "late_probability": 0.01},
            {"late_probability": 0.01, "factor": 1.5},
        ),
        ({"kind": "adaptive", "samples": 1000, "samples_short": 4}, {"samples_short": 4}),
        (
            {"kind": "bertier", "gain": 0.2, "delay_weight": 2, "deviation_weight": 3},
            {"gain": 0.2, "delay_weight": 2.0, "deviation_weight": 3.0},
        ),
    ],
    ids=lambda value: value.get("kind", ""),
)
def test_each_detector_gets_its_own_settings(given, fields) -> None:
    detector = core_settings(Settings.model_validate({"detector": given})).detector
    assert {name: getattr(detector, name) for name in fields} == fields
    assert DETECTORS[detector.kind](detector, 1).settings is detector


def test_every_detector_reads_settings_that_there_are() -> None:
    read = {name for detector in DETECTORS.values() for name in detector.READS}
    assert read | {"kind"} == DetectorTable.model_fields.keys()


def test_a_margin_of_a_duration_is_no_longer_automatic() -> None:
    settings = Settings.model_validate({"detector": {"margin": "75ms"}})
    assert core_settings(settings).detector.margin_ns == 75_000_000
    assert core_settings(Settings()).detector.margin_ns is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:7227", ("::1", 7227)), ("a:0", ("a", 0))],
)
def test_an_address_is_split_into_host_and_port(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


# --- services in failover mode ---


def roles(**tables):
    return core_settings(parse(tables, "here"))


def test_a_service_has_what_failover_says_and_what_is_its_own():
    found = roles(
        failover={"lease": "4s", "demote_within": "2s", "failback": "10m"},
        service={
            "db": {"lease": "1s", "failback": "never", "zones": ["a"], "max_lag": 5},
            "web": {},
        },
    )
    assert found.roles.lease_ns == 4 * 10**9
    db, web = found.services["db"], found.services["web"]
    assert (db.lease_ns, db.demote_ns, db.failback_ns) == (10**9, 2 * 10**9, None)
    assert (db.zones, db.max_lag, db.fence, db.automatic) == (("a",), 5, "", True)
    assert web == found.roles


def test_without_settings_a_service_has_the_cores_defaults():
    assert roles().roles == RoleSettings()


def test_a_fence_interferes_also_where_it_is_a_webhook():
    hook = {"kind": "webhook", "url": "http://switch.example/off"}
    found = roles(action={"off": hook, "page": hook}, service={"db": {"fence": "off"}})
    assert found.actions["off"].destructive
    assert not found.actions["page"].destructive
    assert found.services["db"].fence == "off"


@pytest.mark.parametrize(
    ("tables", "key", "expected"),
    [
        ({"failover": {"lease": "100ms"}}, "failover", "lease from 200ms to 1h"),
        ({"failover": {"demote_within": "50ms"}}, "failover", "demote_within from 100ms to 1h"),
        ({"failover": {"failback": "soon"}}, "failover.failback", '"never", or a duration'),
        ({"failover": {"leese": "1s"}}, "failover.leese", "no such key"),
        ({"service": {"db": {"lease": "2h"}}}, "service.db", "lease from 200ms to 1h"),
        ({"service": {"db": {"fence": "off"}}}, "service.db.fence", "none is defined"),
        ({"service": {"db": {"fence_required": True}}}, "service.db", "a fence with"),
        ({"service": {"db": {"zones": ["a", "a"]}}}, "service.db", "each of the zones once"),
        ({"service": {"db": {"max_lag": -1}}}, "service.db.max_lag", "greater than or equal to 0"),
    ],
)
def test_a_service_that_makes_no_sense_is_refused_with_its_key(tables, key, expected):
    with pytest.raises(ConfigError) as told:
        parse(tables, "here")
    assert told.value.key == key
    assert expected in told.value.expected


def test_without_a_file_the_machine_has_its_own_defaults() -> None:
    wanted, found = CoreSettings(), core_settings(Settings())
    for name in ("detector", "membership", "guard", "mass", "pace", "goal", "roles"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.actions_per_minute == wanted.actions_per_minute
    assert found.start_grace_ns == wanted.start_grace_ns
