"""`beatward job`, and what `exec` and `nodes` say of jobs."""

import pytest


@pytest.fixture
def ask(beatward, monitor):
    """Run a command as the monitor's operator."""
    token = monitor.local["api_token"]

    def run(*words):
        return beatward(*words, "--monitor", monitor.url, BEATWARD_API_TOKEN=token)

    return run


def test_a_job_is_added_listed_and_removed(ask, wait_until):
    done = ask("job", "add", "nightly", "--schedule", "0 3 * * *", "--max-run", "2h")
    assert (done.code, done.out) == (
        0,
        "nightly is a job. Its URL, on the monitor's machine: beatward token ping nightly\n",
    )
    ask("job", "add", "hourly", "--every", "1h", "--json")

    def listed():
        jobs = {it["name"]: it for it in ask("job", "list", "--json").json["jobs"]}
        due = [it["job"]["due"] for name, it in jobs.items() if name in ("nightly", "hourly")]
        return len(due) == 2 and all(due) and jobs

    jobs = wait_until(listed, "both jobs are due some time")
    assert jobs["nightly"]["job"]["max_run_ns"] == 7200 * 10**9
    shown = ask("job", "list").out
    assert "0 3 * * * UTC" in shown
    assert "every 60 min" in shown
    assert "in " in next(line for line in shown.splitlines() if line.startswith("hourly"))
    assert "due" in ask("nodes").out.splitlines()[0]
    for name in ("nightly", "hourly"):
        done = ask("job", "remove", name)
        assert (done.code, done.out) == (0, f"{name} is no job any more, and no node.\n")
    wait_until(lambda: not ask("job", "list", "--json").json["jobs"], "no job is left")
    assert ask("job", "list").out == "No job is declared.\n"
    assert "due" not in ask("nodes").out.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("add", "x", "--schedule", "0 3 * *"), "has 4 fields"),
        (("add", "x"), "either schedule"),
        (("remove", "nobody-at-all"), "no node is called 'nobody-at-all'"),
    ],
)
def test_what_is_refused_is_said_in_one_line(ask, words, complaint):
    done = ask("job", *words)
    assert (done.code, done.out) == (1, "")
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["exec", "job"])
def test_a_period_that_no_monitor_can_wait_for_is_refused(ask, beatward, command):
    if command == "exec":
        done = beatward("exec", "backup", "--every", "1000d", "--", "true")
        assert (done.code, "--every: found '1000d', expected a time up to 366d" in done.err) == (
            2,
            True,
        )
    else:
        done = ask("job", "add", "backup", "--every", "1000d")
        assert (done.code, "every no longer than 366 d" in done.err) == (1, True), done.err


@pytest.mark.parametrize(
    "options",
    [("--grace", "5m"), ("--schedule", "0 3 * * *", "--every", "1h"), ("--max-run", "1h")],
)
def test_exec_wants_a_schedule_or_a_period(beatward, options):
    done = beatward("exec", "backup", *options, "--", "true")
    assert done.code == 2
    assert "a job has either --schedule, as in '0 3 * * *', or --every 1h" in done.err


def test_explain_says_lists_and_truths_in_words(ask, monitor, wait_until):
    ask("job", "add", "worded", "--every", "1h")
    wait_until(lambda: ask("nodes", "worded").code == 0, "the job is known")
    monitor.ping("worded", "/exit/3")
    monitor.wait_status("worded", "failing")
    lines = [" ".join(line.split()) for line in ask("explain", "worded").out.splitlines()]
    assert "actions held back none" in lines
    assert "last run failed yes" in lines
    assert "last run's exit code 3" in lines
    table = lines[lines.index("") :]
    assert not any(word in line.split() for line in table for word in ("[]", "True", "None", "{}"))
    ask("job", "remove", "worded")
