"""docs/configuration.md and examples/ against the programs: every key, every default, one truth.

That a setting is mentioned somewhere is held by test_house.py; here its table and its default are
read and compared, so the page cannot fall behind the code.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from beatward import config
from beatward.agent import settings as agent_settings
from beatward.agent.services import HookedService
from beatward.core.detect import DETECTORS
from beatward.core.instants import parse_duration
from beatward.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
EXAMPLES = ROOT / "examples"
TABLES = {
    "action": "[action.NAME]",
    "service": "[service.NAME]",
    "rule": "[[rule]]",
    "job": "[[job]]",
}
ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| (?P<default>[^|]+) \|", re.MULTILINE)
# A commented-out setting begins with `#` and a letter or a bracket, words with `# `.
COMMENTED = re.compile(r"^#(?=[a-z\[])", re.MULTILINE)


def rows(text: str) -> dict[str, str]:
    return {row["key"]: row["default"].strip() for row in ROW.finditer(text)}


def section(heading: str) -> str:
    """Return the page's text under a heading, up to the next of any level."""
    _, _, rest = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")
    assert rest, f"docs/configuration.md has no section {heading}"
    return re.split(r"^##? ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def models() -> dict[str, type[BaseModel]]:
    found = {}
    for table, field in config.Settings.model_fields.items():
        hints = (field.annotation, *get_args(field.annotation))
        (model,) = (hint for hint in hints if isinstance(hint, type) and _is_model(hint))
        found[table] = model
    return found


def _is_model(hint: type) -> bool:
    return get_origin(hint) is None and issubclass(hint, BaseModel)


def shown(default: object) -> str:
    """Return a default as the page writes it: as TOML in backticks, or in words."""
    if default is PydanticUndefined:
        return "required"
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


@pytest.mark.parametrize("table", models())
def test_the_page_has_every_key_of_the_monitor_with_its_default(table):
    fields = models()[table].model_fields
    wanted = {
        name: "none" if field.default_factory is dict else shown(field.default)
        for name, field in fields.items()
    }
    assert rows(section(TABLES.get(table, f"[{table}]"))) == wanted


def test_the_page_has_the_words_of_the_settings() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "settings_page.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def known(data: dict[str, object]) -> set[str]:
    """Return the keys the agent's settings know, by what they say of one that they do not."""
    with pytest.raises(ConfigError) as told:
        agent_settings.parse(data, "here")
    return set(told.value.expected.removeprefix("one of ").split(", "))


def test_the_page_has_every_key_of_the_agent():
    page = PAGE.read_text("utf-8").partition("\n# The agent\n")[2]
    page, _, action = page.partition("Each `[action.NAME]` of an agent")
    agent, _, service = page.partition("Each `[service.NAME]`")
    tables = {"action", "service"}
    assert set(rows(agent)) == known({"nonsense": 1}) - tables | {f"{name}.NAME" for name in tables}
    assert set(rows(service)) == known({"service": {"x": {"nonsense": 1}}})
    assert set(rows(action)) == known({"action": {"x": {"command": ["true"], "nonsense": 1}}})
    assert rows(action)["timeout"] == '`"30s"`'
    assert agent_settings.ACTION_TIMEOUT_NS == 30 * 10**9


def test_the_page_has_the_defaults_of_the_agents_services():
    page = PAGE.read_text("utf-8").partition("Each `[service.NAME]`")[2]
    service = HookedService("x")
    for name, default in rows(page.partition("Each `[action.NAME]`")[0]).items():
        if default in ("none", "required") or name in ("promote", "zone"):
            continue
        found = getattr(service, name, None) or getattr(service, f"{name}_ns", 0)
        wanted = default.strip('`"')
        assert str(found) == wanted or found == parse_duration(wanted), name


def test_the_example_for_the_monitor_can_be_used_as_it_is_and_changes_nothing():
    assert config.load(EXAMPLES / "beatward.toml") == config.Settings()


def uncommented() -> dict[str, object]:
    text = (EXAMPLES / "beatward.toml").read_text("utf-8")
    return tomllib.loads(COMMENTED.sub("", text))


def test_the_example_for_the_monitor_can_be_used_with_every_line_taken_in():
    settings = config.parse(uncommented(), "the example")
    kinds = {action.kind for action in settings.action.values()}
    assert kinds == {"webhook", "exec", "agent", "fence"}
    assert len(settings.rule) == 3


@pytest.mark.parametrize("table", models())
def test_the_example_for_the_monitor_has_every_key_with_its_default(table):
    said = uncommented()[table]
    is_named, is_listed = table in ("action", "service"), table in ("rule", "job")
    tables = said.values() if is_named else said if is_listed else [said]
    found = {key: value for each in tables for key, value in each.items()}
    # The detectors' settings exclude each other: the other one's key stands in words.
    fields = models()[table].model_fields.keys()
    read = {"kind", *DETECTORS["chen"].READS}
    left_out = fields - read if table == "detector" else set()
    assert found.keys() == models()[table].model_fields.keys() - left_out
    if table in TABLES:
        return
    for key, value in found.items():
        default = models()[table].model_fields[key].default
        # What has no default of its own shows an example.
        assert default in (None, value), f"[{table}] {key}"


def test_the_example_for_the_agent_can_be_used():
    assert agent_settings.load(EXAMPLES / "agent.toml").actions


def test_the_example_for_the_agent_has_every_key():
    text = (EXAMPLES / "agent.toml").read_text("utf-8")
    said = set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))
    # Of the two ways to say the token the file shows the one that keeps it out of the file.
    tables = {"action", "service"}
    assert said >= known({"nonsense": 1}) - {"token", *tables} | {"command", "timeout"}
    assert said >= known({"service": {"x": {"nonsense": 1}}})


def test_the_services_of_the_example_for_the_agent_can_be_used():
    text = (EXAMPLES / "agent.toml").read_text("utf-8").partition("# [service.db]")[2]
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    found = agent_settings.parse({"service": {"db": tomllib.loads("\n".join(lines))}}, "here")
    assert found.services["db"].has_role


@pytest.mark.parametrize(
    "unit", sorted((EXAMPLES / "systemd").glob("*.service")), ids=lambda path: path.name
)
def test_a_unit_starts_a_command_that_there_is(unit):
    text = unit.read_text("utf-8")
    command = re.search(r"^ExecStart=\S+/beatward (\w+) (.*)$", text, re.MULTILINE)
    assert command is not None
    cli = __import__("beatward.cli", fromlist=["COMMANDS", "root"])
    options = {
        option for param in cli.root.get_command(None, command[1]).params for option in param.opts
    }
    assert set(re.findall(r"(?<=\s)--?[a-z]\S*", f" {command[2]}")) <= options
    assert "Type=notify" in text
