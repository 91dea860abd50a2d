"""The class of a path and the state of a map, as tables.

Two failures of reading are worth more than the rest: multipathd counts standby paths as up although they serve no I/O, and a map's own
`dm_st` stays `active` with every path dead. So a map's state comes from its paths alone, and a path's from all its words together.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from apply.topology import Map, Path

TRANSIENT_SECONDS = 30.0
"""How long a path whose check is under way keeps its former class. Longer than any sane checker timeout hides a dead path longer."""
SUSPENDED_SECONDS = 30.0
"""How long a map may be suspended (a table is being loaded) before that counts as a fault."""


class PathClass(enum.StrEnum):
    """What a path is worth."""

    ACTIVE = "active"  # serves I/O
    STANDBY = "standby"  # usable after a failover of the array, not optimized
    MARGINAL = "marginal"  # serves I/O, with errors
    TRANSIENT = "transient"  # being checked, nothing known of it before
    SUSPECT = "suspect"  # not usable as far as anyone knows
    FAILED = "failed"


USABLE = frozenset({PathClass.ACTIVE, PathClass.STANDBY, PathClass.MARGINAL})


class MapState(enum.StrEnum):
    """The state of a map that is there; `PENDING` while nothing but unfinished first checks is known."""

    HEALTHY = "healthy"
    PENDING = "pending"
    DEGRADED = "degraded"
    FAILED = "failed"


class Redundancy(enum.StrEnum):
    """How much may still fail."""

    FULL = "full"
    REDUCED = "reduced"
    SINGLE = "single"
    NONE = "none"


_FAILED_CHECKS = frozenset({"faulty", "i/o timeout"})
_SUSPECT_CHECKS = frozenset({"shaky", "delayed"})
_UNFINISHED_CHECKS = frozenset({"undef", "i/o pending"})


def path_class(path: Path) -> tuple[PathClass, str]:
    """The class of one path from its words alone, and the reason code of what is wrong with it (empty if nothing is).

    Failure is judged first: a dead path is never usable because it is marginal too. A word that nobody knows makes a path suspect.
    """
    if path.dev in ("", "-") or path.dev_t == "#:#":
        return PathClass.FAILED, "path-phantom"
    if path.chk_st == "disconnected":
        return PathClass.FAILED, "lun-unmapped"
    if path.dev_st == "offline" or path.dm_st == "failed" or path.chk_st in _FAILED_CHECKS:
        return PathClass.FAILED, "path-failed"
    if path.chk_st in _SUSPECT_CHECKS:
        return PathClass.SUSPECT, "path-suspect"
    synced = path.dm_st == "active" and path.dev_st == "running"
    if not synced and not (path.dm_st == "undef" and path.chk_st == "ready"):
        return PathClass.SUSPECT, "path-suspect"
    if path.chk_st in _UNFINISHED_CHECKS or not synced:
        return PathClass.TRANSIENT, ""
    if path.chk_st not in ("ready", "ghost"):
        return PathClass.SUSPECT, "path-suspect"
    if path.marginal_st == "marginal":
        return PathClass.MARGINAL, "path-marginal"
    return (PathClass.ACTIVE, "") if path.chk_st == "ready" else (PathClass.STANDBY, "")


@dataclass(frozen=True)
class PathMemory:
    """What was last known of a path, and since when (monotonic seconds) only unfinished checks are seen."""

    known: PathClass | None
    transient_since: float | None = None


def settle(seen: PathClass, memory: PathMemory | None, now: float) -> tuple[PathClass, PathMemory]:
    """The class to show: an unfinished check keeps the former class for 30 s, then the path is suspect."""
    if seen is not PathClass.TRANSIENT:
        return seen, PathMemory(seen)
    known = memory.known if memory else None
    since = memory.transient_since if memory and memory.transient_since is not None else now
    if now - since >= TRANSIENT_SECONDS:
        return PathClass.SUSPECT, PathMemory(known, since)
    return known or PathClass.TRANSIENT, PathMemory(known, since)


@dataclass(frozen=True)
class Expectation:
    """How many paths a map should have here.

    `count` None = no expectation. `explicit`: a person named the number, so fewer than `min_paths` may be right.
    `names` are the identities behind the count, if they are known.
    """

    count: int | None
    source: str
    names: frozenset[str] = frozenset()
    explicit: bool = False
    min_paths: int = 2
    fewer_than_peers: bool = False


@dataclass(frozen=True)
class Verdict:
    """The state of a map, why, and what is left of its redundancy."""

    state: MapState
    reasons: tuple[str, ...]
    redundancy: Redundancy


def map_verdict(
    classes: Sequence[PathClass], faults: Collection[str], present: Collection[str], expected: Expectation, *, suspended: bool
) -> Verdict:
    """Judge a map by the classes of its paths. `faults` are the path reasons, `present` the identities of all paths of the map."""
    usable = sum(1 for c in classes if c in USABLE)
    reasons = list(dict.fromkeys(faults))
    if expected.names - set(present):
        reasons.append("path-lost")
    if not usable:
        if classes and all(c is PathClass.TRANSIENT for c in classes):
            return Verdict(MapState.PENDING, ("paths-settling",), Redundancy.NONE)
        return Verdict(MapState.FAILED, (*reasons, "all-paths-failed" if classes else "no-paths"), Redundancy.NONE)
    if PathClass.ACTIVE not in classes and PathClass.MARGINAL not in classes:
        reasons.append("no-optimized")
    if _unexplained(usable, len(classes), expected, reasons):
        reasons.append("below-expected")
    reasons.extend(_below_minimum(usable, expected))
    if expected.fewer_than_peers:
        reasons.append("fewer-than-peers")
    if suspended:
        reasons.append("suspended")
    state = MapState.DEGRADED if reasons else MapState.HEALTHY
    return Verdict(state, tuple(reasons), _redundancy(usable, len(classes), expected))


def _unexplained(usable: int, visible: int, expected: Expectation, reasons: Sequence[str]) -> bool:
    """Whether paths are missing that neither a name nor a fault accounts for."""
    if expected.count is None or usable >= expected.count:
        return False
    return not reasons or (visible < expected.count and "path-lost" not in reasons)


def _below_minimum(usable: int, expected: Expectation) -> tuple[str, ...]:
    minimum = expected.min_paths
    if expected.explicit and expected.count is not None:
        minimum = min(minimum, expected.count)
    if usable >= minimum:
        return ()
    return ("single-path",) if usable == 1 else ("below-min-paths",)


def _redundancy(usable: int, visible: int, expected: Expectation) -> Redundancy:
    wanted = expected.count if expected.count is not None else visible
    if usable == 1 and not (expected.explicit and wanted <= 1):
        return Redundancy.SINGLE
    return Redundancy.FULL if usable >= wanted else Redundancy.REDUCED


def queueing(found: Map) -> str:
    """What happens to I/O without paths: `on` (hangs), `retry` (hangs for a while), `off` or `none` (fails)."""
    if found.queueing.endswith((" chk", " sec")):
        return "retry"
    return {"on": "on", "off": "off"}.get(found.queueing, "none")
