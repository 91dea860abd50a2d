"""The overrides text: tokens and errors as multipathd has them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.overrides import MAX_BYTES, MAX_FINDINGS, MAX_LINE_BYTES, check, parse
from apply.problems import Severity
from apply.tokens import quote

GOOD = """\
# site
devices {
	device {
		vendor "PURE"   # array
		product "2.5"" SSD"
		path_selector "service-time 0"
		features "1 retain_attached_hw_handler"
		hardware_handler "1 alua"
		path_checker tur
	}
}
overrides {
	dev_loss_tmo 600 ! seconds
	protocol {
		type "scsi:fcp"
		fast_io_fail_tmo 5
	}
}
blacklist {
	devnode "^(ram|zram)[0-9]"
	device {
		vendor "Größe"
	}
}
defaults {
	user_friendly_names no
	find_multipaths "strict"
}
"""


def errors(text):
    return [(p.code, p.message) for p in check(text) if p.severity is Severity.ERROR]


def test_a_good_text_has_no_problem():
    assert check(GOOD) == ()


def test_a_good_text_is_read_into_sections():
    statements, problems = parse(GOOD)
    assert problems == [] and [s.keyword for s in statements] == ["devices", "overrides", "blacklist", "defaults"]
    device = statements[0].children[0]
    assert [(s.keyword, s.value, s.line) for s in device.children[:2]] == [("vendor", "PURE", 4), ("product", '2.5" SSD', 5)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("defaults {\n", 1, "never closed"),
        ("}\n", 1, "closes nothing"),
        ("defaults\n{\n}\n", 1, "must stand on one line"),
        ("defaults {\n} x\n", 2, "behind '}'"),
        ("defaults { prio alua\n}\n", 1, "behind '{'"),
        ("defaults {\n\tprio\n}\n", 2, "has no value"),
        ("defaults {\n\tpath_selector round-robin 0\n}\n", 2, "in double quotes"),
        ('defaults {\n\tprio "alua\n}\n', 2, "closing quote"),
        ('defaults {\n\tprio "alua" "x"\n}\n', 2, "behind the closing quote"),
        ('defaults {\n\t"prio" alua\n}\n', 2, "cannot begin with"),
        ("{\n}\n", 1, "cannot begin with"),
        ("defaults {\n\tprio }\n}\n", 2, "braces must be in double quotes"),
        ("prio alua\n", 1, "outside of a section"),
        ("mutipaths {\n}\n", 1, "no section 'mutipaths'"),
        ("device {\n}\n", 1, "no section 'device' at the top"),
        ("defaults {\n\tdevice {\n\t}\n}\n", 2, "no section 'device' in 'defaults'"),
        ("multipaths {\n\tmultipath {\n\t}\n}\n", 1, "single LUNs"),
        ("defaults {\r\n}\n", 1, "CR"),
        ("defaults {\n\tprio \0\n}\n", 2, "NUL"),
        ("defaults {\n\tprio größe\n}\n", 2, "not ASCII"),
        ("\ufeffdefaults {\n}\n", 1, "not ASCII"),
        ("# \ud800\n", 1, "UTF-8"),
        ("# " + "x" * MAX_LINE_BYTES, 1, "longer than"),
        ("defaults {\n\tuser_friendly_names yes\n}\n", 2, "can only be 'no'"),
        ("devices {\n\tdevice {\n\t\tuser_friendly_names 1\n\t}\n}\n", 3, "can only be 'no'"),
        ("overrides {\n\tuser_friendly_names yes\n}\n", 2, "can only be 'no'"),
        ("defaults {\n\tfind_multipaths greedy\n}\n", 2, "can only be 'strict'"),
        ("defaults {\n\tuid_attribute ID_X\n}\n", 2, "cannot be set"),
        ("defaults {\n\twwids_file /x\n}\n", 2, "cannot be set"),
        ("devices {\n\tdevice {\n\t\tgetuid_callout x\n\t}\n}\n", 3, "cannot be set"),
        ("defaults {\n\tpolling_interval x\n}\n", 2, "polling_interval must be"),
        ("defaults {\n\tpath_selector round-robin\n}\n", 2, "path_selector must be"),
        ('defaults {\n\tpath_selector "fastest 0"\n}\n', 2, "path_selector must be"),
        ('defaults {\n\tpath_selector ""\n}\n', 2, "path_selector must be"),
        ("defaults {\n\tpath_checker turr\n}\n", 2, "path_checker must be"),
        ("overrides {\n\tprio nosuch\n}\n", 2, "prio must be"),
        ('overrides {\n\tfeatures "1 nosuch"\n}\n', 2, "features must be"),
        ('defaults {\n\tpartition_delimiter "/UNSET/"\n}\n', 2, "partition_delimiter must be"),
        ('devices {\n\tdevice {\n\t\thardware_handler "1 nosuch"\n\t}\n}\n', 3, "hardware_handler must be"),
    ],
)
def test_errors_name_their_line(text, line, words):
    found = errors(text)
    assert [message for _, message in found if message.startswith(f"line {line}, column ") and words in message], found


@pytest.mark.parametrize(
    ("text", "code", "place", "words", "hint"),
    [
        ("defaults {\n\tverbosity 9\n}\n", "overrides-value", (2, 12), "capped by multipathd: it takes 4", ""),
        ("overrides {\n\tno_path_retry -1\n}\n", "overrides-value", (2, 16), "it takes 1 for -1", ""),
        ("overrides {\n\tfailback soon\n}\n", "overrides-value", (2, 11), "multipathd ignores it", ""),
        ("overrides {\n\tdev_loss_tmo 30s\n}\n", "overrides-value", (2, 15), "misread by multipathd: it takes 30", ""),
        ("defaults {\n\treservation_key zz\n}\n", "overrides-value", (2, 18), "multipathd ignores it", ""),
        (
            "overrides {\n\tno_path_rety 5\n}\n",
            "overrides-keyword",
            (2, 2),
            "there is no keyword 'no_path_rety'",
            "did you mean no_path_retry?",
        ),
        ("overrides {\n\tpolling_interval 5\n}\n", "overrides-keyword", (2, 2), "in 'overrides'", "it belongs into defaults"),
        ('defaults {\n\thardware_handler "0"\n}\n', "overrides-keyword", (2, 2), "in 'defaults'", "it belongs into devices { device { } }"),
        ("defaults {\n\trr_min_io 1\n}\n", "overrides-obsolete", (2, 2), "no effect", ""),
        ("overrides {\n\tno_path_retry queue\n}\n", "overrides-queueing", (2, 16), "hang", "a number of checks bounds it"),
        ('overrides {\n\tfeatures "1 queue_if_no_path"\n}\n', "overrides-queueing", (2, 11), "hang", "a number of checks bounds it"),
        ("overrides {\n\tprio alua\n\tprio rdac\n}\n", "overrides-duplicate", (3, 2), "the last one holds (first in line 2)", ""),
        ("overrides {\n}\noverrides {\n}\n", "overrides-duplicate", (3, 1), "keep one (first in line 1)", ""),
        ("devices {\n  device {\n\tvendor X\n }\n}\n", "overrides-incomplete", (2, 3), "without product", "both are regular expressions"),
        ("devices {\n  device {\n }\n}\n", "overrides-incomplete", (2, 3), "without vendor and product", "both are regular expressions"),
        ("blacklist {\n  device {\n }\n}\n", "overrides-incomplete", (2, 3), "without vendor and product", ""),
        ("overrides {\n\tprotocol {\n\t}\n}\n", "overrides-incomplete", (2, 2), "without a type", "such as type scsi:fcp"),
        (
            "devices {\n  device {\n\tvendor X\n\tproduct Y\n }\n  device {\n\tproduct Y\n\tvendor X\n }\n}\n",
            "overrides-duplicate",
            (6, 3),
            "same vendor and product already (line 2)",
            "",
        ),
    ],
)
def test_what_is_only_a_warning(text, code, place, words, hint):
    (problem,) = check(text)
    assert (problem.code, problem.severity, problem.line, problem.column, problem.hint) == (code, Severity.WARNING, *place, hint)
    assert problem.message.startswith(f"line {place[0]}, column {place[1]}: ") and words in problem.message


def test_an_interval_above_the_longest_one_is_told():
    text = "defaults {\n\tmax_polling_interval %s\n}\ndefaults {\n\tpolling_interval %s\n}\n"
    assert [(p.code, p.line) for p in check(text % ("7", "600"))] == [("overrides-value", 2), ("overrides-duplicate", 4)]
    assert "multipathd takes 7 for both" in check(text % ("7", "600"))[0].message
    assert [p.code for p in check(text % ("600", "600"))] == ["overrides-duplicate"]


def test_two_names_of_one_keyword_are_one():
    [found] = check("overrides {\n\tchecker tur\n\tpath_checker rdac\n}\n")
    assert (found.code, found.line) == ("overrides-duplicate", 3)


def test_devices_that_differ_in_their_revision_are_two():
    device = "\tdevice {\n\t\tvendor X\n\t\tproduct Y\n\t\trevision %s\n\t}\n"
    assert check("devices {\n" + device % "1" + device % "2" + "}\n") == ()
    assert [p.code for p in check("devices {\n" + device % "1" + device % "1" + "}\n")] == ["overrides-duplicate"]


def test_a_protocol_of_a_type_that_is_not_known_is_told_to_be_dropped():
    found = check("overrides {\n\tprotocol {\n\t\ttype fcp\n\t\tdev_loss_tmo 5\n\t}\n}\n")
    assert [(p.code, p.line) for p in found] == [("overrides-incomplete", 2), ("overrides-value", 3)]


def test_a_protocol_is_a_rule_of_a_filter_and_a_section_of_overrides():
    assert check('blacklist {\n\tprotocol "scsi:usb"\n\tprotocol "cciss"\n}\n') == ()
    assert [code for code, _ in errors('overrides {\n\tprotocol "scsi:usb"\n}\n')] == ["overrides-syntax", "overrides-syntax"]


@pytest.mark.parametrize("rule", ['wwid "("', 'devnode "[a"', 'property "*x"', 'protocol "a{2,1}"', 'device {\n vendor "("\n}'])
def test_a_rule_that_is_no_expression_is_refused(rule):
    assert [code for code, message in errors(f"blacklist {{\n{rule}\n}}\n") if "no regular expression" in message] == ["overrides-value"]


def test_rules_that_are_too_large_together_are_refused():
    rules = "".join(f'devnode "(a{{1,100}}){{1,18}}{n}"\n' for n in range(50))
    (problem,) = check(f"blacklist {{\n{rules}}}\n")
    assert problem.severity is Severity.ERROR and "too large together" in problem.message and 30 < problem.line < 50
    assert check("blacklist {\n" + "".join(f'wwid "^36{n:031x}$"\n' for n in range(1300)) + "}\n") == ()


def test_only_rules_of_filters_can_be_inverted():
    assert check('devices {\n\tdevice {\n\t\tvendor "!*A"\n\t\tproduct "!*"\n\t}\n}\n') == ()
    assert [code for code, _ in errors('blacklist {\n\twwid "!*A"\n}\n')] == ["overrides-value"]


def test_a_typing_error_in_a_section_name_is_recognised():
    (problem,) = (p for p in check("mutipaths {\n}\n") if p.severity is Severity.ERROR)
    assert problem.hint == "did you mean multipaths?"


def test_of_very_many_findings_the_errors_stay_and_the_rest_is_counted():
    text = "defaults {\n" + "x 1\n" * 1000 + "user_friendly_names yes\n}\n"
    found = check(text)
    assert len(found) == MAX_FINDINGS + 1 and [p.line for p in found if p.severity is Severity.ERROR] == [1002]
    assert "more findings" in found[-1].message and len([p for p in found if p.hint]) <= 20


def test_quotes_in_comments_and_values_do_not_confuse():
    assert errors('defaults {\n\tprio alua # "ö\n\tprio_args "a # ö"\n}\n') == []


def test_a_text_that_is_too_large_is_refused_unread():
    assert [code for code, _ in errors("#\n" * MAX_BYTES)] == ["overrides-too-large"]


def test_errors_come_in_the_order_of_their_lines():
    lines = [int(message.split()[1].rstrip(",")) for _, message in errors("x y\n}\nmultipaths {\n}\ndefaults {\n")]
    assert lines == sorted(lines) and len(lines) == 4


@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs",)), max_size=30))
def test_a_quoted_value_comes_back(value):
    statements, problems = parse(f"defaults {{\n\tprio_args {quote(value)}\n}}\n")
    assert problems == [] and statements[0].children[0].value == value


pieces = st.sampled_from(["defaults", "devices {", "device", "{", "}", "\n", "\n", " ", '"', "#", "prio", "alua", "ö", "\0", '""', "x 1\n"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(pieces, max_size=30).map("".join), st.text(max_size=60)))
def test_no_text_makes_the_check_fail(text):
    for problem in check(text):
        assert problem.key == "overrides" and "\n" not in problem.message
