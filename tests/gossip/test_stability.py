"""What all members have, against an oracle that sees every clock."""

from hypothesis import given
from hypothesis import strategies as st

from gossip.stability import Clocks, clock_hash
from store.clocks import Dot, dominates
from store.limits import limit

A, B = b"a" * 16, b"b" * 16
NAMED = {"n2": b"n2", "n3": b"n3"}


def test_nothing_is_stable_before_every_member_has_shown_its_clock() -> None:
    clocks = Clocks({A: 5, B: 3})
    clocks.told(b"n2", {A: 5, B: 2})
    assert clocks.stability(NAMED, {}, {}) == ({}, ("n2", "n3"))
    clocks.told(b"n3", {A: 4})
    assert clocks.stability(NAMED, {}, {}) == ({A: 4}, ("n2", "n3"))
    clocks.same(b"n2")
    clocks.same(b"n3")
    assert clocks.stability(NAMED, {}, {}) == ({A: 5, B: 3}, ())


def test_nothing_new_is_concluded_while_a_member_has_more_than_this_node() -> None:
    clocks = Clocks({A: 5})
    clocks.told(b"n2", {A: 5, B: 1})
    assert clocks.stability({"n2": b"n2"}, {}, {A: 2}) == ({A: 2}, ())


def test_the_floor_never_sinks() -> None:
    clocks = Clocks({A: 5})
    clocks.told(b"n2", {A: 1})
    assert clocks.stability({"n2": b"n2"}, {}, {A: 4}).floor == {A: 4}


def test_a_beats_tag_names_a_clock_that_this_node_has_had() -> None:
    clocks = Clocks({A: 1})
    first = clocks.tag
    clocks.advance({A: 2})
    clocks.tagged(b"n2", first)
    assert clocks.of(b"n2") == {A: 1}
    clocks.tagged(b"n2", clocks.tag)
    assert clocks.of(b"n2") == {A: 2}
    clocks.tagged(b"n2", clock_hash({A: 9})[:8])
    assert clocks.of(b"n2") == {A: 2}, "one that this node never had tells nothing"
    for counter in range(3, 4 + limit("past_clocks")):
        clocks.advance({A: counter})
    clocks.tagged(b"n3", first)
    assert clocks.of(b"n3") is None, "too long ago"


def test_a_departed_member_counts_until_all_others_know_of_it() -> None:
    clocks = Clocks({A: 5})
    clocks.told(b"n2", {A: 3})
    clocks.told(b"gone", {A: 1})
    assert clocks.stability({"n2": b"n2"}, {b"gone": Dot(A, 4)}, {}).floor == {A: 1}
    clocks.told(b"n2", {A: 4})
    assert clocks.stability({"n2": b"n2"}, {b"gone": Dot(A, 4)}, {}).floor == {A: 4}
    clocks.told(b"n2", {A: 3})
    clocks.keep([b"n2"])
    assert clocks.stability({"n2": b"n2"}, {b"gone": Dot(A, 4)}, {}).floor == {}


def test_the_hash_does_not_depend_on_the_order() -> None:
    assert clock_hash({A: 1, B: 2}) == clock_hash({B: 2, A: 1}) != clock_hash({A: 2, B: 1})


_clock = st.dictionaries(st.sampled_from([b"%016d" % n for n in range(4)]), st.integers(1, 4), max_size=4)


@given(_clock, st.lists(_clock, max_size=4), _clock)
def test_the_floor_is_below_everybody(own: dict[bytes, int], others: list[dict[bytes, int]], floor: dict[bytes, int]) -> None:
    clocks = Clocks(own)
    for number, clock in enumerate(others):
        clocks.told(b"n%d" % number, clock)
    found = clocks.stability({f"n{number}": b"n%d" % number for number in range(len(others))}, {}, floor).floor
    if dict(found) != floor:
        assert all(dominates(clock, found) for clock in (own, *others))
        assert dominates(found, floor)
        assert all(any(found.get(a, 0) == clock.get(a, 0) for clock in (own, *others)) for a in own), "the greatest such clock"
