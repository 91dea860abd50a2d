"""Storages on the real host: a volume group is made on a map and on nothing else, its users are told, and a target is logged in to."""

from collections.abc import Callable
from typing import Any

from scripts.cluster.nodes import wait_for
from scripts.hostlab.node import Node, begin
from scripts.hostlab.san import TARGET, lun, serve_iscsi

A, B = lun(1), lun(2)
DEVICE = "/dev/disk/by-id/dm-uuid-mpath-"


def storage(node: Node, name: str) -> Any:
    """How a storage fares on its node."""
    [found] = [entry for entry in node.get("/v1/storages")["storages"] if entry["id"] == name]
    return found["status"][node.name]


def uses(node: Node, wwid: str) -> list[str]:
    """What stands on a LUN of the storage `san`."""
    return [use for volume in node.get("/v1/storages/san/volumes")["volumes"] if volume["wwid"] == wwid for use in volume["used_by"]]


def refused(node: Node, *words: str) -> str:
    """What a command says that is refused."""
    done = node.run(*words, check=False)
    assert done.code == 1, done
    return done.err


def soon(what: str, holds: Callable[[], object]) -> None:
    wait_for(what, holds, 60, 0.3)


def test_a_volume_group_on_a_map(guests: Any) -> None:
    with guests("n1") as [node]:
        node.san.up(2)
        begin(
            [node],
            ("lun", "add", A),
            ("lun", "add", B),
            ("storage", "add", "multipath", "san"),
            ("storage", "add", "lvm", "vm", "vgname=vmdata", f"base=san:{A}"),
        )
        soon("both maps are there", lambda: all(node.lun(wwid)["state"] == "healthy" for wwid in (A, B)))
        assert "no volume group vmdata" in refused(node, "storage", "activate", "vm")

        node.guest.run(f"mkfs.ext4 -q {DEVICE}{A}")
        assert "ext4 is on it" in refused(node, "storage", "create-vg", "vm")
        node.guest.run(f"mkdir -p /mnt/a && mount {DEVICE}{A} /mnt/a")
        assert "mounted on /mnt/a" in refused(node, "storage", "create-vg", "vm")
        soon("the mount is told", lambda: uses(node, A) == ["mount:/mnt/a"])
        node.guest.run(f"umount /mnt/a && wipefs -qa {DEVICE}{A}")

        node.run("storage", "create-vg", "vm", "--dry-run")
        assert node.guest.run("vgs --noheadings").out.strip() == ""
        node.run("storage", "create-vg", "vm")
        assert node.guest.run("pvs --noheadings -o pv_name,vg_name").out.split() == [f"/dev/mapper/{A}", "vmdata"]
        assert "is on the LUN" in refused(node, "storage", "create-vg", "vm")
        soon("its user is told", lambda: uses(node, A) == ["pv:vmdata"])
        soon("it is healthy", lambda: storage(node, "vm")["state"] == "healthy")

        node.guest.run("lvcreate -qq -Wn -L 8M -n lv1 vmdata && lvchange -an vmdata")
        node.run("storage", "activate", "vm")
        soon("it is active", lambda: storage(node, "vm")["vg"]["active_volumes"] == 1)
        node.guest.run("mkfs.ext4 -q /dev/vmdata/lv1 && mount /dev/vmdata/lv1 /mnt/a")
        assert "in use" in refused(node, "storage", "deactivate", "vm")
        node.guest.run("umount /mnt/a")
        node.run("storage", "deactivate", "vm")
        soon("it is not active", lambda: storage(node, "vm")["vg"]["active_volumes"] == 0)

        node.run("storage", "activate", "san")
        node.guest.run(f"ln -sfn ../../$(basename $(readlink -f {DEVICE}{B})) {DEVICE}{A}")
        assert f"the map of {B}" in refused(node, "storage", "activate", "san", A)


def test_a_group_that_nobody_named_a_lun_for_tells_who_needs_it(guests: Any) -> None:
    with guests("n1") as [node]:
        node.san.up(1)
        begin([node], ("lun", "add", A), ("storage", "add", "lvm", "vm", "vgname=byhand"))
        soon("the map is there", lambda: node.path_ids(A))
        assert node.lun(A)["expected_source"] == "none"
        node.guest.run(f"vgcreate -qq byhand {DEVICE}{A}")
        soon("it is inferred", lambda: node.lun(A)["expected_source"] == "inferred")
        assert node.lun(A)["expected_nodes"] == ["n1"]
        node.stop_agent()
        node.start_agent()
        soon("it is inferred again", lambda: node.lun(A)["expected_source"] == "inferred")


def test_volumes_that_were_active_before_there_was_a_map(guests: Any) -> None:
    with guests("n1") as [node]:
        node.san.up(1)
        first, second = (path.device for path in node.san.paths(A))
        node.san.delete(second)  # LVM would use neither of two equal disks
        node.guest.run(f"vgcreate -qq onpath /dev/{first} && lvcreate -qq -Wn -L 8M -n lv1 onpath")
        begin([node], ("storage", "add", "lvm", "vm", "vgname=onpath"), ("lun", "add", A))
        soon("it is told", lambda: "lv-on-path" in storage(node, "vm")["reasons"])
        soon("LVM has changed to the map", lambda: storage(node, "vm")["vg"]["on"] == [A])
        assert f"active by a single path: {first}" in refused(node, "storage", "activate", "vm")
        assert "single path" in node.run("doctor", check=False).out
        node.run("storage", "deactivate", "vm")
        node.san.rescan()
        node.run("storage", "activate", "vm")
        soon("it is healthy", lambda: storage(node, "vm")["state"] == "healthy")
        soon("it is active", lambda: storage(node, "vm")["vg"]["active"])
        assert storage(node, "vm")["vg"]["on"] == [A] and "lv-on-path" not in storage(node, "vm")["reasons"]


def test_a_target_is_logged_in_to_where_that_is_asked_for(guests: Any) -> None:
    with guests("n1", "target") as [node, target]:
        serve_iscsi(target.guest, 1)
        node.guest.run("modprobe iscsi_tcp && iscsid")
        portals = [f"10.91.{net}.{target.guest.number}:3260" for net in (1, 2)]
        begin([node], ("storage", "add", "iscsi", "tgt", f"target={TARGET}", f"portals={','.join(portals)}", "multipath=1"))
        soon("the sessions are missed", lambda: storage(node, "tgt")["sessions"]["missing"] == portals)
        assert node.guest.run("iscsiadm -m session", check=False).code != 0
        node.run("storage", "set", "tgt", "login=yes")
        soon("they are there", lambda: storage(node, "tgt")["sessions"]["missing"] == [])
        soon("its LUN is seen", lambda: node.get("/v1/luns/scan")["luns"])
        wwid = node.get("/v1/luns/scan")["luns"][0]["wwid"]
        node.run("lun", "add", wwid)
        soon("it is healthy", lambda: node.lun(wwid)["state"] == "healthy")

        node.run("storage", "set", "tgt", f"portals={','.join(portals)},10.91.2.99:3260")
        soon("the portal is missed", lambda: node.lun(wwid)["state"] == "degraded")
        here = node.lun(wwid)["nodes"]["n1"]
        assert here["missing_paths"] == [f"iscsi:*>10.91.2.99:3260,*,{TARGET}"] and here["paths"]["expected"] == 3
        node.run("storage", "set", "tgt", f"portals={','.join(portals)}")
        soon("it is healthy again", lambda: node.lun(wwid)["state"] == "healthy")
        node.run("storage", "rm", "tgt")
        assert node.guest.run("iscsiadm -m session | wc -l").out.strip() == "2", "nobody is logged out"
