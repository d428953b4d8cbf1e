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
    """[action.NAME] a deed that rules can ask for."""

    kind: Literal["webhook", "notify", "exec", "agent", "fence"]
    """`webhook` POSTs the event as JSON. `notify` runs a command on the monitor's machine that
    tells people. `exec` runs a command there that does something to a node. `agent` asks the agent
    on a node to run an action of *its own* settings. `fence` cuts a node's power, and succeeds only
    when the cut is confirmed.
    """
    url: str | None = None
    """`webhook`, required: where to; http:// or https://."""
    headers: dict[str, str] = Field(default_factory=dict)
    """`webhook`: headers of the request, such as `Authorization`. They never appear in the journal;
    of the url only scheme, host and port do.
    """
    command: tuple[str, ...] = Field(default=(), strict=False)
    """`exec` and `notify`, required: program and arguments, no shell. `{node}`, `{nodes}`,
    `{count}`, `{status}`, `{explanation}` and `{key}` are replaced in the arguments.
    """
    agent: str | None = None
    """`agent`, required: the node whose agent is asked."""
    run: str | None = None
    """`agent`, required: the action's name in that agent's settings."""
    program: str | None = None
    """`fence`, required: the fence agent, such as `"fence_ipmilan"`, from the package fence-agents
    on the monitor's machine.
    """
    options: FenceOptions = Field(default_factory=dict)
    """`fence`: the fence agent's options for every node, as in `{ username = "ops", lanplus = true
    }`; `{node}` is replaced.
    """
    node_options: dict[str, FenceOptions] = Field(default_factory=dict)
    """`fence`: further options for one node, by the node's name; they go before `options`. A node
    that is not listed here, where `options` have no `{node}` either, is never fenced: cutting the
    wrong switch is worse than cutting none.
    """
    power: Literal["off", "reboot"] = "off"
    """`fence`: `off` leaves the node without power, for people to look at. `reboot` gives the power
    back once the cut is confirmed: the node comes back as a standby, and the role waits for it.
    """
    attempts: int = Field(default=20, ge=1, le=1000)
    """The number of attempts before the action counts as failed. With the defaults of `retry` and
    `retry_max` twenty attempts take about an hour.
    """
    retry: Duration = "1s"  # type: ignore[assignment]
    """The pause before the second attempt; it doubles from there."""
    retry_max: Duration = "5m"  # type: ignore[assignment]
    """The longest pause. A shorter one asks a receiver that is down more often; a longer one
    reaches it later once it is back.
    """
    timeout: Duration = "10s"  # type: ignore[assignment]
    """One attempt may take this long; then it is ended and counts as failed for now. Too short a
    timeout repeats actions that would have succeeded: a power switch takes its time, and a fence
    should have `"30s"` or more.
    """
    revives: bool | None = None
    """The action repairs the node, so it is withdrawn when the node is back before it ran. Default:
    false for `webhook` and `notify`, else true. False also runs repairs that are no longer needed;
    true on an alarm may swallow the alarm.
    """
    destructive: bool | None = None
    """The action interferes with the node, so `[guard]` may hold it back and limits its rate.
    Default: false for a `notify`, and for a `webhook` that is no service's `fence`; else true. For
    a command that only tells people take `kind = "notify"`.
    """

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
            # One switch for any node: it would cut the power of a node that is well.
            message = "node_options of each node, or {node} in one of options"
            raise ValueError(message)


StatusWord = Literal["new", "alive", "suspect", "dead", "left", "paused", "failing", "recovering"]


class RuleSettings(Table):
    """[[rule]] which change of a node's status, or of a service's role, leads to which actions."""

    on: tuple[Literal[StatusWord, "conflict"], ...] = Field(default=(), strict=False)
    """Either this or `role` is required: a node that *enters* one of these statuses, `new`,
    `alive`, `suspect`, `dead`, `left`, `paused`, `failing`, `recovering`. `conflict` means that two
    processes speak under one node's name (docs/statuses.md).
    """
    actions: tuple[str, ...] = Field(min_length=1, strict=False)
    """Names of `[action.NAME]` tables, taken in this order; an action that two rules ask for is
    decided once.
    """
    nodes: Pattern = "*"
    """A pattern of the node's name, as in `"web-*"`; `?` and `[ab]` work too."""
    role: tuple[Literal["held", "vacant", "refused"], ...] = Field(default=(), strict=False)
    """In place of `on`, a change of a service's role: `held` (a member holds it under a new token),
    `vacant` (no member holds it and none can take it), `refused` (no member may have it until an
    operator decides). Only actions that tell people are allowed: `webhook`, `notify`, and others
    with `revives = false` and `destructive = false`; none that is the `fence` of a service.
    """
    services: Pattern = "*"
    """With `role`: a pattern of the service's name."""

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
