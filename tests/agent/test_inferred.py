"""Volume groups that nodes found: from their cells to the nodes that need a LUN."""

from typing import Any

import pytest

from agent.apply_loop import _kept
from agent.inferred import InferredGroups
from store.cells import MULTIPATH_MAP, STORAGE_GROUPS, Cell

pytestmark = pytest.mark.anyio

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35"


def told(groups: Any) -> Cell:
    return Cell(STORAGE_GROUPS, "groups", "healthy", (), {"groups": groups})


async def heard(cluster: Any, eventually: Any, name: str, at: str, *cells: Cell) -> None:
    """Let one node report its health, and wait until another one has it."""
    cluster[name].runner.observe(cells)
    wanted = {cell.key for cell in cells}

    def arrived() -> bool:
        cluster[name].tick()
        stream = cluster[at].engine.exchange.streams.get(name)
        return stream is not None and {cell.key for cell in stream.cells() if cell.state != "absent"} == wanted

    await eventually(f"{at} hears {name}", arrived)


async def test_from_a_group_that_another_node_found_it_is_inferred_who_needs_the_lun(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    node = cluster["n1"]
    await node.runner.submit({f"wwid/{A}": {}, "storage/vm": {"type": "lvm", "vgname": "vg", "nodes": "n1"}})
    assert node.picture.config.expected[A].source == "none"
    row = node.picture.rows(MULTIPATH_MAP)[A]
    assert row.nodes == {}
    await heard(cluster, eventually, "n2", "n1", told({A: ["vg"], B: ["other"]}))
    await eventually("it is inferred", lambda: node.picture.config.expected[A].source == "inferred")
    found = node.picture.config.expected[A]
    assert found.nodes == {"n1"} and [(c.storage, c.type, c.via) for c in found.consumers] == [("vm", "lvm", "")]
    assert node.picture.rows(MULTIPATH_MAP)[A].nodes.keys() == {"n1"}
    assert _kept(node.picture.config) == {A: "the storage vm uses it"}, "its place in the allow-list is not given up"
    await heard(cluster, eventually, "n2", "n1", Cell("x", "x", "healthy"))
    await eventually("it is gone again", lambda: node.picture.config.expected[A].source == "none")


async def test_only_what_says_something_else_moves_anything(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    streams, groups = cluster["n1"].engine.exchange.streams, InferredGroups()
    assert not groups.look(streams) and groups.groups == {}
    await heard(cluster, eventually, "n2", "n1", told({A: ["vg"]}))
    assert groups.look(streams) and groups.groups == {A: {"vg"}}
    assert not groups.look(streams)
    cluster["n1"].runner.observe([told({A: ["vg", "vg"]})])
    assert not groups.look(streams), "another node that says the same"
    cluster["n1"].runner.observe([told({A: ["more"]})])
    assert groups.look(streams) and groups.groups == {A: {"vg", "more"}}


@pytest.mark.parametrize("garbage", [None, 5, "x", ["vg"], {A: 5}, {A: "vg"}, {A: [5, None]}, {A: {"vg": 1}}])
async def test_what_a_peer_says_in_another_form_is_left_out(memory_cluster: Any, eventually: Any, garbage: Any) -> None:
    cluster, groups = memory_cluster("n1", "n2"), InferredGroups()
    await heard(cluster, eventually, "n2", "n1", told(garbage))
    groups.look(cluster["n1"].engine.exchange.streams)
    assert not any(groups.groups.values())
