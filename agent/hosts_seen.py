"""What the nodes reported of their tools and of single LUNs, for judging an edit by it."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from agent.picture import Picture
from apply.hosts import Sighting, protocol_of
from apply.option_model import Version
from store.cells import MULTIPATH_MAP, CellView

MAX_SIGHTINGS = 32
"""Nodes that are asked for one LUN: the others of a large cluster see it much the same."""
_NO_MAP = frozenset({"missing", "absent"})


class HostsSeen:
    """The answers of all members that are shown, as this node holds them; they may be old."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def oldest_tools(self) -> tuple[Version, str] | None:
        """The oldest release of multipath-tools that a node reported, and the first of the nodes that have it."""
        found = [
            (version, node)
            for node in self._picture.node_names()
            if (version := read_version(self._picture.node_facts(node).get("tools_version"))) is not None
        ]
        return min(found, default=None)

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        """How nodes see a LUN of which they reported a map, or paths that are in none."""
        return list(islice((found for node in self._picture.node_names() if (found := self._seen_by(node, wwid))), MAX_SIGHTINGS))

    def maps_besides(self, wwids: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        """The maps of other LUNs than these that nodes reported, by WWID."""
        found: dict[str, list[Sighting]] = {}
        for node in self._picture.node_names():
            for wwid, cell in self._picture.cells_of(node, MULTIPATH_MAP).items():
                if wwid not in wwids and cell.state not in _NO_MAP and len(found.get(wwid, ())) < MAX_SIGHTINGS:
                    found.setdefault(wwid, []).append(_sighting(node, wwid, cell))
        return found

    def _seen_by(self, node: str, wwid: str) -> Sighting | None:
        cell = self._picture.cell(node, MULTIPATH_MAP, wwid)
        if cell is not None:
            return _sighting(node, wwid, cell)
        visible = self._picture.node_facts(node).get("visible")
        rows = (row for row in visible if isinstance(row, dict) and row.get("wwid") == wwid) if isinstance(visible, list) else ()
        return next((_without_map(node, row) for row in rows), None)


def _without_map(node: str, row: Mapping[str, Any]) -> Sighting:
    """A LUN that nobody configured: a node tells of its paths only whose they are."""
    return Sighting(node, _text(row.get("vendor")), _text(row.get("product")))


def _sighting(node: str, wwid: str, cell: CellView) -> Sighting:
    cell = cell.whole()
    detail, paths = cell.detail, cell.measures.get("devs")
    devices = {str(identity): str(name) for identity, name in paths.items()} if isinstance(paths, dict) else {}
    return Sighting(
        node,
        _text(detail.get("vendor")),
        _text(detail.get("product")),
        tuple(sorted({name for name in devices.values() if name not in ("", "-")})),
        tuple(sorted({protocol for identity in devices if (protocol := protocol_of(identity))})),
        (_text(detail.get("alias")) or wwid) if "path_list" in detail and cell.state not in _NO_MAP else "",
    )


def read_version(text: object) -> Version | None:
    """The release of multipath-tools that a node told; None if it told none, or nothing that is one."""
    parts = text.split(".") if isinstance(text, str) else []
    if not 2 <= len(parts) <= 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return None
    major, minor, patch = (int(part) for part in [*parts, "0"][:3])
    return major, minor, patch


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
