"""Links with the delays and losses of trace models: what is known of them holds for all."""

import pytest

from beatward.core.instants import HOUR, MILLISECOND, MINUTE, SECOND
from beatward.simulate.chance import split
from beatward.simulate.event_queue import EventQueue
from beatward.simulate.links import MODELS, draw_link
from beatward.simulate.network import Network, Path, Weather
from beatward.simulate.traces import GilbertElliott

EVERY = [(model, seed) for model in sorted(MODELS) for seed in range(3)]


@pytest.mark.parametrize(("model", "seed"), EVERY)
def test_no_datagram_takes_longer_and_losses_are_no_likelier_than_is_known(model, seed):
    ahead = draw_link(seed, model, "node-1", HOUR).ahead(seed, "node-1 up")
    drawn = [ahead.draw(i * SECOND) for i in range(3600)]
    assert min(delay_ns for _, delay_ns in drawn) > 0
    assert max(delay_ns for _, delay_ns in drawn) <= ahead.longest_ns
    lost = sum(is_lost for is_lost, _ in drawn)
    # Five standard deviations of a binomial count.
    spread = (3600 * ahead.loss_probability * (1 - ahead.loss_probability)) ** 0.5
    assert lost <= 3600 * ahead.loss_probability + 5 * spread


def test_the_same_seed_draws_the_same_and_the_two_ways_differ():
    link = draw_link(1, "iid", "node-1", HOUR)
    again = draw_link(1, "iid", "node-1", HOUR)
    up, down = link.ahead(1, "node-1 up"), link.ahead(1, "node-1 down")
    one = [up.draw(0) for _ in range(50)]
    same = again.ahead(1, "node-1 up")
    assert one == [same.draw(0) for _ in range(50)]
    assert one != [down.draw(0) for _ in range(50)]


def test_every_node_has_parameters_of_its_own():
    found = {draw_link(1, "iid", f"node-{i}", HOUR).path.delay for i in range(5)}
    assert len(found) == 5


def test_a_burst_of_losses_makes_the_next_loss_likelier():
    link = draw_link(1, "burst", "node-1", HOUR)
    assert isinstance(link.path.loss, GilbertElliott)
    assert link.ahead(1, "x").loss_probability == pytest.approx(1 - link.path.loss.recovers)


@pytest.mark.parametrize("model", ["outage", "wan"])
def test_outages_are_times_on_the_link(model):
    counts = [len(draw_link(seed, model, "node-1", HOUR).outages.start_ns) for seed in range(20)]
    # One in three or four minutes: about 20 or 15 in an hour.
    assert 10 < sum(counts) / 20 < 25


def test_a_regime_changes_the_delay_while_it_lasts():
    link = draw_link(2, "regime", "node-1", HOUR)
    ahead = link.ahead(2, "up")
    by_minute = [
        min(ahead.draw(minute * MINUTE + i * SECOND)[1] for i in range(10)) for minute in range(60)
    ]
    assert min(by_minute) < 60 * MILLISECOND
    assert max(by_minute) > 190 * MILLISECOND


def test_a_path_takes_delay_and_loss_from_its_link_until_all_is_healed():
    event_queue = EventQueue()
    network = Network(event_queue, split(1, "net"), Weather(jitter_ns=0))
    link = draw_link(4, "burst", "a", HOUR)
    network.lay = lambda name, up: Path(split(1, name), link.ahead(1, f"{name} {up}"))
    network.add_node("a")
    at = []
    network.deliver_to_monitor = lambda datagram: at.append(event_queue.now_ns - datagram.sent_ns)
    for i in range(2000):
        event_queue.run_until(i * SECOND)
        network.send_to_monitor("a", b"s", b"data")
    assert 0 < network.counts["lost"] < 400
    path = network.to_monitor["a"]
    assert max(at) <= path.ahead.longest_ns == network.longest_delay_ns("a")
    assert network.missed_probability(path, path.ahead.longest_ns) == 1.0
    known = network.missed_probability(path, path.ahead.longest_ns + 1)
    assert known == pytest.approx(path.ahead.loss_probability)
    before = network.counts["lost"]
    network.heal()
    for i in range(2000, 4000):
        event_queue.run_until(i * SECOND)
        network.send_to_monitor("a", b"s", b"data")
    assert network.counts["lost"] == before
