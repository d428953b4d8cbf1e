"""What programs offer by the SDK, as a real monitor shows it: both kinds of heart, both modes."""

import asyncio

import pytest
from tests.web.members import service

from beatward import AsyncHeart, Heart, Service
from beatward.agent import services
from beatward.web import agents

SAID = {
    "address": "10.0.0.7",
    "port": 8080,
    "zone": "a",
    "version": "1.4.2",
    "labels": {"tier": "gold"},
}


@pytest.fixture
def told(monitor, tmp_path):
    return {
        "interval": "100ms",
        "monitor": monitor.url,
        "token": monitor.join_token(),
        "data": tmp_path,
    }


@pytest.fixture
def shown(monitor, wait_until):
    """Wait until a node is a healthy member of a service, and return that and the service."""

    def wait(name, node, holder=None):
        def is_there():
            # What is shown is a snapshot, which may be older than what the program knows.
            found = service(monitor, name)
            if found is None or found["holder"] != holder:
                return None
            mine = [one for one in found["members"] if one["node"] == node and one["healthy"]]
            return (mine[0], found) if mine else None

        return wait_until(is_there, f"{node} is a healthy member of {name}, held by {holder}")

    return wait


@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_program_offers_a_service_with_all_that_can_be_said_of_it(told, shown, transport):
    name, node = f"sdk-web-{transport}", f"sdk-{transport}"
    offered = [Service(name, weight=50, **SAID), Service(f"{name}-admin")]
    with Heart(node, services=offered, transport=transport, **told):
        member, found = shown(name, node)
        assert {key: member[key] for key in SAID} == SAID
        assert (found["mode"], found["phase"], member["weight"]) == ("balance", None, 50)
        member, _ = shown(f"{name}-admin", node)
        assert (member["weight"], member["port"], member["labels"]) == (100, 0, {})


def test_a_program_that_offers_nothing_any_more_is_no_member(told, shown, monitor, wait_until):
    with Heart("sdk-gone", services=[Service("sdk-gone")], **told):
        shown("sdk-gone", "sdk-gone")
    with Heart("sdk-gone", **told):
        wait_until(lambda: service(monitor, "sdk-gone") is None, "sdk-gone is no service")


async def test_a_loop_offers_a_service_and_takes_a_role_beside_it(told, shown):
    offered = [Service("sdk-loop", weight=50, **SAID)]
    async with (
        AsyncHeart("sdk-loop", services=offered, **told) as heart,
        heart.role("sdk-loop-role", priority=0, **SAID) as token,
    ):
        assert token == 1
        member, found = await asyncio.to_thread(shown, "sdk-loop", "sdk-loop")
        assert {key: member[key] for key in SAID} == SAID
        assert (found["mode"], member["weight"]) == ("balance", 50)
        member, found = await asyncio.to_thread(shown, "sdk-loop-role", "sdk-loop", "sdk-loop")
        assert {key: member[key] for key in SAID} == SAID
        assert (found["mode"], found["token"], member["priority"]) == ("failover", 1, 0)


def test_a_program_with_threads_says_the_same_of_its_role(told, shown):
    with Heart("sdk-role", **told) as heart, heart.role("sdk-role", priority=0, **SAID) as role:
        assert role.wait()
        member, found = shown("sdk-role", "sdk-role", "sdk-role")
        assert {key: member[key] for key in SAID} == SAID
        assert (found["token"], member["priority"]) == (1, 0)


def test_a_node_may_offer_as_many_services_as_the_monitor_takes():
    assert services.SERVICE_COUNT_MAX == agents.SERVICES_MAX
