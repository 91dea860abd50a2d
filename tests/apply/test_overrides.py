"""The overrides text: tokens and errors as multipathd has them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.overrides import MAX_BYTES, MAX_LINE_BYTES, check, parse, quote, tokenise
from apply.problems import Severity

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
    ("line", "tokens"),
    [
        ("", []),
        ("  \t# x", []),
        ("!x", []),
        ("a b", ["a", "b"]),
        ("a#b", ["a"]),
        ("a{b}", ["a", "{", "b", "}"]),
        ('a "b c"', ["a", '"', "b c", '"']),
        ('a "#b!{}"', ["a", '"', "#b!{}", '"']),
        ('a ""', ["a", '"', '"']),
        ('a """b"', ["a", '"', '"b', '"']),
        ('a "b"""', ["a", '"', 'b"', '"']),
        ('a "b""c" d', ["a", '"', 'b"c', '"', "d"]),
        ('a "b c', ["a", '"', "b c"]),
        ("größe 1", ["gr", "e", "1"]),
        ('a "größe"', ["a", '"', "größe", '"']),
        ('a"b"c', ["a", '"', "b", '"', "c"]),
    ],
)
def test_tokens(line, tokens):
    assert [token.text for token in tokenise(line)] == tokens


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
    assert found and found[0][1].startswith(f"line {line}: ") and words in found[0][1]


def test_a_value_that_multipathd_only_caps_is_a_warning():
    problems = check("defaults {\n\tchecker_timeout 99999\n}\n")
    assert [(p.code, p.severity) for p in problems] == [("overrides-value", Severity.WARNING)]


def test_quotes_in_comments_and_values_do_not_confuse():
    assert errors('defaults {\n\tprio alua # "ö\n\tprio_args "a # ö"\n}\n') == []


def test_a_text_that_is_too_large_is_refused_unread():
    assert [code for code, _ in errors("#\n" * MAX_BYTES)] == ["overrides-too-large"]


def test_errors_come_in_the_order_of_their_lines():
    lines = [int(message.split()[1].rstrip(":")) for _, message in errors("x y\n}\nmultipaths {\n}\ndefaults {\n")]
    assert lines == sorted(lines) and len(lines) == 4


@given(st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=30))
def test_a_quoted_value_comes_back(value):
    statements, problems = parse(f"defaults {{\n\tprio_args {quote(value)}\n}}\n")
    assert problems == [] and statements[0].children[0].value == value


pieces = st.sampled_from(["defaults", "devices {", "device", "{", "}", "\n", "\n", " ", '"', "#", "prio", "alua", "ö", "\0", '""', "x 1\n"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(pieces, max_size=30).map("".join), st.text(max_size=60)))
def test_no_text_makes_the_check_fail(text):
    for problem in check(text):
        assert problem.key == "overrides" and "\n" not in problem.message
