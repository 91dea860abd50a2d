"""What stands on each map, on a host made of files."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.usage import MOST_USES, HostUse, group_of, kind_of, look, openers, with_groups

W, V = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35"
GROUP = "uKP9qcyYxcOxs7b97pgduXqtgCZUid0v"
LV = "1m8jE9eb9YZKy1VzBlllLXzENSlfmRUo"


class FakeHost:
    """Block devices as sysfs shows them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("sys/block", "sys/dev/block", "proc/self", "dev"):
            (root / name).mkdir(parents=True)

    def dm(self, number: int, uuid: str, name: str, *on: str) -> Path:
        device = self._device(f"dm-{number}", f"253:{number}", *on)
        (device / "dm").mkdir()
        (device / "dm" / "uuid").write_text(uuid + "\n")
        (device / "dm" / "name").write_text(name + "\n")
        return device

    def disk(self, name: str, number: str, wwid: str = "") -> Path:
        device = self._device(name, number)
        if wwid:
            (device / "device").mkdir()
            (device / "device" / "wwid").write_text(wwid + "\n")
        return device

    def _device(self, name: str, number: str, *on: str) -> Path:
        device = self.root / "sys/block" / name
        (device / "holders").mkdir(parents=True)
        (device / "dev").write_text(number + "\n")
        (self.root / "sys/dev/block" / number).symlink_to(device)
        for below in on:
            (self.root / "sys/block" / below / "holders" / name).symlink_to(device)
            (device / "slaves").mkdir(exist_ok=True)
            (device / "slaves" / below).symlink_to(self.root / "sys/block" / below)
        return device


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def test_a_host_without_anything(tmp_path: Path) -> None:
    assert look(tmp_path) == HostUse(fingerprint=look(tmp_path).fingerprint)
    assert openers([], tmp_path) == {} and openers(["253:0"], tmp_path) == {}


def test_an_idle_map(host: FakeHost) -> None:
    host.dm(0, f"mpath-{W}", "pool")
    found = look(host.root)
    assert found.uses == {W: ()} and found.numbers() == {"253:0": W} and found.explained == {"253:0": 0}


def test_a_volume_group_on_a_map(host: FakeHost) -> None:
    host.dm(0, f"mpath-{W}", "pool")
    host.dm(1, f"LVM-{GROUP}{LV}", "vm--data-disk", "dm-0")
    host.dm(2, f"LVM-{GROUP}{LV}-tpool", "vm--data-thin-tpool", "dm-0")
    found = look(host.root)
    assert found.uses == {W: ("pv:vm-data",)}
    assert found.active == {GROUP: 2} and found.explained["253:0"] == 2


def test_a_volume_that_uses_a_disk_and_not_the_map(host: FakeHost) -> None:
    host.disk("sda", "8:0", f"naa.{W[1:]}")
    host.disk("sdb", "8:16")
    host.dm(0, f"mpath-{W}", "pool", "sda")
    host.dm(1, f"LVM-{GROUP}{LV}", "vg-a", "sda", "sdb", "dm-0")
    host.dm(2, f"LVM-{GROUP}{LV}", "vg-b", "dm-0")
    assert look(host.root).direct == {GROUP: {("sda", W)}}


def test_partitions_belong_to_their_map(host: FakeHost) -> None:
    host.dm(0, f"mpath-{W}", "pool")
    host.dm(1, f"part1-mpath-{W}", "pool-part1", "dm-0")
    host.dm(2, f"part2-mpath-{W}", "pool-part2", "dm-0")
    host.dm(3, f"CRYPT-LUKS2-{LV}-x", "safe", "dm-2")
    assert look(host.root).uses == {W: ("dm:pool-part1", "dm:safe")}
    assert set(look(host.root).numbers().values()) == {W} and len(look(host.root).numbers()) == 3


def test_mounts_and_swap(host: FakeHost) -> None:
    host.dm(0, f"mpath-{W}", "pool")
    host.dm(1, f"mpath-{V}", "pool2")
    (host.root / "proc/self/mountinfo").write_text(
        "29 1 253:0 / /srv/my\\040data rw shared:1 - ext4 /dev/mapper/pool rw\n30 1 253:0 / /other rw - ext4 x rw\nshort\n"
    )
    (host.root / "dev/dm-1").touch()
    (host.root / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n/swapfile file 1 0 -2\n")
    found = look(host.root)
    assert found.uses == {W: ("mount:/srv/my data",), V: ("swap",)}
    assert found.explained == {"253:0": 1, "253:1": 1}


def test_the_fingerprint_moves_with_devices_and_holders(host: FakeHost) -> None:
    seen = [look(host.root).fingerprint]
    host.dm(0, f"mpath-{W}", "pool")
    seen.append(look(host.root).fingerprint)
    host.dm(1, f"LVM-{GROUP}{LV}", "vg-lv", "dm-0")
    seen.append(look(host.root).fingerprint)
    (host.root / "proc/self/mountinfo").write_text("29 1 253:0 / /srv rw - ext4 x rw\n30 1 0:5 / /proc rw - proc x rw\n")
    seen.append(look(host.root).fingerprint)
    assert len(set(seen)) == 4 and look(host.root).fingerprint == seen[-1]


def test_groups_that_lvm_found_are_added() -> None:
    uses: dict[str, tuple[str, ...]] = {W: ("mount:/x",), V: ()}
    assert with_groups(uses, {W: {"vg"}, "36001": {"gone"}}) == {W: ("mount:/x", "pv:vg"), V: ()}


def test_what_a_cell_lists_is_bounded_and_printable() -> None:
    found = with_groups({W: tuple(f"dm:{n}" for n in range(100))}, {W: {"a\nb\x1b[31m" + "x" * 500}})[W]
    assert len(found) == MOST_USES and all(use.isprintable() and len(use) <= 100 for use in with_groups({W: ()}, {W: {"a\nb" * 99}})[W])


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("253:0", ("map", W)),
        ("253:1", ("partition", W)),
        ("253:2", ("other", "")),
        ("8:0", ("path", W)),
        ("8:16", ("path", V)),
        ("8:32", ("other", "")),
        ("8:48", ("path", "2abc")),
        ("259:0", ("path", "eui.0011")),
        ("8:999", ("other", "")),
        ("../..", ("other", "")),
        ("", ("other", "")),
    ],
)
def test_what_a_device_is(host: FakeHost, number: str, kind: tuple[str, str]) -> None:
    host.disk("sda", "8:0", "t10.LIO     x")
    host.dm(0, f"mpath-{W}", "pool", "sda")
    host.dm(1, f"part1-mpath-{W}", "pool-part1", "dm-0")
    host.dm(2, f"LVM-{GROUP}{LV}", "vg-lv", "dm-1")
    host.disk("sdb", "8:16", f"naa.{V[1:]}")
    host.disk("sdc", "8:32")
    host.disk("sdd", "8:48", "eui.abc")
    (host.disk("nvme0n1", "259:0") / "wwid").write_text("eui.0011\n")
    assert kind_of(number, host.root) == kind


def test_a_partition_of_a_path_is_the_path(host: FakeHost) -> None:
    disk = host.disk("sda", "8:0", f"naa.{W[1:]}")
    part = disk / "sda1"
    part.mkdir()
    (part / "partition").write_text("1\n")
    (host.root / "sys/dev/block/8:1").symlink_to(part)
    assert kind_of("8:1", host.root) == ("path", W)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a device node has to be made")
def test_openers_are_named_with_their_scope(host: FakeHost) -> None:
    node = host.root / "dev/dm-0"
    try:
        os.mknod(node, 0o60600, os.makedev(253, 0))
    except OSError as fault:
        pytest.skip(f"no device node can be made here: {fault}")
    for pid, comm, group in ((10, "kvm", "0::/qemu.slice/100.scope"), (11, "cat", "0::/user.slice/session-1.scope"), (12, "idle", "")):
        process = host.root / "proc" / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(comm + "\n")
        (process / "cgroup").write_text(group + "\n")
    for pid in (10, 11):
        (host.root / f"proc/{pid}/fd/3").symlink_to(node)
    for pid in (12, 13):
        (host.root / f"proc/{pid}/fd").mkdir(parents=True, exist_ok=True)
        (host.root / f"proc/{pid}/fd/4").symlink_to(host.root / "elsewhere")
    assert openers(["253:0", "253:1"], host.root) == {"253:0": ("cat", "kvm 100")}


@given(
    st.from_regex(r"[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,20}", fullmatch=True),
    st.from_regex(r"[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,20}", fullmatch=True),
)
def test_the_group_in_a_device_name(group: str, volume: str) -> None:
    assert group_of(f"{group.replace('-', '--')}-{volume.replace('-', '--')}") == group
