"""How a value is written in a settings file: durations, addresses, names, rates, shares, options.

`250ms`, `127.0.0.1:7227`, `web-1`, `20000/s`, 0.15: each type reads its own, and says what it
expected when it cannot. Not here: which setting has which (`beatward.config`).
"""

import contextlib
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from beatward.core.instants import parse_duration
from beatward.core.protocol.keys import is_name


class Table(BaseModel):
    """One table of a settings file: it never changes, and unknown keys are errors.

    Types are strict: "2" is no number, and 1 is not true. TOML has lists and text where we have
    tuples and paths, so fields of these say `strict=False`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        strict=True,
        # The text below a field explains it to users: `config explain`, docs/configuration.md.
        use_attribute_docstrings=True,
    )


def renamed(name: str, old: str, **field: Any) -> Any:
    """Return a field that is also read under the name it had before; see `old_names`."""
    return Field(validation_alias=AliasChoices(name, old), **field)


def old_names(table: type[BaseModel]) -> dict[str, str]:
    """Return the old names of a table's keys that go on working -> their names of today."""
    found: dict[str, str] = {}
    for name, field in table.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            found |= {str(old): name for old in field.validation_alias.choices if old != name}
    return found


@dataclass(frozen=True, slots=True)
class Unit:
    """What a type's values look like in a file, for people; a mark within `Annotated`."""

    text: str


def _read_duration(value: object) -> object:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return parse_duration(value)
    message = "a duration such as 250ms, 2s, 5m or 30d, in quotes"
    raise ValueError(message)


def _read_margin(value: object) -> object:
    if value == "auto":
        return value
    with contextlib.suppress(ValueError):
        if duration := _read_duration(value):
            return duration
    message = '"auto", or a duration such as 50ms, in quotes'
    raise ValueError(message)


def _read_failback(value: object) -> object:
    if value in ("never", None):
        return value
    with contextlib.suppress(ValueError):
        if duration := _read_duration(value):
            return duration
    message = '"never", or a duration such as 10m, in quotes'
    raise ValueError(message)


Duration = Annotated[
    int, BeforeValidator(_read_duration), Field(gt=0), Unit("duration, as 250ms or 2s")
]


def _check_address(text: str) -> str:
    host, port = split_address(text)
    if not host or not 0 <= port <= 65535:
        message = "an address such as 127.0.0.1:7227 or [::1]:7227"
        raise ValueError(message)
    return text


Address = Annotated[str, AfterValidator(_check_address), Unit("host:port")]


def _check_name(text: str) -> str:
    if not is_name(text):
        message = "a node's name of letters, digits and ._:@-, at most 128"
        raise ValueError(message)
    return text


def check_pattern(text: str) -> str:
    """Return a pattern that some name could fit, or raise ValueError."""
    if not text:
        message = 'a name or a pattern, as in "web-*"'
        raise ValueError(message)
    if "[" in re.sub(r"\[!?\]?[^\]]*\]", "", text):
        message = f'a pattern such as "web-*" or "web-[12]"; in {text!r} a bracket is not closed'
        raise ValueError(message)
    return text


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; raises ValueError with the expected form."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit():
        message = "an address such as 127.0.0.1:7227 or [::1]:7227"
        raise ValueError(message)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read_rate(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, str) and value.endswith("/s"):
        with contextlib.suppress(ValueError):
            return float(value.removesuffix("/s"))
    message = "a rate such as 20000/s, in quotes"
    raise ValueError(message)


Rate = Annotated[
    float,
    BeforeValidator(_read_rate),
    Field(gt=0, le=1e9, allow_inf_nan=False),
    Unit("rate, as 20000/s"),
]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Margin = Annotated[int | Literal["auto"], BeforeValidator(_read_margin), Unit('duration or "auto"')]
Failback = Annotated[
    int | Literal["never"], BeforeValidator(_read_failback), Unit('duration or "never"')
]
NodeName = Annotated[str, AfterValidator(_check_name), Unit("node's name")]
Pattern = Annotated[str, AfterValidator(check_pattern), Unit("pattern, as web-*")]


def _read_fence_options(value: object) -> object:
    if not isinstance(value, dict):
        message = 'a table such as { ip = "10.0.9.1", plug = 3 }'
        raise ValueError(message)  # noqa: TRY004  pydantic tells the user of a ValueError only
    return {name: _fence_option(name, one) for name, one in value.items()}


def _fence_option(name: object, value: object) -> str:
    """Return an option as fence agents read it: a line `name=value` of theirs."""
    text = {True: "1", False: "0"}[value] if isinstance(value, bool) else str(value)
    if name in ("action", "option"):
        message = f"no {name}: that is for us to say"
        raise ValueError(message)
    if not isinstance(name, str) or not _OPTION.fullmatch(name):
        message = f"the name of an agent's option, of letters, digits, _ and -, for {name!r}"
        raise ValueError(message)
    if not isinstance(value, str | int) or not text.isprintable():
        message = f"text of one line, a number, or true or false, for {name}"
        raise ValueError(message)
    return text


_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
FenceOptions = Annotated[dict[str, str], BeforeValidator(_read_fence_options)]
