"""Regular expressions: the same ones as the C library takes, matching the same texts, and never slowly."""

import ctypes
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apply.ere import compile_rule, read_rule
from apply.ere_tree import ExpressionError

_EXTENDED_NOSUB = 1 | 8


class _Regex(ctypes.Structure):
    """glibc's regex_t: 64 bytes on 64-bit machines; more room does no harm."""

    _fields_ = (("room", ctypes.c_char * 128),)


_LIBC = ctypes.CDLL(None)


def by_libc(pattern: str, subject: str) -> bool | None:
    """What regcomp and regexec say; None if the text is no expression."""
    regex = _Regex()
    if _LIBC.regcomp(ctypes.byref(regex), pattern.encode(), _EXTENDED_NOSUB):
        return None
    try:
        return bool(_LIBC.regexec(ctypes.byref(regex), subject.encode(), 0, None, 0) == 0)
    finally:
        _LIBC.regfree(ctypes.byref(regex))


def ours(pattern: str, subject: str) -> bool | None:
    try:
        return read_rule(pattern, invertible=False).matches(subject)
    except ExpressionError:
        return None


PIECES = [
    *"aab01_.^$|()*+?-[]{},", "(a|b)", "[ab]", "[^a]", "[a-c]", "[[:digit:]]", "[[:alpha:]_]", "{2}", "{1,3}", "{,2}", "{2,}", "\\b", "\\<",
    "\\>", "\\B", "\\w", "\\W", "\\s", "\\.", "\\\\", "^a", "b$", "[[.a.]-c]", "[[=a=]]", "[]a]", "[a-]", "[]-a]", "()", " ", "\\`", "\\'",
]  # fmt: skip
patterns = st.lists(st.sampled_from(PIECES), max_size=8).map("".join).filter(lambda text: "---" not in text)
subjects = st.text("aab01_.- c]", max_size=8)


@settings(deadline=None, max_examples=600)
@given(patterns, subjects)
@example("a|*b", "b")
@example("^*a", "a")
@example("a{,}", "aaa")
@example("[--/]", ".")
@example("[a-b-c]", "b")
@example("[[:digit:]-a]", "1")
@example("a**", "b")
@example(")", ")")
@example("(^a)", "ba")
@example("(^)*a", "ba")
@example("a{2}{3}", "aaaaaa")
@example("[z-a]", "z")
@example("x{1", "x{1")
@example("\\{1", "{1")
def test_the_c_library_says_the_same(pattern: str, subject: str) -> None:
    assert ours(pattern, subject) == by_libc(pattern, subject)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(", "never closed"),
        ("[a", "never closed"),
        ("*x", "nothing before '*'"),
        ("a\\", "ends in a backslash"),
        ("(a)\\1", "back-reference"),
        ("[[:nosuch:]]", "no character class"),
        ("[z-a]", "upside down"),
        ("a{3,2}", "upside down"),
        ("a{x}", "count"),
        ("a{99999}", "more than 32767"),
        ("(" * 60 + ")" * 60, "nested"),
        ("((a{99}){99}){99}", "too large"),
        ("a" + "?" * 99, "behind one another"),
        ("[[.space.]]", "collating"),
    ],
)
def test_what_is_no_expression_is_told_why(text: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        read_rule(text)
    assert words in str(caught.value) and compile_rule(text) is None


@pytest.mark.parametrize(
    ("text", "subject", "says"),
    [
        ("!^sd", "sda", False),
        ("!^sd", "loop0", True),
        ("\\!x", "!x", True),
        ("!!x", "!x", False),
        ("^(sd[a-z]|dasd[a-z]|nvme[0-9])", "nvme0n1", True),
        ("^36$", "360", False),
        ("", "anything", True),
        ("Größe", "eine Größe", True),
    ],
)
def test_inverted_rules(text: str, subject: str, says: bool) -> None:
    assert read_rule(text).matches(subject) is says


def test_a_mark_of_inversion_is_plain_where_there_is_none() -> None:
    assert read_rule("!x", invertible=False).matches("a!x")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a*)*(a*)*b", "(.*)(.*)(.*)(.*)[0-9]x", "(a?){60}a{60}"])
def test_no_expression_is_slow(pattern: str) -> None:
    rule = read_rule(pattern)
    start = time.process_time()
    rule.matches("a" * 127 + "!")
    assert time.process_time() - start < 2


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_an_expression_or_refused(pattern: str, subject: str) -> None:
    rule = compile_rule(pattern)
    assert rule is None or rule.matches(subject) in (True, False)


def test_parts_that_are_nested_too_deeply_are_refused_at_any_depth_of_the_stack() -> None:
    deep = b"a"
    for _ in range(18):
        deep = b"(" + deep + b"*" * 50 + b")"
    with pytest.raises(ExpressionError, match="nested too deeply"):
        read_rule(deep.decode())
    assert compile_rule("(" * 40 + "a|b" + ")" * 40) is not None
