"""From edits to one configuration: sibling sets, winners and conflicts.

Theory of operation. For each key a node holds the set of *siblings*: values that no edit it knows has replaced. Applying an edit to
a key removes the siblings that the edit has seen (their dots lie in its context) and adds its own. Edits arrive in causal order, so an
edit always finds what it replaces; edits that have not seen each other leave each other's siblings alone, in whichever order they
come. That makes the result a function of the *set* of edits. Two or more siblings with different values are a conflict; the greatest
`(lamport, actor)` wins everywhere until somebody resolves it. A deletion is a sibling with no value, so deleting against changing is a
conflict like any other. A deletion that stands alone may be forgotten once every edit that has not seen it is here: whatever comes later
has seen it and would replace it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from store.clocks import Actor, Dot, Vector, covers
from store.document import Options
from store.edits import CHANGE, Edit


class Sibling(NamedTuple):
    """One live value of a key, or its deletion (`value` None), with what people want to know about its making."""

    dot: Dot
    lamport: int
    author: str
    wall: float
    reason: str
    value: Options | None

    @property
    def rank(self) -> tuple[int, bytes]:
        """What decides the winner: causally later edits always have the greater lamport number."""
        return (self.lamport, self.dot.actor)


Siblings = tuple[Sibling, ...]


def sibling(edit: Edit, key: str) -> Sibling:
    """What the edit makes of a key that it changes."""
    return Sibling(edit.dot, edit.lamport, edit.author, edit.wall, edit.reason, edit.changes[key])


_HASH_MODULUS = 2**256
_canonical = msgspec.msgpack.Encoder(order="deterministic")


def _weight(key: str, sibling: Sibling) -> int:
    value = hashlib.sha256(_canonical.encode(sibling.value)).digest()
    return int.from_bytes(hashlib.sha256(_canonical.encode((key, sibling.dot, value))).digest(), "big")


def _live(siblings: Siblings) -> bool:
    return len(siblings) > 1 or any(s.value is not None for s in siblings)


def _key_weight(key: str, siblings: Siblings) -> int:
    return sum(_weight(key, s) for s in siblings) if _live(siblings) else 0


def distinct_values(siblings: Iterable[Sibling]) -> int:
    """How many different values (deletion included) the siblings hold; above one is a conflict."""
    found = tuple(siblings)
    return len({_canonical.encode(s.value) for s in found}) if len(found) > 1 else len(found)


class Fold:
    """The sibling sets of all keys, and the clock of the edits that made them.

    Invariants: the clock has no holes; every sibling's dot is covered by the clock; siblings of a key are sorted by dot; a key without
    siblings is not in the map.
    """

    __slots__ = ("_conflicts", "_hash", "_siblings", "_weights", "clock", "lamport")

    def __init__(self, clock: Vector | None = None, siblings: Mapping[str, Siblings] | None = None, lamport: int = 0) -> None:
        self.clock: dict[Actor, int] = dict(clock or {})
        self.lamport = lamport
        self._siblings: dict[str, Siblings] = dict(siblings or {})
        self._weights = {key: _key_weight(key, found) for key, found in self._siblings.items()}
        """What each key adds to the hash."""
        self._hash = sum(self._weights.values()) % _HASH_MODULUS
        self._conflicts: set[str] = {key for key, found in self._siblings.items() if distinct_values(found) > 1}

    def deliverable(self, edit: Edit) -> bool:
        """Whether all that the edit depends on has been applied."""
        return all(self.clock.get(actor, 0) >= counter for actor, counter in edit.context.items())

    def apply(self, edit: Edit, *, void: bool = False) -> tuple[str, ...]:
        """Take one deliverable edit; returns the keys whose siblings changed (none for an edit that was seen before).

        A void edit (its author had no right to it, or its kind is none that is known) moves the clock and changes nothing else.
        """
        dot = edit.dot
        if covers(self.clock, dot):
            return ()
        if not self.deliverable(edit):
            raise ValueError(f"edit {dot} came before what it depends on")
        self.clock[dot.actor] = dot.counter
        self.lamport = max(self.lamport, edit.lamport)
        if void:
            return ()
        for key in edit.changes:
            kept = [s for s in self._siblings.get(key, ()) if not replaces(edit, key, s.dot)]
            kept.append(sibling(edit, key))
            kept.sort(key=lambda s: s.dot)
            self._siblings[key] = found = tuple(kept)
            weight = _key_weight(key, found)
            self._hash = (self._hash - self._weights.get(key, 0) + weight) % _HASH_MODULUS
            self._weights[key] = weight
            if distinct_values(kept) > 1:
                self._conflicts.add(key)
            else:
                self._conflicts.discard(key)
        return tuple(edit.changes)

    def forget(self, key: str) -> None:
        """Drop a deletion that stands alone; ValueError for anything else. The state hash stays as it is."""
        found = self._siblings.get(key, ())
        if _live(found) or not found:
            raise ValueError(f"{key}: not a deletion that stands alone")
        del self._siblings[key], self._weights[key]

    def copy(self) -> "Fold":
        """Another fold in the same state."""
        copy = Fold.__new__(Fold)
        copy.clock, copy.lamport = dict(self.clock), self.lamport
        copy._siblings, copy._weights = dict(self._siblings), dict(self._weights)
        copy._hash, copy._conflicts = self._hash, set(self._conflicts)
        return copy

    @property
    def state_hash(self) -> bytes:
        """A hash of the live siblings (32 bytes): equal clocks must give equal hashes.

        A sum over `(key, dot, SHA-256 of the value)`, so that it moves at the cost of what changed. A deletion that stands alone counts as
        nothing, so forgetting it changes no hash.
        """
        return self._hash.to_bytes(32, "big")

    def __iter__(self) -> Iterator[str]:
        """Every key that has siblings, deleted ones included."""
        return iter(self._siblings)

    def siblings(self, key: str) -> Siblings:
        """The live siblings of the key, sorted by dot; empty if it was never written."""
        return self._siblings.get(key, ())

    def winner(self, key: str) -> Sibling | None:
        """The sibling that every node applies; None if the key was never written."""
        return max(self._siblings.get(key, ()), key=lambda s: s.rank, default=None)

    def value(self, key: str) -> Options | None:
        """The winner's value; None if there is none or it is a deletion."""
        found = self.winner(key)
        return found.value if found else None

    @property
    def conflicts(self) -> list[str]:
        """The keys with more than one distinct sibling value, sorted."""
        return sorted(self._conflicts)

    def in_conflict(self, key: str) -> bool:
        """Whether the key has more than one distinct sibling value."""
        return key in self._conflicts


def replaces(edit: Edit, key: str, dot: Dot) -> bool:
    """Whether the edit removes this sibling of a key that it changes: it has seen it and, if it lists siblings of the key, also names it.

    A name of something that it cannot have seen counts for nothing: what it did would depend on which of the two came first.
    """
    if not covers(edit.context, dot):
        return False
    return edit.kind == CHANGE or key not in edit.covers or (dot.actor, dot.counter) in edit.covers[key]
