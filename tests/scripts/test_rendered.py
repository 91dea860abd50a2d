"""Which objections of the real parser were to be expected."""

import pytest

from apply.render import MAIN, OVERRIDES
from scripts.hostlab.dropin import Verdict
from scripts.hostlab.rendered import objections

RELEASE = (0, 9, 4)
MAIN_TEXT = b"""# Written by pathmesh.
# digest d

defaults {
	auto_resize "never"
	flush_on_last_del "always"
	path_checker "tur"
}
multipaths {
	multipath {
		marginal_path_err_sample_time "120"
		purge_disconnected "yes"
	}
}
"""
OVERRIDES_TEXT = b"""# Written by pathmesh.
# digest d

overrides {
	no_path_retry 5
	bogus 1
	auto_resize never
	purge_disconnected yes
}
"""
FILES = {MAIN: MAIN_TEXT, OVERRIDES: OVERRIDES_TEXT}


def objected(line: str, release: tuple[int, int, int] = RELEASE) -> bool:
    return bool(objections(FILES, Verdict((line,), ""), release))


@pytest.mark.parametrize(
    ("name", "line", "newer"),
    [
        *((MAIN, line, newer) for line, newer in ((1, False), (5, True), (6, True), (7, False), (11, False), (12, True))),
        *((OVERRIDES, line, newer) for line, newer in ((5, False), (8, True))),
    ],
)
def test_a_word_that_came_later_is_no_fault(name: str, line: int, newer: bool) -> None:
    said = f"conf.d/{name} line {line}, invalid keyword in the defaults section: x"
    assert objected(said) is not newer
    assert objected(said, (99, 0, 0)), "a release that knows it has no reason to object"


def test_what_our_check_has_said_too_is_no_fault() -> None:
    assert not objected(f"conf.d/{OVERRIDES} line 6, invalid keyword in the overrides section: bogus")
    assert not objected(f"conf.d/{OVERRIDES} line 7, invalid keyword in the overrides section: auto_resize")
    assert objected(f"conf.d/{OVERRIDES} line 4, missing '}}'")


def test_anything_else_is_a_fault() -> None:
    for line in ("conf.d/10-foreign.conf line 5, x", "multipath.conf line 5, x", "out of memory"):
        assert objected(line)
    assert objections(FILES, Verdict((), ""), RELEASE) == []
