"""What the overrides do to a cluster: winners, what old tools make of them, and edits that hide LUNs."""

from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.hosts import Sighting
from apply.option_model import Version
from apply.problems import Problem, Severity
from apply.validate import check_edit, check_overrides, refused

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"


class Reported:
    """Nodes that said this."""

    def __init__(
        self,
        seen: Mapping[str, Sequence[Sighting]],
        tools: tuple[Version, str] | None = None,
        maps: Mapping[str, Sequence[Sighting]] | None = None,
    ) -> None:
        self._seen, self._tools, self._maps = seen, tools, maps or {}

    def oldest_tools(self) -> tuple[Version, str] | None:
        return self._tools

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        return self._seen.get(wwid, ())

    def maps_besides(self, wwids: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        return {wwid: seen for wwid, seen in self._maps.items() if wwid not in wwids}


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


BOOT = "360000000000000000e00000000010001"
USED = Reported({}, maps={BOOT: [Sighting("n3", "LOCAL", "RAID", ("sda",), (), "boot")], A: SEEN.sightings(A)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'blacklist {{\n\twwid "{BOOT}"\n}}\n', f"this wwid rule takes the paths of {BOOT}"),
        ('blacklist {\n\twwid ".*"\n}\n', f"this wwid rule takes the paths of {BOOT}"),
        ('blacklist {\n\tdevnode "^sda$"\n}\n', "sda on n3"),
        ('blacklist {\n\tdevice {\n\t\tvendor "LOCAL"\n\t}\n}\n', "LOCAL RAID"),
        (f'blacklist {{\n\twwid ".*"\n}}\nblacklist_exceptions {{\n\twwid "^{BOOT}$"\n}}\n', ""),
    ],
)
def test_overrides_that_hide_a_map_that_nobody_configured_are_refused(text: str, words: str) -> None:
    before: dict[str, dict[str, str]] = {f"wwid/{A}": {}}
    problems = check_edit(before, before | {"overrides": {"text": text}}, USED)
    assert refused(problems) is bool(words) and all(words in p.message for p in problems)
    hiding = before | {"overrides": {"text": text}}
    assert not refused(check_edit(hiding, hiding | {f"wwid/{B}": {}}, USED)), "it stands already"
    assert not refused(check_edit(hiding, hiding | {"overrides": {"text": f"# moved\n{text}"}}, USED))


def test_a_lun_that_goes_may_be_hidden_by_a_rule_that_stands() -> None:
    before = {f"wwid/{A}": {}, "overrides": {"text": 'blacklist {\n\twwid ".*"\n}\n'}}
    assert not refused(check_edit(before, {"overrides": before["overrides"]}, USED))


def test_a_disabled_lun_that_has_a_map_is_not_hidden() -> None:
    before = {f"wwid/{A}": {"disable": "1"}}
    assert refused(check_edit(before, before | {"overrides": {"text": HIDES_A}}, USED))


@pytest.mark.parametrize(
    ("name", "alias", "hint"),
    [
        ("root", "", f"add {A} with --alias root"),
        ("mpatha", "data", "the name 'mpatha' cannot be an alias"),
        (A, "data", f"add {A} without an alias"),
        ("data", "data", ""),
        (A, "", ""),
        ("", "data", ""),
    ],
)
def test_a_new_lun_that_has_a_map_of_another_name_is_told(name: str, alias: str, hint: str) -> None:
    hosts = Reported({A: [Sighting("n1", name=name)]})
    section = {"alias": alias} if alias else {}
    for before in ({}, {f"wwid/{A}": section | {"disable": "1"}}):
        problems = [p for p in check_edit(before, {f"wwid/{A}": section}, hosts) if p.code == "alias-changed"]
        assert len(problems) == bool(hint)
        assert all(p.severity is Severity.WARNING and "node n1" in p.message and hint in p.hint for p in problems)


def test_errors_of_the_text_come_alone() -> None:
    problems = check_overrides({f"wwid/{A}": {}}, HIDES_A + "}\n", SEEN)
    assert [p.code for p in problems] == ["overrides-syntax"]


@given(st.text(max_size=60))
def test_any_text_can_be_checked(text: str) -> None:
    for problem in check_overrides({"defaults": {"no-path-retry": "5"}, f"wwid/{A}": {}}, text, SEEN):
        assert problem.key == "overrides" and "\n" not in problem.message
