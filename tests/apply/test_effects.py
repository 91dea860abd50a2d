"""What the overrides do to a cluster: winners, what old tools make of them, and edits that hide LUNs."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.hosts import Sighting
from apply.option_tables import Version
from apply.problems import Problem, Severity
from apply.validate import check_edit, check_overrides, refused

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"


class Reported:
    """Nodes that said this."""

    def __init__(self, seen: Mapping[str, Sequence[Sighting]], tools: tuple[Version, str] | None = None) -> None:
        self._seen, self._tools = seen, tools

    def oldest_tools(self) -> tuple[Version, str] | None:
        return self._tools

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        return self._seen.get(wwid, ())


SEEN = Reported({A: [Sighting("n1", "PURE", "FlashArray", ("sdb",), ("scsi:fcp",))]}, ((0, 9, 4), "n2"))


def found(document: Mapping[str, Mapping[str, str]], text: str, code: str) -> list[Problem]:
    return [p for p in check_overrides(document, text, SEEN) if p.code == code]


def test_what_goes_before_what_is_told() -> None:
    document = {
        "defaults": {"no-path-retry": "5", "path-selector": "queue-length", "failback": "manual"},
        f"wwid/{A}": {"no-path-retry": "7"},
        f"wwid/{B}": {"no-path-retry": "8"},
    }
    text = """\
devices {
	device {
		vendor "PURE"
		product "Flash"
		no_path_retry 3
	}
}
overrides {
	no_path_retry 12
	path_selector "queue-length 0"
	failback immediate
}
defaults {
	verbosity 3
	failback followover
	mode 0660
}
"""
    told = [(p.line, p.message.partition(": ")[2], p.hint) for p in found(document, text, "overrides-winner")]
    section = "in the defaults section of the configuration"
    assert told == [
        (9, f"no_path_retry '12' goes before '5' {section}", ""),
        (9, "no_path_retry '12' goes before that of the device in line 2", ""),
        (9, f"no_path_retry '12' does not hold for LUN {B} and 1 more LUNs: their own setting goes before", ""),
        (11, f"failback 'immediate' goes before 'manual' {section}", ""),
        (14, "verbosity is an option of the configuration too", "pathmesh defaults set verbosity=…"),
        (15, f"failback 'followover' goes before 'manual' {section}", ""),
    ]
    assert {p.severity for p in found(document, text, "overrides-winner")} == {Severity.INFO}


def test_an_edit_of_defaults_that_overrides_go_before_is_told_so() -> None:
    before = {"defaults": {"no-path-retry": "5"}, "overrides": {"text": "overrides {\n\tno_path_retry 12\n}\n"}}
    (told,) = check_edit(before, before | {"defaults": {"no-path-retry": "6"}}, SEEN)
    assert "'12' goes before '6'" in told.message
    assert check_edit(before, before | {f"wwid/{A}": {}}, SEEN) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("overrides {\n\tdetect_pgpolicy yes\n}\n", 2, "0.9.4 of node n2 does not know detect_pgpolicy yes"),
        ("overrides {\n\tpath_grouping_policy group_by_tpg\n}\n", 2, "does not know path_grouping_policy group_by_tpg"),
        ("defaults {\n\tmax_retries 2\n}\n", 2, "does not know max_retries 2"),
        ("devices {\n device {\n  vendor A\n  product B\n  flush_on_last_del never\n }\n}\n", 5, "does not know flush_on_last_del never"),
    ],
)
def test_what_the_oldest_tools_do_not_know_is_a_warning(text: str, line: int, words: str) -> None:
    (problem,) = found({}, text, "overrides-unsupported")
    assert (
        (problem.severity, problem.line) == (Severity.WARNING, line)
        and words in problem.message
        and problem.hint.startswith("it needs 0.9.")
    )


def test_a_section_that_the_oldest_tools_do_not_know() -> None:
    text = "overrides {\n\tprotocol {\n\t\ttype scsi:fcp\n\t\tfast_io_fail_tmo 5\n\t}\n}\n"
    assert found({}, text, "overrides-unsupported") == []
    old = Reported({}, ((0, 8, 9), "n1"))
    (problem,) = (p for p in check_overrides({}, text, old) if p.code == "overrides-unsupported")
    assert "does not know protocol and ignores it" in problem.message and problem.line == 2


def test_options_that_the_oldest_tools_do_not_know_are_a_warning_too() -> None:
    (problem,) = check_edit({}, {"defaults": {"auto-resize": "never"}}, SEEN)
    assert (problem.code, problem.severity, problem.option) == ("unsupported-option", Severity.WARNING, "auto-resize")
    assert check_edit({}, {"defaults": {"polling-interval": "5"}}, SEEN) == []


HIDES_A = 'blacklist {\n\tdevnode "^sdb$"\n}\n'


def test_overrides_that_hide_a_lun_are_refused() -> None:
    before: dict[str, dict[str, str]] = {f"wwid/{A}": {}, f"wwid/{B}": {}}
    problems = check_edit(before, before | {"overrides": {"text": HIDES_A}}, SEEN)
    assert refused(problems) and [p.code for p in problems] == ["overrides-blacklist"] and A in problems[0].message
    assert [p.code for p in check_overrides(before, HIDES_A, SEEN)] == ["overrides-blacklist"]
    assert not refused(check_edit({f"wwid/{A}": {"disable": "1"}}, {f"wwid/{A}": {"disable": "1"}, "overrides": {"text": HIDES_A}}, SEEN))


def test_a_lun_that_the_overrides_hide_is_refused() -> None:
    before: dict[str, dict[str, str]] = {"overrides": {"text": HIDES_A}}
    assert refused(check_edit(before, before | {f"wwid/{A}": {}}, SEEN))
    assert refused(check_edit(before | {f"wwid/{A}": {"disable": "1"}}, before | {f"wwid/{A}": {}}, SEEN))
    assert not refused(check_edit(before, before | {f"wwid/{B}": {}}, SEEN))


def test_what_is_hidden_already_stands_in_nobodys_way() -> None:
    before: dict[str, dict[str, str]] = {"overrides": {"text": HIDES_A}, f"wwid/{A}": {}}
    assert not refused(check_edit(before, before | {f"wwid/{B}": {}}, SEEN))
    assert not refused(check_edit(before, {"overrides": {"text": HIDES_A}}, SEEN))
    assert not refused(check_edit(before, before | {"overrides": {"text": f"# moved\n{HIDES_A}"}}, SEEN))
    worse = {"overrides": {"text": HIDES_A.replace("sdb", "sd[bc]")}}
    assert refused(check_edit(before, before | worse, SEEN))


def test_errors_of_the_text_come_alone() -> None:
    problems = check_overrides({f"wwid/{A}": {}}, HIDES_A + "}\n", SEEN)
    assert [p.code for p in problems] == ["overrides-syntax"]


@given(st.text(max_size=60))
def test_any_text_can_be_checked(text: str) -> None:
    for problem in check_overrides({"defaults": {"no-path-retry": "5"}, f"wwid/{A}": {}}, text, SEEN):
        assert problem.key == "overrides" and "\n" not in problem.message
