"""How a value is written in a settings file: durations, addresses, names, rates, shares.

`250ms`, `127.0.0.1:7227`, `web-1`, `20000/s`, 0.15: each type reads its own, and says what it
expected when it cannot. Not here: which setting has which (`beatward.config`).
"""

import contextlib
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from beatward.core.instants import parse_duration
from beatward.core.protocol.keys import is_name


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


Duration = Annotated[int, BeforeValidator(_read_duration), Field(gt=0)]


def _check_address(text: str) -> str:
    host, port = split_address(text)
    if not host or not 0 <= port <= 65535:
        message = "an address such as 127.0.0.1:7227 or [::1]:7227"
        raise ValueError(message)
    return text


Address = Annotated[str, AfterValidator(_check_address)]


def _check_name(text: str) -> str:
    if not is_name(text):
        message = "a node's name of letters, digits and ._:@-, at most 128"
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


Rate = Annotated[float, BeforeValidator(_read_rate), Field(gt=0, le=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Margin = Annotated[int | Literal["auto"], BeforeValidator(_read_margin)]
NodeName = Annotated[str, AfterValidator(_check_name)]
