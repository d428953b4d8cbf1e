"""`beatward job`: what runs now and then."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import click

from beatward.cli.client import Client, asking, node_path
from beatward.cli.columns import Cell, Column, print_table
from beatward.cli.screen import ago, console, duration, print_json, status_cell


@click.group("job")
def job_command() -> None:
    """Declare jobs, list them, remove them: what runs now and then."""


@job_command.command("add")
@click.argument("name")
@click.option("--schedule", help="When a run is due, as in '0 3 * * *'.")
@click.option("--timezone", default="UTC", show_default=True, help="Of the schedule.")
@click.option("--every", help="Instead of a schedule: due this long after the last run.")
@click.option("--grace", default="10m", show_default=True, help="So late a run may begin.")
@click.option("--max-run", help="How long a run may take. Default: as --grace.")
@asking
def add_command(client: Client, as_json: bool, name: str, **options: str | None) -> None:
    """Make NAME a job, or change what it promises."""
    body = {key: value for key, value in options.items() if value is not None}
    answer = client.send("PUT", f"/v1/jobs/{quote(name, safe='')}", body)
    if as_json:
        print_json(answer)
    else:
        click.echo(
            f"{name} is a job. Its URL, on the monitor's machine: beatward token ping {name}"
        )


@job_command.command("list")
@asking
def list_command(client: Client, as_json: bool) -> None:
    """List the jobs: when they are due, and how their runs went."""
    answer = client.get("/v1/jobs")
    if as_json:
        print_json(answer)
    elif answer["jobs"]:
        _show(answer["jobs"])
    else:
        console().print("No job is declared.", style="dim")


@job_command.command("remove")
@click.argument("name")
@asking
def remove_command(client: Client, as_json: bool, name: str) -> None:
    """Remove a job; its history stays in the journal."""
    answer = client.send("DELETE", node_path(name))
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{name} is no job any more, and no node.")


def _show(nodes: list[dict[str, Any]]) -> None:
    headings = ("job", "status", "schedule", "next due", "running", "last run", "last success")
    rows: list[list[Cell]] = []
    for node in nodes:
        job = node["job"]
        if job is None:
            continue  # it was removed while the list was made
        every = f"every {duration(job['period_ns'])}"
        rows.append(
            [
                node["name"],
                status_cell(node["status"]),
                f"{job['schedule']} {job['timezone']}" if job["schedule"] else every,
                due_words(job),
                _time(job["started"], "since "),
                _result(job),
                _time(job["succeeded"]),
            ]
        )
    print_table(console(), [Column(heading) for heading in headings], rows)


def due_words(job: dict[str, Any]) -> str:
    """Say when the next run is due: `in 3.2 h`, or how long ago it was."""
    in_ns = job["due_in_ns"]
    if in_ns is None:
        return "-"
    return f"in {ago(in_ns)}" if in_ns >= 0 else f"{ago(-in_ns)} ago"


def _result(job: dict[str, Any]) -> str:
    if job["ended"] is None:
        return "-"
    took = "" if job["ran_ns"] is None else f" in {ago(job['ran_ns'])}"
    if not job["failed"]:
        return f"success{took}"
    code = "" if job["exit_code"] is None else f" ({job['exit_code']})"
    return f"failed{code}{took}"


def _time(text: str | None, before: str = "") -> str:
    if text is None:
        return "-"
    return f"{before}{datetime.fromisoformat(text).astimezone():%m-%d %H:%M:%S}"
