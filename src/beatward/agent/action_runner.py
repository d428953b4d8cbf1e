"""What the monitor may ask of this node: actions by name, run here, their outcome sent back.

The monitor sends a name and never a command line; what a name means stands in the agent's own
settings. One action runs at a time, in the order of the inbox, so that two restarts do not cross.

    mail ─► fetch the inbox ─► run ─► remember the key, if it succeeded ─► post the outcome
              ▲                                                               │ until it is taken
              └───────────────────── until it is empty ◄──────────────────────┘

A key that has succeeded never runs again, also after a restart of the agent: its outcome is said
again instead. A crash between the end of a command and the writing of its key can run it twice;
a command that must not be run twice has to look for itself, and finds BEATWARD_ACTION_KEY for that.
"""

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.protocol import keys
from beatward.errors import MonitorUnreachable

from . import clock
from .attempts import Backoff, LogOnce
from .post import Access, HttpClient
from .processes import processes_below
from .settings import LocalAction
from .state import StateFile

log = logging.getLogger("beatward.agent")

# The end of what a command printed; that is where the reason for a failure stands. The monitor
# keeps 500 characters of a message.
OUTPUT_SIZE_MAX = 4096
OUTPUT_SHOWN_MAX = 400
KILL_AFTER_S = 2.0
POST_ATTEMPTS_MAX = 12
POST_PAUSE_NS = 500 * MILLISECOND
POST_PAUSE_MAX_NS = 30 * SECOND
# The monitor hands out 64 actions at a time; what is more than this waits for the next mail.
FETCH_COUNT_MAX = 20
# Outcomes of attempts that may be handed out again because the monitor did not hear of them.
KNOWN_COUNT_MAX = 100


@dataclass(frozen=True, slots=True)
class FetchedAction:
    """One action from the inbox; `timeout_ns` is what the monitor waits for, 0: not said."""

    key: str
    name: str
    node: str
    attempt: int
    timeout_ns: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of it: `success`, `temporary` or `permanent`, and a sentence."""

    result: str
    message: str


class ActionRunner:
    """Fetches and runs in a thread of its own; `notify` says that there may be mail.

    access   returns the node's credential and the monitor's address, as soon as there are any
    """

    def __init__(
        self, name: str, actions: Mapping[str, LocalAction], file: StateFile, access: Access
    ) -> None:
        self._name = name
        self._actions = actions
        self._file = file
        self._access = access
        self._client: HttpClient | None = None
        self._notified = threading.Event()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = LogOnce("actions")
        self._known: dict[tuple[str, int], Result] = {}
        self._thread = threading.Thread(target=self._work, name="beatward-hands", daemon=True)

    def start(self) -> None:
        """Begin to wait for mail."""
        self._thread.start()

    def take(self, actions: Mapping[str, LocalAction]) -> None:
        """Take other settings of actions, from the next action on."""
        self._actions = actions

    def notify(self) -> None:
        """Fetch the inbox soon; never blocks."""
        self._notified.set()

    def stop(self, patience_s: float = 5.0) -> None:
        """Take nothing more; a command that does not end in time is ended."""
        self._stopping.set()
        self._notified.set()
        self._thread.join(patience_s)
        process = self._process
        if process is not None and self._thread.is_alive():
            end_group(process)
            self._thread.join(KILL_AFTER_S)

    def _work(self) -> None:
        while True:
            self._notified.wait()
            self._notified.clear()
            if self._stopping.is_set():
                return
            try:
                self._empty_inbox()
            except MonitorUnreachable as error:
                self._log.warn(str(error))
            except Exception:
                # One strange action must not end the runner for all that come after it.
                log.exception("an action could not be handled")
            finally:
                # Mail is rare; the monitor need not hold a connection for each agent meanwhile.
                if self._client is not None:
                    self._client.close()

    def _empty_inbox(self) -> None:
        for _ in range(FETCH_COUNT_MAX):
            waiting = self._fetch()
            for fetched in waiting:
                if self._stopping.is_set():
                    return
                self._deliver(fetched, self._do(fetched))
            if not waiting:
                return

    def _fetch(self) -> list[FetchedAction]:
        answer = self._post("/v1/agent/inbox", {"name": self._name})
        if answer is None:
            return []
        found = answer.get("actions")
        return [_read_action(row) for row in found] if isinstance(found, list) else []

    def _do(self, fetched: FetchedAction) -> Result:
        action = self._actions.get(fetched.name)
        if self._file.is_done(fetched.key):
            log.info("%s (%s) was done before; not again", fetched.name, fetched.key)
            return Result("success", "done by an earlier attempt")
        known = self._known.get((fetched.key, fetched.attempt))
        if known is not None:
            return known
        if action is None:
            log.warning("%s is not in this agent's settings; refused", fetched.name)
            return Result("permanent", f"this agent's settings have no action {fetched.name!r}")
        log.info("%s for %s: %s", fetched.name, fetched.node, " ".join(action.command))
        started_ns = clock.now_ns()
        result = run(action, fetched, started=self._note_process)
        self._process = None
        self._known[fetched.key, fetched.attempt] = result
        if len(self._known) > KNOWN_COUNT_MAX:
            self._known.pop(next(iter(self._known)))
        if result.result == "success":
            self._file.note_done(fetched.key)
        took = format_duration(clock.now_ns() - started_ns)
        log.info("%s for %s: %s after %s", fetched.name, fetched.node, result.result, took)
        return result

    def _note_process(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def _deliver(self, fetched: FetchedAction, result: Result) -> None:
        body = {
            "name": self._name,
            "key": fetched.key,
            "attempt": fetched.attempt,
            "result": result.result,
            "message": result.message,
        }
        backoff = Backoff(POST_PAUSE_NS, POST_PAUSE_MAX_NS)
        for _ in range(POST_ATTEMPTS_MAX):
            try:
                if self._post("/v1/agent/outcome", body) is not None:
                    return
            except MonitorUnreachable as error:
                self._log.warn(str(error))
            if self._stopping.wait(backoff.next_ns() / SECOND):
                return
        # The monitor asks again when its own time is up, and is told then.
        log.warning("the outcome of %s could not be delivered", fetched.name)

    def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the answer's object, or None when the monitor would not."""
        credential, monitor = self._access()
        if credential is None:
            return None
        if self._client is not None and self._client.url != monitor:
            self._client.close()
            self._client = None
        if self._client is None:
            self._client = HttpClient(monitor)
        answer = self._client.post(path, body, bearer=keys.bearer(credential.key))
        if 200 <= answer.status < 300:
            self._log.clear()
            return answer.body
        self._log.warn(f"{monitor}{path}: {answer.reason}")
        # A client's mistake will not be mended by saying it again.
        return {} if 400 <= answer.status < 500 and answer.status not in (401, 408, 429) else None


def run(
    action: LocalAction,
    fetched: FetchedAction,
    *,
    started: Callable[["subprocess.Popen[bytes]"], None] = lambda _: None,
) -> Result:
    """Run a command in a process group of its own and wait for it, within its time."""
    limits = [action.timeout_ns, *([fetched.timeout_ns] if fetched.timeout_ns > 0 else [])]
    timeout_ns = min(limits)
    environment = {
        **os.environ,
        "BEATWARD_ACTION": fetched.name,
        "BEATWARD_NODE": fetched.node,
        "BEATWARD_ACTION_KEY": fetched.key,
        "BEATWARD_ATTEMPT": str(fetched.attempt),
    }
    try:
        process = subprocess.Popen(  # noqa: S603  the command is from this node's own settings
            action.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        is_lasting = isinstance(error, FileNotFoundError | PermissionError)
        return Result("permanent" if is_lasting else "temporary", f"{action.command[0]}: {error}")
    started(process)
    tail = _Tail(process)
    try:
        code = process.wait(timeout_ns / SECOND)
    except subprocess.TimeoutExpired:
        end_group(process)
        output = tail.finish()
        return Result("temporary", f"ended after {format_duration(timeout_ns)}{output}")
    output = tail.finish()
    if code == 0:
        return Result("success", f"exit code 0{output}")
    ended = f"exit code {code}" if code > 0 else f"ended by {signal_name(-code)}"
    return Result("temporary", f"{ended}{output}")


class _Tail:
    """Reads all that a command says, so that it never blocks, and keeps the end of it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def finish(self) -> str:
        """Return `: ` and the last output, or nothing if there was none."""
        # A grandchild in the background may hold the pipe open for ever; it is not waited for.
        self._thread.join(0.5)
        text = self._kept.decode("utf-8", "replace").strip()[-OUTPUT_SHOWN_MAX:]
        return f": {text}" if text else ""

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while data := os.read(pipe.fileno(), 65536):
                self._kept = (self._kept + data)[-OUTPUT_SIZE_MAX:]


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all it has started: first politely, soon after for certain."""
    # Seen before anything ends: what has a session of its own is found by its parents only.
    with contextlib.ExitStack() as held:
        started = [held.enter_context(_ProcessHandle(pid)) for pid in processes_below(process.pid)]
        _end(process, started)


def _end(process: "subprocess.Popen[bytes]", started: "list[_ProcessHandle]") -> None:
    _signal_group(process, signal.SIGTERM)
    for one in started:
        one.send(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_AFTER_S)
    # Also when the command itself obeyed: what it had started may not have.
    for one in started:
        one.send(signal.SIGKILL)
    _signal_group(process, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_AFTER_S)


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15, and `signal 99` for what has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _ProcessHandle:
    """A process that is signalled later, when its number may be another's."""

    def __init__(self, pid: int) -> None:
        self._handle = -1
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            self._handle = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def send(self, number: int) -> None:
        """Send a signal, if it is still there."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._handle, number)


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _read_action(row: Any) -> FetchedAction:
    """Read one row of the inbox; raises MonitorUnreachable when it is not one."""
    try:
        return FetchedAction(
            key=str(row["key"]),
            name=str(row["name"]),
            node=str(row["node"]),
            attempt=int(row["attempt"]),
            timeout_ns=int(row.get("timeout_ns") or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MonitorUnreachable("the inbox holds something that is not an action") from error
