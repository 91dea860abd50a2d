"""Learned baselines: they grow by themselves and shrink by a person's word only."""

from hypothesis import given
from hypothesis import strategies as st

from apply.expected import Acceptance, Baseline, accept, adopt, decode, encode, expire, fewer_than_peers, observe

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


NAMES = st.frozensets(st.text(max_size=5), max_size=4)


@given(NAMES, st.dictionaries(st.text(max_size=5), st.floats(0, 1e9), max_size=3), NAMES, st.text(max_size=4))
def test_storing_loses_nothing(names: frozenset[str], candidates: dict[str, float], before: frozenset[str], dot: str) -> None:
    baseline = Baseline(tuple(sorted(names)), candidates, Acceptance(dot, tuple(names), 5.0, "r", "b"), tuple(before), dot)
    assert decode(encode(baseline)) == baseline


@given(st.binary(max_size=40))
def test_any_other_record_is_an_empty_baseline_or_a_whole_one(data: bytes) -> None:
    assert isinstance(decode(data), Baseline)


@given(st.lists(st.tuples(NAMES, st.floats(0, 100)), max_size=6), st.floats(0, 50))
def test_observing_only_ever_grows(polls: list[tuple[frozenset[str], float]], window: float) -> None:
    baseline = Baseline()
    for usable, now in polls:
        after = observe(baseline, usable, now, window)
        assert set(baseline.identities) <= set(after.identities) <= set(baseline.identities) | usable
        assert not set(after.candidates) & set(after.identities)
        baseline = after
