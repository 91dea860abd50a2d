"""Who has a map open: counted twice before it is told, and named as seldom as may be."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from agent import openers as module
from agent.openers import LOOKS_BETWEEN, Openers
from apply.usage import HostUse, MapDevice

pytestmark = pytest.mark.anyio

ONE, TWO = "253:0", "253:1"


def use(*numbers: str, **explained: int) -> HostUse:
    devices = tuple(MapDevice(f"36{number}", number, "dm", "x", (), False) for number in numbers)
    return HostUse(devices, explained={number: explained.get(f"d{number[-1]}", 0) for number in numbers})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[str]]:
    """Of which devices the processes were gone through for; each has one opener."""
    calls: list[frozenset[str]] = []

    def openers(numbers: Collection[str], root: Path) -> Mapping[str, tuple[str, ...]]:
        calls.append(frozenset(numbers))
        return {number: ("kvm 100",) for number in numbers if number == ONE}

    monkeypatch.setattr(module, "openers", openers)
    return calls


async def test_an_opener_that_stays_is_named_at_the_second_look(asked: list[frozenset[str]]) -> None:
    openers, host = Openers(Path("/")), use(ONE, TWO)
    await openers.look(host, {ONE: 1, TWO: 1})
    assert openers.found == {} and openers.counted == frozenset() and asked == []
    await openers.look(host, {ONE: 1, TWO: 1, "253:77": 5})
    assert openers.found == {ONE: ("open:kvm 100",), TWO: ("open:process",)}
    assert openers.counted == {ONE, TWO} and asked == [{ONE, TWO}]
    await openers.look(host, {ONE: 0, TWO: 1})
    assert openers.found == {TWO: ("open:process",)}


async def test_a_device_that_was_just_opened_is_neither_used_nor_free(asked: list[frozenset[str]]) -> None:
    openers, host = Openers(Path("/")), use(ONE, TWO)
    for _ in range(2):
        await openers.look(host, {ONE: 0, TWO: 0})
    assert openers.counted == {ONE, TWO}
    await openers.look(host, {ONE: 1, TWO: 0})
    assert openers.found == {} and openers.counted == {TWO}, "a guest may have started, or somebody only looks at it"
    await openers.look(host, {ONE: 1, TWO: 0})
    assert openers.found == {ONE: ("open:kvm 100",)} and openers.counted == {ONE, TWO}
    await openers.look(host, {ONE: 2, TWO: 0})
    assert openers.found == {ONE: ("open:kvm 100",)} and openers.counted == {ONE, TWO}


async def test_what_is_explained_is_no_opener(asked: list[frozenset[str]]) -> None:
    openers, host = Openers(Path("/")), use(ONE, d0=2)
    for _ in range(3):
        await openers.look(host, {ONE: 2})
    assert openers.found == {} and openers.counted == {ONE} and asked == []


async def test_the_processes_are_gone_through_seldom(asked: list[frozenset[str]]) -> None:
    openers, host = Openers(Path("/")), use(ONE)
    for _ in range(LOOKS_BETWEEN + 1):
        await openers.look(host, {ONE: 1})
    assert len(asked) == 1
    await openers.look(host, {ONE: 1})
    assert len(asked) == 2, "another one may have taken its place"
    await openers.look(host, {ONE: 2})
    assert len(asked) == 3, "one more"


async def test_what_cannot_be_counted_is_not_known_and_hides_nothing(asked: list[frozenset[str]]) -> None:
    openers, host = Openers(Path("/")), use(ONE, TWO)
    for _ in range(2):
        await openers.look(host, {ONE: 1, TWO: 0})
    for counts in ({}, {TWO: 0}):
        await openers.look(host, counts)
        assert openers.found == {ONE: ("open:kvm 100",)} and openers.counted == frozenset()
    await openers.look(host, {ONE: 1, TWO: 0})
    assert openers.found == {ONE: ("open:kvm 100",)} and openers.counted == {TWO}
    await openers.look(host, {ONE: 0, TWO: 0})
    assert openers.found == {} and openers.counted == {ONE, TWO}
    await openers.look(use(TWO), {})
    assert openers.counted == frozenset()
