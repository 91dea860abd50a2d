"""What became of a map's expected paths between two of its cells: events for people. Pure.

What a node knew and what it lacks are in its cell. A cell that reads unknown tells neither, so what moved meanwhile is told when it is
known again.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from agent.cell_view import said, said_all
from store.cells import CellView
from store.errors import listed
from store.matrix import CellState

SHOWN = 8
"""Paths that one event names."""


class PathEvent(NamedTuple):
    """One event: its kind, the end of its message, and its members."""

    kind: str
    what: str
    more: dict[str, Any]


def path_events(was: CellView | None, now: CellView | None) -> Iterator[PathEvent]:
    """What to tell of a map on one node; nothing for what the first cell says, for then nothing has moved."""
    if was is None or now is None or was is now or CellState.UNKNOWN in (was.state, now.state):
        return
    old, new = was.detail, now.detail
    lost, back = _moved(said_all(old, "missing_paths", str), said_all(new, "missing_paths", str))
    known, learned = set(said_all(old, "baseline", str)), set(said_all(new, "baseline", str))
    if lost:
        yield PathEvent("path-lost", f"lost {_named(lost)}", {"paths": lost[:SHOWN], "count": len(lost)})
    there = [name for name in back if name in learned]
    if there:
        yield PathEvent("path-back", f"has {_named(there)} again", {"paths": there[:SHOWN], "count": len(there)})
    if known and known != learned:
        source = said(said(new, "paths", {}), "expected_source", "none")
        more = {"before": len(known), "after": len(learned), "expected_source": source}
        yield PathEvent("paths-expected", f"{len(learned)} paths are expected now, {len(known)} before ({source})", more)


def _moved(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """What came into the list and what left it, sorted."""
    return sorted(set(after) - set(before)), sorted(set(before) - set(after))


def _named(names: Sequence[str]) -> str:
    return ("the path " if len(names) == 1 else f"{len(names)} paths: ") + listed(names, SHOWN)
