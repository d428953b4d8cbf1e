"""`beatward config`: check a settings file, and say what every setting is for.

What is explained comes from `beatward.config` itself: types, defaults and bounds from its fields,
reasons from the texts below them. So nothing here can fall behind.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
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
from beatward.values import Unit, old_names

# Units whose values stand in quotes.
_TEXTS = ("duration", "host:port", "pattern", "rate", "text")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, explained. `default` is None where a value is required."""

    key: str
    unit: str
    default: str | None
    reason: str

    @property
    def toml(self) -> str:
        """The default as it is written in a file."""
        is_text = '"' in self.unit or self.unit.startswith(_TEXTS)
        return f'"{self.default}"' if is_text else str(self.default)


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
        tables = located(file)[0]
        if is_agents or looks_like_an_agents(tables):
            counts, hints = _check_agents(file), []
        else:
            settings = load(file)
            counts = {"actions": len(settings.action), "rules": len(settings.rule)}
            hints = [*_renamed(tables), *_hints(settings)]
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
    summary = ", ".join(f"{count} {word}" for word, count in counts.items())
    click.echo(f"{file}: ok{whose}, {summary}")
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
    return {"actions": len(found.actions), "services": len(found.services)}


def _problem(error: ConfigError) -> dict[str, Any]:
    return {
        "line": error.line,
        "key": error.key,
        "found": str(error.found),
        "expected": error.expected,
    }


def _renamed(tables: Mapping[str, Any]) -> Iterator[str]:
    for table, info in Settings.model_fields.items():
        model, given = model_of(info.annotation), tables.get(table)
        if model is None or not isinstance(given, dict):
            continue
        for old, name in old_names(model).items():
            if old in given:
                yield f"{table}.{old} is called {name} now; the old name goes on working"


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
    found = [one for one in settings() if key is None or _is_asked(one.key, _today(key))]
    if not found:
        known = ", ".join(sorted({one.key.rpartition(".")[0] for one in settings()}))
        raise ConfigError("config explain", "KEY", key, f"a setting, or a table of: {known}")
    if as_json:
        print_json([asdict(one) for one in found])
        return
    screen = console()
    table = ""
    for one in found:
        head = head_of(one.key)
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
        for name, field in model.model_fields.items():
            reason = " ".join((field.description or "").split())
            yield Setting(f"{path}.{name}", _unit(field), _default(field), reason)


def head_of(key: str) -> str:
    """Return the line of a file that begins the table of a key."""
    table = key.rpartition(".")[0]
    return f"[[{table}]]" if table in ("rule", "job") else f"[{table}]"


def _today(key: str) -> str:
    """Return the name of today of a key that may have had another before."""
    table, _, name = key.rpartition(".")
    field = Settings.model_fields.get(table)
    model = None if field is None else model_of(field.annotation)
    return key if model is None else f"{table}.{old_names(model).get(name, name)}"


def _is_asked(key: str, asked: str) -> bool:
    return asked in (key, key.rpartition(".")[0], key.partition(".")[0])


def _unit(field: FieldInfo) -> str:
    for mark in field.metadata:
        if isinstance(mark, Unit):
            return mark.text
    least, most = (
        next((getattr(mark, name) for mark in field.metadata if hasattr(mark, name)), None)
        for name in ("ge", "le")
    )
    bounds = [
        f"{word} {getattr(mark, name)}"
        for mark in field.metadata
        for name, word in (("gt", "above"), ("lt", "below"))
        if hasattr(mark, name)
    ]
    if least is not None and most is not None:
        bounds.append(f"{least} to {most}")
    elif least is not None or most is not None:
        bounds.append(f"at most {most}" if least is None else f"at least {least}")
    return ", ".join([" or ".join(dict.fromkeys(_kinds(field.annotation))), *bounds])


def _kinds(annotation: Any) -> list[str]:
    if hasattr(annotation, "__metadata__"):
        units = [mark.text for mark in annotation.__metadata__ if isinstance(mark, Unit)]
        return units or _kinds(annotation.__origin__)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [word for part in parts for word in _kinds(part) if word]
    if origin is Literal:
        return [f'"{word}"' for word in parts]
    if origin is tuple:
        return [f"list of {' or '.join(_kinds(parts[0]))}"]
    if origin is dict:
        # Values in a dict are a table's; a table of tables is one for each node.
        return [f"table of {' or '.join(_kinds(parts[1]))}"]
    plain = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
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
