"""What a configuration key was before an edit, worked out from the edits that are still known.

Theory of operation. The value before an edit is what its causal past led to: the winner among the siblings that the edits in its context
leave. Once all members have an edit whose values are gone, it may be forgotten, so parts of that past can be missing here. Two rules say
when nothing that is missing can have mattered:

1. What is missing of the past was seen by a known edit of the past that replaced the key's every sibling. So its value was gone by then.
2. The past holds all that may be forgotten (the *floor*), and no edit outside the past, the edit itself included, touched the key between
   the floor and the *base* clock. Then what lived at the floor and still mattered to the edit lives at the base too, which names it.

Where neither holds the value is unknown; nothing is guessed.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from store.clocks import Actor, Dot, Vector, covers, dominates, join
from store.document import Options
from store.edits import CHANGE, Edit
from store.fold import Sibling, replaces, sibling


class Before(NamedTuple):
    """What a key was before an edit: `value` is None if it did not exist; without `known` nobody can tell any more."""

    known: bool
    value: Options | None = None


class Base(NamedTuple):
    """The state that the forgotten edits left: each key's siblings at `clock`. All edits above `floor` are known; others may be gone."""

    clock: Vector
    floor: Vector
    siblings: Mapping[str, tuple[Dot, ...]]


class Runs:
    """Which dots are known, as runs of an actor's counters."""

    def __init__(self, dots: Iterable[Dot]) -> None:
        counters: dict[Actor, list[int]] = {}
        for actor, counter in dots:
            counters.setdefault(actor, []).append(counter)
        self._runs = {actor: _runs(sorted(found)) for actor, found in counters.items()}

    def missing(self, actor: Actor, up_to: int) -> int:
        """The greatest counter of the actor, not above `up_to`, that is not known; 0 if none is missing."""
        starts, ends = self._runs.get(actor, ((), ()))
        at = bisect_right(starts, up_to) - 1
        return up_to if at < 0 or ends[at] < up_to else starts[at] - 1


def _runs(counters: Sequence[int]) -> tuple[list[int], list[int]]:
    starts: list[int] = []
    ends: list[int] = []
    for counter in counters:
        if ends and counter <= ends[-1] + 1:
            ends[-1] = counter
        else:
            starts.append(counter)
            ends.append(counter)
    return starts, ends


class Past:
    """The known edits that touch some keys. `edits` must hold all known ones of those keys that took effect, and no others."""

    def __init__(self, edits: Iterable[Edit], known: Runs, base: Base | None = None) -> None:
        self._known = known
        self._base = base
        self._touching: dict[str, list[Edit]] = {}
        for edit in sorted(edits, key=rank):
            for key in edit.changes:
                self._touching.setdefault(key, []).append(edit)

    def touching(self, key: str) -> Sequence[Edit]:
        """The known edits of the key, oldest first."""
        return self._touching.get(key, ())

    def before(self, edit: Edit, key: str) -> Before:
        """What the key was when the edit was made."""
        return self.at(edit.context, key)

    def at(self, clock: Vector, key: str) -> Before:
        """What the key was in the state of a clock: an edit's context, or what several contexts have in common."""
        touching = self.touching(key)
        seen = [e for e in touching if covers(clock, e.dot)]
        relevant, covered = _relevant(seen, key)
        if any(self._known.missing(actor, counter) > covered.get(actor, 0) for actor, counter in clock.items()):
            base = self._base
            if base is None or not dominates(clock, base.floor):
                return Before(False)
            if any(_between(base, e) and not covers(clock, e.dot) for e in touching):
                return Before(False)  # the edit of this context too: what it replaced may have been forgotten since
            alive = {dot for dot in base.siblings.get(key, ()) if covers(base.floor, dot)}
            if not alive <= {e.dot for e in touching}:
                return Before(False)
            relevant = [e for e in relevant if e.dot in alive or not covers(base.floor, e.dot)]
        winner = max(_fold(relevant, key), key=lambda s: s.rank, default=None)
        return Before(True, winner.value if winner else None)

    def later(self, edit: Edit, key: str) -> Edit | None:
        """The newest known edit of the key that the edit had not seen; None if there is none."""
        unseen = (e for e in reversed(self.touching(key)) if e.dot != edit.dot and not covers(edit.context, e.dot))
        return next(unseen, None)

    def complete_since(self, edit: Edit, clock: Vector) -> bool:
        """Whether every edit up to `clock` that the edit had not seen is known."""
        seen = join(edit.context, {edit.actor: edit.counter})
        return all(self._known.missing(actor, counter) <= seen.get(actor, 0) for actor, counter in clock.items())


def rank(edit: Edit) -> tuple[int, bytes, int]:
    """The order in which edits are listed: the same on every node, and causally later edits come later."""
    return (edit.lamport, edit.actor, edit.counter)


def _between(base: Base, edit: Edit) -> bool:
    """Whether the edit lies above the floor and is part of the base."""
    return covers(base.clock, edit.dot) and not covers(base.floor, edit.dot)


def _relevant(seen: Sequence[Edit], key: str) -> tuple[list[Edit], Vector]:
    """Those edits, oldest first, whose effect on the key no later one of them undid, and what those that replace all have seen."""
    relevant: list[Edit] = []
    covered: Vector = {}
    for edit in reversed(seen):
        if not covers(covered, edit.dot):
            relevant.append(edit)
            if edit.kind == CHANGE or key not in edit.covers:
                covered = join(covered, edit.context)
    return relevant[::-1], covered


def _fold(edits: Iterable[Edit], key: str) -> list[Sibling]:
    """The siblings of the key that these edits leave, by the rules of the fold itself."""
    siblings: list[Sibling] = []
    for edit in edits:
        siblings = [s for s in siblings if not replaces(edit, key, s.dot)]
        siblings.append(sibling(edit, key))
    return siblings
