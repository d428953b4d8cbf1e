"""Reading tables of a settings file: each refusal names the key, the value and the way out."""

from collections.abc import Mapping
from typing import Any

from beatward.core.instants import parse_duration
from beatward.errors import ConfigError, did_you_mean
from beatward.toml_file import together


def refuse_unknown(
    data: Mapping[str, Any], known: set[str] | frozenset[str], file: str, prefix: str
) -> None:
    """Raise ConfigError for the keys that there are not; `prefix` stands before their names."""
    names = ", ".join(sorted(known))
    wrong = [
        ConfigError(file, prefix + key, key, f"one of {names}{did_you_mean(key, known)}")
        for key in data
        if key not in known
    ]
    if wrong:
        raise together(wrong)


def text(value: Any, file: str, key: str) -> str:
    """Return a text that is not empty; raises ConfigError."""
    if not isinstance(value, str) or not value:
        raise ConfigError(file, key, value, "a text in quotes")
    return value


def table(value: Any, file: str, key: str) -> Mapping[str, Any]:
    """Return a table; raises ConfigError."""
    if not isinstance(value, Mapping):
        raise ConfigError(file, key, value, "a table")
    return value


def command(value: Any, file: str, key: str) -> tuple[str, ...]:
    """Return a program and its arguments; raises ConfigError."""
    is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
    if not is_list or not value or not value[0]:
        expected = 'a program and its arguments, as ["systemctl", "restart", "web"]'
        raise ConfigError(file, key, value, expected)
    return tuple(value)


def duration_ns(value: Any, file: str, key: str) -> int:
    """Return a duration longer than nothing; raises ConfigError."""
    try:
        found = parse_duration(text(value, file, key))
    except ValueError as error:
        raise ConfigError(file, key, value, "a duration such as 30s or 5m") from error
    if found <= 0:
        raise ConfigError(file, key, value, "a time longer than nothing")
    return found


def whole(value: Any, file: str, key: str, *, least: int, most: int) -> int:
    """Return a whole number in a range; raises ConfigError."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise ConfigError(file, key, value, f"a whole number from {least} to {most}")
    return int(value)
