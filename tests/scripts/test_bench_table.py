"""The pure parts of the benchmarks' table."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.benchmarks.table import Judged, Row, Target, percentile, rows_json, table, target_text

VALUES = st.lists(st.floats(0.001, 1e5), min_size=1, max_size=200)


@given(VALUES, st.floats(0, 1))
def test_percentile_is_one_of_the_values_with_that_share_below(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(v < found for v in values) <= share * len(values)
    assert sum(v <= found for v in values) >= min(share * len(values), len(values))


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.99, 0), (60, 0.99, 59), (100, 0.99, 99), (101, 0.99, 99), (200, 0.99, 198), (10, 0.5, 5), (10, 0.0, 0), (10, 1.0, 9)],
)
def test_percentile_counts_as_the_limit_does(count: int, share: float, expected: int) -> None:
    assert percentile(range(count, 0, -1), share) == expected + 1


@pytest.mark.parametrize(
    ("values", "target", "limit", "holds"),
    [
        ((7.9, 8.0, 90.0), Target(Judged.RATIO, 8), (1.0, 1.0, 5.0), True),
        ((8.1,), Target(Judged.RATIO, 8), (1.0,), False),
        ((1.0, 2.0, 99.0), Target(Judged.MEDIAN, 2), (), True),
        ((1.0, 2.1, 99.0), Target(Judged.MEDIAN, 2), (), False),
        ((1.0, 2.0, 2.5), Target(Judged.WORST, 2), (), False),
        ((1.0, 2.0), Target(Judged.WORST, 2), (), True),
        ((100.0,), Target(Judged.SHARE, 100), (), True),
        ((99.9,), Target(Judged.SHARE, 100), (), False),
        ((5.0,), Target(), (1.0,), None),
    ],
)
def test_what_is_held_against_the_target(values: tuple[float, ...], target: Target, limit: tuple[float, ...], holds: bool | None) -> None:
    assert Row("x", "ms", values, target, limit).holds is holds


def test_ratio_without_a_limit_is_no_verdict() -> None:
    row = Row("x", "ms", (1.0,), Target(Judged.RATIO, 8))
    assert row.ratio is None
    assert row.holds is None


def test_table_lines_up_and_says_what_is_over() -> None:
    rows = [
        Row("quick", "ms", (1.0, 2.0, 3.0), Target(Judged.RATIO, 8), (0.5, 1.0, 1.5)),
        Row("slow and with a long name", "ms", (16.0, 17.25, 18.0), Target(Judged.MEDIAN, 15), note="why it is slow"),
        Row("shown", "kB/s", (1234.5,)),
    ]
    lines = table(rows).splitlines()
    assert lines[2].split() == ["quick", "3", "2", "ms", "3", "3", "1", "2.0", "<=", "8", "x", "limit", "ok"]
    assert lines[3].endswith("<= 15 ms      OVER")
    assert lines[4].split() == ["shown", "1", "1234", "kB/s", "-", "-", "-", "-", "-"]
    assert lines[5:] == ["slow and with a long name: why it is slow"]
    assert len({line.index(word) for line, word in zip(lines[2:4], ("<= 8", "<= 15"), strict=True)}) == 1


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target(Judged.RATIO, 8), "<= 8 x limit"),
        (Target(Judged.MEDIAN, 0.3), "<= 0.300 ms"),
        (Target(Judged.WORST, 85), "<= 85 ms (worst)"),
        (Target(Judged.SHARE, 100), ">= 100 ms"),
        (Target(), "-"),
    ],
)
def test_targets_read_well(target: Target, text: str) -> None:
    assert target_text(Row("x", "ms", (1.0,), target)) == text


@given(st.lists(st.tuples(VALUES, VALUES | st.just([])), min_size=1, max_size=5))
def test_json_holds_what_the_table_shows(given_rows: list[tuple[list[float], list[float]]]) -> None:
    rows = [Row(f"r{n}", "ms", tuple(v), Target(Judged.RATIO, 8), tuple(limit)) for n, (v, limit) in enumerate(given_rows)]
    for row, document in zip(rows, json.loads(json.dumps(rows_json(rows))), strict=True):
        assert document["median"] == row.median
        assert document["max"] == max(row.values)
        assert (document["ratio"] is None) is (not row.limit)
        assert document["holds"] is row.holds
