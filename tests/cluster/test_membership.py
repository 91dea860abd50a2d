"""Joining, catching up, forgetting and retiring among real nodes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossip.tokens import Token
from scripts.cluster.nodes import Node, free_ports, wait_for
from scripts.cluster.sample import LUN_A

pytestmark = pytest.mark.slow
EDITS = 500


def token(node: Node, *options: str) -> str:
    return str(json.loads(node.run("token", "create", "--json", *options).stdout)["token"])


def write_many(node: Node, count: int) -> None:
    """Edits one after the other, each from the digest of the last."""
    digest = node.ask("GET", "/v1/config").digest
    for number in range(count):
        body = {"changes": [{"key": f"wwid/3624a9370e92ace0b12e941b{number % 50:09x}", "set": {"comment": f"edit {number}"}}]}
        answer = node.ask("POST", "/v1/config/edits", body, if_match=digest)
        assert answer.status == 200, answer
        digest = answer.digest


def connected(node: Node, name: str) -> bool:
    return bool(next(m["connected"] for m in node.get("/v1/members")["members"] if m["name"] == name))


def states(node: Node) -> dict[str, str]:
    return {n["node"]: n["state"] for n in node.get("/v1/nodes")["nodes"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, nodes_in: Any) -> Iterator[list[Node]]:
    """Four prepared nodes: the first is alone in its cluster and runs; none has a host."""
    nodes = nodes_in(tmp_path_factory.mktemp("members"), 4)
    nodes[0].run("init", "--cluster", "san")
    nodes[0].start_agent()
    yield nodes


def test_a_late_joiner_gets_everything(cluster: list[Node]) -> None:
    first, second, third, _ = cluster
    second.run("join", token(first, "--role", "admin"))
    second.start_agent()
    wait_for("both are online", lambda: states(first) == states(second) == {"n1": "online", "n2": "online"})
    write_many(first, EDITS)
    want = first.get("/v1/status")["config"]
    wait_for("the second has all", lambda: second.get("/v1/status")["config"]["digest"] == want["digest"], 30)
    third.run("join", token(second))
    third.start_agent()
    # Not how many edits each keeps: what all have is collected, on each node when it looks.
    wait_for("the third has all", lambda: third.get("/v1/dump")["clock"] == first.get("/v1/dump")["clock"], 40)
    assert third.ask("GET", "/v1/config", accept="text/plain").body == first.ask("GET", "/v1/config", accept="text/plain").body
    dumps = [node.get("/v1/dump") for node in (first, second, third)]
    assert len({dump["state_hash"] for dump in dumps}) == 1 and len({str(dump["clock"]) for dump in dumps}) == 1
    assert [m["role"] for m in third.get("/v1/members")["members"]] == ["admin", "admin", "editor"]


def test_what_keeps_a_node_from_joining(cluster: list[Node], tmp_path: Path, nodes_in: Any, told: Any, tree: Any) -> None:
    first, second, _, _ = cluster
    [stranger] = nodes_in(tmp_path)
    before = tree(stranger.directory)

    def refused(text: str, *words: str, name: str = "n9") -> None:
        told(stranger.run("join", text, "--name", name, check=False), *words)
        assert tree(stranger.directory) == before, "nothing is left of it"

    good = token(first)
    for taken in ("n1", "n2"):
        refused(good, f"'{taken}' is registered already", "another name", name=taken)
    short = token(first, "--ttl", "1s")
    end = Token.parse(short).expires
    revoked = token(first)
    first.run("token", "revoke", Token.parse(revoked).id)
    refused(revoked, "was revoked", "token create")
    elsewhere = Token.parse(good)
    foreign = Token(elsewhere.endpoints, elsewhere.join_key, "0123456789", elsewhere.secret, elsewhere.expires, elsewhere.cluster)
    refused(foreign.text(), "did not give out", "only by the node that made it")
    nobody = Token((f"tcp://127.0.0.1:{free_ports(1)[0]}",), *list(_fields(elsewhere))[1:])
    refused(nobody.text(), "could be reached", "connection refused", "join port")
    wrong = Token((f"tcp://127.0.0.1:{second.ports[2]}",), *list(_fields(elsewhere))[1:])
    refused(wrong.text(), "not the node that made this token")
    refused("pmj1.AAAA", "cut short")
    refused("hello", "not a join token")
    wait_for("the short token expires", lambda: time.time() > end + 0.1)
    refused(short, "expired", "token create")

    stranger.run("join", good, "--name", "n9")
    told(stranger.run("join", good, "--name", "n9", check=False), "set up before")
    told(stranger.run("init", check=False), "set up before")
    [another] = nodes_in(tmp_path / "another")
    told(another.run("join", good, "--name", "n10", check=False), "used up")
    first.run("member", "retire", "n9")
    assert "n9" not in states(first)


def _fields(token: Token) -> tuple[Any, ...]:
    return tuple(getattr(token, name) for name in token.__struct_fields__)


def test_after_a_restart_nobody_is_believed_who_was_not_heard(cluster: list[Node]) -> None:
    first, second, third, _ = cluster
    for node in (first, second, third):
        node.start_host()
    digest = first.ask("GET", "/v1/config").digest
    assert first.ask("POST", "/v1/config/wwids", {"wwid": LUN_A, "options": {"nodes": "n1,n2,n3"}}, if_match=digest).status == 200

    def cells(node: Node) -> dict[str, str]:
        return {name: cell["state"] for name, cell in node.get(f"/v1/luns/{LUN_A}")["nodes"].items()}

    everywhere = {"n1": "healthy", "n2": "healthy", "n3": "healthy"}
    wait_for("the LUN is healthy everywhere", lambda: cells(first) == everywhere, 40)
    for node in (first, second, third):
        assert node.stop() == 0
    first.start_agent()
    wait_for("its own word counts", lambda: cells(first)["n1"] == "healthy")
    lun = first.get(f"/v1/luns/{LUN_A}")
    assert cells(first) == everywhere | {"n2": "unknown", "n3": "unknown"} and lun["state"] == "unknown"
    assert lun["nodes"]["n2"]["last"]["state"] == "healthy", "what was on the disk is shown as what it is: the last word"
    assert set(lun["nodes"]["n2"]["reasons"]) <= {"reporter-unheard", "reporter-suspect", "reporter-offline"}
    assert lun["nodes"]["n2"]["age_seconds"] is None
    second.start_agent(wait=False)
    third.start_agent(wait=False)
    wait_for("all are heard", lambda: cells(first) == everywhere, 40)


def test_a_retired_node_is_out_for_good(cluster: list[Node]) -> None:
    first, second, third, fourth = cluster
    wait_for("all are online", lambda: states(second) == {"n1": "online", "n2": "online", "n3": "online"}, 30)
    actor = {m["name"]: m["actor"] for m in second.get("/v1/members")["members"]}["n3"]
    for one, other in ((second, "n3"), (third, "n2")):
        wait_for("they talk directly", lambda one=one, other=other: connected(one, other), 30)
    second.run("member", "retire", "n3", "--reason", "sold")
    for node in (first, second):
        wait_for(f"{node.name} has dropped n3", lambda node=node: set(states(node)) == {"n1", "n2"})
        assert "n3" not in node.get("/v1/matrix")["reporters"]
        assert "n3" not in node.get(f"/v1/luns/{LUN_A}")["nodes"]
        assert {m["name"]: m["state"] for m in node.get("/v1/members")["members"]}["n3"] == "retired"
    wait_for("n3 knows", lambda: {m["name"]: m["state"] for m in third.get("/v1/members")["members"]}["n3"] == "retired")
    digest = third.ask("GET", "/v1/config").digest
    answer = third.ask("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 7}}, if_match=digest)
    assert answer.status == 403 and answer.json["code"] == "retired", answer
    done = third.run("defaults", "set", "polling-interval=7", check=False)
    assert done.returncode == 1 and "retired" in done.stderr
    assert third.stop() == 0
    fourth.run("join", token(first), "--name", "n3")
    fourth.start_agent()
    wait_for("the name lives on, in another node", lambda: states(second) == {"n1": "online", "n2": "online", "n3": "online"}, 30)
    third.start_agent(wait=False)
    wait_for("the retired one still answers its own socket", lambda: third.ask("GET", "/healthz").status == 200)
    assert {m["name"]: m["actor"] for m in third.get("/v1/members")["members"]}["n3"] == actor, "it never learns of its successor"
    members = {m["name"]: m for m in second.get("/v1/members")["members"]}
    assert members["n3"]["actor"] != actor and members["n3"]["liveness"] == "online"
    for node in (first, second, third, fourth):
        assert node.stop() == 0
        assert "Traceback" not in node.log("agent")
