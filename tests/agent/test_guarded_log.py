"""The guard is ahead of the database, whatever is written and wherever it breaks off."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.applied_clock import AppliedClock
from agent.birth import Birth
from agent.guard import Guard, Keeper, read_guard, write_guard
from agent.guarded_log import GuardedLog
from store.base import Base, encode_base
from store.clocks import Dot
from store.errors import UnavailableError
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio


class Disk:
    """A database that notes what the guard said at the moment of each write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.guards: list[Guard | None] = []
        self.broken = False
        self.records = MemoryRecords()

    def _note(self) -> None:
        if self.broken:
            raise UnavailableError("full", code="disk-full")
        self.guards.append(read_guard(self.directory))

    async def commit_edits(self, batch: Iterable[Any]) -> int:
        self._note()
        return 5

    async def rebase(self, base: bytes, gone: Iterable[Dot], log: Iterable[bytes] | None = None) -> None:
        self._note()

    async def load_records(self, kind: str) -> dict[str, bytes]:
        return await self.records.load(kind)

    async def change_records(self, kind: str, put: dict[str, bytes], gone: Iterable[str] = ()) -> None:
        await self.records.change(kind, put, gone)

    async def put_meta(self, values: dict[str, bytes]) -> None:
        self._note()


class Bench:
    def __init__(self, directory: Path, actor: bytes) -> None:
        guard = Guard(Birth("n1", actor, "c1", "san"), epoch=1, least=1, ceiling=1)
        write_guard(directory, guard)
        self.disk, self.keeper = Disk(directory), Keeper(directory, guard)
        self.applied = AppliedClock(self.disk.records, self.keeper)
        self.log = GuardedLog(self.disk, self.keeper, self.applied)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path, scribe: Any) -> Bench:
    return Bench(tmp_path, scribe.actor("n1"))


async def test_own_edits_have_room_before_they_are_written(bench: Bench, scribe: Any) -> None:
    founding, actor = scribe.founding("n1"), scribe.actor("n1")
    second = scribe.registration("n1", scribe.member("n2"), {scribe.actor("n1"): 1})
    assert await bench.log.commit_edits([founding]) == 5
    assert bench.disk.guards[-1] == bench.keeper.guard and bench.keeper.guard.ceiling == 1, "there was room"
    await bench.log.commit_edits([second])
    [_, during] = bench.disk.guards
    assert during is not None and during.fits(1, {actor: 1}) and during.fits(1, {actor: 2}), "whether or not the commit will be done"


async def test_edits_of_others_and_of_sessions_cost_no_write(bench: Bench, scribe: Any) -> None:
    await bench.log.commit_edits([scribe.founding("n9")])
    assert bench.disk.guards == [bench.keeper.guard] and bench.keeper.guard.ceiling == 1


async def test_a_log_that_is_replaced_may_bring_own_edits_back(bench: Bench, scribe: Any) -> None:
    actor = scribe.actor("n1")
    base = encode_base(Base(clock={actor: 500}))
    await bench.log.rebase(base, ())
    assert bench.keeper.guard.ceiling == 1, "a collection moves no clock"
    await bench.log.rebase(base, (), (scribe.founding("n1").raw,))
    during = bench.disk.guards[-1]
    assert during is not None and during.fits(1, {actor: 1}) and during.fits(1, {actor: 500})


async def test_what_a_replaced_log_has_not_is_waited_for_by_nobody(bench: Bench, scribe: Any) -> None:
    mine, theirs = scribe.actor("n1"), scribe.actor("n2")
    applied = bench.applied
    await applied.reached({mine: 7, theirs: 3}, lambda: {mine: 7, theirs: 3})
    await bench.log.rebase(encode_base(Base(clock={mine: 4, theirs: 9})), ())
    assert await applied.read() == {mine: 7, theirs: 3}, "a collection loses nothing"
    await bench.log.rebase(encode_base(Base(clock={mine: 4, theirs: 9})), (), ())
    assert await applied.read() == {mine: 4, theirs: 3}
    during = bench.disk.guards[-1]
    assert during is not None and during.applied == {mine: 4, theirs: 3}, (
        "before the log is replaced: a crash must leave nothing to wait for"
    )


async def test_an_epoch_is_in_the_database_first(bench: Bench) -> None:
    await bench.log.set_epoch(7)
    during, after = bench.disk.guards[-1], read_guard(bench.disk.directory)
    assert during is not None and after is not None and (during.epoch, after.epoch) == (1, 7)
    bench.disk.broken = True
    with pytest.raises(UnavailableError):
        await bench.log.set_epoch(9)
    assert read_guard(bench.disk.directory) == after, "a guard that is ahead would mean an older database"
