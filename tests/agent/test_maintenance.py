"""Nodes in maintenance: what is written, who may, when it ends, and what it takes out of the roll-ups."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import members, picture
from agent.maintenance import PREFIX, Maintenance, maintenance_value, read_maintenance
from agent.status import node_json, status_document
from agent.writes import Expected
from store.cells import MULTIPATH_MAP, Cell
from store.errors import PathmeshError, UsageError
from store.members import MemberState, Role, member_value

A = "3624a9370e92ace0b12e941bf000cb4d5"
times = st.floats(0, 4e9)


@given(st.text(max_size=40), times, st.none() | times)
def test_what_is_written_is_read(reason: str, since: float, expires: float | None) -> None:
    found = read_maintenance([(PREFIX + "n2", maintenance_value(reason, since, expires))])["n2"]
    assert found.reason == reason and abs(found.since - since) <= 0.5
    assert (found.expires is None) is (expires is None) and abs((found.expires or 0) - (expires or 0)) <= 0.5


@given(st.dictionaries(st.sampled_from(["since", "expires", "reason", "x"]), st.text(max_size=20)))
def test_nonsense_is_no_maintenance_and_breaks_nothing(options: dict[str, str]) -> None:
    for found in read_maintenance([(PREFIX + "n2", options), ("ack/n2/x", options)]).values():
        assert found.since >= 0 and found.json()["since"]


def test_it_ends_by_the_clock() -> None:
    assert Maintenance("", 0.0, None).holds(1e12) and Maintenance("", 0.0, 50.0).holds(49.9) and not Maintenance("", 0.0, 50.0).holds(50.0)


def viewer(node: Any) -> Any:
    birth = SimpleNamespace(name=node.name, cluster_name="san")
    web = SimpleNamespace(findings=list)
    return SimpleNamespace(birth=birth, runner=node.runner, picture=node.picture, members=node.members, alarms=node.alarms, web=web)


@pytest.mark.anyio
async def test_a_node_in_maintenance_is_shown_and_counts_nowhere(
    memory_cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = memory_cluster("n1", "n2", roles={"n2": Role.EDITOR})
    first, second = cluster["n1"], cluster["n2"]
    await first.writer.change({f"wwid/{A}": {"nodes": "n1,n2"}}, Expected())
    await cluster.converged()
    first.runner.observe([Cell(MULTIPATH_MAP, A, "healthy", (), {}, {}, 1.0)])
    second.runner.observe([Cell(MULTIPATH_MAP, A, "failed", ("no-paths",), {}, {}, 1.0)])

    def state() -> str:
        for node in cluster.nodes.values():
            node.tick()
        return str(status_document(viewer(first))["luns"][0]["state"])

    await eventually("the failure is seen", lambda: state() == "partial")
    version = first.picture.version
    assert await second.members.set_maintenance("n2", True, reason="new HBA", expires_seconds=60) is not None, "editors may"
    await cluster.converged()
    assert first.picture.version > version
    document = status_document(viewer(first))
    [lun] = document["luns"]
    assert lun["state"] == document["cluster_state"] == "healthy", "n2 does not count"
    assert lun["nodes"]["n2"]["state"] == "failed", "and is shown as ever"
    assert [node["maintenance"] for node in document["nodes"]] == [False, True]
    [_, described] = first.members.describe()
    assert described["maintenance"]["reason"] == "new HBA" and described["maintenance"]["expires"] > described["maintenance"]["since"]

    later = picture.time.time() + 61
    version = first.picture.version
    monkeypatch.setattr(picture.time, "time", lambda: later)
    assert first.picture.version > version, "an unchanged tag would hide that it has ended"
    assert state() == "partial" and node_json(viewer(first), "n2")["maintenance"] is False


@pytest.mark.anyio
async def test_it_is_ended_changed_and_refused(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2", roles={"n2": Role.OBSERVER})
    first = cluster["n1"]
    assert await first.members.set_maintenance("n2", False) is None, "there is nothing to end"
    assert await first.members.set_maintenance("n2", True, dry_run=True) is None and not first.picture.maintenance()
    await first.members.set_maintenance("n2", True)
    await first.members.set_maintenance("n2", True, reason="longer", expires_seconds=10)
    assert first.picture.maintenance()["n2"].reason == "longer" and first.log.edits[-1].edit.reason == "longer"
    assert await first.members.set_maintenance("n2", False) is not None and not first.picture.maintenance()
    with pytest.raises(UsageError) as unknown:
        await first.members.set_maintenance("n9", True)
    assert unknown.value.code == "not-found"
    await cluster.converged()
    with pytest.raises(PathmeshError) as forbidden:
        await cluster["n2"].members.set_maintenance("n1", True)
    assert forbidden.value.code == "forbidden"
    assert members.PREFIX == PREFIX


@pytest.mark.anyio
@pytest.mark.parametrize(("state", "words"), [(MemberState.LEFT, "n2 has left"), (MemberState.RETIRED, "no member named 'n2'")])
async def test_it_is_for_members_alone(memory_cluster: Any, state: MemberState, words: str) -> None:
    cluster = memory_cluster("n1", "n2")
    first = cluster["n1"]
    await first.writer.record({"member/n2": member_value(msgspec.structs.replace(cluster["n2"].engine.member, state=state))})
    with pytest.raises(UsageError, match=words) as away:
        await first.members.set_maintenance("n2", True)
    assert away.value.code == "not-found" and not first.picture.maintenance()
