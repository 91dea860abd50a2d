"""What this node knows of the paths that others had learned, for one that has lost its own memory. Pure.

A node tells its learned paths in its cells, so every other node holds them. One whose database is new (it was reinstalled, or its disk was
lost) says in its facts that it asks for them; a few of the others, which all can work out by themselves, then offer what they hold of its
life before, as cells of their own, until it no longer asks. What was learned in an earlier life is told from the present one by the actor
and the epoch of the stream.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from agent.cell_view import said, said_all
from store.cells import MULTIPATH_MAP, NODE_FACTS, NVME_SUBSYSTEM, REMEMBERED_PATHS, Cell, CellView
from store.health import ABSENT, HealthStream, Held
from store.limits import limit

ASKS = "asks_for_paths"
"""The detail of the node's facts that says so."""
KEEPERS = 3
"""So many nodes answer: one may be new itself, another may go."""
CHUNK_BYTES = limit("cell_bytes") // 2
_FACTS = (NODE_FACTS, "node")
_LIVES = 4
"""Earlier lives of one node that are held; it may be started again while it still asks."""
_MOST_NAMES = 2 * limit("paths_per_lun")

Baselines = Mapping[str, tuple[str, ...]]
"""Identities of paths by WWID."""
_Entries = Mapping[tuple[str, str], Held]
_Life = tuple[bytes, int]


class RememberedPaths:
    """The earlier lives of the other nodes, as long as it is not known that they need them no more."""

    def __init__(self) -> None:
        self._present: dict[str, tuple[_Life, _Entries]] = {}
        self._former: dict[str, tuple[_Entries, ...]] = {}
        self._offers: dict[str, tuple[tuple[_Entries, ...], list[Cell]]] = {}
        """By node: the cells that were made of its earlier lives."""

    @property
    def pending(self) -> bool:
        """Whether there is a node of which an earlier life is held, and that may need it."""
        return bool(self._former)

    def look(self, streams: Mapping[str, HealthStream], own: str, names: Iterable[str]) -> bool:
        """Take note of lives that begin among these nodes; whether one of them asks for what is remembered of it here."""
        asked = False
        for name in names:
            stream = streams.get(name)
            if stream is None or name == own:
                continue
            life = (stream.head.actor, stream.head.epoch)
            before = self._present.get(name)
            if before is not None and before[0] != life:
                self._former[name] = (*self._former.get(name, ()), before[1])[-_LIVES:]
            self._present[name] = (life, stream.entries)
            if name in self._former:
                asks = _asks(stream)
                asked |= asks is True
                if asks is False:
                    del self._former[name]
                    self._offers.pop(name, None)
        return asked

    def forget(self, members: Collection[str]) -> None:
        """Drop what is held of nodes that are in no registry any more. `members`: all names in it."""
        for known in (self._present, self._former, self._offers):
            for name in known.keys() - members:
                del known[name]

    def offers(self, streams: Mapping[str, HealthStream], own: str, online: Collection[str], wall: float) -> list[Cell]:
        """The cells that this node has to tell for others that ask now. `online` are the nodes that may be keepers."""
        cells: list[Cell] = []
        for name, lives in self._former.items():
            if name in streams and _asks(streams[name]) and own in keepers(name, {*online, own}):
                made = self._offers.get(name)
                if made is None or made[0] != lives:
                    made = self._offers[name] = (lives, _cells(name, _union(map(_baselines, lives)), wall))
                cells += made[1]
        return cells


def keepers(name: str, online: Collection[str]) -> list[str]:
    """The nodes that answer when this one asks: the same wherever it is worked out, other ones for each node that asks."""
    others = (other for other in online if other != name)
    return sorted(others, key=lambda other: hashlib.sha256(f"{name}\0{other}".encode()).digest())[:KEEPERS]


def offered(streams: Mapping[str, HealthStream], own: str) -> Baselines:
    """What other nodes offer this one, put together."""
    return _union(_told(stream, own) for name, stream in streams.items() if name != own)


def _told(stream: HealthStream, own: str) -> dict[str, tuple[str, ...]]:
    """What one node offers, bounded: it comes from another node, of another version or in bad faith."""
    found: dict[str, tuple[str, ...]] = {}
    number = 0
    while (held := stream.entries.get((REMEMBERED_PATHS, f"{own}/{number}"))) is not None:
        number += 1
        if held.cell.state != ABSENT:
            paths: dict[Any, Any] = said(held.cell.detail, "paths", {})
            found.update({wwid: _names(paths, wwid) for wwid in paths if isinstance(wwid, str)})
        if len(found) >= limit("luns_per_node"):
            break
    return {wwid: names for wwid, names in found.items() if names}


def _names(detail: Mapping[str, object], key: str) -> tuple[str, ...]:
    return tuple(name for name in said_all(detail, key, str) if 0 < len(name) <= 300 and name.isprintable())[:_MOST_NAMES]


def _asks(stream: HealthStream) -> bool | None:
    """Whether the node asks; None as long as it has not said anything of itself."""
    held = stream.entries.get(_FACTS)
    return said(held.cell.detail, ASKS, False) if held is not None and held.cell.state != ABSENT else None


def _baselines(entries: _Entries) -> dict[str, tuple[str, ...]]:
    return {
        wwid: names
        for (kind, wwid), held in entries.items()
        if kind in (MULTIPATH_MAP, NVME_SUBSYSTEM) and held.cell.state != ABSENT and (names := baseline_of(held.cell))
    }


def baseline_of(cell: CellView) -> tuple[str, ...]:
    """The learned paths that a map's cell tells; of one that reads unknown, those that it told last."""
    detail = cell.detail
    return _names(detail, "baseline") or _names(said(detail, "last", {}), "baseline")


def _union(found: Iterable[dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    result: dict[str, set[str]] = {}
    for baselines in found:
        for wwid, names in baselines.items():
            result.setdefault(wwid, set()).update(names)
    return {wwid: tuple(sorted(names)) for wwid, names in result.items()}


def _cells(name: str, baselines: Baselines, wall: float) -> list[Cell]:
    """As many cells as it takes, none of them larger than a cell may be."""
    chunks: list[dict[str, list[str]]] = [{}]
    used = 0
    for wwid, names in sorted(baselines.items()):
        size = len(wwid) + sum(len(each.encode()) + 5 for each in names) + 16
        if chunks[-1] and used + size > CHUNK_BYTES:
            chunks.append({})
            used = 0
        chunks[-1][wwid] = list(names)
        used += size
    return [Cell(REMEMBERED_PATHS, f"{name}/{n}", "healthy", (), {"paths": chunk}, {}, wall) for n, chunk in enumerate(chunks) if chunk]
