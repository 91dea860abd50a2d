"""The peer selector: mutual, bounded, stable, and everybody is reached."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.view import Neighbourhood, View, eager, fanout
from store.limits import limit

FULL = limit("full_mesh")


def names(count: int) -> list[str]:
    return [f"node-{n}" for n in range(count)]


def views(count: int, cluster: str = "c") -> dict[str, View]:
    return {name: Neighbourhood(name, cluster).view(names(count)) for name in names(count)}


@pytest.mark.parametrize("count", [1, 2, 3, FULL - 1, FULL])
def test_a_small_cluster_is_a_full_mesh(count: int) -> None:
    for name, view in views(count).items():
        assert view.full_mesh
        assert view.peers == set(names(count)) - {name}


@pytest.mark.parametrize("count", [FULL + 1, 100, 200, 1000])
def test_a_large_one_is_bounded_and_mutual(count: int) -> None:
    found = views(count)
    for name, view in found.items():
        assert not view.full_mesh
        assert name not in view.peers
        assert 5 <= len(view.peers) <= limit("view_peers")
        assert len(view.ring) == 2 and set(view.ring) <= view.peers
        assert all(name in found[other].peers for other in view.peers)
    mean = sum(len(view.peers) for view in found.values()) / count
    assert mean == pytest.approx((count - 1).bit_length() + 7, abs=1.5)


@pytest.mark.parametrize("count", [FULL + 1, 300])
def test_the_ring_alone_reaches_everybody(count: int) -> None:
    found = views(count)
    reached, edge = {"node-0"}, {"node-0"}
    while edge:
        edge = {other for name in edge for other in found[name].ring} - reached
        reached |= edge
    assert reached == set(names(count))


@pytest.mark.parametrize("count", [100, 1000])
def test_everybody_is_few_hops_away(count: int) -> None:
    found = views(count)
    reached, edge, hops = {"node-0"}, {"node-0"}, 0
    while edge:
        edge = {other for name in edge for other in found[name].peers} - reached
        reached |= edge
        hops += bool(edge)
    assert reached == set(names(count))
    assert hops <= 4


def test_one_that_comes_changes_hardly_any_other_connection() -> None:
    before, after = views(300), views(301)
    changed = sum(len(before[name].peers ^ (after[name].peers - {"node-300"})) for name in before)
    assert changed <= 30, "of more than 4,000"


@settings(max_examples=20, deadline=None)
@given(st.integers(FULL + 1, 300), st.randoms(use_true_random=False), st.floats(0, 0.25))
def test_the_graph_stays_whole_while_nodes_are_down(count: int, random: Random, share: float) -> None:
    found = views(count)
    up = {name for name in names(count) if random.random() >= share}
    reached, edge = set(), {min(up)}
    while edge:
        reached |= edge
        edge = {other for name in edge for other in found[name].peers if other in up} - reached
    assert reached == up


def test_the_view_depends_on_names_and_cluster_only() -> None:
    shuffled = names(300)
    Random(1).shuffle(shuffled)
    one = Neighbourhood("node-7", "c")
    assert one.view(shuffled) == one.view(names(300)) == Neighbourhood("node-7", "c").view(names(300))
    assert Neighbourhood("node-7", "d").view(names(300)) != one.view(names(300))
    assert Neighbourhood("newcomer", "c").view(names(300)).peers, "who is no member yet has a view as if it were"


def test_news_goes_along_the_ring_and_to_others_by_chance() -> None:
    view = Neighbourhood("node-1", "c").view(names(1000))
    present = sorted(view.peers)
    chosen = eager(view, present, 1000, Random(1))
    assert len(chosen) == len(set(chosen)) == fanout(1000) == 11
    assert set(view.ring) <= set(chosen)
    rest = [name for name in present if name not in view.ring]
    assert not set(view.ring) & set(eager(view, rest, 1000, Random(1)))
    assert len(eager(view, rest, 1000, Random(1))) == 11, "others stand in for those that are down"
    small = Neighbourhood("node-1", "c").view(names(5))
    assert eager(small, sorted(small.peers), 5, Random(1)) == sorted(small.peers)
