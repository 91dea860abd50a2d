"""The status document of a cluster of several nodes; its exact form is tested with the API."""

from types import SimpleNamespace
from typing import Any

import pytest

from agent.status import node_json, status_document
from agent.writes import Expected
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, NODE_FACTS, Cell

A = "3624a9370e92ace0b12e941bf000cb4d5"

pytestmark = pytest.mark.anyio


def shown(node: Any) -> Any:
    """A node in memory, as the status reads it."""
    birth = SimpleNamespace(name=node.name, cluster_name="san")
    web = SimpleNamespace(findings=list)
    return SimpleNamespace(birth=birth, runner=node.runner, picture=node.picture, members=node.members, alarms=node.alarms, web=web)


def healthy() -> list[Cell]:
    apply = {"state": "in-sync", "desired": "d" * 64, "applied": "d" * 64, "at": "2026-07-03T12:46:00Z", "errors": [], "notes": []}
    return [
        Cell(MULTIPATH_MAP, A, "healthy", (), {"alias": None, "vendor": "PURE", "size_bytes": 5}, {}, 1_783_082_760.0),
        Cell(MULTIPATH_APPLY, "config", "healthy", (), apply, {}, 1_783_082_760.0),
        Cell(NODE_FACTS, "node", "healthy", (), {"daemon": "running", "tools_version": "0.9.4", "notes": []}, {}, 1_783_082_760.0),
    ]


async def everybody(cluster: Any, eventually: Any) -> None:
    for node in cluster.nodes.values():
        node.runner.observe(healthy())

    def seen() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        documents = [status_document(shown(node)) for node in cluster.nodes.values()]
        return all(n["state"] == "online" and n["cells"] == {"healthy": 1} for d in documents for n in d["nodes"])

    await eventually("everybody shows everybody", seen)


async def test_every_node_shows_the_same_cluster(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2", "n3")
    await everybody(cluster, eventually)
    await cluster["n1"].writer.change({f"wwid/{A}": {"alias": "vm"}}, Expected())
    await cluster.converged()
    documents = {name: status_document(shown(node)) for name, node in cluster.nodes.items()}
    for name, document in documents.items():
        assert document["node"] == name and [n["node"] for n in document["nodes"]] == ["n1", "n2", "n3"]
        [lun] = document["luns"]
        assert set(lun["nodes"]) == {"n1", "n2", "n3"} and lun["alias"] == "vm" and lun["vendor"] == "PURE" and lun["configured"]
        assert document["counts"]["healthy"] == 1 and document["cluster_state"] == "healthy"
        assert [n["age_seconds"] for n in document["nodes"] if n["node"] == name] == [0.0]
    assert len({d["config"]["digest"] for d in documents.values()}) == 1
    assert len({d["config"]["edits"] for d in documents.values()}) == 1


async def test_what_a_lost_node_said_is_kept_beside_unknown(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await everybody(cluster, eventually)
    await cluster["n1"].writer.change({f"wwid/{A}": {"nodes": "n1,n2"}}, Expected())
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    viewer = shown(cluster["n1"])

    def lost() -> bool:
        cluster["n1"].tick()
        return bool(node_json(viewer, "n2")["state"] == "offline")

    await eventually("n2 is offline", lost)
    document = status_document(viewer)
    [lun] = document["luns"]
    cell = lun["nodes"]["n2"]
    assert cell["state"] == "unknown" and cell["reasons"] == ["reporter-offline"] and cell["last"] == {"state": "healthy", "reasons": []}
    assert cell["age_seconds"] > 0 and lun["nodes"]["n1"]["state"] == "healthy" and lun["state"] == "unknown"
    node = next(n for n in document["nodes"] if n["node"] == "n2")
    assert node["cells"] == {"unknown": 1} and node["daemon"] == "running" and node["observed_at"] == "2026-07-03T12:46:00Z"


async def test_a_node_that_was_never_heard(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    node = node_json(shown(cluster["n1"]), "n2")
    assert node["age_seconds"] is None and node["observed_at"] is None and node["tools_version"] is None and node["daemon"] == "unknown"
    assert node["apply"] == {"state": "pending", "desired": None, "applied": None, "at": None, "errors": [], "notes": []}


async def test_retired_nodes_are_left_out(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2", "n3")
    await everybody(cluster, eventually)
    await cluster["n1"].members.retire("n2")
    document = status_document(shown(cluster["n1"]))
    assert shown(cluster["n1"]).picture.node_names() == ["n1", "n3"] == [n["node"] for n in document["nodes"]]
    assert set(document["luns"][0]["nodes"]) == {"n1", "n3"}


async def test_problems_of_the_configuration_and_alarms_stand_together(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.alarms.raise_alarm("diverged", "differs")
    await node.runner.submit({"storage/vg": {"type": "lvm", "base": f"gone:{A}", "vgname": "v"}})
    codes = [p["code"] for p in status_document(shown(node))["config"]["problems"]]
    assert codes[-1] == "diverged" and "broken-base" in codes
