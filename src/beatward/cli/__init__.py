"""The command line: one file a command, each loaded only when it is called.

An agent's machine has click and nothing else of ours installed; a command that needs more says
which extra to install. Exit codes: 0 fine, 1 the answer is no, 2 usage or configuration, 3 the
monitor cannot be reached.
"""

import sys
from importlib import import_module

import click

from beatward import __version__
from beatward.core.protocol.texts import shown
from beatward.errors import BeatwardError, ConfigError, MonitorUnreachable

# Command -> what it does, for the list that an agent's machine shows too. Its module has the same
# name, and the function that name with `_command` behind it, so that none shadows a builtin.
COMMANDS = {
    "acknowledge": "Say that you know of a node's alarm.",
    "agent": "Send this machine's heartbeat with cpu, memory and load.",
    "bench": "Measure this machine: heartbeats a second, lateness, memory, the API.",
    "config": "Check a settings file, or explain the settings.",
    "demo": "Watch a node die, be found and come back, on real processes.",
    "doctor": "Examine this machine and its monitor.",
    "events": "Show what happened, newest last, or follow it.",
    "exec": "Run a command under heartbeat and report its exit at once.",
    "explain": "Say why a node has the status it has.",
    "failover": "Give a role to another node, although its holder does not answer.",
    "forget": "Remove nodes.",
    "guard": "Show what a mass failure holds back, or let it go on.",
    "job": "Declare jobs: what runs now and then. List and remove them.",
    "monitor": "Listen for heartbeats, judge silence, act.",
    "nodes": "List the nodes.",
    "pause": "Announce maintenance, or pause a service's failover.",
    "resume": "End maintenance, or let a service fail over again.",
    "services": "List services: who holds their roles, and why not others.",
    "silence": "Hold notifications for a time.",
    "silences": "List the silences.",
    "quality": "Say how soon deaths are found, and how seldom wrongly.",
    "simulate": "Put the monitor through a simulated world of faults.",
    "status": "Show the monitor and its fleet on one screen.",
    "switchover": "Let a role's holder give it up, and another take it.",
    "token": "Make what a node or an operator needs to be believed.",
    "unsilence": "End a silence.",
    "watch": "Show the fleet live.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click would load every command for its first sentence.
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f"beatward.cli.{cmd_name}")
            command: click.Command = getattr(module, f"{cmd_name}_command")
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("beatward"):
                raise
            ctx.fail(
                f"`beatward {cmd_name}` needs the package {error.name!r}, which comes with the "
                "monitor: pip install 'beatward[monitor]'"
            )
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def root() -> None:
    """Keep services online: heartbeats in, verdicts you can trust, actions out."""


def main() -> None:
    """Run the command line and turn our own errors into one clear line and an exit code."""
    _tolerate_any_encoding()
    try:
        root()
    except ConfigError as error:
        _stop(error, 2)
    except MonitorUnreachable as error:
        _stop(error, 3)
    except BeatwardError as error:
        _stop(error, 1)
    except UnicodeEncodeError:
        odd = [word for word in sys.argv[1:] if _is_odd(word)]
        if not odd:
            raise
        _stop(ConfigError("the command line", "an argument", odd[0], "text in UTF-8"), 2)


def _is_odd(word: str) -> bool:
    """Tell whether bytes of an argument were no UTF-8; Python has surrogates in their place."""
    return any("\ud800" <= letter <= "\udfff" for letter in word)


def _tolerate_any_encoding() -> None:
    """Print `?` for a character that the terminal's encoding does not have, and never raise."""
    for stream in (sys.stdout, sys.stderr):
        # What stands in the place of a stream, such as a buffer, may have no encoding at all.
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")


def _stop(error: BeatwardError, code: int) -> None:
    # A monitor's answer may be in it, and so may what a node has said.
    lines = [shown(line) for line in str(error).split("\n")]
    click.echo("beatward: " + "\n".join(lines), err=True)
    sys.exit(code)
