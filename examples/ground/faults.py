"""What can happen to a node, from killed processes to a cut cable; each says how it is mended."""

import signal
from collections.abc import Callable

from examples.ground.cluster import Agent, Monitor
from examples.ground.network import send

Mend = Callable[[], None]
# The monitor, whom it happens to, and the name of the service.
Fault = Callable[[Monitor, Agent, str], Mend]


def agent_killed(monitor: Monitor, agent: Agent, _: str) -> Mend:
    """SIGKILL for the agent and for nothing else; systemd would start it again."""
    agent.kill()
    return lambda: agent.start(monitor)


def power_cut(monitor: Monitor, agent: Agent, _: str) -> Mend:
    """SIGKILL for everything on the host at once."""
    send(signal.SIGKILL, agent.host.freeze())
    return lambda: agent.start(monitor)


def frozen(_: Monitor, agent: Agent, __: str) -> Mend:
    """SIGSTOP for everything on the host."""
    agent.host.freeze()
    return agent.host.thaw


def cut_from_monitor(monitor: Monitor, agent: Agent, _: str) -> Mend:
    """No packet between the host and the monitor; clients still reach it."""
    agent.host.cut(monitor.host.address)
    return agent.host.heal


def cut_from_all(_: Monitor, agent: Agent, __: str) -> Mend:
    """No packet from or to the host at all."""
    agent.host.cut()
    return agent.host.heal


def switchover(monitor: Monitor, _: Agent, service: str) -> Mend:
    """Nothing is broken: an operator moves the role."""
    monitor.post(f"/v1/services/{service}/switchover", {"reason": "a rehearsal"})
    return lambda: None


FAULTS: dict[str, Fault] = {
    "agent-killed": agent_killed,
    "power-cut": power_cut,
    "frozen": frozen,
    "cut-from-monitor": cut_from_monitor,
    "cut-from-all": cut_from_all,
    "switchover": switchover,
}
