"""What a node does with a storage when it is asked: on a host made of files, with an `lvm` and a `wipefs` of the test's own."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import storage_acts
from agent.storage_acts import StorageActs
from agent.storage_loop import StorageLoop
from apply.model import build
from apply.programs import HostPrograms
from apply.storages import ExpectedNodes
from apply.volume_groups import FIELDS
from apply.volumes import check_device
from apply.wwid import device_path
from store.cells import MULTIPATH_MAP, Cell
from store.errors import PathmeshError

pytestmark = pytest.mark.anyio

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35"
DOCUMENT: Mapping[str, Mapping[str, str]] = {
    f"wwid/{A}": {"alias": "pool"},
    f"wwid/{B}": {},
    "storage/san": {"type": "multipath"},
    "storage/vm": {"type": "lvm", "vgname": "vg", "base": f"san:{A}"},
    "storage/bare": {"type": "lvm", "vgname": "vg2"},
    "storage/tgt": {"type": "iscsi", "target": "iqn.2001-05.com.example:a", "portals": "10.0.0.1"},
}
DEVICE = f"/dev/disk/by-id/dm-uuid-mpath-{A}"


class Used:
    """The guard that knows who uses a map."""

    why = ""

    async def reason(self, wwid: str) -> str:
        return self.why


class Rig:
    """A host with the maps of two LUNs, which multipathd says are healthy; nothing stands on them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.programs, self.used = directory / "root", directory / "programs", Used()
        self.programs.mkdir()
        (self.root / "dev/disk/by-id").mkdir(parents=True)
        for number, wwid in enumerate((A, B)):
            device = self.root / f"sys/dev/block/253:{number}/dm"
            device.mkdir(parents=True)
            (device / "uuid").write_text(f"mpath-{wwid}")
            (self.root / f"dev/dm-{number}").touch()
            (self.root / device_path(wwid).lstrip("/")).symlink_to(f"../../dm-{number}")
        self.cells: dict[tuple[str, str], Cell] = {("n1", wwid): self.map_cell(wwid) for wwid in (A, B)}
        self.picture: Any = SimpleNamespace(
            config=SimpleNamespace(model=build(DOCUMENT, {}), expected=dict.fromkeys((A, B), ExpectedNodes(frozenset({"n1"}), "fallback"))),
            cell=lambda node, kind, wwid: self.cells.get((node, wwid)) if kind == MULTIPATH_MAP else None,
            node_names=lambda: ["n1", "n2"],
        )
        tools = HostPrograms(f"{self.programs}:/usr/bin:/bin")
        self.loop = StorageLoop("n1", self.picture, tools, interval=60, told=lambda: None, root=self.root)
        self.acts = StorageActs("n1", self.picture, self.loop, self.used, self.root)
        numbered = lambda node: node.name.replace("dm-", "253:")  # noqa: E731
        monkeypatch.setattr(storage_acts, "check_device", lambda wwid, root: check_device(wwid, root, numbered))
        self.reports({"pv_minor": "0"}, {"pv_minor": "1"})
        self.program("wipefs", "")

    def map_cell(self, wwid: str = A, state: str = "healthy", usable: int = 2, **detail: Any) -> Cell:
        counts = {"active": usable, "standby": 0, "marginal": 0, "failed": 0, "visible": 2, "expected": 2, "expected_source": "learned"}
        return Cell(MULTIPATH_MAP, wwid, state, (), {"paths": {"usable": usable, **counts}, **detail})

    def program(self, name: str, script: str) -> None:
        """Each call is a line in `calls`."""
        (self.programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {self.programs}/calls\n{script}\n')
        (self.programs / name).chmod(0o755)

    def reports(self, *rows: Mapping[str, str], then: str = "") -> None:
        """What `lvm pvs` says; any other command of lvm's runs `then`."""
        plain = dict.fromkeys(FIELDS, "") | {"pv_name": "/dev/dm", "pv_major": "253", "pv_minor": "0"}
        plain |= dict.fromkeys(("vg_size", "vg_free", "vg_missing_pv_count", "lv_count"), "0")
        (self.programs / "report").write_text(json.dumps({"report": [{"pv": [{**plain, **row} for row in rows]}]}))
        self.program("lvm", f'if [ "$1" = pvs ]; then cat {self.programs}/report; else {then or ":"}; fi')

    def changes(self) -> list[str]:
        """What was asked of lvm that changes something."""
        file = self.programs / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith("lvm ") and not line.startswith("lvm pvs")]


GROUP = {"pv_uuid": "x", "pv_in_use": "used", "vg_name": "vg", "vg_uuid": "g"}


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


async def refused(act: Any) -> PathmeshError:
    with pytest.raises(PathmeshError) as caught:
        await act
    assert "\n" not in caught.value.message
    return caught.value


# -- making a volume group --------------------------------------------------------------------------------------------


async def test_a_group_is_made_on_an_empty_map(rig: Rig) -> None:
    answer = await rig.acts.create_group("vm", dry_run=False)
    assert answer == {"storage": "vm", "node": "n1", "vg": "vg", "wwid": A, "path": DEVICE, "dry_run": False}
    assert rig.changes() == [f"lvm vgcreate vg {DEVICE}"]


async def test_a_dry_run_makes_nothing(rig: Rig) -> None:
    assert (await rig.acts.create_group("vm", dry_run=True))["dry_run"] is True
    assert rig.changes() == []


@pytest.mark.parametrize(
    ("storage", "code"), [("nope", "not-found"), ("san", "no-volume-group"), ("bare", "no-base"), ("tgt", "no-volume-group")]
)
async def test_only_a_storage_that_names_its_lun(rig: Rig, storage: str, code: str) -> None:
    assert (await refused(rig.acts.create_group(storage, dry_run=False))).code == code


@pytest.mark.parametrize(
    ("state", "usable", "code"),
    [
        (None, 0, "device-missing"),
        ("missing", 0, "device-missing"),
        ("unknown", 0, "map-unknown"),
        ("failed", 0, "no-usable-path"),
        ("degraded", 1, None),
        ("unexpected", 2, None),
    ],
)
async def test_the_map_must_have_a_path(rig: Rig, state: str | None, usable: int, code: str | None) -> None:
    if state is None:
        del rig.cells["n1", A]
    else:
        rig.cells["n1", A] = rig.map_cell(A, state, usable)
    if code is None:
        assert (await rig.acts.create_group("vm", dry_run=True))["wwid"] == A
    else:
        assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == code
        assert rig.changes() == []


async def test_the_device_must_be_the_map(rig: Rig) -> None:
    link = rig.root / DEVICE.lstrip("/")
    link.unlink()
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "device-missing"
    link.symlink_to("../../dm-1")
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "wrong-device"
    assert rig.changes() == []


async def test_what_is_used_here_is_left_alone(rig: Rig) -> None:
    rig.used.why = "mounted on /srv"
    fault = await refused(rig.acts.create_group("vm", dry_run=False))
    assert fault.code == "in-use" and "mounted on /srv" in fault.message and rig.changes() == []


async def test_what_is_used_on_another_node_is_left_alone(rig: Rig) -> None:
    rig.cells["n2", A] = rig.map_cell(A, "unknown", used_by=["open:kvm 100"])
    fault = await refused(rig.acts.create_group("vm", dry_run=False))
    assert fault.code == "in-use-elsewhere" and "on n2: open:kvm 100" in fault.message and rig.changes() == []
    rig.cells["n2", A] = rig.map_cell(A, used_by=[])
    assert await rig.acts.create_group("vm", dry_run=False)


async def test_what_has_something_written_on_it_is_left_alone(rig: Rig) -> None:
    rig.program("wipefs", """echo '{"signatures": [{"type": "ext4"}]}'""")
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "foreign-signature"
    rig.program("wipefs", "echo broken >&2; exit 1")
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "probe-failed"
    assert rig.changes() == []


async def test_what_lvm_says_is_said_before_anything_else(rig: Rig) -> None:
    rig.used.why = "held by vg-lv"
    rig.reports(GROUP)
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "exists"
    rig.reports(GROUP | {"vg_name": "other"})
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "in-use"
    rig.reports({"pv_minor": "1"})
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "lvm-ignores-map"


async def test_lvm_that_refuses_is_told(rig: Rig) -> None:
    rig.reports({}, then="echo '  Aborted wiping of ext4.' >&2; exit 5")
    fault = await refused(rig.acts.create_group("vm", dry_run=False))
    assert (fault.code, fault.message) == ("lvm-failed", "lvm vgcreate: Aborted wiping of ext4.")


async def test_nothing_is_asked_of_lvm_while_io_hangs_or_where_it_is_off(rig: Rig) -> None:
    rig.loop.cells([Cell(MULTIPATH_MAP, B, "failed", (), {"flags": ["io-hangs"]})])
    for act in (rig.acts.create_group("vm", dry_run=False), rig.acts.activate("vm", None), rig.acts.deactivate("vm")):
        assert (await refused(act)).code == "io-hangs"
    rig.acts._loop = StorageLoop("n1", rig.picture, None, interval=60, told=lambda: None)
    assert (await refused(rig.acts.activate("vm", None))).code == "storage-tools-off"


async def test_one_thing_is_done_at_a_time(rig: Rig) -> None:
    rig.reports({}, then="sleep 0.3; echo end >> $(dirname $0)/calls")
    await asyncio.gather(rig.acts.create_group("vm", dry_run=False), rig.acts.deactivate("vm"), rig.acts.deactivate("vm"))
    lines = [line.split()[0] for line in (rig.programs / "calls").read_text().splitlines() if not line.startswith(("lvm pvs", "wipefs"))]
    assert lines == ["lvm", "end"] * 3


# -- activating -------------------------------------------------------------------------------------------------------


async def test_a_group_is_activated_and_deactivated(rig: Rig) -> None:
    rig.reports(GROUP)
    assert await rig.acts.activate("vm", None) == {"storage": "vm", "node": "n1", "vg": "vg", "active": True}
    assert await rig.acts.deactivate("vm") == {"storage": "vm", "node": "n1", "vg": "vg", "active": False}
    assert rig.changes() == ["lvm vgchange --activate y vg", "lvm vgchange --activate n vg"]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "vg-missing"),
        ([GROUP, GROUP | {"pv_minor": "1", "vg_uuid": "h"}], "duplicate-vg"),
        ([GROUP | {"vg_missing_pv_count": "1"}], "pv-missing"),
        ([GROUP | {"pv_major": "8"}], "pv-on-path"),
    ],
)
async def test_a_group_that_is_not_whole_is_not_activated(rig: Rig, rows: list[Mapping[str, str]], code: str) -> None:
    path = rig.root / "sys/dev/block/8:0/device"
    path.mkdir(parents=True)
    (path / "wwid").write_text(f"naa.{A[1:]}")
    rig.reports(*rows)
    fault = await refused(rig.acts.activate("vm", None))
    assert fault.code == code and fault.hint and rig.changes() == []


async def test_a_group_for_other_nodes_is_not_activated_here(rig: Rig) -> None:
    for options in ({"nodes": "n2"}, {"disable": "1"}):
        rig.picture.config.model = build(DOCUMENT | {"storage/vm": {**DOCUMENT["storage/vm"], **options}}, {})
        assert (await refused(rig.acts.activate("vm", None))).code in ("not-on-node", "storage-disabled")
    rig.picture.config.model = build(DOCUMENT | {"storage/san": {"type": "multipath", "nodes": "n2"}}, {})
    assert (await refused(rig.acts.activate("vm", None))).code == "not-on-node"
    assert await rig.acts.deactivate("vm"), "what is active where it should not be can be deactivated"


async def test_the_volumes_of_a_storage_of_maps_are_checked(rig: Rig) -> None:
    answer = await rig.acts.activate("san", None)
    assert [volume["wwid"] for volume in answer["volumes"]] == [B, A]
    assert (await rig.acts.activate("san", "pool"))["volumes"] == [{"volid": f"san:{A}", "wwid": A, "path": DEVICE}]
    (rig.root / DEVICE.lstrip("/")).unlink()
    assert (await refused(rig.acts.activate("san", None))).code == "device-missing"
    assert await rig.acts.activate("san", B)
    rig.picture.config.expected[A] = ExpectedNodes(frozenset({"n2"}), "explicit")
    assert [volume["wwid"] for volume in (await rig.acts.activate("san", None))["volumes"]] == [B], "the other is not for this node"
    assert (await refused(rig.acts.activate("san", A))).code == "device-missing"


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (("activate", "nope", None), "not-found"),
        (("activate", "san", "36001"), "no-such-volume"),
        (("activate", "vm", "lv"), "no-such-volume"),
        (("activate", "tgt", None), "no-volumes"),
        (("deactivate", "nope"), "not-found"),
        (("deactivate", "san"), "no-volumes"),
    ],
)
async def test_what_makes_no_sense_is_refused(rig: Rig, act: tuple[Any, ...], code: str) -> None:
    fault = await refused(getattr(rig.acts, act[0])(*act[1:]))
    assert fault.code == code and fault.hint
