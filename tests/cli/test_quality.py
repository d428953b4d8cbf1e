"""`beatward quality` on a real monitor: live, by label, against a goal, and from the journal."""

import httpx2
import pytest
from tests.harness import Monitor

from beatward.core.protocol import keys

GOAL = '[goal]\ndetect_within = "250ms"\nmistakes_every = "30d"\n'


class Node:
    """A node behind a proxy; its heartbeats are JSON."""

    def __init__(self, monitor, name):
        self.monitor, self.name, self.echo = monitor, name, 0
        self.sequence = 0

    def beat(self, interval):
        key = keys.node_key(self.monitor.master, keys.node_id(self.name))
        said = {"incarnation": 1, "sequence": self.sequence, "interval": interval}
        answer = httpx2.post(
            f"{self.monitor.url}/v1/nodes/{self.name}/heartbeat",
            json={**said, "echo": self.echo},
            headers={"Authorization": f"Bearer {keys.bearer(key)}"},
            trust_env=False,
        )
        assert answer.status_code == 202, answer.text
        self.echo = answer.json()["echo"]

    def live(self, interval):
        self.beat(interval)
        self.beat(interval)
        self.monitor.wait_status(self.name, "alive")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A monitor that was wrong about web-1 once, and has found the death of web-2."""
    monitor = Monitor(tmp_path_factory.mktemp("quality"), settings=GOAL).start()
    wronged, dead = Node(monitor, "web-1"), Node(monitor, "web-2")
    wronged.live("300ms")
    dead.live("300ms")
    monitor.wait_status("web-1", "suspect")
    wronged.sequence += 1
    wronged.beat("60s")
    monitor.wait_status("web-1", "alive")
    monitor.wait_status("web-2", "dead")
    yield monitor
    monitor.end()


def rows(out):
    """Return the first word of each row -> the row."""
    return {line.split("  ")[0].strip() or line.strip()[:8]: line for line in out.splitlines()}


def test_it_says_what_was_counted_and_which_goal_was_missed(beatward, seen):
    done = beatward("quality", "--monitor", seen.url)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith("2 nodes: this session, ")
    assert "goal within 250 ms: missed by 1" in done.out
    assert "1 suspicion and 0 verdicts refuted in " in done.out
    assert "goal every 30 d: missed" in done.out
    assert "1; " in rows(done.out)["outages"]
    assert "█" in done.out


def test_json_is_what_the_api_says(beatward, seen):
    quality = beatward("quality", "web-2", "--monitor", seen.url, "--json").json["quality"]
    assert quality["detection_time"]["count"] == 1
    assert quality["detection_time"]["mean_ns"] > 10**9  # the probing window alone
    assert quality["goal"]["detect_within"]["state"] == "missed"
    assert quality["goal"]["mistakes_every"]["state"] == "open"
    assert beatward("quality", "web-1", "--monitor", seen.url).code == 1


def test_a_label_makes_a_table(beatward, seen):
    done = beatward("quality", "--by", "zone", "--monitor", seen.url)
    head, row = done.out.splitlines()[-2:]
    assert head.split()[:3] == ["zone", "nodes", "detection"]
    assert row.split()[:2] == ["none", "2"]


def test_the_journal_says_the_same(beatward, seen):
    live = beatward("quality", "--monitor", seen.url, "--json").json
    told = beatward(
        "quality", "--since", "1h", "--by", "zone", "--monitor", seen.url, "--json"
    ).json
    assert told.keys() == live.keys()
    assert told["since_ns"] == 3600 * 10**9
    assert told["quality"]["detection_time"] == live["quality"]["detection_time"]
    for name in ("suspicions_refuted", "verdicts_refuted", "nodes", "exits"):
        assert told["quality"][name] == live["quality"][name], name
    duration_ns = live["quality"]["mistake_duration_ns"]
    assert told["quality"]["mistake_duration_ns"] == pytest.approx(duration_ns, abs=3e6)
    assert told["quality"]["loss"] is None
    assert [group["value"] for group in told["groups"]] == [None]
    one = beatward("quality", "web-2", "--since", "1h", "--monitor", seen.url, "--json").json
    assert one["quality"]["suspicions_refuted"] == 0
    assert one["quality"]["detection_time"]["count"] == 1


def test_a_restart_forgets_and_the_journal_does_not(beatward, seen):
    before = beatward("quality", "--since", "1h", "--monitor", seen.url, "--json").json
    seen.end()
    seen.start()
    live = beatward("quality", "--monitor", seen.url, "--json").json["quality"]
    assert live["suspicions_refuted"] == live["detection_time"]["count"] == 0
    told = beatward("quality", "--since", "1h", "--monitor", seen.url)
    assert "from the journal, 60 min since" in told.out
    assert "1 suspicion and 0 verdicts refuted" in told.out
    after = beatward("quality", "--since", "1h", "--monitor", seen.url, "--json").json
    assert after["quality"]["detection_time"] == before["quality"]["detection_time"]


def test_what_was_before_the_stretch_is_left_out(beatward, seen):
    told = beatward("quality", "--since", "1ms", "--monitor", seen.url, "--json").json["quality"]
    assert told["suspicions_refuted"] == told["outages"]["count"] == 0


@pytest.mark.parametrize("arguments", [("--since", "5"), ("--since", "soon"), ("a", "b")])
def test_wrong_usage_is_exit_code_2(beatward, seen, arguments):
    assert beatward("quality", *arguments, "--monitor", seen.url).code == 2


def test_an_unknown_node_is_exit_code_1(beatward, seen):
    done = beatward("quality", "nobody", "--monitor", seen.url)
    assert (done.code, done.out) == (1, "")
    assert "no node is called 'nobody'" in done.err


def test_a_fresh_monitor_has_nothing_to_say_yet(beatward, make_monitor):
    running = make_monitor()
    done = beatward("quality", "--monitor", running.url)
    assert done.code == 0
    assert "no death found" in done.out
    assert "goal" not in done.out
