"""The watchdog: a device that is fed, or not. A FIFO in its place shows what is written to it."""

import os

import pytest

from beatward.agent.watchdog import Watchdog
from beatward.core.instants import SECOND

pytestmark = pytest.mark.real


class Device(Watchdog):
    """A watchdog whose driver takes at least so many seconds, as real ones do."""

    least_s = 1

    def _set(self, timeout_s):
        return max(timeout_s, self.least_s)


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "watchdog"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, lambda: os.read(reader, 100)
    os.close(reader)


def test_a_watchdog_is_fed_and_stopped_by_the_magic_letter(fifo):
    path, said = fifo
    dog = Watchdog(path)
    dog.open()
    dog.feed()
    dog.feed()
    dog.close()
    assert said() == b"\0\0V"
    dog.feed()


@pytest.mark.parametrize(
    ("lease_s", "least_s", "promise_s", "spacing_s"),
    [(3, 1, 2, 0.5), (30, 1, 20, 1), (1.5, 1, 1, 0.25), (3, 10, 0, 1), (0.3, 1, 0, 0.25)],
)
def test_it_bites_before_a_lease_and_its_demotion_are_over(
    fifo, lease_s, least_s, promise_s, spacing_s
):
    dog = Device(fifo[0])
    dog.least_s = least_s
    dog.open()
    dog.suit(int(lease_s * SECOND))
    assert (dog.promise_ns, dog.spacing_ns) == (promise_s * SECOND, spacing_s * SECOND)
    dog.close()


def test_what_is_no_watchdog_says_so_and_promises_nothing(fifo, caplog):
    dog = Watchdog(fifo[0])
    dog.open()
    dog.suit(3 * SECOND)
    assert dog.promise_ns == 0
    assert "takes no time limit" in caplog.text
    assert "bites after 60 s" in caplog.text
    dog.close()


def test_a_machine_without_a_watchdog_is_told_of_it(tmp_path, caplog):
    dog = Watchdog(tmp_path / "none")
    dog.open()
    dog.suit(SECOND)
    dog.feed()
    dog.close()
    assert "no watchdog" in caplog.text
