"""Which volume groups nodes found on which LUNs, as their cells tell: from them it is inferred who needs a LUN that no storage names."""

from collections.abc import Mapping

from agent.cell_view import said
from store.cells import STORAGE_GROUPS, CellView
from store.health import ABSENT, HealthStream, Held

_KEY = (STORAGE_GROUPS, "groups")
_Groups = dict[str, frozenset[str]]


class InferredGroups:
    """What each node told last; of a node that is not heard any more too, for what is written on a disk does not go with it."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Held, _Groups]] = {}
        self.groups: Mapping[str, frozenset[str]] = {}
        """The names of the groups by WWID."""

    def look(self, streams: Mapping[str, HealthStream]) -> bool:
        """Take what the streams say now; whether it is something else than before. What was read once is not read again."""
        told = {}
        for node, stream in streams.items():
            held = stream.entries.get(_KEY)
            if held is None or held.cell.state == ABSENT:
                continue
            before = self._told.get(node)
            told[node] = before if before is not None and before[0] is held else (held, _read(held.cell))
        if told == self._told:
            return False
        self._told = told
        found: dict[str, set[str]] = {}
        for _, groups in told.values():
            for wwid, names in groups.items():
                found.setdefault(wwid, set()).update(names)
        result = {wwid: frozenset(names) for wwid, names in found.items()}
        moved, self.groups = result != self.groups, result
        return moved


def _read(cell: CellView) -> _Groups:
    """What a cell says, without what is no list of names."""
    groups: dict[object, object] = said(cell.detail, "groups", {})
    found = {}
    for wwid, names in groups.items():
        if isinstance(wwid, str) and isinstance(names, list | tuple):
            found[wwid] = frozenset(name for name in names if isinstance(name, str))
    return found
