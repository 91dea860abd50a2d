"""Whatever tests render reaches the real parser, and what that objects to is told with the test that made it."""

from pathlib import Path
from typing import Any

import pytest

import apply.render
from agent import apply_loop, host
from apply.model import build
from apply.render import MAIN, render

BAD = b"defaults {\n\tfoo 1\n}\n"
HERE = "tests/test_renders.py::"


@pytest.fixture
def fresh(renders: Any) -> Any:
    """A collector of its own."""
    return type(renders)()


def test_what_is_rendered_is_taken_wherever_it_is(renders: Any) -> None:
    assert {id(vars(module)["render"]) for module in (apply_loop, host, apply.render)} == {id(render)}
    result = render(build({"defaults": {"comment": "here"}, "wwid/36001": {}}, {}), digest="d", tools_version=None)
    test, files = renders.unseen[-1]
    assert test == HERE + "test_what_is_rendered_is_taken_wherever_it_is"
    assert files == {MAIN: result.files[MAIN].content}


def test_each_is_taken_once_and_of_one_test_not_too_many(fresh: Any) -> None:
    fresh.take({MAIN: b"# Written by pathmesh.\n# digest a\n\ndefaults {\n}\n"})
    fresh.take({MAIN: b"# Written by pathmesh.\n# digest b\n\ndefaults {\n}\n"})
    assert len(fresh.unseen) == 1, "only their headers differ"
    fresh.take({})
    fresh.take({MAIN: b"#" * (fresh.BYTES + 1)})
    assert len(fresh.unseen) == 1
    for number in range(100):
        fresh.take({MAIN: b"# %d\n" % number})
    assert len(fresh.unseen) == fresh.OF_A_TEST


def test_what_a_process_left_is_collected(fresh: Any, tmp_path: Path) -> None:
    (tmp_path / MAIN).write_bytes(b"# Written by pathmesh.\n\ndefaults {\n}\n")
    (tmp_path / "10-foreign.conf").write_bytes(BAD)
    fresh.collect(tmp_path)
    fresh.collect(tmp_path / "nowhere")
    assert [set(files) for _, files in fresh.unseen] == [{MAIN}]


def test_an_objection_names_the_test(fresh: Any) -> None:
    fresh.take({MAIN: BAD})
    faults = fresh.faults()
    if fresh.unparsed and not faults:
        pytest.skip(fresh.unparsed)
    line = f"conf.d/{MAIN} line 2, invalid keyword in the defaults section: foo"
    assert faults == [f"rendered in {HERE}test_an_objection_names_the_test: {line}"]
    assert fresh.faults() == [], "told once"


def test_a_parser_that_is_not_there_is_told_and_is_an_error_where_it_has_to_be(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.hostlab.dropin.why_not", lambda: "it is not there")
    for required, faults in (("", []), ("1", ["it is not there"])):
        monkeypatch.setenv("PATHMESH_REQUIRE_LAB", required)
        collector = type(fresh)()
        collector.take({MAIN: BAD})
        assert collector.faults() == faults and collector.unparsed == "it is not there"
