"""What a key was before an edit: right or unknown, whatever of the past is missing."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.past import Base, Before, Past, Runs, rank
from store.clocks import Dot, covers, dominates, join, meet
from store.edits import CHANGE, LATE, RESOLVE, Edit, SignedEdit
from store.fold import Fold
from store.replica import Replica

NAMES = ("n0", "n1", "n2")
KEYS = ("defaults", "wwid/a", "wwid/b")


def dots_of(edits: Iterable[Edit]) -> Runs:
    return Runs(edit.dot for edit in edits)


# -- runs -------------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(1, 30)), st.integers(1, 35))
def test_runs_find_the_greatest_that_is_missing(known: set[int], up_to: int) -> None:
    actor = b"a" * 16
    found = Runs(Dot(actor, n) for n in sorted(known, reverse=True)).missing(actor, up_to)
    assert found == max((n for n in range(1, up_to + 1) if n not in known), default=0)
    assert Runs(()).missing(actor, up_to) == up_to


# -- small pasts, by hand ---------------------------------------------------------------------------------------------


def made(scribe: Any, author: str, value: str | None, context: Mapping[bytes, int], key: str = "wwid/a", **more: Any) -> Edit:
    edit: Edit = scribe.edit(author, {key: None if value is None else {"alias": value}}, context, **more).edit
    return edit


def test_the_value_before_is_that_of_the_causal_past_not_of_the_clock_on_the_wall(scribe: Any) -> None:
    first = made(scribe, "n0", "one", {}, wall=900.0)
    beside = made(scribe, "n1", "two", {}, wall=950.0)
    second = made(scribe, "n0", "three", {scribe.actor("n0"): 1}, wall=1.0)
    past = Past((first, beside, second), dots_of((first, beside, second)))
    assert past.before(first, "wwid/a") == past.before(beside, "wwid/a") == Before(True, None)
    assert past.before(second, "wwid/a") == Before(True, {"alias": "one"})
    assert past.later(first, "wwid/a") in (beside, second) and past.later(second, "wwid/a") == beside
    assert past.before(second, "wwid/b") == Before(True, None) and past.touching("wwid/b") == ()


def test_of_concurrent_values_the_winner_was_in_effect(scribe: Any) -> None:
    a, b = scribe.actor("n0"), scribe.actor("n1")
    left, right = made(scribe, "n0", "left", {}), made(scribe, "n1", "right", {})
    solved = made(scribe, "n0", "both", {a: 1, b: 1}, kind=RESOLVE, covers={"wwid/a": [left.dot, right.dot]})
    past = Past((left, right, solved), dots_of((left, right, solved)))
    winner = max((left, right), key=lambda e: (e.lamport, e.actor))
    assert past.before(solved, "wwid/a") == Before(True, winner.changes["wwid/a"])


def test_what_two_contexts_have_in_common_is_a_state_too(scribe: Any) -> None:
    a, b = scribe.actor("n0"), scribe.actor("n1")
    first = made(scribe, "n0", "one", {})
    second = made(scribe, "n1", "two", {a: 1})
    left = made(scribe, "n0", "left", {a: 1, b: 1})
    right = made(scribe, "n1", "right", {a: 1, b: 1})
    late = made(scribe, "n2", "late", {a: 1})
    edits = (first, second, left, right, late)
    past = Past(edits, dots_of(edits))
    assert past.at(meet(left.context, right.context), "wwid/a") == Before(True, {"alias": "two"})
    assert past.at(meet(left.context, late.context), "wwid/a") == Before(True, {"alias": "one"})
    assert past.at({}, "wwid/a") == Before(True, None)
    assert Past(edits[1:], dots_of(edits[1:])).at({a: 1}, "wwid/a") == Before(False)


def test_a_missing_edit_that_was_replaced_does_not_matter_and_one_that_may_not_have_been_does(scribe: Any) -> None:
    actor = scribe.actor("n0")
    lost = made(scribe, "n0", "lost", {})
    kept = made(scribe, "n0", "kept", {actor: 1})
    last = made(scribe, "n0", "last", {actor: 2})
    known = (kept, last)
    past = Past(known, dots_of(known))
    assert past.before(last, "wwid/a") == Before(True, {"alias": "kept"})
    assert past.before(kept, "wwid/a") == Before(False)
    only = Past((last,), dots_of((last,)))
    assert only.before(last, "wwid/a") == Before(False)
    assert past.complete_since(kept, {actor: 3}) and not only.complete_since(lost, {actor: 3})


def test_the_base_vouches_for_an_edit_above_it(scribe: Any) -> None:
    actor = scribe.actor("n0")
    other = made(scribe, "n0", "x", {}, key="defaults")
    kept = made(scribe, "n0", "kept", {actor: 1}, key="wwid/b")
    last = made(scribe, "n0", "last", {actor: 2})
    base = Base({actor: 2}, {actor: 2}, {"wwid/b": (kept.dot,)})
    past = Past((kept, last), dots_of((kept, last)), base)
    assert past.before(last, "wwid/a") == Before(True, None), "it did not live at the base"
    assert Past((last,), dots_of((last,))).before(last, "wwid/a") == Before(False)
    again = made(scribe, "n0", "again", {actor: 2}, key="wwid/b")
    assert Past((kept, again), dots_of((kept, again)), base).before(again, "wwid/b") == Before(True, {"alias": "kept"})
    assert Past((again,), dots_of((again,)), base).before(again, "wwid/b") == Before(False), "a live value that is not known"
    assert other.dot == Dot(actor, 1)


# -- any past at all --------------------------------------------------------------------------------------------------


class World:
    """Members that write and hear of each other as they are told; the first of them collects and forgets."""

    def __init__(self, scribe: Any) -> None:
        self.scribe = scribe
        founding = scribe.founding("n0")
        self.log: dict[Dot, SignedEdit] = {founding.dot: founding}
        self.replica: Replica = scribe.replica(founding)
        clock = {scribe.actor("n0"): 1}
        for name in NAMES[1:]:
            joined = scribe.registration("n0", scribe.member(name), clock)
            self.log[joined.dot] = joined
            self.replica.commit(joined)
            clock = dict(self.replica.fold.clock)
        self.clocks: dict[str, dict[bytes, int]] = {name: dict(clock) for name in NAMES}
        self.told = {name: dict(clock) for name in NAMES}
        """What the first member knows that each of them has: it knows all of that itself."""
        self.archive: list[SignedEdit] = []

    def in_order(self, clock: Mapping[bytes, int]) -> list[SignedEdit]:
        return sorted((s for dot, s in self.log.items() if covers(clock, dot)), key=lambda s: rank(s.edit))

    def fold(self, clock: Mapping[bytes, int]) -> Fold:
        """All that the clock covers, folded from the first edit on: what this node has forgotten is not forgotten here."""
        fold = Fold()
        for signed in self.in_order(clock):
            fold.apply(signed.edit)
        return fold

    def write(self, name: str, keys: list[str], value: str | None, kind: str, some: int) -> None:
        clock = self.clocks[name]
        fold = self.fold(clock)
        named = {}
        if kind != CHANGE:
            named = {key: [s.dot for s in fold.siblings(key)][: some + 1] for key in keys}
        changes = {key: None if value is None else {"alias": value} for key in keys}
        signed = self.scribe.edit(name, changes, clock, lamport=fold.lamport + 1, kind=kind, covers=named)
        self.log[signed.dot] = signed
        self.hear(name, {**clock, signed.dot.actor: signed.dot.counter})

    def meet(self, name: str, other: str) -> None:
        self.hear(name, self.clocks[other])
        if name == NAMES[0]:
            self.told[other] = dict(self.clocks[other])

    def hear(self, name: str, clock: Mapping[bytes, int]) -> None:
        before = self.clocks[name]
        self.clocks[name] = join(before, clock)
        if name == NAMES[0]:
            for signed in self.in_order(self.clocks[name]):
                if not covers(before, signed.dot):
                    self.replica.commit(signed)

    def collect(self, remembers: bool) -> None:
        stable: Mapping[bytes, int] = self.clocks[NAMES[0]]
        for clock in (self.told[name] for name in NAMES[1:]):
            stable = meet(stable, clock)
        collection = self.replica.collect(stable)
        if collection is not None:
            gone = [self.log[dot] for dot in collection.gone]
            self.archive = [*self.archive, *gone] if remembers else self.archive
            self.replica.collected(collection)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.sampled_from(NAMES),
            st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
            st.one_of(st.none(), st.sampled_from("xyz")),
            st.sampled_from((CHANGE, CHANGE, CHANGE, RESOLVE, LATE)),
            st.integers(0, 2),
        ),
        st.tuples(st.just("hear"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("all")),
        st.tuples(st.just("collect"), st.booleans()),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(STEPS)
def test_what_is_told_of_the_past_is_true(scribe: Any, steps: list[tuple[Any, ...]]) -> None:
    world = World(scribe)
    for what, *arguments in steps:
        if what == "write":
            world.write(*arguments)
        elif what == "hear":
            world.meet(*arguments)
        elif what == "all":
            for name in (*NAMES, *NAMES):
                for other in NAMES:
                    world.meet(name, other)
        else:
            world.collect(arguments[0])
    replica = world.replica
    known = [*replica.edits(), *world.archive]
    assert len({s.dot for s in known}) == len(known)
    held = replica.base
    base = Base(held.clock, held.floor, held.siblings) if held is not None else None
    past = Past([s.edit for s in known if not replica.is_void(s)], Runs(s.dot for s in known), base)
    everything = len(known) == sum(replica.fold.clock.values())
    for signed in known:
        edit = signed.edit
        true = world.fold(edit.context)
        for key in edit.changes:
            told = past.before(edit, key)
            assert told.known or not everything, "nothing is missing"
            if told.known:
                assert told.value == true.value(key), (key, edit.dot)
        if past.complete_since(edit, replica.fold.clock):
            unseen = [dot for dot in world.log if covers(replica.fold.clock, dot) and not covers(edit.context, dot) and dot != edit.dot]
            assert {s.dot for s in known} >= set(unseen)
    for signed in known:  # who had seen all that was there at the last collection leaves nothing unknown
        if base is None or dominates(signed.edit.context, base.clock):
            assert all(past.before(signed.edit, key).known for key in signed.edit.changes)


@pytest.mark.parametrize("remembers", [True, False])
def test_after_a_collection_only_a_node_with_a_record_knows_what_was_before(scribe: Any, remembers: bool) -> None:
    world = World(scribe)
    for value in ("one", "two"):
        world.write("n0", ["wwid/a"], value, CHANGE, 0)
    for name in NAMES[1:]:
        world.meet(name, "n0")
        world.meet("n0", name)
    world.collect(remembers)
    world.write("n0", ["wwid/a"], "three", CHANGE, 0)
    known = [*world.replica.edits(), *world.archive]
    base = world.replica.base
    assert base is not None and world.replica.signed(Dot(scribe.actor("n0"), 4)) is None, "the first value is collected"
    past = Past([s.edit for s in known], Runs(s.dot for s in known), Base(base.clock, base.floor, base.siblings))
    two, three = (world.log[Dot(scribe.actor("n0"), n)].edit for n in (5, 6))
    assert past.before(three, "wwid/a") == Before(True, {"alias": "two"})
    assert past.before(two, "wwid/a") == (Before(True, {"alias": "one"}) if remembers else Before(False))
