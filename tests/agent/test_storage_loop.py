"""The loop that looks at what stands on the maps: on a host made of files, with small programs of the test's own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import storage_loop
from agent.storage_loop import LOOKS_WITH_GROUPS, StorageLoop
from apply.model import build
from apply.programs import HostPrograms
from apply.usage import look
from apply.volume_groups import FIELDS
from store.cells import MULTIPATH_MAP, Cell

pytestmark = pytest.mark.anyio

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35"
IQN = "iqn.2001-05.com.example:a"
SAN = {f"wwid/{A}": {}, f"wwid/{B}": {}, "storage/san": {"type": "multipath"}}
VM = SAN | {"storage/vm": {"type": "lvm", "vgname": "vg", "base": f"san:{A}"}}
TGT = {"type": "iscsi", "target": IQN, "portals": "10.0.1.10,10.0.2.10", "multipath": "1"}


class Rig:
    """A host, its programs, the configuration, and the loop that looks at it all the time."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any) -> None:
        self.root, self.programs = directory / "root", directory / "programs"
        for name in ("sys/block", "sys/dev/block", "proc/self"):
            (self.root / name).mkdir(parents=True)
        self.programs.mkdir()
        self.picture = SimpleNamespace(config=SimpleNamespace(model=build({}, {})))
        self.looks = self.told = 0
        self.now = 0.0
        self._eventually = eventually
        tools = HostPrograms(f"{self.programs}:/usr/bin:/bin")
        self.loop = StorageLoop(
            "n1", self.picture, tools, interval=0.01, told=self._tell, root=self.root, monotonic=lambda: self.now, wall=lambda: 5.0
        )  # type: ignore[arg-type]

        def counted(root: Path) -> Any:
            self.looks += 1
            return look(root)

        monkeypatch.setattr(storage_loop, "look", counted)

    def _tell(self) -> None:
        self.told += 1

    def configure(self, document: Mapping[str, Mapping[str, str]]) -> None:
        self.picture.config = SimpleNamespace(model=build(document, {}))

    def program(self, name: str, script: str) -> None:
        """Each call is a line in `calls`."""
        new = self.programs / f"{name}.new"
        new.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.programs}/calls\n{script}\n')
        new.chmod(0o755)
        new.rename(self.programs / name)

    def calls(self, what: str = "") -> list[str]:
        file = self.programs / "calls"
        return [line for line in file.read_text().splitlines() if line.startswith(what)] if file.exists() else []

    def dm(self, number: int, uuid: str, name: str, *on: int) -> None:
        device = self.root / f"sys/block/dm-{number}"
        (device / "holders").mkdir(parents=True)
        (device / "dm").mkdir()
        (device / "dm/name").write_text(name)
        (device / "dev").write_text(f"253:{number}")
        (self.root / f"sys/dev/block/253:{number}").symlink_to(device)
        for below in on:
            (self.root / f"sys/block/dm-{below}/holders/dm-{number}").touch()
        (device / "dm/uuid").write_text(uuid)

    def reports(self, *rows: Mapping[str, str]) -> None:
        """What LVM says from now on."""
        plain = dict.fromkeys(FIELDS, "") | {"pv_major": "253", "pv_minor": "0", "vg_size": "100", "vg_free": "50"}
        plain |= {"vg_missing_pv_count": "0", "lv_count": "1", "pv_uuid": "x", "pv_in_use": "used", "vg_name": "vg", "vg_uuid": "g"}
        file = self.programs / "report"
        file.write_text(json.dumps({"report": [{"pv": [{**plain, **row} for row in rows]}]}))
        self.program("lvm", f"cat {file}")

    def session(self, number: int, address: str) -> None:
        connection = self.root / f"sys/class/iscsi_connection/connection{number}:0"
        connection.mkdir(parents=True)
        (connection / "persistent_address").write_text(address)
        (connection / "persistent_port").write_text("3260")
        session = self.root / f"sys/class/iscsi_session/session{number}"
        session.mkdir(parents=True)
        (session / "targetname").write_text(IQN)
        (session / "state").write_text("LOGGED_IN")

    def cells(self) -> dict[str, Cell]:
        return {cell.id: cell for cell in self.loop.cells([])}

    def used_by(self, wwid: str = A) -> Any:
        [cell] = [c for c in self.loop.cells([Cell(MULTIPATH_MAP, wwid, "healthy", (), {"flags": []})]) if c.kind == MULTIPATH_MAP]
        return cell.detail.get("used_by")

    async def until(self, what: str, holds: Callable[[], object]) -> None:
        await self._eventually(what, holds)

    async def look(self, more: int = 2) -> None:
        """Until so many further looks have begun, so at least one less is done."""
        goal = self.looks + more
        await self.until("it looks", lambda: self.looks >= goal)


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, monkeypatch, eventually)
    task = asyncio.create_task(made.loop.run())
    yield made
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_empty_host_has_no_cells_and_is_told_of_once_nothing(rig: Rig) -> None:
    rig.program("lvm", "exit 1")
    await rig.look()
    assert rig.cells() == {} and rig.told == 0 and rig.calls() == [], "LVM is not asked where there is nothing to ask"


async def test_what_stands_on_a_map_is_in_its_cell(rig: Rig) -> None:
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.look()
    assert rig.used_by() is None
    rig.dm(1, "LVM-" + "a" * 64, "vg-lv", 0)
    await rig.until("it is seen", lambda: rig.used_by() == ["pv:vg"])
    assert rig.told >= 1 and rig.used_by(B) is None


async def test_a_group_without_active_volumes_is_known_from_lvm(rig: Rig) -> None:
    rig.configure(VM)
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("it is seen", lambda: rig.used_by() == ["pv:vg"] and "vm" in rig.cells())
    cell = rig.cells()["vm"]
    assert (cell.state, cell.detail["size_bytes"], cell.detail["active"], cell.detail["on"]) == ("healthy", 100, False, [A])
    assert "groups" not in rig.cells(), "the storage names its base: nothing has to be inferred"


async def test_of_a_storage_without_a_base_the_groups_are_told(rig: Rig) -> None:
    rig.configure(SAN | {"storage/vm": {"type": "lvm", "vgname": "vg"}})
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("it is told", lambda: "groups" in rig.cells())
    assert rig.cells()["groups"].detail == {"groups": {A: ["vg"]}}


async def test_lvm_is_asked_on_change_and_else_now_and_then(rig: Rig) -> None:
    rig.configure(VM)
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("LVM was asked", lambda: rig.used_by() is not None and "vm" in rig.cells())
    asked, begun = len(rig.calls("lvm")), rig.looks
    await rig.look(3 * LOOKS_WITH_GROUPS)
    more, looks = len(rig.calls("lvm")) - asked, rig.looks - begun
    assert 1 <= more <= looks / LOOKS_WITH_GROUPS + 1
    rig.reports({"vg_name": "renamed"})
    rig.dm(1, "LVM-" + "a" * 64, "x-y", 0)
    before = rig.looks
    await rig.until("what changed is seen", lambda: rig.cells()["vm"].state == "missing")
    assert rig.looks - before <= LOOKS_WITH_GROUPS, "at once, not when its time has come"


async def test_a_host_without_lvm_says_so_where_a_storage_needs_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostPrograms, "has", lambda *_: False)
    rig.configure(VM)
    await rig.until("it is told", lambda: "vm" in rig.cells())
    assert (rig.cells()["vm"].state, rig.cells()["vm"].reasons) == ("unknown", ("program-missing",))


async def test_a_failing_lvm_hides_nothing_that_is_known(rig: Rig) -> None:
    rig.configure(VM)
    rig.program("lvm", "exit 5")
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("it is told", lambda: rig.cells().get("vm") and rig.cells()["vm"].reasons == ("lvm-failed",))
    assert rig.cells()["vm"].state == "unknown"
    rig.reports({})
    await rig.until("it works", lambda: rig.cells()["vm"].state == "healthy")
    rig.program("lvm", "exit 5")
    await rig.until("it fails", lambda: rig.cells()["vm"].state == "degraded")
    assert rig.cells()["vm"].reasons == ("lvm-failed",) and rig.used_by() == ["pv:vg"]


async def test_lvm_is_left_alone_while_io_hangs(rig: Rig) -> None:
    rig.configure(VM)
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("LVM was asked", lambda: rig.cells().get("vm") and rig.cells()["vm"].state == "healthy")
    rig.loop.cells([Cell(MULTIPATH_MAP, B, "failed", (), {"flags": ["io-hangs"]})])
    assert rig.loop.hanging
    await rig.until("it is told", lambda: rig.loop._cells[0].reasons == ("io-hangs",))
    asked = len(rig.calls("lvm"))
    await rig.look(3 * LOOKS_WITH_GROUPS)
    assert len(rig.calls("lvm")) == asked
    rig.loop.cells([])
    await rig.until("it is asked again", lambda: rig.cells()["vm"].state == "healthy")


async def test_an_opener_that_stays_is_told(rig: Rig) -> None:
    rig.dm(0, f"mpath-{A}", "pool")
    rig.program("lvm", """echo '{"report": []}'""")
    rig.program("dmsetup", "echo 253 0 1; echo 253 77 1; echo nonsense")
    await rig.look()
    rig.loop.wake(anew=True)
    await rig.until("it is told", lambda: rig.used_by() == ["open:process"])
    rig.program("dmsetup", "echo 253 0 0")
    rig.loop.wake(anew=True)
    await rig.until("it is gone", lambda: rig.used_by() is None)


async def test_one_fault_does_not_end_the_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_loop, "sessions", lambda _: 1 / 0)
    await rig.look(3)
    monkeypatch.undo()


# -- iSCSI ------------------------------------------------------------------------------------------------------------


async def test_sessions_that_are_missing_are_named_and_nobody_logs_in_unasked(rig: Rig) -> None:
    rig.program("iscsiadm", "exit 0")
    rig.session(1, "10.0.1.10")
    rig.configure({"storage/tgt": TGT})
    await rig.until("it is told", lambda: "tgt" in rig.cells())
    cell = rig.cells()["tgt"]
    assert (cell.state, cell.reasons, cell.detail["missing"]) == ("degraded", ("session-missing",), ["10.0.2.10:3260"])
    assert (cell.detail["sessions"], cell.detail["expected"]) == (1, 2)
    rig.session(2, "10.0.2.10")
    await rig.until("it is there", lambda: rig.cells()["tgt"].state == "healthy")
    assert rig.calls("iscsiadm") == []


async def test_a_storage_with_login_is_logged_in_to_where_a_session_is_missing(rig: Rig) -> None:
    rig.program("iscsiadm", "exit 0")
    rig.session(1, "10.0.1.10")
    rig.configure({"storage/tgt": TGT | {"login": "yes"}})
    await rig.until("it logs in", lambda: any("--login" in call for call in rig.calls("iscsiadm")))
    assert all("10.0.2.10:3260" in call for call in rig.calls("iscsiadm"))
    await rig.look(5)
    assert len([call for call in rig.calls("iscsiadm") if "--login" in call]) == 1, "not again in a tight loop"


@pytest.mark.parametrize("options", [{"nodes": "n2"}, {"disable": "1"}])
async def test_only_where_the_storage_is(rig: Rig, options: Mapping[str, str]) -> None:
    rig.program("iscsiadm", "exit 0")
    rig.configure({"storage/tgt": TGT | {"login": "yes"} | options})
    await rig.look(3)
    assert rig.calls("iscsiadm") == [] and rig.cells() == {}


async def test_a_login_that_fails_is_told_and_tried_again_after_a_while(rig: Rig) -> None:
    rig.program("iscsiadm", 'case "$*" in *login*) exit 8;; esac')
    rig.configure({"storage/tgt": TGT | {"login": "yes", "portals": "10.0.1.10"}})
    await rig.until("it is told", lambda: rig.cells().get("tgt") and rig.cells()["tgt"].detail["errors"])
    cell = rig.cells()["tgt"]
    assert (cell.state, cell.reasons) == ("missing", ("session-missing", "portal-unreachable"))
    assert "does not answer" in cell.detail["errors"][0]["message"] and cell.detail["errors"][0]["hint"]

    def logins() -> int:
        return len([call for call in rig.calls("iscsiadm") if "--login" in call])

    assert logins() == 1
    rig.now = 9.9
    await rig.look(4)
    assert logins() == 1
    rig.now = 10.1
    await rig.until("it is tried again", lambda: logins() == 2)
    rig.loop.wake(anew=True)
    await rig.until("it is tried when somebody asks", lambda: logins() == 3)
    rig.session(1, "10.0.1.10")
    await rig.until("it is fine", lambda: rig.cells()["tgt"].state == "healthy")
    assert rig.cells()["tgt"].detail["errors"] == []


async def test_a_host_that_is_not_looked_at_says_nothing(tmp_path: Path) -> None:
    loop = StorageLoop("n1", None, None, interval=0.01, told=lambda: None, root=tmp_path)  # type: ignore[arg-type]
    await asyncio.wait_for(loop.run(), 5)
    cell = Cell(MULTIPATH_MAP, A, "healthy")
    assert loop.cells([cell]) == [cell] and loop.lvm is None
