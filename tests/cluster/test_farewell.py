"""A real node that was retired while it was down, and comes back."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.nodes import wait_for

pytestmark = pytest.mark.slow


def test_it_is_told_and_nobody_hears_it(tmp_path: Path, nodes_in: Any) -> None:
    first, second, third = nodes = nodes_in(tmp_path, 3)
    first.run("init", "--cluster", "san")
    first.start_agent()
    for node in (second, third):
        node.run("join", json.loads(first.run("token", "create", "--json", "--role", "admin").stdout)["token"])
        node.start_agent()

    def members(node: Any) -> dict[str, str]:
        return {m["name"]: m["state"] for m in node.get("/v1/members")["members"]}

    def digest(node: Any) -> str:
        return str(node.get("/v1/status")["config"]["digest"])

    wait_for("all know all", lambda: all(members(node) == {"n1": "joined", "n2": "joined", "n3": "joined"} for node in nodes), 30)
    before = digest(third)
    assert third.stop() == 0
    first.run("defaults", "set", "polling-interval=7")
    first.run("member", "retire", "n3")
    wait_for("the other knows", lambda: members(second)["n3"] == "retired" and digest(second) == digest(first) != before)
    third.start_agent(wait=False)
    wait_for("it is told", lambda: members(third)["n3"] == "retired", 30)
    assert "retired" in [finding["code"] for finding in third.get("/v1/doctor")["findings"]]
    answer = third.ask("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 9}}, if_match=third.ask("GET", "/v1/config").digest)
    assert (answer.status, answer.json["code"]) == (403, "retired")
    assert digest(third) == before, "it gets nothing of what was written since"
    for node in (first, second):
        assert {n["node"]: n["state"] for n in node.get("/v1/nodes")["nodes"]} == {"n1": "online", "n2": "online"}
    for node in nodes:
        assert node.stop() == 0
        assert "Traceback" not in node.log("agent")
