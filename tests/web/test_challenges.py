"""Challenges: for a minute, for one join, for this run of the monitor."""

import pytest

from beatward.core.instants import SECOND
from beatward.errors import JoinRefused, TemporaryError
from beatward.web.challenges import VALID_NS, Challenges


class Clock:
    def __init__(self):
        self.now_ns = 1000 * SECOND

    def __call__(self):
        return self.now_ns


@pytest.fixture
def clock():
    return Clock()


def test_a_challenge_is_good_for_a_minute(clock):
    challenges = Challenges(clock)
    made = challenges.make()
    clock.now_ns += VALID_NS
    challenges.check(made)
    clock.now_ns += 1
    with pytest.raises(JoinRefused, match="older than 60 s"):
        challenges.check(made)


def test_a_challenge_is_good_once(clock):
    challenges = Challenges(clock)
    first, second = challenges.make(), challenges.make()
    assert first != second
    challenges.use(first)
    challenges.use(second)
    with pytest.raises(JoinRefused, match="used before"):
        challenges.use(first)


def test_a_challenge_is_not_good_for_another_run(clock):
    with pytest.raises(JoinRefused, match="present run"):
        Challenges(clock).check(Challenges(clock).make())


@pytest.mark.parametrize(
    "change",
    [lambda text: text + "=", lambda text: text[:-1], lambda _: "x"],
    ids=["longer", "shorter", "other"],
)
def test_another_text_for_a_challenge_is_none(clock, change):
    challenges = Challenges(clock)
    with pytest.raises(JoinRefused):
        challenges.check(change(challenges.make()))


def test_what_was_used_is_remembered_within_bounds_and_until_it_expires(clock):
    challenges = Challenges(clock, used_max=2)
    for _ in range(2):
        challenges.use(challenges.make())
    with pytest.raises(TemporaryError):
        challenges.use(challenges.make())
    clock.now_ns += VALID_NS + 1
    challenges.use(challenges.make())
