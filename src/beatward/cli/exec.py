"""`beatward exec`: run a command under a heartbeat."""

import os
from typing import Any

import click

from beatward.core.instants import parse_duration
from beatward.errors import ConfigError


def _read_duration(_: click.Context, option: click.Parameter, text: str) -> int:
    try:
        duration_ns = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error
    if duration_ns <= 0:
        raise click.BadParameter(f"{text!r} is no time at all", param=option)
    return duration_ns


def _job(**said: str | None) -> dict[str, str]:
    """Return what the job promises, empty when it is none; the monitor reads it."""
    job = {key: value for key, value in said.items() if value is not None}
    if not job:
        return {}
    if ("schedule" in job) == ("every" in job):
        raise click.UsageError("a job has either --schedule, as in '0 3 * * *', or --every 1h")
    if "schedule" in job:
        job.setdefault("timezone", _local_zone())
    return job


def _local_zone() -> str:
    """Return the time zone that this machine's cron goes by, UTC where nobody says."""
    said = os.environ.get("TZ", "").removeprefix(":")
    _, _, linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return said or linked or "UTC"


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
@click.option("--every", help="Instead of a schedule: due so long after the last run.")
@click.option("--grace", help="So late a run may begin. Default: 10m.")
@click.option("--max-run", help="So long a run may take. Default: as --grace.")
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
    from beatward.agent.command import Plan, Wrapper
    from beatward.agent.heart import Heart
    from beatward.agent.spoken import speak
    from beatward.cli.agent import read_labels

    job = _job(schedule=schedule, timezone=timezone, every=every, grace=grace, max_run=max_run)
    said: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    said |= {"name": name, "labels": read_labels(labels)}
    told = settings.parse(said, "the command line")
    chosen = settings.merge(told, settings.from_environment(os.environ))
    speak("beatward: ", is_quiet=not verbose)
    try:
        heart = Heart(
            chosen.name,
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
    ctx.exit(Wrapper(heart, Plan(command, restart, backoff, max_backoff, orphan, bool(job))).run())
