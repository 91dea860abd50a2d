"""Cells, rows and times as the JSON that users and scripts rely on.

A cell's detail was written by another node, of another version or in bad faith: what has not the form that readers rely on is left out.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, TypeVar

from apply.outcome import APPLIED_CLOCK
from store.cells import MULTIPATH_MAP, NVME_SUBSYSTEM, Cell, CellView
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
_COUNTS = ("usable", "active", "standby", "marginal", "failed", "visible")


_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last that this text form can say."""
_Value = TypeVar("_Value")


@lru_cache(maxsize=4096)
def iso(seconds: float) -> str:
    """Wall time as RFC 3339 text in UTC, to the second; what another node's clock says beyond all time is cut to what can be said."""
    told = min(max(seconds, 0), _LAST_SECOND) if isfinite(seconds) else 0
    return datetime.fromtimestamp(told, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def said(detail: Mapping[str, Any], name: str, default: _Value) -> _Value:
    """A detail, if it is of its default's type; else the default."""
    found = detail.get(name)
    return found if type(found) is type(default) else default


def said_all(detail: Mapping[str, Any], name: str, kind: type[_Value]) -> list[_Value]:
    """Those items of a detail that are of this type; none if it is no list."""
    found = detail.get(name)
    return [item for item in found if isinstance(item, kind)] if isinstance(found, list | tuple) else []


def paths_of(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """How many paths a map has, by class."""
    found: dict[str, Any] = said(detail, "paths", {})
    if all(type(found.get(name)) is int for name in _COUNTS) and found.keys() == NO_PATHS.keys():
        return found
    expected = found.get("expected")
    return {
        **{name: said(found, name, 0) for name in _COUNTS},
        "expected": expected if type(expected) is int else None,
        "expected_source": said(found, "expected_source", "none"),
    }


def failed_paths(detail: Mapping[str, Any]) -> list[str]:
    """The identities of a map's failed paths. A map without any is not searched for them."""
    if not paths_of(detail)["failed"]:
        return []
    listed = (path for path in said_all(detail, "path_list", dict) if said(path, "class", "") == "failed")
    return [name for path in listed if (name := said(path, "id", ""))]


def acceptance_json(detail: Mapping[str, Any]) -> dict[str, Any] | None:
    """The acceptance that is in force on a cell's node: the edit that says so, who wrote it, why, until when (None = for ever)."""
    found: dict[str, Any] = said(detail, "acked", {})
    if not said(found, "id", ""):
        return None
    expires = found.get("expires")
    until = iso(expires) if isinstance(expires, int | float) and expires > 0 else None
    return {"id": found["id"], "by": said(found, "by", ""), "reason": said(found, "reason", ""), "expires": until}


def cell_json(shown: ShownCell, seq: int) -> dict[str, Any]:
    """One cell. `age_seconds` is the reporter's and is added by whoever shows it."""
    cell = shown.cell
    document: dict[str, Any] = {"state": shown.state.value, "reasons": list(shown.reasons)}
    if cell is None:
        return document | {
            "redundancy": "none",
            "paths": NO_PATHS,
            "missing_paths": [],
            "failed_paths": [],
            "queueing": "none",
            "flags": [],
            "observed_at": None,
            "seq": seq,
            "acked": None,
        }
    if cell.kind == MULTIPATH_MAP:
        detail = cell.detail
        document |= {
            "redundancy": said(detail, "redundancy", "none"),
            "paths": paths_of(detail),
            "missing_paths": said_all(detail, "missing_paths", str),
            "failed_paths": failed_paths(detail),
            "queueing": said(detail, "queueing", "none"),
            "flags": said_all(detail, "flags", str),
            "acked": acceptance_json(detail),
        }
    else:
        document = {**{name: value for name, value in cell.detail.items() if name != APPLIED_CLOCK}, **document}
        if cell.kind == NVME_SUBSYSTEM:
            document["acked"] = acceptance_json(cell.detail)
    document |= {"observed_at": iso(cell.observed_at), "seq": seq}
    if shown.state.value != cell.state:
        document["last"] = {"state": cell.state, "reasons": list(cell.reasons)}
    return document


def map_json(cell: Cell | None) -> dict[str, Any]:
    """What a node told of one map beside its state: its device, and its path groups with their paths."""
    detail, measures = (cell.detail, cell.measures) if cell is not None else ({}, {})
    devices: dict[str, Any] = said(measures, "devs", {})
    groups: dict[int, list[dict[str, Any]]] = {}
    for path in said_all(detail, "path_list", dict):
        groups.setdefault(said(path, "group", 0), []).append({"dev": devices.get(said(path, "id", "")), **path})
    return {
        "device": said(measures, "sysfs", "") or None,
        "path_groups": [{"group": number, "paths": paths} for number, paths in sorted(groups.items())],
    }


def row_json(row: Row, seq: Callable[[str, str, str], int]) -> dict[str, Any]:
    """One row of the matrix."""
    return {
        "kind": row.kind,
        "id": row.id,
        "state": row.state.value,
        "nodes": {node: cell_json(shown, seq(node, row.kind, row.id)) for node, shown in row.nodes.items()},
    }


def last_known(cells: Mapping[str, CellView], name: str, kind: type[_Value]) -> _Value | None:
    """The first value of this type that any node's cell has for a detail; None if none has."""
    for cell in cells.values():
        if type(value := cell.detail.get(name)) is kind and value != "":
            return value
    return None
