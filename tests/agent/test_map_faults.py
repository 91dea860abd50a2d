"""What is wrong with a map, or was when that was known last."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.map_faults import faults, hanging
from store.cells import MULTIPATH_MAP, Cell

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
)


def cell(state: str, *reasons: str, **detail: Any) -> Cell:
    return Cell(MULTIPATH_MAP, "361", state, reasons, detail)


@pytest.mark.parametrize(
    ("of", "found"),
    [
        (cell("healthy"), set()),
        (cell("failed", "no-paths", flags=["io-hangs"]), {"no-paths", "io-hangs"}),
        (cell("degraded", "suspended", last={"flags": ["merged-luns"]}), {"suspended"}),
        (
            cell("unknown", "daemon-down", flags=["merged-luns"], last={"state": "failed", "reasons": ["x"], "flags": ["io-hangs"]}),
            {"x", "io-hangs"},
        ),
        (cell("unknown", "daemon-down", last={"state": "healthy"}), set()),
        (cell("unknown", "daemon-down"), None),
        (cell("unknown", "daemon-down", last={}), None),
    ],
)
def test_what_is_known_last_counts(of: Cell, found: set[str] | None) -> None:
    assert faults(of) == found


@pytest.mark.parametrize("fault", ["io-hangs", "suspended"])
def test_what_hangs(fault: str) -> None:
    assert hanging(frozenset({"path-lost", fault})) and not hanging(frozenset({"path-lost"}))


@given(st.sampled_from(["unknown", "healthy"]), st.fixed_dictionaries({}, optional={"flags": ANYTHING, "last": ANYTHING}))
def test_a_cell_in_another_form_is_no_fault_of_ours(state: str, detail: dict[str, Any]) -> None:
    found = faults(cell(state, **detail))
    assert found is None or all(isinstance(fault, str) for fault in found)
