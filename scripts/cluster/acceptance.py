"""The acceptance scenario: ten steps over three real nodes, each a promise to users. What kind of host the nodes have is filled in."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from scripts.cluster.client import Answer
from scripts.cluster.nodes import wait_for

DROP_INS = ("90-pathmesh.conf", "95-pathmesh-overrides.conf")


class Member(Protocol):
    """A node as the scenario sees it."""

    @property
    def name(self) -> str: ...

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer: ...

    def get(self, path: str) -> Any: ...


N = TypeVar("N", bound=Member)


class Acceptance(ABC, Generic[N]):
    """The ten steps, in order, on a started cluster. A step that fails raises AssertionError, KeyError or OSError."""

    lun_a: str
    """Both nodes 1 and 2 use it through a storage; every node has it with two paths."""
    lun_b: str
    hand_made: str
    """Not managed; on node 1 it is allowed by hand."""
    patience: float = 30.0
    """Seconds in which a change shows everywhere."""
    pause: float = 0.05
    """Seconds between two looks."""

    def __init__(self, nodes: list[N]) -> None:
        self.nodes = nodes
        self.n1, self.n2, self.n3 = nodes[:3]

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

    def play(self, say: Callable[[str], None]) -> bool:
        """Run the steps and say how each went; a failed one ends the run, for each stands on the one before. Whether all hold."""
        began = time.monotonic()
        for number, (promise, verify) in enumerate(self.steps(), 1):
            start = time.monotonic()
            try:
                verify()
            except (AssertionError, KeyError, OSError) as fault:
                say(f"{number:2} FAILED  {promise}\n   {type(fault).__name__}: {str(fault)[:3000]}")
                return False
            say(f"{number:2} ok  {promise}  ({time.monotonic() - start:.1f} s)")
        say(f"all ten steps hold ({time.monotonic() - began:.0f} s)")
        return True

    # -- what a kind of host fills in ---------------------------------------------------------------------------------

    @abstractmethod
    def run(self, node: N, *words: str, status: int = 0) -> str:
        """What a pathmesh command on the node prints. AssertionError if it does not end with this exit status."""

    @abstractmethod
    def allow_by_hand(self, node: N, wwid: str) -> None:
        """Allow a LUN as an administrator does."""

    @abstractmethod
    def allowed(self, node: N) -> set[str]:
        """The WWIDs of the allow-list's active lines."""

    @abstractmethod
    def drop_in(self, node: N, name: str) -> str | None:
        """The text of a file of ours; None if it is not there."""

    @abstractmethod
    def fail_path(self, node: N) -> None:
        """Let LUN A's first path fail."""

    @abstractmethod
    def mend_path(self, node: N) -> None:
        """Let it work again."""

    @abstractmethod
    def remove_path(self, node: N) -> None:
        """Take LUN B's second path away."""

    @abstractmethod
    def return_path(self, node: N) -> None:
        """Bring it back."""

    @abstractmethod
    def remove_tools(self, node: N) -> None:
        """Take multipath-tools away, with the daemon."""

    @abstractmethod
    def return_tools(self, node: N) -> None:
        """Bring them back, and start the daemon."""

    @abstractmethod
    def kill(self, node: N) -> None:
        """End the agent without a warning."""

    @abstractmethod
    def start(self, node: N) -> None:
        """Start the agent."""

    @abstractmethod
    def partition(self, *sides: list[N]) -> None:
        """Let only nodes of one side talk with each other."""

    @abstractmethod
    def heal(self) -> None:
        """Let everybody talk with everybody."""

    def look_at_host(self, node: N) -> None:
        """Check that the host itself agrees, once it is in sync for the first time."""

    def look_at_data(self, moment: str) -> None:
        """Check what uses the LUNs; at each end of a step as long as there is a configuration, and where a fault is at its worst."""

    def let_go(self, node: N) -> None:
        """The configuration is empty, and LUN B is let go of: give up what still holds LUN A."""

    # -- 1, 2 ---------------------------------------------------------------------------------------------------------

    def config_reaches_all(self) -> None:
        self.allow_by_hand(self.n1, self.hand_made)
        self.run(self.n1, "defaults", "set", "polling-interval=1", "max-polling-interval=2", "no-path-retry=12", "learn-window=0")
        self.run(self.n1, "lun", "add", self.lun_a, "--alias", "vmpool-a")
        self.run(self.n1, "lun", "add", self.lun_b, "--alias", "vmpool-b")
        self.run(self.n1, "storage", "add", "multipath", "san")
        self.run(self.n1, "storage", "add", "lvm", "san-lvm", f"base=san:{self.lun_a}", "vgname=vg_san", "nodes=n1,n2")
        self.in_sync()
        digests = {node.get("/v1/status")["config"]["digest"] for node in self.nodes}
        assert len(digests) == 1, f"different digests: {digests}"
        for line in ('alias "vmpool-a"', 'no_path_retry "12"'):
            assert line in self._one_text(), f"{line} is not in {self._one_text()}"
        for node in self.nodes:
            assert {self.lun_a, self.lun_b} <= self.allowed(node), f"{node.name}: {self.allowed(node)}"
            self.look_at_host(node)
        self.look_at_data("in sync")

    def all_healthy(self) -> None:
        for wwid in (self.lun_a, self.lun_b):
            self.reads(wwid, "healthy", {node.name: "healthy" for node in self.nodes})
        row = self.lun(self.n2, self.lun_a)
        assert row["expected_nodes"] == ["n1", "n2"], row
        assert {"storage": "san-lvm", "type": "lvm", "via": "san"} in row["consumers"], row
        assert all(row["nodes"][node.name]["paths"]["expected"] == 2 for node in self.nodes), row
        self.look_at_data("healthy")

    # -- 3, 4 ---------------------------------------------------------------------------------------------------------

    def path_fails(self) -> None:
        self.fail_path(self.n2)
        self.reads(self.lun_a, "degraded", {"n1": "healthy", "n2": "degraded", "n3": "healthy"})
        for viewer in self.nodes:
            assert self.lun(viewer, self.lun_b)["state"] == "healthy"
        cell = self.lun(self.n3, self.lun_a)["nodes"]["n2"]
        assert cell["paths"]["usable"] == 1 and cell["paths"]["failed"] == 1, cell
        assert cell["redundancy"] == "single", cell
        self.look_at_data("one path failed")
        self.mend_path(self.n2)
        self.reads(self.lun_a, "healthy")
        self.look_at_data("mended")

    def path_is_lost(self) -> None:
        before = self.path_ids(self.n3, self.lun_b)
        self.remove_path(self.n3)
        self.reads(self.lun_b, "degraded", {"n1": "healthy", "n2": "healthy", "n3": "degraded"})
        left = self.path_ids(self.n3, self.lun_b)
        lost = sorted(before - left)
        assert len(lost) == 1 and len(left) == 1, (before, left)
        for viewer in self.nodes:
            cell = self.lun(viewer, self.lun_b)["nodes"]["n3"]
            assert "path-lost" in cell["reasons"] and cell["missing_paths"] == lost, cell
        assert lost[0] in self.run(self.n1, "status")
        self.run(self.n1, "lun", "accept", self.lun_b, "--node", "n3", "--reason", "one path of n3 was taken out on purpose")
        self.reads(self.lun_b, "healthy")
        self.return_path(self.n3)

        def expected_again() -> bool:
            return bool(self.lun(self.n1, self.lun_b)["nodes"]["n3"]["paths"]["expected"] == 2)

        self.wait("the second path is expected again", expected_again)
        assert self.path_ids(self.n3, self.lun_b) == before, "a path came back under another identity"
        self.in_sync()
        self.look_at_data("a path taken out and back")

    # -- 5 ------------------------------------------------------------------------------------------------------------

    def hand_made_survives(self) -> None:
        assert self.hand_made in self.allowed(self.n1)
        self.run(self.n1, "lun", "add", self.hand_made)
        for node in self.nodes:
            self.wait(f"{node.name} has the managed entry", lambda node=node: self.hand_made in self.allowed(node))
        self.in_sync()
        self.run(self.n1, "lun", "rm", self.hand_made)
        for node in self.nodes[1:]:
            self.wait(f"{node.name} has lost the managed entry", lambda node=node: self.hand_made not in self.allowed(node))
        self.in_sync()
        assert self.hand_made in self.allowed(self.n1), "the hand-made entry is gone"
        assert {self.lun_a, self.lun_b} <= self.allowed(self.n1)
        self.look_at_data("managed and unmanaged")

    # -- 6, 7 ---------------------------------------------------------------------------------------------------------

    def tools_are_gone(self) -> None:
        self.remove_tools(self.n3)

        def said() -> Any:
            apply = self.node(self.n1, "n3")["apply"]
            return apply["state"] == "failed" and [error for error in apply["errors"] if error["code"] == "not-installed"]

        [error] = self.wait("n3 says that its tools are gone", said)
        assert error["hint"], error
        for name in ("n1", "n2"):
            assert self.node(self.n1, name)["apply"]["state"] == "in-sync"
        assert self.lun(self.n1, self.lun_a)["nodes"]["n1"]["state"] == "healthy"
        self.look_at_data("without a daemon on n3")
        self.return_tools(self.n3)
        self.in_sync()
        self.reads(self.lun_b, "healthy", viewers=[self.n1])
        self.look_at_data("with the daemon again")

    def node_is_killed(self) -> None:
        self.kill(self.n2)
        for viewer in (self.n1, self.n3):
            self.sees(viewer, "n2", "offline")
            row = self.reads(self.lun_a, None, {"n2": "unknown"}, viewers=[viewer])
            assert row["state"] != "healthy", row
            assert row["nodes"]["n2"]["last"]["state"] == "healthy", row
        self.look_at_data("without the agent of n2")
        self.start(self.n2)
        for viewer in self.nodes:
            self.sees(viewer, "n2", "online")
        self.reads(self.lun_a, "healthy", {node.name: "healthy" for node in self.nodes})
        self.look_at_data("with the agent again")

    # -- 8, 9 ---------------------------------------------------------------------------------------------------------

    def partition_heals(self) -> None:
        key = f"wwid/{self.lun_a}"
        self.partition([self.n1], self.nodes[1:])
        for node in self.nodes[1:]:
            self.sees(self.n1, node.name, "offline")
            self.sees(node, "n1", "offline")
        self.run(self.n1, "lun", "set", self.lun_a, "no-path-retry=18", "--reason", "on the one side")
        self.run(self.n2, "lun", "set", self.lun_a, "no-path-retry=24", "--reason", "on the other side")
        self.run(self.n1, "lun", "set", self.lun_b, "comment=written alone")
        self.run(self.n3, "defaults", "set", "max-polling-interval=3")
        self.heal()
        for node in self.nodes:
            self.wait(f"{node.name} shows the conflict", lambda node=node: self.conflicts(node) == [key])
            self.run(node, "conflicts", status=4)
            self.run(node, "lun", "set", self.lun_a, "comment=x", status=4)
        self.in_sync()
        self._one_text()
        assert "comment" in self.n2.get(f"/v1/config/wwids/{self.lun_b}")["options"], "an edit of another LUN is lost"
        assert self.n1.get("/v1/config/defaults")["options"]["max-polling-interval"] == "3"
        self.run(self.n3, "resolve", key, "--take", "1")
        for node in self.nodes:
            self.wait(f"{node.name} shows no conflict", lambda node=node: self.conflicts(node) == [])
        self.in_sync()
        for viewer in self.nodes:
            for node in self.nodes:
                self.sees(viewer, node.name, "online")
        self.look_at_data("healed")

    def stale_digest(self) -> None:
        before = self.n1.ask("GET", "/v1/config", accept="text/plain")
        self.run(self.n1, "lun", "set", self.lun_b, "comment=newer")
        after = self.n1.ask("GET", "/v1/config", accept="text/plain")
        answer = self.n1.ask("PATCH", f"/v1/config/wwids/{self.lun_b}", {"set": {"comment": "stale"}}, if_match=before.digest)
        assert answer.status == 412, answer
        assert answer.json["code"] == "stale-digest" and f'"{answer.json["digest"]}"' == after.digest, answer.json
        self.run(self.n1, "lun", "set", self.lun_b, "comment=stale", "--digest", before.digest.strip('"'), status=4)
        assert self.n1.ask("GET", "/v1/config", accept="text/plain").body == after.body, "something changed"
        self.in_sync()
        self.look_at_data("a stale write refused")

    # -- 10 -----------------------------------------------------------------------------------------------------------

    def emptied(self) -> None:
        """A LUN that is in use is let go of only by its user: nothing is pruned below it, and its map keeps its name."""
        digest = self.n1.ask("GET", "/v1/config", accept="text/plain").digest
        answer = self.n1.ask("PUT", "/v1/config", "", if_match=digest)
        assert answer.status == 200, answer
        for node in self.nodes:
            self.wait(f"{node.name} has pruned LUN B", lambda node=node: self.lun_b not in self.allowed(node))
        self.look_at_data("an empty configuration")
        for node in self.nodes:
            self.let_go(node)
            self.wait(f"{node.name} has pruned LUN A", lambda node=node: self.lun_a not in self.allowed(node))
            self.wait(f"{node.name} has no drop-ins", lambda node=node: not any(self.drop_in(node, name) for name in DROP_INS))
            left = {self.hand_made} if node is self.n1 else set()
            assert self.allowed(node) == left, f"{node.name}: {self.allowed(node)}"
        self.in_sync()

    # -- helpers ------------------------------------------------------------------------------------------------------

    def wait(self, what: str, look: Callable[[], Any]) -> Any:
        """Look until something true is found."""
        return wait_for(what, look, self.patience, self.pause)

    def in_sync(self) -> None:
        """Until every node says to every node that it has applied what that node wants, and wants the same."""

        def settled() -> bool:
            cells = [node["apply"] for viewer in self.nodes for node in viewer.get("/v1/status")["nodes"]]
            same = len({cell["desired"] for cell in cells}) == 1
            return same and all(cell["state"] == "in-sync" and cell["desired"] == cell["applied"] for cell in cells)

        try:
            wait_for("all nodes are in sync", settled, 2 * self.patience, self.pause)
        except AssertionError as fault:
            states = {node["node"]: node["apply"] for node in self.n1.get("/v1/status")["nodes"]}
            raise AssertionError(f"{fault}: {json.dumps(states)[:1500]}") from None

    def reads(self, wwid: str, state: str | None, cells: Mapping[str, str] | None = None, *, viewers: list[N] | None = None) -> Any:
        """Until the row of a LUN reads so for every viewer: its own state, if one is given, and those of the nodes given. The last row."""
        row: Any = None
        for viewer in viewers or self.nodes:

            def found(viewer: N = viewer) -> Any:
                row = self.lun(viewer, wwid)
                good = state in (None, row["state"]) and all(row["nodes"][n]["state"] == s for n, s in (cells or {}).items())
                return row if good else None

            try:
                row = self.wait(f"{viewer.name}: {wwid} {state or ''} {dict(cells or {})}", found)
            except AssertionError as fault:
                raise AssertionError(f"{fault}; {json.dumps(self.lun(viewer, wwid))[:1800]}") from None
        return row

    def sees(self, viewer: N, name: str, state: str) -> None:
        """Until a node shows another in this state."""
        self.wait(f"{viewer.name} sees {name} {state}", lambda: self.node(viewer, name)["state"] == state)

    def lun(self, viewer: N, wwid: str) -> Any:
        """A LUN's row of a node's status document. KeyError if there is none."""
        return _row(viewer.get("/v1/status")["luns"], "wwid", wwid)

    def node(self, viewer: N, name: str) -> Any:
        """A node's row of it. KeyError if there is none."""
        return _row(viewer.get("/v1/status")["nodes"], "node", name)

    def path_ids(self, node: N, wwid: str) -> set[str]:
        """The identities of a LUN's paths on a node, as it tells them itself. KeyError if it has no map of it."""
        found = _row(node.get(f"/v1/nodes/{node.name}/maps")["maps"], "wwid", wwid)
        return {path["id"] for group in found["path_groups"] for path in group["paths"]}

    def conflicts(self, node: N) -> list[str]:
        """The keys with a conflict that is open."""
        return [conflict["key"] for conflict in node.get("/v1/conflicts")["conflicts"]]

    def _one_text(self) -> str:
        """The main file, which has to be the same everywhere."""
        texts = {self.drop_in(node, DROP_INS[0]) for node in self.nodes}
        assert len(texts) == 1, f"the nodes have different files: {texts}"
        return texts.pop() or ""


def _row(rows: list[Any], key: str, value: str) -> Any:
    for row in rows:
        if row[key] == value:
            return row
    raise KeyError(f"no {key} {value} among {[row[key] for row in rows]}")
