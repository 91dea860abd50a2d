"""How many paths the other nodes expect of each LUN, as their cells tell."""

from collections.abc import Collection, Mapping

from agent.cell_view import said_all
from apply.storages import ExpectedNodes
from store.cells import MULTIPATH_MAP, CellView
from store.health import ABSENT, HealthStream, Held

_Entries = Mapping[tuple[str, str], Held]


class PeerSizes:
    """What was read once is not read again: of a stream whose content moved, only the cells that did."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Entries, dict[str, int]]] = {}
        """By node: the entries that were read, and the number of paths by WWID. A stream never changes its entries, it gets new ones."""

    def look(
        self, streams: Mapping[str, HealthStream], peers: Collection[str], expected: Mapping[str, ExpectedNodes]
    ) -> Mapping[str, tuple[int, ...]]:
        """By WWID, one number for each of `peers` that expects any paths of a LUN that is expected on it.

        `peers` are the other nodes whose word counts now.
        """
        self._known = {name: self._read(name, stream.entries) for name, stream in streams.items() if name in peers}
        found: dict[str, list[int]] = {}
        for name, (_, sizes) in self._known.items():
            for wwid, size in sizes.items():
                if wwid in expected and name in expected[wwid].nodes:
                    found.setdefault(wwid, []).append(size)
        return {wwid: tuple(sizes) for wwid, sizes in found.items()}

    def _read(self, name: str, entries: _Entries) -> tuple[_Entries, dict[str, int]]:
        before, known = self._known.get(name, ({}, {}))
        if entries is before:
            return entries, known
        sizes = {}
        for key, held in entries.items():
            kind, wwid = key
            if kind == MULTIPATH_MAP and held.cell.state != ABSENT:
                size = known.get(wwid, 0) if before.get(key) is held else _size(held.cell)
                if size:
                    sizes[wwid] = size
        return entries, sizes


def _size(cell: CellView) -> int:
    return len(said_all(cell.detail, "baseline", str))
