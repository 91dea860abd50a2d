"""The acceptance scenario on the real thing: three guests, real LUNs, and a mounted file system on one that has to survive each step."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.cluster.nodes import wait_for
from scripts.hostlab.lab import running
from scripts.hostlab.network import Net
from scripts.hostlab.node import CONF_DIR, DROP_INS, Node, each, make_cluster, wait_cells, wait_in_sync, wait_online
from scripts.hostlab.san import lun

LUN_A, LUN_B = lun(1), lun(2)
HAND_MADE = lun(3)
MOUNT = "/mnt/san"
PROGRAM = "/usr/sbin/multipathd"


class Volume:
    """A volume group on LUN A with a mounted file system, in every guest; each check writes, and reads all that was ever written."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._written: list[str] = []

    def make(self) -> None:
        """Once the map is there."""
        device = f"/dev/disk/by-id/dm-uuid-mpath-{LUN_A}"
        lines = (
            f"udevadm settle && pvcreate -q {device} && vgcreate -q vg_san {device} && lvcreate -q -y -W y -n data -l 100%FREE vg_san",
            f"mkfs.ext4 -q /dev/vg_san/data && mkdir -p {MOUNT} && mount /dev/vg_san/data {MOUNT}",
        )
        each(self._nodes, lambda node: [node.guest.run(line) for line in lines])

    def check(self, step: str) -> None:
        """It is still the same file system, written through to the disk and readable."""
        text = f"{step}\n"
        self._written.append(text)
        number = len(self._written)

        def use(node: Node) -> None:
            node.guest.run(f"cat > {MOUNT}/{number} && sync -f {MOUNT}/{number} && echo 3 > /proc/sys/vm/drop_caches", stdin=text.encode())
            read = node.guest.run("".join(f"cat {MOUNT}/{n + 1};" for n in range(number))).out
            assert read == "".join(self._written), f"{node.name}: the file system holds {read!r}"
            mounted = node.guest.run(f"findmnt -n -o SOURCE,OPTIONS {MOUNT}").out
            assert mounted.split()[1].startswith("rw"), f"{node.name}: {mounted}"

        each(self._nodes, use)


class Scenario:
    """The ten steps, in order, on a started cluster."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.n1, self.n2, self.n3 = nodes
        self.volume = Volume(nodes)

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
        self.n1.allow_by_hand(HAND_MADE)
        self.n1.run("defaults", "set", "polling-interval=1", "max-polling-interval=2", "no-path-retry=12", "learn-window=0")
        self.n1.run("lun", "add", LUN_A, "--alias", "vmpool-a")
        self.n1.run("lun", "add", LUN_B, "--alias", "vmpool-b")
        self.n1.run("storage", "add", "multipath", "san")
        self.n1.run("storage", "add", "lvm", "san-lvm", f"base=san:{LUN_A}", "vgname=vg_san", "nodes=n1,n2")
        wait_in_sync(self.nodes)
        assert len({node.get("/v1/status")["config"]["digest"] for node in self.nodes}) == 1
        texts = {node.guest.read(f"{CONF_DIR}/{DROP_INS[0]}") for node in self.nodes}
        assert len(texts) == 1, "the rendered files differ"
        assert {'alias "vmpool-a"', 'no_path_retry "12"'} <= {line.strip() for line in texts.pop().splitlines()}
        for node in self.nodes:
            assert {LUN_A, LUN_B} <= node.allowed(), f"{node.name}: {node.allowed()}"
            assert {LUN_A: "vmpool-a", LUN_B: "vmpool-b"}.items() <= node.maps().items(), f"{node.name}: {node.maps()}"
            said = node.guest.run("multipath -t 2>&1 >/dev/null").out
            assert said == "", f"{node.name}: multipath -t: {said}"
        self.volume.make()

    def all_healthy(self) -> None:
        for wwid in (LUN_A, LUN_B):
            wait_cells(self.nodes, wwid, "healthy", {node.name: "healthy" for node in self.nodes})
        row = self.n2.lun(LUN_A)
        assert row["expected_nodes"] == ["n1", "n2"], row
        assert {"storage": "san-lvm", "type": "lvm", "via": "san"} in row["consumers"], row
        assert all(row["nodes"][node.name]["paths"]["expected"] == 2 for node in self.nodes), row

    # -- 3, 4 ---------------------------------------------------------------------------------------------------------

    def path_fails(self) -> None:
        device = self.n2.san.paths(LUN_A)[0].device
        self.n2.san.offline(device)
        wait_cells(self.nodes, LUN_A, "degraded", {"n1": "healthy", "n2": "degraded", "n3": "healthy"})
        cell = self.n3.lun(LUN_A)["nodes"]["n2"]
        assert cell["paths"]["usable"] == 1 and cell["paths"]["failed"] == 1, cell
        assert cell["redundancy"] == "single", cell
        for viewer in self.nodes:
            assert viewer.lun(LUN_B)["state"] == "healthy"
        self.volume.check("with one path failed")
        self.n2.san.online(device)
        wait_cells(self.nodes, LUN_A, "healthy")

    def path_is_lost(self) -> None:
        path = self.n3.san.paths(LUN_B)[1]
        before = self.n3.path_ids(LUN_B)
        self.n3.san.delete(path.device)
        wait_cells(self.nodes, LUN_B, "degraded", {"n1": "healthy", "n2": "healthy", "n3": "degraded"})
        left = self.n3.path_ids(LUN_B)
        lost = sorted(before - left)
        assert len(lost) == 1 and len(left) == 1, (before, left)
        for viewer in self.nodes:
            cell = viewer.lun(LUN_B)["nodes"]["n3"]
            assert "path-lost" in cell["reasons"] and cell["missing_paths"] == lost, cell
        assert lost[0] in self.n1.run("status").out
        self.n1.run("lun", "accept", LUN_B, "--node", "n3", "--reason", "one path of n3 was taken out on purpose")
        wait_cells(self.nodes, LUN_B, "healthy")
        self.n3.san.rescan()
        wait_for("the second path is expected again", lambda: self.n1.lun(LUN_B)["nodes"]["n3"]["paths"]["expected"] == 2, 45)
        assert self.n3.path_ids(LUN_B) == before, "a path came back under another identity"
        wait_in_sync(self.nodes)

    # -- 5 ------------------------------------------------------------------------------------------------------------

    def hand_made_survives(self) -> None:
        assert HAND_MADE in self.n1.allowed()
        self.n1.run("lun", "add", HAND_MADE)
        for node in self.nodes:
            wait_for(f"{node.name} has the managed entry", lambda node=node: HAND_MADE in node.allowed(), 45, 0.2)
        wait_in_sync(self.nodes)
        self.n1.run("lun", "rm", HAND_MADE)
        for node in (self.n2, self.n3):
            wait_for(f"{node.name} has lost the managed entry", lambda node=node: HAND_MADE not in node.allowed(), 45, 0.2)
        wait_in_sync(self.nodes)
        assert HAND_MADE in self.n1.allowed() and HAND_MADE in self.n1.maps(), "the hand-made entry is gone"
        assert {LUN_A, LUN_B} <= self.n1.allowed()

    # -- 6, 7 ---------------------------------------------------------------------------------------------------------

    def tools_are_gone(self) -> None:
        guest = self.n3.guest
        guest.run(f"mv {PROGRAM} {PROGRAM}.away && kill $(pidof multipathd) && while pidof multipathd; do sleep 0.1; done")
        wait_for("n3 says that its tools are gone", lambda: "not-installed" in self.n1.codes("n3"), 60, 0.2)
        error = next(each for each in self.n1.apply("n3")["errors"] if each["code"] == "not-installed")
        assert self.n1.apply("n3")["state"] == "failed" and error["hint"], error
        for name in ("n1", "n2"):
            assert self.n1.apply(name)["state"] == "in-sync"
        assert self.n1.lun(LUN_A)["nodes"]["n1"]["state"] == "healthy"
        self.volume.check("without a daemon on n3")
        guest.run(f"mv {PROGRAM}.away {PROGRAM} && multipathd")
        wait_in_sync(self.nodes)
        wait_cells([self.n1], LUN_B, "healthy")

    def node_is_killed(self) -> None:
        self.n2.stop_agent("KILL")
        for viewer in (self.n1, self.n3):
            wait_for(f"{viewer.name} sees n2 offline", lambda viewer=viewer: self._state(viewer, "n2") == "offline", 30)
            row = wait_for("n2's cell reads unknown", lambda viewer=viewer: self._with_cell(viewer, "n2", "unknown"), 30)
            assert row["state"] != "healthy", row
            assert row["nodes"]["n2"]["last"]["state"] == "healthy", row
        self.volume.check("with the agent of n2 killed")
        self.n2.start_agent()
        for viewer in self.nodes:
            wait_for(f"{viewer.name} sees n2 online", lambda viewer=viewer: self._state(viewer, "n2") == "online", 45)
        wait_cells(self.nodes, LUN_A, "healthy", {node.name: "healthy" for node in self.nodes})

    # -- 8, 9 ---------------------------------------------------------------------------------------------------------

    def partition_heals(self) -> None:
        key = f"wwid/{LUN_A}"
        sides = ({"n1"}, {"n2", "n3"})
        self._block(*sides)
        wait_for("n1 is alone", lambda: all(self._state(self.n1, n) == "offline" for n in ("n2", "n3")), 45)
        wait_for("n2 misses n1", lambda: self._state(self.n2, "n1") == "offline", 45)
        self.n1.run("lun", "set", LUN_A, "no-path-retry=18", "--reason", "on the one side")
        self.n2.run("lun", "set", LUN_A, "no-path-retry=24", "--reason", "on the other side")
        self.n1.run("lun", "set", LUN_B, "comment=written alone")
        self.n3.run("defaults", "set", "max-polling-interval=3")
        self._unblock(*sides)
        for node in self.nodes:
            wait_for(f"{node.name} shows the conflict", lambda node=node: self._conflicts(node) == [key], 60)
            assert node.run("conflicts", check=False).code == 4
            assert node.run("lun", "set", LUN_A, "comment=x", check=False).code == 4
        wait_in_sync(self.nodes)
        assert len({node.guest.read(f"{CONF_DIR}/{DROP_INS[0]}") for node in self.nodes}) == 1, "the nodes apply different winners"
        assert "comment" in self.n2.get(f"/v1/config/wwids/{LUN_B}")["options"], "an edit of another LUN is lost"
        assert self.n1.get("/v1/config/defaults")["options"]["max-polling-interval"] == "3"
        self.n3.run("resolve", key, "--take", "1")
        for node in self.nodes:
            wait_for(f"{node.name} shows no conflict", lambda node=node: self._conflicts(node) == [], 30)
        wait_in_sync(self.nodes)
        for node in self.nodes:
            wait_online(node, len(self.nodes))

    def stale_digest(self) -> None:
        before = self.n1.ask("GET", "/v1/config", accept="text/plain")
        self.n1.run("lun", "set", LUN_B, "comment=newer")
        after = self.n1.ask("GET", "/v1/config", accept="text/plain")
        answer = self.n1.ask("PATCH", f"/v1/config/wwids/{LUN_B}", {"set": {"comment": "stale"}}, if_match=before.digest)
        assert answer.status == 412 and answer.json["code"] == "stale-digest", answer
        assert f'"{answer.json["digest"]}"' == after.digest, answer.json
        done = self.n1.run("lun", "set", LUN_B, "comment=stale", "--digest", before.digest.strip('"'), check=False)
        assert done.code == 4, done
        assert self.n1.ask("GET", "/v1/config", accept="text/plain").body == after.body, "something changed"
        wait_in_sync(self.nodes)

    # -- 10 -----------------------------------------------------------------------------------------------------------

    def emptied(self) -> None:
        """LUN A's map is in use: its allow-list line is not pruned as long as the file system is mounted, and the map never goes."""
        digest = self.n1.ask("GET", "/v1/config", accept="text/plain").digest
        answer = self.n1.ask("PUT", "/v1/config", "", if_match=digest, content_type="text/plain")
        assert answer.status == 200, answer
        for node in self.nodes:
            wait_for(f"{node.name} has no drop-ins", lambda node=node: not node.drop_ins(), 60, 0.2)
            wait_for(f"{node.name} has pruned LUN B", lambda node=node: LUN_B not in node.allowed(), 45, 0.2)
            assert LUN_A in node.maps(), f"{node.name} has lost the map under the file system"
        self.volume.check("with an empty configuration")
        for node in self.nodes:
            wait_for(f"{node.name} defers", lambda node=node: "prune-deferred" in node.codes() | _notes(node), 45, 0.2)
            node.guest.run(f"umount {MOUNT} && vgchange -q -an vg_san")
            node.run("apply", "--now")
            wait_for(f"{node.name} has pruned LUN A", lambda node=node: LUN_A not in node.allowed(), 60, 0.2)
        assert self.n1.allowed() == {HAND_MADE}, self.n1.allowed()
        for node in self.nodes[1:]:
            assert node.allowed() == set(), node.allowed()
        wait_in_sync(self.nodes)

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _block(self, *sides: set[str]) -> None:
        """Whatever goes to the other side is sent to an address that nobody has, and so is lost without a word."""
        for node in self.nodes:
            self._foreign(node, sides, "replace", "lladdr 02:00:00:00:00:00 nud permanent")

    def _unblock(self, *sides: set[str]) -> None:
        for node in self.nodes:
            self._foreign(node, sides, "del", "")

    def _foreign(self, node: Node, sides: tuple[set[str], ...], verb: str, rest: str) -> None:
        own = next(side for side in sides if node.name in side)
        addresses = [Net.MANAGEMENT.address(other.guest.number) for other in self.nodes if other.name not in own]
        node.guest.run(" && ".join(f"ip neighbour {verb} {address} dev vec0 {rest}" for address in addresses))

    def _state(self, viewer: Node, name: str) -> str:
        return str(next(node for node in viewer.get("/v1/status")["nodes"] if node["node"] == name)["state"])

    def _with_cell(self, viewer: Node, name: str, state: str) -> Any:
        row = viewer.lun(LUN_A)
        return row if row["nodes"][name]["state"] == state else None

    def _conflicts(self, node: Node) -> list[str]:
        return [each["key"] for each in node.get("/v1/conflicts")["conflicts"]]


def _notes(node: Node) -> set[str]:
    return {note["code"] for note in node.apply()["notes"]}


def play(say: Callable[[str], None]) -> bool:
    """Boot three guests, run the steps, and say how each went; a failed one ends the run."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pathmesh-lab-") as directory, running(Path(directory) / "lab", ["n1", "n2", "n3"]) as lab:
        nodes = [Node(guest) for guest in lab.guests]
        each(nodes, lambda node: node.san.up(3))
        make_cluster(nodes)
        say(f"   three guests joined into one cluster  ({time.monotonic() - began:.0f} s)")
        scenario = Scenario(nodes)
        for number, (promise, verify) in enumerate(scenario.steps(), 1):
            start = time.monotonic()
            try:
                verify()
                if number < 10:
                    scenario.volume.check(promise)
            except (AssertionError, KeyError, OSError) as fault:
                say(f"{number:2} FAILED  {promise}\n   {type(fault).__name__}: {str(fault)[:3000]}")
                return False
            say(f"{number:2} ok  {promise}  ({time.monotonic() - start:.1f} s)")
    say(f"all ten steps hold ({time.monotonic() - began:.0f} s)")
    return True
