"""Which devices udev is told of, and that it is said if it cannot be."""

from pathlib import Path

import pytest

from apply.programs import HostPrograms
from apply.udev import AT_ONCE, NoUdev, Udev

pytestmark = pytest.mark.anyio


def udevadm(directory: Path, script: str) -> HostPrograms:
    program = directory / "udevadm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return HostPrograms(f"{directory}:/usr/bin:/bin")


async def test_udev_is_told_of_path_devices_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    udev = Udev(udevadm(tmp_path, f'echo "$@" >> {log}'))
    assert await udev.changed(["sdb", "sda", "sdb", "../x", "-", "nvme0n1"]) == ""
    matches = "--sysname-match=nvme0n1 --sysname-match=sda --sysname-match=sdb"
    assert log.read_text() == f"trigger --action=change --subsystem-match=block {matches}\n"
    assert await udev.changed(["-"]) == "" == await NoUdev().changed(["sda"])
    assert len(log.read_text().splitlines()) == 1


async def test_a_host_without_udev(tmp_path: Path) -> None:
    assert await Udev(HostPrograms(str(tmp_path))).changed(["sda"]) == ""


def names(count: int) -> list[str]:
    """Names of so many disks."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"sd{letters[n // 676]}{letters[n // 26 % 26]}{letters[n % 26]}" for n in range(count)]


async def test_many_devices_are_told_of_in_batches(tmp_path: Path) -> None:
    udev = Udev(udevadm(tmp_path, f'echo "$#" >> {tmp_path}/log'))
    assert await udev.changed(names(2 * AT_ONCE + 1)) == ""
    assert [int(line) - 3 for line in (tmp_path / "log").read_text().splitlines()] == [AT_ONCE, AT_ONCE, 1]


async def test_a_batch_that_fails_is_said_and_keeps_no_other_from_being_sent(tmp_path: Path) -> None:
    udev = Udev(udevadm(tmp_path, f'echo "$#" >> {tmp_path}/log; case "$*" in *sdaaa*) echo "No such thing" >&2; exit 1;; esac'))
    assert await udev.changed(names(AT_ONCE + 1)) == "udevadm: No such thing"
    assert len((tmp_path / "log").read_text().splitlines()) == 2


async def test_an_event_that_cannot_be_sent_is_said(tmp_path: Path) -> None:
    udev = Udev(udevadm(tmp_path, f"touch {tmp_path}/ran"))
    assert await udev.changed(["sd" + "a" * 200_000])  # more than the kernel takes as one argument
    assert not (tmp_path / "ran").exists()


async def test_one_that_takes_long_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apply.udev.TRIGGER_SECONDS", 0.2)
    programs = udevadm(tmp_path, f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; touch {tmp_path}/done")
    assert "goes on" in await Udev(programs).changed(["sda"])
    (tmp_path / "go").touch()
    [process] = programs._going_on["udevadm"]
    assert process.wait(20) == 0 and (tmp_path / "done").exists()
