"""How results look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.output import Cell, Painted, age_text, aligned, counts_text, one_line, printable, severity, short, size_text, text_of, tsv

cells = st.text(max_size=12) | st.builds(Painted, st.text(max_size=12), st.sampled_from(["healthy", "failed", "", "?"]))


@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=5))
def test_tables_align_and_never_carry_control_characters(rows: list[list[str | Painted]]) -> None:
    plain = aligned(("A", "BB", "C"), rows, color=False)
    assert len(plain) == len(rows) + 1
    assert all(line.isprintable() and line == line.rstrip() for line in plain)
    painted = aligned(("A", "BB", "C"), rows, color=True)
    bare = [line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in painted]
    assert [line.rstrip() for line in bare] == plain


def test_columns_are_two_blanks_apart() -> None:
    assert aligned(("N", "STATE"), [("long-name", "x"), ("n", "y")], color=False) == [
        "N          STATE",
        "long-name  x",
        "n          y",
    ]


def test_colours_follow_the_state() -> None:
    assert aligned(("S",), [(Painted("failed", "failed"),)], color=True)[1] == "\x1b[31mfailed\x1b[0m"


def test_tsv_has_a_header_and_one_line_a_row() -> None:
    lines = list(tsv(("WWID", "USES LEFT"), [("a\tb\nc", "")]))
    assert lines == ["wwid\tuses_left", "a\\tb\\nc\t"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(2199023255552, "2 TiB"), (67108864, "64 MiB"), (512, "512 B"), (1610612736, "1.5 GiB"), (0, "-"), (None, "-"), (1023, "1023 B")],
)
def test_sizes(size: int | None, text: str) -> None:
    assert size_text(size) == text


@given(st.integers(1, 2**60))
def test_a_size_is_short(size: int) -> None:
    assert len(size_text(size)) <= 10


@pytest.mark.parametrize(("age", "text"), [(0.44, "0.4 s"), (59, "59 s"), (150, "2 min"), (7300, "2 h"), (200000, "2 d"), (None, "-")])
def test_ages(age: float | None, text: str) -> None:
    assert age_text(age) == text


@given(st.text())
def test_nothing_printable_moves_the_cursor(text: str) -> None:
    assert printable(text).isprintable()
    assert one_line(text).isprintable()


def test_an_unknown_state_sorts_first() -> None:
    assert severity("melted", ("failed", "healthy")) < severity("failed", ("failed", "healthy"))


def test_a_missing_value_is_a_dash_for_people_and_empty_in_tsv() -> None:
    row: list[Cell] = [
        text_of(None),
        Painted(text_of(""), "x"),
        size_text(None),
        age_text(None),
        short(None),
        counts_text({}, ()),
        text_of([]),
        "-",
    ]
    header = [str(number) for number in range(len(row))]
    assert list(tsv(header, [row]))[1] == "\t" * 7 + "-"
    assert aligned(header, [row], color=False)[1].split() == ["-"] * 8


def test_json_values_as_cells() -> None:
    assert [text_of(v) for v in (None, "", True, [], ["a", 1], 3)] == ["-", "-", "yes", "-", "a,1", "3"]
