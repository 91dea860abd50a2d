"""The reconciler with a daemon that fails in the middle: what is undone, what waits, what is never written."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from apply.daemon import Timing
from apply.dropins import DropIns
from apply.hostpaths import HostPaths
from apply.journal import Ledger
from apply.model import Lun, Model
from apply.multipathd import CommandFailed, DaemonDown, DaemonGarbage, DaemonTimeout, MultipathdClient, MultipathdError, NotInstalled
from apply.outcome import ApplyOutcome, ApplyState
from apply.plan import Desired
from apply.reconcile import Reconciler
from apply.render import MAIN, Rendered, RenderedFile, allow_list, render
from apply.simulated.server import serve
from apply.wwids import read
from apply.wwids_file import HEADER
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

A, B = "36000000a", "36000000b"
LUNS = "".join(
    f'[[lun]]\nwwid = "{w}"\nvendor = "LAB"\nproduct = "SAN"\nrev = "1"\nsize_bytes = 67108864\n'
    f'[[lun.path]]\ndev = "sd{w[-1]}a"\n[[lun.path]]\ndev = "sd{w[-1]}b"\n'
    for w in (A, B)
)


class Daemon:
    """The simulated daemon behind a wire on which chosen commands fail."""

    def __init__(self, client: MultipathdClient) -> None:
        self._client = client
        self.asked: list[str] = []
        self.fail: dict[str, Callable[[int], MultipathdError | str | None]] = {}

    async def ask(self, command: str) -> str:
        number = self.asked.count(command)
        self.asked.append(command)
        answer = self.fail[command](number) if command in self.fail else None
        if isinstance(answer, MultipathdError):
            raise answer
        return await self._client.ask(command) if answer is None else answer


class InUse:
    """A guard that says what it is told to."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    async def reason(self, wwid: str, name: str = "") -> str:
        return self.reasons.get(wwid) or self.reasons.get(name, "")


class Told:
    """Remembers which devices udev was told of; `why` it fails."""

    def __init__(self) -> None:
        self.devices: list[list[str]] = []
        self.why = ""

    async def changed(self, devices: Iterable[str]) -> str:
        found = sorted(devices)
        if found:
            self.devices.append(found)
        return self.why if found else ""


class Node:
    """A host with a failing daemon."""

    def __init__(self, root: Path) -> None:
        etc = root / "multipath"
        etc.mkdir()
        (root / "luns.toml").write_text(LUNS)
        self.paths = HostPaths(etc, root / "state", root / "mapper", root / "sys")
        self.records = MemoryRecords()
        self.daemon = Daemon(MultipathdClient(str(root / "sock"), root / "multipathd", 2.0))
        self.in_use = InUse()
        self.udev = Told()
        self.now = 1000.0
        self.settle = 2.0

    async def converge(self, wanted: Desired, reach: Callable[[str], None] = lambda _: None) -> ApplyOutcome:
        self.daemon.asked.clear()
        return await self.agent(reach).converge(wanted)

    def agent(self, reach: Callable[[str], None] = lambda _: None) -> Reconciler:
        return Reconciler(
            self.paths,
            self.daemon,
            self.records,
            lambda: self.now,
            in_use=self.in_use,
            udev=self.udev,
            timing=Timing(reconfigure=0.3, settle=self.settle, poll=0.005),
            reach=reach,
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.paths.conf_dir.iterdir()) if self.paths.conf_dir.is_dir() else []


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    found = Node(tmp_path)
    ready = asyncio.Event()
    root = tmp_path
    task = asyncio.create_task(serve(str(root / "sock"), root / "multipath", root / "luns.toml", root / "multipathd", ready=ready.set))
    async with asyncio.timeout(5):
        await ready.wait()
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def desired(*luns: Lun, digest: str = "d1") -> Desired:
    model = Model(luns={lun.wwid: lun for lun in luns}, empty=not luns)
    return Desired(digest, render(model, digest=digest, tools_version=None), allow_list(model), True, empty=model.empty)


ONE = desired(Lun(A, "a"))
TWO = desired(Lun(A, "z"), Lun(B), digest="d2")


BAD_SELECTOR = RenderedFile(ONE.rendered.files[MAIN].content.replace(b'alias "a"', b'alias "a"\n\t\tpath_selector "none 0"'), 0o644)
BAD = Desired("bad", Rendered({MAIN: BAD_SELECTOR}, ()), ONE.allow_list, True)
"""A file that no validation lets through: the kernel refuses the table, and multipathd drops the unused map."""


class Crash(BaseException):
    """Stands for the death of the process."""


def crash_at(point: str) -> Callable[[str], None]:
    def reach(name: str) -> None:
        if name == point:
            raise Crash(name)

    return reach


def always(error: MultipathdError | str) -> Callable[[int], MultipathdError | str | None]:
    return lambda _: error


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("show daemon", DaemonTimeout("stuck")),
        ("show daemon", "pid huh\n"),
        ("show config local", "no configuration\n"),
        ("show maps json", DaemonGarbage("broken")),
        ("show maps json", '{"maps": [{'),
    ],
)
async def test_a_daemon_that_does_not_answer_before_is_told_nothing(node: Node, command: str, error: MultipathdError | str) -> None:
    node.daemon.fail[command] = always(error)
    outcome = await node.converge(ONE)
    assert outcome.state is ApplyState.FAILED
    assert outcome.errors[0].code in ("daemon-timeout", "daemon-garbage")
    assert (node.files(), read(node.paths.wwids).content, "reconfigure" in node.daemon.asked) == ([], b"", False)


async def test_a_refused_reconfigure_is_rolled_back(node: Node) -> None:
    await node.converge(ONE)
    node.daemon.fail["reconfigure"] = lambda number: CommandFailed("no") if number == 0 else None
    outcome = await node.converge(TWO)
    assert (outcome.state, [e.code for e in outcome.errors], outcome.applied) == (ApplyState.FAILED, ["reconfigure-failed"], "d1")
    assert (node.paths.conf_dir / MAIN).read_bytes() == ONE.rendered.files[MAIN].content
    assert read(node.paths.wwids).active == {A, B}
    remembered = await Ledger(node.records).load()
    assert remembered.journal is None
    assert remembered.owned.keys() == {A, B}
    node.daemon.fail.clear()
    assert (await node.converge(TWO)).state is ApplyState.IN_SYNC


async def test_a_daemon_that_dies_meanwhile_is_rolled_back_and_both_are_said(node: Node) -> None:
    await node.converge(ONE)
    node.daemon.fail["reconfigure"] = always(DaemonDown("gone"))
    outcome = await node.converge(TWO)
    assert outcome.state is ApplyState.FAILED
    assert {e.code for e in outcome.errors} == {"daemon-down"}
    assert (node.paths.conf_dir / MAIN).read_bytes() == ONE.rendered.files[MAIN].content


async def test_a_long_reconfigure_is_pending_and_not_told_twice(node: Node) -> None:
    node.daemon.fail["show daemon"] = lambda number: None if number == 0 else "pid 7 configure\n"
    outcome = await node.converge(ONE)
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.PENDING, ["reconfigure-pending"])
    journal = (await Ledger(node.records).load()).journal
    assert journal is not None
    assert journal.told
    node.daemon.fail.clear()
    outcome = await node.converge(ONE)
    assert (outcome.state, outcome.applied, "reconfigure" in node.daemon.asked) == (ApplyState.IN_SYNC, "d1", False)


@pytest.mark.parametrize("word", ["pid 7 idle (reconfigure pending)\n", "pid 7 configure\n"])
async def test_what_idle_means(node: Node, word: str) -> None:
    node.daemon.fail["show daemon"] = lambda number: word if 0 < number < 4 else None
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC
    assert node.daemon.asked.count("show daemon") > 4


async def test_a_reconfigure_that_was_perhaps_not_heard_is_told_again(node: Node) -> None:
    node.daemon.fail["reconfigure"] = always(DaemonTimeout("busy"))
    assert (await node.converge(ONE)).state is ApplyState.PENDING
    assert node.files() == [MAIN], "nothing is undone for a daemon that is only busy"
    node.daemon.fail.clear()
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC
    assert node.daemon.asked.count("reconfigure") == 1


async def test_a_guarded_line_stays_and_its_map_too(node: Node) -> None:
    await node.converge(TWO)
    node.in_use.reasons[B] = "mounted on /srv"
    outcome = await node.converge(desired(Lun(A, "z"), digest="d3"))
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.IN_SYNC, ["prune-deferred"])
    assert "mounted on /srv" in outcome.errors[0].message
    assert read(node.paths.wwids).active == {A, B}
    again = await node.converge(desired(Lun(A, "z"), digest="d3"))
    assert ("reconfigure" in node.daemon.asked, again.errors) == (False, outcome.errors)
    node.in_use.reasons.clear()
    assert (await node.converge(desired(Lun(A, "z"), digest="d3"))).removed == (B,)


async def test_udev_is_told_of_the_paths_that_came_and_went(node: Node) -> None:
    await node.converge(ONE)
    await node.converge(desired())
    assert node.udev.devices == [["sdaa", "sdab"], ["sdaa", "sdab"]]


@pytest.mark.parametrize("restarted", [False, True])
async def test_udev_that_could_not_be_told_is_told_at_the_next_apply(node: Node, restarted: bool) -> None:
    agent = node.agent()
    node.udev.why = "udevadm: it does not feel like it"
    outcome = await agent.converge(ONE)
    assert outcome.state is ApplyState.IN_SYNC and "does not feel like it" in outcome.notes[0].message
    assert [note.code for note in outcome.notes] == ["udev-not-told"] and "udevadm trigger" in outcome.notes[0].hint
    agent = node.agent() if restarted else agent
    outcome = await agent.converge(ONE)
    assert [note.code for note in outcome.notes] == ["udev-not-told"], "it is not forgotten"
    node.udev.why = ""
    agent = node.agent() if restarted else agent
    node.udev.devices.clear()
    outcome = await agent.converge(ONE)
    assert outcome.notes == () and {"sdaa", "sdab"}.issubset(node.udev.devices[0])
    assert len(node.udev.devices) == 1 and (restarted or node.udev.devices == [["sdaa", "sdab"]])
    assert (await agent.converge(ONE)).notes == () and len(node.udev.devices) == 1


async def test_a_line_is_guarded_by_the_name_that_its_map_last_had(node: Node) -> None:
    """The configuration has no name for a LUN that is taken out of it, but fstab may."""
    await node.converge(desired(Lun(A, "a"), Lun(B, "first")))
    await node.converge(desired(Lun(A, "a"), Lun(B, "second"), digest="d2"))
    node.in_use.reasons["second"] = "named in fstab for /srv"
    for _ in range(3):
        outcome = await node.converge(desired(Lun(A, "a"), digest="d3"))
        assert [e.code for e in outcome.errors] == ["prune-deferred"] and "named in fstab" in outcome.errors[0].message
    node.in_use.reasons = {"first": "it was called so once"}
    assert (await node.converge(desired(Lun(A, "a"), digest="d3"))).removed == (B,)


async def test_two_at_a_time_take_turns(node: Node) -> None:
    agent = Reconciler(node.paths, node.daemon, node.records, lambda: 0.0, timing=Timing(settle=2.0, poll=0.005))
    first, second = await asyncio.gather(agent.converge(ONE), agent.converge(TWO))
    assert (first.state, second.state) == (ApplyState.IN_SYNC, ApplyState.IN_SYNC)
    assert (node.paths.conf_dir / MAIN).read_bytes() == TWO.rendered.files[MAIN].content


# What a roll-back puts back

GOOD = ONE.rendered.files[MAIN].content


def lose_copies(node: Node) -> None:
    shutil.rmtree(node.paths.kept_dir)


def spoil_copies(node: Node) -> None:
    (node.paths.kept_dir / MAIN).write_bytes(GOOD[: len(GOOD) // 2])


@pytest.mark.parametrize("damage", [lose_copies, spoil_copies])
async def test_without_its_copy_the_last_good_file_is_not_lost(node: Node, damage: Callable[[Node], None]) -> None:
    await node.converge(ONE)
    damage(node)
    node.daemon.fail["reconfigure"] = lambda number: CommandFailed("no") if number == 0 else None
    assert (await node.converge(desired(Lun(A, "z"), digest="d2"))).state is ApplyState.FAILED
    assert (node.paths.conf_dir / MAIN).read_bytes() == GOOD
    assert (node.paths.kept_dir / MAIN).read_bytes() == GOOD, "the copy is good again"
    node.daemon.fail.clear()
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC
    assert "reconfigure" not in node.daemon.asked


@pytest.mark.parametrize("damage", [lose_copies, spoil_copies])
@pytest.mark.parametrize(
    "point", ["apply.journal.written", "apply.install.temporary", "apply.install.renamed", "apply.installed", "apply.reconfigured"]
)
async def test_the_last_good_file_outlives_a_crash_without_its_copy(node: Node, point: str, damage: Callable[[Node], None]) -> None:
    await node.converge(ONE)
    damage(node)
    with pytest.raises(Crash):
        await node.converge(TWO, crash_at(point))
    node.daemon.fail["reconfigure"] = lambda number: CommandFailed("no") if number == 0 else None
    node.daemon.fail["show daemon"] = lambda number: DaemonDown("gone") if number == 1 else None
    await node.agent().recover()
    assert (await node.converge(TWO)).state is ApplyState.FAILED
    assert (node.paths.conf_dir / MAIN).read_bytes() == GOOD
    node.daemon.fail.clear()
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC


async def test_a_file_of_lost_records_is_not_removed(node: Node) -> None:
    await node.converge(ONE)
    lose_copies(node)
    node.records = MemoryRecords()
    node.daemon.fail["show daemon"] = lambda number: DaemonDown("gone") if number else None
    assert (await node.converge(ONE)).state is ApplyState.FAILED
    assert (node.paths.conf_dir / MAIN).read_bytes() == GOOD


async def test_the_file_that_was_just_verified_outlives_a_crash_before_its_copy(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(dropins: DropIns, files: object) -> None:
        raise Crash("keep")

    await node.converge(ONE)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(DropIns, "keep", crash)
        await node.converge(TWO)
    good = TWO.rendered.files[MAIN].content
    assert ((node.paths.kept_dir / MAIN).read_bytes(), (node.paths.conf_dir / MAIN).read_bytes()) == (GOOD, good)
    node.daemon.fail["reconfigure"] = lambda number: CommandFailed("no") if number == 0 else None
    assert (await node.converge(desired(Lun(A, "x"), Lun(B), digest="d3"))).state is ApplyState.FAILED
    assert (node.paths.conf_dir / MAIN).read_bytes() == good
    assert (node.paths.kept_dir / MAIN).read_bytes() == good


async def test_a_verified_file_whose_copy_cannot_be_kept_is_said_and_tried_again(node: Node) -> None:
    def fill(point: str) -> None:
        if point == "apply.verified":
            node.paths.state_dir.mkdir()
            node.paths.kept_dir.write_text("not a directory")

    outcome = await node.converge(ONE, fill)
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.FAILED, ["write-failed"])
    assert (node.paths.conf_dir / MAIN).read_bytes() == GOOD
    node.paths.kept_dir.unlink()
    outcome = await node.converge(ONE)
    assert (outcome.state, outcome.applied, "reconfigure" in node.daemon.asked) == (ApplyState.IN_SYNC, "d1", False)
    assert (node.paths.kept_dir / MAIN).read_bytes() == GOOD


async def test_a_copy_that_cannot_be_kept_stops_before_the_first_write(node: Node) -> None:
    await node.converge(ONE)
    lose_copies(node)
    node.paths.kept_dir.write_text("not a directory")
    outcome = await node.converge(TWO)
    assert (outcome.state, [e.code for e in outcome.errors]) == (ApplyState.FAILED, ["write-failed"])
    assert str(node.paths.kept_dir) in outcome.errors[0].message
    assert (node.paths.conf_dir / MAIN).read_bytes() == GOOD
    assert read(node.paths.wwids).active == {A}


async def names(node: Node) -> str:
    return await node.daemon._client.ask('show maps raw format "%n"')


@pytest.mark.parametrize("error", [DaemonTimeout("stuck"), DaemonDown("gone"), CommandFailed("no")])
async def test_taking_back_an_edit_heals_what_the_roll_back_could_not_tell(node: Node, error: MultipathdError) -> None:
    await node.converge(ONE)
    node.settle = 0.1
    node.daemon.fail["reconfigure"] = lambda number: error if number else None
    failed = await node.converge(BAD)
    assert (failed.state, failed.errors[0].code) == (ApplyState.FAILED, "reconfigure-failed")
    assert error.message in failed.errors[-1].message
    assert (node.paths.conf_dir / MAIN).read_bytes() == GOOD
    assert "a" not in (await names(node)).split(), "the daemon still runs the bad configuration"
    node.daemon.fail.clear()
    node.settle = 2.0
    healed = await node.converge(ONE)
    assert (healed.state, healed.errors, node.daemon.asked.count("reconfigure")) == (ApplyState.IN_SYNC, (), 1)
    assert "a" in (await names(node)).split()
    assert (await Ledger(node.records).load()).journal is None


# Interrupted attempts


async def test_a_file_stays_ours_however_many_attempts_follow(node: Node) -> None:
    await node.converge(ONE)
    with pytest.raises(Crash):
        await node.converge(TWO, crash_at("apply.installed"))
    for number in range(12):
        with pytest.raises(Crash):
            await node.converge(desired(Lun(A, f"n{number}"), digest=f"x{number}"), crash_at("apply.journal.written"))
    assert (node.paths.conf_dir / MAIN).read_bytes() == TWO.rendered.files[MAIN].content
    assert (await node.converge(ONE)).state is ApplyState.IN_SYNC


HAND = HEADER + b"/3600hand/\n"


@pytest.mark.parametrize("part", [b"/", f"/{A}".encode(), f"/{A}/\n/{B[:3]}".encode()])
async def test_half_a_line_of_ours_is_taken_back_and_written_whole(node: Node, part: bytes) -> None:
    node.paths.wwids.write_bytes(HAND)
    with pytest.raises(Crash):
        await node.converge(TWO, crash_at("apply.wwids.owned"))
    node.paths.wwids.write_bytes(HAND + part)
    await node.agent().recover()
    assert node.paths.wwids.read_bytes() == HAND
    assert (await Ledger(node.records).load()).owned == {}
    assert (await node.converge(TWO)).added == (A, B)
    assert node.paths.wwids.read_bytes() == HAND + f"/{A}/\n/{B}/\n".encode()
    assert (await Ledger(node.records).load()).owned.keys() == {A, B}
    await node.converge(desired())
    assert read(node.paths.wwids).active == {"3600hand"}


async def test_a_whole_line_that_another_wrote_meanwhile_stays_theirs(node: Node) -> None:
    node.paths.wwids.write_bytes(HAND)
    with pytest.raises(Crash):
        await node.converge(TWO, crash_at("apply.wwids.owned"))
    node.paths.wwids.write_bytes(HAND + f"/{A}/\n".encode())
    await node.converge(TWO)
    assert (await Ledger(node.records).load()).owned.keys() == {B}


# Tools that are not known


async def test_for_unknown_tools_nothing_is_written(node: Node) -> None:
    await node.converge(ONE)
    before = {path: path.stat().st_mtime_ns for path in node.paths.etc_dir.rglob("*")}
    wanted = Desired("d2", TWO.rendered, TWO.allow_list, True, fault=DaemonTimeout("busy"))
    outcome = await node.converge(wanted)
    assert (outcome.state, [e.code for e in outcome.errors], outcome.applied) == (ApplyState.FAILED, ["daemon-timeout"], "d1")
    assert (await node.converge(wanted)).errors[0].count == 2
    assert {path: path.stat().st_mtime_ns for path in node.paths.etc_dir.rglob("*")} == before
    assert node.daemon.asked == []


async def test_absent_tools_are_a_fault_only_where_they_are_needed(node: Node) -> None:
    fault = NotInstalled("no package")
    needed = await node.converge(Desired("d1", ONE.rendered, ONE.allow_list, fault=fault))
    assert (needed.state, [e.code for e in needed.errors]) == (ApplyState.FAILED, ["not-installed"])
    spare = await node.converge(Desired("d1", ONE.rendered, ONE.allow_list, needed=False, fault=fault))
    assert (spare.state, spare.errors, [n.code for n in spare.notes]) == (ApplyState.NOT_APPLICABLE, (), ["not-installed"])
    assert (node.files(), node.paths.wwids.exists()) == ([], False)


async def test_taking_all_away_needs_no_version(node: Node) -> None:
    await node.converge(ONE)
    nothing = desired()
    outcome = await node.converge(Desired("d0", nothing.rendered, nothing.allow_list, True, empty=True, fault=DaemonTimeout("busy")))
    assert (outcome.state, node.files(), read(node.paths.wwids).active) == (ApplyState.IN_SYNC, [], frozenset())


# Time


async def test_pending_is_as_old_as_its_first_outcome(node: Node) -> None:
    node.daemon.fail["show daemon"] = lambda number: None if number == 0 else "pid 7 configure\n"
    begun = await node.converge(ONE)
    node.now += 50
    later = await node.converge(TWO)
    assert [(o.state, o.desired, o.since) for o in (begun, later)] == [
        (ApplyState.PENDING, "d1", 1000.0),
        (ApplyState.PENDING, "d2", 1000.0),
    ]
    node.daemon.fail.clear()
    node.now += 50
    assert (await node.converge(TWO)).since == 1100.0
    node.now += 50
    assert (await node.converge(TWO)).since == 1100.0


async def test_files_are_written_beside_the_loop(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    real = os.fsync

    def fsync(fd: int) -> None:
        threads.append(threading.current_thread())
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    node.daemon.fail["reconfigure"] = lambda number: CommandFailed("no") if number == 0 else None
    await node.converge(TWO)
    node.daemon.fail.clear()
    for wanted in (ONE, desired()):
        assert (await node.converge(wanted)).state is ApplyState.IN_SYNC
    assert threads
    assert threading.main_thread() not in threads


async def test_a_cancelled_apply_leaves_no_file_half_installed(node: Node) -> None:
    await node.converge(ONE)
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(point: str) -> None:
        if point == "apply.install.temporary":
            begun.set()
            assert may_go_on.wait(5)

    task = asyncio.create_task(node.converge(TWO, slow))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    asyncio.get_running_loop().call_later(0.02, may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (node.paths.conf_dir / MAIN).read_bytes() == TWO.rendered.files[MAIN].content
    assert node.files() == [MAIN]
    assert (await node.converge(TWO)).state is ApplyState.IN_SYNC
