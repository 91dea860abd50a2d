"""The feature level as it is kept."""

from hypothesis import given
from hypothesis import strategies as st

from store.level import FIRST, LEVEL, LEVEL_KEY, level_value, not_speaking, read_level
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
