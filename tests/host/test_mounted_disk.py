"""A host that has its file systems on a map: whatever is configured, that map and its allow-list line stay as they are."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from scripts.cluster.nodes import wait_for
from scripts.hostlab.node import WWIDS, Node, begin, make_cluster, wait_in_sync
from scripts.hostlab.san import lun

ROOT, OTHER = lun(1), lun(2)


class Disk:
    """A mounted file system on a map that was made by hand, as on a host that boots from the SAN."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.allow_by_hand(ROOT)
        device = f"/dev/disk/by-id/dm-uuid-mpath-{ROOT}"
        node.guest.run(f"udevadm settle; mkfs.ext4 -q {device} && mkdir -p /srv && mount {device} /srv")
        node.guest.run(f"echo '{device} /srv ext4 defaults 0 0' >> /etc/fstab; echo begin > /srv/log; cp {WWIDS} /root/wwids.before")
        self.before = self.identity()
        self.steps = ["begin"]

    def identity(self) -> str:
        """What must never change: the device's number, and so who it is for the mount, and its name."""
        return self.node.guest.run(f"dmsetup info -c --noheadings -o name,major,minor,uuid -u mpath-{ROOT}").out.strip()

    def check(self, step: str) -> None:
        """Still the same device, mounted for writing, readable from the disk; its line still stands where it stood."""
        guest = self.node.guest
        assert self.identity() == self.before, step
        guest.run(f"echo '{step}' >> /srv/log && sync && echo 3 > /proc/sys/vm/drop_caches")
        self.steps.append(step)
        assert guest.read("/srv/log").splitlines() == self.steps, step
        assert guest.run("findmnt -n -o OPTIONS /srv").out.startswith("rw"), step
        line = f"/{ROOT}/"
        assert guest.read(WWIDS).splitlines().count(line) == 1, step
        first = guest.read("/root/wwids.before")
        assert guest.read(WWIDS).startswith(first), f"{step}: what was in the allow-list was changed"
        assert guest.run("dmesg | grep -iE 'i/o error.* dm-|ext4-fs (error|warning)' || true").out == "", step


def test_nothing_that_is_configured_touches_it(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    with guests("n1") as nodes:
        (n1,) = nodes
        n1.san.up(2)
        disk = Disk(n1)
        make_cluster(nodes)
        disk.check("an agent with nothing to do")

        def apply(step: str, *words: str, stdin: str = "") -> None:
            n1.run(*words, stdin=stdin)
            wait_in_sync(nodes)
            disk.check(step)

        apply("defaults", "defaults", "set", "polling-interval=1", "learn-window=0", "no-path-retry=12")
        apply("another LUN", "lun", "add", OTHER, "--alias", "data")
        assert OTHER in n1.maps()
        apply("the same LUN, managed", "lun", "add", ROOT)
        apply("an option of it", "lun", "set", ROOT, "no-path-retry=30", "path-grouping-policy=multibus")
        apply("disabled", "lun", "set", ROOT, "disable=1")
        apply("enabled again", "lun", "unset", ROOT, "disable")
        apply("unmanaged", "lun", "rm", ROOT)
        apply("the other LUN gone", "lun", "rm", OTHER)
        wait_for("the other map is gone", lambda: OTHER not in n1.maps(), 30)
        apply(
            "overrides",
            "overrides",
            "set",
            "-",
            stdin='devices {\n\tdevice {\n\t\tvendor "LAB"\n\t\tproduct ".*"\n\t\tfailback "immediate"\n\t}\n}\n',
        )
        apply("overrides cleared", "overrides", "clear")

        apply("managed once more", "lun", "add", ROOT)

        n1.stop_agent("KILL")
        disk.check("a killed agent")
        n1.start_agent()
        digest = n1.ask("GET", "/v1/config", accept="text/plain").digest
        assert n1.ask("PUT", "/v1/config", "", if_match=digest).status == 200
        wait_for("nothing of ours is left", lambda: not n1.drop_ins() and n1.allowed() == {ROOT}, 45)
        wait_in_sync(nodes)
        disk.check("an empty configuration")
        n1.run("apply", "--now")
        disk.check("applied once more")


def test_its_name_stays_as_long_as_it_is_in_use(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    """fstab names it by its alias: whatever happens to the LUN in the configuration, the next boot has to find it."""
    with guests("n1") as nodes:
        (n1,) = nodes
        n1.san.up(2)
        n1.allow_by_hand(ROOT)
        begin(nodes, ("lun", "add", ROOT, "--alias", "rootdisk"))
        wait_for("the map has its name", lambda: n1.maps().get(ROOT) == "rootdisk", 30)
        device = "/dev/mapper/rootdisk"
        n1.guest.run(f"udevadm settle; mkfs.ext4 -q {device} && mkdir -p /srv && mount {device} /srv")
        n1.guest.run(f"echo '{device} /srv ext4 defaults 0 0' >> /etc/fstab")

        def stays(step: str) -> None:
            wait_for(f"{step}: that the name stays is told", lambda: "prune-deferred" in n1.codes(), 45)
            assert n1.maps()[ROOT] == "rootdisk", step
            n1.guest.run("echo more >> /srv/log && sync")

        n1.run("lun", "set", ROOT, "disable=1")
        stays("disabled")
        n1.run("lun", "unset", ROOT, "disable")
        wait_in_sync(nodes)
        n1.run("lun", "rm", ROOT)
        stays("unmanaged")
        digest = n1.ask("GET", "/v1/config", accept="text/plain").digest
        assert n1.ask("PUT", "/v1/config", "", if_match=digest).status == 200
        wait_for("only the name is left of ours", lambda: n1.apply()["state"] == "teardown", 45)
        stays("an empty configuration")
        n1.reconfigure()
        assert n1.maps()[ROOT] == "rootdisk"

        n1.guest.run("umount /srv && sed -i '/rootdisk/d' /etc/fstab")
        n1.run("apply", "--now")
        wait_for("nothing of ours is left", lambda: not n1.drop_ins() and n1.maps().get(ROOT) == ROOT, 45)
        assert n1.allowed() == {ROOT}


def test_a_blacklist_over_it_is_refused_and_a_local_one_is_outdone(guests: Callable[..., AbstractContextManager[list[Node]]]) -> None:
    """The old recipe `blacklist { wwid ".*" }` in the host's own file hides every LUN that has no exception; ours come with one."""
    with guests("n1") as nodes:
        (n1,) = nodes
        n1.san.up(2)
        disk = Disk(n1)
        n1.guest.write("/etc/multipath.conf", f'blacklist {{\n\twwid ".*"\n}}\nblacklist_exceptions {{\n\twwid "^{ROOT}$"\n}}\n')
        n1.reconfigure()
        begin(nodes, ("lun", "add", OTHER))
        wait_for("the LUN has a map in spite of the blacklist", lambda: OTHER in n1.maps(), 30)
        disk.check("a local blacklist of everything")
        done = n1.run("overrides", "set", "-", stdin='blacklist {\n\tdevnode "^sd"\n}\n', check=False)
        assert done.code != 0 and "devnode" in done.err, done
        assert OTHER in n1.maps()
        disk.check("a refused blacklist")
