"""The identity of a path on a host of each transport, as sysfs and the daemon show it; and after the kernel numbered everything anew."""

from collections.abc import Callable
from pathlib import Path as FilePath

import pytest

from apply.paths import identities
from apply.sysfs import Sysfs
from apply.topology import Path

IQN = "iqn.2001-05.com.example:a"
PORT_PAGE = b"\0\x83\0\x08\x61\x94\0\x04\0\0\0\x02"  # of the target's port: relative number 2


class Host:
    """A sysfs tree. `add` hangs a disk below a place in the device tree."""

    def __init__(self, root: FilePath) -> None:
        self.root = root
        self.sysfs = Sysfs(root / "sys", root / "udev")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def add(self, dev: str, place: str, page: bytes = b"") -> None:
        device = self.root / "sys/devices" / place
        (device / "block" / dev).mkdir(parents=True)
        (device / "block" / dev / "device").symlink_to("../..")
        (self.root / "sys/block").mkdir(parents=True, exist_ok=True)
        (self.root / "sys/block" / dev).symlink_to(device / "block" / dev)
        if page:
            (device / "vpd_pg83").write_bytes(page)

    def names(self, *paths: Path) -> list[str]:
        return [name for name, _ in identities(paths, self.sysfs)]


def fibre_channel(host: Host, number: int, devs: tuple[str, str]) -> list[str]:
    ports = [("0x10000090FA1B2C3D", "0x524a937a1b2c3d00"), ("0x10000090fa1b2c3e", "0x524a937a1b2c3d10")]
    for n, dev in enumerate(devs):
        host.add(dev, f"pci0000:3a/0000:3b:00.{n}/host{number + n}/rport-{number + n}:0-1/target{number + n}:0:0/{number + n}:0:0:1")
    return host.names(*(Path(dev=dev, host_wwpn=ours, target_wwpn=theirs) for dev, (ours, theirs) in zip(devs, ports, strict=True)))


def iscsi(host: Host, number: int, devs: tuple[str, str]) -> list[str]:
    for n, dev in enumerate(devs):
        session = number + n
        host.add(dev, f"platform/host{session}/session{session}/target{session}:0:0/{session}:0:0:1")
        host.write(f"sys/class/iscsi_session/session{session}/tpgt", "1")
        host.write(f"sys/class/iscsi_connection/connection{session}:0/persistent_address", f"10.0.{n}.10")
        host.write(f"sys/class/iscsi_connection/connection{session}:0/persistent_port", "3260")
    return host.names(*(Path(dev=dev, host_adapter=f"10.0.{n}.5", target_wwnn=IQN) for n, dev in enumerate(devs)))


def sas(host: Host, number: int, devs: tuple[str, str]) -> list[str]:
    for n, dev in enumerate(devs):
        host.add(
            dev, f"pci0000:00/0000:01:00.0/host{number}/port-{number}:{n}/end_device-{number}:{n}/target{number}:0:{n}/{number}:0:{n}:0"
        )
    return host.names(*(Path(dev=dev, host_adapter="0000:01:00.0", target_wwnn=f"0x5000C500A0B0000{n}") for n, dev in enumerate(devs)))


def nvme(host: Host, number: int, devs: tuple[str, str]) -> list[str]:
    names = []
    for n, _ in enumerate(devs):
        controller = f"nvme{number + n}"
        host.add(f"{controller}n1", f"virtual/nvme-fabrics/ctl/{controller}/ns")
        (host.root / f"sys/devices/virtual/nvme-fabrics/ctl/{controller}/ns/transport").write_text("tcp\n")
        address = f"traddr=10.0.{n}.10,trsvcid=4420,host_traddr=10.0.{n}.5,src_addr=10.0.{n}.5\n"
        (host.root / f"sys/devices/virtual/nvme-fabrics/ctl/{controller}/ns/address").write_text(address)
        names.append(Path(dev=f"{controller}n1"))
    return host.names(*names)


def other(host: Host, number: int, devs: tuple[str, str]) -> list[str]:
    for n, dev in enumerate(devs):
        page = PORT_PAGE[:-1] + bytes([n + 1])
        host.add(dev, f"pci0000:00/0000:00:0{4 + n}.0/virtio{1 + n}/host{number + n}/target{number + n}:0:0/{number + n}:0:0:1", page)
    return host.names(*(Path(dev=dev) for dev in devs))


EXPECTED = {
    fibre_channel: ["fc:0x10000090fa1b2c3d>0x524a937a1b2c3d00", "fc:0x10000090fa1b2c3e>0x524a937a1b2c3d10"],
    iscsi: [f"iscsi:10.0.0.5>10.0.0.10:3260,1,{IQN}", f"iscsi:10.0.1.5>10.0.1.10:3260,1,{IQN}"],
    sas: ["sas:0000:01:00.0>0x5000c500a0b00000", "sas:0000:01:00.0>0x5000c500a0b00001"],
    nvme: ["nvme:tcp:10.0.0.5>10.0.0.10:4420", "nvme:tcp:10.0.1.5>10.0.1.10:4420"],
    other: [
        "other:pci0000:00/0000:00:04.0/virtio1/host/target:0:0/:0:0:1,1",
        "other:pci0000:00/0000:00:05.0/virtio2/host/target:0:0/:0:0:1,2",
    ],
}


@pytest.mark.parametrize("transport", EXPECTED, ids=lambda transport: transport.__name__)
def test_identities_outlive_a_new_numbering(tmp_path: FilePath, transport: Callable[[Host, int, tuple[str, str]], list[str]]) -> None:
    before = transport(Host(tmp_path / "before"), 0, ("sda", "sdb"))
    after = transport(Host(tmp_path / "after"), 7, ("sdx", "sdaa"))
    assert before == after == EXPECTED[transport]


def test_several_sessions_to_one_portal_are_counted(tmp_path: FilePath) -> None:
    host = Host(tmp_path)
    for session, dev in ((1, "sda"), (2, "sdb")):
        host.add(dev, f"platform/host{session}/session{session}/target{session}:0:0/{session}:0:0:1")
        host.write(f"sys/class/iscsi_connection/connection{session}:0/persistent_address", "10.0.0.10")
        host.write(f"sys/class/iscsi_connection/connection{session}:0/persistent_port", "3260")
    one = f"iscsi:10.0.0.5>10.0.0.10:3260,0,{IQN}"
    assert host.names(*(Path(dev=dev, host_adapter="10.0.0.5", target_wwnn=IQN) for dev in ("sda", "sdb"))) == [one, f"{one}#2"]


def test_two_ports_behind_one_adapter_are_told_by_what_the_disk_says(tmp_path: FilePath) -> None:
    host = Host(tmp_path)
    for n, dev in ((1, "sda"), (2, "sdb")):
        host.add(dev, f"pci0000:00/0000:00:04.0/virtio1/host3/target3:0:{n}/3:0:{n}:1", PORT_PAGE[:-1] + bytes([n]))
    place = "other:pci0000:00/0000:00:04.0/virtio1/host/target"
    assert host.names(Path(dev="sda"), Path(dev="sdb")) == [f"{place}:0:1/:0:1:1,1", f"{place}:0:2/:0:2:1,2"]


def test_udevs_name_of_the_place_where_sysfs_has_none(tmp_path: FilePath) -> None:
    host = Host(tmp_path)
    host.write("sys/block/dasda/dev", "94:0")
    host.write("udev/b94:0", "S:disk/by-path/ccw-0.0.1000\nE:ID_PATH=ccw-0.0.1000\nE:ID_PATH_TAG=ccw-0_0_1000")
    assert host.names(Path(dev="dasda", lun_hex="0x0")) == ["other:ccw-0.0.1000"]


def test_a_device_is_read_once_and_its_successor_anew(tmp_path: FilePath) -> None:
    host = Host(tmp_path)
    host.add("sda", "pci0000:00/host1/target1:0:0/1:0:0:1", PORT_PAGE)
    assert host.sysfs.target_port("sda") == "2"
    place = host.root / "sys/devices/pci0000:00/host1/target1:0:0/1:0:0:1"
    (place / "vpd_pg83").write_bytes(PORT_PAGE[:-1] + b"\x09")
    assert host.sysfs.target_port("sda") == "2"
    (host.root / "sys/block/sda").rename(host.root / "sys/block/gone")  # an inode that is free might be taken again, not so in sysfs
    assert (host.sysfs.target_port("sda"), host.sysfs.ancestry("sda")) == ("", None)
    (place / "block/sda").rename(place / "block/old")
    (place / "block/sda").mkdir()
    (place / "block/sda/device").symlink_to("../..")
    (host.root / "sys/block/sda").symlink_to(place / "block/sda")
    assert host.sysfs.target_port("sda") == "9"
