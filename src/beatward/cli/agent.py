"""`beatward agent`: beat for this machine, and run the actions its settings name."""

import os
from pathlib import Path
from typing import Any

import click


@click.command("agent")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--name", help="The node's name. Default: BEATWARD_NAME, or the machine's own.")
@click.option("--monitor", help="http://host:port. Default: BEATWARD_MONITOR, or this machine's.")
@click.option("--token", help="From `beatward token new`; better in BEATWARD_TOKEN or the file.")
@click.option("--interval", help="Time between two heartbeats, as 250ms or 2s. Default: 1s.")
@click.option("--interval-min", help="The monitor may wish no shorter one. Default: a tenth.")
@click.option("--interval-max", help="The monitor may wish no longer one. Default: ten times.")
@click.option("--transport", help="udp, or http for nodes behind proxies. Default: udp.")
@click.option("--data", help="Folder of the agent's state. Default: as the monitor's.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def agent_command(
    config: Path | None, labels: tuple[str, ...], verbose: bool, **options: str | None
) -> None:
    """Send this machine's heartbeat with cpu, memory and load, until SIGTERM.

    On the monitor's own machine nothing needs to be configured. Elsewhere set BEATWARD_MONITOR
    and BEATWARD_TOKEN, or give a settings file (examples/agent.toml). What is said here goes
    before the environment, and that before the file.
    """
    from beatward.agent import settings
    from beatward.agent.daemon import Daemon
    from beatward.agent.logs import log_to_stderr

    values: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if labels:
        values["labels"] = read_labels(labels)

    def read() -> settings.AgentSettings:
        layers = [
            settings.parse(values, "the command line"),
            settings.from_environment(os.environ),
            *([settings.load(config)] if config is not None else []),
        ]
        return settings.merge(*layers)

    log_to_stderr("", is_verbose=verbose)
    Daemon(read(), None if config is None else read).run()


def read_labels(labels: tuple[str, ...]) -> dict[str, str]:
    """Read KEY=VALUE words; raises click's usage error."""
    for label in labels:
        if "=" not in label:
            raise click.UsageError(f"--label: found {label!r}, expected KEY=VALUE")
    return dict(label.split("=", 1) for label in labels)
