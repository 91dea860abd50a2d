"""The guard before pruning, on a host made of files."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from apply import inuse, programs
from apply.inuse import HostInUse, NothingInUse
from apply.programs import HostPrograms

pytestmark = pytest.mark.anyio

W = "361"
LONG = "3624a9370e92ace0b12e941bf000cb4d5"


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


def dmsetup(root: Path, script: str) -> HostPrograms:
    """Programs of which one is a dmsetup that does this."""
    program = root / "dmsetup"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return HostPrograms(f"{root}:/usr/bin:/bin")


async def test_an_idle_map_and_an_absent_one(root: Path) -> None:
    idle = dmsetup(root, "echo ' 0'")
    (root / "proc/self/mountinfo").write_text("29 1 8:2 / / rw shared:1 - ext4 /dev/sda2 rw\n")
    (root / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/sda3 partition 1 0 -2\n")
    (root / "etc/fstab").write_text("# /dev/mapper/pool /x\nUUID=other / ext4 defaults 0 1\nproc /proc proc\n")
    assert await HostInUse(root, idle).reason(W) == ""
    assert await HostInUse(root, HostPrograms("/nonexistent")).reason("369") == ""
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


@pytest.mark.parametrize(
    "spec",
    [
        "/dev/mapper/pool",
        "/dev/mapper/pool-part1",
        "/dev/mapper/poolp2",
        "/dev/mapper/pool3",
        f"/dev/mapper/{LONG}",
        f"/dev/mapper/{LONG}-part1",
        f"/dev/disk/by-id/dm-uuid-mpath-{LONG}",
        f"/dev/disk/by-id/dm-uuid-part1-mpath-{LONG}",
        "/dev/disk/by-id/dm-name-pool",
        "/dev/disk/by-id/dm-name-pool-part1",
        f"/dev/disk/by-id/scsi-{LONG}",
        f"/dev/disk/by-id/wwn-0x{LONG[1:]}-part1",
    ],
)
@pytest.mark.parametrize("there", [False, True])
async def test_what_fstab_waits_for_is_in_use_while_its_paths_are_away(root: Path, spec: str, there: bool) -> None:
    if there:  # under a name that leads nowhere
        (root / "sys/block/dm-3/dm/uuid").write_text(f"mpath-{LONG}\n")
        (root / "dev/mapper/pool").unlink()
    (root / "etc/fstab").write_text(f"{spec} /srv/later ext4 noauto 0 0\n")
    assert await HostInUse(root).reason(LONG, "pool") == "named in fstab for /srv/later"


@pytest.mark.parametrize(
    "spec",
    [
        "/dev/mapper/pools",
        "/dev/mapper/pool-part",
        "/dev/mapper/other-pool",
        "/dev/mapper/",
        "/dev/pool",
        f"/dev/disk/by-path/{LONG}",
        "/dev/disk/by-id/dm-uuid-mpath-3600a098038314353763f505349676e35",
        "UUID=abc",
        "pool",
        f"#/dev/mapper/{LONG}",
    ],
)
@pytest.mark.parametrize("name", ["pool", ""])
async def test_what_fstab_says_of_others_is_no_use(root: Path, spec: str, name: str) -> None:
    (root / "etc/fstab").write_text(f"{spec} /srv/later ext4 noauto 0 0\n")
    assert await HostInUse(root).reason(LONG, name) == ""


async def test_what_cannot_be_looked_at_counts_as_in_use(root: Path) -> None:
    (root / "sys/block").rename(root / "sys/gone")
    assert "cannot be told" in await HostInUse(root).reason(LONG)


async def test_blanks_in_fstab(root: Path) -> None:
    (root / "dev" / "mapper" / "my pool").symlink_to("../dm-3")
    (root / "etc/fstab").write_text("/dev/mapper/my\\040pool /srv ext4\n")
    assert await HostInUse(root).reason(W) == "named in fstab for /srv"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 2", "open 2 times"),
        ("echo 0; exit 1", "dmsetup does not say whether it is open"),
        ("echo", "dmsetup does not say whether it is open"),
        ("echo -1", "dmsetup does not say whether it is open"),
        ("echo 0; echo 0", "dmsetup does not say whether it is open"),
        ("head -c 100 /dev/urandom", "dmsetup does not say whether it is open"),
    ],
)
async def test_the_open_count(root: Path, script: str, reason: str) -> None:
    assert await HostInUse(root, dmsetup(root, script)).reason(W) == reason


async def test_it_is_asked_for_the_map_by_its_uuid(root: Path) -> None:
    assert await HostInUse(root, dmsetup(root, f'echo "$*" > {root}/asked; echo 0')).reason(W) == ""
    assert (root / "asked").read_text() == f"info --columns --noheadings -o open --uuid mpath-{W}\n"


async def test_what_cannot_be_told_counts_as_in_use(root: Path) -> None:
    assert "there is no program dmsetup" in await HostInUse(root, HostPrograms("/nonexistent")).reason(W)


async def test_a_probe_that_cannot_be_started_counts_as_in_use(root: Path) -> None:
    broken = dmsetup(root, "")
    (root / "dmsetup").write_bytes(b"\x7fELF nonsense")
    assert "cannot be told" in await HostInUse(root, broken).reason(W)


async def test_a_probe_that_does_not_end_counts_as_in_use_and_holds_nobody_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in the kernel's hands takes no signal: the test leaves the signal out."""
    kill = programs._kill
    left: list[Any] = []
    monkeypatch.setattr(programs, "_kill", left.append)
    monkeypatch.setattr(programs, "DYING_SECONDS", 0.1)
    monkeypatch.setattr(inuse, "PROBE_SECONDS", 0.5)
    guard = HostInUse(root, dmsetup(root, "exec sleep 60"))
    async with asyncio.timeout(20):
        assert "did not end within" in await guard.reason(W)
        assert "still hangs" in await guard.reason(W)
    [process] = left
    kill(process)
    await process.wait()
