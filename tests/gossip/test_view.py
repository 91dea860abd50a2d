"""The peer selector: mutual, bounded, and everybody is reached."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.view import Ring, eager
from store.limits import limit

FULL = limit("full_mesh")


def names(count: int) -> list[str]:
    return [f"node-{n}" for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, FULL - 1, FULL])
def test_a_small_cluster_is_a_full_mesh(count: int) -> None:
    ring = Ring(names(count), "c")
    for name in names(count):
        view = ring.view(name)
        assert view.full_mesh
        assert view.peers == set(names(count)) - {name}


@pytest.mark.parametrize("count", [FULL + 1, 100, 200, 1000, 2048])
def test_a_large_one_is_bounded_and_mutual(count: int) -> None:
    ring = Ring(names(count), "c")
    views = {name: ring.view(name) for name in names(count)}
    for name, view in views.items():
        assert not view.full_mesh
        assert name not in view.peers
        assert len(view.peers) <= 2 * (count - 1).bit_length() <= 22
        assert set(view.clockwise) <= view.peers
        assert all(name in views[other].peers for other in view.peers)


@pytest.mark.parametrize("count", [FULL + 1, 100, 513, 1000])
def test_clockwise_news_reaches_everybody_in_few_hops(count: int) -> None:
    ring = Ring(names(count), "c")
    clockwise = {name: ring.view(name).clockwise for name in names(count)}
    reached, edge, steps = {"node-0"}, {"node-0"}, 0
    while edge:
        edge = {other for name in edge for other in clockwise[name]} - reached
        reached |= edge
        steps += bool(edge)
    assert reached == set(names(count))
    assert steps <= (count - 1).bit_length()


@settings(max_examples=30, deadline=None)
@given(st.integers(FULL + 1, 400), st.randoms(use_true_random=False), st.floats(0, 0.3))
def test_the_view_stays_connected_while_nodes_are_down(count: int, random: Random, share: float) -> None:
    ring = Ring(names(count), "c")
    up = {name for name in names(count) if random.random() >= share}
    reached, edge = set(), {next(iter(sorted(up)))}
    while edge:
        reached |= edge
        edge = {other for name in edge for other in ring.view(name).peers if other in up} - reached
    assert len(reached) >= 0.99 * len(up)


def test_the_order_depends_on_names_and_cluster_only() -> None:
    shuffled = names(300)
    Random(1).shuffle(shuffled)
    assert Ring(shuffled, "c").view("node-7") == Ring(names(300), "c").view("node-7")
    assert Ring(names(300), "d").view("node-7") != Ring(names(300), "c").view("node-7")


def test_who_is_not_on_the_ring_yet_still_gets_a_view() -> None:
    assert Ring(names(300), "c").view("newcomer").peers


def test_news_goes_to_the_clockwise_peers_and_to_two_more() -> None:
    ring = Ring(names(1000), "c")
    view = ring.view("node-1")
    present = sorted(view.peers)
    chosen = eager(view, present, Random(1))
    assert len(chosen) == len(set(chosen)) == (1000 - 1).bit_length() + 2
    assert set(view.clockwise) <= set(chosen)
    down = set(view.clockwise[:3])
    chosen = eager(view, [name for name in present if name not in down], Random(1))
    assert not down & set(chosen)
    assert len(chosen) == (1000 - 1).bit_length() + 2, "others stand in for those that are down"
    small = Ring(names(5), "c").view("node-1")
    assert eager(small, sorted(small.peers), Random(1)) == sorted(small.peers)
