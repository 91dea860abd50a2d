"""What the nodes reported of their tools and of single LUNs, for judging an edit by it."""

from collections.abc import Sequence
from itertools import islice

from agent.picture import Picture
from apply.hosts import Sighting
from apply.option_tables import Version
from store.cells import MULTIPATH_MAP, CellView

MAX_SIGHTINGS = 32
"""Nodes that are asked for one LUN: the others of a large cluster see it much the same."""

_PROTOCOLS = {"fc": "scsi:fcp", "iscsi": "scsi:iscsi", "sas": "scsi:sas"}


class HostsSeen:
    """The answers of all members that are shown, as this node holds them; they may be old."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def oldest_tools(self) -> tuple[Version, str] | None:
        """The oldest release of multipath-tools that a node reported, and the first of the nodes that have it."""
        found = [
            (version, node)
            for node in self._picture.node_names()
            if (version := _version(self._picture.node_facts(node).get("tools_version"))) is not None
        ]
        return min(found, default=None)

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        """How nodes see a LUN that they reported."""
        cells = ((node, self._picture.cell(node, MULTIPATH_MAP, wwid)) for node in self._picture.node_names())
        return list(islice((_sighting(node, cell) for node, cell in cells if cell is not None), MAX_SIGHTINGS))


def _sighting(node: str, cell: CellView) -> Sighting:
    cell = cell.whole()
    detail, paths = cell.detail, cell.measures.get("devs")
    devices = {str(identity): str(name) for identity, name in paths.items()} if isinstance(paths, dict) else {}
    return Sighting(
        node,
        _text(detail.get("vendor")),
        _text(detail.get("product")),
        tuple(sorted({name for name in devices.values() if name not in ("", "-")})),
        tuple(sorted({protocol for identity in devices if (protocol := _protocol(identity))})),
    )


def _protocol(identity: str) -> str:
    """How multipathd calls the transport of a path, by the path's identity; empty if that does not tell."""
    kind, _, rest = identity.partition(":")
    return f"nvme:{rest.partition(':')[0]}" if kind == "nvme" and ":" in rest else _PROTOCOLS.get(kind, "")


def _version(text: object) -> Version | None:
    parts = text.split(".") if isinstance(text, str) else []
    if not 2 <= len(parts) <= 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return None
    major, minor, patch = (int(part) for part in [*parts, "0"][:3])
    return major, minor, patch


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
