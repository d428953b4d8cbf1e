"""kind = "fence": cut a node's power by one of Debian's fence-agents, and believe only its status.

    action=off -> exit status 0 -> action=status -> exit status 2 and "Status: OFF" -> success

A fence is what lets another node be promoted without the old holder's word, so nothing short of a
switch that answers "off" counts: not that `off` ended well, not a time-out, and not exit status 2
alone, which the same library also uses for wrong arguments. `reboot` is therefore never left to the
agent, who could only say that it asked for it: the power is cut, the cut confirmed, and then given
back; if giving back fails the node is fenced all the same.

An agent is told its options on standard input, as `key=value` lines (ClusterLabs' FenceAgentAPI),
so no password is in a list of processes. Cutting power twice is cutting it once: an attempt that a
dying monitor leaves behind needs no traces. Not here: retries (`core.outbox`), and agents for
clusters of nodes that fence each other.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from asyncio.subprocess import STDOUT
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beatward.action_settings import ActionSettings
from beatward.actions.driver import Surroundings, environment_for_programs, last_words
from beatward.core.instants import SECOND, format_duration
from beatward.core.outbox import Action
from beatward.errors import PermanentError, TemporaryError

# An agent is a Python program that waits for a switch: 16 of them are 300 MB.
RUNNING_MAX = 16
# Beyond an attempt's limit: KILL, and the kernel's work on it, on a busy machine too.
GRACE_NS = 5 * SECOND
OUTPUT_SIZE_MAX = 4096
# What the agent printed is there when it ends; a child of it may hold the pipe open for longer.
_LAST_WORDS_SECONDS = 0.5
# Where Debian keeps them; a monitor that is not root often has neither on its PATH.
_SYSTEM_PATH = "/usr/sbin:/sbin"
_NODE = "{node}"
_STATUS = re.compile(rb"^Status:\s*(ON|OFF)\s*$", re.MULTILINE | re.IGNORECASE)
_IS_ON, _IS_OFF = 0, 2
# fencing.py: EC_BAD_ARGS, EC_PASSWORD_MISSING, EC_INVALID_PRIVILEGES. A refused login is not among
# them: many switches let in one at a time.
_PERMANENT = frozenset({2, 10, 11})
_SECRETS = re.compile(r"pass|secret|token|key|community|snmp", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Switch:
    """One node's power as one agent reaches it; `secrets` are words that must not be shown."""

    node: str
    name: str
    path: str
    options: Mapping[str, str] = field(repr=False)

    def input_for(self, action: str) -> bytes:
        """Return what the agent reads."""
        lines = [*(f"{key}={value}" for key, value in self.options.items()), f"action={action}"]
        return "".join(f"{line}\n" for line in lines).encode()

    def printed(self, output: bytes) -> str:
        """Return what the agent printed, for people and without secrets."""
        text = output.decode("utf-8", "replace")
        for key, value in self.options.items():
            if value and _SECRETS.search(key):
                text = text.replace(value, "***")
        return last_words(text)


class Power:
    """The driver; keeps nothing between two attempts."""

    running_max = RUNNING_MAX
    grace_ns = GRACE_NS

    def __init__(self, surroundings: Surroundings) -> None:
        del surroundings

    async def do(self, action: Action, settings: ActionSettings) -> str:
        """Cut the power and have it confirmed; see `Driver.do`."""
        switch = _prepared(action, settings)
        bounds = asyncio.timeout(settings.timeout / SECOND)
        try:
            async with bounds:
                return await _fence(switch, settings.power)
        except TimeoutError:
            if not bounds.expired():
                raise
            limit = format_duration(settings.timeout)
            raise TemporaryError(
                f"{switch.node} is not known to be off: {switch.name} had not confirmed it within "
                f"{limit}"
            ) from None

    async def end(self) -> None:
        """Do nothing: who is cancelled ends its agent."""

    async def forget(self, keys: Collection[str]) -> None:
        """Do nothing: there are no traces."""

    async def retain(self, keys: Collection[str]) -> None:
        """Do nothing: there are no traces."""

    async def close(self) -> None:
        """Do nothing: every agent ends with its attempt."""


def find_agent(name: str) -> str | None:
    """Return where a fence agent is on this machine; None where there is none of that name."""
    searched = os.pathsep.join((os.environ.get("PATH", os.defpath), _SYSTEM_PATH))
    return shutil.which(name, path=searched)


def _prepared(action: Action, settings: ActionSettings) -> _Switch:
    node, name = action.node, settings.program or ""
    path = find_agent(name)
    if path is None:
        raise PermanentError(
            f"there is no fence agent {name!r} on the monitor's machine; Debian has them in the "
            "package fence-agents"
        )
    of_node = settings.node_options.get(node)
    if of_node is None and not any(_NODE in value for value in settings.options.values()):
        raise PermanentError(
            f"[action.{action.name}] does not say how {node} is reached: expected "
            f"node_options.{node}, or {_NODE} in one of its options"
        )
    options = {**settings.options, **(of_node or {})}
    return _Switch(
        node, Path(path).name, path, {k: v.replace(_NODE, node) for k, v in options.items()}
    )


async def _fence(switch: _Switch, power: str) -> str:
    status, output = await _run(switch, "off")
    if status != 0:
        message = (
            f"{switch.node} is not known to be off: {switch.name} ended action=off with "
            f"{_status_text(status)}{switch.printed(output)}"
        )
        raise PermanentError(message) if status in _PERMANENT else TemporaryError(message)
    await _confirm(switch)
    confirmed = f"{switch.node} is off, as {switch.name} confirmed"
    if power == "off":
        return confirmed
    status, output = await _run(switch, "on")
    if status == 0:
        return f"{confirmed}, and was switched on again"
    return (
        f"{confirmed}, and could not be switched on again: {_status_text(status)}"
        f"{switch.printed(output)}"
    )


async def _confirm(switch: _Switch) -> None:
    status, output = await _run(switch, "status")
    states = {word.upper() for word in _STATUS.findall(output)}
    if status == _IS_OFF and states == {b"OFF"}:
        return
    if status == _IS_ON and states == {b"ON"}:
        raise TemporaryError(
            f"{switch.node} is still on: {switch.name} ended action=off with success, and then "
            "says Status: ON"
        )
    raise TemporaryError(
        f"{switch.node} is not known to be off: {switch.name} ended action=off with success, but "
        f"action=status with {_status_text(status)}{switch.printed(output)}"
    )


class _Listener(asyncio.SubprocessProtocol):
    """Hears one run of an agent: the end of what it prints, and its exit status."""

    def __init__(self) -> None:
        # Events, not futures: who is cancelled while it awaits a future cancels that as well.
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        self.output = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep the end of it."""
        del fd
        self.output = (self.output + data)[-OUTPUT_SIZE_MAX:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note when nothing more will be printed."""
        del exc
        if fd == 1:
            self.silent.set()

    def process_exited(self) -> None:
        """Note the end."""
        self.exited.set()


async def _run(switch: _Switch, action: str) -> tuple[int, bytes]:
    """Run the agent once and return its exit status and the end of what it printed."""
    loop = asyncio.get_running_loop()
    environment = environment_for_programs()
    try:
        transport, listener = await loop.subprocess_exec(
            _Listener, switch.path, stderr=STDOUT, env=environment, start_new_session=True
        )
    except (PermissionError, FileNotFoundError) as error:
        raise PermanentError(f"{switch.name} cannot be run: {error.strerror}") from error
    except OSError as error:
        raise TemporaryError(f"{switch.name} cannot be started: {error.strerror}") from error
    try:
        pipe = transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        # One that reads nothing has ended already, and its status says why.
        pipe.write(switch.input_for(action))
        pipe.write_eof()
        await listener.exited.wait()
        await _bounded(listener.silent, _LAST_WORDS_SECONDS)
        status = transport.get_returncode()
        assert status is not None
        return status, listener.output
    finally:
        # Also what it left behind: an ssh that goes on could cut the power once more, and later.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        try:
            await _bounded(listener.exited, GRACE_NS / SECOND)
        finally:
            transport.close()


async def _bounded(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _status_text(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
