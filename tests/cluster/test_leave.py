"""A node on its way out: heard by the others, off the host if wanted, and passive afterwards."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, nodes_in: Callable[..., list[Node]]) -> Iterator[list[Node]]:
    """Three nodes, the last an observer, with hosts; a fourth is not made yet."""
    nodes = nodes_in(tmp_path_factory.mktemp("leave"), 4)
    first = nodes[0]
    for node in nodes[:3]:
        node.start_host()
    first.run("init", "--cluster", "san")
    first.start_agent()
    for node, role in zip(nodes[1:3], ("editor", "observer"), strict=True):
        node.run("join", json.loads(first.run("token", "create", "--role", role, "--json").stdout)["token"])
        node.start_agent()
    digest = first.ask("GET", "/v1/config").digest
    assert first.ask("POST", "/v1/config/wwids", {"wwid": LUN_A, "options": {}}, if_match=digest).status == 200
    for node in nodes[:3]:
        wait_for("in sync", lambda node=node: node.get("/v1/apply")["apply"]["state"] == "in-sync", 30)
    for node in nodes[:3]:
        wait_for("all is well", lambda node=node: cluster_state(node) == "healthy", 30)
    yield nodes
    for node in nodes:
        assert node.stop() in (0, None)


def cluster_state(node: Node) -> str:
    return str(node.get("/v1/status")["cluster_state"])


def states(node: Node) -> dict[str, str]:
    return {member["name"]: member["state"] for member in node.get("/v1/members")["members"]}


def ours(node: Node) -> list[str]:
    return sorted(path.name for path in (node.etc / "conf.d").glob("*pathmesh*"))


def test_a_dry_run_leaves_nothing(cluster: list[Node]) -> None:
    third = cluster[2]
    done = third.run("leave", "--purge", "--dry-run")
    assert "nothing was written" in done.stderr
    assert states(third) == {"n1": "joined", "n2": "joined", "n3": "joined"} and ours(third)


def test_an_observer_leaves_and_takes_everything_off_its_host(cluster: list[Node]) -> None:
    first, second, third = cluster[:3]
    done = third.run("leave", "--purge", "--reason", "sold")
    assert "n3 has left the cluster (known to " in done.stderr and not ours(third)
    assert f"\n/{LUN_A}/" not in (third.etc / "wwids").read_text()
    for node in (first, second):
        wait_for("the others know", lambda node=node: states(node)["n3"] == "left")
        assert {n["node"]: n["state"] for n in node.get("/v1/status")["nodes"]}["n3"] == "left"
        assert "n3" not in {entry["node"] for entry in node.get("/v1/members/reach")["nodes"]}
        wait_for("its cells count nowhere", lambda node=node: cluster_state(node) == "healthy")
    assert ours(first) and f"\n/{LUN_A}/" in (first.etc / "wwids").read_text()
    answer = third.ask("GET", "/readyz")
    assert answer.status == 403 and answer.json["code"] == "left"
    done = third.run("defaults", "set", "polling-interval=7", check=False)
    assert done.returncode == 1 and "left" in done.stderr
    done = third.run("doctor", check=False)
    assert done.returncode == 1 and "left" in done.stdout
    again = third.ask("POST", "/v1/leave", {})
    assert again.status == 200 and again.json["known_by"], "asked twice it has left once"


def test_after_a_restart_it_stays_passive(cluster: list[Node]) -> None:
    first, _, third = cluster[:3]
    assert third.stop() == 0
    third.start_agent(wait=False)
    wait_for("it says so", lambda: third.ask("GET", "/readyz").json["code"] == "left")
    said = {p["code"] for p in third.get("/v1/status")["config"]["problems"]}
    assert "left" in said
    digest = first.ask("GET", "/v1/config").digest
    assert first.ask("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 9}}, if_match=digest).status == 200
    wait_for("the others go on", lambda: cluster[1].get("/v1/config/defaults")["options"])
    assert third.get("/v1/config/defaults")["options"] == {} and not ours(third)
    assert third.stop() == 0
    assert "Traceback" not in third.log("agent")


def test_a_name_that_was_left_is_free(cluster: list[Node]) -> None:
    first, second, _, fourth = cluster
    before = {m["name"]: m["actor"] for m in first.get("/v1/members")["members"]}["n3"]
    token = json.loads(first.run("token", "create", "--json").stdout)["token"]
    fourth.run("join", token, "--name", "n3")
    fourth.start_agent()
    for node in (first, second):
        wait_for("it is a member", lambda node=node: states(node)["n3"] == "joined")
        assert {m["name"]: m["actor"] for m in node.get("/v1/members")["members"]}["n3"] != before


def test_nobody_there_to_hear_of_it(cluster: list[Node], told: Any) -> None:
    first, second, _, fourth = cluster
    wait_for("all are there", lambda: all(connected(second, name) for name in ("n1", "n3")), 30)
    assert first.stop() == 0 and fourth.stop() == 0
    kept = ours(second)
    told(second.run("leave", "--timeout", "2", check=False), "no other member has heard", "member retire n2")
    assert ours(second) == kept, "without --purge the host stays as it is"
    assert second.ask("GET", "/readyz").json["code"] == "left"
    assert second.stop() == 0
    second.start_agent(wait=False)
    fourth.start_agent()
    first.start_agent()
    wait_for("it goes on telling", lambda: states(first)["n2"] == states(fourth)["n2"] == "left", 40)
    answer = second.ask("POST", "/v1/leave", {"wait_seconds": 20})
    assert answer.status == 200 and answer.json["known_by"], answer
    [note] = second.get("/v1/apply")["apply"]["notes"]
    assert note["code"] == "left" and ours(second) == kept


def connected(node: Node, name: str) -> bool:
    return any(m["name"] == name and m["connected"] for m in node.get("/v1/members")["members"])


def test_the_last_one_out(cluster: list[Node]) -> None:
    first, _, _, fourth = cluster
    assert fourth.run("leave").stderr.startswith("n3 has left")
    done = first.run("leave")
    assert "only member" in done.stderr and "n1 has left" in done.stderr
