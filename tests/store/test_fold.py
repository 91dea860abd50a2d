"""The fold, against an oracle that knows nothing but which edit has seen which."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, Edit
from store.fold import Fold, Sibling, distinct_values

KEYS = ("defaults", "overrides", "storage/san", "wwid/1", "wwid/2")
REPLICAS = 4
ACTORS = tuple(bytes([0x41 + n]) * 16 for n in range(REPLICAS))
VALUES: st.SearchStrategy[Options | None] = st.none() | st.sampled_from(["1", "2", "3"]).map(lambda v: {"x": v})


@dataclass(frozen=True)
class Made:
    """An edit as the oracle knows it: its number, all its ancestors, and what it writes. No clocks."""

    id: int
    replica: int
    ancestors: frozenset[int]
    changes: Mapping[str, Options | None]
    named: Mapping[str, frozenset[int]]
    edit: Edit


class Oracle:
    """The meaning of a set of edits, from the ancestor relation alone."""

    def __init__(self) -> None:
        self.edits: list[Made] = []

    def lamport(self, known: Iterable[int]) -> int:
        return 1 + max((self.edits[e].edit.lamport for e in known), default=0)

    def replaces(self, later: Made, earlier: Made, key: str) -> bool:
        if earlier.id not in later.ancestors or key not in later.changes:
            return False
        return key not in later.named or earlier.id in later.named[key]

    def live(self, known: Iterable[int], key: str) -> set[int]:
        writers = [self.edits[e] for e in known if key in self.edits[e].changes]
        return {w.id for w in writers if not any(self.replaces(other, w, key) for other in writers)}

    def winner(self, live: Iterable[int]) -> int:
        return max(live, key=lambda e: (self.edits[e].edit.lamport, ACTORS[self.edits[e].replica]))

    def in_conflict(self, live: Iterable[int], key: str) -> bool:
        values = [self.edits[e].changes[key] for e in live]
        return any(v != values[0] for v in values)

    def order(self, known: Iterable[int], random: Random) -> list[Made]:
        """A random order in which every edit comes after its ancestors."""
        left, done, order = set(known), set[int](), []
        while left:
            ready = sorted(e for e in left if self.edits[e].ancestors <= done)
            chosen = random.choice(ready)
            left.remove(chosen)
            done.add(chosen)
            order.append(self.edits[chosen])
        return order


class FoldMachine(RuleBasedStateMachine):
    """Replicas that edit what they know, and hear of each other's edits in any causal order, any number of times."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.folds = [Fold() for _ in range(REPLICAS)]
        self.known: list[set[int]] = [set() for _ in range(REPLICAS)]

    def author(self, replica: int, changes: Mapping[str, Options | None], named: Mapping[str, frozenset[int]], kind: str) -> Made:
        known = frozenset(self.known[replica])
        context: dict[bytes, int] = {}
        for e in known:
            other = self.oracle.edits[e].edit
            context[other.actor] = max(context.get(other.actor, 0), other.counter)
        edits = self.oracle.edits
        edit = Edit(
            actor=ACTORS[replica],
            counter=sum(1 for e in known if edits[e].replica == replica) + 1,
            context=context,
            lamport=self.oracle.lamport(known),
            author=f"n{replica}",
            wall=0.0,
            changes={key: None if value is None else dict(value) for key, value in changes.items()},
            kind=kind,
            covers={key: [(edits[e].edit.actor, edits[e].edit.counter) for e in sorted(dots)] for key, dots in named.items()},
        )
        made = Made(len(edits), replica, known, changes, named, edit)
        edits.append(made)
        self.deliver_to(replica, made)
        return made

    def deliver_to(self, replica: int, made: Made) -> None:
        assert set(self.folds[replica].apply(made.edit)) == set(made.changes)
        self.known[replica].add(made.id)

    @rule(replica=st.integers(0, REPLICAS - 1), changes=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3))
    def change(self, replica: int, changes: dict[str, Options | None]) -> None:
        self.author(replica, changes, {}, CHANGE)

    @rule(replica=st.integers(0, REPLICAS - 1), value=VALUES, data=st.data())
    def resolve(self, replica: int, value: Options | None, data: st.DataObject) -> None:
        contested = [key for key in KEYS if self.oracle.in_conflict(self.oracle.live(self.known[replica], key), key)]
        if not contested:
            return
        key = data.draw(st.sampled_from(contested))
        before = self.oracle.live(self.known[replica], key)
        named = frozenset(data.draw(st.sets(st.sampled_from(sorted(before)), min_size=1)))
        made = self.author(replica, {key: value}, {key: named}, RESOLVE)
        after = {s.dot for s in self.folds[replica].siblings(key)}
        assert after == {self.oracle.edits[e].edit.dot for e in before - named} | {made.edit.dot}

    @rule(replica=st.integers(0, REPLICAS - 1), key=st.sampled_from(KEYS), value=VALUES, data=st.data())
    def come_late(self, replica: int, key: str, value: Options | None, data: st.DataObject) -> None:
        """A late edit replaces what it names of a key that it lists, which may be nothing, and all that it saw of another."""
        before = self.oracle.live(self.known[replica], key)
        named = frozenset(data.draw(st.sets(st.sampled_from(sorted(before))))) if before else frozenset()
        listed = data.draw(st.booleans())
        made = self.author(replica, {key: value}, {key: named} if listed else {}, LATE)
        after = {s.dot for s in self.folds[replica].siblings(key)}
        assert after == {self.oracle.edits[e].edit.dot for e in (before - named if listed else ())} | {made.edit.dot}

    @precondition(lambda self: self.oracle.edits)
    @rule(replica=st.integers(0, REPLICAS - 1), data=st.data())
    def deliver(self, replica: int, data: st.DataObject) -> None:
        ready = [m.id for m in self.oracle.edits if m.id not in self.known[replica] and m.ancestors <= self.known[replica]]
        if ready:
            self.deliver_to(replica, self.oracle.edits[data.draw(st.sampled_from(ready))])

    @precondition(lambda self: self.oracle.edits)
    @rule(replica=st.integers(0, REPLICAS - 1), data=st.data())
    def deliver_again(self, replica: int, data: st.DataObject) -> None:
        if self.known[replica]:
            again = self.oracle.edits[data.draw(st.sampled_from(sorted(self.known[replica])))]
            before = self.folds[replica].state_hash
            assert self.folds[replica].apply(again.edit) == ()
            assert self.folds[replica].state_hash == before

    @precondition(lambda self: self.oracle.edits)
    @rule(replica=st.integers(0, REPLICAS - 1))
    def deliver_too_early(self, replica: int) -> None:
        early = [m for m in self.oracle.edits if m.id not in self.known[replica] and not m.ancestors <= self.known[replica]]
        for made in early:
            assert not self.folds[replica].deliverable(made.edit)
            with pytest.raises(ValueError, match="before what it depends on"):
                self.folds[replica].apply(made.edit)

    @invariant()
    def every_replica_means_what_the_oracle_says(self) -> None:
        for fold, known in zip(self.folds, self.known, strict=True):
            self.check(fold, known)

    def check(self, fold: Fold, known: set[int]) -> None:
        edits = self.oracle.edits
        conflicts = []
        for key in KEYS:
            live = self.oracle.live(known, key)
            assert {s.dot for s in fold.siblings(key)} == {edits[e].edit.dot for e in live}
            assert list(fold.siblings(key)) == sorted(fold.siblings(key), key=lambda s: s.dot)
            if not live:
                assert fold.winner(key) is None
                continue
            won = fold.winner(key)
            assert won is not None
            assert won.dot == edits[self.oracle.winner(live)].edit.dot
            assert fold.value(key) == won.value == edits[self.oracle.winner(live)].changes[key]
            if self.oracle.in_conflict(live, key):
                conflicts.append(key)
            if not any(key in edits[e].named for e in known):
                # Between plain edits: siblings are concurrent to the last pair, and whoever knew all of them left one.
                assert not any(a in edits[b].ancestors for a in live for b in live)
            if all(edits[e].changes[key] is None for e in live):
                assert fold.value(key) is None
        assert fold.conflicts == sorted(conflicts)
        assert {key for key in KEYS if fold.in_conflict(key)} == set(conflicts)
        assert fold.lamport == self.oracle.lamport(known) - 1

    def teardown(self) -> None:
        """Any causal order of one set of edits, with repetitions, leads to one state; so does folding what is stored of it."""
        random = Random(len(self.oracle.edits))
        sets = [*self.known, set(range(len(self.oracle.edits)))]
        for known in sets:
            hashes = set()
            for _ in range(3):
                fold = Fold()
                order = self.oracle.order(known, random)
                for position, made in enumerate(order):
                    fold.apply(made.edit)
                    assert fold.apply(random.choice(order[: position + 1]).edit) == ()
                self.check(fold, known)
                hashes.add(fold.state_hash)
                stored = Fold(fold.clock, {key: fold.siblings(key) for key in fold}, fold.lamport)
                assert stored.state_hash == fold.state_hash
                assert stored.conflicts == fold.conflicts
                copy = fold.copy()
                for key in list(copy):
                    if len(copy.siblings(key)) == 1 and copy.value(key) is None:
                        copy.forget(key)
                        assert copy.siblings(key) == () and key not in list(copy)
                    else:
                        with pytest.raises(ValueError, match="alone"):
                            copy.forget(key)
                assert copy.state_hash == fold.state_hash
                assert copy.conflicts == fold.conflicts
                assert (copy.clock, copy.lamport) == (fold.clock, fold.lamport)
                self.check(fold, known)
            assert len(hashes) == 1
        by_hash: dict[bytes, object] = {}
        for fold in self.folds:
            shown = {key: fold.siblings(key) for key in KEYS if len(fold.siblings(key)) > 1 or fold.value(key) is not None}
            assert by_hash.setdefault(fold.state_hash, shown) == shown


FoldMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestFold = FoldMachine.TestCase


def edit(
    actor: bytes, counter: int, changes: Mapping[str, Options | None], context: Mapping[bytes, int] | None = None, **more: object
) -> Edit:
    seen = dict(context or {}) | ({actor: counter - 1} if counter > 1 else {})
    fields: dict[str, object] = {
        "actor": actor, "counter": counter, "context": seen, "lamport": sum(seen.values()) + 1, "author": "n", "wall": 0.0,
        "changes": changes,
    }  # fmt: skip
    return Edit(**(fields | more))  # type: ignore[arg-type]


A, B, C = ACTORS[:3]


def test_concurrent_equal_values_are_no_conflict_but_stay_two_siblings() -> None:
    fold = Fold()
    fold.apply(edit(A, 1, {"k": {"x": "1"}}))
    fold.apply(edit(B, 1, {"k": {"x": "1"}}))
    assert len(fold.siblings("k")) == 2
    assert fold.conflicts == []


def test_a_deletion_against_a_change_is_a_conflict_and_the_greater_rank_wins() -> None:
    fold = Fold()
    fold.apply(edit(A, 1, {"k": {"x": "1"}}))
    fold.apply(edit(A, 2, {"k": None}, {A: 1}))
    fold.apply(edit(B, 1, {"k": {"x": "2"}}, {A: 1}))
    assert fold.conflicts == ["k"]
    assert fold.value("k") == {"x": "2"}  # equal lamport numbers: the greater actor


def test_a_lone_deletion_leaves_no_trace_in_the_hash() -> None:
    fold = Fold()
    fold.apply(edit(A, 1, {"k": {"x": "1"}}))
    fold.apply(edit(A, 2, {"k": None}))
    assert fold.state_hash == Fold().state_hash
    fold.apply(edit(B, 1, {"k": None}))
    assert fold.state_hash != Fold().state_hash


@pytest.mark.parametrize("kind", [CHANGE, "later"])
def test_a_void_edit_moves_the_clock_alone(kind: str) -> None:
    fold = Fold()
    assert fold.apply(edit(A, 1, {"k": {"x": "1"}}, kind=kind), void=True) == ()
    assert fold.clock == {A: 1}
    assert fold.lamport == 1
    assert fold.siblings("k") == ()


def test_naming_what_it_cannot_have_seen_resolves_nothing_in_either_order() -> None:
    """Else the result would depend on which of the two came first."""
    resolve = edit(A, 1, {"k": {"x": "1"}}, kind=RESOLVE, covers={"k": [(B, 1)]})
    other = edit(B, 1, {"k": {"x": "2"}})
    hashes = set()
    for order in ((resolve, other), (other, resolve)):
        fold = Fold()
        for made in order:
            fold.apply(made)
        assert fold.conflicts == ["k"]
        hashes.add(fold.state_hash)
    assert len(hashes) == 1


def test_a_resolve_replaces_what_it_saw_of_keys_that_it_does_not_name() -> None:
    fold = Fold()
    fold.apply(edit(A, 1, {"k": {"x": "1"}, "l": {"x": "1"}}))
    fold.apply(edit(B, 1, {"k": {"x": "2"}}))
    fold.apply(edit(B, 2, {"k": {"x": "3"}, "l": {"x": "3"}}, {A: 1}, kind=RESOLVE, covers={"k": [(A, 1), (B, 1)]}))
    assert fold.conflicts == []
    assert [s.dot for s in fold.siblings("l")] == [Dot(B, 2)]


def test_swapping_two_values_is_one_edit() -> None:
    fold = Fold()
    fold.apply(edit(A, 1, {"wwid/1": {"alias": "a"}, "wwid/2": {"alias": "b"}}))
    assert fold.apply(edit(A, 2, {"wwid/1": {"alias": "b"}, "wwid/2": {"alias": "a"}})) == ("wwid/1", "wwid/2")
    assert fold.value("wwid/1") == {"alias": "b"}
    assert fold.value("wwid/2") == {"alias": "a"}
    assert set(fold) == {"wwid/1", "wwid/2"}


def test_only_a_deletion_that_stands_alone_is_forgotten() -> None:
    fold = Fold()
    for key in ("k", "l"):
        with pytest.raises(ValueError, match=key):
            fold.forget(key)
        fold.apply(edit(A, fold.clock.get(A, 0) + 1, {key: None}))
    fold.apply(edit(B, 1, {"l": None}))
    fold.forget("k")
    with pytest.raises(ValueError, match="alone"):
        fold.forget("l")
    fold.apply(edit(A, 3, {"k": {"x": "1"}}))
    other = Fold()
    for made in (edit(A, 1, {"k": None}), edit(A, 2, {"l": None}), edit(B, 1, {"l": None}), edit(A, 3, {"k": {"x": "1"}})):
        other.apply(made)
    assert fold.state_hash == other.state_hash


def test_distinct_values_counts_deletion_as_one() -> None:
    def sibling(n: int, value: Options | None) -> Sibling:
        return Sibling(Dot(A, n), n, "n", 0.0, "", value)

    assert distinct_values([]) == 0
    assert distinct_values([sibling(1, None), sibling(2, None)]) == 1
    assert distinct_values([sibling(1, {"a": "1", "b": "2"}), sibling(2, {"b": "2", "a": "1"}), sibling(3, None), sibling(4, {})]) == 3
