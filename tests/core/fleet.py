"""Nodes that beat by hand, many at once, with rules that page and restart."""

from tests.core.by_hand import ByHand, key_of, said

from beatward.core.entry import Event
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Join
from beatward.core.policy import ActionRules, Rule
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Kind, open_record

RULES = {
    "rules": (
        Rule(("dead",), ("page", "restart")),
        Rule(("recovering",), ("greet",)),
        Rule(("dead",), ("other",), "db-*"),
    ),
    "actions": {
        "page": ActionRules("page", "webhook"),
        "greet": ActionRules("greet", "webhook"),
        "other": ActionRules("other", "webhook"),
        "restart": ActionRules("restart", "exec", revives=True, destructive=True),
    },
    "actions_per_minute": 1000,
}
TICK = 100 * MILLISECOND


class Fleet:
    """Nodes that beat by hand, every `interval` seconds, spread evenly over it."""

    def __init__(self, zones, *, interval=1, recovered=None, **settings):
        """Enrol so many nodes in each zone, as in {"a": 10, "": 5}."""
        self.settings = CoreSettings(**{**RULES, **settings})
        self.interval = interval
        self.names = [f"{zone or 'no'}-{i}" for zone, count in zones.items() for i in range(count)]
        self.zone = {name: name.partition("-")[0] for name in self.names}
        self.by_id = {node_id(name): name for name in self.names}
        self.silent = set()
        self.sequence = dict.fromkeys(self.names, 0)
        self.begin(recovered)

    def begin(self, recovered=None):
        self.hand = ByHand(self.settings, nodes=(), recovered=recovered)
        self.now = 0
        self.released = []
        self.answers = []
        joins = [
            Join(name, {} if zone == "no" else {"zone": zone}) for name, zone in self.zone.items()
        ]
        self.turn(orders=tuple(joins))
        return self

    def turn(self, **inputs):
        rows = [row for row in self.answers if row]
        phases = len(self.names)
        for number, name in enumerate(self.names):
            phase = number * self.interval * SECOND // phases // TICK * TICK
            due = self.now % (self.interval * SECOND) == phase
            if due and name not in self.silent:
                self.sequence[name] += 1
                interval_ms = 1000 * self.interval
                rows.append(said(name, sequence=self.sequence[name], interval_ms=interval_ms))
            elif due:
                self.sequence[name] += 1
        sequence = self.hand.entries[-1].sequence if self.hand.entries else 0
        output = self.hand.step(self.now, *rows, journaled=sequence, **inputs)
        self.answers = [self.answer(row.tobytes()) for row in output.replies.rows]
        self.released += [(self.now, one.name, one.node) for one in output.actions]
        self.now += TICK

    def answer(self, probe):
        """Answer a probe in the next turn, or not."""
        name = self.by_id[int.from_bytes(probe[16:24], "little")]
        asked = open_record(probe, key_of(name))
        if name in self.silent or asked.kind != Kind.PROBE:
            return b""
        return said(
            name,
            Kind.PROBE_REPLY,
            sequence=self.sequence[name],
            echo=asked.echo,
            interval_ms=1000 * self.interval,
        )

    def run(self, seconds):
        for _ in range(round(seconds * SECOND / TICK)):
            self.turn()
        return self

    def cut(self, *zones, share=1.0):
        for zone in zones:
            mine = [name for name in self.names if self.zone[name] == zone]
            self.silent |= set(mine[: round(share * len(mine))])

    def deeds(self, name="restart"):
        return [node for _, deed, node in self.released if deed == name]

    def guards(self):
        return [
            (entry.cause, entry.detail["zone"], entry.detail["dark"], entry.detail["total"])
            for entry in self.hand.entries
            if entry.event == Event.GUARD
        ]

    def count(self, status):
        return sum(self.hand.status(name) == status for name in self.names)


def fleet(zones, **options):
    return Fleet(zones, **options).run(12)
