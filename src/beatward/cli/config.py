"""`beatward config`: check a settings file, and say what every setting is for.

What is explained comes from `beatward.config` itself: types, defaults and bounds from its models,
reasons from their docstrings. So nothing here can fall behind.
"""

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from beatward.action_settings import ActionSettings
from beatward.agent import settings as agent_settings
from beatward.cli.screen import console, print_json
from beatward.config import Settings, load
from beatward.config_mistakes import model_of
from beatward.errors import ConfigError
from beatward.role_settings import ServiceSettings
from beatward.toml_file import located
from beatward.values import Address, Duration

_DURATION = get_args(Duration)[1]
_ADDRESS = get_args(Address)[1]
_DURATION_WORDS = "duration, as 250ms or 2s"
_COUNT_WORDS = "whole number"
# One or several names, then at least two spaces or more of deeper lines, as in our docstrings.
_ENTRY = re.compile(r"(?P<names>[a-z_]+(?:, [a-z_]+)*) {2,}(?P<text>\S.*)")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, explained."""

    key: str
    unit: str
    default: str | None
    reason: str


@click.group("config")
def config_command() -> None:
    """Check a settings file, or explain the settings."""


@config_command.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--agent", "is_agents", is_flag=True, help="FILE is an agent's; else it is guessed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_command(file: Path, is_agents: bool, as_json: bool) -> None:
    """Say whether FILE can be used, the monitor's or an agent's.

    If not, exit code 2, with the line, key, value and what was expected of every mistake.
    """
    try:
        if is_agents or looks_like_an_agents(located(file)[0]):
            counts, hints = _check_agents(file), []
        else:
            settings = load(file)
            counts = {"actions": len(settings.action), "rules": len(settings.rule)}
            hints = list(_hints(settings))
    except ConfigError as error:
        if as_json:
            problems = [_problem(one) for one in error.problems]
            print_json({"ok": False, "file": error.file, **problems[0], "problems": problems})
        raise
    kind = "agent" if "services" in counts else "monitor"
    if as_json:
        print_json({"ok": True, "file": str(file), "kind": kind, **counts, "hints": hints})
        return
    whose = "" if kind == "monitor" else " for an agent"
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    click.echo(f"{file}: ok{whose}, {words}")
    for hint in hints:
        click.echo(f"hint: {hint}")


def looks_like_an_agents(tables: Mapping[str, Any]) -> bool:
    """Tell whether a file is rather an agent's: by keys that only one of both kinds has."""
    if "monitor" in tables:
        return isinstance(tables["monitor"], str)
    own, monitors = agent_settings.KEYS, Settings.model_fields.keys()
    if (own - monitors) & tables.keys():
        return True
    if (monitors - own) & tables.keys():
        return False
    # Both have actions and services; a kind, and what a role is lent by, are the monitor's.
    rows = [
        (row, monitors)
        for table, monitors in (("action", ActionSettings), ("service", ServiceSettings))
        for row in _tables_in(tables.get(table))
    ]
    return any(not row.keys() <= monitors.model_fields.keys() for row, monitors in rows) or any(
        "kind" not in row for row, monitors in rows if monitors is ActionSettings
    )


def _tables_in(table: object) -> list[Mapping[str, Any]]:
    rows = table.values() if isinstance(table, dict) else ()
    return [row for row in rows if isinstance(row, dict)]


def _check_agents(file: Path) -> dict[str, int]:
    found = agent_settings.load(file, is_all=True)
    return {"actions": len(found.deeds), "services": len(found.services)}


def _problem(error: ConfigError) -> dict[str, Any]:
    return {
        "line": error.line,
        "key": error.key,
        "found": str(error.found),
        "expected": error.expected,
    }


def _hints(settings: Settings) -> Iterator[str]:
    for name, action in settings.action.items():
        if action.seems_to_tell:
            yield (
                f"action.{name}: {action.command[0]} seems to tell people something, and kind = "
                'exec is held back in a mass failure; kind = "notify" never is'
            )


@config_command.command("explain")
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_command(key: str | None, as_json: bool) -> None:
    """Explain the settings: all of them, a table such as `detector`, or one as `probe.window`."""
    found = [one for one in settings() if key is None or _is_asked(one.key, key)]
    if not found:
        known = ", ".join(sorted({one.key.rpartition(".")[0] for one in settings()}))
        raise ConfigError("config explain", "KEY", key, f"a setting, or a table of: {known}")
    if as_json:
        print_json([asdict(one) for one in found])
        return
    screen = console()
    table = ""
    for one in found:
        head = _head(one.key)
        if head != table:
            screen.print(f"\n{head}", style="bold", markup=False)
            table = head
        name = one.key.rpartition(".")[2]
        default = "no default" if one.default is None else f"default {one.default}"
        screen.print(f"{name}  ({one.unit}; {default})", markup=False)
        screen.print(f"    {one.reason}", style="dim", markup=False)


def settings() -> Iterator[Setting]:
    """Yield every setting in the order of the file."""
    for table, info in Settings.model_fields.items():
        model = model_of(info.annotation)
        assert model is not None
        # [action.NAME] is a table of tables; [[rule]] a list of them.
        path = f"{table}.NAME" if get_origin(info.annotation) is dict else table
        reasons = _reasons(model)
        for name, field in model.model_fields.items():
            yield Setting(f"{path}.{name}", _unit(field), _default(field), reasons.get(name, ""))


def _head(key: str) -> str:
    table = key.rpartition(".")[0]
    return f"[[{table}]]" if table == "rule" else f"[{table}]"


def _is_asked(key: str, asked: str) -> bool:
    return asked in (key, key.rpartition(".")[0], key.partition(".")[0])


def _reasons(model: type[BaseModel]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    names: tuple[str, ...] = ()
    for line in (model.__doc__ or "").splitlines()[1:]:
        entry = _ENTRY.fullmatch(line.removeprefix("    "))
        if entry is not None:
            names = tuple(entry["names"].split(", "))
            reasons.update(dict.fromkeys(names, entry["text"]))
            continue
        for name in names:
            reasons[name] = f"{reasons[name]} {line.strip()}".strip()
    return reasons


def _unit(field: FieldInfo) -> str:
    words = ["host:port"] if _ADDRESS in field.metadata else _kinds(field.annotation)
    # A whole number that is read from text is a duration; bounds would be in nanoseconds.
    if any(isinstance(mark, BeforeValidator) for mark in field.metadata):
        return " or ".join(_DURATION_WORDS if word == _COUNT_WORDS else word for word in words)
    bounds = [
        f"{sign} {getattr(mark, name)}"
        for mark in field.metadata
        for name, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if getattr(mark, name, None) is not None
    ]
    return ", ".join([" or ".join(dict.fromkeys(words)), *bounds])


def _kinds(annotation: Any) -> list[str]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [word for part in get_args(annotation) for word in _kinds(part) if word]
    if origin is Literal:
        return [f'"{word}"' for word in get_args(annotation)]
    if hasattr(annotation, "__metadata__"):
        marks = annotation.__metadata__
        return [_DURATION_WORDS if _DURATION in marks else "host:port"]
    if origin is tuple:
        return [f"list of {' or '.join(_kinds(get_args(annotation)[0]))}"]
    if origin is dict:
        return ["table of text"]
    plain = {bool: "true or false", int: _COUNT_WORDS, float: "number", str: "text", Path: "path"}
    return [plain.get(annotation, "")]


def _default(field: FieldInfo) -> str | None:
    if field.default_factory is not None:
        return "none"
    if field.default is PydanticUndefined:
        return None
    if field.default is None or field.default == ():
        return "none"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return str(field.default)
