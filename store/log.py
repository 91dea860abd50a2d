"""The kept edits, in the order in which they were committed, found by dot."""

import heapq
from bisect import bisect_right
from collections.abc import Collection, Iterator
from itertools import chain
from operator import attrgetter
from sys import intern
from typing import NamedTuple

from store.clocks import Actor, Dot, Vector
from store.edits import SignedEdit, decode_edit


class Entry(NamedTuple):
    """One kept edit: its place in the order, its bytes, and the keys that it took part in deciding (none if it was void)."""

    position: int
    dot: Dot
    raw: bytes
    keys: tuple[str, ...]


_position = attrgetter("position")


def _counter(entry: Entry) -> int:
    return entry.dot.counter


class EditLog:
    """The edits of each actor by counter, perhaps with gaps where some were collected. Log order is a causal order."""

    __slots__ = ("_lanes", "_next", "count", "size")

    def __init__(self) -> None:
        self._lanes: dict[Actor, list[Entry]] = {}
        self._next = 0
        self.count = 0
        self.size = 0
        """The bytes of all edits."""

    def copy(self) -> "EditLog":
        """Another log with the same edits."""
        copy = EditLog()
        copy._lanes = {actor: list(lane) for actor, lane in self._lanes.items()}
        copy._next, copy.count, copy.size = self._next, self.count, self.size
        return copy

    def append(self, signed: SignedEdit, *, void: bool) -> None:
        """Add an edit at the end; ValueError if it does not come after all that is here of its actor."""
        dot = signed.dot
        lane = self._lanes.setdefault(dot.actor, [])
        if lane and lane[-1].dot.counter >= dot.counter:
            raise ValueError(f"edit {dot} does not follow its author's last one")
        lane.append(Entry(self._next, dot, signed.raw, () if void else tuple(map(intern, signed.edit.changes))))
        self._next += 1
        self.count += 1
        self.size += len(signed.raw)

    def remove(self, dots: Collection[Dot]) -> None:
        """Take edits out; those that are not here are passed over."""
        gone = frozenset(dots)
        for actor in sorted({dot.actor for dot in gone} & self._lanes.keys()):
            kept = [entry for entry in self._lanes[actor] if entry.dot not in gone]
            self.count -= len(self._lanes[actor]) - len(kept)
            self.size -= sum(len(entry.raw) for entry in self._lanes[actor]) - sum(len(entry.raw) for entry in kept)
            if kept:
                self._lanes[actor] = kept
            else:
                del self._lanes[actor]

    def entry(self, dot: Dot) -> Entry | None:
        """One kept edit; None if it is not here."""
        lane = self._lanes.get(dot.actor, [])
        place = bisect_right(lane, dot.counter, key=_counter) - 1
        return lane[place] if place >= 0 and lane[place].dot == dot else None

    def __iter__(self) -> Iterator[Entry]:
        """All edits, actor by actor."""
        return chain.from_iterable(self._lanes.values())

    def edits(self) -> Iterator[SignedEdit]:
        """All edits, read anew, in the order of the log."""
        return (decode_edit(entry.raw) for entry in sorted(self, key=_position))

    def raws(self) -> Iterator[bytes]:
        """The bytes of all edits, in the order of the log."""
        return (entry.raw for entry in sorted(self, key=_position))

    def after(self, vector: Vector) -> Iterator[Entry]:
        """The edits that the vector does not cover, in the order of the log. Costs a look at each actor, and what is taken."""
        lanes = [lane for actor, lane in self._lanes.items() if lane[-1].dot.counter > vector.get(actor, 0)]
        return heapq.merge(*(_above(lane, vector.get(lane[0].dot.actor, 0)) for lane in lanes))


def _above(lane: list[Entry], counter: int) -> Iterator[Entry]:
    for place in range(bisect_right(lane, counter, key=_counter), len(lane)):
        yield lane[place]
