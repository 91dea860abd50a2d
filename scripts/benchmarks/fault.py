"""A path fails on one host: until its own node sees it (detection), and from there until every node has it (spreading)."""

import random
import time

from scripts.benchmarks.rig import Entry, Traces, scratch
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Cluster, running, wait_for
from scripts.cluster.sample import device, write_luns
from scripts.cluster.scenario import load_sample

NODES = 4
POLL_MS = 500
WARM_UP = 2


def measure(quick: bool) -> list[Row]:
    """The host in turn; the command comes at a random moment between two polls."""
    rounds = 10 if quick else 40
    chance = random.Random(1)
    detection, spreading = [], []
    with scratch() as directory:
        cluster = Cluster(directory, NODES, settings={"multipath": {"poll_interval_ms": POLL_MS}})
        for node in cluster.nodes:
            write_luns(node)
        with running(cluster):
            load_sample(cluster)
            traces = Traces(cluster.nodes)
            for number in range(WARM_UP + rounds):
                traces.wait_quiet(1_000)
                victim = cluster.nodes[number % NODES]
                time.sleep(chance.uniform(0, POLL_MS / 1000))
                began = time.monotonic_ns()
                victim.ask_host(f"fail path {device(0, 1)}")
                time.sleep(POLL_MS / 1000 + 0.3)
                seen = _arrivals(traces, victim.name)
                victim.ask_host(f"reinstate path {device(0, 1)}")
                if number >= WARM_UP:
                    own = seen.pop(victim.name)
                    detection.append((own - began) / 1e6)
                    spreading.append((max(seen.values()) - own) / 1e6)
    return [
        Row("fault: command -> own node has seen it (poll 500 ms)", "ms", tuple(detection)),
        Row("fault: own node -> the matrix of the last of 4", "ms", tuple(spreading), Target(Judged.MEDIAN, 20)),
    ]


def _arrivals(traces: Traces, name: str) -> dict[str, int]:
    """When the victim's next position came to each node (nanoseconds)."""
    found: dict[str, int] = {}

    def everywhere() -> bool:
        for node, entries in traces.grown().items():
            found.update(_first(node, entries, name, found))
        return len(found) == NODES

    wait_for(f"{name}'s fault is everywhere", everywhere, 20)
    return found


def _first(node: str, entries: list[Entry], name: str, found: dict[str, int]) -> dict[str, int]:
    times = [at for what, stream, at in entries if what == "health" and stream.startswith(f"{name}:")]
    return {node: times[0]} if times and node not in found else {}
