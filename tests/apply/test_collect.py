"""The collector: one poll from socket to cells, with what it keeps."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from apply.collect import BASELINES, Context, HealthCollector, acceptance_of
from apply.expected import Acceptance, Baseline, decode, encode
from apply.facts import DaemonFacts, facts_cell, host_notes, read_facts
from apply.model import Lun, Model, Settings
from apply.multipathd import CommandFailed, DaemonDown, DaemonGarbage, DaemonTimeout, MultipathdError, NotInstalled, PermissionDenied
from apply.nvme import Controller, Subsystem
from apply.outcome import ApplyOutcome, ApplyState
from apply.path_facts import NoFacts
from apply.sessions import Session
from apply.storages import ExpectedNodes
from apply.topology import PATHS_COMMAND, SIZES_COMMAND
from store.cells import Cell
from store.errors import UnavailableError
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
W, OTHER = "35000c500a0b00001", "35000c500a0b00002"
FIRST, SECOND = "other:->-,0:0:1", "other:->-,0:0:1#2"


class Script:
    """Answers from one capture, or with one error."""

    def __init__(self, capture: str) -> None:
        self.asked: list[str] = []
        self.error: MultipathdError | None = None
        self.pid = 801
        self.doing = "idle"
        self.fail: dict[str, MultipathdError] = {}
        self.capture = capture

    @property
    def capture(self) -> str:
        return self._capture

    @capture.setter
    def capture(self, name: str) -> None:
        self._capture = name
        folder = CAPTURES / name
        rows = [line.split("|") for line in (folder / "paths_raw_format.out").read_text().splitlines()]
        self.answers = {
            "show maps json": (folder / "maps.json.out").read_text(),
            PATHS_COMMAND: "".join(f"{r[0]}|{r[1]}|{r[2]}|{r[9]}|{r[12]}|{r[10]}|{r[8]}\n" for r in rows),
            SIZES_COMMAND: f"{W}|64M\n",
            "show maps version": "show maps version: not found\nmultipath-tools v0.9.4 (12/19, 2022)\nCLI commands reference:\n",
        }

    async def ask(self, command: str) -> str:
        self.asked.append(command)
        if self.error is not None:
            raise self.error
        if command in self.fail:
            raise self.fail[command]
        return f"pid {self.pid} {self.doing}\n" if command == "show daemon" else self.answers[command]


class Node:
    """A collector with everything around it."""

    def __init__(self) -> None:
        self.script = Script("03_healthy_2paths")
        self.records = MemoryRecords()
        self.now = 0.0
        model = Model(settings=Settings(learn_window_seconds=0), luns={W: Lun(W)}, empty=False)
        self.context: dict[str, Any] = {"node": "n1", "model": model, "expected": {W: ExpectedNodes(frozenset({"n1"}), "explicit")}}
        self.devices = NoFacts()
        self.restart()

    def restart(self) -> None:
        self.collector = HealthCollector(
            self.script,
            self.records,
            lambda: Context(**self.context),
            devices=self.devices,
            notes=lambda: ("module-missing",),
            monotonic=lambda: self.now,
            wall=lambda: 1e9 + self.now,
        )

    async def poll(self) -> dict[str, Cell]:
        self.now += 10.0
        return {cell.id: cell for cell in await self.collector.poll()}

    async def baselines(self) -> dict[str, Baseline]:
        return {wwid: found for wwid, data in (await self.records.load(BASELINES)).items() if (found := decode(data)) is not None}


async def test_one_poll() -> None:
    node = Node()
    node.context["outcome"] = ApplyOutcome(ApplyState.IN_SYNC, "d", "d")
    cells = await node.poll()
    assert [(c.kind, c.id, c.state) for c in cells.values()] == [
        ("multipath.map", W, "healthy"),
        ("node.facts", "node", "healthy"),
        ("multipath.apply", "config", "healthy"),
    ]
    assert cells["node"].detail == {
        "tools_version": "0.9.4",
        "daemon": "running",
        "notes": [],
        "visible": [{"wwid": OTHER, "vendor": "LAB", "product": "SAN", "size_bytes": 64 << 20, "paths": 2}],
    }
    assert cells[W].detail["size_bytes"] == 64 << 20
    assert (await node.baselines())[W].identities == (FIRST, SECOND)


async def test_what_the_daemon_is_doing_excuses_a_missing_map_for_a_while() -> None:
    node = Node()
    node.script.capture, node.script.doing = "13_all_paths_removed", "configure"
    polls = [(await node.poll())[W] for _ in range(7)]
    assert [(cell.state, cell.reasons) for cell in polls] == [("pending", ("daemon-starting",))] * 6 + [("missing", ("not-visible",))]


async def test_a_map_that_nobody_configured_is_visible_too() -> None:
    """A host that ran multipath before: its LUNs are what an admin looks for first."""
    node = Node()
    node.context["model"] = Model()
    node.context["expected"] = {}
    cells = await node.poll()
    assert cells[W].state == "unexpected"
    assert {seen["wwid"] for seen in cells["node"].detail["visible"]} == {W, OTHER}


async def test_a_record_that_cannot_be_read_is_said_and_learned_anew() -> None:
    node = Node()
    await node.poll()
    assert not await node.collector.lost()
    await node.records.change(BASELINES, {W: b"\xc1", "36001": b"", "36002": encode(Baseline(("a",)))})
    node.restart()
    assert await node.collector.lost()
    cells = await node.poll()
    [note] = cells["node"].detail["notes"]
    assert "learned paths could not be read" in note and f"{W}, 36001;" in note
    assert (await node.baselines())[W].identities == (FIRST, SECOND)
    await node.records.change(BASELINES, {}, ["36001"])
    node.restart()
    assert not await node.collector.lost() and (await node.poll())["node"].detail["notes"] == []


async def test_baselines_outlive_a_restart_and_acceptance_is_applied_once() -> None:
    node = Node()
    await node.poll()
    node.restart()
    node.script.capture = "06_one_path_removed"
    lost = await node.poll()
    assert (lost[W].state, lost[W].reasons[0]) == ("degraded", "path-lost")
    node.context["acceptances"] = {W: acceptance_of({"paths": FIRST, "reason": "moved", "by": "me", "expires": ""}, "dot1")}
    await node.poll()
    accepted = await node.poll()
    assert (accepted[W].state, accepted[W].detail["paths"]["expected"]) == ("healthy", 1)
    node.restart()
    node.script.capture = "03_healthy_2paths"
    back = await node.poll()
    assert (back[W].detail["paths"]["expected"], back[W].detail["paths"]["expected_source"]) == (2, "learned")


async def test_a_lost_memory_is_given_back_by_peers() -> None:
    node = Node()
    node.script.capture = "06_one_path_removed"
    await node.collector.adopt({W: (FIRST, SECOND)})
    assert (await node.poll())[W].reasons[0] == "path-lost"
    assert (await node.baselines())[W].identities == (FIRST, SECOND)


async def test_nothing_is_written_while_nothing_changes() -> None:
    node = Node()
    await node.poll()
    writes: list[object] = []

    class Counting(MemoryRecords):
        async def change(self, *args: Any, **kwargs: Any) -> None:
            writes.append(args)

    node.collector._records = Counting()
    await node.poll()
    await node.poll()
    assert writes == []


@pytest.mark.parametrize(
    ("error", "daemon", "state", "notes"),
    [
        (NotInstalled("x"), "not-installed", "healthy", ["module-missing"]),
        (DaemonDown("x"), "down", "unknown", ["module-missing"]),
        (DaemonTimeout("x"), "timeout", "unknown", ["module-missing"]),
        (DaemonGarbage("x"), "garbage", "unknown", ["module-missing"]),
        (PermissionDenied("x"), "unknown", "unknown", ["module-missing"]),
    ],
)
async def test_a_daemon_that_cannot_be_asked(error: MultipathdError, daemon: str, state: str, notes: list[str]) -> None:
    node = Node()
    await node.poll()
    node.script.error = error
    cells = await node.poll()
    assert (cells[W].state, cells[W].reasons, cells[W].detail["last"]["state"]) == ("unknown", (error.code,), "healthy")
    assert (cells["node"].detail["daemon"], cells["node"].state, cells["node"].detail["notes"]) == (daemon, state, notes)
    node.script.error = None
    assert (await node.poll())[W].state == "healthy"


async def test_garbage_in_the_list_of_maps() -> None:
    node = Node()
    await node.poll()
    node.script.answers["show maps json"] = "show maps json: not found\nmultipath-tools v0.4.9\n"
    cells = await node.poll()
    assert (cells[W].state, cells[W].reasons, cells["node"].detail["daemon"]) == ("unknown", ("daemon-garbage",), "garbage")
    assert "no JSON" in cells["node"].detail["notes"][-1]


async def test_the_version_is_asked_for_once_a_daemon() -> None:
    node = Node()
    await node.poll()
    await node.poll()
    assert node.script.asked.count("show maps version") == 1
    node.script.pid = 802
    await node.poll()
    assert node.script.asked.count("show maps version") == 2


@pytest.mark.parametrize("command", ["show daemon", "show maps json", PATHS_COMMAND, SIZES_COMMAND])
@pytest.mark.parametrize("error", [DaemonTimeout("busy"), DaemonGarbage("cut"), DaemonDown("stopped"), CommandFailed("no")])
async def test_a_question_that_fails_does_not_change_the_tools(command: str, error: MultipathdError) -> None:
    node = Node()
    await node.poll()
    node.script.fail[command] = error
    cells = await node.poll()
    assert (node.collector.facts.version, cells["node"].detail["tools_version"]) == ((0, 9, 4), "0.9.4")
    assert node.collector.facts.state != "running"
    assert await node.collector.tools_version() == (0, 9, 4)
    node.script.fail.clear()
    await node.poll()
    assert node.collector.facts.state == "running"
    assert node.script.asked.count("show maps version") == 1


async def test_garbage_instead_of_maps_or_of_a_pid_does_not_change_the_tools() -> None:
    node = Node()
    await node.poll()
    node.script.answers["show maps json"] = "nothing"
    await node.poll()
    assert node.collector.facts == DaemonFacts("garbage", 801, "idle", (0, 9, 4))
    assert await read_facts(Mute(), node.collector.facts) == DaemonFacts("garbage", 801, "", (0, 9, 4))


class Mute:
    async def ask(self, command: str) -> str:
        return ""


async def test_the_version_goes_with_the_package() -> None:
    node = Node()
    await node.poll()
    node.script.error = NotInstalled("gone")
    await node.poll()
    assert node.collector.facts == DaemonFacts("not-installed")
    node.script.error = None
    node.script.answers["show maps version"] = "multipath-tools v0.11.1 (01/01, 2025)\n"
    await node.poll()
    assert node.collector.facts.version == (0, 11, 1)


async def test_a_new_daemon_has_no_version_until_it_says_so() -> None:
    node = Node()
    await node.poll()
    node.script.pid = 802
    node.script.fail["show maps version"] = DaemonTimeout("busy")
    await node.poll()
    assert node.collector.facts.version is None, "the tools may be others now"
    with pytest.raises(DaemonTimeout):
        await node.collector.tools_version()
    node.script.fail.clear()
    assert await node.collector.tools_version() == (0, 9, 4)
    await node.poll()
    assert node.collector.facts == DaemonFacts("running", 802, "idle", (0, 9, 4))


async def test_the_tools_are_asked_before_the_first_poll() -> None:
    assert await Node().collector.tools_version() == (0, 9, 4)


class FullDisk(MemoryRecords):
    """Records that can be read or written only if they are told so."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    async def load(self, kind: str) -> dict[str, bytes]:
        if "load" in self.broken:
            raise UnavailableError("the database is locked", code="database-locked")
        return await super().load(kind)

    async def change(self, kind: str, put: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
        if "change" in self.broken:
            raise UnavailableError("the disk is full", code="disk-full")
        await super().change(kind, put, delete)


async def test_a_full_disk_hides_no_failure() -> None:
    node = Node()
    node.records = disk = FullDisk()
    node.restart()
    disk.broken.add("change")
    cells = await node.poll()
    assert (cells[W].state, cells[W].detail["paths"]["usable"], cells[W].detail["baseline"]) == ("healthy", 2, [])
    assert cells["node"].detail["notes"] == ["learned paths could not be kept: the disk is full"]
    node.script.capture = "08_all_paths_failed"
    assert (await node.poll())[W].state == "failed"
    node.script.capture = "03_healthy_2paths"
    disk.broken.clear()
    cells = await node.poll()
    assert (cells["node"].detail["notes"], cells[W].detail["baseline"]) == ([], [FIRST, SECOND])
    assert (await node.baselines())[W].identities == (FIRST, SECOND)


async def test_what_was_learned_before_stays_in_force_on_a_full_disk() -> None:
    node = Node()
    node.records = disk = FullDisk()
    node.restart()
    await node.poll()
    disk.broken.add("change")
    node.script.capture = "06_one_path_removed"
    node.context["acceptances"] = {W: Acceptance("dot1", (FIRST,))}
    for _ in range(2):
        cells = await node.poll()
        assert cells[W].reasons[0] == "path-lost", "an acceptance that a restart would forget is not in force"
    disk.broken.clear()
    await node.poll()
    assert (await node.poll())[W].state == "healthy"


async def test_a_locked_database_at_the_start_hides_no_failure() -> None:
    node = Node()
    await node.poll()
    stored = await node.records.load(BASELINES)
    node.records = disk = FullDisk()
    await disk.change(BASELINES, stored)
    node.restart()
    disk.broken.add("load")
    node.script.capture = "06_one_path_removed"
    cells = await node.poll()
    assert (cells[W].state, cells["node"].detail["notes"]) == ("degraded", ["learned paths could not be kept: the database is locked"])
    disk.broken.clear()
    assert (await node.poll())[W].reasons[0] == "path-lost"


async def test_the_kernel_is_looked_at_beside_the_loop() -> None:
    turned = threading.Event()

    class Slow(NoFacts):
        def attached_wwids(self) -> frozenset[str]:
            return frozenset({"loop-turned"} if turned.wait(5) else ())

        def ancestry(self, dev: str) -> str | None:
            assert threading.current_thread() is not threading.main_thread()
            return None

    node = Node()
    node.devices = Slow()
    node.restart()
    asyncio.get_running_loop().call_later(0.02, turned.set)
    async with asyncio.timeout(4):
        assert (await node.poll())[W].state == "healthy"


async def test_exact_sizes_win() -> None:
    class Kernel(NoFacts):
        def map_size(self, sysfs: str, wwid: str) -> int | None:
            return 67_108_864 + 512 if (sysfs, wwid) == ("dm-0", W) else None

    node = Node()
    node.devices = Kernel()
    node.restart()
    assert (await node.poll())[W].detail["size_bytes"] == 67_108_864 + 512


async def test_facts_never_raise() -> None:
    class Odd(Script):
        async def ask(self, command: str) -> str:
            if command == "show daemon":
                return "shrug"
            raise CommandFailed("no")

    assert await read_facts(Odd("03_healthy_2paths")) == DaemonFacts("garbage")
    script = Script("03_healthy_2paths")
    script.answers["show maps version"] = "fail?"
    facts = await read_facts(script)
    assert (facts.state, facts.version) == ("running", None)
    assert facts_cell(facts, (), [], 0.0).detail["tools_version"] is None


def test_notes_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cmdline").write_text("quiet nompath\n")
    (tmp_path / "sys" / "module").mkdir(parents=True)
    assert host_notes(tmp_path) == ("disabled-cmdline", "module-missing")
    (tmp_path / "proc" / "cmdline").write_text("quiet\n")
    (tmp_path / "sys" / "module" / "dm_multipath").mkdir()
    assert host_notes(tmp_path) == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"paths": "a\nb\n", "expires": "123.5", "reason": "r", "by": "me"}, Acceptance("dot", ("a", "b"), 123.5, "r", "me")),
        ({"paths": "", "expires": "never"}, Acceptance("dot", ())),
        ({}, Acceptance("dot", ())),
    ],
)
def test_acknowledgements(options: dict[str, str], expected: Acceptance) -> None:
    assert acceptance_of(options, "dot") == expected


def test_stored_baselines_are_stable_bytes() -> None:
    assert encode(Baseline(("a",), {"b": 1.0, "a": 2.0})) == encode(Baseline(("a",), {"a": 2.0, "b": 1.0}))


async def test_native_nvme_is_learned_lost_and_accepted_like_a_lun() -> None:
    nqn = "nqn.2010-06.com.purestorage:flasharray.1"
    one, two = Controller("nvme0", "nvme:tcp:a>b:4420", "tcp", "live"), Controller("nvme1", "nvme:tcp:c>d:4420", "tcp", "live")
    there = [Subsystem(nqn, "M", "S", "1", "numa", (one, two), ())]
    node = Node()

    def restart() -> None:
        node.collector = HealthCollector(
            node.script,
            node.records,
            lambda: Context(**node.context),
            nvme=lambda: tuple(there),
            monotonic=lambda: node.now,
            wall=lambda: 1e9,
        )

    restart()
    found = (await node.poll())[nqn]
    assert (found.state, found.detail["baseline"], found.detail["paths"]["expected"]) == ("healthy", [one.id, two.id], 2)
    restart()
    there[0] = Subsystem(nqn, "M", "S", "1", "numa", (one,), ())
    found = (await node.poll())[nqn]
    assert (found.state, found.reasons, found.detail["missing_paths"]) == ("degraded", ("path-lost",), [two.id])
    there.clear()
    assert (await node.poll())[nqn].state == "missing"
    there.append(Subsystem(nqn, "M", "S", "1", "numa", (one, two), ()))
    assert [(await node.poll())[nqn].state for _ in range(2)] == ["missing", "healthy"], "better is shown at the second poll"
    there.clear()
    await node.poll()
    node.context["acceptances"] = {nqn: Acceptance("dot1", ())}
    assert nqn not in await node.poll()
    node.context["learning"] = False
    there.append(Subsystem(nqn, "M", "S", "1", "numa", (one,), ()))
    assert (await node.poll())[nqn].detail["baseline"] == []
    node.script.error = NotInstalled("no package")
    assert (await node.poll())[nqn].state == "healthy", "it needs no multipath-tools"


async def test_a_connection_of_native_nvme_that_does_not_come_back_is_forgotten_after_the_days_that_were_set() -> None:
    nqn = "nqn.2010-06.com.purestorage:flasharray.1"
    one, two = Controller("nvme0", "nvme:tcp:a>b:4420", "tcp", "live"), Controller("nvme1", "nvme:tcp:c>d:4420", "tcp", "live")
    there = [Subsystem(nqn, "M", "S", "1", "numa", (one, two), ())]
    node = Node()
    node.context["model"] = Model(settings=Settings(learn_window_seconds=0, forget_after_days=1), empty=False)
    node.collector = HealthCollector(
        node.script, node.records, lambda: Context(**node.context), nvme=lambda: tuple(there), wall=lambda: node.now * 3600
    )

    async def expected(hours: int, *controllers: Controller) -> int:
        there[0] = Subsystem(nqn, "M", "S", "1", "numa", controllers, ())
        for _ in range(hours):
            node.now -= 9.0  # polls are an hour apart
            found = (await node.poll())[nqn]
        return int(found.detail["paths"]["expected"])

    assert await expected(1, one, two) == 2
    assert await expected(30, one, Controller("nvme1", two.id, "tcp", "connecting")) == 2, "the kernel has not given it up"
    assert await expected(24, one) == 2
    assert await expected(1, one) == 1
    assert (await node.baselines())[nqn].identities == (one.id,)


async def test_a_session_without_a_disk_is_a_note_once_it_lasts() -> None:
    class Sessions(NoFacts):
        found: tuple[Session, ...] = (
            Session("iqn.a", "10.0.0.1:3260", "default", True),
            Session("iqn.a", "10.0.1.1:3260", "default", False),
        )

        def sessions(self) -> tuple[Session, ...]:
            return self.found

    node = Node()
    node.devices = devices = Sessions()
    node.restart()
    assert (await node.poll())["node"].detail["notes"] == []
    [note] = (await node.poll())["node"].detail["notes"]
    assert note.startswith("session-without-path: ") and "iqn.a at 10.0.1.1:3260" in note and "10.0.0.1" not in note
    devices.found = devices.found[:1]
    assert (await node.poll())["node"].detail["notes"] == []


async def test_the_path_that_a_session_does_not_bring_is_flagged() -> None:
    class Sessions(NoFacts):
        def sessions(self) -> tuple[Session, ...]:
            return (Session("iqn.a", "10.0.0.1:3260", "default", True),)

    node = Node()
    node.devices = Sessions()
    node.restart()
    lost = "iscsi:10.0.0.9>10.0.0.1:3260,1,iqn.A"
    await node.records.change(BASELINES, {W: encode(Baseline((FIRST, SECOND, lost)))})
    found = (await node.poll())[W]
    assert (found.detail["missing_paths"], found.detail["flags"]) == ([lost], ["session-without-path"])
    await node.records.change(BASELINES, {W: encode(Baseline((FIRST, SECOND, lost.replace("10.0.0.1:", "10.0.0.2:"))))})
    node.restart()
    assert (await node.poll())[W].detail["flags"] == []
