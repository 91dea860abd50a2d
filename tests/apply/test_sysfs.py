"""Device facts from a sysfs tree made for the test."""

from pathlib import Path

import pytest

from apply.path_facts import IscsiPortal, NvmeAddress
from apply.sysfs import Sysfs


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text + "\n")


def link(root: Path, name: str, target: str) -> None:
    (root / target).mkdir(parents=True, exist_ok=True)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(root / target)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "block/dm-0/dm/uuid", "mpath-361")
    write(tmp_path, "block/dm-0/size", "131072")
    write(tmp_path, "block/dm-1/dm/uuid", "LVM-abc")
    link(tmp_path, "block/sda/device", "devices/platform/host2/session1/target2:0:0/2:0:0:1")
    write(tmp_path, "devices/platform/host2/session1/target2:0:0/2:0:0:1/wwid", "naa.600140500000001")
    write(tmp_path, "class/iscsi_session/session1/tpgt", "2")
    write(tmp_path, "class/iscsi_connection/connection1:0/persistent_address", "10.0.2.10")
    write(tmp_path, "class/iscsi_connection/connection1:0/persistent_port", "3260")
    link(tmp_path, "block/sdb/device", "devices/pci0000:00/0000:00:04.0/virtio1/host7/target7:0:0/7:0:0:1")
    write(tmp_path, "devices/pci0000:00/0000:00:04.0/virtio1/host7/target7:0:0/7:0:0:1/wwid", "t10.ATA thing")
    write(tmp_path, "block/nvme0n1/device/transport", "tcp")
    write(tmp_path, "block/nvme0n1/device/address", "traddr=192.168.154.10,trsvcid=4420,host_traddr=192.168.154.5,src_addr=1.2.3.4")
    write(tmp_path, "block/nvme1n1/device/transport", "pcie")
    write(tmp_path, "block/nvme1n1/device/address", "0000:3d:00.0")
    return tmp_path


def test_a_size_is_believed_only_for_the_right_map(root: Path) -> None:
    sysfs = Sysfs(root)
    assert sysfs.map_size("dm-0", "361") == 64 << 20
    assert sysfs.map_size("dm-0", "362") is None
    assert sysfs.map_size("dm-1", "361") is None
    assert sysfs.map_size("dm-9", "361") is None
    assert sysfs.map_size("../dm-0", "361") is None
    assert sysfs.map_size("undef", "361") is None


def test_a_path_is_gone_when_the_kernel_has_the_map_and_not_the_path(root: Path) -> None:
    sysfs = Sysfs(root)
    assert not sysfs.gone("sda", "dm-0", "361")
    assert sysfs.gone("sdx", "dm-0", "361")
    assert not sysfs.gone("sdx", "dm-0", "362"), "a simulated multipathd names devices that this kernel never had"
    assert not sysfs.gone("sdx", "undef", "361")


def test_finding_a_map(root: Path) -> None:
    assert Sysfs(root).find_map("361") == root / "block" / "dm-0"
    assert Sysfs(root).find_map("abc") is None


def test_the_portal_of_an_iscsi_path(root: Path) -> None:
    assert Sysfs(root).iscsi_portal("sda") == IscsiPortal("10.0.2.10", 3260, 2)
    assert Sysfs(root).iscsi_portal("sdb") is None
    assert Sysfs(root).iscsi_portal("sdz") is None


def test_the_address_of_an_nvme_path(root: Path) -> None:
    assert Sysfs(root).nvme_address("nvme0n1") == NvmeAddress("tcp", "192.168.154.10", "4420", "192.168.154.5")
    assert Sysfs(root).nvme_address("nvme1n1") == NvmeAddress("pcie", "0000:3d:00.0", "", "")
    assert Sysfs(root).nvme_address("sda") is None


def test_ancestry_has_no_number_of_discovery(root: Path) -> None:
    assert Sysfs(root).ancestry("sdb") == "pci0000:00/0000:00:04.0/virtio1/host/target:0:0/:0:0:1"
    assert Sysfs(root).ancestry("sda") == "platform/host/session/target:0:0/:0:0:1"
    assert Sysfs(root).ancestry("gone") is None


def test_attached_wwids_are_named_as_multipathd_names_them(root: Path) -> None:
    assert Sysfs(root).attached_wwids() == {"3600140500000001"}
    assert Sysfs(root / "nowhere").attached_wwids() == frozenset()
