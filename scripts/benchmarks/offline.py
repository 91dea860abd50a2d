"""SIGKILL and SIGSTOP of one agent of many: how long until each of the others shows it."""

import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from scripts.benchmarks.rig import Wire, hostless, say
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Node

SIZES = (8, 32)
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 30.0


def measure(quick: bool) -> list[Row]:
    """The last of the others, for one victim after another."""
    rounds = 2 if quick else 5
    rows = []
    for size in SIZES:
        killed, unknown, stopped = [], [], []
        with hostless(size) as cluster:
            for number in range(rounds):
                victim = cluster.nodes[size - 1 - number % (size - 1)]
                others = [node for node in cluster.nodes if node is not victim]
                time.sleep(2 + number * 0.13)
                assert victim.agent is not None
                victim.agent.send_signal(signal.SIGSTOP)
                cells, offline = _watch(victim, others, _distrusted, _offline)
                unknown.append(cells)
                stopped.append(offline)
                victim.agent.send_signal(signal.SIGCONT)
                cluster.wait_online()
                time.sleep(2)
                victim.agent.send_signal(signal.SIGKILL)
                killed.append(_watch(victim, others, _offline)[0])
                victim.stop("agent")
                say(f"offline: {victim.name} of {size}: stopped {cells:.2f}/{offline:.2f} s, killed {killed[-1]:.2f} s")
                victim.start_agent()
                cluster.wait_online()
        rows += [
            Row(f"offline: SIGKILL -> offline at the last of {size - 1}", "s", tuple(killed), Target(Judged.WORST, 3)),
            Row(f"offline: SIGSTOP -> its cells unknown at the last of {size - 1}", "s", tuple(unknown), Target(Judged.WORST, 4)),
            Row(f"offline: SIGSTOP -> offline at the last of {size - 1}", "s", tuple(stopped), Target(Judged.WORST, 10)),
        ]
    return rows


Sign = Callable[[Wire, str], bool]


def _offline(wire: Wire, name: str) -> bool:
    return bool(json.loads(wire.ask("GET", f"/v1/nodes/{name}").body)["state"] == "offline")


def _distrusted(wire: Wire, name: str) -> bool:
    """Whether the node's cells read unknown: its word is not fresh."""
    found: dict[str, Any] = json.loads(wire.ask("GET", "/v1/matrix?limit=1").body)["reporters"]
    return bool(found[name]["state"] != "fresh")


def _watch(victim: Node, others: list[Node], *signs: Sign) -> list[float]:
    """Seconds until the last of the others shows each sign, from now on."""
    shown: dict[str, list[float]] = {node.name: [] for node in others}

    def watch(node: Node, wire: Wire) -> None:
        for sign in signs:
            while not sign(wire, victim.name):
                if time.monotonic() > began + PATIENCE_SECONDS:
                    return
                time.sleep(LOOK_SECONDS * len(others) / 7)  # the lookers must not slow down what they look at
            shown[node.name].append(time.monotonic() - began)

    wires = [Wire(node.socket) for node in others]
    watchers = [threading.Thread(target=watch, args=pair) for pair in zip(others, wires, strict=True)]
    began = time.monotonic()
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    for wire in wires:
        wire.close()
    late = sorted(name for name, times in shown.items() if len(times) < len(signs))
    if late:
        raise AssertionError(f"{victim.name} is silent, and {late} do not show it")
    return [max(times[number] for times in shown.values()) for number in range(len(signs))]
