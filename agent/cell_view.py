"""Cells, rows and times as the JSON that users and scripts rely on."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from store.cells import MULTIPATH_MAP, Cell
from store.matrix import Row, ShownCell

NO_PATHS: Mapping[str, Any] = {
    "usable": 0,
    "active": 0,
    "standby": 0,
    "marginal": 0,
    "failed": 0,
    "visible": 0,
    "expected": None,
    "expected_source": "none",
}


def iso(seconds: float) -> str:
    """Wall time as RFC 3339 text in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cell_json(shown: ShownCell, seq: int) -> dict[str, Any]:
    """One cell. `age_seconds` is the reporter's and is added by whoever shows it."""
    cell = shown.cell
    document: dict[str, Any] = {"state": shown.state.value, "reasons": list(shown.reasons)}
    if cell is None:
        return document | {
            "redundancy": "none",
            "paths": NO_PATHS,
            "missing_paths": [],
            "queueing": "none",
            "observed_at": None,
            "seq": seq,
            "acked": None,
        }
    if cell.kind == MULTIPATH_MAP:
        detail = cell.detail
        document |= {
            "redundancy": detail.get("redundancy", "none"),
            "paths": detail.get("paths", NO_PATHS),
            "missing_paths": detail.get("missing_paths", []),
            "queueing": detail.get("queueing", "none"),
            "acked": detail.get("acked"),
        }
    else:
        document |= cell.detail
        document["state"] = shown.state.value
    document |= {"observed_at": iso(cell.observed_at), "seq": seq}
    if shown.state.value != cell.state:
        document["last"] = {"state": cell.state, "reasons": list(cell.reasons)}
    return document


def row_json(row: Row, seq: Callable[[str, str, str], int]) -> dict[str, Any]:
    """One row of the matrix."""
    return {
        "kind": row.kind,
        "id": row.id,
        "state": row.state.value,
        "nodes": {node: cell_json(shown, seq(node, row.kind, row.id)) for node, shown in row.nodes.items()},
    }


def last_known(cells: Mapping[str, Cell], name: str) -> Any:
    """The first value that any node's cell has for a detail; None if none has."""
    for cell in cells.values():
        if (value := cell.detail.get(name)) not in (None, ""):
            return value
    return None
