"""`beatward exec`: run a command under a heartbeat."""

import logging
import os
from typing import TYPE_CHECKING, Any

import click

from beatward.core.instants import PROMISE_MAX_NS, parse_duration
from beatward.errors import ConfigError

if TYPE_CHECKING:
    from beatward.agent.heart import Heart
    from beatward.agent.settings import AgentSettings


def _read_duration(_: click.Context, option: click.Parameter, text: str) -> int:
    try:
        duration_ns = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error
    if duration_ns <= 0:
        raise click.BadParameter(f"{text!r} is no time at all", param=option)
    return duration_ns


def _job(**options: str | None) -> dict[str, str]:
    """Return what the job promises, empty when it is none; the monitor reads it."""
    job = {key: value for key, value in options.items() if value is not None}
    if not job:
        return {}
    if ("schedule" in job) == ("every" in job):
        raise click.UsageError("a job has either --schedule, as in '0 3 * * *', or --every 1h")
    if "every" in job:
        _check_every(job["every"])
    return job


def _check_every(text: str) -> None:
    try:
        is_right = 0 < parse_duration(text) <= PROMISE_MAX_NS
    except ValueError:
        is_right = False
    if not is_right:
        raise click.UsageError(f"--every: found {text!r}, expected a time up to 366d, as 1h or 7d")


@click.command("exec")
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--restart",
    type=click.Choice(["never", "on-failure", "always"]),
    default="never",
    show_default=True,
    help="Start the command again when it ends.",
)
@click.option(
    "--backoff",
    callback=_read_duration,
    default="1s",
    show_default=True,
    help="Wait before a restart.",
)
@click.option(
    "--max-backoff",
    callback=_read_duration,
    default="60s",
    show_default=True,
    help="The wait doubles up to this, and begins anew after a minute of running.",
)
@click.option(
    "--orphan",
    type=click.Choice(["kill", "term", "keep"]),
    default="kill",
    show_default=True,
    help="What happens to the command when this wrapper itself is killed.",
)
@click.option("--interval", help="Time between two heartbeats, as 250ms or 2s. Default: 1s.")
@click.option("--interval-min", help="The monitor may wish no shorter one. Default: a tenth.")
@click.option("--interval-max", help="The monitor may wish no longer one. Default: ten times.")
@click.option("--monitor", help="http://host:port. Default: BEATWARD_MONITOR, or this machine's.")
@click.option("--token", help="From `beatward token new`; better in BEATWARD_TOKEN.")
@click.option("--transport", help="udp, or http for nodes behind proxies. Default: udp.")
@click.option("--data", help="Folder of the node's state. Default: as the monitor's.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@click.option("--schedule", help="COMMAND is a job: when it is due, as in '0 3 * * *'.")
@click.option("--timezone", help="Of the schedule. Default: this machine's.")
@click.option("--every", help="Instead of a schedule: due this long after the last run.")
@click.option("--grace", help="So late a run may begin. Default: 10m.")
@click.option("--max-run", help="How long a run may take. Default: as --grace.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.pass_context
def exec_command(
    ctx: click.Context,
    /,
    name: str,
    command: tuple[str, ...],
    *,
    restart: str,
    backoff: int,
    max_backoff: int,
    orphan: str,
    labels: tuple[str, ...],
    schedule: str | None,
    timezone: str | None,
    every: str | None,
    grace: str | None,
    max_run: str | None,
    verbose: bool,
    **options: str | None,
) -> None:
    """Run COMMAND as the node NAME: beatward exec web-1 -- python app.py --port 80

    Its exit is reported at once, and its exit code passed on: 128 + N for signal N, 127 when
    there is no such command, 126 when it cannot be run.
    """
    if os.name != "posix":
        raise click.UsageError("`beatward exec` needs Linux or macOS; a program can use Heart")
    from beatward.agent import settings
    from beatward.agent.command import CommandPlan, Wrapper
    from beatward.agent.logs import log_to_stderr
    from beatward.agent.supervisor import original_environment
    from beatward.cli.agent import read_labels

    environment = original_environment()
    job = _job(schedule=schedule, timezone=timezone, every=every, grace=grace, max_run=max_run)
    values: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    values |= {"name": name, "labels": read_labels(labels)}
    arguments = settings.parse(values, "the command line")
    log_to_stderr("beatward: ", is_quiet=not verbose)
    heart = _heart(name, arguments, job)
    plan = CommandPlan(
        command, restart, backoff, max_backoff, orphan, is_job=bool(job), environment=environment
    )
    ctx.exit(Wrapper(name, heart, plan).run())


def _heart(name: str, arguments: "AgentSettings", job: dict[str, str]) -> "Heart | None":
    """Return what watches the command, or None and say why: the command runs in any case.

    Raises ConfigError for what stands on the command line.
    """
    from beatward.agent import settings
    from beatward.agent.heart import Heart

    try:
        if "schedule" in job and "timezone" not in job:
            job["timezone"] = _zone()
        chosen = settings.merge(arguments, _from_environment(arguments))
        return Heart(
            name,
            interval=chosen.interval or "1s",
            interval_min=chosen.interval_min,
            interval_max=chosen.interval_max,
            monitor=chosen.monitor,
            token=chosen.token,
            labels=chosen.labels,
            transport=chosen.transport or "udp",
            data=chosen.data,
            job=job,
            handle_sigterm=False,  # The wrapper takes signals itself, and passes them on.
        )
    except ValueError as error:
        raise ConfigError("the command line", "exec", name, str(error)) from error
    except Exception as error:  # noqa: BLE001  whatever it is, the command has to run
        _unwatched(name, str(error) or type(error).__name__)
        return None


def _zone() -> str:
    from beatward.agent.local_zone import local_zone

    try:
        return local_zone()
    except ValueError as error:
        expected = "a name such as Europe/Berlin; --timezone says it"
        raise ConfigError("this machine", "its time zone", str(error), expected) from error


def _unwatched(name: str, why: str) -> None:
    logging.getLogger("beatward.agent").error("%s: not watched: %s; the command runs", name, why)


def _from_environment(arguments: "AgentSettings") -> "AgentSettings":
    """Read what the environment says of this node; what is wrong in it is named and left out.

    Raises ConfigError when the monitor's address is wrong: another monitor must not be taken.
    """
    from beatward.agent import settings

    found = []
    for key in ("monitor", "token", "data"):
        variable = f"BEATWARD_{key.upper()}"
        try:
            found.append(settings.from_environment({variable: os.environ.get(variable, "")}))
        except ConfigError as error:
            if getattr(arguments, key) is None and key == "monitor":
                raise
            logging.getLogger("beatward.agent").warning("%s: left out", error)
            # The command still gets it; it is not to be read again here.
            os.environ.pop(variable, None)
    return settings.merge(*found)
