"""Times and traffic in simulated time, on a few nodes."""

import pytest

from scripts.simulation.measures import idle_traffic, settled, spread


def test_an_edit_is_everywhere_within_two_hops_and_two_disks() -> None:
    world = settled(8)
    found = spread(8, edits=30, world=world)
    assert (found.nodes, found.edits) == (8, 30)
    assert 2 <= found.p50_ms <= found.p99_ms <= found.max_ms <= 20
    idle = idle_traffic(8, seconds=10, world=world)
    assert 10 < idle.bytes_per_second < 10_000


@pytest.mark.slow
def test_a_hundred_nodes_have_an_edit_soon() -> None:
    world = settled(100)
    assert spread(100, edits=50, world=world).p99_ms <= 50
    assert spread(100, edits=50, loss=0.2, world=world).max_ms <= 1_000
    assert idle_traffic(100, seconds=10, world=world).bytes_per_second <= 10_000
