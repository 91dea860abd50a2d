"""What the other nodes say of a LUN, before something is written on it: it is one disk for all of them.

A node that is not heard now, or that does not tell who uses the LUN, may use it: that is not known, and not known is not free.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from agent.cell_view import said
from agent.picture import Picture
from store.cells import MULTIPATH_MAP, STORAGE, CellView
from store.matrix import Reporter


class Elsewhere(NamedTuple):
    """By node: who uses the LUN there, and why it is not known whether anybody does. A node on which nothing uses it is in neither."""

    used: Mapping[str, tuple[str, ...]]
    unknown: Mapping[str, str]


_SILENT: Mapping[Reporter, str] = {
    Reporter.STALE: "what it said last is old",
    Reporter.SUSPECT: "it may be offline",
    Reporter.OFFLINE: "it is offline",
    Reporter.LEFT: "it has left the cluster",
    Reporter.UNHEARD: "it was not heard yet",
}


def users_elsewhere(picture: Picture, own: str, wwid: str, ignored: Collection[str] = ()) -> Elsewhere:
    """The word of every node but `own`. Of `ignored` nodes only counts what they say now, and only if it is that the LUN is used."""
    used: dict[str, tuple[str, ...]] = {}
    unknown: dict[str, str] = {}
    for node, reporter in picture.reporters().items():
        if node == own:
            continue
        cell, fresh = picture.cell(node, MULTIPATH_MAP, wwid), reporter is Reporter.FRESH
        uses = _uses(cell)
        if uses and (fresh or node not in ignored):
            used[node] = uses
        elif node in ignored:
            continue
        elif not fresh:
            unknown[node] = _SILENT.get(reporter, "it is not heard")
        elif uses is None and not _out_of_sight(cell, wwid):
            unknown[node] = "it says nothing of the LUN" if cell is None else "it does not tell who uses the LUN"
    return Elsewhere(used, unknown)


def group_elsewhere(picture: Picture, own: str, storage: str, ignored: Collection[str] = ()) -> str:
    """A node that says, or said last, that the volume group of an `lvm` storage is there; empty if none does."""
    for node, reporter in picture.reporters().items():
        cell = picture.cell(node, STORAGE, storage) if node != own else None
        if cell is not None and said(cell.detail, "size_bytes", 0) > 0 and (reporter is Reporter.FRESH or node not in ignored):
            return node
    return ""


def _uses(cell: CellView | None) -> tuple[str, ...] | None:
    """Who uses a map as its node tells, None if it does not tell, or in another form."""
    found = cell.detail.get("used_by") if cell is not None else None
    if not isinstance(found, list | tuple) or not all(isinstance(use, str) for use in found):
        return None
    return tuple(found)


def _out_of_sight(cell: CellView | None, wwid: str) -> bool:
    """Whether it is known that the node sees no disk of the LUN at all.

    The kernel's names of disks are compared for that, which are only for the identifiers NAA and EUI the same as multipathd's WWIDs; and a
    state that is only shown until a better one has lasted, or that comes and goes, is not what the node sees now.
    """
    return cell is not None and cell.state == "missing" and cell.reasons == ("not-visible",) and wwid.startswith(("3", "2"))
