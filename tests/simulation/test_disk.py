"""The simulated disk: what its guard notices, and what a copy of it keeps."""

from scripts.simulation import forge
from scripts.simulation.disk import UNSYNCED, Disk, Guard
from store.clocks import Dot

DOTS = [Dot(forge.actor("a"), n) for n in (1, 2, 3)]


def test_the_guard_notices_an_older_database() -> None:
    guard, clock = Guard(epoch=3, least=5, ceiling=8, applied={b"a": 2}), {b"a": 2, b"b": 1}
    assert guard.fits(3, 5, clock) and guard.fits(4, 8, clock)
    assert not guard.fits(2, 5, clock) and not guard.fits(3, 4, clock) and not guard.fits(3, 9, clock)
    assert not guard.fits(3, 5, {b"a": 1, b"b": 1}), "it lacks what was in effect"
    guard.lower({b"a": 1, b"b": 1})
    assert guard.fits(3, 5, {b"a": 1}) and guard.copy() == guard
    guard.applied = {b"a": 1, b"b": 4}
    guard.lower({}, had={b"a": 1, b"b": 3})
    assert guard.applied == {b"b": 4}, "what the database never had is not lost with its log"
    guard.restored = True
    guard.settle({b"b": 2}, 9)
    assert guard == Guard(epoch=3, least=9, ceiling=9, applied={b"b": 2})


def test_a_copy_does_not_follow_the_original() -> None:
    disk = Disk()
    disk.append({DOTS[0]: b"1"}, 0b1)
    copy = disk.copy()
    disk.append({DOTS[1]: b"2"}, 0b10)
    assert (copy.rows, copy.known) == ([b"1"], 0b1) and (disk.rows, disk.known) == ([b"1", b"2"], 0b11)


def test_a_rebase_takes_rows_out_or_replaces_them_all() -> None:
    disk = Disk()
    disk.append({dot: bytes([n]) for n, dot in enumerate(DOTS)}, 0b111)
    disk.rebase(b"base", (DOTS[1],), None)
    assert disk.rows == [b"\0", b"\2"] and disk.base == b"base"
    disk.rebase(b"other", (), {DOTS[2]: b"x"})
    assert disk.rows == [b"x"] and list(disk.dots) == [DOTS[2]]


def test_only_the_last_health_rows_can_be_lost() -> None:
    disk = Disk()
    for n in range(10):
        disk.save_health({"n": bytes([n])})
    assert len(disk.health) == UNSYNCED and disk.health[-1] == {"n": b"\x09"}
