"""What is looked at now and then: the notes, and this node's wall clock."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.host_checks import HostChecks, skew_note

pytestmark = pytest.mark.anyio


async def test_notes_are_told_when_they_are_others() -> None:
    notes: list[str] = []
    told: list[tuple[str, ...]] = []
    checks = HostChecks([lambda: notes], dict, lambda: told.append(checks.notes))
    await checks.look()
    assert told == []
    notes.append("initramfs-stale: x")
    for _ in range(3):
        await checks.look()
    assert told == [("initramfs-stale: x",)]
    notes.clear()
    await checks.look()
    assert told[-1] == ()


async def test_a_look_that_fails_hides_no_other() -> None:
    def fails() -> list[str]:
        raise RuntimeError("odd host")

    checks = HostChecks([fails, lambda: ["other"]], dict, lambda: None)
    await checks.look()
    assert checks.notes == ("other",)


async def test_it_looks_again_and_again(eventually: Callable[..., Any]) -> None:
    looks: list[int] = []
    checks = HostChecks([lambda: looks.append(1) or []], dict, lambda: None, every=0.001)
    running = asyncio.create_task(checks.run())
    await eventually("it looked", lambda: len(looks) > 3)
    running.cancel()
    await asyncio.wait([running])


async def test_the_clock() -> None:
    ahead: dict[str, float] = {}
    checks = HostChecks([], lambda: ahead, lambda: None)
    for seconds, words in ((29.0, ""), (31.0, "behind"), (26.0, "behind"), (24.0, ""), (26.0, ""), (-31.0, "ahead of"), (0.0, "")):
        ahead.update(n2=seconds, n3=seconds)
        await checks.look()
        assert len(checks.notes) == bool(words)
        assert all(note.startswith("clock-skew: ") and words in note for note in checks.notes)


@pytest.mark.parametrize(
    ("ahead", "noted"),
    [({}, False), ({"n2": 3600.0, "n3": 0.1, "n4": -0.1}, False), ({"n2": 3600.0, "n3": 3599.0, "n4": 0.1}, True), ({"n2": -40.0}, True)],
)
def test_most_clocks_are_right(ahead: dict[str, float], noted: bool) -> None:
    assert bool(skew_note(ahead, False)) is noted


@given(st.dictionaries(st.text(max_size=2), st.floats(-1e6, 1e6)), st.booleans())
def test_a_note_says_no_number_that_moves(ahead: dict[str, float], noted: bool) -> None:
    """Else it would be news at every look."""
    note = skew_note(ahead, noted)
    assert note in {"", skew_note({"x": 100.0}, False), skew_note({"x": -100.0}, False)}
