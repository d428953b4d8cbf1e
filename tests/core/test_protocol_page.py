"""docs/protocol.md says what the code does, and enough to write a client in another language.

Vectors are compared three ways: the page, the code, and a client that knows only the page.
BEATWARD_REWRITE=1 writes the code's vectors into the page; read the diff.
"""

import os
import re
import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from tests.core import foreign_client as foreign
from tests.core.by_hand import ByHand, changes

from beatward.core import intake
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import RECORD, ROLE_REPORT
from beatward.core.protocol import join, keys
from beatward.core.protocol.record import Farewell, Flag, Kind, Record, exit_code_field, seal, tag
from beatward.core.protocol.roles import (
    Grant,
    RoleOrder,
    RoleReport,
    State,
    open_grant,
    seal_role_report,
    service_id,
)

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
MASTER = bytes(range(32))
NAME = "web-1"
KEY = keys.node_key(MASTER, keys.node_id(NAME))
TERMS = {"expires": 0, "names": "web-*", "serial": "1"}
TOKEN = join.new_token(MASTER, **TERMS)
CHALLENGE = join.encoded(b"c" * 32)
SAID_AT_JOIN = {"labels": {"zone": "a"}}
ASKED = join.request(TOKEN, NAME, b"n" * 16, CHALLENGE, more=SAID_AT_JOIN, key=KEY)
ANSWERED = join.answer(MASTER, ASKED, KEY, nonce=b"a" * 16, udp="192.0.2.1:7227")
LIFE = {"node": keys.node_id(NAME), "incarnation": 1_800_000_000_000_000, "interval_ms": 1000}
SAID = {
    "heartbeat": Record(
        Kind.HEARTBEAT,
        sequence=41,
        slot=7,
        flags=Flag.ACKNOWLEDGE,
        cpu=1250,
        memory=4310,
        load=42,
        echo=0xBEA70001,
        **LIFE,
    ),
    "acknowledgement": Record(
        Kind.ACKNOWLEDGEMENT, sequence=41, slot=7, flags=Flag.MAIL, echo=0xBEA70001, **LIFE
    ),
    "acknowledgement, wish": Record(
        Kind.ACKNOWLEDGEMENT,
        sequence=42,
        slot=7,
        memory=100_000 & 0xFFFF,
        load=100_000 >> 16,
        echo=0xBEA70001,
        **LIFE,
    ),
    "heartbeat, slowing": Record(
        Kind.HEARTBEAT,
        sequence=43,
        slot=7,
        flags=Flag.ACKNOWLEDGE | Flag.SLOWING,
        echo=0xBEA70001,
        **{**LIFE, "interval_ms": 2000},
    ),
    "probe": Record(Kind.PROBE, sequence=0, slot=7, echo=0xBEA70002, **LIFE),
    "probe reply": Record(
        Kind.PROBE_REPLY, sequence=43, slot=7, status=1, cpu=1250, echo=0xBEA70002, **LIFE
    ),
    "goodbye, left": Record(
        Kind.GOODBYE, sequence=44, slot=7, flags=Flag.ACKNOWLEDGE, echo=0xBEA70002, **LIFE
    ),
    "goodbye, signal 9": Record(
        Kind.GOODBYE,
        sequence=44,
        slot=7,
        status=Farewell.EXITED,
        flags=Flag.ACKNOWLEDGE,
        cpu=exit_code_field(-9),
        echo=0xBEA70002,
        **LIFE,
    ),
}


STANDING = RoleReport(service_id("db"), 3, State.ACTIVE, 5, 50_331_648)
HOLDER = {"node": LIFE["node"], "incarnation": LIFE["incarnation"], "slot": 7}


def sealed_grant():
    """Return the monitor's answer to the standing; only a monitor seals grants, in batches."""
    head = (b"BW", 1, Kind.GRANT, 7, 3, service_id("db"), LIFE["node"], LIFE["incarnation"])
    body = struct.pack("<2sBBIIIQQQII", *head, 5 << 8 | RoleOrder.HOLD, 2000, 1000)
    return body + tag(KEY, body)


GRANT = sealed_grant()


def vectors():
    """Return what the code makes of the inputs that the page names."""
    return {
        "master": MASTER.hex(),
        "identity of web-1": f"{keys.node_id(NAME):016x}",
        "identity, on the wire": keys.node_id(NAME).to_bytes(8, "little").hex(),
        "node key": KEY.hex(),
        "node key of epoch 1": keys.node_key(MASTER, keys.node_id(NAME), 1).hex(),
        "bearer token": keys.bearer(KEY),
        "key in the bare URL": keys.ping_key(KEY),
        "API token": keys.api_token(MASTER),
        "join token": TOKEN,
        "node's nonce": ASKED.nonce,
        "challenge": ASKED.challenge,
        "request": ASKED.text,
        "proof of the request": ASKED.proof,
        "proof of the key": ASKED.known,
        "monitor's nonce": ANSWERED.nonce,
        "udp": ANSWERED.udp,
        "sealed key": ANSWERED.sealed_key,
        "proof of the answer": ANSWERED.proof,
        **{name: seal(record, KEY).hex() for name, record in SAID.items()},
        "standing": seal_role_report(STANDING, **HOLDER, key=KEY).hex(),
        "grant": GRANT.hex(),
    }


def shown():
    """Return the vectors as the page has them; long values go on in the next line."""
    block = re.search(r"```vectors\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None
    found = {}
    for line in block[1].splitlines():
        name, value = line[:24].strip(), line[24:].strip()
        if name:
            found[name] = value
        else:
            found[next(reversed(found))] += value
    return found


def rewritten(text):
    lines = [
        f"{name if at == 0 else '':<24}{value[at : at + 64]}"
        for name, value in vectors().items()
        for at in range(0, len(value), 64)
    ]
    block = "\n".join(lines)
    return re.sub(r"```vectors\n.*?```", f"```vectors\n{block}\n```", text, flags=re.DOTALL)


def test_the_page_shows_the_vectors_of_the_code():
    if os.environ.get("BEATWARD_REWRITE") == "1":
        PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
    assert shown() == vectors()


def test_the_page_shows_every_state_and_every_word():
    section = PAGE.read_text("utf-8").partition("\n## 12. Roles\n")[2]
    rows = re.findall(r"^\| ([a-z ]+) \| (\d) \| [^|]+ \|$", section, re.MULTILINE)
    found = [(name.replace(" ", "_").upper(), int(value)) for name, value in rows]
    assert found == [(one.name, one.value) for kind in (State, RoleOrder) for one in kind]


def test_the_grant_of_the_page_is_one():
    found = open_grant(GRANT, node=LIFE["node"], incarnation=LIFE["incarnation"], key=KEY)
    assert found == Grant(service_id("db"), 3, RoleOrder.HOLD, 5, 2000, 1000)


def test_the_views_of_what_is_said_of_roles_read_what_the_codec_wrote():
    standing = seal_role_report(STANDING, **HOLDER, key=KEY)
    row = np.frombuffer(standing, ROLE_REPORT)[0]
    assert {name: row[name] for name in ROLE_REPORT.names} == {
        **{name: HOLDER[name] for name in ("node", "incarnation")},
        **{name: getattr(STANDING, name) for name in ("counter", "service")},
        "freshness": STANDING.replication_position,
        "claim": STANDING.token << 8 | STANDING.state,
    }
    row = np.frombuffer(GRANT, intake.GRANT)[0]
    grant = open_grant(GRANT, node=LIFE["node"], incarnation=LIFE["incarnation"], key=KEY)
    assert {name: row[name] for name in intake.GRANT.names} == {
        **{name: LIFE[name] for name in ("node", "incarnation")},
        **{name: getattr(grant, name) for name in ("counter", "service", "lease_ms", "demote_ms")},
        "claim": grant.token << 8 | grant.order,
    }


def test_the_page_shows_every_field_where_it_lies():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    found = [(name, int(offset), int(size)) for offset, size, name in rows]
    # These are several fields at once, for speed.
    words = ("head", "condition", "gauges")
    fields = [(name, *RECORD.fields[name][1::-1]) for name in RECORD.names if name not in words]
    assert found == [(name, offset, dtype.itemsize) for name, offset, dtype in fields]


def test_the_page_shows_every_kind():
    rows = re.findall(
        r"^\| ([a-z ]+) \| (\d) \| (node|monitor) \|", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert [(name.replace(" ", "_").upper(), int(value)) for name, value, _ in rows] == [
        (kind.name, kind.value) for kind in Kind
    ]


def test_a_client_that_knows_only_the_page_derives_the_same():
    page = shown()
    key = foreign.node_key(MASTER, NAME)
    assert f"{foreign.identity(NAME):016x}" == page["identity of web-1"]
    assert key.hex() == page["node key"]
    assert foreign.bearer(key) == page["bearer token"]
    assert foreign.ping_key(key) == page["key in the bare URL"]
    assert foreign.api_token(MASTER) == page["API token"]
    assert foreign.new_token(MASTER, TERMS) == page["join token"]


def test_a_client_that_knows_only_the_page_can_join():
    page = shown()
    token, nonce = page["join token"], b"n" * 16
    text = foreign.join_text(NAME, nonce, SAID_AT_JOIN)
    body = foreign.join_request(token, text, page["challenge"], key=KEY)
    assert body == {
        "request": page["request"],
        "payload": token.split(".")[1],
        "challenge": page["challenge"],
        "proof": page["proof of the request"],
        "known": page["proof of the key"],
    }
    assert body == ASKED.body()
    answer = asdict(ANSWERED)
    assert answer["sealed_key"] == page["sealed key"]
    assert foreign.join_accept(token, NAME, nonce, answer) == KEY
    forged = {**answer, "udp": "203.0.113.9:7227"}
    assert foreign.join_accept(token, NAME, nonce, forged) is None


@pytest.mark.parametrize("name", SAID)
def test_a_client_that_knows_only_the_page_writes_the_same_records(name):
    record = SAID[name]
    body = foreign.BODY.pack(
        b"BW",
        1,
        record.kind,
        record.slot,
        record.interval_ms,
        record.status,
        record.flags,
        record.cpu,
        record.node,
        record.incarnation,
        record.sequence,
        record.memory,
        record.load,
        record.echo,
    )
    assert (body + foreign.mac(KEY, body)[:16]).hex() == shown()[name]


# --- a whole life, against the machine ---


class Stranger:
    """A foreign client and a monitor by hand, with a network that takes no time."""

    def __init__(self, incarnation=LIFE["incarnation"]):
        self.hand = ByHand()
        self.client = foreign.ForeignClient(NAME, KEY, incarnation=incarnation, interval_ms=500)
        self.is_mute = False
        self.found = []

    def say(self, at_ms, *rows):
        """Hand records over and carry answers to and fro until nobody has more to say."""
        for _ in range(5):
            output = self.hand.step(at_ms * MILLISECOND, *rows)
            self.found += [(status, cause) for _, status, cause in changes(output)]
            if self.is_mute:
                return
            heard = [self.client.receive(row.tobytes(), at_ms) for row in output.replies.rows]
            rows = [row for row in heard if row is not None]
            if not rows:
                return

    def live(self, from_ms, to_ms):
        for at_ms in range(from_ms, to_ms, 100):
            if at_ms % 500 == 0 and not self.is_mute:
                self.say(at_ms, self.client.beat(at_ms))
            else:
                self.say(at_ms)


def test_a_client_that_knows_only_the_page_lives_and_leaves():
    stranger = Stranger()
    stranger.live(0, 5_000)
    assert stranger.found == [("alive", "heard")]
    assert stranger.client.acknowledged == 1
    stranger.say(5_050, stranger.client.goodbye(5_050))
    assert stranger.found[1:] == [("left", "goodbye")]
    assert stranger.client.acknowledged == 10
    stranger.hand.walk(60 * SECOND)
    assert stranger.hand.status() == "left"


def test_its_answer_to_a_probe_refutes_a_suspicion():
    stranger = Stranger()
    stranger.live(0, 10_000)
    for at_ms in range(10_000, 10_500, 100):  # Its timer is stuck, but it still answers.
        stranger.say(at_ms)
    assert stranger.found[1:] == [("suspect", "overdue"), ("alive", "refuted")]


def test_its_exit_is_believed_at_once():
    stranger = Stranger()
    stranger.live(0, 10_000)
    stranger.say(10_000, stranger.client.goodbye(10_000, exit_code=-9))
    assert stranger.found[1:] == [("dead", "exited")]
    assert stranger.hand.entries[-1].explanation.endswith("by signal 9")


def test_with_a_clock_that_was_behind_it_goes_on_as_the_next_life():
    stranger = Stranger()
    stranger.live(0, 2_000)
    stranger.client = foreign.ForeignClient(NAME, KEY, incarnation=5, interval_ms=500)
    for at_ms in range(2_000, 5_000, 100):
        stranger.say(at_ms, *([stranger.client.beat(at_ms - 2_000)] if at_ms % 500 == 0 else []))
    assert stranger.client.incarnation == LIFE["incarnation"] + 1
    assert stranger.hand.status() == "alive"
