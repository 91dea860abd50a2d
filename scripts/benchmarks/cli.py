"""`pathmesh status` from the shell: from the start of the process to its end."""

import subprocess
import time

from scripts.benchmarks.rig import scratch
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import PATHMESH, Cluster, running
from scripts.cluster.sample import write_luns
from scripts.cluster.scenario import load_sample

NODES = 3
WARM_UP = 3
RUNS = 20


def measure(quick: bool) -> list[Row]:
    """Against the sample cluster. `python -c pass` stands beside it: what any Python program costs here."""
    runs = RUNS if not quick else RUNS // 2
    with scratch() as directory:
        cluster = Cluster(directory, NODES)
        for node in cluster.nodes:
            write_luns(node)
        with running(cluster):
            load_sample(cluster)
            command = [str(PATHMESH), "--socket", str(cluster.nodes[0].socket), "status"]
            bare = [str(PATHMESH.with_name("python")), "-c", "pass"]
            taken, floor = [], []
            for number in range(WARM_UP + runs):
                floor_ms, status_ms = _run(bare), _run(command)
                if number >= WARM_UP:
                    taken.append(status_ms)
                    floor.append(floor_ms)
    return [
        Row("cli: pathmesh status, whole process", "ms", tuple(taken), Target(Judged.MEDIAN, 100)),
        Row("cli: python -c pass", "ms", tuple(floor)),
    ]


def _run(command: list[str]) -> float:
    began = time.monotonic_ns()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    ended = time.monotonic_ns()
    # Exit 4 says that something in the cluster is not as it should be; the answer is complete all the same.
    if done.returncode not in (0, 4):
        raise AssertionError(f"{command}: exit {done.returncode}: {done.stderr.decode()[-300:]}")
    return (ended - began) / 1e6
