"""Lines and words of multipath.conf: as multipathd cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.simulated.conf_parser import Setting
from apply.simulated.conf_parser import parse as parse_as_daemon
from apply.tokens import LINE_BYTES, Line, TokenKind, is_brace, lines, quote, tokenise, value_of


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
def test_tokens(line: str, tokens: list[str]) -> None:
    assert [token.text for token in tokenise(Line(1, line))] == tokens


def test_columns_count_from_one_and_go_on_behind_a_cut() -> None:
    assert [(t.text, t.column) for t in tokenise(Line(1, '\tpath "x ""y" # z'))] == [("path", 2), ('"', 7), ('x "y', 8), ('"', 13)]
    first, second = lines("a" + " " * LINE_BYTES + "b c")
    assert [(t.text, t.column) for line in (first, second) for t in tokenise(line)] == [("a", 1), ("b", 1025), ("c", 1027)]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a\nb", ["a", "b"]),
        ("a\r\nb\r", ["a", "b"]),
        ("a\rb", ["a"]),
        ("\r\ra\rb", ["\r\ra"]),
        ("a\0b", ["a"]),
        ("a\u2028b\x0bc\x85d", ["a\u2028b\x0bc\x85d"]),
        ("x" * LINE_BYTES, ["x" * LINE_BYTES]),
        ("x" * (2 * LINE_BYTES + 1), ["x" * LINE_BYTES, "x" * LINE_BYTES, "x"]),
        ("ö" * 600, ["ö" * 511 + "\ufffd", "\ufffd" + "ö" * 88]),
        ("", [""]),
    ],
)
def test_lines(text: str, cut: list[str]) -> None:
    assert [line.text for line in lines(text)] == cut


def test_values() -> None:
    def value(line: str) -> str | None:
        return value_of(tokenise(Line(1, line)))

    assert [value(line) for line in ("a b c", 'a "b c" d', 'a ""', 'a "', "a", "a {", 'a "b')] == ["b", "b c", "", "", None, None, "b"]
    brace, text = tokenise(Line(1, '{"{"'))[0], tokenise(Line(1, '{"{"'))[2]
    assert is_brace(brace, "{") and not is_brace(text, "{") and text.kind is TokenKind.WORD


pieces = st.sampled_from(
    ["path_selector", "prio_args", "x", " ", "\t", '"', '""', "#", "!", "{", "}", "ö", "é", "\r", "\0", "\v", "0", "\\"]
)


@given(st.lists(pieces, max_size=12).map("".join))
def test_the_simulated_daemon_reads_the_same_value(line: str) -> None:
    """It has a reader of its own, which was held against the recorded answers of the real one."""
    parsed = parse_as_daemon(f"defaults {{\nprio_args {line}\n}}\n".encode(), "x.conf")
    items = parsed.blocks[0].items
    taken = [item.value for item in items if isinstance(item, Setting) and item.keyword == "prio_args" and item.line == 2]
    tokens = tokenise(next(iter(lines(f"prio_args {line}"))))
    ours = value_of(tokens) if tokens[0].text == "prio_args" else None
    if len(tokens) > 1 and tokens[1].kind is TokenKind.BRACE and tokens[0].text == "prio_args":
        ours = tokens[1].text  # a brace is a value to the daemon, too; we refuse it
    assert taken == ([] if ours is None else [ours])


@given(st.text(max_size=40))
def test_a_quoted_value_is_one_token(value: str) -> None:
    assert value_of(tokenise(Line(1, f"a {quote(value)}"))) == value


@given(st.text())
def test_anything_can_be_cut(text: str) -> None:
    for line in lines(text):
        for token in tokenise(line):
            assert token.column >= line.column and token.kind in TokenKind
