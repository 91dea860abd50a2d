"""Three agents on hosts of their own: a partition of a minute with writes on both sides and a kill in it heals unaided."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cluster.namespaces import Namespaces, join, settle, why_not
from scripts.cluster.nodes import PATHMESH, Cluster, Node, wait_for

CUT_SECONDS = 60
A, B, C = (f"36005076801810523800000000000000{n}" for n in "abc")

pytestmark = pytest.mark.netns


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[list[Node], Namespaces]]:
    reason = why_not()
    if reason:
        if os.environ.get("PATHMESH_REQUIRE_NETNS"):
            pytest.fail(reason)
        pytest.skip(reason)
    cluster = Cluster(tmp_path, 3)
    namespaces = Namespaces(cluster.nodes)
    try:
        yield cluster.nodes, namespaces
    finally:
        cluster.stop()
        namespaces.close()


def add(node: Node, wwid: str, alias: str) -> None:
    node.run("lun", "add", wwid, "--alias", alias, "--reason", f"on {node.name}")


def states(node: Node) -> dict[str, str]:
    return {n["node"]: n["state"] for n in node.get("/v1/nodes")["nodes"]}


@pytest.mark.slow
def test_a_partition_heals_unaided(hosts: tuple[list[Node], Namespaces]) -> None:
    (n1, n2, n3), namespaces = hosts
    nodes = (n1, n2, n3)
    for node in nodes:
        settle(node, namespaces.address(node))
    n1.run("init", "--cluster", "cut")
    n1.start_agent(prefix=namespaces.enter(n1))
    token = json.loads(n1.run("token", "create", "--uses", "2", "--role", "admin", "--json").stdout)["token"]
    for node in (n2, n3):
        join(node, namespaces.enter(node), token, PATHMESH)
        node.start_agent(prefix=namespaces.enter(node))
    for node in nodes:
        wait_for(f"{node.name} sees all", lambda node=node: set(states(node).values()) == {"online"}, 30)
    add(n1, A, "before")
    wait_for("all have it", lambda: len({node.get("/v1/status")["config"]["digest"] for node in nodes}) == 1)

    namespaces.partition([n1], [n2, n3])
    began = time.monotonic()
    wait_for("n1 sees the others gone", lambda: states(n1) == {"n1": "online", "n2": "offline", "n3": "offline"}, 30)
    wait_for("n2 sees n1 gone", lambda: states(n2) == {"n1": "offline", "n2": "online", "n3": "online"}, 30)
    n1.run("lun", "set", A, "alias=left")
    add(n1, B, "only-left")
    n3.run("lun", "set", A, "alias=right")
    n3.stop("agent", signal.SIGKILL)
    add(n2, C, "only-right")
    n3.start_agent(prefix=namespaces.enter(n3))
    wait_for("n3 is back on its side", lambda: "alias only-right" in n3.get("/v1/dump")["config"], 30)
    assert "only-left" not in n3.get("/v1/dump")["config"]
    time.sleep(max(0.0, began + CUT_SECONDS - time.monotonic()))

    namespaces.heal()
    for node in nodes:
        wait_for(f"{node.name} sees all again", lambda node=node: set(states(node).values()) == {"online"}, 40)
    wait_for("all have the same", lambda: len({node.get("/v1/status")["config"]["digest"] for node in nodes}) == 1, 20)
    for node in nodes:
        dump = node.get("/v1/dump")
        assert dump["conflicts"] == [f"wwid/{A}"], "both writes of one LUN stand"
        assert {"only-left", "only-right"} <= {line.split()[-1] for line in dump["config"].splitlines() if "alias" in line}
    assert len({node.get("/v1/dump")["state_hash"] for node in nodes}) == 1
    values = {str(s) for s in n2.get("/v1/conflicts")["conflicts"][0]["siblings"]}
    assert any("left" in v for v in values) and any("right" in v for v in values), "no acknowledged write was lost"
    n2.run("resolve", f"wwid/{A}", "--take", "1")
    wait_for("no conflict is left", lambda: not any(node.get("/v1/dump")["conflicts"] for node in nodes))
    assert not any(p["code"] in ("clone", "restored", "diverged") for node in nodes for p in node.get("/v1/status")["config"]["problems"])
