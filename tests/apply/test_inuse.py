"""The guard before pruning, on a host made of files; and which devices udev is told of."""

from pathlib import Path

import pytest

from apply.inuse import HostInUse, NothingInUse
from apply.udev import NoUdev, Udev

pytestmark = pytest.mark.anyio

W = "361"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    device = tmp_path / "sys" / "block" / "dm-3"
    (device / "dm").mkdir(parents=True)
    (device / "holders").mkdir()
    (device / "dm" / "uuid").write_text(f"mpath-{W}\n")
    (device / "dev").write_text("254:3\n")
    for name in ("proc/self", "etc", "dev/mapper", "dev/disk/by-uuid"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dev" / "dm-3").touch()
    (tmp_path / "dev" / "mapper" / "pool").symlink_to("../dm-3")
    (tmp_path / "dev" / "disk" / "by-uuid" / "abc").symlink_to("../../dm-3")
    return tmp_path


def dmsetup(root: Path, script: str) -> str:
    program = root / "dmsetup"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


async def test_an_idle_map_and_an_absent_one(root: Path) -> None:
    idle = dmsetup(root, "echo ' 0'")
    (root / "proc/self/mountinfo").write_text("29 1 8:2 / / rw shared:1 - ext4 /dev/sda2 rw\n")
    (root / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/sda3 partition 1 0 -2\n")
    (root / "etc/fstab").write_text("# /dev/mapper/pool /x\nUUID=other / ext4 defaults 0 1\nproc /proc proc\n")
    assert await HostInUse(root, idle).reason(W) == ""
    assert await HostInUse(root, None).reason("369") == ""
    assert await NothingInUse().reason(W) == ""


async def test_holders(root: Path) -> None:
    (root / "sys/block/dm-3/holders/dm-4").touch()
    (root / "sys/block/dm-4/dm").mkdir(parents=True)
    (root / "sys/block/dm-4/dm/name").write_text("vg-lv\n")
    assert await HostInUse(root).reason(W) == "held by vg-lv"


async def test_mounts(root: Path) -> None:
    (root / "proc/self/mountinfo").write_text("29 1 254:3 / /srv/data rw shared:1 - ext4 /dev/mapper/pool rw\n")
    assert await HostInUse(root).reason(W) == "mounted on /srv/data"


@pytest.mark.parametrize("place", ["/", "/boot", "/boot/efi", "/srv/with\\040blank"])
async def test_what_the_host_boots_from_is_in_use(root: Path, place: str) -> None:
    (root / "proc/self/mountinfo").write_text(
        f"21 1 0:20 / /proc rw - proc proc rw\n29 1 254:3 / {place} rw shared:1 master:2 - ext4 /dev/mapper/pool rw\n"
    )
    assert await HostInUse(root).reason(W) == f"mounted on {place.replace(chr(92) + '040', ' ')}"


async def test_a_file_system_with_a_number_of_its_own(root: Path) -> None:
    (root / "proc/self/mountinfo").write_text("29 1 0:45 /@ / rw shared:1 - btrfs /dev/mapper/pool rw,subvol=/@\n")
    assert await HostInUse(root).reason(W) == "mounted on /"


async def test_a_partition_that_is_mounted_holds_its_map(root: Path) -> None:
    (root / "sys/block/dm-3/holders/dm-9").touch()
    (root / "sys/block/dm-9/dm").mkdir(parents=True)
    (root / "sys/block/dm-9/dm/name").write_text("pool-part1\n")
    (root / "proc/self/mountinfo").write_text("29 1 254:9 / /boot/efi rw - vfat /dev/mapper/pool-part1 rw\n")
    assert await HostInUse(root, dmsetup(root, "echo 0")).reason(W) == "held by pool-part1"


@pytest.mark.parametrize("line", ["", "\n\n", "29", "29 1 254:4 / / rw - ext4", "29 1 254:4 / / rw ext4 /dev/mapper/pool", "a b c d e - f"])
async def test_odd_lines_of_mountinfo(root: Path, line: str) -> None:
    (root / "proc/self/mountinfo").write_text(line)
    assert await HostInUse(root, dmsetup(root, "echo 0")).reason(W) == ""


@pytest.mark.parametrize("device", ["/dev/dm-3", "/dev/mapper/pool"])
async def test_swap(root: Path, device: str) -> None:
    (root / "proc/swaps").write_text(f"Filename Type Size Used Priority\n{device} partition 1 0 -2\n")
    assert await HostInUse(root).reason(W) == "used as swap"


@pytest.mark.parametrize("spec", ["/dev/mapper/pool", "UUID=abc", 'UUID="abc"', "/dev/disk/by-uuid/abc"])
async def test_fstab(root: Path, spec: str) -> None:
    (root / "etc/fstab").write_text(f"{spec} /srv/later ext4 noauto 0 0\n")
    assert await HostInUse(root).reason(W) == "named in fstab for /srv/later"


async def test_blanks_in_fstab(root: Path) -> None:
    (root / "dev" / "mapper" / "my pool").symlink_to("../dm-3")
    (root / "etc/fstab").write_text("/dev/mapper/my\\040pool /srv ext4\n")
    assert await HostInUse(root).reason(W) == "named in fstab for /srv"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 2", "open 2 times"),
        ("exit 1", "dmsetup does not say whether it is open"),
        ("echo", "dmsetup does not say whether it is open"),
    ],
)
async def test_the_open_count(root: Path, script: str, reason: str) -> None:
    assert await HostInUse(root, dmsetup(root, script)).reason(W) == reason


async def test_what_cannot_be_told_counts_as_in_use(root: Path) -> None:
    assert "cannot be told" in await HostInUse(root, None).reason(W)


async def test_a_probe_that_cannot_be_started_counts_as_in_use(root: Path) -> None:
    assert await HostInUse(root, str(root / "nowhere")).reason(W) == "dmsetup cannot be run: No such file or directory"


async def test_udev_is_told_of_path_devices_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    program = tmp_path / "udevadm"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    await Udev().changed(["sdb", "sda", "sdb", "../x", "-", "nvme0n1"])
    assert log.read_text() == "trigger --action=change --name-match=nvme0n1 --name-match=sda --name-match=sdb\n"
    await Udev().changed(["-"])
    await NoUdev().changed(["sda"])
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    await Udev().changed(["sda"])
    assert len(log.read_text().splitlines()) == 1


async def test_an_event_that_cannot_be_sent_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "udevadm"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    await Udev().changed(["sd" + "a" * 200_000])  # more than the kernel takes as one argument
    assert not (tmp_path / "ran").exists()
