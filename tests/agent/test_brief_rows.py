"""Rows in brief say of each cell what a table shows, whatever a node told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.brief_rows import brief_cell, brief_row
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, Cell, pack
from store.matrix import CellState, RollUp, Row, ShownCell

PATHS = {"usable": 1, "active": 1, "standby": 0, "marginal": 0, "failed": 1, "visible": 2, "expected": 2, "expected_source": "learned"}
DETAIL = {"alias": "told", "vendor": "PURE", "product": "FlashArray", "size_bytes": 2**30, "paths": PATHS}
NOTHING = {"alias": None, "configured": True, "storages": [], "expected_nodes": []}


def shown(state: str = "degraded", reasons: tuple[str, ...] = ("path-failed",), **detail: Any) -> ShownCell:
    cell = Cell(MULTIPATH_MAP, "w", state, reasons, DETAIL | detail)
    return ShownCell(CellState(state), reasons, pack(cell))


def test_a_cell() -> None:
    assert brief_cell(shown()) == ["degraded", 1, 2, ["path-failed"]]
    assert brief_cell(shown("healthy", ())) == ["healthy", 1, 2]
    assert brief_cell(ShownCell(CellState.MISSING, ("not-reported",), None)) == ["missing", None, None, ["not-reported"]]


def test_a_cell_that_is_not_known_now_says_what_it_was() -> None:
    cell = shown("healthy", ()).cell
    assert brief_cell(ShownCell(CellState.UNKNOWN, ("reporter-offline",), cell)) == ["unknown", 1, 2, ["reporter-offline"], "healthy"]


def test_flags_are_told_of_cells_that_have_any_worst_first() -> None:
    flags = ["single-failure-domain", "merged-luns"]
    assert brief_cell(shown("healthy", (), flags=flags)) == ["healthy", 1, 2, [], None, ["merged-luns", "single-failure-domain"]]
    assert brief_cell(shown("healthy", (), flags=[])) == ["healthy", 1, 2], "a cell without any is no longer for it"
    offline = ShownCell(CellState.UNKNOWN, ("reporter-offline",), shown("healthy", (), flags=["io-hangs"]).cell)
    assert brief_cell(offline) == ["unknown", 1, 2, ["reporter-offline"], "healthy", ["io-hangs"]]


def test_a_row_says_what_the_lun_is() -> None:
    row = Row(MULTIPATH_MAP, "w", RollUp.DEGRADED, {"n2": shown(), "n1": ShownCell(CellState.PENDING, (), None)})
    brief = brief_row(row, NOTHING | {"storages": ["san"]}, 0.0)
    assert brief == {
        "kind": MULTIPATH_MAP,
        "id": "w",
        "state": "degraded",
        "since": "1970-01-01T00:00:00Z",
        "alias": "told",
        "vendor": "PURE",
        "product": "FlashArray",
        "size_bytes": 2**30,
        "configured": True,
        "storages": ["san"],
        "expected_nodes": [],
        "cells": {"n2": ["degraded", 1, 2, ["path-failed"]], "n1": ["pending", None, None]},
    }
    assert brief_row(row, NOTHING | {"alias": "mine"}, 0.0)["alias"] == "mine", "what is configured goes before what is told"


def test_other_kinds_have_no_paths() -> None:
    cell = Cell(MULTIPATH_APPLY, "config", "healthy", (), {"paths": PATHS, "alias": "x"})
    row = Row(MULTIPATH_APPLY, "config", RollUp.HEALTHY, {"n1": ShownCell(CellState.HEALTHY, (), cell)})
    brief = brief_row(row, {}, 0.0)
    assert brief["cells"] == {"n1": ["healthy", None, None]} and "alias" not in brief


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["usable", "expected", "x"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["alias", "vendor", "product", "size_bytes", "paths", "flags"]), VALUES))
def test_a_cell_in_bad_faith(detail: dict[str, Any]) -> None:
    cell = ShownCell(CellState.HEALTHY, (), pack(Cell(MULTIPATH_MAP, "w", "healthy", (), detail)))
    brief = brief_row(Row(MULTIPATH_MAP, "w", RollUp.HEALTHY, {"n1": cell}), NOTHING, 0.0)
    state, usable, expected, *more = brief["cells"]["n1"]
    assert more == [] or (more[:2] == [[], None] and more[2] and all(type(flag) is str for flag in more[2]))
    assert state == "healthy" and type(usable) is int and (expected is None or type(expected) is int)
    for name, kind in (("alias", str), ("vendor", str), ("product", str), ("size_bytes", int)):
        assert brief[name] is None or type(brief[name]) is kind


@pytest.mark.parametrize(
    "first", [{"alias": "x"}, {"product": "y", "paths": PATHS}, {}, {"vendor": "", "product": "", "alias": None, "size_bytes": 0}]
)
def test_what_one_node_does_not_tell_another_does(first: dict[str, Any]) -> None:
    silent = ShownCell(CellState.HEALTHY, (), Cell(MULTIPATH_MAP, "w", "healthy", (), first))
    brief = brief_row(Row(MULTIPATH_MAP, "w", RollUp.HEALTHY, {"n1": silent, "n2": shown()}), NOTHING, 0.0)
    assert brief["vendor"] == "PURE" and brief["size_bytes"] == 2**30
