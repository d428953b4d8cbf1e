"""`examples/virtual-ip/run`: an address moves between two hosts, and a third watches who has it."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from examples.ground.arp import Claim, Watcher, overlaps
from examples.ground.cluster import Agent, Monitor, wait_for
from examples.ground.faults import FAULTS
from examples.ground.network import Host, Network
from examples.ground.telling import end_in_order, leave_if_missing, table, teller

HOOKS = Path(__file__).resolve().parent
SERVICE = "address"
ADDRESS = "10.77.0.100"
LIFETIME_S = 2
# Longer by a second than the kernel lends the address: see address.sh.
MONITOR = """
[failover]
lease = "1s"
demote_within = "3s"
promote_within = "3s"

[recovery]
hold = "1s"
"""


def agent_settings(folder: Path) -> str:
    """Write the hooks' settings and return the agent's."""
    folder.mkdir()
    settings = folder / "virtual-ip.env"
    settings.write_text(
        f"ADDRESS={ADDRESS}/24\nDEVICE=eth0\nLIFETIME={LIFETIME_S}\nNOTES={folder / 'notes'}\n"
    )
    hooks = {"promote": "promote", "demote": "demote", "stop": "demote", "state": "state"}
    lines = [f'{name} = ["{HOOKS / hook}", "{settings}"]' for name, hook in hooks.items()]
    return f'[service.{SERVICE}]\nmode = "failover"\naddress = "{ADDRESS}"\n' + "\n".join(lines)


class Stage:
    """A monitor, two hosts that may have the address, and one that watches."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.monitor = Monitor(network.host("monitor"), folder / "monitor", MONITOR)
        self.monitor.start()
        self.agents: dict[str, Agent] = {}
        for name in "ab":
            host = network.host(name)
            settings = agent_settings(folder / f"hooks-{name}")
            self.agents[name] = Agent(host, folder / f"agent-{name}", settings)
            self.agents[name].start(self.monitor)
        self.cards = {card(agent.host): name for name, agent in self.agents.items()}
        self.watch = network.host("watch")

    def is_ready(self) -> bool:
        """Tell whether one has the address and the other could take it."""
        service = self.monitor.service(SERVICE)
        members = service.get("members", ())
        states = sorted(str(member["state"]) for member in members)
        is_alive = all(member["status"] == "alive" for member in members)
        return service.get("phase") == "held" and states == ["active", "standby"] and is_alive

    def is_settled(self) -> bool:
        """Tell whether who has it has shown that it can hold it: as long as `promote_within`."""
        return self.is_ready() and self.monitor.service(SERVICE)["since_ns"] > 3 * 10**9

    def suffer(self, fault: str, claims: list[Claim]) -> dict[str, object]:
        """Let a fault happen to who has the address, and wait until all is well again."""
        wait_for(self.is_settled, f"two hosts before: {fault}", timeout=60)
        old = str(self.monitor.service(SERVICE)["holder"])
        began = time.monotonic()
        mend = FAULTS[fault](self.monitor, self.agents[old], SERVICE)

        def taken() -> Claim | None:
            found = (claim for claim in claims[::-1] if self.cards.get(claim.card) != old)
            return next((claim for claim in found if claim.at > began), None)

        wait_for(taken, f"{fault}: another host with the address", timeout=60)
        moved = next(c for c in claims if c.at > began and self.cards.get(c.card) != old)
        mend()
        wait_for(self.is_ready, f"two hosts after: {fault}", timeout=60)
        new = self.cards[moved.card]
        return {"fault": fault, "old": old, "new": new, "began": began, "moved": moved.at - began}


def card(host: Host) -> str:
    """Return the address of a host's network card."""
    words = host.run("ip", "-o", "link", "show", "dev", "eth0").split()
    return words[words.index("link/ether") + 1]


def main() -> None:
    """Play the faults; exit code 1: two hosts claimed the address at a time."""
    parser = argparse.ArgumentParser(prog="examples/virtual-ip/run", description=__doc__)
    parser.add_argument("faults", nargs="*", default=list(FAULTS), help=", ".join(FAULTS))
    parser.add_argument("--json", action="store_true", help="the reports on stdout")
    given = parser.parse_args()
    if unknown := set(given.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    end_in_order()
    leave_if_missing("arping", "flock")
    say = teller(is_quiet=given.json)
    folder = Path(tempfile.mkdtemp(prefix="beatward-"))
    reports = []
    try:
        with Network() as network:
            stage = Stage(network, folder)
            with Watcher(stage.watch, ADDRESS) as watcher:
                for fault in given.faults:
                    report = stage.suffer(fault, watcher.claims)
                    reports.append(report)
                    say(
                        f"{fault}: {report['old']} had {ADDRESS},"
                        f" {report['new']} answers after {report['moved']:.2f} s"
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wrong = overlaps(watcher.claims, [float(str(report["began"])) for report in reports])
    if given.json:
        print(json.dumps({"reports": reports, "claims": len(watcher.claims), "wrong": len(wrong)}))
    else:
        rows = [(report["fault"], f"{report['moved']:.2f} s") for report in reports]
        print(f"\n{table(('fault', 'answered after'), rows)}")
        print(f"{len(watcher.claims)} answers were heard; claimed by two at a time: {len(wrong)}.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
