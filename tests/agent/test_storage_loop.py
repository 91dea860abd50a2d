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
        self.members = frozenset({"n1", "n2"})
        self.picture = SimpleNamespace(config=SimpleNamespace(model=build({}, {}), members=self.members))
        self.looks = self.told = 0
        self.now = 0.0
        self._eventually = eventually
        self.tools = HostPrograms(f"{self.programs}:/usr/bin:/bin")
        self.loop = StorageLoop(
            "n1", self.picture, self.tools, interval=0.01, told=self._tell, root=self.root, monotonic=lambda: self.now, wall=lambda: 5.0
        )  # type: ignore[arg-type]

        def counted(root: Path) -> Any:
            self.looks += 1
            return look(root)

        monkeypatch.setattr(storage_loop, "look", counted)

    def _tell(self) -> None:
        self.told += 1

    def configure(self, document: Mapping[str, Mapping[str, str]]) -> None:
        self.picture.config = SimpleNamespace(model=build(document, {}), members=self.members)

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
    await asyncio.wait_for(asyncio.gather(*made.tools._stuck.values()), 20)  # what it ran at that moment was killed


async def test_an_empty_host_has_no_cells_and_is_told_of_once_nothing(rig: Rig) -> None:
    rig.program("lvm", "exit 1")
    await rig.look()
    assert rig.cells() == {} and rig.told == 0 and rig.calls() == [], "LVM is not asked where there is nothing to ask"


async def test_what_stands_on_a_map_is_in_its_cell(rig: Rig) -> None:
    rig.program("dmsetup", "echo 253 0 0")
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("nothing does, and that is told", lambda: rig.used_by() == [])
    rig.dm(1, "LVM-" + "a" * 64, "vg-lv", 0)
    await rig.until("it is seen", lambda: rig.used_by() == ["pv:vg"])
    assert rig.told >= 1 and rig.used_by(B) is None, "of a map that was not looked at nothing is told"


async def test_that_nothing_uses_a_map_is_told_only_if_its_openers_are_known(rig: Rig) -> None:
    rig.program("dmsetup", "echo 253 0 0")
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("nothing does", lambda: rig.used_by() == [])
    for script in ("echo garbage", "echo 253 0 0; exit 1", "echo 253 0 -1", "echo 253 9 0"):
        rig.program("dmsetup", script)
        await rig.until("it is not known", lambda: rig.used_by() is None)
        rig.program("dmsetup", "echo 253 0 0")
        await rig.until("nothing does", lambda: rig.used_by() == [])
    (rig.programs / "dmsetup").unlink()
    await rig.until("it is not known", lambda: rig.used_by() is None)


async def test_that_nothing_uses_a_map_is_not_told_for_long_once_nobody_looks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.program("dmsetup", "echo 253 0 0; echo 253 1 0")
    rig.dm(0, f"mpath-{A}", "pool")
    rig.dm(1, f"mpath-{B}", "other")
    rig.dm(2, "LVM-" + "a" * 64, "vg-lv", 1)
    await rig.until("it is told", lambda: rig.used_by() == [] and rig.used_by(B) == ["pv:vg"])
    monkeypatch.setattr(storage_loop, "look", lambda _: 1 / 0)
    rig.now += storage_loop.OLD_SECONDS + 1
    await rig.until("it is not known any more", lambda: rig.used_by() is None)
    assert rig.used_by(B) == ["pv:vg"], "that something does is told on"
    monkeypatch.undo()


async def test_a_look_that_gets_no_further_vouches_for_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on the maps is seen, and the rest fails: nobody is told what was seen, so it is not new."""
    rig.program("dmsetup", "echo 253 0 0")
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.until("it is free", lambda: rig.used_by() == [])
    monkeypatch.setattr(storage_loop, "sessions", lambda _: 1 / 0)
    rig.dm(1, "LVM-" + "a" * 64, "vg-lv", 0)
    rig.now += storage_loop.OLD_SECONDS + 1
    await rig.look(4)
    assert rig.used_by() is None
    monkeypatch.undo()
    await rig.until("it is used", lambda: rig.used_by() == ["pv:vg"])


async def test_storages_that_are_not_looked_at_are_not_healthy_for_ever(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.configure(VM | {"storage/tgt": TGT, "storage/bare": {"type": "lvm", "vgname": "vg"}})
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    rig.session(1, "10.0.1.10")
    await rig.until("they are told", lambda: rig.cells().get("vm") and rig.cells()["vm"].state == "healthy" and "groups" in rig.cells())
    monkeypatch.setattr(storage_loop, "look", lambda _: 1 / 0)
    rig.now += storage_loop.OLD_SECONDS - 1
    assert rig.cells()["vm"].state == "healthy" and not rig.loop.old
    rig.now += 2
    rig.configure(VM | {"storage/tgt": TGT, "storage/new": {"type": "lvm", "vgname": "x"}})
    found = rig.cells()
    assert rig.loop.old and {name: (cell.state, cell.reasons) for name, cell in found.items() if name != "groups"} == dict.fromkeys(
        ("vm", "tgt", "bare", "new"), ("unknown", ("storages-not-looked-at",))
    )
    assert found["vm"].detail["last"] == {"state": "healthy", "reasons": []} and found["vm"].detail["size_bytes"] == 100
    assert found["groups"].state == "healthy", "what was inferred from it stays known"
    monkeypatch.undo()
    await rig.until("they are looked at again", lambda: rig.cells()["vm"].state == "healthy")
    assert not rig.loop.old and "last" not in rig.cells()["vm"].detail


async def test_storages_that_were_never_looked_at_say_so_after_a_while(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_loop, "look", lambda _: 1 / 0)
    rig.configure(VM)
    await rig.until("no look ends", lambda: not rig.loop._now.is_set())
    assert rig.cells() == {}
    rig.now += storage_loop.OLD_SECONDS + 1
    assert rig.cells()["vm"].reasons == ("storages-not-looked-at",)


async def test_lvm_waits_until_it_is_known_whether_io_hangs(rig: Rig) -> None:
    rig.configure(VM)
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    await rig.look(5)
    assert rig.calls("lvm") == [] and not rig.loop.polled
    last = {"state": "failed", "reasons": [], "flags": ["io-hangs"]}
    rig.loop.cells([Cell(MULTIPATH_MAP, A, "unknown", ("daemon-down",), {"last": last})])
    assert rig.loop.polled and rig.loop.hanging, "multipathd cannot be asked: what it said last counts"
    await rig.look(5)
    assert rig.calls("lvm") == []
    rig.loop.cells([Cell(MULTIPATH_MAP, A, "unknown", ("daemon-down",), {"alias": None})])
    assert rig.loop.unsure and not rig.loop.hanging, "nobody knows how it fares, nor did before"
    await rig.look(5)
    assert rig.calls("lvm") == []
    await rig.until("why is told", lambda: rig.loop._cells[0].reasons == ("map-unknown",))
    rig.loop.cells([Cell(MULTIPATH_MAP, A, "unknown", ("daemon-down",), {"last": last | {"flags": 5}})])
    await rig.until("LVM is asked", lambda: rig.calls("lvm"))


async def test_a_map_that_is_suspended_hangs_too(rig: Rig) -> None:
    rig.configure(VM)
    rig.reports({})
    rig.dm(0, f"mpath-{A}", "pool")
    rig.loop.cells([Cell(MULTIPATH_MAP, A, "degraded", ("path-lost", "suspended"), {"flags": []})])
    await rig.look(5)
    assert rig.loop.hanging and rig.calls("lvm") == []
    rig.loop.cells([Cell(MULTIPATH_MAP, A, "degraded", ("path-lost",), {"flags": []})])
    await rig.until("LVM is asked", lambda: rig.calls("lvm"))


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
    rig.program("dmsetup", "echo 253 0 1; echo 253 77 1; echo nonsense")
    await rig.until("it is told, on a host without LVM too", lambda: rig.used_by() == ["open:process"])
    rig.loop.cells([Cell(MULTIPATH_MAP, B, "failed", (), {"flags": ["io-hangs"]})])
    assert rig.loop.hanging
    rig.program("dmsetup", "echo 253 0 0")
    await rig.until("it is gone, and that is seen while I/O hangs too", lambda: rig.loop._uses.get(A) == ())


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


async def test_a_node_that_is_no_member_does_not_log_in(rig: Rig) -> None:
    rig.program("iscsiadm", "exit 0")
    rig.members = frozenset({"n2"})
    rig.configure({"storage/tgt": TGT | {"login": "yes"}})
    await rig.until("it is told", lambda: "tgt" in rig.cells())
    await rig.look(3)
    assert rig.calls("iscsiadm") == []
    rig.members = frozenset({"n1", "n2"})
    rig.configure({"storage/tgt": TGT | {"login": "yes"}})
    await rig.until("it logs in", lambda: rig.calls("iscsiadm"))


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
    now = [0.0]
    loop = StorageLoop("n1", None, None, interval=0.01, told=lambda: None, root=tmp_path, monotonic=lambda: now[0])  # type: ignore[arg-type]
    await asyncio.wait_for(loop.run(), 5)
    cell = Cell(MULTIPATH_MAP, A, "healthy")
    now[0] = 1e6
    assert loop.cells([cell]) == [cell] and loop.lvm is None and not loop.old
