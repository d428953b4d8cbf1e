"""A monitor on a host of its own and an agent a node, as the examples use them."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from examples.ground.network import Host, send

Found = TypeVar("Found")


class TookTooLong(Exception):
    """What was waited for did not happen in time."""


def wait_for(
    question: Callable[[], Found | None], what: str, *, timeout: float = 30.0, pause: float = 0.02
) -> Found:
    """Ask until the answer is true. Raises TookTooLong, which says what was waited for."""
    deadline = time.monotonic() + timeout
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise TookTooLong(f"{what}: not within {timeout:g} s")
        time.sleep(pause)
    return answer


class Monitor:
    """`beatward monitor` on a host, asked over its API from that host."""

    def __init__(self, host: Host, folder: Path, settings: str) -> None:
        self.host = host
        self.folder = folder
        self.address = f"{host.address}:7227"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "local.json").unlink(missing_ok=True)
        file = self.folder / "beatward.toml"
        file.write_text(
            f'[monitor]\nudp = "{self.address}"\nhttp = "{self.address}"\ndata = "{data}"\n'
            + self._settings
        )
        self._process = self.host.start(
            sys.executable, "-m", "beatward", "monitor", "-c", file, log=self.folder / "log"
        )
        local = wait_for(lambda: self._local(data / "local.json"), "the monitor's start")
        self.join_token, self._api_token = local["token"], local["api_token"]
        wait_for(lambda: self.get("/healthz", default=None), "the monitor's answer")

    def _local(self, path: Path) -> dict[str, Any] | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ChildProcessError(f"the monitor ended: {(self.folder / 'log').read_text()}")
        return _read_json(path)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        send(signal.SIGKILL, [self._process.pid])
        self._process.wait(10)

    def get(self, path: str, **default: Any) -> Any:
        """Return the JSON of an API path; `default` when it cannot be had."""
        try:
            return self.host.inside(self._ask, "GET", path, None)
        except (OSError, http.client.HTTPException):
            if "default" in default:
                return default["default"]
            raise

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send an order as an operator."""
        return self.host.inside(self._ask, "POST", path, body or {})

    def service(self, name: str) -> dict[str, Any]:
        """Return what is known of a service; nothing yet: an empty one."""
        return dict(self.get(f"/v1/services/{name}", default={}) or {})

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the journal's events after an id."""
        found: list[dict[str, Any]] = []
        while page := self.get(f"/v1/events?after={after}&limit=1000")["events"]:
            found += page
            after = page[-1]["id"]
        return found

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            headers = {
                "Authorization": f"Bearer {self._api_token}",
                "Content-Type": "application/json",
            }
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                raise ConnectionError(f"{method} {path}: {answer.status} {text.decode()}")
            return json.loads(text) if text else None
        finally:
            connection.close()


class Agent:
    """`beatward agent` on a host: one node."""

    def __init__(self, host: Host, folder: Path, settings: str) -> None:
        self.host = host
        self.folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, monitor: Monitor) -> None:
        """Start, or start again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "agent.toml"
        file.write_text(
            f'name = "{self.host.name}"\nmonitor = "http://{monitor.address}"\n'
            f'token = "{monitor.join_token}"\ndata = "{self.folder}"\n' + self._settings
        )
        self._process = self.host.start(
            sys.executable, "-m", "beatward", "agent", "-c", file, log=self.folder / "log"
        )

    @property
    def pid(self) -> int:
        """The agent's own process, not its guardian's."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would; its guardian goes on."""
        send(signal.SIGKILL, [self.pid])
        self.host.reap()

    def stop(self) -> None:
        """End it in good order."""
        send(signal.SIGTERM, [self.pid])
        assert self._process is not None
        self._process.wait(30)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return None
