"""The feature level as it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.edits import CHANGE, LATE, RESOLVE
from store.level import FIRST, KIND_LEVELS, LEVEL, LEVEL_KEY, KindIs, judge_kind, level_value, not_speaking, read_level
from store.members import Role, may_author


@given(st.integers(1, 999_999))
def test_what_is_written_is_read(level: int) -> None:
    assert read_level(level_value(level)) == level


@given(st.none() | st.dictionaries(st.sampled_from(["level", "x"]), st.text(max_size=10)))
def test_without_a_level_that_makes_sense_it_is_the_first(value: dict[str, str] | None) -> None:
    assert read_level(value) >= FIRST
    if value is None or not value.get("level", "").isdigit():
        assert read_level(value) == FIRST


@given(st.dictionaries(st.sampled_from(["n1", "n2", "n3"]), st.none() | st.integers(1, 5)), st.integers(1, 5))
def test_those_who_do_not_speak_it_are_named(spoken: dict[str, int | None], level: int) -> None:
    missing = not_speaking(level, spoken)
    assert list(missing) == sorted(missing)
    for name, highest in spoken.items():
        assert (name in missing) is (highest is None or highest < level)


def test_this_version_speaks_what_it_writes_and_admins_write_it() -> None:
    assert LEVEL >= FIRST
    assert [role for role in Role if may_author(role, [LEVEL_KEY])] == [Role.ADMIN]


@st.composite
def versions(draw: st.DrawFn) -> tuple[int, dict[str, int]]:
    """A history of kinds, each with the level that brought it, and what a version knows of it: all up to the level that it speaks."""
    brought = {CHANGE: FIRST, **draw(st.dictionaries(st.sampled_from(["merge", "split", "move"]), st.integers(FIRST, 5)))}
    speaks = draw(st.integers(FIRST, 6))
    return speaks, brought


@given(versions(), st.integers(FIRST, 6), st.integers(FIRST, 6), st.sampled_from([CHANGE, "merge", "split", "move", "nonsense"]))
def test_all_versions_that_can_tell_judge_a_kind_alike(found: tuple[int, dict[str, int]], other: int, written_at: int, kind: str) -> None:
    one, brought = found

    def judged(speaks: int) -> KindIs:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("store.level.LEVEL", speaks)
            patch.setattr("store.level.KIND_LEVELS", {name: level for name, level in brought.items() if level <= speaks})
            return judge_kind(kind, written_at)

    there = kind in brought and brought[kind] <= written_at
    for speaks in (one, other):
        if speaks >= written_at:
            assert judged(speaks) is (KindIs.KNOWN if there else KindIs.IMPOSSIBLE)
        elif kind in brought and brought[kind] <= speaks:
            assert judged(speaks) is KindIs.KNOWN
        else:
            assert judged(speaks) is KindIs.LATER


def test_this_version_knows_nothing_beyond_its_own_level() -> None:
    assert KIND_LEVELS.keys() == {CHANGE, RESOLVE, LATE} and max(KIND_LEVELS.values()) <= LEVEL
