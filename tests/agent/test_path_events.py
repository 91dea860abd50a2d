"""What is told of expected paths between two cells."""

from typing import Any

import pytest

from agent.path_events import path_events
from store.cells import MULTIPATH_MAP, Cell, pack

A, B, C = "fc:a>x", "fc:b>y", "fc:c>z"


def cell(baseline: Any = (), missing: Any = (), state: str = "healthy", source: str = "learned") -> Cell:
    detail = {"baseline": list(baseline), "missing_paths": list(missing), "paths": {"expected_source": source}}
    return Cell(MULTIPATH_MAP, "361", state, (), detail)


def told(was: Cell | None, now: Cell | None) -> list[tuple[str, str]]:
    return [(found.kind, found.what) for found in path_events(was, pack(now) if now is not None else None)]


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        (cell([A, B]), cell([A, B], [B], "degraded"), [("path-lost", f"lost the path {B}")]),
        (cell([A, B], [B], "degraded"), cell([A, B], [B], "degraded"), []),
        (cell([A, B], [B], "degraded"), cell([A, B]), [("path-back", f"has the path {B} again")]),
        (cell([A]), cell([A, B]), [("paths-expected", "2 paths are expected now, 1 before (learned)")]),
        (
            cell([A, B], [B], "degraded"),
            cell([A], source="accepted"),
            [("paths-expected", "1 paths are expected now, 2 before (accepted)")],
        ),
        (cell([A, B]), cell([A, B], [A, B], "missing"), [("path-lost", f"lost 2 paths: {A}, {B}")]),
        (cell(), cell([A, B]), []),
        (cell([A, B]), cell(state="unknown"), []),
        (cell(state="unknown"), cell([A, B], [B], "degraded"), []),
        (None, cell([A], [A], "missing"), []),
        (cell([A]), None, []),
        (Cell(MULTIPATH_MAP, "361", "healthy", (), {"baseline": 7, "missing_paths": "x"}), cell([A]), []),
    ],
)
def test_what_moved_is_told(was: Cell | None, now: Cell | None, expected: list[tuple[str, str]]) -> None:
    assert told(was, now) == expected


def test_very_many_paths_are_counted() -> None:
    names = [f"fc:{n:02}>x" for n in range(20)]
    [found] = path_events(cell(names), cell(names, names, "missing"))
    assert found.more == {"paths": names[:8], "count": 20}
    assert found.what.endswith(" and 12 more")
