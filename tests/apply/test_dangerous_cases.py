"""Drop-ins that the real multipathd takes without a word and then breaks on: none of them gets through an edit here.

The cases are those of `tests/data/captures/config_cases.json`, recorded from the real parser, and those that were given to a real
daemon with two maps. Each is either refused, as overrides or as options, or it is harmless for the reason given.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from apply.problems import Severity
from apply.validate import canonical, check_edit, check_overrides
from store.section_config import parse

CASES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "captures" / "config_cases.json").read_text())

A, B = "35000c500a0b00001", "35000c500a0b00002"
LUNS: dict[str, dict[str, str]] = {f"wwid/{A}": {}, f"wwid/{B}": {}}
LUN_SECTION = "options of single LUNs do not belong here"

REFUSED_AS_TEXT = {
    "003_bad_int": "polling_interval must be",
    "004_bad_enum": "find_multipaths can only be 'strict'",
    "006_missing_close_brace_eof": "is never closed",
    "007_missing_brace_then_other_file": "is never closed",
    "009_extra_close_brace": "'}' closes nothing",
    "010_unquoted_value_with_space": "in double quotes",
    "012_missing_end_quote": "the closing quote is missing",
    "013_missing_value": "has no value",
    "015_duplicate_alias_two_wwids": LUN_SECTION,
    "016_alias_equals_other_wwid": LUN_SECTION,
    "018_alias_empty": LUN_SECTION,
    "019_alias_127": LUN_SECTION,
    "021_alias_space_quoted": LUN_SECTION,
    "022_alias_special": LUN_SECTION,
    "024_alias_backslash": LUN_SECTION,
    "025_alias_embedded_quotes": LUN_SECTION,
    "027_multipath_without_wwid": LUN_SECTION,
    "028_same_wwid_twice_one_file": LUN_SECTION,
    "033_blacklist_bad_regex": "is no regular expression",
    "034_deprecated_keywords": "getuid_callout cannot be set",
    "036_brace_on_next_line": "must stand on one line",
    "037_oneline": "nothing may stand behind '{'",
    "044_value_quoted_numbers_bools": "user_friendly_names can only be 'no'",
    "045_no_path_retry_values": LUN_SECTION,
    "047_nul_bytes": "control character: NUL",
    "048_wwid_regex_in_multipaths": LUN_SECTION,
    "050_mode_uid_gid": LUN_SECTION,
    "051_reservation_key": LUN_SECTION,
    "057_prio_args_and_unknown_prio": "prio must be",
    "059_inline_close_brace_value": "in double quotes",
    "060_two_values": "in double quotes",
}
HARMLESS_AS_TEXT = {
    "000_baseline": "it is what our file says itself",
    "001_unknown_keyword_defaults": "multipathd ignores the keyword, and a warning says so",
    "030_defaults_three_files": "good texts; which file is read last is no question where one file has a fixed name",
    "031_two_defaults_same_file": "the last one holds, and a warning says so",
    "039_no_final_newline": "one is added when the text is rendered",
    "040_empty_file": "nothing is nothing",
    "042_names_filter": "the text is good, and the name of the file is ours",
    "042b_dotconf_hidden_only": "the text is good, and the name of the file is ours",
    "053_device_section": "multipathd drops the device without a vendor, and a warning says so",
    "054_no_main_conf": "the text is good, and needs no other file",
    "056_tab_and_space_mixes": "blanks mean nothing",
}

REFUSED_AS_OPTIONS: Mapping[str, list[tuple[dict[str, dict[str, str]], str]]] = {
    "001_unknown_keyword_defaults": [({"defaults": {"no-such-keyword": "1"}}, "unknown-option")],
    "003_bad_int": [({"defaults": {"polling-interval": "abc"}}, "bad-value")],
    "004_bad_enum": [
        ({"defaults": {"find-multipaths": "sometimes"}}, "pinned-option"),
        ({"defaults": {"user-friendly-names": "maybe"}}, "pinned-option"),
        ({"defaults": {"path-grouping-policy": "bogus"}}, "bad-value"),
        ({"defaults": {"no-path-retry": "never"}}, "bad-value"),
        ({"defaults": {"failback": "soon"}}, "bad-value"),
    ],
    "015_duplicate_alias_two_wwids": [({f"wwid/{A}": {"alias": "same"}, f"wwid/{B}": {"alias": "same"}}, "duplicate-alias")],
    "016_alias_equals_other_wwid": [({f"wwid/{A}": {"alias": B}}, "alias-is-wwid")],
    "018_alias_empty": [({f"wwid/{A}": {"alias": ""}}, "bad-value")],
    "021_alias_space_quoted": [({f"wwid/{A}": {"alias": "my vol"}}, "bad-value")],
    "022_alias_special": [({f"wwid/{A}": {"alias": "a!b#c{d}e"}}, "bad-value")],
    "024_alias_backslash": [({f"wwid/{A}": {"alias": "a\\b"}}, "bad-value")],
    "025_alias_embedded_quotes": [({f"wwid/{A}": {"alias": 'a"b'}}, "bad-value")],
    "034_deprecated_keywords": [
        ({"defaults": {name: "x"}}, "refused-option")
        for name in ("getuid-callout", "config-dir", "multipath-dir", "pg-timeout", "disable-changed-wwids")
    ],
    "045_no_path_retry_values": [({f"wwid/{A}": {"no-path-retry": value}}, "bad-value") for value in ("-1", "99999999999")],
    "048_wwid_regex_in_multipaths": [({"wwid/^3500.*": {"alias": "x"}}, "bad-wwid")],
    "050_mode_uid_gid": [({f"wwid/{A}": {name: "0"}}, "refused-option") for name in ("mode", "uid", "gid")],
    "051_reservation_key": [({f"wwid/{A}": {"reservation-key": "zz"}}, "bad-value")],
    "057_prio_args_and_unknown_prio": [
        ({"defaults": {"prio": "nosuchprio"}}, "bad-value"),
        ({"defaults": {"path-checker": "nosuchchecker"}}, "bad-value"),
        ({"defaults": {"path-selector": "no-such 0"}}, "bad-value"),
        ({"defaults": {"prio-args": "exclusive_pref_bit"}}, "prio-args"),
        ({"defaults": {"hardware-handler": "1 foo"}}, "refused-option"),
    ],
}

REFUSED_OF_THE_DAEMON: Mapping[str, tuple[dict[str, dict[str, str]], str]] = {
    "alias_128": ({f"wwid/{A}": {"alias": "a" * 128}}, "bad-value"),
    "alias_backslash": ({f"wwid/{A}": {"alias": "a\\b"}}, "bad-value"),
    "alias_bang_hash": ({f"wwid/{A}": {"alias": "a!b#c"}}, "bad-value"),
    "alias_control": ({f"wwid/{A}": {"alias": "control"}}, "bad-value"),
    "alias_dot": ({f"wwid/{A}": {"alias": "."}}, "bad-value"),
    "alias_two_dots": ({f"wwid/{A}": {"alias": ".."}}, "bad-value"),
    "alias_duplicate": ({f"wwid/{A}": {"alias": "same"}, f"wwid/{B}": {"alias": "same"}}, "duplicate-alias"),
    "alias_empty": ({f"wwid/{A}": {"alias": ""}}, "bad-value"),
    "alias_empty_unused_map": ({f"wwid/{B}": {"alias": ""}}, "bad-value"),
    "alias_eq_other_wwid": ({f"wwid/{A}": {"alias": B}}, "alias-is-wwid"),
    "alias_quote": ({f"wwid/{A}": {"alias": 'a"b'}}, "bad-value"),
    "alias_space": ({f"wwid/{A}": {"alias": "a b"}}, "bad-value"),
    "alias_unicode": ({f"wwid/{A}": {"alias": "größe"}}, "bad-value"),
    "bad_checker": ({"overrides": {"text": "defaults {\n\tpath_checker nosuchchecker\n}\n"}}, "overrides-value"),
    "bad_feature": ({f"wwid/{A}": {"features": "1 nosuchfeature"}}, "bad-value"),
    "bad_feature_text": ({"overrides": {"text": 'overrides {\n\tfeatures "1 nosuchfeature"\n}\n'}}, "overrides-value"),
    "bad_polling": ({"overrides": {"text": "defaults {\n\tpolling_interval abc\n}\n"}}, "overrides-value"),
    "bad_prio": ({"overrides": {"text": "overrides {\n\tprio nosuchprio\n}\n"}}, "overrides-value"),
    "bad_selector": ({"overrides": {"text": 'overrides {\n\tpath_selector "nosuch 0"\n}\n'}}, "overrides-value"),
    "bad_uid_attribute": ({"overrides": {"text": "defaults {\n\tuid_attribute NO_SUCH\n}\n"}}, "overrides-pinned"),
    "bad_uid_attribute_option": ({"defaults": {"uid-attribute": "NO_SUCH"}}, "refused-option"),
    "blacklist_all": ({"overrides": {"text": 'blacklist {\n\tdevnode ".*"\n}\n'}}, "overrides-blacklist"),
    "find_multipaths_yes": ({"overrides": {"text": "defaults {\n\tfind_multipaths yes\n}\n"}}, "overrides-pinned"),
    "wwids_file_elsewhere": ({"overrides": {"text": "defaults {\n\twwids_file /tmp/wwids\n}\n"}}, "overrides-pinned"),
}
HARMLESS_OF_THE_DAEMON: Mapping[str, tuple[dict[str, dict[str, str]], str]] = {
    "alias_127": ({f"wwid/{A}": {"alias": "a" * 127}}, "device-mapper takes 127 characters"),
    "alias_swap": ({f"wwid/{A}": {"alias": "b"}, f"wwid/{B}": {"alias": "a"}}, "it is applied in two steps, with neutral names between"),
    "blacklist_wwid": ({"overrides": {"text": f'blacklist {{\n\twwid "{A}"\n}}\n'}}, "each LUN has an exception in our main file"),
    "no_path_retry_0": ({f"wwid/{A}": {"no-path-retry": "0"}}, "it is kept as `fail`, which it means"),
}


def texts(case: str) -> list[str]:
    return [text.encode("latin-1").decode() for name, text in CASES[case]["files"].items() if name.startswith("conf.d/")]


def errors(change: Mapping[str, Mapping[str, str]]) -> list[str]:
    problems = check_edit(LUNS, {**LUNS, **change})
    return [problem.code for problem in problems if problem.severity is Severity.ERROR]


def test_every_case_is_judged() -> None:
    assert REFUSED_AS_TEXT.keys() | HARMLESS_AS_TEXT.keys() == CASES.keys()
    assert not REFUSED_AS_TEXT.keys() & HARMLESS_AS_TEXT.keys()
    assert REFUSED_AS_OPTIONS.keys() <= CASES.keys()


@pytest.mark.parametrize(("case", "words"), REFUSED_AS_TEXT.items())
def test_as_overrides_it_is_refused(case: str, words: str) -> None:
    found = [p for text in texts(case) for p in check_overrides(LUNS, text) if p.severity is Severity.ERROR]
    assert any(words in problem.message for problem in found), found
    assert all(problem.line and problem.message.startswith(f"line {problem.line}, column {problem.column}: ") for problem in found)
    assert errors({"overrides": {"text": "".join(texts(case))}})


@pytest.mark.parametrize(("case", "reason"), HARMLESS_AS_TEXT.items())
def test_as_overrides_it_is_harmless(case: str, reason: str) -> None:
    problems = [p for text in texts(case) for p in check_overrides(LUNS, text)]
    assert not [p for p in problems if p.severity is Severity.ERROR]
    assert ("a warning says so" in reason) == any(p.severity is Severity.WARNING for p in problems)


@pytest.mark.parametrize(("case", "change", "code"), [(case, *edit) for case, edits in REFUSED_AS_OPTIONS.items() for edit in edits])
def test_as_options_it_is_refused(case: str, change: dict[str, dict[str, str]], code: str) -> None:
    assert code in errors(change)


@pytest.mark.parametrize("case", REFUSED_OF_THE_DAEMON)
def test_what_broke_the_daemon_is_refused(case: str) -> None:
    change, code = REFUSED_OF_THE_DAEMON[case]
    assert errors(change) == [code]


@pytest.mark.parametrize("case", HARMLESS_OF_THE_DAEMON)
def test_what_did_not_break_the_daemon_is_taken(case: str) -> None:
    change, reason = HARMLESS_OF_THE_DAEMON[case]
    assert errors(canonical(change)) == [] and reason


def test_two_sections_of_one_lun_are_no_document() -> None:
    """Case 028: multipathd merges them, and nobody knows what holds."""
    parsed = parse(f"wwid: {A}\n\talias a1\n\nwwid: {A}\n\talias a2\n\n")
    assert [issue.line for issue in parsed.issues] == [4]
