"""kind = "exec" and "notify": run a command on the monitor's machine, and never again once it has
succeeded. A `notify` tells people and does nothing to a node; it is run in the same way.

    exit status 0         success
    126, 127, not found   permanent: the command cannot be run
    anything else         temporary; also a run past its time limit, ended by TERM and then KILL

The command is run as it stands in the settings, never by a shell: placeholders such as `{node}` are
replaced in its arguments, and the same and more is in its environment. It runs in a session of its
own and outlives the monitor; the next start finds it by its key (`durable_command`). Not here:
retries (`core.outbox`).
"""

import asyncio
import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Collection, Mapping
from urllib.parse import quote

from beatward.action_settings import PLACEHOLDERS, ActionSettings
from beatward.actions.driver import Surroundings, environment_for_programs, last_words, nodes_of
from beatward.core.instants import SECOND, format_duration
from beatward.core.outbox import Action, fenced_by
from beatward.errors import PermanentError, TemporaryError

from .durable_command import CommandEnd, CommandRun, remove

RUNNING_MAX = 16
# Between TERM and KILL; half of what systemd's and Docker's defaults are mostly cut to, because
# the node is down meanwhile.
TERM_GRACE_NS = 5 * SECOND
# Beyond it: KILL, the last output, and a slow disk.
COLLECT_GRACE_NS = 5 * SECOND

_CANNOT_RUN = {126: "cannot be executed", 127: "was not found"}
_PLACE = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")


class Command:
    """The driver; keeps a folder for each key without a final outcome."""

    running_max = RUNNING_MAX

    def __init__(self, surroundings: Surroundings, *, term_grace_ns: int = TERM_GRACE_NS) -> None:
        self._folder = surroundings.folder
        self._term_grace_seconds = term_grace_ns / SECOND
        self.grace_ns = term_grace_ns + COLLECT_GRACE_NS
        self._runs: dict[str, CommandRun] = {}
        self._beginning: set[asyncio.Future[CommandRun | None]] = set()

    async def do(self, action: Action, settings: ActionSettings) -> str:
        """Run the command, or wait for the run that an earlier life of the monitor began."""
        arguments, environment = _prepared(action, settings)
        folder = self._folder / folder_name(action.key)

        def begin() -> CommandRun | None:
            begun = CommandRun.begin(folder, action.attempt, arguments, environment)
            if begun is not None:
                self._runs[action.key] = begun
            return begun

        try:
            run = await self._begin(begin)
            if run is None:
                return "exit status 0 before the monitor's restart; not run again"
            ended, is_late = await self._watch(run, settings)
            return _judged(ended, limit_ns=settings.timeout if is_late else None)
        finally:
            left = self._runs.pop(action.key, None)
            if left is not None:
                left.release()

    async def end(self) -> None:
        """End every run; see `Driver.end`."""
        if self._beginning:
            await asyncio.wait(self._beginning)
        runs = list(self._runs.values())
        await asyncio.gather(*(run.end(self._term_grace_seconds) for run in runs))

    async def forget(self, keys: Collection[str]) -> None:
        """Remove the folders of these keys; see `Driver.forget`."""
        await asyncio.to_thread(self._remove, {folder_name(key) for key in keys})

    async def retain(self, keys: Collection[str]) -> None:
        """Remove the folders of all keys but these; see `Driver.retain`."""
        kept = {folder_name(key) for key in keys}
        found = await asyncio.to_thread(self._found)
        await asyncio.to_thread(self._remove, found - kept)

    async def close(self) -> None:
        """Do nothing: who was cancelled has let go already."""

    async def _begin(self, begin: Callable[[], CommandRun | None]) -> CommandRun | None:
        # In a thread, because the disk may be slow; to its end, because what has been started must
        # be known to us even when we are cancelled meanwhile.
        beginning = asyncio.ensure_future(asyncio.to_thread(begin))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.wait({beginning})
            raise
        except OSError as error:
            raise TemporaryError(f"the command cannot be started: {error.strerror}") from error

    async def _watch(self, run: CommandRun, settings: ActionSettings) -> tuple[CommandEnd, bool]:
        is_late = False
        try:
            async with asyncio.timeout(settings.timeout / SECOND):
                await run.wait_ended()
        except TimeoutError:
            is_late = True
            await run.end(self._term_grace_seconds)
        return await run.collect(self._term_grace_seconds), is_late

    def _found(self) -> set[str]:
        if not self._folder.is_dir():
            return set()
        # Only what we made: a folder with a lock in it.
        return {path.name for path in self._folder.iterdir() if (path / "lock").is_file()}

    def _remove(self, names: Collection[str]) -> None:
        for name in sorted(names):
            remove(self._folder / name)


def folder_name(key: str) -> str:
    """Return a file name that no other key has."""
    name = quote(key, safe=":@,=+").replace(".", "%2E")
    if len(name) <= 120:
        return name
    return f"{name[:80]}~{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _prepared(action: Action, settings: ActionSettings) -> tuple[list[str], Mapping[str, str]]:
    values = _values(action)
    program, *arguments = settings.command
    # Looked up here: a shell would take `exit` or `eval` for its own words.
    path = shutil.which(program)
    if path is None:
        raise PermanentError(f"{program!r} {_CANNOT_RUN[127]} or {_CANNOT_RUN[126]}")
    filled = [_PLACE.sub(lambda match: values[match[1]], argument) for argument in arguments]
    environment = environment_for_programs()
    environment |= {
        "BEATWARD_NODE": action.node,
        "BEATWARD_NODES": values["nodes"],
        "BEATWARD_COUNT": values["count"],
        "BEATWARD_EXPLANATION": values["explanation"],
        "BEATWARD_STATUS": values["status"],
        "BEATWARD_CAUSE": action.event.get("cause") or "",
        "BEATWARD_ACTION": action.name,
        "BEATWARD_ACTION_KEY": action.key,
        "BEATWARD_ATTEMPT": str(action.attempt),
    }
    role = fenced_by(action.key)
    if role is not None:
        environment |= {"BEATWARD_SERVICE": role[0], "BEATWARD_TOKEN": str(role[1])}
    command = [os.path.abspath(path), *filled]  # noqa: PTH100 - resolve() would lose argv[0]
    if any("\0" in word for word in (*command, *environment.values())):
        raise PermanentError("the command or its environment holds a NUL character")
    return command, environment


def _values(action: Action) -> dict[str, str]:
    names, count = nodes_of(action)
    event = action.event
    return {
        "node": action.node,
        "nodes": " ".join(names),
        "count": str(count),
        "status": event.get("status") or "",
        "key": action.key,
        "explanation": event.get("explanation") or "",
    }


def _judged(ended: CommandEnd, limit_ns: int | None) -> str:
    """Return the sentence about a success, or raise; `limit_ns` where the run was ended for it."""
    output = last_words(ended.output or "")
    if ended.status == 0:
        return f"exit status 0{output}"
    if limit_ns is not None:
        raise TemporaryError(f"ended after its time limit of {format_duration(limit_ns)}{output}")
    if ended.status is None:
        raise TemporaryError(f"killed before it could say how it ended{output}")
    if ended.status in _CANNOT_RUN:
        raise PermanentError(
            f"exit status {ended.status}: the command {_CANNOT_RUN[ended.status]}{output}"
        )
    raise TemporaryError(f"{_status_text(ended.status)}{output}")


def _status_text(status: int) -> str:
    number = status - 128
    if number in set(signal.Signals):
        return f"exit status {status} ({signal.Signals(number).name})"
    return f"exit status {status}"
