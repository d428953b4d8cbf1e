"""doctor: each thing that can be wrong, made wrong for real."""

import resource
import socket
import subprocess
import sys

import pytest

from beatward.cli import doctor
from beatward.cli.doctor import FAIL, OK, WARN
from beatward.core.tags import FASTEST


def results(done):
    return {one["check"]: one["result"] for one in done.json}


@pytest.fixture
def settings(tmp_path):
    """A settings file on free ports, and its data folder."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    path = tmp_path / "settings.toml"
    path.write_text(
        f'[monitor]\nudp = "127.0.0.1:{port}"\nhttp = "127.0.0.1:{port}"\n'
        f'data = "{tmp_path / "data"}"\n',
        "utf-8",
    )
    return path, tmp_path / "data", port


def test_a_fresh_machine_has_no_failure(beatward, settings):
    path, data, _ = settings
    done = beatward("doctor", "-c", path, "--json")
    found = results(done)
    assert FAIL not in found.values(), done.out
    assert done.code == 0
    assert found.keys() == {
        *("python", "tags", "sqlite", "data folder", "master key", "http", "udp", "receive buffer"),
        *("clock", "open files", "monitor"),
    }
    assert found["monitor"] == WARN
    assert not data.exists()  # it looks and changes nothing


def test_it_says_how_heartbeats_are_authenticated(beatward, settings):
    path, _, _ = settings
    (found,) = (
        one["found"]
        for one in beatward("doctor", "-c", path, "--json").json
        if one["check"] == "tags"
    )
    assert found.startswith(FASTEST.name)
    assert "not built" in doctor.check_tags("python").found
    assert doctor.check_tags("scalar").found == "scalar, by the compiled extension"


def test_with_a_settings_file_it_asks_about_that_files_monitor(beatward, settings, monitor):
    path, _, port = settings
    # Neither another monitor that the environment names, nor that of this machine, is meant.
    done = beatward("doctor", "-c", path, "--json", BEATWARD_MONITOR=monitor.url)
    (found,) = (one for one in done.json if one["check"] == "monitor")
    assert found["result"] == WARN
    assert found["found"].startswith(f"no monitor answers at http://127.0.0.1:{port} ({path})")
    done = beatward("doctor", "-c", path, "--json", "--monitor", monitor.url)
    assert results(done)["monitor"] in (OK, WARN)
    assert next(one["found"] for one in done.json if one["check"] == "monitor").startswith(
        monitor.url
    )


def test_everything_that_is_not_ok_has_advice(beatward, settings):
    path, _, _ = settings
    for one in beatward("doctor", "-c", path, "--json").json:
        assert one["result"] in (OK, WARN, FAIL)
        assert one["found"]
        assert one["advice"] or one["result"] == OK, one
    text = beatward("doctor", "-c", path).out
    assert "start it: beatward monitor" in text


def test_a_running_monitor_is_recognised(beatward, monitor):
    path = monitor.folder / "running.toml"
    path.write_text(
        f'[monitor]\nudp = "127.0.0.1:{monitor.port}"\nhttp = "127.0.0.1:{monitor.port}"\n'
        f'data = "{monitor.data}"\n',
        "utf-8",
    )
    done = beatward("doctor", "-c", path, "--json")
    found = results(done)
    assert (found["http"], found["data folder"], found["master key"]) == (OK, OK, OK)
    assert found["monitor"] in (OK, WARN)
    assert "answers" in next(one["found"] for one in done.json if one["check"] == "http")
    assert "master key" in found
    assert done.code == 0


@pytest.mark.parametrize(
    ("kind", "name"), [(socket.SOCK_STREAM, "http"), (socket.SOCK_DGRAM, "udp")]
)
def test_a_port_that_another_program_has_fails(beatward, settings, kind, name):
    path, _, port = settings
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        done = beatward("doctor", "-c", path, "--json")
    assert results(done)[name] == FAIL
    assert done.code == 1


def test_a_monitor_that_was_named_and_does_not_answer_fails(beatward, settings):
    path, _, _ = settings
    done = beatward("doctor", "-c", path, "--json", "--monitor", "http://127.0.0.1:9")
    assert results(done)["monitor"] == FAIL
    assert done.code == 1


@pytest.mark.parametrize(("folder", "key"), [(0o777, 0o600), (0o700, 0o644)])
def test_a_folder_or_key_that_is_open_to_others_fails(beatward, settings, folder, key):
    path, data, _ = settings
    data.mkdir()
    (data / "master.key").write_bytes(bytes(32))
    (data / "master.key").chmod(key)
    data.chmod(folder)
    done = beatward("doctor", "-c", path, "--json")
    found = results(done)
    assert found["data folder"] == (OK if folder == 0o700 else FAIL)
    assert found["master key"] == (OK if key == 0o600 else FAIL)
    assert found["free space"] in (OK, WARN)
    assert done.code == 1
    assert "chmod" in done.out
    assert bytes(32).hex() not in done.out


def test_a_damaged_key_fails(beatward, settings):
    path, data, _ = settings
    data.mkdir(mode=0o700)
    (data / "master.key").write_bytes(b"short")
    (data / "master.key").chmod(0o600)
    done = beatward("doctor", "-c", path, "--json")
    assert results(done)["master key"] == FAIL
    assert "backup" in done.out


@pytest.mark.parametrize(
    ("version", "result"),
    [((3, 40, 1), WARN), ((3, 51, 2), WARN), ((3, 51, 3), OK), ((3, 52, 0), OK), ((4, 0, 0), OK)],
)
def test_sqlite_before_3_51_3_is_told(version, result):
    assert doctor.check_sqlite(version).result == result


@pytest.mark.parametrize(("limit", "result"), [(100, FAIL), (1024, WARN), (4096, OK)])
def test_few_descriptors_are_told(environment, limit, result):
    program = "from beatward.cli.doctor import *; print(check_descriptors().result)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == result


def test_a_small_receive_buffer_is_never_a_failure():
    assert doctor.check_buffer(4096).result == OK
    assert doctor.check_buffer(2**40).result in (OK, WARN)


def test_a_bad_settings_file_is_exit_code_2(beatward, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[monitor]\nx = 1", "utf-8")
    assert beatward("doctor", "-c", path).code == 2
