"""Other nodes' health on its way to the disk."""

import asyncio
from typing import Any

import pytest

from agent import health_keeper
from agent.health_keeper import HealthKeeper
from gossip.events import Publish
from store.cells import MULTIPATH_MAP, Cell
from store.errors import UnavailableError
from store.health import decode_stream

pytestmark = pytest.mark.anyio
A = "3624a9370e92ace0b12e941bf000cb4d5"


class Disk:
    """Remembers what it was told; `broken` makes it refuse."""

    def __init__(self) -> None:
        self.writes: list[tuple[dict[str, bytes], set[str]]] = []
        self.broken = False

    async def save_streams(self, rows: dict[str, bytes], gone: Any, saved_at: float) -> None:
        if self.broken:
            raise UnavailableError("the disk is full", code="disk-full")
        assert saved_at > 0
        self.writes.append((rows, set(gone)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_keeper, "EVERY_SECONDS", 0.02)


async def keeping(memory_cluster: Any, eventually: Any) -> tuple[Any, Disk, HealthKeeper, "asyncio.Task[None]"]:
    cluster = memory_cluster("n1", "n2")
    disk = Disk()
    keeper = HealthKeeper(disk, cluster["n1"].engine)  # type: ignore[arg-type]
    cluster["n2"].runner.observe([Cell(MULTIPATH_MAP, A, "healthy")])
    await eventually("n2 was heard", lambda: cluster["n1"].picture.cells_of("n2", MULTIPATH_MAP))
    return cluster, disk, keeper, asyncio.ensure_future(keeper.run())


async def stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_only_others_are_written_and_can_be_read_back(memory_cluster: Any, eventually: Any, quick: None) -> None:
    _, disk, keeper, task = await keeping(memory_cluster, eventually)
    keeper.news(Publish(health=frozenset({"n1"})))
    keeper.news(Publish(keys=frozenset({"defaults"})))
    keeper.news(Publish(health=frozenset({"n1", "n2"})))
    await eventually("n2 is written", lambda: disk.writes)
    [(rows, gone)] = disk.writes
    assert set(rows) == {"n2"} and not gone
    stream = decode_stream(rows["n2"], 0)
    assert [cell.id for cell in stream.cells()] == [A] and not stream.fresh
    await stopped(task)


async def test_many_changes_are_one_write(memory_cluster: Any, eventually: Any, quick: None) -> None:
    _, disk, keeper, task = await keeping(memory_cluster, eventually)
    for _ in range(50):
        keeper.news(Publish(health=frozenset({"n2"})))
    await eventually("n2 is written", lambda: disk.writes)
    await asyncio.sleep(0.06)
    assert len(disk.writes) == 1
    await stopped(task)


async def test_a_node_without_a_stream_loses_its_row(memory_cluster: Any, eventually: Any, quick: None) -> None:
    _, disk, keeper, task = await keeping(memory_cluster, eventually)
    keeper.news(Publish(health=frozenset({"n9"})))
    await eventually("n9 is dropped", lambda: disk.writes)
    assert disk.writes == [({}, {"n9"})]
    await stopped(task)


async def test_what_the_disk_refused_goes_with_the_next_change(memory_cluster: Any, eventually: Any, quick: None) -> None:
    _, disk, keeper, task = await keeping(memory_cluster, eventually)
    disk.broken = True
    keeper.news(Publish(health=frozenset({"n2", "n9"})))
    await asyncio.sleep(0.06)
    disk.broken = False
    keeper.news(Publish(health=frozenset({"n8"})))
    await eventually("it is written after all", lambda: disk.writes)
    rows, gone = disk.writes[0]
    assert set(rows) == {"n2"} and gone == {"n8", "n9"}
    await stopped(task)


async def test_a_clean_stop_writes_what_came_last(memory_cluster: Any, eventually: Any) -> None:
    _, disk, keeper, task = await keeping(memory_cluster, eventually)
    keeper.news(Publish(health=frozenset({"n2"})))
    await eventually("the first is written", lambda: disk.writes)
    keeper.news(Publish(health=frozenset({"n2", "n9"})))
    await stopped(task)
    assert [(set(rows), gone) for rows, gone in disk.writes] == [({"n2"}, set()), ({"n2"}, {"n9"})]
