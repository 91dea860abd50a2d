"""Dots and version vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import ACTOR_BYTES, Dot, covers, dominates, join, meet, parse_dot

ACTORS = st.sampled_from([bytes([n]) * ACTOR_BYTES for n in range(4)])
VECTORS = st.dictionaries(ACTORS, st.integers(1, 5))


@given(st.binary(min_size=ACTOR_BYTES, max_size=ACTOR_BYTES), st.integers(1, 2**53))
def test_a_dot_reads_back(actor: bytes, counter: int) -> None:
    assert parse_dot(str(Dot(actor, counter))) == Dot(actor, counter)


@pytest.mark.parametrize(
    "text",
    ["", ":", "00" * 16, "00" * 16 + ":", "00" * 16 + ":0", "00" * 16 + ":-1", "00" * 15 + ":1", "00" * 16 + ":١", "zz" * 16 + ":1",
     "00 " * 10 + "00:1", "00" * 16 + ":" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_dot_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_dot(text)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=80))
def test_reading_a_dot_raises_nothing_but_value_error(text: str) -> None:
    try:
        dot = parse_dot(text)
    except ValueError:
        return
    assert len(dot.actor) == ACTOR_BYTES
    assert dot.counter >= 1


@given(VECTORS, VECTORS)
def test_the_join_is_the_least_upper_bound(left: dict[bytes, int], right: dict[bytes, int]) -> None:
    joined = join(left, right)
    assert joined == join(right, left)
    assert dominates(joined, left)
    assert dominates(joined, right)
    for actor in joined:
        smaller = joined | {actor: joined[actor] - 1}
        assert not (dominates(smaller, left) and dominates(smaller, right))


@given(VECTORS, VECTORS, VECTORS)
def test_the_join_is_associative_and_idempotent(a: dict[bytes, int], b: dict[bytes, int], c: dict[bytes, int]) -> None:
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a


@given(VECTORS, VECTORS)
def test_the_meet_is_the_greatest_lower_bound(left: dict[bytes, int], right: dict[bytes, int]) -> None:
    met = meet(left, right)
    assert met == meet(right, left)
    assert dominates(left, met) and dominates(right, met)
    for actor in left.keys() | right.keys():
        greater = met | {actor: met.get(actor, 0) + 1}
        assert not (dominates(left, greater) and dominates(right, greater))
    assert meet(left, join(left, right)) == left
    assert 0 not in met.values()


@given(VECTORS, VECTORS)
def test_domination_means_covering_every_dot(left: dict[bytes, int], right: dict[bytes, int]) -> None:
    dots = [Dot(actor, n) for actor, counter in right.items() for n in range(1, counter + 1)]
    assert dominates(left, right) == all(covers(left, dot) for dot in dots)
