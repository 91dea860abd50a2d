"""LVM on a host whose programs are small ones of the test's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from apply.lvm import Lvm
from apply.programs import HostPrograms
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
        return Lvm(HostPrograms(f"{tmp_path}:/usr/bin:/bin"), tmp_path)

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
    assert calls(tmp_path) == ["lvm vgcreate vg /dev/x", "lvm vgchange --activate y vg", "lvm vgchange --activate n vg"]
    assert not any(word in " ".join(calls(tmp_path)) for word in ("--yes", "-y ", "--force", "-f "))


async def test_lvm_says_what_is_wrong(host: Any) -> None:
    lvm = host(lvm='echo "  WARNING: x" >&2; echo "  Volume group vg not found" >&2; exit 5')
    with pytest.raises(UnavailableError) as caught:
        await lvm.activate("vg")
    assert (caught.value.code, caught.value.message) == ("lvm-failed", "lvm vgchange: Volume group vg not found")


async def test_a_host_without_lvm(tmp_path: Path) -> None:
    lvm = Lvm(HostPrograms(str(tmp_path)))
    assert not lvm.installed
    with pytest.raises(UnavailableError) as caught:
        await lvm.report()
    assert caught.value.code == "program-missing"


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("", ()),
        ('{"signatures": []}', ()),
        ('{"signatures": [{"type": "gpt"}, {"type": "PMBR"}, {"type": "gpt"}]}', ("PMBR", "gpt")),
    ],
)
async def test_signatures(host: Any, tmp_path: Path, output: str, found: tuple[str, ...]) -> None:
    lvm = host(wipefs=f"echo '{output}'" if output else "")
    assert await lvm.signatures("/dev/x") == found
    assert calls(tmp_path) == ["wipefs --no-act --json --output TYPE /dev/x"]


@pytest.mark.parametrize(
    "script", ["echo nonsense", "echo '{}'", "echo '{\"signatures\": 5}'", "echo '[]'", "echo no such device >&2; exit 1"]
)
async def test_a_device_that_cannot_be_probed_counts_as_no_empty_one(host: Any, script: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        await host(wipefs=script).signatures("/dev/x")
    assert caught.value.code == "probe-failed" and "/dev/x" in caught.value.message
