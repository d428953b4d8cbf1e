"""token: what it prints really opens the door it is for, and no other."""

import base64
import json
import re
import stat
import subprocess
import sys
import time

import httpx2
import pytest
from tests import joining


def ask_to_join(monitor, token, name):
    with httpx2.Client(base_url=monitor.url, trust_env=False) as http:
        return joining.ask_to_join(http, token, name)[1]


def test_a_new_token_enrols(beatward, monitor):
    made = beatward("token", "new", "--data", monitor.data, "--json").json
    assert made.keys() == {"token", "names", "expires", "replace", "monitor"}
    assert (made["names"], made["expires"], made["monitor"]) == ("*", None, monitor.url)
    assert ask_to_join(monitor, made["token"], "tok-1").status_code == 200
    again = beatward("token", "new", "--data", monitor.data, "--json").json
    assert again["token"] != made["token"]


@pytest.mark.parametrize(("names", "other"), [("tok-2", "tok-3"), ("web-*", "db-1")])
def test_a_token_may_be_for_certain_names_only(beatward, monitor, names, other):
    made = beatward("token", "new", "--data", monitor.data, "--node", names, "--json").json
    good = names.replace("*", "1")
    assert ask_to_join(monitor, made["token"], good).status_code == 200
    assert ask_to_join(monitor, made["token"], other).status_code == 403


def test_a_token_expires(beatward, monitor):
    asked = ("token", "new", "--data", monitor.data, "--expires", "24h", "--json")
    made = beatward(*asked).json
    payload = made["token"].split(".")[1]
    terms = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert terms["expires"] == made["expires"]
    assert abs(made["expires"] - time.time() - 86_400) < 60


@pytest.mark.parametrize(
    "wrong",
    [("--expires", "5"), ("--expires", "1ms"), ("--node", "a b"), ("--node", "")],
    ids=" ".join,
)
def test_wrong_terms_are_exit_code_2(beatward, monitor, wrong):
    done = beatward("token", "new", "--data", monitor.data, *wrong)
    assert (done.code, done.out) == (2, "")
    assert wrong[0] in done.err


def test_the_lines_can_be_pasted(beatward, monitor):
    done = beatward("token", "new", "--data", monitor.data, "--node", "tok-4")
    token = done.out.splitlines()[0]
    assert f"  export BEATWARD_MONITOR={monitor.url}\n" in done.out
    assert f"  export BEATWARD_TOKEN={token}\n" in done.out
    assert "  export BEATWARD_NAME=tok-4\n" in done.out
    assert ask_to_join(monitor, token, "tok-4").status_code == 200
    (url,) = re.findall(r"  curl -fsS (\S+)", done.out)
    assert httpx2.get(url, trust_env=False).text == "ok\n"
    monitor.wait_status("tok-4", "alive")


@pytest.mark.needs("curl")
def test_token_ping_prints_what_curl_needs(beatward, monitor):
    url = beatward("token", "ping", "tok-5", "--data", monitor.data).out.strip()
    assert url.startswith(f"{monitor.url}/ping/tok-5/")
    done = subprocess.run(["curl", "-fsS", url], check=True, capture_output=True, text=True)
    assert done.stdout == "ok\n"
    monitor.wait_status("tok-5", "alive")
    elsewhere = beatward(
        "token", "ping", "tok-5", "--data", monitor.data, "--monitor", "https://m.example/"
    )
    assert elsewhere.out.startswith("https://m.example/ping/tok-5/")
    assert beatward("token", "ping", "no name", "--data", monitor.data).code == 2


def test_token_node_speaks_for_that_node(beatward, monitor):
    made = beatward("token", "node", "tok-6", "--data", monitor.data, "--json").json
    body = {"incarnation": 1, "sequence": 0, "interval": "60s"}
    headers = {"Authorization": f"Bearer {made['bearer']}"}
    answer = httpx2.post(made["url"], json=body, headers=headers, trust_env=False)
    assert answer.status_code == 202
    other = made["url"].replace("tok-6", "tok-7")
    assert httpx2.post(other, json=body, headers=headers, trust_env=False).status_code == 401
    plain = beatward("token", "node", "tok-6", "--data", monitor.data).out
    assert plain == made["bearer"] + "\n"


def test_token_api_commands(beatward, monitor):
    token = beatward("token", "api", "--data", monitor.data).out.strip()
    assert token == monitor.local["api_token"]
    assert beatward("token", "api", "--data", monitor.data, "--json").json == {"api_token": token}


def test_the_folder_and_key_are_made_once_and_closed_to_others(beatward, tmp_path):
    data = tmp_path / "deep" / "data"
    first = beatward("token", "api", "--data", data).out
    assert beatward("token", "api", BEATWARD_DATA=str(data)).out == first
    assert stat.S_IMODE((data / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert [path.name for path in data.iterdir()] == ["master.key"]


def test_two_who_begin_at_once_get_the_same_key(environment, tmp_path):
    command = [sys.executable, "-m", "beatward", "token", "api", "--data", str(tmp_path / "data")]
    running = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(said) == 1


def test_a_key_that_others_can_read_is_refused(beatward, tmp_path):
    beatward("token", "api", "--data", tmp_path)
    (tmp_path / "master.key").chmod(0o644)
    done = beatward("token", "api", "--data", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "chmod 600" in done.err


def test_epochs_that_are_damaged_are_told_and_not_taken_for_0(beatward, process, tmp_path):
    beatward("token", "api", "--data", tmp_path)
    (tmp_path / "keys.json").write_text("{")
    for command in (("token", "node", "web-1"), ("token", "ping", "web-1")):
        done = beatward(*command, "--data", tmp_path)
        assert (done.code, done.out) == (2, "")
        assert "the epochs of keys" in done.err
        assert "restore a backup" in done.err
    settings = tmp_path / "beatward.toml"
    settings.write_text(
        f'[monitor]\ndata = "{tmp_path}"\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\n'
    )
    done = process("monitor", "-c", settings)
    assert (done.code, "the epochs of keys" in done.err) == (2, True), done.err
