"""How a node finds its monitor and gets its key, and what it needs to be told for that.

On one machine: nothing. A monitor leaves `local.json` (its address and a join token, readable by
its own user only) in its data folder, and a node that was told nothing looks there. Elsewhere the
address and the token come as arguments or from BEATWARD_MONITOR and BEATWARD_TOKEN. A node that has
enrolled once goes on with the key in its state file, also while the monitor is away. It needs no
token any more: with its key it declares itself again, to a monitor that has lost its journal, that
has moved its address for datagrams, or that has to learn other labels.

All functions here block; `conversation` calls them in a thread. Not here: heartbeats.
"""

import json
import logging
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from beatward.core.protocol import join, keys
from beatward.core.protocol.join import Credential
from beatward.core.protocol.keys import is_name
from beatward.core.protocol.texts import LINE_WORDS, is_line
from beatward.errors import JoinRefused, MonitorUnreachable

from .post import check_url, post_as, post_once

log = logging.getLogger("beatward.agent")

DEFAULT_MONITOR = "http://127.0.0.1:7227"
JOIN_TIMEOUT_S = 10.0
DATA_OF_MACHINE = Path("/var/lib/beatward")
LABEL_COUNT_MAX = 32
# As the monitor's /v1/join has them.
LABEL_SIZE_MAX = 64
LABEL_VALUE_SIZE_MAX = 256
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104  recognised here, never bound


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is and what it was told; made by `identify`, which checks it.

    monitor, token   None: find them in `local.json`
    data             folder of the state file
    job              what it promises, as the monitor's /v1/join has it; empty: it is none
    """

    name: str
    monitor: str | None
    token: str | None
    labels: Mapping[str, str]
    data: Path
    job: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MonitorFound:
    """A monitor that was found.

    addresses     socket addresses for datagrams, best first; each (family, address)
    is_enrolled   the monitor has just given this credential, or taken the node's declaration
    refusal       why that failed, although the old credential may still do
    hint          something that looks wrong and that the user should know, or ""
    """

    credential: Credential
    monitor: str
    addresses: tuple[tuple[int, Any], ...] = ()
    is_enrolled: bool = False
    refusal: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Reach:
    monitor: str
    token: str | None
    hint: str = ""


def identify(
    name: str | None = None,
    *,
    monitor: str | None = None,
    token: str | None = None,
    labels: Mapping[str, str] | None = None,
    data: Path | str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Identity:
    """Complete what was given by the environment, and check it; raises ValueError.

    A name that is neither given nor in BEATWARD_NAME is the machine's own.
    """
    if name is None or name == "":
        name = environment.get("BEATWARD_NAME") or socket.gethostname()
    name = check_name(name)
    monitor = monitor or environment.get("BEATWARD_MONITOR") or None
    token = token or environment.get("BEATWARD_TOKEN") or None
    if data is None and not environment.get("BEATWARD_DATA") and _state_home(environment) is None:
        log.warning(
            "%s: this user has no home directory, so the node's state is in %s; "
            "BEATWARD_DATA, XDG_STATE_HOME or HOME would name another place",
            name,
            DATA_OF_MACHINE,
        )
    return Identity(
        name=name,
        monitor=None if monitor is None else check_url(monitor),
        token=None if token is None else check_token(token),
        labels=check_labels({} if labels is None else labels),
        data=data_folder(environment) if data is None else check_folder(data),
    )


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where agents of this user keep their data: BEATWARD_DATA, or as its monitor does.

    A user without a home directory has the machine's folder, as root has it.
    """
    if environment.get("BEATWARD_DATA"):
        return Path(environment["BEATWARD_DATA"])
    home = _state_home(environment)
    return DATA_OF_MACHINE if home is None else home / "beatward"


def _state_home(environment: Mapping[str, str]) -> Path | None:
    """Return where programs of this user keep what they remember; None: nowhere."""
    if getattr(os, "geteuid", lambda: -1)() == 0:
        return DATA_OF_MACHINE.parent
    home = os.path.expanduser("~")  # noqa: PTH111  Path.home() raises where there is none
    fallback = Path(home, ".local", "state") if Path(home).is_absolute() else None
    return Path(environment["XDG_STATE_HOME"]) if environment.get("XDG_STATE_HOME") else fallback


def find(
    identity: Identity, known: Credential | None, monitor: str, *, wants_udp: bool
) -> MonitorFound:
    """Enrol with a token or declare the node with its key; blocks for seconds.

    known, monitor   an earlier enrolment, which is still good while the monitor does not answer
    Raises MonitorUnreachable, and JoinRefused when the monitor said no and nothing is known.
    """
    reach = _look_around(identity)
    refusal, is_enrolled = "", False
    may_declare = known is not None
    if reach.token is not None:
        try:
            known, monitor = _enrol(identity, reach, known), reach.monitor
            is_enrolled = True
        except (MonitorUnreachable, JoinRefused) as error:
            if known is None:
                raise
            # An expired token is no hindrance; a monitor that is away is asked later.
            may_declare = isinstance(error, JoinRefused)
            refusal = str(error)
    if known is not None and may_declare and not is_enrolled:
        try:
            declared = _declare(identity, known, monitor)
        except (MonitorUnreachable, JoinRefused) as error:
            refusal = refusal or str(error)
        else:
            known, is_enrolled = declared or known, declared is not None
            refusal = "" if is_enrolled else refusal
    if known is None:
        if identity.monitor is None and not reach.hint:
            raise MonitorUnreachable(
                "no monitor of this user runs on this machine; start `beatward monitor` here, or "
                "set BEATWARD_MONITOR and BEATWARD_TOKEN as `beatward token new` says on another"
            )
        raise MonitorUnreachable(
            f"no join token for {reach.monitor}: set BEATWARD_TOKEN to what `beatward token new` "
            f"says there{reach.hint}"
        )
    addresses, hint = resolve(known.udp, monitor) if wants_udp else ((), "")
    return MonitorFound(known, monitor, addresses, is_enrolled, refusal=refusal, hint=hint)


def resolve(udp: str, monitor: str, *, may_ask: bool = True) -> tuple[tuple[Any, ...], str]:
    """Turn the monitor's `host:port` for datagrams into socket addresses, and a hint or "".

    may_ask   False: only addresses in numbers, so that no name server is waited for
    Raises MonitorUnreachable when the name has no address.
    """
    host, _, port = udp.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    http_host = urlsplit(monitor).hostname or ""
    hint = ""
    if host in _WILDCARDS:
        host = http_host
    elif _is_loopback(host) and not _is_loopback(http_host):
        hint = (
            f"the monitor at {monitor} takes datagrams on its own machine only ({udp}): set "
            "`udp` in its [monitor] settings, or give this agent transport = http"
        )
    numbers = 0 if may_ask else socket.AI_NUMERICHOST
    try:
        rows = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM, flags=numbers)
    except (OSError, ValueError) as error:
        raise MonitorUnreachable(f"{udp} has no address: {error}") from error
    return tuple((int(row[0]), row[4]) for row in rows), hint


def _look_around(identity: Identity) -> _Reach:
    """Find the monitor's address and a token now; a monitor may start later than its nodes."""
    hint = ""
    folders = dict.fromkeys((identity.data, data_folder(), DATA_OF_MACHINE))
    for folder in folders:
        path = folder / "local.json"
        try:
            local = json.loads(path.read_text("utf-8"))
            monitor, token = check_url(str(local["monitor"])), str(local["token"])
        except PermissionError:
            hint = f"; {path} is there but not for this user"
            continue
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if identity.monitor in (None, monitor):
            return _Reach(monitor, identity.token or token)
    return _Reach(identity.monitor or DEFAULT_MONITOR, identity.token, hint)


def _enrol(identity: Identity, reach: _Reach, known: Credential | None) -> Credential:
    monitor, token = reach.monitor, (reach.token or "").strip()
    body = {"labels": dict(identity.labels)}
    if identity.job:
        body["job"] = dict(identity.job)
    asked = join.request(
        token,
        identity.name,
        os.urandom(join.NONCE_SIZE),
        _challenge(monitor),
        more=body,
        # Whoever has the key may have the name again.
        key=known.key if known is not None and known.name == identity.name else None,
    )
    answer = post_once(monitor, "/v1/join", asked.body(), timeout_s=JOIN_TIMEOUT_S)
    if answer.status in (401, 403, 422):
        raise JoinRefused(f"{monitor}: {answer.reason}")
    if answer.status != 200:
        raise MonitorUnreachable(f"{monitor}: {answer.reason} to an enrolment")
    try:
        fields = {key: str(answer.body[key]) for key in join.JoinAnswer.__dataclass_fields__}
        return join.accept(token, asked, join.JoinAnswer(**fields))
    except (KeyError, ValueError) as error:
        raise MonitorUnreachable(f"{monitor} does not answer as a monitor would") from error


def _challenge(monitor: str) -> str:
    answer = post_once(monitor, "/v1/join/challenge", None, timeout_s=JOIN_TIMEOUT_S)
    if answer.status in (404, 405):
        raise JoinRefused(f"{monitor} is older than this agent: upgrade the monitor first")
    if answer.status != 200 or not isinstance(answer.body.get("challenge"), str):
        raise MonitorUnreachable(f"{monitor}: {answer.reason} to the question for a challenge")
    return str(answer.body["challenge"])


def _declare(identity: Identity, known: Credential, monitor: str) -> Credential | None:
    """Declare the node with its own key; returns the credential with the address of now.

    None: this monitor is older than the request. Raises JoinRefused when the monitor says no.
    """
    nonce = join.encoded(os.urandom(join.NONCE_SIZE))
    body: dict[str, Any] = {"nonce": nonce, "labels": dict(identity.labels)}
    if identity.job:
        body["job"] = dict(identity.job)
    answer = post_as(known, monitor, "/v1/agent/node", body, timeout_s=JOIN_TIMEOUT_S)
    if answer.status in (404, 405):
        return None
    if answer.status == 401:
        raise JoinRefused(
            f"{monitor} does not know the key of {known.name}: it was revoked, or the monitor's "
            "master key is another one now, or another monitor answers there; enrol the node again "
            f"with a join token, which `beatward token new --node {known.name}` makes on the "
            "monitor's machine"
        )
    if answer.status in (403, 422):
        raise JoinRefused(f"{monitor}: {answer.reason}")
    if answer.status != 200:
        raise MonitorUnreachable(f"{monitor}: {answer.reason} to a declaration")
    udp, proof = str(answer.body.get("udp", "")), str(answer.body.get("proof", ""))
    if not keys.same(join.vouch(known.key, nonce, udp, known.name), proof):
        raise MonitorUnreachable(
            f"{monitor} gives an address for datagrams and does not prove that it is the monitor's"
        )
    return Credential(known.name, known.key, udp)


def check_name(name: object) -> str:
    """Return a name that a node may have, or raise ValueError."""
    if not isinstance(name, str) or not is_name(name):
        raise ValueError(
            f"expected a node's name of letters, digits and ._:@-, at most 128, found {name!r}"
        )
    return name


def check_token(token: object) -> str:
    """Return a join token without space around it, or raise ValueError, which does not show it."""
    if not isinstance(token, str) or not re.fullmatch(r"bwj1\.[\w-]+\.[\w-]+", token.strip()):
        raise ValueError("expected a join token as a whole, of the form bwj1.PAYLOAD.SECRET")
    return token.strip()


def check_folder(folder: object) -> Path:
    """Return a folder's path, or raise ValueError."""
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ValueError(f"expected the path of a folder for data, found {folder!r}")
    return Path(folder)


def check_labels(labels: Any) -> Mapping[str, str]:
    """Return labels that the monitor will take, or raise ValueError."""
    if not isinstance(labels, Mapping):
        raise ValueError(  # noqa: TRY004  one kind of error for all that was told wrongly
            f'expected labels as {{"zone": "a"}}, found {labels!r}'
        )
    if len(labels) > LABEL_COUNT_MAX:
        raise ValueError(f"expected at most {LABEL_COUNT_MAX} labels, found {len(labels)}")
    for label, value in labels.items():
        is_text = isinstance(label, str) and isinstance(value, str)
        if not is_text or not 0 < len(label) <= LABEL_SIZE_MAX or len(value) > LABEL_VALUE_SIZE_MAX:
            raise ValueError(
                f"expected labels of at most {LABEL_SIZE_MAX} characters with text of at most "
                f"{LABEL_VALUE_SIZE_MAX}, found {label!r}: {value!r}"
            )
        if not _is_unicode(label + value):
            raise ValueError(f"expected labels in UTF-8, found {label!r}: {value!r}")
        if not is_line(label + value):
            raise ValueError(f"expected labels of {LINE_WORDS}, found {label!r}: {value!r}")
    return dict(labels)


def _is_unicode(text: str) -> bool:
    """Tell whether a text of the command line was UTF-8; other bytes are surrogates in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
