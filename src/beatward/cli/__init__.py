"""The command line: one file a command, each loaded only when it is called.

An agent's machine has click and nothing else of ours installed; a command that needs more says
which extra to install. Exit codes: 0 fine, 1 the answer is no, 2 usage or configuration, 3 the
monitor cannot be reached.
"""

import sys
from importlib import import_module

import click

from beatward import __version__
from beatward.errors import BeatwardError, ConfigError, MonitorUnreachable

# Command -> module; the function has the command's name, with `_` for `-` and `_command` behind
# it, so that no command shadows a builtin or keyword.
COMMANDS = {
    "agent": "beatward.cli.agent",
    "config": "beatward.cli.config",
    "demo": "beatward.cli.demo",
    "doctor": "beatward.cli.doctor",
    "events": "beatward.cli.events",
    "exec": "beatward.cli.exec",
    "explain": "beatward.cli.explain",
    "monitor": "beatward.cli.monitor",
    "nodes": "beatward.cli.nodes",
    "simulate": "beatward.cli.simulate",
    "status": "beatward.cli.status",
    "token": "beatward.cli.token",
    "watch": "beatward.cli.watch",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        try:
            command: click.Command = getattr(import_module(module), f"{cmd_name}_command")
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
    try:
        root()
    except ConfigError as error:
        _stop(error, 2)
    except MonitorUnreachable as error:
        _stop(error, 3)
    except BeatwardError as error:
        _stop(error, 1)


def _stop(error: BeatwardError, code: int) -> None:
    click.echo(f"beatward: {error}", err=True)
    sys.exit(code)
