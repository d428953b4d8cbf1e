"""kind = "fence": Debian's own `fence_dummy`, and agents that answer as real switches go wrong."""

import asyncio
import os
from pathlib import Path

import pytest

from beatward.config import parse
from beatward.errors import ConfigError

pytestmark = pytest.mark.real
dummy = pytest.mark.needs("fence_dummy")


@pytest.fixture
def switch(tmp_path):
    """The file in which `fence_dummy` keeps the state of web-3's power."""
    path = tmp_path / "web-3"
    path.write_text("on")
    return path


@pytest.fixture
def agent(tmp_path):
    """Write an agent as a shell script; `$deed` is what it is asked, `$told` all of its input."""

    def write(script, name="fence_ours"):
        path = tmp_path / name
        head = "#!/bin/sh\ntold=$(cat)\ndeed=${told##*action=}\n"
        path.write_text(head + script)
        path.chmod(0o755)
        return {"kind": "fence", "program": str(path), "options": {"plug": "{node}"}}

    return write


def of_dummy(switch, **more):
    options = {"status_file": str(switch.parent / "{node}")}
    return {"kind": "fence", "program": "fence_dummy", "options": options, **more}


@dummy
async def test_a_real_agent_cuts_the_power_and_confirms_it(hands, switch):
    outcome = await hands(cut=of_dummy(switch)).do("cut")
    assert (outcome.result, outcome.message) == (
        "success",
        "web-3 is off, as fence_dummy confirmed",
    )
    assert switch.read_text() == "off"


@dummy
async def test_what_is_off_already_is_fenced(hands, switch):
    switch.write_text("off")
    assert (await hands(cut=of_dummy(switch)).do("cut")).result == "success"


@dummy
async def test_reboot_gives_the_power_back_once_the_cut_is_confirmed(hands, switch):
    outcome = await hands(cut=of_dummy(switch, power="reboot")).do("cut")
    assert (outcome.result, outcome.message) == (
        "success",
        "web-3 is off, as fence_dummy confirmed, and was switched on again",
    )
    assert switch.read_text() == "on"


@dummy
async def test_a_real_agent_that_fails_is_temporary_and_quoted(hands, switch):
    table = of_dummy(switch, node_options={"web-3": {"type": "fail", "power_timeout": 1}})
    outcome = await hands(cut=table).do("cut")
    assert outcome.result == "temporary"
    assert outcome.message.startswith(
        "web-3 is not known to be off: fence_dummy ended action=off with exit status"
    )
    assert "; it said: " in outcome.message


@dummy
async def test_what_a_real_agent_is_told_of_one_node_goes_before_the_rest(hands, switch):
    other = switch.parent / "other"
    other.write_text("on")
    table = of_dummy(switch, node_options={"web-3": {"status_file": str(other)}})
    assert (await hands(cut=table).do("cut")).result == "success"
    assert (switch.read_text(), other.read_text()) == ("on", "off")


STATUS_IS = 'case $deed in off) exit 0 ;; status) echo "%s"; exit %d ;; esac'


@pytest.mark.parametrize(
    ("says", "status", "words"),
    [
        ("Status: ON", 0, "web-3 is still on: fence_ours ended action=off with success, and then"),
        # The same library ends with 2 when its arguments are wrong.
        ("usage", 2, "web-3 is not known to be off: fence_ours ended action=off with success, but"),
        ("Status: OFF", 0, "action=status with exit status 0; it said: Status: OFF"),
        ("Status: ON", 2, "action=status with exit status 2; it said: Status: ON"),
        ("Status: OFF\nStatus: ON", 2, "action=status with exit status 2"),
        ("", 1, "action=status with exit status 1"),
        ("", 8, "action=status with exit status 8"),
    ],
)
async def test_only_a_status_of_off_is_a_confirmation(hands, agent, says, status, words):
    outcome = await hands(cut=agent(STATUS_IS % (says, status))).do("cut")
    assert outcome.result == "temporary"
    assert words in outcome.message


async def test_off_that_went_well_is_not_asked_for_its_status_by_the_same_run(hands, agent):
    # Exit status 0 of `off` with the words of a status is still no confirmation.
    outcome = await hands(cut=agent('echo "Status: OFF"; exit 0')).do("cut")
    assert outcome.result == "temporary"


@pytest.mark.parametrize("status", [2, 10, 11])
async def test_wrong_arguments_are_permanent(hands, agent, status):
    outcome = await hands(cut=agent(f"exit {status}")).do("cut")
    assert (outcome.result, f"exit status {status}" in outcome.message) == ("permanent", True)


@pytest.mark.parametrize("script", ["exit 1", "exit 3", "exit 7", "kill -9 $$"])
async def test_any_other_end_is_temporary(hands, agent, script):
    assert (await hands(cut=agent(script)).do("cut")).result == "temporary"


async def test_a_failure_to_switch_on_again_does_not_undo_the_fence(hands, agent):
    script = 'case $deed in status) echo "Status: OFF"; exit 2 ;; on) echo stuck; exit 6 ;; esac'
    outcome = await hands(cut={**agent(script), "power": "reboot"}).do("cut")
    assert outcome.result == "success"
    assert outcome.message == (
        "web-3 is off, as fence_ours confirmed, and could not be switched on again: "
        "exit status 6; it said: stuck"
    )


async def test_reboot_does_not_switch_on_what_was_not_confirmed(hands, agent, tmp_path):
    script = f'echo "$deed" >>{tmp_path}/deeds; exit 0'
    outcome = await hands(cut={**agent(script), "power": "reboot"}).do("cut")
    assert outcome.result == "temporary"
    assert (tmp_path / "deeds").read_text().split() == ["off", "status"]


async def test_a_time_out_is_no_confirmation_and_leaves_no_process(hands, agent, tmp_path, until):
    script = f"sleep 600 & echo $! $$ >{tmp_path}/ids; wait"
    one = hands(cut={**agent(script), "timeout": "2s"})
    outcome = await one.do("cut")
    assert outcome.result == "temporary"
    assert outcome.message == (
        "web-3 is not known to be off: fence_ours had not confirmed it within 2 s"
    )
    ids = [int(word) for word in (tmp_path / "ids").read_text().split()]
    await until(lambda: not any(_is_alive(one) for one in ids))


async def test_one_that_leaves_somebody_with_its_output_is_not_waited_for(hands, agent, tmp_path):
    script = f"""case $deed in status)
        setsid sleep 600 & echo $! >{tmp_path}/id; echo "Status: OFF"; exit 2 ;;
    esac"""
    try:
        outcome = await hands(cut=agent(script)).do("cut")
        assert outcome.result == "success"
        assert _is_alive(int((tmp_path / "id").read_text()))
    finally:
        os.kill(int((tmp_path / "id").read_text()), 9)


async def test_options_go_in_by_standard_input_and_secrets_do_not_come_out(hands, agent):
    table = agent('echo "$told"; ps -o args= -p $$; env | grep BEATWARD_ ; exit 1')
    table["options"] |= {"username": "ops", "password": "pa55 w0rd!", "lanplus": True, "port": 3}
    outcome = await hands(cut=table).do("cut")
    assert outcome.result == "temporary"
    for word in ("plug=web-3", "username=ops", "password=***", "lanplus=1", "port=3", "action=off"):
        assert word in outcome.message
    assert "pa55" not in outcome.message
    assert "BEATWARD_" not in outcome.message


async def test_one_that_reads_nothing_is_judged_by_its_status(hands, tmp_path):
    path = tmp_path / "fence_deaf"
    path.write_text("#!/bin/sh\nexec <&-\nexit 5\n")
    path.chmod(0o755)
    options = {"plug": "{node}", "long": "x" * 200_000}
    table = {"kind": "fence", "program": str(path), "options": options}
    outcome = await hands(cut=table).do("cut")
    assert (outcome.result, "exit status 5" in outcome.message) == ("temporary", True)


async def test_an_agent_that_is_not_there_is_permanent_and_says_where_they_come_from(hands):
    table = {"kind": "fence", "program": "fence_nowhere", "options": {"plug": "{node}"}}
    outcome = await hands(cut=table).do("cut")
    assert outcome.result == "permanent"
    assert outcome.message == (
        "there is no fence agent 'fence_nowhere' on the monitor's machine; Debian has them in the "
        "package fence-agents"
    )


async def test_an_agent_that_cannot_be_run_is_permanent(hands, tmp_path):
    path = tmp_path / "fence_broken"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    table = {"kind": "fence", "program": str(path), "options": {"plug": "{node}"}}
    outcome = await hands(cut=table).do("cut")
    assert (outcome.result, "cannot be run" in outcome.message) == ("permanent", True)


async def test_a_node_that_no_option_names_is_never_fenced(hands, agent, tmp_path):
    table = {**agent(f"touch {tmp_path}/done"), "options": {}, "node_options": {"web-4": {"n": 1}}}
    outcome = await hands(cut=table).do("cut")
    assert outcome.result == "permanent"
    assert outcome.message == (
        "[action.cut] does not say how web-3 is reached: expected node_options.web-3, or {node} in "
        "one of its options"
    )
    assert not (tmp_path / "done").exists()


async def test_closing_kills_the_agent_and_leaves_no_outcome(hands, agent, tmp_path, until):
    path = tmp_path / "id"
    one = hands(cut=agent(f"echo $$ >{path}.part; mv {path}.part {path}; sleep 600"))
    one.submit("cut")
    await until(path.exists)
    async with asyncio.timeout(5):
        await one.dispatcher.close()
    assert one.came.empty()
    assert not _is_alive(int(path.read_text()))


def _is_alive(process_id):
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


GOOD = {"kind": "fence", "program": "fence_ipmilan", "options": {"ip": "{node}.bmc"}}


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ({"program": None}, "action.cut", "program with kind = fence"),
        ({"options": {}}, "action.cut", "node_options of each node, or {node} in one of options"),
        ({"options": {"ip": "10.0.9.1"}}, "action.cut", "node_options of each node"),
        ({"options": {"action": "on"}}, "action.cut.options", "no action: that is for us to say"),
        ({"options": {"a b": "{node}"}}, "action.cut.options", "of letters, digits, _ and -"),
        ({"options": {"ip": "{node}\nx=1"}}, "action.cut.options", "text of one line, a number"),
        ({"options": {"ip": 1.5}}, "action.cut.options", "text of one line, a number"),
        ({"options": "ip"}, "action.cut.options", "a table such as"),
        ({"node_options": {"a": 1}}, "action.cut.node_options.a", "a table such as"),
        ({"power": "cycle"}, "action.cut.power", "'off' or 'reboot'"),
        ({"url": "http://x"}, "action.cut", "no url with kind = fence"),
        ({"kind": "exec", "command": ["x"], "program": None}, "action.cut", "no options with kind"),
    ],
)
def test_settings_that_cannot_fence_are_refused_with_the_reason(change, key, expected):
    table = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(ConfigError) as told:
        parse({"action": {"cut": table}}, "here")
    assert told.value.key == key
    assert expected in told.value.expected


def test_a_fence_is_destructive_and_options_become_text():
    options = {"plug": "{node}", "lanplus": True, "quiet": False, "port": 3}
    settings = parse({"action": {"cut": {**GOOD, "options": options}}}, "here").action["cut"]
    assert settings.options == {"plug": "{node}", "lanplus": "1", "quiet": "0", "port": "3"}
    assert settings.power == "off"
