"""LVM on a host whose programs are small ones of the test's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from apply.lvm import Lvm
from apply.programs import SEARCH, HostPrograms
from apply.volume_groups import FIELDS
from store.errors import UnavailableError

pytestmark = pytest.mark.anyio


@pytest.fixture
def host(tmp_path: Path) -> Any:
    """`host(lvm=script, wipefs=script)` makes programs; each call of one is a line in `calls`."""

    def make(**scripts: str) -> Lvm:
        for name, script in scripts.items():
            (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{script}\n')
            (tmp_path / name).chmod(0o755)
        return Lvm(HostPrograms(f"{tmp_path}:{SEARCH}"), tmp_path)

    return make


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines()


async def test_the_report(host: Any, tmp_path: Path) -> None:
    row = dict.fromkeys(FIELDS, "") | {"pv_name": "/dev/dm-0", "pv_major": "253", "pv_minor": "0"}
    row |= dict.fromkeys(("vg_size", "vg_free", "vg_missing_pv_count", "lv_count"), "0")
    (tmp_path / "out").write_text(json.dumps({"report": [{"pv": [row]}]}))
    device = tmp_path / "sys/dev/block/253:0/dm"
    device.mkdir(parents=True)
    (device / "uuid").write_text("mpath-361\n")
    report = await host(lvm=f"cat {tmp_path}/out").report()
    assert [(d.name, d.kind, d.wwid) for d in report.devices] == [("/dev/dm-0", "map", "361")]
    assert calls(tmp_path) == [f"lvm pvs --all --reportformat json --units b --nosuffix -o {','.join(FIELDS)}"]


async def test_what_is_asked_of_lvm(host: Any, tmp_path: Path) -> None:
    lvm = host(lvm="cat")
    assert lvm.installed
    await lvm.create("vg", "/dev/x")
    await lvm.activate("vg")
    await lvm.deactivate("vg")
    await lvm.activate("vg", ("a", "b"))
    await lvm.deactivate("vg", ("a",))
    assert calls(tmp_path) == [
        "lvm vgcreate vg /dev/x",
        "lvm vgchange --activate y vg",
        "lvm vgchange --activate n vg",
        "lvm lvchange --activate y vg/a vg/b",
        "lvm lvchange --activate n vg/a",
    ]
    assert not any(word in " ".join(calls(tmp_path)) for word in ("--yes", "-y ", "--force", "-f "))


async def test_lvm_says_what_is_wrong(host: Any) -> None:
    lvm = host(lvm='echo "  WARNING: x" >&2; echo "  Volume group vg not found" >&2; exit 5')
    with pytest.raises(UnavailableError) as caught:
        await lvm.activate("vg")
    assert (caught.value.code, caught.value.message) == ("lvm-failed", "lvm vgchange: Volume group vg not found")


async def test_what_writes_is_not_killed(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apply.lvm.CHANGE_SECONDS", 0.2)
    monkeypatch.setattr("apply.lvm.REPORT_SECONDS", 5.0)
    lvm = host(lvm=f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; touch {tmp_path}/done")
    with pytest.raises(UnavailableError) as caught:
        await lvm.create("vg", "/dev/x")
    assert caught.value.code == "program-timeout" and "it goes on" in caught.value.message
    (tmp_path / "go").touch()
    [process] = lvm._programs._going_on["lvm"]
    assert process.wait(20) == 0 and (tmp_path / "done").exists(), "it ends by itself"


async def test_a_host_without_lvm(tmp_path: Path) -> None:
    lvm = Lvm(HostPrograms(str(tmp_path)))
    assert not lvm.installed
    with pytest.raises(UnavailableError) as caught:
        await lvm.report()
    assert caught.value.code == "program-missing"


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ('{"signatures": []}', ()),
        ('{"signatures": [{"type": "gpt"}, {"type": "PMBR"}, {"type": "gpt"}]}', ("PMBR", "gpt")),
    ],
)
async def test_signatures(host: Any, tmp_path: Path, output: str, found: tuple[str, ...]) -> None:
    lvm = host(blockdev="echo 10737418240", dd="", wipefs=f"echo '{output}'")
    assert await lvm.signatures("/dev/x") == found
    assert calls(tmp_path) == [
        "blockdev --getsize64 /dev/x",
        "dd if=/dev/x of=/dev/null bs=1048576 iflag=direct count=4",
        "dd if=/dev/x of=/dev/null bs=1048576 iflag=direct skip=10236",
        "wipefs --no-act --json --output TYPE /dev/x",
    ]


READABLE = {"blockdev": "echo 1000", "dd": "", "wipefs": """echo '{"signatures": []}'"""}


async def test_a_small_device_is_read_from_its_beginning(host: Any, tmp_path: Path) -> None:
    assert await host(**READABLE).signatures("/dev/x") == ()
    assert calls(tmp_path)[2].endswith(" skip=0")


@pytest.mark.parametrize(
    ("program", "script"),
    [
        *(("wipefs", script) for script in ("", "echo nonsense", "echo '{}'", "echo '{\"signatures\": 5}'", "echo '[]'")),
        *((name, "echo no such device >&2; exit 1") for name in READABLE),
        *(("blockdev", script) for script in ("", "echo 0", "echo -1", "echo x")),
        ("dd", 'case "$*" in *count=*) echo "Input/output error" >&2; exit 1;; esac'),
        ("dd", 'case "$*" in *skip=*) echo "Input/output error" >&2; exit 1;; esac'),
        ("dd", "kill -9 $$"),
    ],
)
async def test_a_device_that_cannot_be_probed_counts_as_no_empty_one(host: Any, program: str, script: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        await host(**READABLE | {program: script}).signatures("/dev/x")
    assert caught.value.code == "probe-failed" and "/dev/x" in caught.value.message and caught.value.hint


async def test_the_programs_of_this_host_read_an_empty_device(host: Any, tmp_path: Path) -> None:
    """A file stands for the device: what is checked is that the real programs take these options, and what they say of nothing."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(6 * 2**20)
    lvm = host(blockdev=f"echo {6 * 2**20}")
    if not all(lvm._programs.has(name) for name in ("dd", "wipefs", "mkswap")):
        pytest.skip("needs dd, wipefs and mkswap")
    try:
        assert await lvm.signatures(str(disk)) == ()
    except UnavailableError as fault:
        if "Invalid argument" in fault.message:
            pytest.skip("this file system cannot be read past the cache")
        raise
    assert not (await lvm._programs.run("mkswap", str(disk), seconds=10)).status
    assert await lvm.signatures(str(disk)) == ("swap",)
