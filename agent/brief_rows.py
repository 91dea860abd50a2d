"""Rows of the matrix in brief: what a table of all LUNs on all nodes shows, some twenty bytes a cell instead of some four hundred. Pure.

A cell is a list: its state, the usable and the expected paths (null where that is not known), and, where there is anything to say, its
reasons, what its node said last of a cell that is not known now (else null), and its flags, worst first.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from agent.cell_view import iso, paths_of, said, said_all
from agent.config_view import ConfigView
from agent.flags import worst_first
from store.cells import MULTIPATH_MAP, NVME_SUBSYSTEM, CellView
from store.matrix import Row, ShownCell

_WITH_PATHS = frozenset({MULTIPATH_MAP, NVME_SUBSYSTEM})
_COUNTED = 3
"""A cell's state and counts, which are always told."""
_TOLD: Mapping[str, type[str] | type[int]] = {"alias": str, "vendor": str, "product": str, "size_bytes": int}


def brief_cell(shown: ShownCell) -> list[Any]:
    """One cell in brief."""
    cell = shown.cell
    usable = expected = None
    last: str | None = None
    flags: list[str] = []
    if cell is not None:
        if cell.kind in _WITH_PATHS:
            detail = cell.detail
            paths = paths_of(detail)
            usable, expected = paths["usable"], paths["expected"]
            flags = sorted(said_all(detail, "flags", str), key=worst_first)
        if cell.state != shown.state.value:
            last = cell.state
    brief: list[Any] = [shown.state.value, usable, expected, list(shown.reasons), last, flags]
    while len(brief) > _COUNTED and not brief[-1]:
        brief.pop()
    return brief


def configured(config: ConfigView, kind: str, name: str) -> dict[str, Any]:
    """What the configuration says of a LUN; nothing of other kinds."""
    if kind != MULTIPATH_MAP:
        return {}
    lun, expected = config.model.luns.get(name), config.expected.get(name)
    return {
        "alias": (lun.alias or None) if lun is not None else None,
        "configured": lun is not None and lun.enabled,
        "storages": [c.storage for c in expected.consumers] if expected else [],
        "expected_nodes": sorted(expected.nodes) if expected else [],
    }


def brief_row(row: Row, config: Mapping[str, Any], since: float) -> dict[str, Any]:
    """One row in brief. `config` is what `configured` gave, `since` the wall time since which the row reads as it does."""
    told = _told(row.nodes[name].cell for name in sorted(row.nodes)) if row.kind in _WITH_PATHS else {}
    return {
        "kind": row.kind,
        "id": row.id,
        "state": row.state.value,
        "since": iso(since),
        **told,
        **{name: value for name, value in config.items() if value is not None},
        "cells": {node: brief_cell(shown) for node, shown in row.nodes.items()},
    }


def _told(cells: Iterable[CellView | None]) -> dict[str, Any]:
    """What nodes told of the resource itself: each thing as the first node told it that did. One node mostly told all of it."""
    found: dict[str, Any] = dict.fromkeys(_TOLD)
    for cell in cells:
        if cell is not None:
            detail = cell.detail
            for name, kind in _TOLD.items():
                found[name] = found[name] or said(detail, name, kind()) or None
            if found["vendor"] and found["size_bytes"]:
                break
    return found
