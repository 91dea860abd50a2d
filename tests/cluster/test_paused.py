"""An agent that stands still for half a minute, while others write, hang up and come back, goes on where it was."""

import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A, LUN_B

PAUSE_SECONDS = 25.0
TRAFFIC_SECONDS = 0.1

pytestmark = pytest.mark.slow


def states(node: Node) -> dict[str, str]:
    return {n["node"]: n["state"] for n in node.get("/v1/nodes")["nodes"]}


def all_online(node: Node, *running: Node) -> bool:
    """Whether the node sees three members online; NotReached if the agent of one of those that run has ended."""
    return all(each.alive() for each in running) and list(states(node).values()) == ["online"] * 3


def has(node: Node, text: str) -> bool:
    return text in node.get("/v1/dump")["config"]


def write_until(node: Node, moment: float) -> None:
    """Change a LUN again and again, so that there is traffic to everybody."""
    number = 0
    while time.monotonic() < moment:
        digest = node.ask("GET", "/v1/config").digest
        answer = node.ask("PATCH", f"/v1/config/wwids/{LUN_A}", {"set": {"comment": f"{node.name}-{number}"}}, if_match=digest)
        assert answer.status in (200, 412), answer
        number += 1
        time.sleep(TRAFFIC_SECONDS)


def test_an_agent_that_was_paused_under_traffic_is_online_again(tmp_path: Path, nodes_in: Any) -> None:
    nodes: list[Node] = nodes_in(tmp_path, 3)
    n1, n2, n3 = nodes
    for node in nodes:
        node.start_host()
    n1.run("init")
    n1.start_agent()
    token = json.loads(n1.run("token", "create", "--uses", "2", "--role", "admin", "--json").stdout)["token"]
    for node in (n2, n3):
        node.run("join", token)
        node.start_agent()
    for node in nodes:
        wait_for(f"{node.name} sees all", partial(all_online, node), 30)
    n1.run("lun", "add", LUN_A)
    wait_for("n2 has it", partial(has, n2, LUN_A))

    paused = n2.agent
    assert paused is not None
    paused.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        write_until(n1, began + 8)
        wait_for("the others see that it is gone", lambda: all(states(n)["n2"] == "offline" for n in (n1, n3)), 10)
        n3.stop("agent", signal.SIGKILL)  # it hangs up on the paused one, in the midst of what that has not read
        n3.start_agent()
        n3.run("lun", "add", LUN_B)
        write_until(n1, began + PAUSE_SECONDS)
        assert states(n1)["n3"] == "online"
    finally:
        paused.send_signal(signal.SIGCONT)

    for node in nodes:
        wait_for(f"{node.name} sees all again", partial(all_online, node, *nodes), 30)
    want = n1.get("/v1/dump")["state_hash"]
    wait_for("all have the same", lambda: all(node.get("/v1/dump")["state_hash"] == want for node in nodes), 20)
    assert n2.agent is paused and paused.poll() is None, "it is the process that it was"
    n2.run("lun", "set", LUN_B, "alias=awake")
    for node in nodes:
        wait_for(f"{node.name} has what it wrote", partial(has, node, "alias awake"))
        assert node.get("/v1/dump")["conflicts"] == []
        problems = {p["code"] for p in node.get("/v1/status")["config"]["problems"]}
        assert not problems & {"clone", "restored", "diverged", "equivocation", "storage-failed"}, problems
    for node in nodes:
        assert node.stop() == 0
        assert "Traceback" not in node.log("agent") and "Assertion" not in node.log("agent")
