"""The acceptance scenario on the cluster of the demo: agents on loopback, each with a simulated host."""

import signal
import time

from scripts.cluster.acceptance import Acceptance
from scripts.cluster.nodes import Cluster, Node
from scripts.cluster.sample import HAND_MADE, LUN_A, LUN_B, device, write_luns


class Scenario(Acceptance[Node]):
    """The ten steps; faults are commands to the simulated hosts, and a partition is made by the relays."""

    lun_a, lun_b, hand_made = LUN_A, LUN_B, HAND_MADE

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.nodes)
        self._cluster = cluster

    def run(self, node: Node, *words: str, status: int = 0) -> str:
        done = node.run(*words, check=False)
        assert done.returncode == status, f"{node.name}: pathmesh {' '.join(words)}: exit {done.returncode}, not {status}: {done.stderr}"
        return done.stdout

    def allow_by_hand(self, node: Node, wwid: str) -> None:
        with (node.etc / "wwids").open("a") as file:
            file.write(f"/{wwid}/\n")

    def allowed(self, node: Node) -> set[str]:
        path = node.etc / "wwids"
        lines = path.read_text().splitlines() if path.exists() else []
        return {line[1:].partition("/")[0] for line in lines if line.startswith("/")}

    def drop_in(self, node: Node, name: str) -> str | None:
        try:
            return (node.etc / "conf.d" / name).read_text()
        except FileNotFoundError:
            return None

    def fail_path(self, node: Node) -> None:
        node.ask_host(f"fail path {device(0, 1)}")

    def mend_path(self, node: Node) -> None:
        node.ask_host(f"reinstate path {device(0, 1)}")

    def remove_path(self, node: Node) -> None:
        node.ask_host(f"del path {device(1, 2)}")

    def return_path(self, node: Node) -> None:
        node.ask_host(f"add path {device(1, 2)}")

    def remove_tools(self, node: Node) -> None:
        node.stop("host")  # it takes its socket and its program file with it

    def return_tools(self, node: Node) -> None:
        node.start_host()

    def kill(self, node: Node) -> None:
        node.stop("agent", signal.SIGKILL)

    def start(self, node: Node) -> None:
        node.start_agent()

    def partition(self, *sides: list[Node]) -> None:
        self._cluster.partition(*sides)

    def heal(self) -> None:
        self._cluster.heal()


def load_sample(cluster: Cluster) -> None:
    """The demo's configuration, without the checks."""
    first = cluster.nodes[0]
    first.run("defaults", "set", "polling-interval=5", "no-path-retry=12", "learn-window=0", "--reason", "sample")
    first.run("lun", "add", LUN_A, "--alias", "vmpool-a")
    first.run("lun", "add", LUN_B, "--alias", "vmpool-b")
    first.run("storage", "add", "multipath", "san")
    names = ",".join(n.name for n in cluster.nodes[:2])
    first.run("storage", "add", "lvm", "san-lvm", f"base=san:{LUN_A}", "vgname=vg_san", f"nodes={names}")
    end = time.monotonic() + 30
    while time.monotonic() < end and first.get("/v1/status")["cluster_state"] != "healthy":
        time.sleep(0.1)


def write_sample_luns(cluster: Cluster) -> None:
    """Every node's LUN file."""
    for node in cluster.nodes:
        write_luns(node)
