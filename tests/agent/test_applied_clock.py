"""The clock of what this host last had in effect: kept twice, the greater one counts, and only what is lost for good lowers it."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.applied_clock import AppliedClock
from agent.birth import Birth
from agent.guard import Guard, Keeper, read_guard
from store.clocks import Vector, dominates, join, meet
from store.errors import UnavailableError
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio
A, B = b"a" * 16, b"b" * 16


class Bench:
    """A node that is started again and again, its database put back now and then."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.records = directory, MemoryRecords()
        self.start()

    def start(self) -> None:
        self.keeper = Keeper(self.directory, read_guard(self.directory) or Guard(Birth("n1", A, "c1", "san")))
        self.clock = AppliedClock(self.records, self.keeper)

    async def reached(self, clock: Vector) -> None:
        await self.clock.reached(clock, lambda: clock)

    async def replaced(self, clock: Vector) -> None:
        async with self.clock.replaced(clock):
            pass

    async def give_up(self, clock: Vector) -> None:
        await self.clock.give_up(clock)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_nothing_was_ever_in_effect(bench: Bench) -> None:
    assert await bench.clock.read() == {}


async def test_it_outlives_a_database_that_is_put_back(bench: Bench) -> None:
    await bench.reached({A: 2})
    older = dict(await bench.records.load("applied"))
    await bench.reached({A: 3, B: 1})
    await bench.records.change("applied", older)
    bench.start()
    assert await bench.clock.read() == {A: 3, B: 1}
    await bench.reached({A: 2})
    assert await bench.clock.read() == {A: 3, B: 1}, "what is put in effect by one that knows less hides nothing"


async def test_it_outlives_a_guard_file_that_is_lost(bench: Bench) -> None:
    await bench.reached({A: 3})
    (bench.directory / "guard").unlink()
    bench.start()
    assert await bench.clock.read() == {A: 3}


@pytest.mark.parametrize("how", ["replaced", "give_up"])
async def test_it_is_lowered_in_both_places(bench: Bench, how: str) -> None:
    await bench.reached({A: 3, B: 2})
    await getattr(bench, how)({A: 1})
    assert await bench.clock.read() == {A: 1}
    guard = read_guard(bench.directory)
    assert guard is not None and guard.applied == {A: 1}


async def test_what_the_database_never_had_is_not_lost_with_its_log(bench: Bench) -> None:
    """A database that was put back, or is new, takes a snapshot: what that lacks was in neither, and may come from somebody else."""
    await bench.reached({A: 2})
    older = dict(await bench.records.load("applied"))
    await bench.reached({A: 2, B: 4})
    await bench.records.change("applied", older)
    bench.start()
    await bench.replaced({A: 1, B: 3})
    assert await bench.clock.read() == {A: 1, B: 4}
    await bench.clock.give_up({A: 1, B: 3})
    assert await bench.clock.read() == {A: 1, B: 3}


async def test_an_apply_during_which_the_log_was_replaced_notes_nothing_that_is_lost(bench: Bench) -> None:
    """It waits for the replacement, for until then the log seems to have all of it."""
    await bench.reached({A: 2})
    known = {A: 3}
    async with bench.clock.replaced({A: 1, B: 5}):
        noting = asyncio.create_task(bench.clock.reached({A: 3}, lambda: known))
        await asyncio.sleep(0)
        known = {A: 1, B: 5}
    await noting
    assert await bench.clock.read() == {A: 1}
    await bench.clock.reached({A: 1, B: 5}, lambda: known)
    assert await bench.clock.read() == {A: 1, B: 5}


async def test_without_the_guard_nothing_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.reached({A: 1})

    def full(*_: Any) -> None:
        raise UnavailableError("full", code="guard-not-written")

    with monkeypatch.context() as broken:
        broken.setattr("agent.guard.write_guard", full)
        with pytest.raises(UnavailableError):
            await bench.reached({A: 2})
    assert await bench.clock.read() == {A: 1}
    assert msgspec.msgpack.decode((await bench.records.load("applied"))["clock"]) == {A: 1}


clocks = st.dictionaries(st.sampled_from([A, B, b"c" * 16]), st.integers(1, 5))


@settings(deadline=None)  # it waits for the disk
@given(st.lists(st.tuples(st.booleans(), clocks), max_size=6))
async def test_it_has_all_that_was_reached_and_not_lowered(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, dict[bytes, int]]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("node"))
    expected: dict[bytes, int] = {}
    for grows, clock in steps:
        expected = join(expected, clock) if grows else meet(expected, clock)
        await (bench.reached if grows else bench.replaced)(clock)
        bench.start()
        assert await bench.clock.read() == expected
        if not grows:
            assert dominates(clock, await bench.clock.read())
