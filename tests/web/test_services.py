"""Services over the API of a real monitor: declared by nodes, moved by people, told in metrics."""

import pytest
from tests.web.members import balance, service

from beatward.core.protocol.roles import State, service_id
from beatward.web import service_shapes

# -- declaring --------------------------------------------------------------------------------


def declare(monitor, node, *services, bearer=None):
    body = {"name": node, "services": list(services)}
    headers = bearer or monitor.bearer(node)
    return monitor.http.post("/v1/agent/services", json=body, headers=headers)


def test_a_node_declares_what_it_offers_and_is_told_the_identities(monitor, wait_until):
    monitor.live("offer-1")
    answer = declare(monitor, "offer-1", {"name": "offer-a"}, {"name": "offer-b", "port": 80})
    assert answer.json() == {
        "services": [{"name": name, "id": service_id(name)} for name in ("offer-a", "offer-b")]
    }
    wait_until(lambda: service(monitor, "offer-b"), "offer-b is known")
    assert service(monitor, "offer-b")["members"][0]["port"] == 80
    # All that it offers, in place of what it offered before.
    declare(monitor, "offer-1", {"name": "offer-a"})
    wait_until(lambda: service(monitor, "offer-b") is None, "offer-b is gone")
    assert service(monitor, "offer-a") is not None


def test_a_node_that_nobody_knows_is_enrolled_by_declaring(monitor, wait_until):
    declare(monitor, "offer-2", {"name": "offer-c"})
    wait_until(lambda: service(monitor, "offer-c"), "offer-c is known")
    assert monitor.node("offer-2")["status"] == "new"


def test_a_declaration_that_is_no_news_writes_nothing(monitor, wait_until):
    declare(monitor, "offer-3", {"name": "offer-d"})
    wait_until(lambda: service(monitor, "offer-d"), "offer-d is known")
    for _ in range(3):
        declare(monitor, "offer-3", {"name": "offer-d"})
    declare(monitor, "offer-3", {"name": "offer-d", "port": 1.0, "weight": 100.0})
    wait_until(lambda: service(monitor, "offer-d")["members"][0]["port"] == 1, "it has a port")
    events = monitor.get("/v1/events", node="offer-3")["events"]
    assert [one["event"] for one in events].count("service") == 2


NO_DISK = {"service": "remark-a", "remark": "start: no disk"}


def test_what_a_member_says_of_itself_is_shown_until_it_takes_it_back(monitor, wait_until, problem):
    declare(monitor, "remark-1", {"name": "remark-a", "mode": "failover"})
    wait_until(lambda: service(monitor, "remark-a"), "remark-a is known")
    for remarks, shown in (([NO_DISK], NO_DISK["remark"]), ([], None)):
        body = {"name": "remark-1", "remarks": remarks}
        headers = monitor.bearer("remark-1")
        answer = monitor.http.post("/v1/agent/remarks", json=body, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"taken": len(remarks)})
        assert service(monitor, "remark-a")["members"][0]["remark"] == shown
        other = monitor.bearer("other")
        refused = monitor.http.post("/v1/agent/remarks", json=body, headers=other)
        problem(refused, 401, "unauthorized")


def test_a_service_has_one_mode(monitor, wait_until, problem):
    declare(monitor, "mode-1", {"name": "mode-a", "mode": "balance"})
    wait_until(lambda: service(monitor, "mode-a"), "mode-a is known")
    answer = declare(monitor, "mode-2", {"name": "mode-a", "mode": "failover"})
    body = problem(answer, 409, "other-mode")
    assert body["detail"] == (
        "mode-2 offers mode-a in mode failover, and mode-1 in mode balance; a service has one "
        "mode: change one of them"
    )
    # Who is alone with it may change it.
    assert declare(monitor, "mode-1", {"name": "mode-a", "mode": "failover"}).status_code == 202
    wait_until(lambda: service(monitor, "mode-a")["mode"] == "failover", "mode-a is changed")


@pytest.mark.parametrize(
    ("services", "where"),
    [
        ([{"name": "a b"}], "body.services.0.name"),
        ([{"name": ""}], "body.services.0.name"),
        ([{}], "body.services.0.name"),
        ([{"name": "a", "mode": "primary"}], "body.services.0.mode"),
        ([{"name": "a", "port": 70_000}], "body.services.0.port"),
        ([{"name": "a", "weight": -1}], "body.services.0.weight"),
        # What is described as a number is one: no text that looks like it, and no truth.
        ([{"name": "a", "port": "80"}], "body.services.0.port"),
        ([{"name": "a", "priority": True}], "body.services.0.priority"),
        # An address reaches the hooks of other nodes, where a shell may read it.
        ([{"name": "a", "address": "$(touch /tmp/x)"}], "body.services.0.address"),
        ([{"name": "a", "address": "-oProxyCommand=x"}], "body.services.0.address"),
        ([{"name": "a", "address": "db'\n"}], "body.services.0.address"),
        ([{"name": "a", "zone": "b\nc"}], "body.services.0.zone"),
        ([{"name": "a", "version": "\x1b[2J"}], "body.services.0.version"),
        ([{"name": "a", "labels": {"k": "\x07"}}], "body.services.0.labels.k"),
        ([{"name": "a", "hooks": {}}], "body.services.0.hooks"),
        ([{"name": f"s{index}"} for index in range(33)], "body.services"),
        ([{"name": "twice"}, {"name": "twice", "port": 1}], "body.services"),
    ],
)
def test_what_cannot_be_declared_is_said(monitor, problem, services, where):
    body = problem(declare(monitor, "odd-1", *services), 422, "not-as-expected")
    assert body["detail"].startswith(f"{where}: ")


def test_only_the_node_itself_declares_and_asks(monitor, problem):
    for bearer in (monitor.api, monitor.bearer("other"), {"Authorization": "Bearer x"}):
        problem(declare(monitor, "self-1", bearer=bearer), 401, "unauthorized")
        body = {"name": "self-1", "service": "db"}
        answer = monitor.http.post("/v1/agent/primary", json=body, headers=bearer)
        problem(answer, 401, "unauthorized")


# -- asking -----------------------------------------------------------------------------------


def test_a_balanced_service_shows_its_members_and_has_no_role(monitor, wait_until):
    balance(monitor, "web", "web-1", "web-2")
    found = wait_until(
        lambda: (s := service(monitor, "web")) and len(s["members"]) == 2 and s, "both are there"
    )
    service_shapes.ServiceShape.model_validate(found, strict=True)
    assert (found["mode"], found["phase"], found["holder"]) == ("balance", None, None)
    member = found["members"][0]
    assert (member["node"], member["weight"], member["labels"]) == ("web-1", 50, {"rack": "7"})
    assert (member["healthy"], member["state"], member["hindrance"]) == (True, None, None)


def test_who_holds_a_role_is_shown_with_why_the_others_could_not(members, phase, seen):
    first, second, third = members(
        "show",
        "show-1",
        "show-2",
        "show-3",
        show_1={"priority": 200, "address": "10.0.0.1", "port": 5432},
    )
    # Until it is show-1's, or on a busy machine another one might be heard first.
    second.state = third.state = State.UNABLE
    phase("show", "held", holder="show-1")
    second.state, second.freshness = State.STANDBY, 4711
    seen("show", "show-2", freshness=4711)
    found = seen("show", "show-3", state="unable")
    service_shapes.ServiceShape.model_validate(found, strict=True)
    assert found["token"] == 1
    assert found["explanation"].startswith("show-1 holds the role of show under token 1, since ")
    assert found["lease_ns"] > 0
    assert found["until_in_ns"] > 0
    one, two, three = found["members"]
    assert (one["state"], one["token"], one["priority"]) == ("active", 1, 200)
    assert (two["state"], two["freshness"], two["hindrance"]) == ("standby", 4711, None)
    assert three["hindrance"]
    assert first.token == 1


def test_an_agent_asks_who_holds_a_role(monitor, members, phase, problem):
    members("who", "who-1", who_1={"address": "10.0.0.7", "port": 5432})
    phase("who", "held")
    headers = monitor.bearer("who-1")

    def ask(name):
        body = {"name": "who-1", "service": name}
        return monitor.http.post("/v1/agent/primary", json=body, headers=headers)

    assert ask("who").json() == {
        "service": "who",
        "token": 1,
        "phase": "held",
        "holder": {"node": "who-1", "address": "10.0.0.7", "port": 5432},
    }
    balance(monitor, "who-web", "who-1w")
    problem(ask("whom"), 404, "unknown-service")


def test_an_unknown_service_is_told_with_the_names_that_are_alike(monitor, wait_until, problem):
    balance(monitor, "invoices", "inv-1")
    wait_until(lambda: service(monitor, "invoices"), "invoices is known")
    answer = monitor.http.get("/v1/services/invoice", headers=monitor.api)
    body = problem(answer, 404, "unknown-service")
    assert body["detail"] == "no service is called 'invoice'; alike: invoices"
    assert body["alike"] == ["invoices"]


def test_the_list_and_the_status_have_all_services(monitor, members, phase, wait_until):
    # The status has remarks about the first ten services, and other tests share this monitor.
    name = "00000-listed"
    (only,) = members(name, "listed-1")
    phase(name, "held")
    answer = monitor.get("/v1/services")
    service_shapes.ServiceList.model_validate(answer, strict=True)
    names = [one["name"] for one in answer["services"]]
    assert name in names
    assert names == sorted(names)
    summary = monitor.get("/v1/status")["services"]
    assert summary["counts"]["total"] >= len(names)
    assert summary["counts"]["held"] >= 1
    only.state = State.UNABLE
    remarks = wait_until(
        lambda: [
            one
            for one in monitor.get("/v1/status")["services"]["remarks"]
            if one["service"] == name
        ],
        f"{name} has no holder",
    )
    assert remarks[0]["remark"].startswith(f"no node has the role of {name}")


def test_metrics_have_every_service(monitor, members, phase):
    members("counted", "counted-1", "counted-2")
    phase("counted", "held")
    text = monitor.http.get("/metrics", headers=monitor.api).text
    promoted = [one for one in text.splitlines() if one.startswith("beatward_role_events_total")]
    assert any('cause="promoted"' in one and not one.endswith(" 0.0") for one in promoted)
    assert any('cause="fence_failed"' in one for one in promoted)
    for line in (
        'beatward_service_held{service="counted"} 1.0',
        'beatward_service_token{service="counted"} 1.0',
        'beatward_service_paused{service="counted"} 0.0',
        'beatward_service_healthy{service="counted"} 2.0',
        'beatward_service_members{service="counted",state="active"} 1.0',
        'beatward_service_members{service="counted",state="standby"} 1.0',
        'beatward_service_members{service="counted",state="silent"} 0.0',
    ):
        assert line in text.splitlines(), line
