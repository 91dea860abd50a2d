"""The loop that reports this host's health: when it learns, what it gives back to others, when it looks."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import poll_loop, regained
from agent.maintenance import PREFIX, maintenance_value
from agent.poll_loop import BOOT_SECONDS, PollLoop
from agent.remembered import ASKS
from apply.collect import BASELINES
from apply.sysfs import Sysfs
from apply.topology import PATHS_COMMAND, SIZES_COMMAND
from store.cells import MULTIPATH_MAP, NODE_FACTS, REMEMBERED_PATHS, Cell
from store.document import WWID_PREFIX
from store.errors import UnavailableError
from store.matrix import Reporter
from store.members import MemberState, member_value
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
W = "35000c500a0b00001"
BOTH = ["other:->-,0:0:1", "other:->-,0:0:1#2"]
KEY = WWID_PREFIX + W


class Daemon:
    """Answers from a capture."""

    def __init__(self, capture: str) -> None:
        self.capture = capture
        self.asked = 0

    async def ask(self, command: str) -> str:
        folder = CAPTURES / self.capture
        if command == "show maps json":
            self.asked += 1
            return (folder / "maps.json.out").read_text()
        if command == PATHS_COMMAND:
            rows = [line.split("|") for line in (folder / "paths_raw_format.out").read_text().splitlines()]
            return "".join(f"{r[0]}|{r[1]}|{r[2]}|{r[9]}|{r[12]}|{r[10]}|{r[8]}\n" for r in rows)
        return {"show daemon": "pid 801 idle\n", SIZES_COMMAND: f"{W}|64M\n"}.get(command, "multipath-tools v0.9.4 (12/19, 2022)\n")


class Watched:
    """One node of a cluster in memory with its loop; `sees` is the capture that its daemon answers from."""

    def __init__(
        self, node: Any, tmp_path: Path, sees: str = "03_healthy_2paths", records: MemoryRecords | None = None, **more: Any
    ) -> None:
        self.node = node
        self.daemon = Daemon(sees)
        self.records = records or MemoryRecords()
        client: Any = self.daemon
        self.loop = PollLoop(
            node.name,
            client,
            Sysfs(tmp_path / "sys", tmp_path / "udev"),
            self.records,
            node.picture,
            node.engine,
            interval=60.0,
            outcome=lambda: None,
            daemon_moved=lambda: None,
            storages=list,
            **more,
        )
        self.loop.attach(node.runner)
        self._fed = 0

    async def poll(self) -> Cell:
        for change in self.node.published[self._fed :]:
            self.loop.news(change)
        self._fed = len(self.node.published)
        await self.loop._poll()
        return self.cell()

    def cell(self) -> Cell:
        found: Cell = self.node.picture.cell(self.node.name, MULTIPATH_MAP, W).whole()
        return found

    def facts(self) -> dict[str, Any]:
        return dict(self.node.picture.node_facts(self.node.name))


async def configure(cluster: Any, **defaults: str) -> None:
    first = next(iter(cluster.nodes.values()))
    await first.writer.record({KEY: {"nodes": ",".join(cluster.nodes)}, "defaults": defaults})
    await cluster.converged()


@pytest.mark.parametrize(
    ("window", "uptime", "maintained", "learned"),
    [
        ("0", 10.0, False, BOTH),
        ("0", 10.0, True, []),
        ("1", BOOT_SECONDS - 1, False, []),
        ("1", BOOT_SECONDS, False, BOTH),
        ("1", BOOT_SECONDS, True, []),
    ],
)
async def test_when_it_learns(
    memory_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: str, uptime: float, maintained: bool, learned: list[str]
) -> None:
    cluster = memory_cluster("n1")
    await configure(cluster, **{"learn-window": window})
    if maintained:
        await cluster["n1"].writer.record({PREFIX + "n1": maintenance_value("disks", 0.0, None)})
    watched = Watched(cluster["n1"], tmp_path, uptime=lambda: uptime)
    now = [1e9]
    monkeypatch.setattr(watched.loop.collector, "_wall", lambda: now[0])
    await watched.poll()
    now[0] += 2.0
    assert (await watched.poll()).detail["baseline"] == learned


async def test_what_was_seen_before_maintenance_does_not_count_after_it(
    memory_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = memory_cluster("n1")
    await configure(cluster, **{"learn-window": "100"})
    node, watched, now = cluster["n1"], Watched(cluster["n1"], tmp_path, uptime=lambda: 1e6), [1e9]
    monkeypatch.setattr(watched.loop.collector, "_wall", lambda: now[0])
    await watched.poll()
    await node.writer.record({PREFIX + "n1": maintenance_value("disks", 0.0, None)})
    now[0] += 50
    await watched.poll()
    await node.writer.record({PREFIX + "n1": None})
    now[0] += 60
    assert (await watched.poll()).detail["baseline"] == []
    now[0] += 100
    assert (await watched.poll()).detail["baseline"] == BOTH


async def test_a_node_that_lost_its_database_gets_back_what_it_had_learned(
    memory_cluster: Any, tmp_path: Path, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes back with one path less than it had: without its memory it would find that in order."""
    cluster = memory_cluster("n1", "n2")
    await configure(cluster, **{"learn-window": "0"})
    first, second = Watched(cluster["n1"], tmp_path), Watched(cluster["n2"], tmp_path)
    nodes = cluster.nodes.values()

    def heard() -> bool:
        for node in nodes:
            node.tick()
        return all(node.engine.caught_up for node in nodes)

    await eventually("they hear each other", heard)
    assert (await second.poll()).detail["baseline"] == BOTH
    assert second.facts()[ASKS] is True, "a new database asks, for it cannot know"

    def known() -> bool:
        heard()
        found = cluster["n1"].picture.cell("n2", MULTIPATH_MAP, W)
        return found is not None and found.detail.get("baseline") == BOTH

    await eventually("its paths are known", known)
    await first.poll()

    cluster["n2"].engine.exchange.own.begin(2, 10**9)
    wiped = Watched(cluster["n2"], tmp_path, "06_one_path_removed")
    monkeypatch.setattr(wiped.loop._regained, "_monotonic", lambda: wiped_now[0])
    wiped_now = [0.0]
    found = await wiped.poll()
    assert (found.detail["baseline"], found.reasons) == (BOTH[:1], ("single-path",))

    async def answered() -> bool:
        heard()
        await first.poll()
        await wiped.poll()
        return bool(wiped.cell().detail["baseline"] == BOTH)

    for _ in range(500):
        if await answered():
            break
        await asyncio.sleep(0.01)
    found = wiped.cell()
    assert (found.detail["baseline"], found.reasons, found.detail["missing_paths"]) == (BOTH, ("path-lost", "single-path"), BOTH[1:])
    assert cluster["n1"].picture.cells_of("n1", REMEMBERED_PATHS).keys() == {"n2/0"}
    wiped_now[0] = regained.ASKING_SECONDS
    await wiped.poll()
    assert ASKS not in wiped.facts()

    def silent() -> bool:
        heard()
        facts = cluster["n1"].picture.cell("n2", NODE_FACTS, "node")
        return facts is not None and ASKS not in facts.detail

    await eventually("it asks no more", silent)
    await first.poll()
    assert cluster["n1"].picture.cells_of("n1", REMEMBERED_PATHS) == {}
    restarted = Watched(cluster["n2"], tmp_path, "06_one_path_removed", wiped.records)
    await restarted.poll()
    assert ASKS not in restarted.facts() and restarted.cell().detail["baseline"] == BOTH


async def test_a_node_that_cannot_read_what_it_had_learned_asks_the_others(memory_cluster: Any, tmp_path: Path) -> None:
    cluster = memory_cluster("n1", "n2")
    await configure(cluster, **{"learn-window": "0"})
    settled = MemoryRecords()
    await settled.change("paths", {"asked": b"1"})
    watched = Watched(cluster["n1"], tmp_path, records=settled)
    await watched.poll()
    assert ASKS not in watched.facts(), "it has asked once, and knows what it had learned"
    await settled.change(BASELINES, {W: b"\xc1"})
    watched = Watched(cluster["n1"], tmp_path, records=settled)
    await watched.poll()
    assert watched.facts()[ASKS] is True, "with its first word: the others drop what they hold of who does not ask"


class Peers:
    """n1, and three others that have told how many paths of the LUN they expect: 2, 3 and 4."""

    def __init__(self, cluster: Any, tmp_path: Path) -> None:
        self.cluster = cluster
        self.first = Watched(cluster["n1"], tmp_path)

    async def told(self, eventually: Callable[..., Any]) -> None:
        for number, name in enumerate(("n2", "n3", "n4"), 2):
            names = [f"fc:0x{port}>0xa" for port in range(number)]
            self.cluster[name].runner.observe([Cell(MULTIPATH_MAP, W, "healthy", (), {"baseline": names})])

        def known() -> bool:
            for node in self.cluster.nodes.values():
                node.tick()
            return self.counted() == [2, 3, 4]

        await eventually("all have told it", known)

    def counted(self) -> list[int]:
        return sorted(self.first.loop._context().peer_sizes.get(W, ()))


@pytest.fixture
async def peers(memory_cluster: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Peers:
    cluster = memory_cluster("n1", "n2", "n3", "n4")
    await configure(cluster)
    found = Peers(cluster, tmp_path)
    await found.told(eventually)
    return found


async def test_a_node_on_which_a_lun_is_not_expected_is_no_measure(peers: Peers) -> None:
    await peers.cluster["n1"].writer.record({KEY: {"nodes": "n1,n2,n4"}})
    assert peers.counted() == [2, 4]


async def test_a_node_in_maintenance_is_no_measure(peers: Peers) -> None:
    await peers.cluster["n1"].writer.record({PREFIX + "n3": maintenance_value("disks", 0.0, None)})
    assert peers.counted() == [2, 4]


async def test_a_node_that_left_is_no_measure(peers: Peers) -> None:
    left = msgspec.structs.replace(peers.cluster["n3"].engine.member, state=MemberState.LEFT)
    await peers.cluster["n1"].writer.record({"member/n3": member_value(left)})
    assert peers.counted() == [2, 4]


@pytest.mark.parametrize("reporter", [each for each in Reporter if each is not Reporter.FRESH])
async def test_a_node_whose_word_is_not_fresh_is_no_measure(peers: Peers, reporter: Reporter, monkeypatch: pytest.MonkeyPatch) -> None:
    known = peers.cluster["n1"].engine.reporter

    def heard(name: str, now_ms: int) -> Reporter:
        found: Reporter = reporter if name == "n3" else known(name, now_ms)
        return found

    monkeypatch.setattr(peers.cluster["n1"].engine, "reporter", heard)
    assert peers.counted() == [2, 4]


async def test_what_is_wrong_with_a_map_is_known_on_while_polls_fail(memory_cluster: Any, tmp_path: Path) -> None:
    cluster = memory_cluster("n1")
    await configure(cluster)
    watched = Watched(cluster["n1"], tmp_path)
    handed: list[list[Cell]] = []

    def storages(cells: list[Cell]) -> list[Cell]:
        handed.append(cells)
        return cells

    watched.loop._storages = storages
    answer, collector = watched.loop.collector.poll, watched.loop.collector
    hanging = Cell(MULTIPATH_MAP, W, "failed", ("no-paths",), {"flags": ["io-hangs"], "alias": None})
    before = Cell(MULTIPATH_MAP, W, "unknown", ("daemon-down",), {"last": {"state": "failed", "flags": ["io-hangs"]}})

    async def fails() -> list[Cell]:
        raise ZeroDivisionError

    collector.poll = fails  # type: ignore[method-assign]
    await watched.loop._poll()
    assert handed == [], "nobody knows which maps there are: that is not that there are none"
    collector.poll = answer  # type: ignore[method-assign]
    await watched.loop._poll()
    assert len(handed) == 1
    collector.poll = fails  # type: ignore[method-assign]
    for known in (hanging, before):
        watched.loop._cells = [known]
        for _ in range(3):
            await watched.loop._poll()
            [cell] = handed[-1]
            assert (cell.state, cell.reasons) == ("unknown", ("not-collected",))
            assert (cell.detail["last"]["state"], cell.detail["last"]["flags"]) == ("failed", ["io-hangs"])


async def test_the_kernel_wakes_it(
    memory_cluster: Any, tmp_path: Path, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Callable[[], None]] = []

    class Kernel:
        note = ""

        def __init__(self, moved: Callable[[], None], took: Callable[[], float]) -> None:
            told.append(moved)
            assert took() == 0.0

        async def run(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(poll_loop, "KernelWatch", Kernel)
    cluster = memory_cluster("n1")
    await configure(cluster)
    watched = Watched(cluster["n1"], tmp_path, kernel_events=True)
    running = asyncio.create_task(watched.loop.run())
    await eventually("it looked", lambda: watched.daemon.asked == 1)
    watched.daemon.capture = "06_one_path_removed"
    told[0]()
    await eventually("it looked again", lambda: watched.daemon.asked == 2)
    running.cancel()
    await asyncio.wait([running])


async def test_that_the_kernel_cannot_be_heard_is_a_note(
    memory_cluster: Any, tmp_path: Path, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> Any:
        raise UnavailableError("no libudev here", code="no-kernel-events")

    monkeypatch.setattr("agent.kernel_watch.open_monitor", fails)
    defaults = poll_loop.KernelWatch.__init__.__kwdefaults__
    monkeypatch.setattr(poll_loop.KernelWatch.__init__, "__kwdefaults__", {**defaults, "opening": fails})
    cluster = memory_cluster("n1")
    await configure(cluster)
    watched = Watched(cluster["n1"], tmp_path, kernel_events=True)
    running = asyncio.create_task(watched.loop.run())
    assert watched.loop._kernel is not None
    await eventually("it knows", lambda: watched.loop._kernel.note)
    await watched.poll()
    assert "no libudev here" in watched.facts()["notes"][-1] and watched.cell().state == "healthy"
    running.cancel()
    await asyncio.wait([running])
