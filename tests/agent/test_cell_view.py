"""Cells and times as JSON, whatever another node put into them."""

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cell_view import NO_PATHS, cell_json, iso, last_known, paths_of, row_json, said, said_all
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, NVME_SUBSYSTEM, Cell
from store.matrix import CellState, RollUp, Row, ShownCell

A = "3624a9370e92ace0b12e941bf000cb4d5"
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["redundancy", "paths", "missing_paths", "path_list", "queueing", "acked", "alias", "state", "reasons", "seq"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1_783_082_760.9, "2026-07-03T12:46:00Z"), (-5, "1970-01-01T00:00:00Z"), (1e300, "9999-12-31T23:59:59Z"),
     (float("nan"), "1970-01-01T00:00:00Z"), (float("inf"), "1970-01-01T00:00:00Z")],
)  # fmt: skip
def test_times_are_rfc_3339_in_utc(seconds: float, text: str) -> None:
    assert iso(seconds) == text


@given(st.floats())
def test_every_time_can_be_read_back(seconds: float) -> None:
    assert datetime.strptime(iso(seconds), "%Y-%m-%dT%H:%M:%SZ")


@given(plain, st.sampled_from(["", 0, [], {}, True]))
def test_a_detail_has_its_defaults_type(value: Any, default: Any) -> None:
    found = said({"x": value}, "x", default)
    assert type(found) is type(default) and found in (value, default)
    assert said({}, "x", default) == default


@given(plain)
def test_items_of_another_type_are_left_out(value: Any) -> None:
    assert all(isinstance(item, str) for item in said_all({"x": value}, "x", str))


@given(plain | st.fixed_dictionaries(dict.fromkeys(NO_PATHS, plain)))
def test_path_counts_are_complete_whatever_was_said(value: Any) -> None:
    found = paths_of({"paths": value})
    assert found.keys() == NO_PATHS.keys()
    assert all(type(found[name]) is int for name in NO_PATHS if not name.startswith("expected"))
    assert found["expected"] is None or type(found["expected"]) is int
    assert isinstance(found["expected_source"], str)


@given(st.dictionaries(names, plain), st.sampled_from([MULTIPATH_MAP, MULTIPATH_APPLY]))
def test_any_cell_can_be_shown(detail: dict[str, Any], kind: str) -> None:
    cell = Cell(kind, "x", "healthy", ("a",), detail, {}, 5.0)
    document = json.loads(msgspec.json.encode(cell_json(ShownCell(CellState.UNKNOWN, ("reporter-offline",), cell), 7)))
    assert document["state"] == "unknown" and document["reasons"] == ["reporter-offline"] and document["seq"] == 7
    assert document["last"] == {"state": "healthy", "reasons": ["a"]} and document["observed_at"] == "1970-01-01T00:00:05Z"


def test_nothing_said_shows_as_nothing() -> None:
    document = cell_json(ShownCell(CellState.MISSING, ("not-reported",), None), 0)
    assert document["paths"] == NO_PATHS and document["observed_at"] is None and "last" not in document


def test_failed_paths_are_named_by_their_identities() -> None:
    listed = [{"id": "a", "class": "active"}, {"id": "b", "class": "failed"}, {"class": "failed"}, "odd", {"id": 7, "class": "failed"}]
    detail = {"paths": {**NO_PATHS, "failed": 3}, "path_list": listed}
    shown = ShownCell(CellState.DEGRADED, (), Cell(MULTIPATH_MAP, A, "degraded", (), detail))
    assert cell_json(shown, 1)["failed_paths"] == ["b"]
    without = ShownCell(CellState.HEALTHY, (), Cell(MULTIPATH_MAP, A, "healthy", (), {"paths": NO_PATHS, "path_list": listed}))
    assert cell_json(without, 1)["failed_paths"] == cell_json(ShownCell(CellState.MISSING, (), None), 0)["failed_paths"] == []


WHEN = "2026-07-03T12:46:00Z"


@pytest.mark.parametrize("kind", [MULTIPATH_MAP, NVME_SUBSYSTEM])
@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"id": "n1/7", "by": "n2", "reason": "r", "expires": 0.0}, {"id": "n1/7", "by": "n2", "reason": "r", "expires": None}),
        ({"id": "n1/7", "by": "n2", "expires": 1_783_082_760.9}, {"id": "n1/7", "by": "n2", "reason": "", "expires": WHEN}),
        ({"id": "n1/7", "by": 3, "reason": [], "expires": "never"}, {"id": "n1/7", "by": "", "reason": "", "expires": None}),
        ({"id": "", "by": "n2"}, None),
        ({"by": "n2"}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_acceptance_in_force(kind: str, told: Any, shown: Any) -> None:
    cell = Cell(kind, A, "healthy", (), {"acked": told})
    assert cell_json(ShownCell(CellState.HEALTHY, (), cell), 1)["acked"] == shown


def test_a_believed_cell_has_no_last_word() -> None:
    assert "last" not in cell_json(ShownCell(CellState.HEALTHY, (), Cell(MULTIPATH_MAP, A, "healthy")), 1)


def test_an_outcome_keeps_its_detail_and_shows_as_its_cell() -> None:
    cell = Cell(MULTIPATH_APPLY, "config", "healthy", (), {"state": "in-sync", "desired": "d"})
    document = cell_json(ShownCell(CellState.HEALTHY, (), cell), 1)
    assert document["state"] == "healthy" and document["desired"] == "d"


def test_a_row_asks_for_the_position_of_each_cell() -> None:
    shown = ShownCell(CellState.HEALTHY, (), Cell(MULTIPATH_MAP, A, "healthy"))
    document = row_json(Row(MULTIPATH_MAP, A, RollUp.HEALTHY, {"n1": shown, "n2": shown}), lambda node, kind, name: int(node[1]))
    assert {name: cell["seq"] for name, cell in document["nodes"].items()} == {"n1": 1, "n2": 2}
    assert (document["kind"], document["id"], document["state"]) == (MULTIPATH_MAP, A, "healthy")


def test_the_first_useful_word_counts() -> None:
    cells = {str(n): Cell(MULTIPATH_MAP, A, "healthy", (), {"vendor": vendor}) for n, vendor in enumerate(("", None, 5, "PURE", "EMC"))}
    assert last_known(cells, "vendor", str) == "PURE"
    assert last_known(cells, "vendor", int) == 5
    assert last_known(cells, "product", str) is None
