"""The acceptance scenario on the real thing: three guests, real LUNs, and a mounted file system on one that has to survive each step."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.cluster.acceptance import Acceptance
from scripts.hostlab.lab import running
from scripts.hostlab.network import Net
from scripts.hostlab.node import CONF_DIR, Node, each, make_cluster
from scripts.hostlab.san import lun

LUNS = 3
MOUNT = "/mnt/san"
PROGRAM = "/usr/sbin/multipathd"


class Volume:
    """A volume group on LUN A with a mounted file system, in every guest; each check writes, and reads all that was ever written."""

    def __init__(self, wwid: str) -> None:
        self._wwid = wwid
        self._written: list[str] = []

    def make(self, node: Node) -> None:
        """Once the map is there."""
        device = f"/dev/disk/by-id/dm-uuid-mpath-{self._wwid}"
        node.guest.run(f"udevadm settle && pvcreate -q {device} && vgcreate -q vg_san {device}")
        node.guest.run("lvcreate -q -y -W y -n data -l 100%FREE vg_san && mkfs.ext4 -q /dev/vg_san/data")
        node.guest.run(f"mkdir -p {MOUNT} && mount /dev/vg_san/data {MOUNT}")

    def check(self, nodes: list[Node], moment: str) -> None:
        """It is still the same file system, written through to the disk and readable."""
        text = f"{moment}\n"
        self._written.append(text)
        number = len(self._written)

        def use(node: Node) -> None:
            node.guest.run(f"cat > {MOUNT}/{number} && sync -f {MOUNT}/{number} && echo 3 > /proc/sys/vm/drop_caches", stdin=text.encode())
            read = node.guest.run("".join(f"cat {MOUNT}/{n + 1};" for n in range(number))).out
            assert read == "".join(self._written), f"{node.name}: {moment}: the file system holds {read!r}"
            mounted = node.guest.run(f"findmnt -n -o FSTYPE,OPTIONS {MOUNT}").out.split()
            assert mounted[0] == "ext4" and mounted[1].startswith("rw"), f"{node.name}: {moment}: {mounted}"
            below = node.guest.run("dmsetup deps -o devname vg_san-data").out
            name = node.guest.run(f"dmsetup info -c --noheadings -o name -u mpath-{self._wwid}").out.strip()
            assert f"({name})" in below, f"{node.name}: {moment}: the volume is not on the map {name}: {below}"

        each(nodes, use)

    def give_up(self, node: Node) -> None:
        """Nothing uses the LUN any more."""
        node.guest.run(f"umount {MOUNT} && vgchange -q -an vg_san && udevadm settle")


class Scenario(Acceptance[Node]):
    """The ten steps; faults are the kernel's own, and a partition is made in the neighbour tables."""

    lun_a, lun_b, hand_made = lun(1), lun(2), lun(3)
    patience = 90.0  # a host that waits for a LUN to be let go of looks every minute
    pause = 0.2

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__(nodes)
        self._volume = Volume(self.lun_a)
        self._parted: list[tuple[Node, str]] = []
        self._failed = ""

    def run(self, node: Node, *words: str, status: int = 0) -> str:
        done = node.run(*words, check=False)
        assert done.code == status, f"{node.name}: pathmesh {' '.join(words)}: exit {done.code}, not {status}: {done.err}"
        return done.out

    def allow_by_hand(self, node: Node, wwid: str) -> None:
        node.allow_by_hand(wwid)

    def allowed(self, node: Node) -> set[str]:
        return node.allowed()

    def drop_in(self, node: Node, name: str) -> str | None:
        try:
            return node.guest.read(f"{CONF_DIR}/{name}")
        except FileNotFoundError:
            return None

    def fail_path(self, node: Node) -> None:
        self._failed = node.san.paths(self.lun_a)[0].device
        node.san.offline(self._failed)

    def mend_path(self, node: Node) -> None:
        node.san.online(self._failed)

    def remove_path(self, node: Node) -> None:
        node.san.delete(node.san.paths(self.lun_b)[1].device)

    def return_path(self, node: Node) -> None:
        node.san.rescan()

    def remove_tools(self, node: Node) -> None:
        node.guest.run(f"mv {PROGRAM} {PROGRAM}.away && kill $(pidof multipathd) && while pidof multipathd; do sleep 0.1; done")

    def return_tools(self, node: Node) -> None:
        node.guest.run(f"mv {PROGRAM}.away {PROGRAM} && multipathd")

    def kill(self, node: Node) -> None:
        node.stop_agent("KILL")

    def start(self, node: Node) -> None:
        node.start_agent()

    def partition(self, *sides: list[Node]) -> None:
        """Whatever goes to another side is sent to an address that nobody has, and so is lost without a word."""
        for side in sides:
            strangers = [node for node in self.nodes if node not in side]
            self._parted += [(node, Net.MANAGEMENT.address(other.guest.number)) for node in side for other in strangers]
        for node, address in self._parted:
            node.guest.run(f"ip neighbour replace {address} dev vec0 lladdr 02:00:00:00:00:00 nud permanent")

    def heal(self) -> None:
        for node, address in self._parted:
            node.guest.run(f"ip neighbour del {address} dev vec0")
        self._parted = []

    def look_at_host(self, node: Node) -> None:
        """The daemon has the maps under their names, its parser objects to nothing, and a volume group is made on LUN A."""
        assert {self.lun_a: "vmpool-a", self.lun_b: "vmpool-b"}.items() <= node.maps().items(), f"{node.name}: {node.maps()}"
        said = node.guest.run("multipath -t 2>&1 >/dev/null").out
        assert said == "", f"{node.name}: multipath -t: {said}"
        self._volume.make(node)

    def look_at_data(self, moment: str) -> None:
        self._volume.check(self.nodes, moment)

    def hand_made_survives(self) -> None:
        super().hand_made_survives()
        assert self.hand_made in self.n1.maps(), "the map of the hand-made entry is gone"

    def let_go(self, node: Node) -> None:
        """The map of a mounted file system never goes; its name and its line stay until nobody uses it, and the node says so."""
        assert node.maps().get(self.lun_a) == "vmpool-a", f"{node.name}: the map under the file system: {node.maps()}"

        def deferred() -> bool:
            apply = node.apply()
            return "prune-deferred" in {said["code"] for said in (*apply["errors"], *apply["notes"])}

        self.wait(f"{node.name} defers", deferred)
        assert self.lun_a in node.allowed(), f"{node.name} has pruned a LUN in use"
        self._volume.give_up(node)
        self.run(node, "apply", "--now")


def play(say: Callable[[str], None]) -> bool:
    """Boot three guests and run the steps; whether all hold."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pathmesh-lab-") as directory, running(Path(directory) / "lab", ["n1", "n2", "n3"]) as lab:
        nodes = [Node(guest) for guest in lab.guests]
        each(nodes, lambda node: node.san.up(LUNS))
        make_cluster(nodes)
        say(f"   three guests joined into one cluster  ({time.monotonic() - began:.0f} s)")
        return Scenario(nodes).play(say)
