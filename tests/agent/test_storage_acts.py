"""What a node does with a storage when it is asked: on a host made of files, with an `lvm` and a `wipefs` of the test's own."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import storage_acts
from agent.storage_acts import StorageActs
from agent.storage_loop import OLD_SECONDS, StorageLoop
from apply.model import build
from apply.outcome import ApplyError
from apply.programs import HostPrograms
from apply.storages import ExpectedNodes
from apply.volume_groups import FIELDS
from apply.volumes import check_device
from apply.wwid import device_path
from store.cells import MULTIPATH_MAP, STORAGE, Cell
from store.errors import PathmeshError
from store.matrix import Reporter

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
EMPTY = '{"signatures": []}'
DEVICE = f"/dev/disk/by-id/dm-uuid-mpath-{A}"


class Used:
    """The guard that knows who uses a map."""

    why = ""
    name = ""

    async def reason(self, wwid: str, name: str = "") -> str:
        self.name = name
        return self.why


class Known:
    """What this node knows of the cluster."""

    why: ApplyError | None = None
    whole = True

    def held(self) -> ApplyError | None:
        return self.why

    async def suffices(self, config: Any) -> bool:
        return self.whole


class Rig:
    """A host with the maps of two LUNs, which multipathd says are healthy; nothing stands on them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.programs, self.used, self.known = directory / "root", directory / "programs", Used(), Known()
        self.programs.mkdir()
        (self.root / "dev/disk/by-id").mkdir(parents=True)
        for number, wwid in enumerate((A, B)):
            device = self.root / f"sys/dev/block/253:{number}/dm"
            device.mkdir(parents=True)
            (device / "uuid").write_text(f"mpath-{wwid}")
            (self.root / f"dev/dm-{number}").touch()
            (self.root / device_path(wwid).lstrip("/")).symlink_to(f"../../dm-{number}")
        self.cells: dict[tuple[str, str], Cell] = {("n1", wwid): self.map_cell(wwid) for wwid in (A, B)}
        self.cells["n2", A] = self.map_cell(used_by=[])
        self.reporters = {"n1": Reporter.FRESH, "n2": Reporter.FRESH}
        expected = dict.fromkeys((A, B), ExpectedNodes(frozenset({"n1"}), "fallback"))
        config = SimpleNamespace(model=build(DOCUMENT, {}), expected=expected, members=frozenset({"n1", "n2"}), conflicts=())
        self.picture: Any = SimpleNamespace(
            config=config,
            cell=lambda node, kind, name: cell if (cell := self.cells.get((node, name))) is not None and cell.kind == kind else None,
            node_names=lambda: list(self.reporters),
            reporters=lambda: self.reporters,
        )
        tools = HostPrograms(f"{self.programs}:/usr/bin:/bin")
        self.now = 0.0
        self.loop = StorageLoop("n1", self.picture, tools, interval=60, told=lambda: None, root=self.root, monotonic=lambda: self.now)
        self.loop.cells([])
        known: Any = self.known
        self.acts = StorageActs("n1", self.picture, self.loop, self.used, known, self.root)
        numbered = lambda node: node.name.replace("dm-", "253:")  # noqa: E731
        monkeypatch.setattr(storage_acts, "check_device", lambda wwid, root: check_device(wwid, root, numbered))
        self.reports({"pv_minor": "0"}, {"pv_minor": "1"})
        self.program("wipefs", f"echo '{EMPTY}'")
        self.program("blockdev", "echo 1073741824")
        self.program("dd", "")

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
    for ignored in ((), ("n2",)):
        fault = await refused(rig.acts.create_group("vm", dry_run=False, ignored=ignored))
        assert fault.code == "in-use-elsewhere" and "on n2: open:kvm 100" in fault.message and rig.changes() == []
    rig.cells["n2", A] = rig.map_cell(A, used_by=[])
    assert await rig.acts.create_group("vm", dry_run=False)


@pytest.mark.parametrize("reporter", sorted(Reporter))
@pytest.mark.parametrize("told", ["free", "nothing", "no cell"])
async def test_what_may_be_used_on_another_node_is_left_alone(rig: Rig, reporter: Reporter, told: str) -> None:
    rig.reporters["n2"] = reporter
    if told == "no cell":
        del rig.cells["n2", A]
    elif told == "nothing":
        rig.cells["n2", A] = rig.map_cell()
    if reporter is Reporter.FRESH and told == "free":
        assert await rig.acts.create_group("vm", dry_run=False)
        return
    for dry_run in (False, True):
        fault = await refused(rig.acts.create_group("vm", dry_run=dry_run))
        assert fault.code == "users-unknown" and " n2: " in fault.message and "--ignore-node n2" in fault.hint and rig.changes() == []
    assert await rig.acts.create_group("vm", dry_run=False, ignored=["n2"], reason="it is switched off")
    assert rig.changes() == [f"lvm vgcreate vg {DEVICE}"]


@pytest.mark.parametrize("node", ["n1", "n9", "", "n2 "])
async def test_only_another_node_can_be_ignored(rig: Rig, node: str) -> None:
    fault = await refused(rig.acts.create_group("vm", dry_run=False, ignored=["n2", node]))
    assert fault.code == "unknown-node" and rig.changes() == []


async def test_a_group_that_another_node_has_already_is_not_made_again(rig: Rig) -> None:
    rig.cells["n2", "vm"] = Cell(STORAGE, "vm", "healthy", (), {"type": "lvm", "size_bytes": 100})
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "vg-exists"
    rig.cells["n2", "vm"] = Cell(STORAGE, "vm", "missing", ("vg-missing",), {"type": "lvm"})
    assert await rig.acts.create_group("vm", dry_run=False)


def _held(rig: Rig) -> None:
    rig.known.why = ApplyError("config-behind", "m", "h")


def _ignorant(rig: Rig) -> None:
    rig.known.whole = False


@pytest.mark.parametrize("lacks", [_held, _ignorant])
async def test_nothing_is_made_by_a_node_that_may_not_know_all(rig: Rig, lacks: Callable[[Rig], None]) -> None:
    lacks(rig)
    for dry_run in (False, True):
        fault = await refused(rig.acts.create_group("vm", dry_run=dry_run))
        assert fault.code == "not-caught-up" and "pathmesh doctor" in fault.hint
    assert not (rig.programs / "calls").exists()


def _hangs(rig: Rig) -> None:
    rig.loop.cells([Cell(MULTIPATH_MAP, B, "failed", (), {"flags": ["io-hangs"]})])


def _conflicts(rig: Rig) -> None:
    rig.picture.config.conflicts = ("storage/vm",)


def _loses_its_paths(rig: Rig) -> None:
    rig.cells["n1", A] = rig.map_cell(A, "failed", 0)


def _other_map(rig: Rig) -> None:
    rig.picture.config.model = build(DOCUMENT | {"storage/vm": {**DOCUMENT["storage/vm"], "base": f"san:{B}"}}, {})


def _other_group(rig: Rig) -> None:
    rig.picture.config.model = build(DOCUMENT | {"storage/vm": {**DOCUMENT["storage/vm"], "vgname": "vg3"}}, {})


def _goes(rig: Rig) -> None:
    rig.picture.config.model = build({key: value for key, value in DOCUMENT.items() if key != "storage/vm"}, {})


def _used_elsewhere(rig: Rig) -> None:
    rig.cells["n2", A] = rig.map_cell(A, used_by=["mount:/srv"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_held, "not-caught-up"),
        (_hangs, "io-hangs"),
        (_conflicts, "conflict-open"),
        (_loses_its_paths, "no-usable-path"),
        (_other_map, "changed-meanwhile"),
        (_other_group, "changed-meanwhile"),
        (_goes, "not-found"),
        (_used_elsewhere, "in-use-elsewhere"),
    ],
)
async def test_what_changes_while_the_lun_is_looked_at_is_seen(rig: Rig, change: Callable[[Rig], None], code: str) -> None:
    rig.program("wipefs", f"touch {rig.programs}/begun; while [ ! -e {rig.programs}/go ]; do sleep 0.02; done; echo '{EMPTY}'")
    task = asyncio.create_task(refused(rig.acts.create_group("vm", dry_run=False)))
    async with asyncio.timeout(20):
        while not (rig.programs / "begun").exists():
            await asyncio.sleep(0.01)
    change(rig)
    (rig.programs / "go").touch()
    assert (await task).code == code and rig.changes() == []


async def test_the_lun_is_asked_for_by_its_name_too(rig: Rig) -> None:
    assert await rig.acts.create_group("vm", dry_run=True)
    assert rig.used.name == "pool"


@pytest.mark.parametrize("key", ["storage/vm", "storage/san", f"wwid/{A}"])
async def test_nothing_is_made_while_it_is_in_conflict_where(rig: Rig, key: str) -> None:
    rig.picture.config.conflicts = (key,)
    fault = await refused(rig.acts.create_group("vm", dry_run=False))
    assert fault.code == "conflict-open" and key in fault.message and rig.changes() == []
    rig.picture.config.conflicts = ("storage/bare", f"wwid/{B}")
    assert await rig.acts.create_group("vm", dry_run=False)


async def test_a_map_of_different_disks_is_left_alone(rig: Rig) -> None:
    rig.cells["n1", A] = rig.map_cell(A, "degraded", flags=["merged-luns"])
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "merged-luns"
    rig.reports(GROUP)
    for act in (rig.acts.activate("vm", ["lv"]), rig.acts.activate("san", ["pool"]), rig.acts.activate("san")):
        assert (await refused(act)).code == "merged-luns"
    assert rig.changes() == []


@pytest.mark.parametrize(
    ("detail", "code"),
    [({"last": {"state": "degraded", "flags": ["merged-luns"]}}, "merged-luns"), ({}, "map-unknown"), (None, "map-unknown")],
)
async def test_a_map_of_which_it_is_not_known_that_it_is_one_disk_is_left_alone(
    rig: Rig, detail: Mapping[str, Any] | None, code: str
) -> None:
    rig.reports(GROUP)
    if detail is None:
        del rig.cells["n1", A]
    else:
        rig.cells["n1", A] = Cell(MULTIPATH_MAP, A, "unknown", ("daemon-down",), detail)
    for act in (rig.acts.activate("vm", ["lv"]), rig.acts.activate("san", ["pool"])):
        assert (await refused(act)).code == code
    rig.cells["n1", A] = Cell(MULTIPATH_MAP, A, "unknown", ("daemon-down",), {"last": {"state": "healthy", "flags": []}})
    assert await rig.acts.activate("vm", ["lv"]) and await rig.acts.activate("san", ["pool"])


async def test_nothing_is_asked_of_lvm_before_the_first_look_at_the_maps(rig: Rig) -> None:
    rig.loop = rig.acts._loop = StorageLoop("n1", rig.picture, HostPrograms(str(rig.programs)), interval=60, told=lambda: None)
    for act in (rig.acts.create_group("vm", dry_run=False), rig.acts.activate("vm", ["lv"]), rig.acts.deactivate("vm")):
        assert (await refused(act)).code == "map-unknown"
    assert rig.changes() == []


@pytest.mark.parametrize("act", ["create", "activate", "deactivate"])
async def test_what_is_begun_is_ended_though_nobody_waits_any_more(rig: Rig, act: str) -> None:
    row = {} if act == "create" else GROUP
    rig.reports(row, then=f"touch {rig.programs}/begun; sleep 0.4; touch {rig.programs}/done")
    begin = {
        "create": lambda: rig.acts.create_group("vm", dry_run=False),
        "activate": lambda: rig.acts.activate("vm", ["lv"]),
        "deactivate": lambda: rig.acts.deactivate("vm"),
    }
    task = asyncio.create_task(begin[act]())
    async with asyncio.timeout(20):
        while not (rig.programs / "begun").exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (rig.programs / "done").exists()


async def test_what_has_something_written_on_it_is_left_alone(rig: Rig) -> None:
    rig.program("wipefs", """echo '{"signatures": [{"type": "ext4"}]}'""")
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "foreign-signature"
    rig.program("wipefs", "echo broken >&2; exit 1")
    assert (await refused(rig.acts.create_group("vm", dry_run=False))).code == "probe-failed"
    assert rig.changes() == []


async def test_what_cannot_be_read_is_no_empty_lun(rig: Rig) -> None:
    """To wipefs a device that fails at each read has no signatures."""
    rig.program("dd", 'case "$*" in *skip=*) echo "dd: error reading: Input/output error" >&2; exit 1;; esac')
    fault = await refused(rig.acts.create_group("vm", dry_run=False))
    assert fault.code == "probe-failed" and "Input/output error" in fault.message and rig.changes() == []


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


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (Cell(MULTIPATH_MAP, B, "failed", (), {"flags": ["io-hangs"]}), "io-hangs"),
        (Cell(MULTIPATH_MAP, B, "degraded", ("suspended",), {"flags": []}), "io-hangs"),
        (Cell(MULTIPATH_MAP, B, "unknown", ("x",), {"last": {"state": "failed", "reasons": [], "flags": ["io-hangs"]}}), "io-hangs"),
        (Cell(MULTIPATH_MAP, B, "unknown", ("x",), {"last": {"state": "degraded", "reasons": ["suspended"]}}), "io-hangs"),
        (Cell(MULTIPATH_MAP, B, "unknown", ("daemon-down",), {"alias": None}), "map-unknown"),
        (Cell(MULTIPATH_MAP, B, "unknown", ("daemon-down",), {"last": {}}), "map-unknown"),
    ],
)
async def test_nothing_is_asked_of_lvm_while_io_may_hang(rig: Rig, cell: Cell, code: str) -> None:
    rig.reports(GROUP)
    rig.loop.cells([cell])
    for act in (rig.acts.create_group("vm", dry_run=False), rig.acts.activate("vm", ["lv"]), rig.acts.deactivate("vm")):
        assert (await refused(act)).code == code
    assert not (rig.programs / "calls").exists()
    rig.loop.cells([Cell(MULTIPATH_MAP, B, "unknown", ("x",), {"last": {"state": "healthy", "reasons": [], "flags": []}})])
    assert await rig.acts.deactivate("vm")


@pytest.mark.parametrize("reporter", sorted(set(Reporter) - {Reporter.FRESH}))
async def test_nothing_is_asked_of_lvm_on_old_knowledge(rig: Rig, reporter: Reporter) -> None:
    rig.reports(GROUP)
    rig.reporters["n1"] = reporter
    for act in (rig.acts.create_group("vm", dry_run=False), rig.acts.activate("vm", ["lv"]), rig.acts.deactivate("vm")):
        assert (await refused(act)).code == "map-unknown"
    assert not (rig.programs / "calls").exists()
    del rig.reporters["n1"]
    assert await rig.acts.deactivate("vm"), "a node that is no member may deactivate what it has"


async def test_nothing_is_activated_by_an_old_look(rig: Rig) -> None:
    rig.reports(GROUP)
    rig.now = OLD_SECONDS + 3 * 60 + 1
    assert (await refused(rig.acts.activate("vm", ["lv"]))).code == "storages-not-looked-at"
    assert rig.changes() == [] and await rig.acts.deactivate("vm")


async def test_nothing_is_asked_of_lvm_where_it_is_off(rig: Rig) -> None:
    rig.acts._loop = StorageLoop("n1", rig.picture, None, interval=60, told=lambda: None)
    assert (await refused(rig.acts.activate("vm", ["lv"]))).code == "storage-tools-off"


async def test_one_thing_is_done_at_a_time(rig: Rig) -> None:
    rig.reports({}, then="sleep 0.3; echo end >> $(dirname $0)/calls")
    await asyncio.gather(rig.acts.create_group("vm", dry_run=False), rig.acts.deactivate("vm"), rig.acts.deactivate("vm"))
    lines = [
        line.split()[0]
        for line in (rig.programs / "calls").read_text().splitlines()
        if not line.startswith(("lvm pvs", "wipefs", "dd", "blockdev"))
    ]
    assert lines == ["lvm", "end"] * 3


# -- activating -------------------------------------------------------------------------------------------------------


async def test_volumes_are_activated_and_deactivated(rig: Rig) -> None:
    rig.reports(GROUP)
    told = {"storage": "vm", "node": "n1", "vg": "vg", "volumes": ["a", "b"]}
    assert await rig.acts.activate("vm", ["a", "vm:b"]) == {**told, "active": True}
    assert await rig.acts.deactivate("vm", ["a", "vg/b"]) == {**told, "active": False}
    assert rig.changes() == ["lvm lvchange --activate y vg/a vg/b", "lvm lvchange --activate n vg/a vg/b"]


async def test_a_group_that_other_nodes_have_is_activated_as_a_whole_only_if_that_is_said(rig: Rig) -> None:
    rig.reports(GROUP)
    fault = await refused(rig.acts.activate("vm"))
    assert fault.code == "shared-group" and "n2" in fault.message and "n1" not in fault.message and "--all" in fault.hint
    assert rig.changes() == []
    assert await rig.acts.activate("vm", everything=True) == {
        "storage": "vm", "node": "n1", "vg": "vg", "volumes": [], "active": True,
    }  # fmt: skip
    assert await rig.acts.deactivate("vm")
    assert rig.changes() == ["lvm vgchange --activate y vg", "lvm vgchange --activate n vg"]


@pytest.mark.parametrize(
    "storages",
    [
        {"storage/vm": {**DOCUMENT["storage/vm"], "nodes": "n1"}},
        {"storage/vm": {**DOCUMENT["storage/vm"], "nodes": "n1,gone"}},
        {"storage/san": {"type": "multipath", "nodes": "n1"}},
    ],
)
async def test_a_group_of_this_node_alone_is_activated_as_a_whole(rig: Rig, storages: Mapping[str, Mapping[str, str]]) -> None:
    rig.reports(GROUP)
    rig.picture.config.model = build({**DOCUMENT, **storages}, {})
    assert await rig.acts.activate("vm")
    assert rig.changes() == ["lvm vgchange --activate y vg"]


@pytest.mark.parametrize("lacks", [_held, _ignorant])
async def test_who_may_not_know_all_nodes_activates_no_whole_group(rig: Rig, lacks: Callable[[Rig], None]) -> None:
    rig.reports(GROUP)
    rig.picture.config.model = build({**DOCUMENT, "storage/vm": {**DOCUMENT["storage/vm"], "nodes": "n1"}}, {})
    lacks(rig)
    fault = await refused(rig.acts.activate("vm"))
    assert fault.code == "shared-group" and "--all" in fault.hint and rig.changes() == []
    assert await rig.acts.activate("vm", ["lv"]) and await rig.acts.activate("vm", everything=True)


async def test_a_node_that_has_left_may_still_have_guests(rig: Rig) -> None:
    rig.reports(GROUP)
    rig.picture.config.members, rig.reporters["n2"] = frozenset({"n1"}), Reporter.LEFT
    fault = await refused(rig.acts.activate("vm"))
    assert fault.code == "shared-group" and "n2" in fault.message and rig.changes() == []
    del rig.reporters["n2"]  # it was retired
    assert await rig.acts.activate("vm")


async def test_a_group_without_a_name_is_none(rig: Rig) -> None:
    """LVM would take no name for every group there is."""
    rig.picture.config.model = build({**DOCUMENT, "storage/vm": {"type": "lvm", "base": f"san:{A}"}}, {})
    for act in (rig.acts.deactivate("vm"), rig.acts.activate("vm", everything=True), rig.acts.create_group("vm", dry_run=False)):
        assert (await refused(act)).code == "missing-option"
    assert rig.changes() == []


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "vg-missing"),
        ([GROUP, GROUP | {"pv_minor": "1", "vg_uuid": "h"}], "duplicate-vg"),
        ([GROUP | {"vg_missing_pv_count": "1"}], "pv-missing"),
        ([GROUP | {"pv_major": "8"}], "pv-on-path"),
        ([GROUP, GROUP | {"pv_minor": "1", "pv_duplicate": "duplicate"}], "duplicate-pv"),
    ],
)
async def test_a_group_that_is_not_whole_is_not_activated(rig: Rig, rows: list[Mapping[str, str]], code: str) -> None:
    path = rig.root / "sys/dev/block/8:0/device"
    path.mkdir(parents=True)
    (path / "wwid").write_text(f"naa.{A[1:]}")
    rig.reports(*rows)
    for act in (rig.acts.activate("vm", ["lv"]), rig.acts.activate("vm", everything=True)):
        fault = await refused(act)
        assert fault.code == code and fault.hint and rig.changes() == []


async def test_a_group_for_other_nodes_is_not_activated_here(rig: Rig) -> None:
    for options in ({"nodes": "n2"}, {"disable": "1"}):
        rig.picture.config.model = build(DOCUMENT | {"storage/vm": {**DOCUMENT["storage/vm"], **options}}, {})
        assert (await refused(rig.acts.activate("vm", ["lv"]))).code in ("not-on-node", "storage-disabled")
    rig.picture.config.model = build(DOCUMENT | {"storage/san": {"type": "multipath", "nodes": "n2"}}, {})
    assert (await refused(rig.acts.activate("vm", ["lv"]))).code == "not-on-node"
    assert await rig.acts.deactivate("vm"), "what is active where it should not be can be deactivated"


async def test_the_volumes_of_a_storage_of_maps_are_checked(rig: Rig) -> None:
    answer = await rig.acts.activate("san")
    assert [volume["wwid"] for volume in answer["volumes"]] == [B, A]
    assert (await rig.acts.activate("san", ["pool", A]))["volumes"] == [{"volid": f"san:{A}", "wwid": A, "path": DEVICE}]
    (rig.root / DEVICE.lstrip("/")).unlink()
    assert (await refused(rig.acts.activate("san"))).code == "device-missing"
    assert await rig.acts.activate("san", [B])
    rig.picture.config.expected[A] = ExpectedNodes(frozenset({"n2"}), "explicit")
    assert [volume["wwid"] for volume in (await rig.acts.activate("san"))["volumes"]] == [B], "the other is not for this node"
    assert (await refused(rig.acts.activate("san", [A]))).code == "device-missing"


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (("activate", "nope"), "not-found"),
        (("activate", "san", ["pool", "36001"]), "no-such-volume"),
        (("activate", "vm", ["lv", "--yes"]), "no-such-volume"),
        (("deactivate", "vm", ["@tag"]), "no-such-volume"),
        (("activate", "tgt"), "no-volumes"),
        (("deactivate", "nope"), "not-found"),
        (("deactivate", "san"), "no-volumes"),
    ],
)
async def test_what_makes_no_sense_is_refused(rig: Rig, act: tuple[Any, ...], code: str) -> None:
    fault = await refused(getattr(rig.acts, act[0])(*act[1:]))
    assert fault.code == code and fault.hint
