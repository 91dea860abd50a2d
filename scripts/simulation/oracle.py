"""What must be true of the configuration, from who had seen what: kept apart from the product's clocks and fold.

Theory of operation. Every edit gets a number when it is first seen, and its *past* is written down as a set of such numbers: what its
author's node had made durable when its user made it. Sets are bit masks. What a node holds is a set too, and from the two follows what
each key must show: the values that no edit in the set has replaced. Nothing here looks at a vector clock or a sibling set of the product;
only the kind of an edit, its number, what it changes and what a resolution names are taken from it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, SignedEdit

Known = int
"""A set of edits, as a bit mask of their numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """One edit as the oracle knows it. `lamport` is the number it carries, which must be greater than any in its past; `named` is what it
    says it replaces."""

    number: int
    dot: Dot
    raw: bytes
    author: str
    past: Known
    lamport: int
    kind: str
    changes: Mapping[str, Options | None]
    named: Mapping[str, frozenset[Dot]]
    request: int

    @property
    def bit(self) -> Known:
        return 1 << self.number

    @property
    def rank(self) -> tuple[int, bytes]:
        """What decides among concurrent edits of one key."""
        return (self.lamport, self.dot.actor)

    def replaces(self, earlier: "Made", key: str) -> bool:
        """Whether this edit of the key removes the value of the earlier one."""
        if not self.past >> earlier.number & 1:
            return False
        if self.kind == CHANGE:
            return True
        if self.kind == RESOLVE and key not in self.named:
            return True
        return earlier.dot in self.named.get(key, ())


@dataclass(slots=True, weakref_slot=True, eq=False)
class State:
    """What a node that holds exactly the edits `known` must show: the numbers of each key's siblings, ascending."""

    known: Known
    siblings: Mapping[str, tuple[int, ...]]
    clock: Mapping[bytes, int] | None = None


@dataclass(slots=True)
class Oracle:
    """All edits that were ever made, and the states that follow from sets of them."""

    edits: list[Made] = field(default_factory=list)
    by_dot: dict[Dot, Made] = field(default_factory=dict)
    by_raw: dict[bytes, Made] = field(default_factory=dict)
    writers: dict[str, list[int]] = field(default_factory=dict)
    _states: "WeakValueDictionary[Known, State]" = field(default_factory=WeakValueDictionary)

    def make(
        self, signed: SignedEdit, past: Known, author: str, request: int = 0, named: Mapping[str, frozenset[Dot]] | None = None
    ) -> Made:
        """Take an edit that nobody has seen before."""
        edit = signed.edit
        if named is None:
            named = {key: frozenset(Dot(*pair) for pair in pairs) for key, pairs in edit.covers.items()}
        made = Made(len(self.edits), signed.dot, signed.raw, author, past, edit.lamport, edit.kind, edit.changes, named, request)
        self.edits.append(made)
        self.by_dot[made.dot] = made
        self.by_raw[made.raw] = made
        if made.kind in (CHANGE, RESOLVE, LATE):
            for key in made.changes:
                self.writers.setdefault(key, []).append(made.number)
        return made

    def withdraw(self, made: Made) -> None:
        """The edit never became durable anywhere, or nobody has it any more: its dot may name another one."""
        if self.by_dot.get(made.dot) is made:
            del self.by_dot[made.dot]
        self.by_raw.pop(made.raw, None)

    def members(self, known: Known) -> Iterable[Made]:
        """The edits in a set, by number."""
        while known:
            low = known & -known
            yield self.edits[low.bit_length() - 1]
            known ^= low

    def claimed(self, clock: Mapping[bytes, int]) -> Known:
        """The set that a node says it holds."""
        known = 0
        for made in self.by_dot.values():
            if clock.get(made.dot.actor, 0) >= made.dot.counter:
                known |= 1 << made.number
        return known

    def clock(self, known: Known) -> dict[bytes, int]:
        """The clock that a node with this set must show."""
        clock: dict[bytes, int] = {}
        for made in self.members(known):
            clock[made.dot.actor] = max(clock.get(made.dot.actor, 0), made.dot.counter)
        return clock

    def clock_of(self, state: State) -> Mapping[bytes, int]:
        """The same for a state, worked out once."""
        if state.clock is None:
            state.clock = self.clock(state.known)
        return state.clock

    def state(self, known: Known) -> State:
        """The state of a set, worked out from its definition."""
        found = self._states.get(known)
        if found is None:
            siblings = {}
            for key, numbers in self.writers.items():
                here = [self.edits[n] for n in numbers if known >> n & 1]
                live = tuple(m.number for m in here if not any(later.replaces(m, key) for later in here))
                if live:
                    siblings[key] = live
            found = self._states[known] = State(known, siblings)
        return found

    def after(self, state: State, made: Made) -> State:
        """The state once one more edit is there whose past is."""
        known = state.known | made.bit
        found = self._states.get(known)
        if found is None:
            siblings = dict(state.siblings)
            if made.kind in (CHANGE, RESOLVE, LATE):
                for key in made.changes:
                    kept = [n for n in siblings.get(key, ()) if not made.replaces(self.edits[n], key)]
                    siblings[key] = (
                        (*sorted(kept), made.number) if not kept or kept[-1] < made.number else tuple(sorted((*kept, made.number)))
                    )
            found = self._states[known] = State(known, siblings)
        return found

    def winner(self, numbers: Iterable[int]) -> Made | None:
        """The sibling that every node must apply."""
        return max((self.edits[n] for n in numbers), key=lambda made: made.rank, default=None)

    def deleted_by(self, known: Known, key: str) -> bool:
        """Whether the set holds an edit that deletes the key."""
        return any(known >> n & 1 and self.edits[n].changes[key] is None for n in self.writers.get(key, ()))
