"""Cuts, queues and delays of the simulated network."""

from random import Random

from gossip import sockets
from scripts.simulation import network
from scripts.simulation.network import Cut, Link, Network, Shape

SIDE, OTHER = frozenset({"a"}), frozenset({"b"})


def test_what_each_shape_drops_and_severs() -> None:
    both, one_way, port = (Cut(shape, SIDE, OTHER) for shape in (Shape.BOTH, Shape.ONE_WAY, Shape.PORT))
    assert both.drops("a", "b") and both.drops("b", "a") and both.severs("b", "a")
    assert one_way.drops("a", "b") and not one_way.drops("b", "a")
    assert one_way.severs("a", "b") and one_way.severs("b", "a"), "no connection stands without its answers"
    assert not port.drops("a", "b") and port.severs("a", "b") and not port.severs("b", "a")
    assert not both.drops("a", "c") and Cut(Shape.BOTH, SIDE).drops("c", "a"), "without another side, everybody else is it"


def test_messages_arrive_in_order_unless_they_are_to_be_shuffled() -> None:
    net, link = Network(Random(1)), Link("key")
    times = [time for now in range(200) for time in net.arrivals(now, link)]
    assert times == sorted(times) and len(times) == 200
    net.reorder_ms = 50
    shuffled = [time for now in range(200) for time in net.arrivals(now, link)]
    assert shuffled != sorted(shuffled)


def test_loss_repetition_and_full_queues() -> None:
    net, link = Network(Random(1), loss=0.2, repeat=0.1), Link("key")
    counts = [len(net.arrivals(0, link)) for _ in range(2_000)]
    assert 300 < counts.count(0) < 500 and 100 < counts.count(2) < 220
    link.under_way = net.capacity
    assert not net.accepts(link)
    link.reset()
    assert net.accepts(link) and link.generation == 1


def test_calm_ends_what_happens_to_messages() -> None:
    net = Network(Random(1), loss=1.0, repeat=1.0, refuse=1.0, garbage=1.0, reorder_ms=9, capacity=1)
    net.calm()
    assert net.accepts(Link("key")) and len(net.arrivals(0, Link("key"))) == 1 and not net.garbage


def test_dead_connections_end_here_when_they_do_in_the_product() -> None:
    assert network.DEAD_AFTER_MS == sockets.DEAD_AFTER_MS
