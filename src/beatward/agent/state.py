"""What an agent remembers from one start to the next, in a file that only its user can read.

    name, monitor, key, udp, labels, job   the credential, and where and with what it was obtained
    incarnation                       the number of the last life
    done                              keys of actions that succeeded, newest last, bounded
    roles                             for each service in failover mode what its member must know
    is_offering                       services were declared, so that none has to be said, too

A machine whose disk is read-only still beats: what cannot be written is kept in memory, with one
line in the log, and its lives are numbered by the wall clock alone. It takes no role.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from beatward.core.protocol.join import Credential
from beatward.core.protocol.keys import KEY_SIZE
from beatward.private_file import write_private

from .roles.lease_holder import HolderState

# A monitor tries one action 20 times within about an hour by default; 1000 keys outlast that by
# far, and 64 bytes each keep the file below 100 KB.
DONE_COUNT_MAX = 1000

log = logging.getLogger("beatward.agent")


@dataclass(frozen=True, slots=True)
class AgentState:
    """The file's content. A new node has only defaults."""

    credential: Credential | None = None
    monitor: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    job: Mapping[str, str] = field(default_factory=dict)
    incarnation: int = 0
    done: tuple[str, ...] = ()
    roles: Mapping[str, HolderState] = field(default_factory=dict)
    is_offering: bool = False


class StateFile:
    """One node's state, in memory and on disk; safe to use from several threads."""

    def __init__(self, folder: Path, name: str) -> None:
        # A colon in a file name means something else on other systems.
        self.path = folder / "agent" / (name.replace(":", "%3A") + ".json")
        self._name = name
        self._lock = threading.Lock()
        self._may_warn = True
        self._noted: set[str] = set()  # services whose roles are this process's to write down
        self._state = self._load()

    @property
    def state(self) -> AgentState:
        """The state as of now."""
        return self._state

    def next_incarnation(self, wall_us: int) -> int:
        """Choose a new life's number: the wall clock, but above the last one; written at once."""
        chosen = max(self._state.incarnation + 1, wall_us)
        self.note_incarnation(chosen)
        return chosen

    def note_incarnation(self, incarnation: int) -> None:
        """Remember the number that a life has."""
        self._change(incarnation=incarnation)

    def note_credential(
        self,
        credential: Credential,
        *,
        monitor: str,
        labels: Mapping[str, str],
        job: Mapping[str, str] | None = None,
    ) -> None:
        """Remember an enrolment."""
        wanted = {
            "credential": credential,
            "monitor": monitor,
            "labels": dict(labels),
            "job": dict(job or {}),
        }
        if any(getattr(self._state, name) != value for name, value in wanted.items()):
            self._change(**wanted)

    def note_done(self, key: str) -> None:
        """Remember that the action with this key succeeded, so that it never runs again."""
        with self._lock:
            self._state = replace(self._state, done=(*self._state.done, key)[-DONE_COUNT_MAX:])
            self._save()

    def is_done(self, key: str) -> bool:
        """Tell whether the action with this key succeeded before."""
        return key in self._state.done

    def note_offering(self, *, is_offering: bool) -> None:
        """Remember whether the monitor knows of services of this node."""
        if is_offering != self._state.is_offering:
            self._change(is_offering=is_offering)

    def read_role(self, service: str) -> HolderState:
        """Return what the disk says of a member: another process may have written it meanwhile."""
        with self._lock:
            roles = {**self._state.roles, **self._roles_on_disk()}
            self._state = replace(self._state, roles=roles)
            return roles.get(service, HolderState())

    def note_role(self, service: str, memory: HolderState) -> bool:
        """Remember what a member must know; returns whether it is on the disk now."""
        with self._lock:
            self._noted.add(service)
            self._state = replace(self._state, roles={**self._state.roles, service: memory})
            return self._save()

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)
            self._save()

    def _load(self) -> AgentState:
        try:
            return _from_json(self._name, json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return AgentState()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Enrolling again heals this; refusing to start would leave the node unwatched.
            log.warning("%s cannot be read (%s); %s begins anew", self.path, error, self._name)
            return AgentState()

    def _roles_on_disk(self) -> Mapping[str, HolderState]:
        """Return what another process of this name has written of roles that are not ours."""
        try:
            roles = _from_json(self._name, json.loads(self.path.read_text("utf-8"))).roles
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {name: memory for name, memory in roles.items() if name not in self._noted}

    def _save(self) -> bool:
        roles = {**self._state.roles, **self._roles_on_disk()}
        self._state = replace(self._state, roles=roles)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Durable, because a role must not be forgotten by losing power.
            write_private(self.path, json.dumps(_to_json(self._name, self._state), indent=1))
        except OSError as error:
            if self._may_warn:
                log.warning("%s cannot be written (%s); it is kept in memory", self.path, error)
                self._may_warn = False
            return False
        return True


def _to_json(name: str, state: AgentState) -> dict[str, Any]:
    credential = state.credential
    return {
        "name": name,
        "monitor": state.monitor,
        "key": credential.key.hex() if credential else "",
        "udp": credential.udp if credential else "",
        "labels": dict(state.labels),
        "job": dict(state.job),
        "incarnation": state.incarnation,
        "done": list(state.done),
        "roles": {service: asdict(memory) for service, memory in state.roles.items()},
        "is_offering": state.is_offering,
    }


def _from_json(name: str, data: Mapping[str, Any]) -> AgentState:
    key = bytes.fromhex(data["key"])
    if data["name"] != name or len(key) not in (0, KEY_SIZE):
        raise ValueError("it is not the state of this node")
    return AgentState(
        credential=Credential(name, key, str(data["udp"])) if key else None,
        monitor=str(data["monitor"]),
        labels={str(label): str(value) for label, value in data["labels"].items()},
        # Files of before there were jobs have none.
        job={str(word): str(value) for word, value in data.get("job", {}).items()},
        incarnation=int(data["incarnation"]),
        done=tuple(str(done) for done in data["done"])[-DONE_COUNT_MAX:],
        # Nor had they roles.
        roles={service: HolderState(**row) for service, row in data.get("roles", {}).items()},
        is_offering=bool(data.get("is_offering")),
    )
