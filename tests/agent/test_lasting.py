"""How long something has lasted, in words."""

import pytest

from agent.lasting import lasting


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.0, "3 s"), (119.0, "119 s"), (180.0, "3 minutes"), (8000.0, "2 hours"), (9e5, "10 days")]
)
def test_ages_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert lasting(seconds) == words
