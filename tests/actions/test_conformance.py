"""What every driver must do, tried on each with the real thing at its other end.

A new driver adds a bench: it brings about, at its other end, what the names of the methods say.
"""

import asyncio
import dataclasses
import sys

import pytest

from beatward.actions import DRIVERS
from beatward.core.outbox import Outcome

pytestmark = pytest.mark.real

NAMES = ("success", "temporary", "permanent", "hang", "huge", "held")


class WebhookBench:
    """A receiver that goes by the path."""

    def __init__(self, surroundings, receiver, folder):
        self.receiver = receiver
        self.gate = asyncio.Event()
        receiver.answer = self.answer
        self.driver = DRIVERS["webhook"](surroundings)

    def table(self, name):
        return {"kind": "webhook", "url": f"{self.receiver.url}/{name}"}

    async def answer(self, request, writer):
        name = request.line.split()[1].removeprefix("/")
        if name == "hang":
            await asyncio.Event().wait()
        if name == "held":
            await self.gate.wait()
        status = {"temporary": "503 Busy", "permanent": "404 No"}.get(name, "200 OK")
        body = b"x" * (5_000_000 if name == "huge" else 10)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    def deeds_count(self):
        return len(self.receiver.requests)

    def release(self):
        self.gate.set()


class CommandBench:
    """Programs."""

    PROGRAM = """
import os, sys, time
name, folder = sys.argv[1:]
open(folder + "/deeds", "a").write(name + "\\n")
while name == "hang" or (name == "held" and not os.path.exists(folder + "/gate")):
    time.sleep(0.01)
print("x" * (5_000_000 if name == "huge" else 10))
sys.exit({"temporary": 1, "permanent": 126}.get(name, 0))
"""

    def __init__(self, surroundings, receiver, folder):
        self.folder = folder
        self.driver = DRIVERS["exec"](surroundings)

    def table(self, name):
        command = [sys.executable, "-c", self.PROGRAM, name, str(self.folder)]
        return {"kind": "exec", "command": command}

    def deeds_count(self):
        path = self.folder / "deeds"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def release(self):
        (self.folder / "gate").touch()


class NotifyBench(CommandBench):
    """The same program, which tells people."""

    def table(self, name):
        return super().table(name) | {"kind": "notify"}


class MailboxBench:
    """An agent that comes when it is poked, does each key once, and goes by the run's name."""

    def __init__(self, surroundings, receiver, folder):
        self.seen = []
        self.held = []
        self.driver = DRIVERS["agent"](dataclasses.replace(surroundings, notify_agent=self.come))

    def table(self, name):
        return {"kind": "agent", "agent": "host-1", "run": name}

    def come(self, node):
        for letter in self.driver.waiting(node):
            if (letter.key, letter.attempt) in self.seen:
                continue
            self.seen.append((letter.key, letter.attempt))
            if letter.name == "held":
                self.held.append(letter)
            elif letter.name != "hang":
                self.report(letter)

    def report(self, letter):
        result = letter.name if letter.name in ("temporary", "permanent") else "success"
        message = "x" * (5_000_000 if letter.name == "huge" else 10)
        self.driver.outcome("host-1", Outcome(letter.key, letter.attempt, result, message))

    def deeds_count(self):
        return len(self.seen)

    def release(self):
        for letter in self.held:
            self.report(letter)


class PowerBench:
    """A fence agent of our own making, which can do all that Debian's `fence_dummy` cannot.

    What it is told by `mode` becomes of `off`; every `off` is a deed.
    """

    PROGRAM = r"""#!/bin/sh
while IFS= read -r line; do
    case $line in
    mode=*) mode=${line#*=} ;; folder=*) folder=${line#*=} ;; action=*) deed=${line#*=} ;;
    esac
done
[ "$mode" != huge ] || head -c 5000000 /dev/zero | tr '\0' x
if [ "$deed" = status ]; then
    printf '\nStatus: OFF\n'
    exit 2
fi
echo "$mode" >>"$folder/deeds"
while [ "$mode" = hang ] || { [ "$mode" = held ] && [ ! -e "$folder/gate" ]; }; do sleep 0.01; done
case $mode in temporary) exit 7 ;; permanent) exit 11 ;; esac
"""

    def __init__(self, surroundings, receiver, folder):
        self.folder = folder
        self.program = folder / "fence_bench"
        self.program.write_text(self.PROGRAM)
        self.program.chmod(0o755)
        self.driver = DRIVERS["fence"](surroundings)

    def table(self, name):
        options = {"mode": name, "folder": str(self.folder), "plug": "{node}"}
        return {"kind": "fence", "program": str(self.program), "options": options}

    def deeds_count(self):
        path = self.folder / "deeds"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def release(self):
        (self.folder / "gate").touch()


BENCHES = {
    "webhook": WebhookBench,
    "notify": NotifyBench,
    "exec": CommandBench,
    "agent": MailboxBench,
    "fence": PowerBench,
}


def test_every_driver_has_a_bench():
    assert BENCHES.keys() == DRIVERS.keys()


@pytest.fixture(params=sorted(DRIVERS))
def kind(request):
    return request.param


@pytest.fixture
async def bench(kind, surroundings, receiver, tmp_path):
    return BENCHES[kind](surroundings, receiver, tmp_path)


@pytest.fixture
async def one(hands, kind, bench):
    tables = {name: bench.table(name) for name in NAMES}
    tables["hang"]["timeout"] = "500ms"
    tables["huge"]["timeout"] = "20s"
    return hands(drivers={kind: bench.driver}, **tables)


@pytest.mark.parametrize("result", ["success", "temporary", "permanent"])
async def test_each_result_is_told_once_with_its_key_and_attempt(one, bench, result):
    outcome = await one.do(result, "7/x", attempt=2)
    assert (outcome.key, outcome.attempt, outcome.result) == ("7/x", 2, result)
    assert outcome.message
    assert bench.deeds_count() == 1
    assert one.came.empty()
    assert one.dispatcher.running_count == 0


async def test_what_never_ends_is_temporary_at_its_limit(one):
    outcome = await one.do("hang")
    assert (outcome.result, outcome.retry_after_ns) == ("temporary", 0)
    assert "within 500 ms" in outcome.message or "time limit of 500 ms" in outcome.message


async def test_what_hangs_does_not_hold_up_others(one):
    one.submit("hang", "1/x")
    assert (await one.do("success", "2/x")).key == "2/x"
    assert (await one.outcome()).key == "1/x"


async def test_huge_output_is_a_bounded_message(one):
    outcome = await one.do("huge")
    assert outcome.result == "success"
    assert len(outcome.message) <= 500


async def test_a_key_that_is_under_way_is_not_begun_again(one, bench, until):
    for attempt in (1, 1, 2, 3):
        one.submit("held", "7/x", attempt=attempt)
    await until(bench.deeds_count)
    one.submit("held", "7/x", attempt=4)
    bench.release()
    outcome = await one.outcome()
    assert (outcome.key, outcome.attempt, outcome.result) == ("7/x", 1, "success")
    # Had a second begun, it would come before this one, which is submitted later.
    assert (await one.do("temporary", "8/y")).key == "8/y"
    assert bench.deeds_count() == 2
    assert one.came.empty()


async def test_many_keys_at_once_each_get_their_outcome(one, bench):
    for i in range(40):
        one.submit("success", f"{i}/x")
    outcomes = [await one.outcome() for _ in range(40)]
    assert sorted(outcome.key for outcome in outcomes) == sorted(f"{i}/x" for i in range(40))
    assert {outcome.result for outcome in outcomes} == {"success"}
    assert bench.deeds_count() == 40


async def test_a_failed_key_can_be_tried_again(one, bench):
    first = await one.do("temporary", "7/x", attempt=1)
    again = await one.do("temporary", "7/x", attempt=2)
    assert [first.result, again.result] == ["temporary"] * 2
    assert bench.deeds_count() == 2


async def test_closing_is_quick_and_leaves_no_outcome(one, bench, until):
    one.submit("held")
    await until(bench.deeds_count)
    async with asyncio.timeout(2):
        await one.dispatcher.close()
    assert one.came.empty()
    bench.release()


async def test_unknown_keys_are_forgotten_without_complaint(one, bench):
    await one.do("success", "7/x")
    await bench.driver.forget(("7/x", "8/never-seen"))
    await bench.driver.forget(())
    await bench.driver.retain(())
