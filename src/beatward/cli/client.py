"""How a command asks the monitor: where it is, with which token, and what its answers mean.

    --monitor URL ─► BEATWARD_MONITOR ─► local.json of the data folder ─► http://127.0.0.1:7227

The API token comes from BEATWARD_API_TOKEN, or from local.json when that is about the same
monitor; never from an option, which every user of the machine could read. Not here: printing.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import click
import httpx2

from beatward.config import PORT, default_data_folder
from beatward.errors import BeatwardError, ConfigError, MonitorUnreachable

DEFAULT_MONITOR = f"http://127.0.0.1:{PORT}"
_TIMEOUT_SECONDS = 5.0
# The monitor says that it is still there every 15 s; three of those missed are a dead line.
_STREAM_SILENCE_SECONDS = 45.0

Command = TypeVar("Command", bound=Callable[..., Any])


class Refused(BeatwardError):
    """The monitor answered, and the answer is no: exit code 1. `body` says why, for programs."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.status = int(body["status"])
        self.body = body
        super().__init__(str(body["detail"]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a monitor is and how to ask it. `found` says how we came by the address."""

    url: str
    token: str = field(default="", repr=False)
    found: str = "by default"


def find_monitor(url: str | None, data: Path | None, *, own: Place | None = None) -> Place:
    """Find the monitor; raises ConfigError when an address is none.

    own   the monitor of a settings file that was named: only `url` goes before it
    """
    token = os.environ.get("BEATWARD_API_TOKEN", "")
    address = url or (None if own else os.environ.get("BEATWARD_MONITOR"))
    path, local = _read_local(data)
    local_url = str(local.get("monitor", "")).rstrip("/")
    if address:
        _check(address, "--monitor" if url else "BEATWARD_MONITOR")
        address = address.rstrip("/")
        if address == local_url:
            token = token or str(local.get("api_token", ""))
        return Place(address, token, "--monitor" if url else "BEATWARD_MONITOR")
    if local_url:
        _check(local_url, str(path))
        return Place(local_url, token or str(local.get("api_token", "")), str(path))
    return replace(own, token=token) if own else Place(DEFAULT_MONITOR, token)


class Client:
    """Asks one monitor. Every method may raise MonitorUnreachable, Refused or ConfigError."""

    def __init__(self, place: Place, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self.place = place
        headers = {"Accept": "application/json"}
        if place.token:
            headers["Authorization"] = f"Bearer {place.token}"
        # A proxy is for the world outside; it could not reach this machine's own monitor.
        parts = urlsplit(place.url)
        is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        self._http = httpx2.Client(
            base_url=place.url,
            headers=headers,
            timeout=timeout_seconds,
            trust_env=not is_local,
            # Without TLS and without a proxy there is no certificate to verify; to load those of
            # the world's authorities takes longer than all the rest of a command.
            verify=not (is_local and parts.scheme == "http"),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Ask and return the answer's object; parameters that are None are left out."""
        wanted = {key: value for key, value in parameters.items() if value is not None}
        return self.send("GET", path, **wanted)

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Order something and return the answer's object."""
        try:
            answer = self._http.request(method, path, json=body, params=parameters)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return self._object(answer.status_code, answer.content)

    def follow(
        self, place: str, *, node: str | None = None, on_open: Callable[[], None]
    ) -> Iterator[dict[str, str]]:
        """Yield the stream's frames behind a place, as they are written, until the connection ends.

        place     the id of an event, or `ID-MARK`
        on_open   called when the monitor has begun to answer
        """
        parameters = {} if node is None else {"node": node}
        headers = {"Last-Event-ID": place}
        timeout = httpx2.Timeout(_TIMEOUT_SECONDS, read=_STREAM_SILENCE_SECONDS)
        try:
            with self._http.stream(
                "GET", "/v1/events/stream", params=parameters, headers=headers, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    self._object(answer.status_code, answer.read())
                on_open()
                frame: dict[str, str] = {}
                for line in answer.iter_lines():
                    if line:
                        key, _, value = line.partition(":")
                        frame[key] = value.removeprefix(" ")
                    elif frame:
                        if "data" in frame:
                            yield frame
                        frame = {}
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _object(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise MonitorUnreachable(
                f"{self.place.url} ({self.place.found}) answers with status {status}, but not as "
                "a beatward monitor would; is it the right address?"
            )
        if status == 401:
            found = "a wrong one" if self.place.token else "none"
            expected = "what `beatward token api` prints on the monitor's machine"
            raise ConfigError(self.place.url, "BEATWARD_API_TOKEN", found, expected)
        # A health report is an answer also when the health is bad.
        if status >= 400 and "detail" in body:
            raise Refused({**body, "status": status})
        return body

    def _unreachable(self, error: Exception) -> MonitorUnreachable:
        reason = str(error) or type(error).__name__
        return MonitorUnreachable(
            f"no monitor answers at {self.place.url} ({self.place.found}): {reason}. "
            "Is `beatward monitor` running? --monitor or BEATWARD_MONITOR name another address"
        )


def node_path(name: str, word: str = "") -> str:
    """Return the path of a node, or of what is asked about it."""
    return f"/v1/nodes/{quote(name, safe='')}" + (f"/{word}" if word else "")


def service_path(name: str, word: str = "") -> str:
    """Return the path of a service, or of what is ordered of it."""
    return f"/v1/services/{quote(name, safe='')}" + (f"/{word}" if word else "")


def asking(command: Command) -> Command:
    """Give a command the options every asking command has, and `client` and `as_json`."""

    @click.option("--monitor", "monitor_url", metavar="URL", help="The monitor's address.")
    @click.option(
        "--data",
        envvar="BEATWARD_DATA",
        type=click.Path(path_type=Path, file_okay=False),
        help="Data folder whose local.json names the monitor.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(command)
    def wrapped(monitor_url: str | None, data: Path | None, **rest: Any) -> Any:
        client = Client(find_monitor(monitor_url, data))
        try:
            return command(client=client, **rest)
        except Refused as error:
            if rest["as_json"]:
                click.echo(json.dumps(error.body, indent=2, ensure_ascii=False))
            raise
        finally:
            client.close()

    return wrapped  # type: ignore[return-value]


def _check(url: str, key: str) -> None:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise ConfigError("the monitor's address", key, url, "http://host:port")


def _read_local(data: Path | None) -> tuple[Path, Mapping[str, Any]]:
    path = (data or default_data_folder()) / "local.json"
    try:
        local = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return path, {}
    return path, local if isinstance(local, dict) else {}
