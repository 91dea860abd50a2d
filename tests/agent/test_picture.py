"""The picture that a node answers from: rows from every node's cells, believed as far as their reporter can be."""

from typing import Any

import msgspec
import pytest

from agent.writes import Expected
from gossip.runner import boottime_ms
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, NODE_FACTS, STORAGE, Cell
from store.matrix import CellState, Reporter, RollUp
from store.members import MemberState, member_value

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"

pytestmark = pytest.mark.anyio


def cell(state: str = "healthy", wwid: str = A) -> Cell:
    return Cell(MULTIPATH_MAP, wwid, state, () if state == "healthy" else ("path-lost",), {"alias": None})


async def heard(cluster: Any, eventually: Any) -> None:
    """Until everybody takes everybody's word."""

    def fresh() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return all(set(node.picture.reporters().values()) == {Reporter.FRESH} for node in cluster.nodes.values())

    await eventually("everybody is heard", fresh)


async def test_a_row_is_made_of_every_nodes_cell(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2", "n3")
    await heard(cluster, eventually)
    for name, state in (("n1", "healthy"), ("n2", "degraded"), ("n3", "healthy")):
        cluster[name].runner.observe([cell(state)])
    for viewer in cluster.nodes.values():
        await eventually("all cells are there", lambda viewer=viewer: len(viewer.picture.rows(MULTIPATH_MAP)[A].nodes) == 3)
        row = viewer.picture.rows(MULTIPATH_MAP)[A]
        assert {name: shown.state.value for name, shown in row.nodes.items()} == {"n1": "healthy", "n2": "degraded", "n3": "healthy"}
        assert row.state is RollUp.DEGRADED


async def test_only_what_moved_is_worked_out_again(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.runner.observe([cell(), cell(wwid=B)])
    keys = node.picture.row_keys()
    before = node.picture.encoded_rows(keys)
    version = node.picture.version
    node.runner.observe([cell("degraded"), cell(wwid=B)])
    after = node.picture.encoded_rows(keys)
    by_key = dict(zip(keys, zip(before, after, strict=True), strict=True))
    assert by_key[MULTIPATH_MAP, B][0] is by_key[MULTIPATH_MAP, B][1]
    assert by_key[MULTIPATH_MAP, A][0] != by_key[MULTIPATH_MAP, A][1]
    assert node.picture.version > version
    version = node.picture.version
    node.runner.observe([cell("degraded"), cell(wwid=B)])
    assert node.picture.version == version, "an equal snapshot moves nothing"


async def test_rows_come_and_go(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.runner.observe([cell(), cell(wwid=B)])
    assert [k for k in node.picture.row_keys() if k[0] == MULTIPATH_MAP] == [(MULTIPATH_MAP, B), (MULTIPATH_MAP, A)]
    node.runner.observe([cell(wwid=B)])
    assert list(node.picture.rows(MULTIPATH_MAP)) == [B]
    await node.writer.change({f"wwid/{A}": {}}, Expected())
    assert node.picture.rows(MULTIPATH_MAP)[A].nodes == {} and node.picture.rows(MULTIPATH_MAP)[A].state is RollUp.UNUSED
    await node.writer.change({f"wwid/{A}": {"disable": "1"}}, Expected())
    assert list(node.picture.rows(MULTIPATH_MAP)) == [B]
    node.runner.observe([])
    assert not node.picture.rows(MULTIPATH_MAP)


async def test_the_roll_ups_time_moves_with_the_roll_up_alone(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000, 2000))
    monkeypatch.setattr("agent.picture.time.time", lambda: float(next(clock)))
    node = memory_cluster("n1")["n1"]
    node.runner.observe([cell()])
    node.picture.rows(MULTIPATH_MAP)
    first = node.picture.since(MULTIPATH_MAP, A)
    node.runner.observe([Cell(MULTIPATH_MAP, A, "healthy", ("note",), {})])
    node.picture.rows(MULTIPATH_MAP)
    assert node.picture.since(MULTIPATH_MAP, A) == first
    node.runner.observe([cell("degraded")])
    node.picture.rows(MULTIPATH_MAP)
    assert node.picture.since(MULTIPATH_MAP, A) > first


async def test_a_node_that_is_lost_reads_unknown_and_keeps_its_last_word(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    viewer = cluster["n1"]
    cluster["n2"].runner.observe([cell()])
    await heard(cluster, eventually)
    await eventually("the cell is there", lambda: "n2" in viewer.picture.rows(MULTIPATH_MAP)[A].nodes)
    assert viewer.picture.rows(MULTIPATH_MAP)[A].state is RollUp.HEALTHY
    cluster.network.cut(viewer.key, cluster["n2"].key)

    def gone() -> bool:
        viewer.tick()
        return viewer.picture.reporters()["n2"] is Reporter.OFFLINE

    await eventually("n2 is offline", gone)
    shown = viewer.picture.rows(MULTIPATH_MAP)[A].nodes["n2"]
    assert shown.state is CellState.UNKNOWN and shown.reasons == ("reporter-offline",) and shown.cell.state == "healthy"
    assert viewer.picture.age_seconds("n2") >= 0
    cluster.network.heal_all()
    await heard(cluster, eventually)
    assert viewer.picture.rows(MULTIPATH_MAP)[A].state is RollUp.HEALTHY


async def test_a_look_before_the_judgement_is_no_judgement(memory_cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that was stopped goes on: everybody's word seems old until what waits for it is heard, of which there is no news."""
    cluster = memory_cluster("n1", "n2")
    await heard(cluster, eventually)
    node = cluster["n1"]
    cluster["n2"].runner.observe([cell()])
    await eventually("the cell is there", lambda: A in node.picture.rows(MULTIPATH_MAP))
    with monkeypatch.context() as stopped:
        later = boottime_ms() + 3_600_000
        stopped.setattr("agent.picture.boottime_ms", lambda: later)
        node.runner.observe([cell()])
        assert set(node.picture.reporters().values()) == {Reporter.STALE}
        node.picture.rows(MULTIPATH_MAP)
    row = node.picture.rows(MULTIPATH_MAP)[A]
    assert {name: shown.state for name, shown in row.nodes.items()} == {"n1": CellState.HEALTHY, "n2": CellState.HEALTHY}


async def test_a_lun_that_nobody_names_is_unknown_while_its_only_carriers_daemon_does_not_answer(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    lost = [
        Cell(MULTIPATH_MAP, w, "unknown", ("daemon-down",), {"last": {"state": state}}) for w, state in ((A, "healthy"), (B, "unexpected"))
    ]
    await node.writer.change({f"wwid/{A}": {}}, Expected())
    node.runner.observe([cell(), Cell(MULTIPATH_MAP, B, "unexpected", (), {"health": "healthy"})])
    assert {name: row.state for name, row in node.picture.rows(MULTIPATH_MAP).items()} == {A: RollUp.HEALTHY, B: RollUp.UNUSED}
    node.runner.observe(lost)
    rows = node.picture.rows(MULTIPATH_MAP)
    assert {name: row.state for name, row in rows.items()} == {A: RollUp.UNKNOWN, B: RollUp.UNUSED}
    assert rows[A].nodes["n1"].reasons == ("daemon-down",)
    await node.writer.change({f"wwid/{A}": None}, Expected())
    assert node.picture.rows(MULTIPATH_MAP)[A].state is RollUp.UNUSED, "nobody wants it any more"


async def test_storages_are_rows_as_far_as_nodes_tell_of_them(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    await node.writer.change({"storage/san": {"type": "multipath"}, "storage/vm": {"type": "lvm", "vgname": "vg"}}, Expected())
    assert node.picture.rows(STORAGE) == {}, "nobody has told anything"
    node.runner.observe([Cell(STORAGE, "vm", "degraded", ("pv-missing",), {"type": "lvm"})])
    [row] = node.picture.rows(STORAGE).values()
    assert (row.id, row.state, row.nodes["n1"].reasons) == ("vm", RollUp.DEGRADED, ("pv-missing",))
    assert (STORAGE, "vm") in node.picture.row_keys()
    node.runner.observe([Cell(STORAGE, "vm", "unknown", ("io-hangs",), {"type": "lvm"})])
    assert node.picture.rows(STORAGE)["vm"].state is RollUp.UNKNOWN
    await node.writer.change({"storage/vm": None}, Expected())
    assert node.picture.rows(STORAGE)["vm"].state is RollUp.UNUSED, "nobody wants it any more"


async def test_a_retired_member_is_in_no_row(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    cluster["n2"].runner.observe([cell()])
    await heard(cluster, eventually)
    await eventually("the cell is there", lambda: "n2" in cluster["n1"].picture.rows(MULTIPATH_MAP)[A].nodes)
    await cluster["n1"].members.retire("n2")
    assert A not in cluster["n1"].picture.rows(MULTIPATH_MAP)
    assert list(cluster["n1"].picture.reporters()) == ["n1"]
    assert cluster["n1"].picture.config.members == {"n1"}


async def test_a_member_that_left_is_shown_and_counts_nowhere(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    viewer = cluster["n1"]
    await viewer.writer.change({f"wwid/{A}": {"nodes": "n1, n2"}}, Expected())
    for node in cluster.nodes.values():
        node.runner.observe([cell(), cell(wwid=B)] if node.name == "n2" else [cell()])
    await heard(cluster, eventually)
    await eventually("the cells are there", lambda: "n2" in viewer.picture.rows(MULTIPATH_MAP)[A].nodes)
    assert {wwid: row.state for wwid, row in viewer.picture.rows(MULTIPATH_MAP).items()} == {A: RollUp.HEALTHY, B: RollUp.HEALTHY}
    left = msgspec.structs.replace(cluster["n2"].engine.member, state=MemberState.LEFT)
    await viewer.writer.record({"member/n2": member_value(left)})
    rows = viewer.picture.rows(MULTIPATH_MAP)
    assert {wwid: row.state for wwid, row in rows.items()} == {A: RollUp.HEALTHY, B: RollUp.UNUSED}
    assert rows[A].nodes["n2"].state is CellState.UNKNOWN and rows[A].nodes["n2"].reasons == ("reporter-left",)
    assert viewer.picture.config.expected[A].nodes == {"n1"}, "nobody expects anything of it"
    viewer.runner.observe([])
    assert viewer.picture.rows(MULTIPATH_MAP)[A].state is not RollUp.HEALTHY, "its last word covers nothing up"


async def test_a_node_that_was_never_heard_has_no_age(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    picture = cluster["n1"].picture
    assert picture.age_seconds("n2") is None and picture.age_seconds("n1") == 0.0
    assert picture.cell("n2", MULTIPATH_MAP, A) is None and picture.cells_of("n2", MULTIPATH_MAP) == {} and picture.node_facts("n2") == {}
    assert picture.seq("n2", MULTIPATH_MAP, A) == 0


async def test_expected_and_not_reported_is_pending_until_the_node_has_applied(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    await node.writer.change({f"wwid/{A}": {"nodes": "n1"}}, Expected())
    assert node.picture.rows(MULTIPATH_MAP)[A].nodes["n1"].state is CellState.PENDING
    applied = {"state": "in-sync", "applied": node.picture.config.apply_digest}
    node.runner.observe([Cell(MULTIPATH_APPLY, "config", "healthy", (), applied)])
    assert node.picture.rows(MULTIPATH_MAP)[A].nodes["n1"].state is CellState.MISSING
    assert node.picture.rows(MULTIPATH_MAP)[A].state is RollUp.FAILED
    assert node.picture.rows(MULTIPATH_APPLY)["config"].state is RollUp.HEALTHY


async def test_facts_are_no_rows(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.runner.observe([Cell(NODE_FACTS, "node", "healthy", (), {"daemon": "running"})])
    assert node.picture.node_facts("n1") == {"daemon": "running"}
    assert all(kind != NODE_FACTS for kind, _ in node.picture.row_keys())


async def test_moves_are_told_once_each_as_it_was_and_as_it_is(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.runner.observe([cell(), cell(wwid=B)])
    picture = node.picture
    assert picture.moves() == {}, "nobody asked before"
    picture.watch()
    assert picture.moves() == {}
    node.runner.observe([cell("degraded")])
    picture.rows(MULTIPATH_MAP)  # somebody else looks in between
    node.runner.observe([cell("failed")])
    moved = picture.moves()
    before, after = moved[MULTIPATH_MAP, A]
    assert before is not None and after is not None
    assert (before.nodes["n1"].state, after.nodes["n1"].state) == (CellState.HEALTHY, CellState.FAILED)
    gone = moved[MULTIPATH_MAP, B]
    assert gone[0] is not None and gone[1] is None and len(moved) == 2
    assert picture.moves() == {}
    node.runner.observe([cell("degraded")])
    picture.rows(MULTIPATH_MAP)
    node.runner.observe([cell("failed")])
    assert picture.moves() == {}, "it is again what it was"
