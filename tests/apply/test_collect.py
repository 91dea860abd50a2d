"""The collector: one poll from socket to cells, with what it keeps."""

from pathlib import Path
from typing import Any

import pytest

from apply.collect import BASELINES, Context, HealthCollector, acceptance_of
from apply.expected import Acceptance, Baseline, decode, encode
from apply.facts import DaemonFacts, facts_cell, host_notes, read_facts
from apply.model import Lun, Model, Settings
from apply.multipathd import CommandFailed, DaemonDown, DaemonGarbage, DaemonTimeout, MultipathdError, NotInstalled, PermissionDenied
from apply.outcome import ApplyOutcome, ApplyState
from apply.storages import ExpectedNodes
from apply.sysfs import NoFacts
from apply.topology import PATHS_COMMAND, SIZES_COMMAND
from store.cells import Cell
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
            PATHS_COMMAND: "".join(f"{r[0]}|{r[1]}|{r[2]}|{r[9]}|{r[12]}|{r[8]}\n" for r in rows),
            SIZES_COMMAND: f"{W}|64M\n",
            "show maps version": "show maps version: not found\nmultipath-tools v0.9.4 (12/19, 2022)\nCLI commands reference:\n",
        }

    async def ask(self, command: str) -> str:
        self.asked.append(command)
        if self.error is not None:
            raise self.error
        return f"pid {self.pid} idle\n" if command == "show daemon" else self.answers[command]


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
        return {wwid: decode(data) for wwid, data in (await self.records.load(BASELINES)).items()}


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
