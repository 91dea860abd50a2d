"""Learned baselines: they grow by themselves and shrink by a person's word only."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.expected import (
    Acceptance,
    Baseline,
    accept,
    adopt,
    decode,
    encode,
    expire,
    fewer_than_peers,
    forget,
    more_than_peers,
    observe,
)

HOUR = 3600.0
A, B, C = "fc:a>x", "fc:b>x", "fc:c>x"


def test_at_once_without_a_learning_time() -> None:
    baseline = observe(Baseline(), {A, B}, 1000.0, 0)
    assert (baseline.identities, baseline.source) == ((A, B), "learned")


def test_learning_takes_its_time_without_a_break() -> None:
    baseline = observe(Baseline(), {A, B}, 1000.0, 600)
    assert (baseline.identities, baseline.source) == ((), "none")
    baseline = observe(baseline, {A}, 1300.0, 600)
    baseline = observe(baseline, {A, B}, 1400.0, 600)
    baseline = observe(baseline, {A, B}, 1600.0, 600)
    assert baseline.identities == (A,)
    baseline = observe(baseline, {A, B}, 2000.0, 600)
    assert baseline.identities == (A, B)


def test_a_clock_set_back_starts_the_wait_anew() -> None:
    baseline = observe(Baseline(), {A}, 10_000.0, 600)
    baseline = observe(baseline, {A}, 1000.0, 600)
    assert not baseline.identities
    baseline = observe(baseline, {A}, 1600.0, 600)
    assert baseline.identities == (A,)


def test_nothing_leaves_by_itself() -> None:
    baseline = observe(Baseline(), {A, B}, 0.0, 0)
    assert observe(baseline, set(), 1e9, 0).identities == (A, B)


def test_acceptance_shrinks_once() -> None:
    baseline = observe(Baseline(), {A, B}, 0.0, 0)
    word = Acceptance("dot1", (A,))
    accepted = accept(baseline, word, 10.0)
    assert (accepted.identities, accepted.source) == ((A,), "accepted")
    grown = observe(accepted, {A, C}, 20.0, 0)
    assert (grown.identities, grown.source) == ((A, C), "learned")
    assert accept(grown, word, 30.0) == grown
    assert accept(grown, Acceptance("dot2", (C,)), 30.0).identities == (C,)


def test_an_expired_acceptance_gives_back_what_was_known() -> None:
    baseline = observe(Baseline(), {A, B}, 0.0, 0)
    accepted = accept(baseline, Acceptance("dot1", (A,), expires=100.0), 10.0)
    assert expire(accepted, 99.0).identities == (A,)
    back = expire(observe(accepted, {A, C}, 50.0, 0), 100.0)
    assert (back.identities, back.source) == ((A, B, C), "learned")
    assert accept(back, Acceptance("dot1", (A,), expires=100.0), 101.0) == back


def test_an_acceptance_that_comes_too_late_changes_nothing() -> None:
    baseline = observe(Baseline(), {A, B}, 0.0, 0)
    late = accept(baseline, Acceptance("dot1", (A,), expires=100.0), 100.0)
    assert late.identities == (A, B)
    assert late.applied == "dot1"


def test_a_second_expiring_acceptance_remembers_what_the_first_hid() -> None:
    baseline = observe(Baseline(), {A, B, C}, 0.0, 0)
    first = accept(baseline, Acceptance("dot1", (A, B), expires=100.0), 10.0)
    second = accept(first, Acceptance("dot2", (A,), expires=200.0), 20.0)
    assert expire(second, 200.0).identities == (A, B, C)


def test_peers_memory_is_taken_over_unless_a_person_spoke() -> None:
    assert adopt(Baseline((A,)), (B,)).identities == (A, B)
    accepted = accept(Baseline((A, B)), Acceptance("dot1", (A,)), 0.0)
    assert adopt(accepted, (B,)) == accepted


def test_fewer_than_peers() -> None:
    assert fewer_than_peers(1, [2, 2, 4])
    assert not fewer_than_peers(2, [2, 2, 4])
    assert not fewer_than_peers(1, [])
    assert not fewer_than_peers(2, [2, 4])


def test_more_than_peers() -> None:
    assert more_than_peers(4, [2, 2, 4])
    assert more_than_peers(4, [2, 4]), "of numbers that are equally frequent the smallest is usual"
    assert not more_than_peers(4, [4, 4, 2])
    assert not more_than_peers(2, [2, 4, 4])
    assert not more_than_peers(4, [2]), "of two nodes nobody knows which one is wrong"
    assert not more_than_peers(4, [])


# -- forgetting -------------------------------------------------------------------------------------------------------

PAIR = Baseline((A, B))


def watched(baseline: Baseline, present: set[str], hours: list[float], days: int = 1) -> Baseline:
    for hour in hours:
        baseline = forget(baseline, present, hour * HOUR, days)
    return baseline


def test_a_path_that_does_not_come_back_is_forgotten_after_so_many_days() -> None:
    almost = watched(PAIR, {A}, [1000.0 + n for n in range(24)])
    assert (almost.identities, almost.absent) == ((A, B), {B: (23, 1023)})
    gone = watched(almost, {A}, [1024.0])
    assert (gone.identities, gone.absent, gone.source) == ((A,), {}, "learned")
    assert observe(gone, {A, B}, 1e9, 0).identities == (A, B), "it may come back as any other"


def test_within_an_hour_nothing_is_counted_and_nothing_has_to_be_stored() -> None:
    once = watched(PAIR, {A}, [1000.0])
    assert watched(once, {A}, [1000.1, 1000.5, 1000.9]) is once


def test_a_path_that_was_there_meanwhile_is_lost_anew() -> None:
    back = watched(watched(PAIR, {A}, [1000.0 + n for n in range(24)]), {A, B}, [1024.0])
    assert back == PAIR
    assert watched(back, {A}, [1025.0 + n for n in range(24)]).identities == (A, B)


def test_never_is_never() -> None:
    assert watched(PAIR, {A}, [1000.0 + n for n in range(10_000)], days=0) is PAIR
    assert watched(watched(PAIR, {A}, [1000.0, 1001.0]), {A}, [1002.0], days=0) == PAIR, "switched off, it begins anew"


@pytest.mark.parametrize("leap", [-5000.0, 90_000.0])
def test_hours_in_which_nobody_looked_do_not_count_whatever_the_clock_says(leap: float) -> None:
    before = watched(PAIR, {A}, [1000.0 + n for n in range(12)])
    after = watched(before, {A}, [1011.0 + leap])
    assert (after.identities, after.absent) == ((A, B), {B: (12, int(1011 + leap))})


def test_what_is_wholly_gone_is_not_forgotten() -> None:
    assert watched(PAIR, set(), [1000.0 + n for n in range(100)]) is PAIR
    assert watched(PAIR, {C}, [1000.0 + n for n in range(100)]) is PAIR, "others stand in its place: a person has to say so"


def test_an_acceptance_that_runs_out_gives_back_what_is_then_counted_anew() -> None:
    accepted = accept(PAIR, Acceptance("dot1", (A,), expires=100.0), 10.0)
    back = expire(watched(accepted, {A}, [0.0]), 100.0)
    assert back.identities == (A, B) and watched(back, {A}, [float(n) for n in range(24)]).identities == (A, B)
    assert watched(back, {A}, [float(n) for n in range(25)]).identities == (A,)


NAMES = st.frozensets(st.text(max_size=5), max_size=4)


@given(NAMES, st.dictionaries(st.text(max_size=5), st.floats(0, 1e9), max_size=3), NAMES, st.text(max_size=4))
def test_storing_loses_nothing(names: frozenset[str], candidates: dict[str, float], before: frozenset[str], dot: str) -> None:
    absent = dict.fromkeys(names, (7, 480000))
    baseline = Baseline(tuple(sorted(names)), candidates, Acceptance(dot, tuple(names), 5.0, "r", "b"), tuple(before), dot, absent)
    assert decode(encode(baseline)) == baseline


@given(st.binary(max_size=40))
def test_any_other_record_is_none_or_a_whole_baseline(data: bytes) -> None:
    assert isinstance(decode(data), Baseline | None)


@given(st.lists(st.tuples(NAMES, st.floats(0, 100)), max_size=6), st.floats(0, 50))
def test_observing_only_ever_grows(polls: list[tuple[frozenset[str], float]], window: float) -> None:
    baseline = Baseline()
    for usable, now in polls:
        after = observe(baseline, usable, now, window)
        assert set(baseline.identities) <= set(after.identities) <= set(baseline.identities) | usable
        assert not set(after.candidates) & set(after.identities)
        baseline = after


@given(NAMES, st.lists(st.tuples(NAMES, st.floats(0, 1e6), st.integers(0, 3)), max_size=12))
def test_forgetting_only_ever_shrinks_and_never_to_nothing(names: frozenset[str], polls: list[tuple[frozenset[str], float, int]]) -> None:
    baseline = Baseline(tuple(sorted(names)))
    for present, now, days in polls:
        after = forget(baseline, present, now, days)
        assert set(after.identities) <= set(baseline.identities)
        assert set(baseline.identities) & present <= set(after.identities)
        assert bool(after.identities) == bool(baseline.identities)
        assert set(after.absent) <= set(after.identities)
        baseline = after


def test_a_record_of_an_earlier_version_is_read() -> None:
    old = msgspec.msgpack.encode({"identities": ["x"], "candidates": {}, "accepted": None, "before": [], "applied": ""})
    assert decode(old) == Baseline(("x",))
