"""The acceptance scenario: ten steps over three real nodes, each a promise to users."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from scripts.cluster.nodes import Cluster, Node, wait_for
from scripts.cluster.sample import HAND_MADE, LUN_A, LUN_B, device, path_id, write_luns

MAIN = "90-pathmesh.conf"
OVERRIDES = "95-pathmesh-overrides.conf"


class Scenario:
    """Runs the steps in order on a started cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.n1, self.n2, self.n3 = cluster.nodes[:3]

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is promised, and the check of it."""
        yield "a configuration written on one node is in sync on all, with one digest", self.config_reaches_all
        yield "every map is healthy on every node", self.all_healthy
        yield "a failed path degrades its LUN on its node alone, and comes back", self.path_fails
        yield "a removed path is named; accepting what is left clears it", self.path_is_lost
        yield "a hand-made allow-list entry survives, managed and unmanaged again", self.hand_made_survives
        yield "a node without multipath-tools says so; the others are unaffected", self.tools_are_gone
        yield "a killed node reads offline and its cells unknown, until it is back", self.node_is_killed
        yield "concurrent edits of one LUN conflict and are resolved; of two LUNs they do not", self.partition_heals
        yield "a write with a stale digest is refused and changes nothing", self.stale_digest
        yield "an emptied configuration leaves nothing of ours, and the hand-made entry", self.emptied

    # -- 1, 2 ---------------------------------------------------------------------------------------------------------

    def config_reaches_all(self) -> None:
        for node in self.cluster.nodes:
            _append_by_hand(node, ())
        _append_by_hand(self.n1, (HAND_MADE,))
        self.n1.run("defaults", "set", "polling-interval=5", "no-path-retry=12", "learn-window=0")
        self.n1.run("lun", "add", LUN_A, "--alias", "vmpool-a")
        self.n1.run("lun", "add", LUN_B, "--alias", "vmpool-b")
        self.n1.run("storage", "add", "multipath", "san")
        self.n1.run("storage", "add", "lvm", "san-lvm", f"base=san:{LUN_A}", "vgname=vg_san", "nodes=n1,n2")
        self.in_sync()
        digests = {n.get("/v1/status")["config"]["digest"] for n in self.cluster.nodes}
        assert len(digests) == 1, f"different digests: {digests}"
        for node in self.cluster.nodes:
            text = (node.etc / "conf.d" / MAIN).read_text()
            assert 'alias "vmpool-a"' in text, f"{node.name}: {text}"
            assert 'no_path_retry "12"' in text, f"{node.name}: {text}"
            assert {LUN_A, LUN_B} <= _allowed(node), f"{node.name}: {_allowed(node)}"
        rendered = {(n.etc / "conf.d" / MAIN).read_bytes() for n in self.cluster.nodes}
        assert len(rendered) == 1, "the rendered files differ"

    def all_healthy(self) -> None:
        for viewer in self.cluster.nodes:
            for wwid in (LUN_A, LUN_B):
                self.expect(viewer, wwid, "healthy", {n.name: "healthy" for n in self.cluster.nodes})
        lun = _lun(self.n2, LUN_A)
        assert lun["expected_nodes"] == ["n1", "n2"], lun
        assert {"storage": "san-lvm", "type": "lvm", "via": "san"} in lun["consumers"], lun

    # -- 3, 4 ---------------------------------------------------------------------------------------------------------

    def path_fails(self) -> None:
        self.n2.ask_host(f"fail path {device(0, 1)}")
        for viewer in self.cluster.nodes:
            self.expect(viewer, LUN_A, "degraded", {"n1": "healthy", "n2": "degraded", "n3": "healthy"})
            assert _lun(viewer, LUN_B)["state"] == "healthy"
        cell = _lun(self.n3, LUN_A)["nodes"]["n2"]
        assert cell["paths"]["usable"] == 1 and cell["paths"]["failed"] == 1, cell
        assert cell["redundancy"] == "single", cell
        self.n2.ask_host(f"reinstate path {device(0, 1)}")
        for viewer in self.cluster.nodes:
            self.expect(viewer, LUN_A, "healthy")

    def path_is_lost(self) -> None:
        lost = path_id(self.n3, 2)
        self.n3.ask_host(f"del path {device(1, 2)}")
        for viewer in self.cluster.nodes:
            self.expect(viewer, LUN_B, "degraded", {"n1": "healthy", "n2": "healthy", "n3": "degraded"})
            cell = _lun(viewer, LUN_B)["nodes"]["n3"]
            assert "path-lost" in cell["reasons"] and cell["missing_paths"] == [lost], cell
        assert lost in self.n1.run("status").stdout
        self.n1.run("lun", "accept", LUN_B, "--node", "n3", "--reason", "fabric 2 of n3 was taken out on purpose")
        for viewer in self.cluster.nodes:
            self.expect(viewer, LUN_B, "healthy")
        self.n3.ask_host(f"add path {device(1, 2)}")
        wait_for("the second path is expected again", lambda: _lun(self.n1, LUN_B)["nodes"]["n3"]["paths"]["expected"] == 2)
        self.in_sync()

    # -- 5 ------------------------------------------------------------------------------------------------------------

    def hand_made_survives(self) -> None:
        assert HAND_MADE in _allowed(self.n1)
        self.n1.run("lun", "add", HAND_MADE)
        wait_for("n2 has the managed entry", lambda: HAND_MADE in _allowed(self.n2))
        self.in_sync()
        self.n1.run("lun", "rm", HAND_MADE)
        wait_for("n2 has lost the managed entry", lambda: HAND_MADE not in _allowed(self.n2))
        wait_for("n3 has lost the managed entry", lambda: HAND_MADE not in _allowed(self.n3))
        self.in_sync()
        assert HAND_MADE in _allowed(self.n1), "the hand-made entry is gone"
        assert {LUN_A, LUN_B} <= _allowed(self.n1)

    # -- 6, 7 ---------------------------------------------------------------------------------------------------------

    def tools_are_gone(self) -> None:
        self.n3.stop("host")
        apply = wait_for("n3 says that its tools are gone", lambda: _failed(_node(self.n1, "n3")["apply"], "not-installed"))
        error = next(e for e in apply["errors"] if e["code"] == "not-installed")
        assert error["hint"], error
        for name in ("n1", "n2"):
            assert _node(self.n1, name)["apply"]["state"] == "in-sync"
        assert _lun(self.n1, LUN_A)["nodes"]["n1"]["state"] == "healthy"
        self.n3.start_host()
        self.in_sync()
        self.expect(self.n1, LUN_B, "healthy")

    def node_is_killed(self) -> None:
        self.n2.stop("agent", signal.SIGKILL)
        for viewer in (self.n1, self.n3):
            wait_for(f"{viewer.name} sees n2 offline", lambda viewer=viewer: _node(viewer, "n2")["state"] == "offline")
            lun = wait_for("n2's cell reads unknown", lambda viewer=viewer: _with_cell(_lun(viewer, LUN_A), "n2", "unknown"))
            assert lun["state"] != "healthy", lun
            assert lun["nodes"]["n2"]["last"]["state"] == "healthy", lun
        self.n2.start_agent()
        for viewer in self.cluster.nodes:
            wait_for(f"{viewer.name} sees n2 online", lambda viewer=viewer: _node(viewer, "n2")["state"] == "online")
            self.expect(viewer, LUN_A, "healthy", {n.name: "healthy" for n in self.cluster.nodes})

    # -- 8, 9 ---------------------------------------------------------------------------------------------------------

    def partition_heals(self) -> None:
        key = f"wwid/{LUN_A}"
        self.cluster.partition([self.n1], [self.n2, self.n3])
        wait_for("n1 is alone", lambda: all(_node(self.n1, n)["state"] == "offline" for n in ("n2", "n3")), 30)
        wait_for("n2 misses n1", lambda: _node(self.n2, "n1")["state"] == "offline", 30)
        self.n1.run("lun", "set", LUN_A, "no-path-retry=18", "--reason", "on the one side")
        self.n2.run("lun", "set", LUN_A, "no-path-retry=24", "--reason", "on the other side")
        self.n1.run("lun", "set", LUN_B, "comment=written alone")
        self.n3.run("defaults", "set", "polling-interval=10")
        self.cluster.heal()
        for node in self.cluster.nodes:
            wait_for(f"{node.name} shows the conflict", lambda node=node: _conflict_keys(node) == [key], 30)
            done = node.run("conflicts", check=False)
            assert done.returncode == 4, done
            assert node.run("lun", "set", LUN_A, "comment=x", check=False).returncode == 4
        self.in_sync()
        texts = {(n.etc / "conf.d" / MAIN).read_bytes() for n in self.cluster.nodes}
        assert len(texts) == 1, "the nodes apply different winners"
        assert "comment" in self.n2.get(f"/v1/config/wwids/{LUN_B}")["options"], "an edit of another LUN is lost"
        assert self.n1.get("/v1/config/defaults")["options"]["polling-interval"] == "10"
        self.n3.run("resolve", key, "--take", "1")
        for node in self.cluster.nodes:
            wait_for(f"{node.name} shows no conflict", lambda node=node: _conflict_keys(node) == [])
        self.in_sync()
        self.cluster.wait_online()

    def stale_digest(self) -> None:
        before = self.n1.ask("GET", "/v1/config", accept="text/plain")
        self.n1.run("lun", "set", LUN_B, "comment=newer")
        after = self.n1.ask("GET", "/v1/config", accept="text/plain")
        answer = self.n1.ask("PATCH", f"/v1/config/wwids/{LUN_B}", {"set": {"comment": "stale"}}, if_match=before.digest)
        assert answer.status == 412, answer
        assert answer.json["code"] == "stale-digest" and f'"{answer.json["digest"]}"' == after.digest, answer.json
        done = self.n1.run("lun", "set", LUN_B, "comment=stale", "--digest", before.digest.strip('"'), check=False)
        assert done.returncode == 4, done
        assert self.n1.ask("GET", "/v1/config", accept="text/plain").body == after.body, "something changed"
        self.in_sync()

    # -- 10 -----------------------------------------------------------------------------------------------------------

    def emptied(self) -> None:
        digest = self.n1.ask("GET", "/v1/config", accept="text/plain").digest
        answer = self.n1.ask("PUT", "/v1/config", "", if_match=digest, content_type="text/plain")
        assert answer.status == 200, answer
        for node in self.cluster.nodes:
            wait_for(f"{node.name} has no drop-ins", lambda node=node: not _dropins(node))
            wait_for(f"{node.name} has no managed entries", lambda node=node: not {LUN_A, LUN_B} & _allowed(node))
        assert _allowed(self.n1) == {HAND_MADE}, _allowed(self.n1)
        self.in_sync()

    # -- helpers ------------------------------------------------------------------------------------------------------

    def in_sync(self) -> None:
        """Until every node says to every node that it has applied what that node wants, and wants the same."""

        def settled() -> bool:
            desired = set()
            for viewer in self.cluster.nodes:
                for node in viewer.get("/v1/status")["nodes"]:
                    apply = node["apply"]
                    if apply["state"] != "in-sync" or apply["desired"] != apply["applied"]:
                        return False
                    desired.add(apply["applied"])
            return len(desired) == 1

        wait_for("all nodes are in sync", settled, 40)

    def expect(self, viewer: Node, wwid: str, state: str, cells: dict[str, str] | None = None) -> None:
        """Until the viewer's matrix reads so."""

        def reads() -> bool:
            lun = _lun(viewer, wwid)
            return lun["state"] == state and all(lun["nodes"][n]["state"] == s for n, s in (cells or {}).items())

        try:
            wait_for(f"{viewer.name}: {wwid} {state}", reads, 20)
        except AssertionError as fault:
            raise AssertionError(f"{fault}; {json.dumps(_lun(viewer, wwid))[:1500]}") from None


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


def _lun(viewer: Node, wwid: str) -> Any:
    return next(lun for lun in viewer.get("/v1/status")["luns"] if lun["wwid"] == wwid)


def _node(viewer: Node, name: str) -> Any:
    return next(node for node in viewer.get("/v1/status")["nodes"] if node["node"] == name)


def _failed(apply: Any, code: str) -> Any:
    return apply if apply["state"] == "failed" and any(e["code"] == code for e in apply["errors"]) else None


def _with_cell(lun: Any, node: str, state: str) -> Any:
    return lun if lun["nodes"][node]["state"] == state else None


def _conflict_keys(node: Node) -> list[str]:
    return [c["key"] for c in node.get("/v1/conflicts")["conflicts"]]


def _allowed(node: Node) -> set[str]:
    path = node.etc / "wwids"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line[1:].partition("/")[0] for line in lines if line.startswith("/")}


def _dropins(node: Node) -> list[str]:
    return [name for name in (MAIN, OVERRIDES) if (node.etc / "conf.d" / name).exists()]


def _append_by_hand(node: Node, wwids: tuple[str, ...]) -> None:
    with (node.etc / "wwids").open("a") as file:
        file.writelines(f"/{wwid}/\n" for wwid in wwids)
