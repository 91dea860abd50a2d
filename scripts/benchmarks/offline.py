"""SIGKILL of one agent of eight: how long until each of the others shows it offline."""

import json
import signal
import threading
import time

from scripts.benchmarks.rig import Wire, hostless, say
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Node

NODES = 8
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 20.0


def measure(quick: bool) -> list[Row]:
    """The last of the others, for one killed node after another."""
    rounds = 2 if quick else 6
    last = []
    with hostless(NODES) as cluster:
        for number in range(rounds):
            victim = cluster.nodes[NODES - 1 - number % (NODES - 1)]
            time.sleep(2 + number * 0.13)
            last.append(_kill(victim, [node for node in cluster.nodes if node is not victim]))
            say(f"offline: {victim.name} after {last[-1]:.2f} s")
            victim.start_agent()
            cluster.wait_online()
    return [Row("offline: SIGKILL -> shown by the last of 7", "s", tuple(last), Target(Judged.WORST, 3))]


def _kill(victim: Node, others: list[Node]) -> float:
    """Seconds until the last of the others shows the victim offline."""
    shown: dict[str, float] = {}

    def watch(node: Node, wire: Wire) -> None:
        while time.monotonic() < began + PATIENCE_SECONDS:
            reply = wire.ask("GET", f"/v1/nodes/{victim.name}")
            if json.loads(reply.body)["state"] == "offline":
                shown[node.name] = time.monotonic() - began
                return
            time.sleep(LOOK_SECONDS)

    wires = [Wire(node.socket) for node in others]
    watchers = [threading.Thread(target=watch, args=pair) for pair in zip(others, wires, strict=True)]
    began = time.monotonic()
    for watcher in watchers:
        watcher.start()
    victim.stop("agent", signal.SIGKILL)
    for watcher in watchers:
        watcher.join()
    for wire in wires:
        wire.close()
    if len(shown) < len(others):
        raise AssertionError(f"{victim.name} is killed and {sorted({n.name for n in others} - shown.keys())} do not show it")
    return max(shown.values())
