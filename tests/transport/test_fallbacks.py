"""A kernel or a sandbox that refuses something: the door opens all the same and says what it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own")
HERE = Path(__file__).parent


def opened_without(*names):
    command = [sys.executable, str(HERE / "sandboxed.py"), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    if done.stdout.strip() == "cannot":
        pytest.skip("no seccomp here")
    return json.loads(done.stdout)


def test_where_nothing_is_refused_there_is_everything():
    found = opened_without()
    assert found.pop("receive_buffer") > 0
    assert found == {
        "good": 50,
        "junk": 0,
        "filtered": 50,
        "drops": 0,
        "doors": 2,
        "is_stamped": True,
        "is_filtering": True,
        "shortcomings": [],
    }


def test_without_recvmmsg_it_is_slower_and_has_no_stamps():
    found = opened_without("recvmmsg")
    assert (found["good"], found["filtered"], found["doors"]) == (50, 50, 2)
    assert not found["is_stamped"]


def test_without_timestamps_the_reading_counts():
    found = opened_without("timestamps")
    assert (found["good"], found["filtered"], found["doors"]) == (50, 50, 2)
    assert not found["is_stamped"]


@pytest.mark.parametrize("refused", ["filter", "steering"])
def test_without_bpf_junk_comes_in_and_nothing_else_is_lost(refused):
    found = opened_without(refused)
    assert (found["good"], found["junk"], found["filtered"]) == (50, 50, 0)
    assert not found["is_filtering"]
    (words,) = found["shortcomings"]
    assert words.startswith("junk is not kept out by the kernel: ")


def test_without_shared_addresses_there_is_one_door_and_no_filter():
    found = opened_without("sharing")
    assert (found["good"], found["junk"], found["doors"]) == (50, 50, 1)
    assert found["shortcomings"][0].startswith("1 of 2 doors are open: ")
    assert len(found["shortcomings"]) == 2


def test_without_room_the_door_opens_and_says_its_real_size():
    granted = int(Path("/proc/sys/net/core/rmem_default").read_text("ascii")) // 2
    found = opened_without("SO_RCVBUF", "SO_RCVBUFFORCE")
    assert found["receive_buffer"] == granted
    assert found["good"] == 50


def test_without_privileges_it_has_what_the_system_s_limit_gives():
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text("ascii"))
    found = opened_without("SO_RCVBUFFORCE")
    assert found["receive_buffer"] == min(limit, 4 * 1024 * 1024)


def test_without_everything_heartbeats_still_come_in():
    found = opened_without("recvmmsg", "timestamps", "filter", "steering", "sharing")
    assert (found["good"], found["junk"], found["doors"]) == (50, 50, 1)
