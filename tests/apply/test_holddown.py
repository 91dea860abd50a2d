"""Worse at once, better after two polls, flapping flagged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.holddown import FLAP_SECONDS, RANK, Shown, show


def play(*states: str, step: float = 10.0) -> list[Shown]:
    shown: Shown | None = None
    result = []
    for n, state in enumerate(states):
        shown = show(shown, state, (f"why-{state}",) if state != "healthy" else (), n * step)
        result.append(shown)
    return result


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("healthy degraded healthy healthy", "healthy degraded degraded healthy"),
        ("degraded failed degraded degraded healthy healthy", "degraded failed failed degraded degraded healthy"),
        ("failed degraded healthy", "failed failed healthy"),
        ("degraded healthy degraded healthy healthy", "degraded degraded degraded degraded healthy"),
        ("missing healthy healthy", "missing missing healthy"),
        ("unknown healthy", "unknown healthy"),
        ("pending healthy", "pending healthy"),
        ("failed unknown failed", "failed unknown failed"),
        ("unexpected healthy", "unexpected healthy"),
        ("healthy missing", "healthy missing"),
    ],
)
def test_hold_down(found: str, expected: str) -> None:
    assert " ".join(shown.state for shown in play(*found.split())) == expected


def test_reasons_follow_the_shown_state() -> None:
    assert [shown.reasons for shown in play("degraded", "healthy", "healthy")] == [("why-degraded",), ("why-degraded",), ()]


def test_flapping() -> None:
    polls = play("healthy", "degraded", "healthy", "degraded", "healthy")
    assert [shown.flapping for shown in polls] == [False, False, False, False, True]
    quiet = show(polls[-1], "healthy", (), 40.0 + FLAP_SECONDS)
    assert not quiet.flapping


def test_not_knowing_is_no_transition() -> None:
    assert play(*["healthy", "unknown"] * 6)[-1].changes == ()


@given(st.lists(st.sampled_from(sorted(RANK)), min_size=1, max_size=30))
def test_worsening_is_never_held_back(states: list[str]) -> None:
    for state, shown in zip(states, play(*states), strict=True):
        assert shown.state == "unknown" or RANK[shown.state] >= RANK[state]
        assert shown.found == state
        assert len(shown.changes) <= 8
