"""The services that a node offers: [service.NAME] of the agent's settings, or a program's, checked.

    [service.db]
    mode = "failover"                         # one member of all holds the role; or "balance"
    address = "10.0.0.5"
    port = 5432
    priority = 100                            # the highest is promoted first
    promote = ["/etc/beatward/db/promote"]    # the hooks, see `guardian`; no shell
    demote = ["/etc/beatward/db/demote"]
    stop = ["/etc/beatward/db/stop"]
    start = ["/etc/beatward/db/start"]
    state = ["/etc/beatward/db/state"]

    Heart("web-1", services=[Service("web", port=80)])    # a program has no hooks

Not here: what is done with it (`roles`), and what the monitor makes of it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from beatward.core.instants import MINUTE, SECOND
from beatward.core.protocol.keys import is_name
from beatward.core.protocol.roles import service_id
from beatward.core.protocol.texts import HOST_WORDS, LINE_WORDS, is_host, is_line
from beatward.errors import ConfigError
from beatward.toml_file import Mistakes

from . import tables
from .enrol import check_labels

# A standby that has to be copied anew from its primary; a service with more data sets its own.
START_TIMEOUT_NS = 5 * MINUTE
STATE_EVERY_NS = SECOND
STATE_TIMEOUT_NS = SECOND
MODES = ("balance", "failover")
HOOKS = ("promote", "demote", "start", "stop", "state")
# As the monitor's /v1/agent/services has them.
WEIGHT_MAX = 1_000_000
PRIORITY_MAX = 1_000_000
PORT_MAX = 65535
SERVICE_COUNT_MAX = 32
_TEXT_SIZE_MAX = 256
_NAME_WORDS = "a name of letters, digits and ._:@-, at most 128"
_TIMES = ("start_timeout", "state_every", "state_timeout")


@dataclass(frozen=True, slots=True)
class Service:
    """A service as the monitor is told of it; raises ValueError for what cannot be told.

    name      letters, digits and `._:@-`, at most 128
    mode      `balance`, or `failover`: one of its members holds the role
    address   where it is reached
    port      and at which port; 0: none
    weight    its share of balanced traffic
    priority  of a role: the highest is promoted first
    zone      default: the node's own label `zone`
    version   what of it runs here
    labels    words about it
    """

    name: str
    mode: str = "balance"
    address: str = ""
    port: int = 0
    weight: int = 100
    priority: int = 100
    zone: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not is_name(name):
            raise ValueError(f"a service's name: expected {_NAME_WORDS}, found {name!r}")
        for known in fields(Service):
            value = getattr(self, known.name)
            # An empty text is how a program says that there is none.
            if known.name in _READ and not value == known.default == "":
                _check(self.name, known.name, value)

    @property
    def has_role(self) -> bool:
        """Whether one of its members holds a role."""
        return self.mode == "failover"

    def declaration(self) -> dict[str, Any]:
        """Return what the monitor is told of it."""
        names = ("name", "mode", "address", "port", "weight", "priority", "zone", "version")
        return {**{name: getattr(self, name) for name in names}, "labels": dict(self.labels)}


@dataclass(frozen=True, slots=True)
class HookedService(Service):
    """A service whose role is taken and given up by hooks, see `guardian`."""

    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    start_timeout_ns: int = START_TIMEOUT_NS
    state_every_ns: int = STATE_EVERY_NS
    state_timeout_ns: int = STATE_TIMEOUT_NS


def with_role(
    name: str, priority: int, *, labels: Mapping[str, str] | None, **others: Any
) -> Service:
    """Return a service of which a program takes the role; others: as a `Service` has them."""
    labels = {} if labels is None else labels
    return Service(name, mode="failover", priority=priority, labels=labels, **others)


def parse(data: Mapping[str, Any], file: str) -> dict[str, Service]:
    """Check all [service.NAME]; raises ConfigError."""
    if len(data) > SERVICE_COUNT_MAX:
        raise ConfigError(file, "service", len(data), f"at most {SERVICE_COUNT_MAX} services")
    mistakes, found = Mistakes(), {}
    for name, value in data.items():
        with mistakes.caught():
            found[name] = _service(name, value, file)
    mistakes.tell()
    known: dict[int, str] = {}
    for name in found:
        other = known.setdefault(service_id(name), name)
        if other != name:
            expected = f"another name: on the wire it would be the same as {other!r}"
            raise ConfigError(file, f"service.{name}", name, expected)
    return found


def check_transport(services: Mapping[str, Service], transport: str, file: str) -> None:
    """Refuse roles over HTTP: a lease needs answers that come while they are worth something."""
    roles = [name for name, service in services.items() if service.has_role]
    if roles and transport != "udp":
        expected = f'"udp", for service.{roles[0]} has mode = "failover"; or mode = "balance"'
        raise ConfigError(file, "transport", transport, expected)


def _service(name: str, value: Any, file: str) -> Service:
    key = f"service.{name}"
    given = tables.table(value, file, key)
    if not is_name(name):
        raise ConfigError(file, key, name, _NAME_WORDS)
    mistakes = Mistakes()
    with mistakes.caught():
        tables.refuse_unknown(given, {*_READ, *HOOKS, *_TIMES}, file, f"{key}.")
    read: dict[str, Any] = {}
    for word in _READ:
        with mistakes.caught():
            if word in given:
                read[word] = _READ[word](given[word], file, f"{key}.{word}")
    mistakes.tell()
    if read.get("mode") != "failover":
        _refuse_hooks(given, file, key)
        return Service(name, **read)
    hooks = {
        word: tables.command(given[word], file, f"{key}.{word}") for word in HOOKS if word in given
    }
    times: dict[str, Any] = {
        f"{word}_ns": tables.duration_ns(given[word], file, f"{key}.{word}")
        for word in _TIMES
        if word in given
    }
    service = HookedService(name, **read, hooks=hooks, **times)
    _check_hooks(service, given, file, key)
    return service


def _refuse_hooks(given: Mapping[str, Any], file: str, key: str) -> None:
    for word in (*HOOKS, *_TIMES):
        if word in given:
            expected = f'no such key in mode "balance"; say mode = "failover" in [{key}]'
            raise ConfigError(file, f"{key}.{word}", given[word], expected)


def _check_hooks(service: HookedService, given: Mapping[str, Any], file: str, key: str) -> None:
    if os.name != "posix":
        expected = '"balance": hooks can be kept within their lease on Linux only'
        raise ConfigError(file, f"{key}.mode", service.mode, expected)
    for word in ("promote", "demote"):
        if word not in service.hooks:
            expected = f'a program and its arguments: mode = "failover" needs a {word} hook'
            raise ConfigError(file, f"{key}.{word}", None, expected)
    for word, hook in (("start_timeout", "start"), ("state_every", "state")):
        if word in given and hook not in service.hooks:
            raise ConfigError(file, f"{key}.{word}", given[word], f"a {hook} hook beside it")
    if service.state_timeout_ns > service.state_every_ns and "state_timeout" in given:
        expected = f"at most state_every, so that one {key} hook has ended before the next"
        raise ConfigError(file, f"{key}.state_timeout", given["state_timeout"], expected)


def _check(name: str, word: str, value: Any) -> None:
    try:
        _READ[word](value, "a program", word)
    except ConfigError as error:
        message = f"{word} of the service {name}: expected {error.expected}, found {error.found!r}"
        raise ValueError(message) from error


def _mode(value: Any, file: str, key: str) -> str:
    if value not in MODES:
        raise ConfigError(file, key, value, '"balance" or "failover"')
    return str(value)


def _short(value: Any, file: str, key: str) -> str:
    found = tables.text(value, file, key)
    if len(found) > _TEXT_SIZE_MAX:
        raise ConfigError(file, key, value, f"at most {_TEXT_SIZE_MAX} characters")
    if not is_line(found):
        raise ConfigError(file, key, value, LINE_WORDS)
    return found


def _host(value: Any, file: str, key: str) -> str:
    found = tables.text(value, file, key)
    if not is_host(found):
        raise ConfigError(file, key, value, HOST_WORDS)
    return found


def _labels(value: Any, file: str, key: str) -> Mapping[str, str]:
    found = tables.table(value, file, key)
    try:
        return check_labels(found)
    except ValueError as error:
        expected = str(error).removeprefix("expected ").partition(", found")[0]
        raise ConfigError(file, key, dict(found), expected) from error


def _number(least: int, most: int) -> Callable[[Any, str, str], int]:
    return lambda value, file, key: tables.whole(value, file, key, least=least, most=most)


_READ: Mapping[str, Callable[[Any, str, str], Any]] = {
    "mode": _mode,
    "address": _host,
    "port": _number(0, PORT_MAX),
    "weight": _number(0, WEIGHT_MAX),
    "priority": _number(-PRIORITY_MAX, PRIORITY_MAX),
    "zone": _short,
    "version": _short,
    "labels": _labels,
}
