"""Members of services whose every word is written out by the test; see `by_hand`.

Nodes beat by themselves twice a second, so that they are alive; what they say of their roles is
said by the test, and the journal answers in the next turn unless it is told to lag.
"""

from beatward.core.entry import Declaration, Event
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Declare
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.roles import (
    RoleReport,
    State,
    open_grant,
    seal_role_report,
    service_id,
)
from beatward.core.roles.settings import RoleSettings
from beatward.store.memory import MemoryStore

from .by_hand import LIFE, ByHand, key_of, said

SERVICE = "db"
# term: 3 s, 1.2 ms of drift, and 100 ms to spare
TERM = 3_101_200_000
ROLES = RoleSettings()
TICK = 50 * MILLISECOND


class Roles(ByHand):
    """`db` is offered by `nodes`; each line of `members` is what one says on and on."""

    def __init__(
        self, roles=ROLES, *, nodes=("db-1", "db-2"), offers=None, recovered=None, **settings
    ):
        self.settings = CoreSettings(services={SERVICE: roles}, **settings)
        joining = nodes if recovered is None else ()
        super().__init__(self.settings, nodes=joining, recovered=recovered)
        self.nodes = list(nodes)
        self.history = []  # entries of earlier sessions
        self.counters = {}
        self.lives = dict.fromkeys(nodes, LIFE)
        self.saying = {}
        self.grants = []
        self.lag = False  # the journal writes nothing
        self.beats = 0
        self.silent = set()
        self.inputs = {}
        offers = offers or {}
        if recovered is None:
            self.declare({name: offers.get(name, {}) for name in nodes})

    def declare(self, offers):
        orders = tuple(
            Declare(name, services=(Declaration(SERVICE, "failover", **offer),))
            for name, offer in offers.items()
        )
        self.turn(self.now, orders=orders)

    # -- words -------------------------------------------------------------------------------

    def standing(self, name, state, token=0, *, freshness=None, life=None, counter=None):
        if counter is None:
            counter = self.counters[name] = self.counters.get(name, 0) + 1
        service = service_id(SERVICE)
        return seal_role_report(
            RoleReport(service, counter, State[state.upper()], token, freshness),
            node=node_id(name),
            incarnation=life or self.lives[name],
            slot=0,
            key=key_of(name),
        )

    def say(self, name, state, token=0, **fields):
        """Let a member say this from now on, four times a lease."""
        self.saying[name] = (state, token, fields)

    def hush(self, *names):
        """Let members say nothing more; their nodes go on beating."""
        for name in names:
            self.saying.pop(name, None)

    def beat_all(self):
        """Return the heartbeats of all nodes that are not silent."""
        self.beats += 1
        return [
            said(name, sequence=self.beats, incarnation=self.lives[name], interval_ms=500)
            for name in self.nodes
            if name not in self.silent
        ]

    # -- turns -------------------------------------------------------------------------------

    def turn(self, at_ns, *rows, **inputs):
        """Take one turn; the journal has what was written before, unless it lags."""
        if not self.lag and self.entries:
            inputs.setdefault("journaled", self.entries[-1].sequence)
        output = self.step(at_ns, *rows, **{**self.inputs, **inputs})
        self.grants += [(self.now, *one) for one in granted(output, self.nodes, self.lives)]
        return output

    def tell(self, name, state, token=0, **fields):
        """Say one thing just now, and return the grants of this turn, by node."""
        output = self.turn(self.now + MILLISECOND, self.standing(name, state, token, **fields))
        return dict(granted(output, self.nodes, self.lives))

    def run(self, duration_ns):
        """Let time pass: heartbeats twice, standings four times a second or twice."""
        end = self.now + duration_ns
        while self.now < end:
            now = min(self.now + TICK, end)
            rows = []
            if now // (SECOND // 2) != self.now // (SECOND // 2):
                rows += self.beat_all()
                rows += [self.standing(name, *one[:2], **one[2]) for name, one in self.talk()]
            self.turn(now, *rows)

    def talk(self):
        return [(name, one) for name, one in self.saying.items() if name not in self.silent]

    def order(self, kind, **fields):
        return self.turn(self.now + MILLISECOND, orders=(kind(SERVICE, **fields),))

    def restarted(self, roles=None, *, up_to=None, make=None, **settings):
        """Return a monitor that begins again from the journal, as of an entry or its end.

        Members go on with what they say, and count on.
        """
        store = MemoryStore()
        entries = [*self.history, *self.entries]
        entries = [one for one in entries if up_to is None or one.sequence <= up_to]
        store.append(entries, wall_offset_ns=0)
        recovered = store.load(wall_offset_ns=self.now)
        again = (make or Roles)(
            roles or self.settings.services[SERVICE],
            nodes=self.nodes,
            recovered=recovered,
            **settings,
        )
        again.saying, again.counters, again.lives = self.saying, self.counters, self.lives
        again.beats, again.history = self.beats, entries
        return again

    # -- what came of it ---------------------------------------------------------------------

    @property
    def view(self):
        return self.snapshot().services[SERVICE]

    @property
    def role(self):
        """What the view says, as a short line."""
        view = self.view
        return f"{view.phase} {view.holder or '-'} {view.token}"

    def facts(self):
        """Return the causes of all entries about roles."""
        return [entry.cause for entry in self.entries if entry.event == Event.ROLE]

    def words(self):
        """Return the last entry about a role."""
        return [entry for entry in self.entries if entry.event == Event.ROLE][-1].explanation

    def heard_words(self, name):
        """Return the words of grants that a node was told, in order, without repetitions."""
        words = [(grant.order.name, grant.token) for _, to, grant in self.grants if to == name]
        return [word for n, word in enumerate(words) if n == 0 or word != words[n - 1]]


def granted(output, nodes, lives):
    """Return (node, grant) of the grants among a turn's replies."""
    found = []
    for row in output.replies.rows:
        data = row.tobytes()
        for name in nodes:
            grant = open_grant(data, node=node_id(name), incarnation=lives[name], key=key_of(name))
            if grant is not None:
                found.append((name, grant))
    return found


def with_holder(roles=ROLES, *, make=Roles, **fields):
    """A role that db-1 holds under token 1; db-2 stands by. Both go on saying so."""
    hand = make(roles, **fields)
    for name in hand.nodes:
        hand.say(name, "standby")
    hand.run(4 * SECOND + roles.lease_ns + roles.demote_ns - 3 * SECOND)
    holder = hand.view.holder
    hand.say(holder, "active", hand.view.token)
    hand.run(SECOND)
    return hand


def standing_by(*args, **fields):
    """A service whose members all stand by and have for so long that one is promoted."""
    hand = Roles(*args, **fields)
    for name in hand.nodes:
        hand.say(name, "standby")
    hand.run(3 * SECOND + SECOND // 2)
    return hand
