"""One map as this node sees it now: its paths by identity, with the classes that they are shown with."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from apply.classify import SUSPENDED_SECONDS, USABLE, PathClass, PathMemory, path_class, settle
from apply.path_facts import PathFacts
from apply.paths import identities
from apply.topology import Map, Path, Seen, Topology

PathKey = tuple[str, str]
"""WWID and identity."""


@dataclass(frozen=True)
class PathView:
    """One path with everything that is told of it."""

    id: str
    cls: PathClass
    reason: str
    group: int
    path: Path


@dataclass(frozen=True)
class MapView:
    """One map and its paths in the order of their identities."""

    map: Map
    paths: tuple[PathView, ...]
    suspended: bool

    @property
    def usable(self) -> frozenset[str]:
        """The identities of the paths that can serve I/O, now or after a failover."""
        return frozenset(view.id for view in self.paths if view.cls in USABLE)

    def count(self, *classes: PathClass) -> int:
        """How many paths are of one of `classes`."""
        return sum(1 for view in self.paths if view.cls in classes)


@dataclass(frozen=True)
class Observed:
    """The maps of one poll by WWID, with the memory for the next: path classes, and since when maps are suspended."""

    maps: Mapping[str, MapView]
    paths: Mapping[PathKey, PathMemory]
    suspended: Mapping[str, float]


def observe_maps(
    topology: Topology,
    seen: Mapping[str, Seen],
    facts: PathFacts,
    paths: Mapping[PathKey, PathMemory],
    suspended: Mapping[str, float],
    now: float,
    known: Mapping[str, Collection[str]] | None = None,
) -> Observed:
    """Name and classify every path. `paths` and `suspended` are the memory of the last poll, `now` is in monotonic seconds.

    `known` are the identities that are expected, by WWID.
    """
    names: dict[str, set[str]] = {wwid: set(expected) for wwid, expected in (known or {}).items()}
    for wwid, name in paths:
        names.setdefault(wwid, set()).add(name)
    maps: dict[str, MapView] = {}
    memory: dict[PathKey, PathMemory] = {}
    since: dict[str, float] = {}
    for found in topology.maps:
        if found.dm_st == "suspend":
            since[found.uuid] = suspended.get(found.uuid, now)
        hcil = seen[found.uuid].hcil if found.uuid in seen else {}
        groups = {id(path): group for group, path in found.paths()}
        views = []
        gone = partial(facts.gone, sysfs=found.sysfs, wwid=found.uuid)
        for name, path in identities((path for _, path in found.paths()), facts, hcil, gone, names.get(found.uuid, ())):
            raw, reason = path_class(path)
            key = (found.uuid, name)
            cls, memory[key] = settle(raw, paths.get(key), now)
            fault = "path-suspect" if cls is PathClass.SUSPECT and not reason else reason
            views.append(PathView(name, cls, fault, groups[id(path)], path))
        stuck = found.uuid in since and now - since[found.uuid] >= SUSPENDED_SECONDS
        maps[found.uuid] = MapView(found, tuple(views), stuck)
    return Observed(maps, memory, since)
