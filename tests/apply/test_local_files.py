"""Files of others: what multipathd ignores in them or would break on is told, and good files are not spoken of."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apply.local_files import CODE, SHOWN, broken_files
from apply.overrides import MAX_BYTES

CASES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "captures" / "config_cases.json").read_text())
GOOD = """\
# a comment
defaults {
\tfind_multipaths yes
\tuser_friendly_names "yes"
\tpolling_interval 10
}
blacklist {
\tdevnode "^(ram|loop)"
\tdevice {
\t\tvendor "IBM"
\t\tproduct "S/390.*"
\t}
}
multipaths {
\tmultipath {
\t\twwid 3600a098038314353763f505349676e35
\t\talias yellow
\t\tpath_grouping_policy multibus
\t\tpath_selector "round-robin 0"
\t\tfailback manual
\t\trr_weight priorities
\t\tno_path_retry 5
\t}
}
devices {
\tdevice {
\t\tvendor "COMPAQ  "
\t\tproduct "HSV110 (C)COMPAQ"
\t\tpath_checker tur
\t\thardware_handler "0"
\t\tprio alua
\t\tfeatures "0"
\t}
}
"""


def said(text: str) -> list[str]:
    return [f"{note.code}: {note.message}" for note in broken_files({"/etc/multipath.conf": text})]


def test_a_good_file_is_not_spoken_of() -> None:
    assert said(GOOD) == said("") == said("# nothing\n") == []


def test_what_multipathd_breaks_on_is_told_with_its_place() -> None:
    for line, keyword in (('path_selector "no-such 0"', "path_selector"), ('features "1 bogus"', "features"), ("prio nosuch", "prio")):
        text = f'multipaths {{\n\tmultipath {{\n\t\twwid "361"\n\t\t{line}\n\t}}\n}}\n'
        (note,) = said(text)
        assert note.startswith(f"{CODE}: /etc/multipath.conf, line 4, column ") and f": {keyword} " in note, note
    (note,) = said("devices {\n\tdevice {\n\t\tvendor X\n\t\tproduct Y\n\t\tpath_checker nosuch\n\t}\n}\n")
    assert "line 5" in note
    (note,) = said("defaults {\n\tpolling_interval abc\n}\n")
    assert "line 2" in note and "polling_interval" in note


def test_faults_of_the_form_are_told() -> None:
    assert any("never closed" in note for note in said("defaults {\n\tpolling_interval 5\n"))
    assert any("closes nothing" in note for note in said("defaults {\n}\n}\n"))


def test_each_file_tells_a_few_and_counts_the_rest() -> None:
    bad = "defaults {\n" + "\tpolling_interval abc\n" * 9 + "}\n"
    notes = [note.message for note in broken_files({"/a.conf": bad, "/b.conf": GOOD, "/c.conf": bad})]
    assert len(notes) == 2 * (SHOWN + 1)
    assert notes[SHOWN] == f"/a.conf: {9 - SHOWN} more faults"


def test_a_file_that_is_no_configuration_is_not_read() -> None:
    assert said("}" * (MAX_BYTES + 1)) == []


def test_recorded_cases_of_values_that_break_are_told() -> None:
    """Those of the real parser's objections that name a value or the form."""
    for name in (
        "003_bad_int",
        "006_missing_close_brace_eof",
        "009_extra_close_brace",
        "033_blacklist_bad_regex",
        "036_brace_on_next_line",
    ):
        texts = [text for file, text in CASES[name]["files"].items() if file.startswith("conf.d/")]
        assert any(said(text) for text in texts), name
    for name in ("000_baseline", "030_defaults_three_files", "040_empty_file", "056_tab_and_space_mixes"):
        assert not [note for text in CASES[name]["files"].values() for note in said(text)], name


@given(st.text(max_size=300) | st.lists(st.sampled_from(GOOD.splitlines()), max_size=20).map("\n".join))
def test_any_text_is_read(text: str) -> None:
    assert len(said(text)) <= SHOWN + 1
