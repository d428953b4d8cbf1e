"""`beatward simulate`: what it prints, what it returns, and what it refuses."""

import json

import pytest
from click.testing import CliRunner
from tests.simulate.broken import BROKEN

from beatward.cli import root
from beatward.cli.simulate import Asked, minimised
from beatward.cli.worlds import print_report
from beatward.simulate import draw, play, run
from beatward.simulate.services import count_services

# The first world that has no services.
WITHOUT_ROLES = next(one for one in range(1, 100) if not count_services(one))
SHORT = ("--minutes", "0.5", "--jobs", "1")


def simulate(*arguments):
    return CliRunner().invoke(root, ["simulate", *arguments], catch_exceptions=False)


def test_one_seed_tells_its_digest_and_its_numbers():
    done = simulate("--seed", "2", *SHORT)
    assert done.exit_code == 0
    first, *lines = done.stdout.splitlines()
    second = next(line for line in lines if line.startswith("digest"))
    numbers = lines[lines.index(second) + 1 :]
    assert lines[0].startswith("  chen; window ")
    assert any(line.startswith("  faults: ") for line in lines)
    assert first.startswith("seed 2  ")
    assert first.endswith("all held")
    assert first.split()[2] == second.split()[1][:16]
    assert any(line.endswith("  turns") for line in numbers)


def test_many_seeds_are_told_one_a_line_and_added_up():
    done = simulate("--seeds", "2..4", *SHORT)
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["2", "3", "4"]
    assert lines[-1] == "every promise held"


def test_worlds_with_roles_can_have_a_run_of_their_own():
    seeds = f"{WITHOUT_ROLES}..{WITHOUT_ROLES + 1}"
    assert [bool(draw(WITHOUT_ROLES + one).services) for one in (0, 1)] == [False, True]
    world = json.loads(simulate("--roles", "--seeds", seeds, "--json", *SHORT).stdout)
    assert world["seed"] == WITHOUT_ROLES + 1
    assert any(name.startswith("role ") for name in world["counts"])


def test_json_is_one_object_a_world():
    done = simulate("--seeds", "2..3", "--json", *SHORT)
    worlds = [json.loads(line) for line in done.stdout.splitlines()]
    assert [world["seed"] for world in worlds] == [2, 3]
    assert all(world["violations"] == [] and len(world["digest"]) == 64 for world in worlds)
    assert worlds[0]["counts"]["nodes"] > 0


def test_the_log_tells_all_that_happened():
    done = simulate("--seed", "2", "--log", *SHORT)
    assert "heal: every fault ends" in done.stdout
    assert "the monitor starts after entry 0" in done.stdout


def test_two_processes_say_what_one_says():
    alone = simulate("--seeds", "2..3", *SHORT)
    together = simulate("--seeds", "2..3", *SHORT, "--jobs", "2")
    assert together.stdout == alone.stdout


def test_a_broken_promise_is_told_with_its_story_and_how_to_play_it_again(capsys):
    broken = BROKEN["verifies no tags"]
    report = play(broken.world(2), build=broken.build)
    again = Asked(3, frozenset({"disk"}), frozenset({7, 2})).command(2)
    print_report(report, again, log_all=False, details=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"promises BROKEN: {len(report.violations)}")
    assert any("VIOLATION" in line for line in lines)
    command = "beatward simulate --seed 2 --minutes 3 --without disk --only 2,7"
    assert lines[-2].strip() == f"play it again: {command} --log"
    assert lines[-1].strip() == f"make it smaller: {command} --minimise"


def test_a_broken_promise_is_made_as_small_as_can_be(capsys):
    build = BROKEN["convicts at the first stage"].build

    def again(seed, asked):
        return run(seed, minutes=asked.minutes, without=asked.without, only=asked.only, build=build)

    asked = Asked(1.5)
    report = again(3, asked)
    smallest = minimised(report, asked, again)
    assert len(smallest.only) == 1
    assert len(smallest.without) >= len(report.scenario.kinds) - 1
    assert smallest.minutes <= asked.minutes
    assert report.violations[0].rule in {one.rule for one in again(3, smallest).violations}
    tried = capsys.readouterr().err.splitlines()
    assert any(line.endswith("nodes: still broken") for line in tried)


def test_what_holds_is_not_made_smaller():
    done = simulate("--seed", "2", "--minimise", *SHORT)
    assert done.exit_code == 0
    assert "nothing to make smaller" in done.output


def test_a_world_of_few_nodes_can_be_played():
    counts = json.loads(simulate("--seed", "2", "--only", "0,3", "--json", *SHORT).stdout)["counts"]
    assert counts["nodes"] == 2


def test_what_was_never_met_is_told():
    lines = simulate("--seeds", "2..3", *SHORT).stdout
    assert "never met: fault" in lines
    assert "rows of the table of statuses were taken" in lines


def test_a_kind_of_fault_can_be_left_out():
    counts = json.loads(simulate("--seed", "2", "--json", *SHORT).stdout)["counts"]
    kind = next(name for name in counts if name.startswith("fault ")).removeprefix("fault ")
    fewer = json.loads(simulate("--seed", "2", "--json", "--without", kind, *SHORT).stdout)
    assert f"fault {kind}" not in fewer["counts"]


def test_settings_of_a_file_can_be_tried(tmp_path):
    file = tmp_path / "beatward.toml"
    file.write_text('[probe]\nwindow = "3s"\nspacing = "500ms"\n')
    plain = json.loads(simulate("--seed", "5", "--json", *SHORT).stdout)
    tried = json.loads(simulate("--seed", "5", "--json", "--config", str(file), *SHORT).stdout)
    assert tried["violations"] == []
    assert tried["digest"] != plain["digest"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seeds", "4..1"), "a range such as 1..300"),
        (("--seeds", "x"), "a range such as 1..300"),
        (("--seed", "1", "--seeds", "1..2"), "not both"),
        (("--seed", "1", "--roles"), "--roles chooses among --seeds"),
        (("--roles", "--without", "services"), "not both"),
        (("--roles", "--seeds", str(WITHOUT_ROLES)), "none of these worlds has services"),
        (("--log",), "needs --seed"),
        (("--minimise",), "needs --seed"),
        (("--only", "0"), "needs --seed"),
        (("--seed", "1", "--only", "web"), "numbers of nodes such as 0,3"),
        (("--without", "rain"), "there are: crash, freeze"),
        (("--jobs", "0"), "Invalid value"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, said):
    done = simulate(*arguments)
    assert done.exit_code == 2
    assert said in done.output
