"""The live keys of one state, sorted, with the hash and count of any range of them at the cost of two searches."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import NamedTuple

import msgspec

from gossip.messages import REPAIR_FAN, KeyRange, ListedKey, ListedSibling, RangePart
from gossip.stability import clock_hash
from store.fold import Siblings
from store.limits import limit
from store.replica import Replica

_canonical = msgspec.msgpack.Encoder(order="deterministic")
_MODULUS = 2**256


def value_hash(value: object) -> bytes:
    """SHA-256 of a value in its one form (32 bytes)."""
    return hashlib.sha256(_canonical.encode(value)).digest()


DELETED = value_hash(None)
"""The hash of a deletion's value."""


class _Entry(NamedTuple):
    siblings: Siblings
    listed: tuple[ListedSibling, ...]
    hash: bytes


class KeyIndex:
    """One state. A deletion that stands alone is no live key: it may be collected here and not there.

    The hash of a range is a sum over its keys, so sums of all keys up to each place give it.
    """

    def __init__(self, replica: Replica, old: "KeyIndex | None" = None) -> None:
        """Keys whose siblings are still those of `old` cost no hashing."""
        fold = replica.fold
        self.clock = dict(fold.clock)
        self.clock_hash = clock_hash(fold.clock)
        self.state_hash = fold.state_hash
        self._entries: dict[str, _Entry] = {}
        for key in sorted(fold):
            siblings = fold.siblings(key)
            if len(siblings) > 1 or siblings[0].value is not None:
                known = old._entries.get(key) if old is not None else None
                self._entries[key] = known if known is not None and known.siblings is siblings else _entry(key, siblings)
        self.keys = list(self._entries)
        self._sums = [0]
        for entry in self._entries.values():
            self._sums.append(self._sums[-1] + int.from_bytes(entry.hash, "big"))

    def fits(self, replica: Replica) -> bool:
        """Whether the replica is still in this state."""
        return replica.fold.state_hash == self.state_hash and replica.fold.clock == self.clock

    def hash_of(self, key: str) -> bytes | None:
        """The hash of the key and its siblings; None if it is not live."""
        entry = self._entries.get(key)
        return entry.hash if entry is not None else None

    def within(self, low: str, high: str) -> list[str]:
        """The keys from `low` on and before `high`; an empty `high` is the end."""
        first, last = self._places(low, high)
        return self.keys[first:last]

    def between(self, low: str, high: str) -> KeyRange:
        """The range as it is here."""
        first, last = self._places(low, high)
        return KeyRange(low, high, last - first, ((self._sums[last] - self._sums[first]) % _MODULUS).to_bytes(32, "big"))

    def part(self, index: int, asked: KeyRange) -> RangePart:
        """The answer to one asked range."""
        if self.between(asked.low, asked.high) == asked:
            return RangePart(index, True)
        first, last = self._places(asked.low, asked.high)
        if last - first <= REPAIR_FAN:
            return RangePart(index, False, keys=tuple(map(self._listed, self.keys[first:last])))
        inner = [self.keys[first + place] for place in islice(shares(last - first), 1, REPAIR_FAN)]
        return RangePart(index, False, tuple(self.between(*ends) for ends in pairwise((asked.low, *inner, asked.high))))

    def _places(self, low: str, high: str) -> tuple[int, int]:
        first = bisect_left(self.keys, low)
        return first, max(first, bisect_left(self.keys, high) if high else len(self.keys))

    def _listed(self, key: str) -> ListedKey:
        entry = self._entries[key]
        most = limit("repair_siblings")
        return ListedKey(key, entry.hash, entry.listed[:most], len(entry.listed) > most)


def _entry(key: str, siblings: Siblings) -> _Entry:
    listed = tuple(ListedSibling(s.dot.actor, s.dot.counter, value_hash(s.value)) for s in siblings)
    return _Entry(siblings, listed, value_hash((key, listed)))


def shares(count: int) -> Iterator[int]:
    """Where each of the parts of `count` keys begins, and where the last one ends."""
    return (count * part // REPAIR_FAN for part in range(REPAIR_FAN + 1))
