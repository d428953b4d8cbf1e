"""Which deeds there are, and what asks for them: [action.NAME] and [[rule]].

Not here: doing them (`actions`), deciding on them (`core.policy`), and the rest of the settings
file (`config`).
"""

import re
from typing import Literal

from pydantic import Field, model_validator

from beatward.errors import did_you_mean
from beatward.values import Duration, FenceOptions, Pattern, Table

# What is replaced in the arguments of a command, as in "{node}".
PLACEHOLDERS = ("node", "nodes", "count", "status", "key", "explanation")
# A shell's ${NAME} is none of ours.
_BRACES = re.compile(r"(?<!\$)\{([A-Za-z_]+)\}")
_COMMANDS = ("exec", "notify")
_TELLING = ("webhook", "notify")
# Programs that only tell people something, whatever their arguments are.
_TELLERS = frozenset(
    {
        *("apprise", "echo", "logger", "mail", "mailx", "msmtp", "mutt", "notify-send", "ntfy"),
        *("sendmail", "swaks", "telegram-send", "wall", "write", "xmessage"),
    }
)


class ActionSettings(Table):
    """[action.NAME] a deed that rules can ask for.

    kind      `webhook` POSTs the event as JSON; `notify` runs a command on the monitor's machine
              that tells people; `exec` runs one that does something to a node; `agent` asks the
              agent on a node to run what its own settings name; `fence` cuts a node's power and
              succeeds only when the cut is confirmed
    url       webhook: where to; http:// or https://
    headers   webhook: sent along, such as Authorization
    command   exec, notify: program and arguments, no shell; {node}, {nodes}, {count}, {status},
              {explanation} and {key} are replaced
    agent     agent: the node whose agent is asked
    run       agent: what that agent's own settings call it
    program   fence: a fence agent, such as fence_ipmilan
    options   fence: what it is told of every node; {node} is replaced
    node_options   fence: what it is told besides of a node, by the node's name; it goes before
    power     fence: `off`, or `reboot`: given back once the cut is confirmed. Off leaves the node
              to people; reboot brings it back as a standby, and takes longer
    attempts  how often it is tried in all, before it counts as failed
    retry, retry_max   how long between two attempts: from the first to the second value, doubling
    timeout   one attempt may take this long; then it is ended and counts as failed for now. A
              switch takes its time: a fence should have 30s or more
    revives   it repairs the node, so it is withdrawn when the node is back before it ran;
              default: false for webhook and notify, else true
    destructive   it interferes with the node: [guard] may hold it back and limits its rate;
              default: false for webhook and notify, else true
    """

    kind: Literal["webhook", "notify", "exec", "agent", "fence"]
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    command: tuple[str, ...] = Field(default=(), strict=False)
    agent: str | None = None
    run: str | None = None
    program: str | None = None
    options: FenceOptions = Field(default_factory=dict)
    node_options: dict[str, FenceOptions] = Field(default_factory=dict)
    power: Literal["off", "reboot"] = "off"
    attempts: int = Field(default=20, ge=1, le=1000)
    retry: Duration = "1s"  # type: ignore[assignment]
    retry_max: Duration = "5m"  # type: ignore[assignment]
    timeout: Duration = "10s"  # type: ignore[assignment]
    revives: bool | None = None
    destructive: bool | None = None

    @property
    def is_revival(self) -> bool:
        """What `revives` says, or else the kind."""
        return self._is_deed if self.revives is None else self.revives

    @property
    def is_destructive(self) -> bool:
        """What `destructive` says, or else the kind."""
        return self._is_deed if self.destructive is None else self.destructive

    @property
    def _is_deed(self) -> bool:
        return self.kind not in _TELLING

    @property
    def seems_to_tell(self) -> bool:
        """Whether it looks like a message to people that a mass failure would hold back."""
        program = self.command[0].rpartition("/")[2] if self.command else ""
        return self.kind == "exec" and self.destructive is None and program in _TELLERS

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "ActionSettings":
        needs: dict[tuple[str, ...], dict[str, object]] = {
            ("webhook",): {"url": self.url},
            _COMMANDS: {"command": self.command},
            ("agent",): {"agent": self.agent, "run": self.run},
            ("fence",): {"program": self.program},
        }
        for kinds, fields in needs.items():
            for name, value in fields.items():
                if self.kind in kinds and not value:
                    message = f"{name} with kind = {self.kind}"
                    raise ValueError(message)
                if self.kind not in kinds and value:
                    message = f"no {name} with kind = {self.kind}"
                    raise ValueError(message)
        if self.kind == "notify" and (self.revives or self.destructive):
            message = "no revives, no destructive with kind = notify, which only tells people"
            raise ValueError(message)
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            message = "url that begins with http:// or https://"
            raise ValueError(message)
        self._knows_whom_to_fence()
        if self.retry > self.retry_max:
            message = "retry no longer than retry_max"
            raise ValueError(message)
        self._has_no_misspelt_place()
        return self

    def _has_no_misspelt_place(self) -> None:
        """Refuse `{nod}`; other words in braces may be anything that a program understands."""
        for text in self.command:
            for word in _BRACES.findall(text):
                if word not in PLACEHOLDERS and (alike := did_you_mean(word, PLACEHOLDERS)):
                    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                    message = f"command with {known}, and not {{{word}}}{alike}"
                    raise ValueError(message)

    def _knows_whom_to_fence(self) -> None:
        if self.kind != "fence":
            for name in ("options", "node_options", "power"):
                if name in self.model_fields_set:
                    message = f"no {name} with kind = {self.kind}"
                    raise ValueError(message)
        elif not self.node_options and not any("{node}" in one for one in self.options.values()):
            # One switch for whatever node: it would cut the power of somebody who is well.
            message = "node_options of each node, or {node} in one of options"
            raise ValueError(message)


StatusWord = Literal["new", "alive", "suspect", "dead", "left", "paused", "failing", "recovering"]


class RuleSettings(Table):
    """[[rule]] which change of a node's status, or of a service's role, leads to which actions.

    on        the statuses: a node that enters one of them is meant; and `conflict`: two
              processes speak under one node's name
    nodes     a pattern for its name, as in "web-*"
    role      in place of `on`: what has become of a role: somebody else holds it (`held`), nobody
              can take it (`vacant`), nobody may have it until somebody decides (`refused`)
    services  a pattern for the service's name
    actions   names of [action.NAME] tables, taken in this order; those of a role only tell, and
              are nobody's fence
    """

    on: tuple[Literal[StatusWord, "conflict"], ...] = Field(default=(), strict=False)
    actions: tuple[str, ...] = Field(min_length=1, strict=False)
    nodes: Pattern = "*"
    role: tuple[Literal["held", "vacant", "refused"], ...] = Field(default=(), strict=False)
    services: Pattern = "*"

    @model_validator(mode="after")
    def _is_about_nodes_or_roles(self) -> "RuleSettings":
        if bool(self.on) == bool(self.role):
            message = 'either on, as in ["dead"], or role, as in ["held"]'
            raise ValueError(message)
        needless = "services" if self.on else "nodes"
        if needless in self.model_fields_set:
            message = f"no {needless} with {'on' if self.on else 'role'}"
            raise ValueError(message)
        return self
