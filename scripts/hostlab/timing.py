"""How long a fault of a path takes to reach the matrices: from the kernel's event to its own node's cell, and from there to the others'.

The guests' monotonic clocks all follow this host's at a fixed distance, which is measured; so times of several guests can be compared.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.cluster.nodes import wait_for
from scripts.hostlab.node import Node

LISTENER = "/lab/guest/hear.py"
HEARD = "/run/lab-heard"


@dataclass(frozen=True)
class Spread:
    """One fault, in this host's CLOCK_MONOTONIC nanoseconds: when it was made, the kernel's first event of it, when each node had it."""

    made: int
    kernel: int
    arrived: dict[str, int]
    victim: str
    uncertain: int
    """How far two times of different guests may be off."""

    @property
    def announced_ms(self) -> float:
        """From making the fault to the kernel's event: until something used the path, or multipathd looked at it."""
        return (self.kernel - self.made) / 1e6

    @property
    def detected_ms(self) -> float:
        """From the kernel's event to the cell of its own node."""
        return (self.arrived[self.victim] - self.kernel) / 1e6

    @property
    def spread_ms(self) -> float:
        """From there to the last of the other nodes."""
        return (max(self.arrived.values()) - self.arrived[self.victim]) / 1e6

    @property
    def shown_ms(self) -> float:
        """From the kernel's event to the last of the matrices."""
        return (max(self.arrived.values()) - self.kernel) / 1e6


class Stopwatch:
    """Measures faults of one LUN on one node, as all nodes of the cluster show them."""

    def __init__(self, nodes: list[Node], victim: Node, wwid: str) -> None:
        self._nodes = nodes
        self._victim = victim
        self._wwid = wwid
        victim.guest.run(["rm", "-f", HEARD])
        self._listener = victim.guest.start(["python3", LISTENER], HEARD)

    def close(self) -> None:
        """End the listener."""
        self._victim.guest.run(["kill", str(self._listener)], check=False)

    def measure(self, fault: Callable[[], None], state: str = "degraded", seconds: float = 60.0) -> Spread:
        """Make the fault, and wait until every node shows the LUN in this state on the victim. NotReached if one does not."""
        self.wait_quiet()
        offsets = {node.name: node.guest.clock_offset() for node in self._nodes}
        begun, distance = {node.name: _newest(node) for node in self._nodes}, offsets[self._victim.name][0]
        known = len(self._heard())
        made = time.monotonic_ns()
        fault()
        shown = {}
        for node in self._nodes:

            def reads(node: Node = node) -> Any:
                cell = node.lun(self._wwid)["nodes"][self._victim.name]
                return cell if cell["state"] == state else None

            shown[node.name] = wait_for(f"{node.name} shows {self._victim.name} {state}", reads, seconds, 0.2)["seq"]
        arrived = {node.name: self._arrival(node, begun[node.name], shown[node.name]) + offsets[node.name][0] for node in self._nodes}
        told = [at + distance for at, line in self._heard()[known:] if _is_fault(line)]
        assert told, f"the kernel of {self._victim.name} has told of nothing: {self._heard()[known:]}"
        return Spread(made, told[0], arrived, self._victim.name, sum(off for _, off in offsets.values()))

    def wait_quiet(self, seconds: float = 1.5) -> None:
        """Until the victim's stream has not moved for so long, as everybody sees it."""

        def quiet() -> bool:
            before = {node.name: _newest(node) for node in self._nodes}
            time.sleep(seconds)
            return all(_newest(node) == before[node.name] for node in self._nodes)

        wait_for("nothing moves", quiet, 60, 0)

    def _heard(self) -> list[tuple[int, list[str]]]:
        lines = [line.split() for line in self._victim.guest.read(HEARD).splitlines()]
        return [(int(words[0]), words[1:]) for words in lines if len(words) == 5]

    def _arrival(self, node: Node, after: int, seq: int) -> int:
        """When the node took the victim's cells with this number or a later one, by its own clock."""
        for entry in node.get(f"/v1/trace?after={after}")["entries"]:
            stream, _, position = entry["name"].partition(":")
            if entry["what"] == "health" and stream == self._victim.name and int(position.partition(".")[2]) >= seq:
                return int(entry["monotonic_ns"])
        raise AssertionError(f"{node.name} shows number {seq} of {self._victim.name}, and its trace does not tell when it came")


def _newest(node: Node) -> int:
    entries = node.get("/v1/trace")["entries"]
    return entries[-1]["cursor"] if entries else 0


def _is_fault(words: list[str]) -> bool:
    """Whether an event tells that a path of a map failed, or that a disk is gone."""
    action, subsystem, name, dm_action = words
    return dm_action == "PATH_FAILED" or (action == "remove" and subsystem == "block" and name.startswith("sd"))
