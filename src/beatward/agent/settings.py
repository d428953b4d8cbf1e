"""The agent's settings file: TOML, every key checked, unknown keys refused.

    name = "web-1"                            # default: the machine's own
    monitor = "http://monitor.example:7227"   # default: this machine's
    token_file = "/etc/beatward/token"        # or: token = "bwj1..."
    interval = "1s"
    interval_min = "100ms"                    # what the monitor may wish it to be
    interval_max = "10s"
    transport = "udp"                         # or "http", for nodes behind proxies
    data = "/var/lib/beatward"
    labels = { zone = "a" }

    [action.restart-web]                      # what the monitor may ask for, by this name only
    command = ["systemctl", "restart", "web"]
    timeout = "30s"

Not pydantic, which the monitor's settings use: an agent's machine does not have it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from beatward.core.instants import SECOND, parse_duration
from beatward.errors import ConfigError

from .enrol import check_labels, check_name, check_token
from .limits import check_interval, check_transport
from .post import check_url

ACTION_TIMEOUT_NS = 30 * SECOND
_FROM_ENVIRONMENT = ("name", "monitor", "token", "data")
_CHECKS: Mapping[str, Callable[[str], object]] = {
    "name": check_name,
    "monitor": check_url,
    "token": check_token,
    "interval": check_interval,
    "interval_min": check_interval,
    "interval_max": check_interval,
    "transport": check_transport,
    "data": Path,
}
_ACTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Deed:
    """One [action.NAME]: what is run when the monitor asks for the name, and for how long."""

    name: str
    command: tuple[str, ...]
    timeout_ns: int = ACTION_TIMEOUT_NS


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The whole file; None: not said there."""

    name: str | None = None
    monitor: str | None = None
    token: str | None = None
    interval: str | None = None
    interval_min: str | None = None
    interval_max: str | None = None
    transport: str | None = None
    data: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    deeds: Mapping[str, Deed] = field(default_factory=dict)


def load(path: Path) -> AgentSettings:
    """Read and check a settings file; raises ConfigError."""
    import tomllib  # noqa: PLC0415  2 MB that an agent without a file does not need

    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "the file", str(error), "a readable TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "the file", str(error), "valid TOML") from error
    return parse(found, str(path))


def parse(data: Mapping[str, Any], file: str) -> AgentSettings:
    """Check settings that were read already; `file` is for the message. Raises ConfigError."""
    _refuse_unknown(data, {*_CHECKS, "token_file", "labels", "action"}, file, "")
    said = {key: _checked(data[key], file, key) for key in _CHECKS if key in data}
    if "token_file" in data:
        path = _text(data["token_file"], file, "token_file")
        said["token"] = _read_token(path, file, is_double="token" in said)
    labels = _table(data.get("labels", {}), file, "labels")
    try:
        check_labels(labels)
    except ValueError as error:
        raise ConfigError(file, "labels", dict(labels), _expected(error)) from error
    folder = said.pop("data", None)
    return AgentSettings(
        **said,
        data=None if folder is None else Path(folder),
        labels=labels,
        deeds={
            name: _deed(name, value, file)
            for name, value in _table(data.get("action", {}), file, "action").items()
        },
    )


def from_environment(environment: Mapping[str, str]) -> AgentSettings:
    """Read BEATWARD_NAME, _MONITOR, _TOKEN and _DATA. Raises ConfigError."""
    said = {key: environment.get(f"BEATWARD_{key.upper()}") for key in _FROM_ENVIRONMENT}
    return parse({key: value for key, value in said.items() if value}, "the environment")


def merge(*layers: AgentSettings) -> AgentSettings:
    """Put layers over each other, the first on top; labels are taken as a whole."""
    names = [field.name for field in fields(AgentSettings)]
    chosen = {
        name: next((value for layer in layers if (value := getattr(layer, name))), None)
        for name in names
    }
    return AgentSettings(**{name: value for name, value in chosen.items() if value is not None})


def _deed(name: str, value: Any, file: str) -> Deed:
    key = f"action.{name}"
    table = _table(value, file, key)
    if not _ACTION_NAME.fullmatch(name):
        raise ConfigError(file, key, name, "a name of letters, digits and ._-, at most 64")
    _refuse_unknown(table, {"command", "timeout"}, file, f"{key}.")
    command = table.get("command")
    is_list = isinstance(command, list) and all(isinstance(part, str) for part in command)
    if not is_list or not command or not command[0]:
        expected = 'a program and its arguments, as ["systemctl", "restart", "web"]'
        raise ConfigError(file, f"{key}.command", command, expected)
    timeout_ns = ACTION_TIMEOUT_NS
    if "timeout" in table:
        try:
            timeout_ns = parse_duration(_text(table["timeout"], file, f"{key}.timeout"))
        except ValueError as error:
            expected = "a duration such as 30s or 5m"
            raise ConfigError(file, f"{key}.timeout", table["timeout"], expected) from error
    if timeout_ns <= 0:
        raise ConfigError(file, f"{key}.timeout", table["timeout"], "a time longer than nothing")
    return Deed(name, tuple(command), timeout_ns)


def _read_token(path: str, file: str, *, is_double: bool) -> str:
    if is_double:
        raise ConfigError(file, "token_file", path, "either token or token_file")
    try:
        return check_token(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(file, "token_file", str(error), "a readable file") from error
    except ValueError as error:
        raise ConfigError(file, "token_file", path, f"a file with {_expected(error)}") from error


def _checked(value: Any, file: str, key: str) -> str:
    text = _text(value, file, key)
    try:
        _CHECKS[key](text)
    except ValueError as error:
        found = "something else" if key == "token" else text
        raise ConfigError(file, key, found, _expected(error)) from error
    return text


def _expected(error: ValueError) -> str:
    return str(error).removeprefix("expected ").partition(", found")[0]


def _refuse_unknown(data: Mapping[str, Any], known: set[str], file: str, prefix: str) -> None:
    for key in data:
        if key not in known:
            raise ConfigError(file, prefix + key, key, f"one of {', '.join(sorted(known))}")


def _text(value: Any, file: str, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(file, key, value, "a text in quotes")
    return value


def _table(value: Any, file: str, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(file, key, value, "a table")
    return value
