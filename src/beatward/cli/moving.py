"""What `switchover` and `failover` share: ordering a move of a role, and telling how it goes.

The text is the monitor's own: what it writes into its journal of this role. A move has ended when
a node holds the role under a newer token, or when the monitor says that no node may, or when it has
come to nothing. Not here: whether it may be ordered (`web.services` and the machine say).
"""

import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

import click

from beatward.cli.client import Client, Command, service_path
from beatward.cli.ordering import by_option, duration_text
from beatward.cli.screen import print_json
from beatward.core.instants import SECOND, format_duration
from beatward.errors import MonitorUnreachable

_SPACING_SECONDS = 0.05
# A turn of the wheel, its entry on disk and a snapshot: what is not begun by then never will be.
_BEGIN_SECONDS = 5.0
_ENDS = ("held", "refused", "vacant")


def to_option(command: Command) -> Command:
    """Give a command `--to`."""
    return click.option(
        "--to", metavar="NODE", help="Who is to have the role; by default the best."
    )(command)


def telling_options(command: Command) -> Command:
    """Give a command `--wait`, `--reason` and `--by`."""
    wait = click.option(
        "--wait",
        type=duration_text,
        default="2m",
        show_default=True,
        metavar="DURATION",
        help="How long to follow it; it goes on without us.",
    )
    reason = click.option("--reason", default="", help="Why, for those who look.")
    return wait(reason(by_option(command)))


@dataclass
class Move:
    """One move of a role under way."""

    client: Client
    service: str
    before: dict[str, Any]
    as_json: bool
    wait_ns: int
    began: float = field(default_factory=time.monotonic)
    _last_event: int = 0
    _declined: str = ""

    def order(self, word: str, body: dict[str, Any]) -> NoReturn:
        """Order it, wait for its end, and end the command: 0 moved, 1 not."""
        answer = self.client.send("POST", service_path(self.service, word), body)
        self._last_event = answer["last_event"]
        try:
            result, service = self._follow(body.get("to"))
        except MonitorUnreachable as error:
            # The order is with the monitor, whatever we can see of it.
            text = f"the {word} of {self.service} was ordered, and what became of it is not known"
            raise MonitorUnreachable(f"{text}: {error}") from error
        took_ns = int((time.monotonic() - self.began) * SECOND)
        sentence = self._sentence(result, service, took_ns)
        if self.as_json:
            print_json({**answer, "result": result, "took_ns": took_ns, "now": service})
        if result == "moved":
            if not self.as_json:
                click.echo(sentence)
            click.get_current_context().exit(0)
        click.echo(f"beatward: {sentence}", err=True)
        click.get_current_context().exit(1)

    def _follow(self, to: str | None) -> tuple[str, dict[str, Any]]:
        end = self.began + self.wait_ns / SECOND
        has_begun = False
        # A failover without force waits for the old holder's lease before anything is to be seen.
        patience = _BEGIN_SECONDS + (self.before["until_in_ns"] or 0) / SECOND
        while True:
            service = self.client.get(service_path(self.service))
            has_begun = has_begun or self._differs(service)
            self._tell()
            if self._declined:
                return "declined", service
            if has_begun and service["phase"] in _ENDS and not service["target"]:
                is_newer = service["token"] > self.before["token"]
                if service["phase"] == "held":
                    is_right = is_newer and to in (None, service["holder"])
                    return ("moved" if is_right else "elsewhere"), service
                if service["phase"] == "refused" and service["reason"]:
                    return "refused", service
            now = time.monotonic()
            if not has_begun and now > self.began + patience:
                return "nothing", service
            if now > end:
                return "late", service
            time.sleep(_SPACING_SECONDS)

    def _differs(self, service: dict[str, Any]) -> bool:
        if service["target"]:
            return True
        keys = ("phase", "holder", "token", "reason")
        return any(service[key] != self.before[key] for key in keys)

    def _tell(self) -> None:
        page = self.client.get("/v1/events", after=self._last_event)
        if page.get("anew"):  # a journal restored meanwhile tells of other moves
            self._last_event = page["last"]
            return
        for event in page["events"]:
            self._last_event = event["id"]
            is_ours = event["event"] == "role" and event["detail"].get("service") == self.service
            if is_ours and event["cause"] == "declined":
                self._declined = str(event["explanation"])
            elif is_ours and not self.as_json:
                passed = time.monotonic() - self.began
                click.echo(f"{passed:6.2f} s  {event['explanation']}", err=True)

    def _sentence(self, result: str, service: dict[str, Any], took_ns: int) -> str:
        name, holder, took = self.service, service["holder"], format_duration(took_ns)
        match result:
            case "moved":
                return f"{holder} holds {name} under token {service['token']} after {took}"
            case "elsewhere" if service["token"] > self.before["token"]:
                return f"{holder} holds {name} now, under token {service['token']}"
            case "elsewhere" | "nothing":
                reason = service["reason"] or service["explanation"]
                return f"{name} was not moved{': ' + reason if reason else ''}"
            case "declined":
                return self._declined
            case "refused":
                return f"{name} has no holder: {service['reason']}"
            case _:
                return (
                    f"{name} is still {service['phase']} after {took}: "
                    f"{service['reason'] or service['explanation']}. It goes on; "
                    f"`beatward services {name}` tells how"
                )
