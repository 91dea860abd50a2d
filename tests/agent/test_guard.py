"""The guard file: written whole or not at all, always ahead of the database, and what it can tell of one."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import guard as module
from agent.birth import Birth
from agent.guard import BLOCK, Guard, GuardDamaged, Keeper, decode_guard, encode_guard, read_guard, write_guard
from store.errors import UnavailableError
from store.members import Member, MemberState, Role

ACTOR, OTHER = b"a" * 16, b"b" * 16
BIRTH = Birth("n1", ACTOR, "c1", "san")


def member(name: str) -> Member:
    return Member(name, name.encode().ljust(16, b"."), "k" * 40, b"s" * 32, f"tcp://{name}:7946", Role.ADMIN, MemberState.JOINED)


guards = st.builds(
    Guard,
    st.just(BIRTH),
    epoch=st.integers(0, 2**40),
    least=st.integers(0, 2**40),
    ceiling=st.integers(0, 2**40),
    members=st.lists(st.sampled_from([member(f"n{n}") for n in range(5)]), unique=True).map(tuple),
    restored=st.booleans(),
    applied=st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(1, 2**40), max_size=3),
)


@given(guards)
def test_what_is_written_is_read(guard: Guard) -> None:
    assert decode_guard(encode_guard(guard)) == guard


@given(guards, st.data())
def test_a_damaged_file_is_told_from_a_good_one(guard: Guard, data: Any) -> None:
    good = encode_guard(guard)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(GuardDamaged):
        assert decode_guard(bytes(bad)) != guard
    with pytest.raises(GuardDamaged):
        decode_guard(good[:place])


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(GuardDamaged):
        decode_guard(data)


def test_the_file_is_for_nobody_else_and_replaced_whole(tmp_path: Path) -> None:
    assert read_guard(tmp_path) is None
    for epoch in (1, 2):
        write_guard(tmp_path, Guard(BIRTH, epoch=epoch))
        assert read_guard(tmp_path) == Guard(BIRTH, epoch=epoch)
    assert [path.name for path in tmp_path.iterdir()] == ["guard"]
    assert (tmp_path / "guard").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_guard(tmp_path, Guard(BIRTH, epoch=1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(UnavailableError, match="No space left") as caught:
            write_guard(tmp_path, Guard(BIRTH, epoch=2))
    assert caught.value.code == "guard-not-written" and str(tmp_path / "guard") in caught.value.message
    assert read_guard(tmp_path) == Guard(BIRTH, epoch=1)
    write_guard(tmp_path, Guard(BIRTH, epoch=3))
    assert [path.name for path in tmp_path.iterdir()] == ["guard"], "what the failed write left is gone"


def test_a_file_that_cannot_be_read_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    with pytest.raises(UnavailableError) as caught:
        read_guard(tmp_path)
    assert caught.value.code == "guard-unreadable"


@pytest.mark.parametrize(
    ("epoch", "counter", "fits"),
    [(5, 10, True), (6, 20, True), (5, 20, True), (4, 15, False), (5, 9, False), (5, 21, False)],
)
def test_what_the_guard_says_of_a_database(epoch: int, counter: int, fits: bool) -> None:
    guard = Guard(BIRTH, epoch=5, least=10, ceiling=20)
    assert guard.fits(epoch, {ACTOR: counter}) is fits
    seen = msgspec.structs.replace(guard, applied={ACTOR: 8, OTHER: 3})
    assert seen.fits(epoch, {ACTOR: counter, OTHER: 3}) is fits
    assert not seen.fits(epoch, {ACTOR: counter, OTHER: 2}) and not seen.fits(epoch, {ACTOR: counter})
    known = msgspec.structs.replace(seen, restored=True)
    assert known.fits(epoch, {ACTOR: counter}) is fits, "that it lacks something is no news"


def test_a_file_without_the_clock_of_the_last_apply_reads_as_well() -> None:
    """It was not always in there."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(Guard(BIRTH, epoch=5)))
    del fields["applied"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=Guard) == Guard(BIRTH, epoch=5)


def test_others_are_all_but_this_node() -> None:
    assert [m.name for m in Guard(BIRTH, members=(member("n1"), member("n2"))).others] == ["n2"]


class Watched:
    """A keeper whose writes are counted."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
        self.writes: list[Guard] = []
        self.broken = False
        write_guard(directory, guard)

        def write(state_dir: Path, guard: Guard) -> None:
            if self.broken:
                raise UnavailableError("full", code="guard-not-written")
            write_guard(state_dir, guard)
            self.writes.append(guard)

        monkeypatch.setattr(module, "write_guard", write)
        self.directory, self.keeper = directory, Keeper(directory, guard)


@pytest.mark.anyio
async def test_room_for_edits_is_made_in_blocks_and_before_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, monkeypatch, Guard(BIRTH, epoch=3, least=1, ceiling=1))
    for counter in range(2, 3 * BLOCK + 2):
        await watched.keeper.reserve(counter, durable=counter - 1)
        kept = read_guard(tmp_path)
        assert kept is not None and kept.fits(3, {ACTOR: counter}) and kept.fits(3, {ACTOR: counter - 1}), (
            "whether or not its commit is done"
        )
    assert len(watched.writes) == 3
    await watched.keeper.close(3 * BLOCK + 1)
    assert watched.writes[-1] == Guard(BIRTH, epoch=3, least=3 * BLOCK + 1, ceiling=3 * BLOCK + 1), "exact at a clean stop"


@pytest.mark.anyio
async def test_without_room_nothing_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, monkeypatch, Guard(BIRTH, least=1, ceiling=1))
    watched.broken = True
    with pytest.raises(UnavailableError):
        await watched.keeper.reserve(2, durable=1)
    assert watched.keeper.guard.ceiling == 1
    watched.broken = False
    await watched.keeper.reserve(2, durable=1)
    assert read_guard(tmp_path) == watched.keeper.guard
    watched.broken = True
    await watched.keeper.close(2)


@pytest.mark.anyio
async def test_members_are_followed_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, monkeypatch, Guard(BIRTH, members=(member("n1"),)))
    watched.keeper.follow([member("n1")])
    watched.keeper.follow([])
    for count in range(2, 6):
        watched.keeper.follow([member(f"n{n + 1}") for n in range(count)])
    await watched.keeper.reserve(5, durable=0)
    await watched.keeper.close(0)
    kept = read_guard(tmp_path)
    assert kept is not None and [m.name for m in kept.members] == ["n1", "n2", "n3", "n4", "n5"]
    assert len(watched.writes) <= 4, "what came meanwhile is one write"


@pytest.mark.anyio
async def test_the_clock_of_the_last_apply_only_grows_until_it_is_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, monkeypatch, Guard(BIRTH))

    def kept() -> dict[bytes, int]:
        found = read_guard(tmp_path)
        assert found is not None and found == watched.keeper.guard
        return found.applied

    await watched.keeper.applied({ACTOR: 2, OTHER: 1})
    await watched.keeper.applied({ACTOR: 1, OTHER: 1})
    assert kept() == {ACTOR: 2, OTHER: 1} and len(watched.writes) == 1, "who knows less changes nothing"
    await asyncio.gather(watched.keeper.applied({ACTOR: 3}), watched.keeper.applied({OTHER: 5}), watched.keeper.reserve(7))
    assert kept() == {ACTOR: 3, OTHER: 5} and watched.keeper.guard.ceiling >= 7
    watched.broken = True
    with pytest.raises(UnavailableError):
        await watched.keeper.applied({ACTOR: 4})
    watched.broken = False
    assert kept() == {ACTOR: 3, OTHER: 5}
    await watched.keeper.lower({ACTOR: 9, OTHER: 6})
    assert kept() == {ACTOR: 3, OTHER: 5}
    await watched.keeper.lower({ACTOR: 1})
    assert kept() == {ACTOR: 1}
    await watched.keeper.close(7)
    assert kept() == {ACTOR: 1}


@pytest.mark.anyio
async def test_a_restored_node_waits_for_members_that_only_it_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever let them in may be gone. They may have what was in effect here; somebody has to say that they do not exist any more."""
    before = Guard(BIRTH, members=(member("n2"), member("n3")), restored=True, applied={ACTOR: 5, OTHER: 4})
    watched = Watched(tmp_path, monkeypatch, before)
    watched.keeper.settled({ACTOR: 5}, lambda actor: actor == member("n2").actor)
    watched.keeper.follow([member("n2")])
    await watched.keeper.reserve(0)
    assert not watched.writes and watched.keeper._writing is None
    await watched.keeper.give_up({ACTOR: 5})
    assert watched.writes == [msgspec.structs.replace(before, restored=False, least=5, ceiling=5, applied={ACTOR: 5})]
    await watched.keeper.give_up({ACTOR: 5})
    assert len(watched.writes) == 1, "there is nothing to give up"
    await watched.keeper.close(5)


def known(_: bytes) -> bool:
    return True


@pytest.mark.anyio
async def test_a_restored_node_is_so_until_it_has_caught_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path, monkeypatch, Guard(BIRTH, least=3, ceiling=90, restored=True, applied={ACTOR: 20, OTHER: 4}))
    watched.keeper.settled({ACTOR: 8, OTHER: 5}, known)
    while not watched.writes:
        await asyncio.sleep(0.001)
    watched.keeper.settled({ACTOR: 9}, known)
    assert watched.writes == [Guard(BIRTH, least=8, ceiling=90, applied={ACTOR: 8, OTHER: 4})], "what nobody has is waited for no more"
    await watched.keeper.set_epoch(12)
    assert read_guard(tmp_path) == msgspec.structs.replace(watched.writes[0], epoch=12)
    await asyncio.gather(*(watched.keeper.reserve(90 + n, durable=8) for n in range(40)))
    assert len(watched.writes) == 3, "those at the same time need one write"
    await watched.keeper.close(100)
