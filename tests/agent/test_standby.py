"""What a standby believes of the primary that its monitor names."""

import threading

import pytest

from beatward.agent.roles.standby import Standby
from beatward.core.instants import SECOND
from beatward.core.protocol.join import Credential


class Asking:
    """A standby of `db` that asks a monitor until its start hook is run."""

    def __init__(self, monitor):
        credential = Credential("db-2", monitor.key("db-2"), "")
        self.started = []
        self._answered = threading.Event()
        self._standby = Standby(
            "db",
            access=lambda: (credential, monitor.url),
            run=lambda primary: self.started.append(dict(primary)),
            wake=self._answered.set,
        )

    def run(self):
        now_ns = SECOND
        while not self.started:
            self._standby.turn(now_ns, token=3)
            if self._standby._question is not None:
                assert self._answered.wait(10)
                self._answered.clear()
            now_ns += 10 * SECOND
        return self.started


@pytest.fixture
def named(monitor):
    """Let the monitor name db-1 as the primary, at an address."""

    def name(address, port=5432):
        monitor.joins.append({"name": "db-2"})
        monitor.roles["db"] = (3, "db-1", False)
        monitor.declared["db-1"] = [{"name": "db", "address": address, "port": port}]
        return Asking(monitor)

    return name


def test_a_standby_follows_the_primary_that_is_named(named):
    started = named("10.0.0.1").run()
    assert started == [{"node": "db-1", "address": "10.0.0.1", "port": "5432"}]


@pytest.mark.parametrize(
    "address", ["$(touch /tmp/x)", "'; reboot", "-oProxyCommand=x", "db-1\nport=1", 7]
)
def test_what_is_no_address_reaches_no_hook(named, address, caplog):
    # It starts for want of a primary, as it does where the monitor does not answer.
    assert named(address).run() == [{}]
    assert "expected a host name or an IP address" in caplog.text


def test_what_is_no_port_reaches_no_hook(named):
    assert named("10.0.0.1", "5432; reboot").run() == [{}]
