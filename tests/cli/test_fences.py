"""Actions as fences of a service: a real monitor, a real fence agent, who gets the role when."""

import time

import pytest
from tests.web.members import Member

pytestmark = pytest.mark.real
# Waiting for its end would take eight seconds.
LONG = '[failover]\nlease = "5s"\ndemote_within = "3s"\n[service.db]\nfence = "cut"\n'
SOON_SECONDS = 5
SHORT = (
    '[failover]\nlease = "500ms"\ndemote_within = "200ms"\n'
    '[service.db]\nfence = "cut"\nfence_required = true\n'
)


@pytest.fixture
def two(make_monitor):
    """Start a monitor with these settings, and two members of `db`; db-1 holds the role."""
    made = []

    def make(settings):
        monitor = make_monitor(settings=settings)
        for index, node in enumerate(("db-1", "db-2")):
            offer = {"priority": 100 - index}
            made.append(Member(monitor.url, monitor.master, node, "db", offer).start())
        return monitor, *made

    yield make
    for member in made:
        member.end()


@pytest.fixture
def service(beatward, wait_until):
    def wait(monitor, phase, holder=None):
        def has_it():
            done = beatward("services", "db", "--json", "--data", monitor.data)
            if done.code or (done.json["phase"], done.json["holder"]) != (phase, holder):
                return None
            return done.json

        return wait_until(has_it, f"db is {phase} ({holder})")

    return wait


def events(beatward, monitor):
    return beatward("events", "--json", "--data", monitor.data).json["events"]


@pytest.mark.needs("fence_dummy")
def test_a_holder_that_is_dead_is_cut_off_and_the_next_one_promoted_at_once(
    beatward, two, service, tmp_path
):
    power = tmp_path / "db-1"
    power.write_text("on")
    monitor, first, second = two(
        f'{LONG}[action.cut]\nkind = "fence"\nprogram = "fence_dummy"\ntimeout = "30s"\n'
        f'options = {{ status_file = "{tmp_path}/{{node}}" }}\n'
    )
    service(monitor, "held", "db-1")
    began = time.monotonic()
    first.die()
    found = service(monitor, "held", "db-2")
    assert time.monotonic() - began < SOON_SECONDS
    assert found["token"] == second.token == 2
    assert power.read_text() == "off"
    told = events(beatward, monitor)
    (outcome,) = [one for one in told if one["event"] == "outcome"]
    assert (outcome["action"], outcome["node"], outcome["outcome"]) == ("cut", "db-1", "success")
    assert "db-1 is off, as fence_dummy confirmed" in outcome["explanation"]
    assert outcome["detail"]["key"] == "db/1/fence"
    causes = [one["cause"] for one in told if one["event"] == "role"]
    assert causes.index("fence") < causes.index("fenced") < causes.index("chosen", 1)


def test_a_script_that_succeeds_is_a_confirmation_too(two, service, tmp_path):
    script = f'echo "$BEATWARD_NODE $BEATWARD_SERVICE $BEATWARD_TOKEN" >{tmp_path}/told'
    monitor, first, _ = two(
        f"{LONG}[action.cut]\nkind = 'exec'\ncommand = ['sh', '-c', '{script}']\n"
    )
    service(monitor, "held", "db-1")
    began = time.monotonic()
    first.die()
    service(monitor, "held", "db-2")
    assert time.monotonic() - began < SOON_SECONDS
    assert (tmp_path / "told").read_text() == "db-1 db 1\n"


def test_without_a_confirmation_only_people_decide_where_one_is_required(beatward, two, service):
    monitor, first, _ = two(
        f'{SHORT}[action.cut]\nkind = "exec"\ncommand = ["false"]\nattempts = 1\n'
    )
    service(monitor, "held", "db-1")
    first.die()
    found = service(monitor, "refused", "db-1")
    assert "db-1 may still act: cut has failed" in found["reason"]
    done = beatward("failover", "db", "--data", monitor.data)
    assert done.code == 1
    assert "only `force` skips that, and two may act then" in done.err
    done = beatward("failover", "db", "--force", "--data", monitor.data)
    assert "What the monitor is unsure of: db-1 may still act: cut has failed." in done.err
    sure = ("--yes-i-accept-two-holders", "db", "--by", "ann")
    done = beatward("failover", "db", "--force", *sure, "--data", monitor.data)
    assert (done.code, done.out.startswith("db-2 holds db under token 2 after")) == (0, True)
