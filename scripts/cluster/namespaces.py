"""Hosts of their own for nodes on one machine: network namespaces on one bridge, cut by nftables. Needs root, iproute2 and nftables."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.cluster.nodes import Node

NETWORK = "10.213.7"
"""Inside the namespaces only."""


def why_not() -> str:
    """What is missing for namespaces here; empty if nothing is."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not installed (packages iproute2, nftables)" if missing else ""


class Namespaces:
    """One namespace for each node and one for the bridge between them. Everything goes with `close`."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._prefix = f"pm{os.getpid()}"
        self._switch = f"{self._prefix}-sw"
        self._made: list[str] = []
        self._nodes = list(nodes)
        try:
            self._make(self._switch)
            _run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "br0", "up")
            for number, node in enumerate(nodes, 1):
                self._host(node, number)
        except BaseException:
            self.close()
            raise

    def address(self, node: Node) -> str:
        """The node's address on the bridge."""
        return f"{NETWORK}.{self._nodes.index(node) + 1}"

    def enter(self, node: Node) -> tuple[str, ...]:
        """The command that runs another one on the node's host."""
        return ("ip", "netns", "exec", self._name(node))

    def partition(self, *sides: Sequence[Node]) -> None:
        """Drop whatever comes from a node of another side, at both ends."""
        for side in sides:
            strangers = [self.address(node) for other in sides if other is not side for node in other]
            for node in side:
                rules = "".join(f"add rule inet cut from ip saddr {address} drop\n" for address in strangers)
                script = f"add table inet cut\nadd chain inet cut from {{ type filter hook input priority 0; }}\n{rules}"
                _run(*self.enter(node), "nft", "-f", "-", text=script)

    def heal(self) -> None:
        """Let everything pass again."""
        for node in self._nodes:
            _run(*self.enter(node), "nft", "delete", "table", "inet", "cut")

    def close(self) -> None:
        """Remove the namespaces, and with them all that is in them."""
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        self._made.clear()

    def _name(self, node: Node) -> str:
        return f"{self._prefix}-{node.name}"

    def _make(self, name: str) -> None:
        _run("ip", "netns", "add", name)
        self._made.append(name)
        _run("ip", "-n", name, "link", "set", "lo", "up")

    def _host(self, node: Node, number: int) -> None:
        name = self._name(node)
        self._make(name)
        _run("ip", "-n", self._switch, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "-n", self._switch, "link", "set", f"v{number}", "master", "br0", "up")
        _run("ip", "-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")


def settle(node: Node, address: str) -> None:
    """Let the node listen at its address, on the default ports."""
    gossip = {
        "listen": f"tcp://{address}:7946",
        "advertise": f"tcp://{address}:7946",
        "join_listen": f"tcp://{address}:7947",
        "join_advertise": f"tcp://{address}:7947",
    }
    node.settings = {**node.settings, "gossip": gossip}
    node.prepare()


def join(node: Node, inside: tuple[str, ...], token: str, program: Path) -> None:
    """Join from the node's host."""
    _run(*inside, str(program), "--config", str(node.directory / "pathmesh.toml"), "join", token)


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
