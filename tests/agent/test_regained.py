"""Asking for what was learned: once, after it was lost, and for a while."""

from collections.abc import Mapping

import pytest

from agent.regained import ASKING_SECONDS, RegainedPaths
from store.errors import UnavailableError
from store.records import MemoryRecords

pytestmark = pytest.mark.anyio

Paths = Mapping[str, tuple[str, ...]]


class Node:
    def __init__(self, records: MemoryRecords | None = None) -> None:
        self.records = records or MemoryRecords()
        self.now = 0.0
        self.adopted: list[Paths] = []
        self.offers: Paths = {}
        self.regained = RegainedPaths(self.records, self._adopt, lambda: self.now)

    async def _adopt(self, known: Paths) -> None:
        self.adopted.append(known)

    async def step(self, *, lost: bool = False, alone: bool = False, heard: bool = True) -> bool:
        await self.regained.step(lost=lost, alone=alone, heard=heard, offers=lambda: self.offers)
        return self.regained.asking


async def test_a_new_database_asks_until_it_was_answered_and_for_a_while() -> None:
    node = Node()
    assert await node.step(heard=False), "it asks from the first word on"
    node.now += 1000
    assert await node.step(heard=False) and await node.step()
    node.offers = {"361": ("a", "b")}
    for _ in range(3):
        assert await node.step()
    assert node.adopted == [{"361": ("a", "b")}], "the same answer is taken once"
    node.offers = {"361": ("a", "b", "c")}
    assert await node.step()
    node.now += ASKING_SECONDS
    assert not await node.step()
    assert len(node.adopted) == 2
    node.offers = {"361": ("d",)}
    assert not await node.step() and len(node.adopted) == 2


async def test_it_never_asks_again() -> None:
    node = Node()
    await node.step()
    node.now += ASKING_SECONDS
    await node.step()
    again = Node(node.records)
    again.offers = {"361": ("a",)}
    assert not await again.step() and again.adopted == []


async def test_an_older_database_asks_whatever_it_says() -> None:
    node = Node()
    await node.step(alone=True)
    again = Node(node.records)
    again.offers = {"361": ("a",)}
    assert await again.step(lost=True) and again.adopted == [{"361": ("a",)}]


async def test_who_is_alone_asks_nobody() -> None:
    node = Node()
    node.offers = {"361": ("a",)}
    assert not await node.step(alone=True) and node.adopted == []
    assert not await Node(node.records).step()


async def test_a_broken_database_is_asked_again() -> None:
    class Broken(MemoryRecords):
        broken = True

        async def load(self, kind: str) -> dict[str, bytes]:
            if self.broken:
                raise UnavailableError("locked", code="database-locked")
            return await super().load(kind)

    records = Broken()
    node = Node(records)
    with pytest.raises(UnavailableError):
        await node.step()
    records.broken = False
    assert await node.step()
