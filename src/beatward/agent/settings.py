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
    watchdog = "/dev/watchdog"                # resets the machine if a role cannot be given up

    [service.web]                             # what this node offers, see `services`
    port = 80

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

from beatward.core.instants import SECOND
from beatward.errors import ConfigError
from beatward.toml_file import Mistakes, located

from . import services, tables
from .enrol import check_labels, check_name, check_token
from .post import check_url
from .services import Service
from .validation import check_bounds, check_interval, check_transport

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
    "watchdog": Path,
}
# Every key of the file that is not in a table of its own.
KEYS = frozenset({*_CHECKS, "token_file", "labels", "action", "service"})
INTERVAL = "1s"
_ACTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class LocalAction:
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
    actions: Mapping[str, LocalAction] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    watchdog: Path | None = None


def load(path: Path, *, is_all: bool = False) -> AgentSettings:
    """Read and check a settings file; raises ConfigError.

    is_all   nothing goes before the file, so what only fits together is checked as well
    """
    found, giving_lines = located(path)
    with giving_lines:
        settings = parse(found, str(path))
        if is_all:
            _check_together(settings, str(path))
    return settings


def parse(data: Mapping[str, Any], file: str) -> AgentSettings:
    """Check settings that were read already; `file` is for the message.

    Raises ConfigError for one mistake, and ConfigErrors for several.
    """
    mistakes = Mistakes()
    with mistakes.caught():
        tables.refuse_unknown(data, KEYS, file, "")
    given: dict[str, str] = {}
    for key in _CHECKS:
        with mistakes.caught():
            if key in data:
                given[key] = _checked(data[key], file, key)
    with mistakes.caught():
        if "token_file" in data:
            path = tables.text(data["token_file"], file, "token_file")
            given["token"] = _read_token(path, file, is_double="token" in data)
    labels: Mapping[str, str] = {}
    with mistakes.caught():
        labels = _labels(data.get("labels", {}), file)
    offered: Mapping[str, Service] = {}
    with mistakes.caught():
        offered = services.parse(tables.table(data.get("service", {}), file, "service"), file)
    actions = {}
    with mistakes.caught():
        for name, value in tables.table(data.get("action", {}), file, "action").items():
            with mistakes.caught():
                actions[name] = _local_action(name, value, file)
    mistakes.tell()
    folder, watchdog = given.pop("data", None), given.pop("watchdog", None)
    return AgentSettings(
        **given,
        data=None if folder is None else Path(folder),
        watchdog=None if watchdog is None else Path(watchdog),
        labels=labels,
        services=offered,
        actions=actions,
    )


def _check_together(settings: AgentSettings, file: str) -> None:
    """Refuse what does not fit together, as an agent does at its start."""
    mistakes = Mistakes()
    with mistakes.caught():
        services.check_transport(settings.services, settings.transport or "udp", file)
    with mistakes.caught():
        interval = settings.interval or INTERVAL
        try:
            check_bounds(check_interval(interval), settings.interval_min, settings.interval_max)
        except ValueError as error:
            raise ConfigError(file, "interval", interval, _expected(error)) from error
    mistakes.tell()


def _labels(value: Any, file: str) -> Mapping[str, str]:
    labels = tables.table(value, file, "labels")
    try:
        return check_labels(labels)
    except ValueError as error:
        raise ConfigError(file, "labels", dict(labels), _expected(error)) from error


def from_environment(environment: Mapping[str, str]) -> AgentSettings:
    """Read BEATWARD_NAME, _MONITOR, _TOKEN and _DATA. Raises ConfigError."""
    given = {key: environment.get(f"BEATWARD_{key.upper()}") for key in _FROM_ENVIRONMENT}
    return parse({key: value for key, value in given.items() if value}, "the environment")


def merge(*layers: AgentSettings) -> AgentSettings:
    """Put layers over each other, the first on top; labels are taken as a whole."""
    names = [field.name for field in fields(AgentSettings)]
    chosen = {
        name: next((value for layer in layers if (value := getattr(layer, name))), None)
        for name in names
    }
    return AgentSettings(**{name: value for name, value in chosen.items() if value is not None})


def _local_action(name: str, value: Any, file: str) -> LocalAction:
    key = f"action.{name}"
    given = tables.table(value, file, key)
    if not _ACTION_NAME.fullmatch(name):
        raise ConfigError(file, key, name, "a name of letters, digits and ._-, at most 64")
    tables.refuse_unknown(given, {"command", "timeout"}, file, f"{key}.")
    command = tables.command(given.get("command"), file, f"{key}.command")
    timeout_ns = ACTION_TIMEOUT_NS
    if "timeout" in given:
        timeout_ns = tables.duration_ns(given["timeout"], file, f"{key}.timeout")
    return LocalAction(name, command, timeout_ns)


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
    text = tables.text(value, file, key)
    try:
        _CHECKS[key](text)
    except ValueError as error:
        found = "something else" if key == "token" else text
        raise ConfigError(file, key, found, _expected(error)) from error
    return text


def _expected(error: ValueError) -> str:
    return str(error).removeprefix("expected ").partition(", found")[0]
