"""What is wrong with a map by its cell, or was when its state was known last: a fault does not end because nobody can see it any more."""

from collections.abc import Mapping
from typing import Any

from agent.cell_view import said, said_all
from store.cells import Cell, CellView
from store.matrix import CellState

_HANGING = frozenset({"io-hangs", "suspended"})


def faults(cell: Cell | CellView) -> frozenset[str] | None:
    """The reasons and flags of a map, or those that it had when it was known last; None if it never was."""
    if cell.state != CellState.UNKNOWN:
        return frozenset((*cell.reasons, *said_all(cell.detail, "flags", str)))
    last = said(cell.detail, "last", dict[str, Any]())
    return _of(last) if last else None


def hanging(found: frozenset[str]) -> bool:
    """Whether a map with these faults lets I/O hang: without paths it queues, or it is suspended."""
    return not _HANGING.isdisjoint(found)


def _of(last: Mapping[str, Any]) -> frozenset[str]:
    return frozenset((*said_all(last, "reasons", str), *said_all(last, "flags", str)))
