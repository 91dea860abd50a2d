"""From what multipathd says to the cells that every node sees: pure, with all memory passed in and out.

A map's cell is unknown whenever the daemon could not be asked or its answer lost the map; what was last known stands beside it under
`last`. A map that is expected here and absent from a whole answer is missing. Nothing here reads a clock.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from apply.classify import Expectation, MapState, PathClass, PathMemory, Verdict, map_verdict, queueing
from apply.expected import Baseline, expire, fewer_than_peers, forget, more_than_peers, observe, rest
from apply.holddown import Shown, show
from apply.model import Lun, Model
from apply.observation import MapView, PathKey, observe_maps
from apply.outcome import ApplyOutcome, ApplyState
from apply.path_facts import NoFacts, PathFacts
from apply.paths import single_failure_domain
from apply.storages import ExpectedNodes
from apply.topology import Seen, Topology, clean
from apply.transports import expected_portals, leads_to_session, missing_portals
from store.cells import MULTIPATH_MAP, Cell
from store.limits import limit

PENDING_SECONDS = 60.0
"""How long a LUN may take from entering the allow-list, or from the beginning of an apply, or while the daemon starts, to having a map."""
MAX_MAPS = limit("luns_per_node")
MAX_PATHS_LISTED = limit("paths_per_lun")
"""Paths listed one by one in a cell; all of them are counted."""
_AT_REST = frozenset({"idle", "running"})
"""The daemon's own words for having read its files and made its maps (`show daemon`)."""
_ABSENT_DAEMON = frozenset({"daemon-down", "not-installed"})
_MANAGEABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=@,-]{0,126}")


@dataclass(frozen=True)
class Memory:
    """What one poll leaves for the next; empty at start.

    `busy_since` (monotonic seconds) says since when the daemon has not been at rest; None if it is.
    """

    paths: Mapping[PathKey, PathMemory] = field(default_factory=dict)
    suspended: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, Shown] = field(default_factory=dict)
    busy_since: float | None = None


@dataclass(frozen=True)
class View:
    """Everything that one poll's cells are made from.

    `now` is in monotonic seconds, `wall` in unix seconds. `topology` is None if the daemon could not be asked, and `failure` is then the
    error's code. `allowed_since` (unix seconds) says when a WWID entered the allow-list; `peer_sizes` how many paths other nodes expect.
    `learning` is False in maintenance and shortly after boot. `sessions` are the iSCSI sessions that are logged in: (target, portal).
    `doing` is the daemon's own word for what it does, empty if it has none.
    """

    node: str
    now: float
    wall: float
    model: Model
    expected: Mapping[str, ExpectedNodes]
    topology: Topology | None
    failure: str = ""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    facts: PathFacts = field(default_factory=NoFacts)
    attached: frozenset[str] = frozenset()
    outcome: ApplyOutcome | None = None
    allowed_since: Mapping[str, float] = field(default_factory=dict)
    peer_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    learning: bool = True
    sessions: frozenset[tuple[str, str]] = frozenset()
    doing: str = ""


@dataclass(frozen=True)
class Derived:
    """The cells of one poll, sorted by WWID, with the memory and the baselines to go on with; `truncated` maps were left out."""

    cells: list[Cell]
    memory: Memory
    baselines: Mapping[str, Baseline]
    truncated: int = 0


def derive(view: View, memory: Memory, baselines: Mapping[str, Baseline]) -> Derived:
    """The cells of this node's maps."""
    if view.topology is None:
        return _nothing_known(view, memory, baselines)
    known = {wwid: baseline.identities for wwid, baseline in baselines.items()}
    busy_since = _busy_since(view, memory.busy_since)
    seen = observe_maps(view.topology, view.seen, view.facts, memory.paths, memory.suspended, view.now, known)
    present = sorted(seen.maps)[:MAX_MAPS]
    learned = _learn(view, {wwid: seen.maps[wwid] for wwid in present}, baselines)
    cells, shown = [], {}
    for wwid in present:
        cell = _present(view, seen.maps[wwid], learned.get(wwid, Baseline()))
        shown[wwid] = _held(memory.shown.get(wwid), cell, view.now)
        cells.append(as_shown(cell, shown[wwid]))
    for wwid in sorted((_expected_here(view) | view.topology.unreadable) - seen.maps.keys()):
        cell = _absent(view, view.topology, wwid, learned.get(wwid, Baseline()), memory.shown.get(wwid), busy_since)
        shown[wwid] = _held(memory.shown.get(wwid), cell, view.now)
        cells.append(as_shown(cell, shown[wwid]))
    if not view.topology.complete:
        for wwid in sorted(memory.shown.keys() - shown.keys()):
            shown[wwid] = show(memory.shown[wwid], "unknown", ("daemon-garbage",), view.now)
            cells.append(_unknown(view, wwid, "daemon-garbage", shown[wwid]))
    cells.sort(key=lambda cell: cell.id)
    return Derived(cells, Memory(seen.paths, seen.suspended, shown, busy_since), learned, len(seen.maps) - len(present))


def _nothing_known(view: View, memory: Memory, baselines: Mapping[str, Baseline]) -> Derived:
    """Every map that was known or is expected reads unknown; path memory is kept, for the daemon may be back in a moment."""
    code = view.failure or "daemon-down"
    known = _expected_here(view) | (memory.shown.keys() or _learned_here(view, baselines))
    shown = {wwid: show(memory.shown.get(wwid), "unknown", (code,), view.now) for wwid in sorted(known)}
    since = None if code in _ABSENT_DAEMON else memory.busy_since  # one that is started anew has its time anew
    cells = [_unknown(view, wwid, code, found) for wwid, found in shown.items()]
    return Derived(cells, replace(memory, shown=shown, busy_since=since), baselines)


def _learn(view: View, maps: Mapping[str, MapView], baselines: Mapping[str, Baseline]) -> dict[str, Baseline]:
    """The baselines after this poll; only allow-listed LUNs are learned."""
    result = {wwid: expire(known, view.wall) for wwid, known in baselines.items()}
    if not view.learning:
        return {wwid: rest(known) for wwid, known in result.items()}
    settings = view.model.settings
    for wwid, found in maps.items():
        lun = view.model.luns.get(wwid)
        if lun is not None and lun.enabled:
            learned = observe(result.get(wwid, Baseline()), found.usable, view.wall, settings.learn_window_seconds)
            result[wwid] = forget(learned, {path.id for path in found.paths}, view.wall, settings.forget_after_days)
    return result


def _expected_here(view: View) -> set[str]:
    enabled = {wwid for wwid, lun in view.model.luns.items() if lun.enabled}
    return {wwid for wwid, expected in view.expected.items() if view.node in expected.nodes} & enabled


def _learned_here(view: View, baselines: Mapping[str, Baseline]) -> set[str]:
    """What this node carried before it was started, of the LUNs that are expected nowhere: nobody else may tell of them."""
    learned = {wwid for wwid, known in baselines.items() if known.identities}
    elsewhere = {wwid for wwid, expected in view.expected.items() if expected.nodes}
    return {wwid for wwid, lun in view.model.luns.items() if wwid in learned - elsewhere and _managed_here(view, lun)}


def _managed_here(view: View, lun: Lun) -> bool:
    """Whether a LUN may have a map on this node."""
    return lun.enabled and (lun.nodes is None or view.node in lun.nodes)


def expectation(view: View, lun: Lun | None, wwid: str, baseline: Baseline, present: Collection[str] = ()) -> Expectation:
    """How many paths a map should have: the first source that says so wins. `present` are the identities of the paths that are there."""
    settings = view.model.settings
    own = lun.expected_paths if lun is not None else "none"
    minimum = lun.min_paths if lun is not None and lun.min_paths is not None else settings.min_paths
    if isinstance(own, int):
        return Expectation(own, "configured", explicit=True, min_paths=minimum)
    if own != "none" and isinstance(settings.expected_paths, int):
        return Expectation(settings.expected_paths, "defaults", explicit=True, min_paths=minimum)
    accepted = baseline.source == "accepted"
    known = {*baseline.identities, *present}
    portals = expected_portals(view.model, view.node, wwid, known) if lun is not None and not accepted else {}
    if own == "none" or settings.expected_paths == "none" or not (baseline.identities or portals):
        return Expectation(None, "none", min_paths=minimum if lun is not None else 1)
    fewer = not accepted and fewer_than_peers(len(baseline.identities), view.peer_sizes.get(wwid, ()))
    missing = missing_portals(portals, known)
    names = frozenset((*baseline.identities, *missing))
    return Expectation(
        max(len(names), sum(map(len, portals.values()))),
        "portals" if missing or not baseline.identities else baseline.source,
        names,
        explicit=accepted,
        min_paths=minimum,
        fewer_than_peers=fewer,
    )


def _present(view: View, found: MapView, baseline: Baseline) -> Cell:
    """The cell of a map that is there."""
    wwid = found.map.uuid
    lun = view.model.luns.get(wwid)
    managed = lun if lun is not None and lun.enabled else None
    present = [path.id for path in found.paths]
    expected = expectation(view, managed, wwid, baseline, present)
    faults = [path.reason for path in found.paths if path.reason]
    if wwid in view.seen and len(view.seen[wwid].sizes) > 1:
        faults.append("path-sizes-differ")
    verdict = map_verdict([path.cls for path in found.paths], faults, present, expected, suspended=found.suspended)
    state, reasons = verdict.state.value, verdict.reasons
    detail = _detail(view, found, expected, verdict, baseline, allowed=managed is not None)
    if not _MANAGEABLE.fullmatch(wwid):
        reasons = ("unmanageable-wwid", *reasons)
    if lun is None or not _managed_here(view, lun):
        detail["health"] = state
        state = "unexpected"
    return Cell(MULTIPATH_MAP, wwid, state, reasons, detail, _measures(found), view.wall)


def _detail(view: View, found: MapView, expected: Expectation, verdict: Verdict, baseline: Baseline, *, allowed: bool) -> dict[str, Any]:
    wwid, seen = found.map.uuid, view.seen.get(found.map.uuid)
    names = {path.id for path in found.paths}
    missing = sorted(expected.names - names)
    flags = []
    if single_failure_domain(sorted(names)):
        flags.append("single-failure-domain")
    if seen is not None and (len(seen.sizes) > 1 or len(seen.serials) > 1):
        flags.append("merged-luns")
    if leads_to_session(missing, view.sessions):
        flags.append("session-without-path")
    if baseline.source == "learned" and more_than_peers(len(baseline.identities), view.peer_sizes.get(wwid, ())):
        flags.append("more-than-peers")
    if verdict.state is MapState.FAILED and queueing(found.map) in ("on", "retry"):
        flags.append("io-hangs")
    return {
        "alias": None if found.map.name == wwid else clean(found.map.name),
        "vendor": _vendor(found.map.vend),
        "product": _vendor(found.map.prod),
        "size_bytes": view.sizes.get(wwid) or (seen.size_bytes if seen else None),
        "allowed": allowed,
        "redundancy": verdict.redundancy.value,
        "paths": {
            "usable": found.count(PathClass.ACTIVE, PathClass.STANDBY, PathClass.MARGINAL),
            "active": found.count(PathClass.ACTIVE),
            "standby": found.count(PathClass.STANDBY),
            "marginal": found.count(PathClass.MARGINAL),
            "failed": found.count(PathClass.FAILED),
            "visible": len(found.paths),
            "expected": expected.count,
            "expected_source": expected.source,
        },
        "missing_paths": missing,
        "queueing": queueing(found.map),
        "flags": flags,
        "path_list": [
            {
                "id": path.id,
                "class": path.cls.value,
                "group": path.group,
                "chk": clean(path.path.chk_st),
                "dm": clean(path.path.dm_st),
                "dev_state": clean(path.path.dev_st),
            }
            for path in found.paths[:MAX_PATHS_LISTED]
        ],
        "baseline": list(baseline.identities),
        "acked": baseline.told_acceptance(),
    }


def _measures(found: MapView) -> dict[str, Any]:
    """What changes without meaning anything: counters, countdowns, numbers that the kernel gives anew at each boot."""
    return {
        "sysfs": clean(found.map.sysfs),
        "devs": {path.id: clean(path.path.dev) for path in found.paths[:MAX_PATHS_LISTED]},
        "priorities": {path.id: path.path.pri for path in found.paths[:MAX_PATHS_LISTED]},
        "queueing_raw": clean(found.map.queueing),
        "path_faults": found.map.path_faults,
        "switch_grp": found.map.switch_grp,
        "map_loads": found.map.map_loads,
        "total_q_time": found.map.total_q_time,
        "q_timeouts": found.map.q_timeouts,
    }


def _absent(view: View, topology: Topology, wwid: str, baseline: Baseline, before: Shown | None, busy_since: float | None) -> Cell:
    """The cell of a map that is expected here and not in the answer. A map that was missing already is excused by nothing that goes on."""
    if wwid in topology.unreadable or not topology.complete:
        return _unknown(view, wwid, "daemon-garbage", before)
    lun = view.model.luns.get(wwid)
    seen = view.seen.get(wwid)
    expected = expectation(view, lun, wwid, baseline)
    detail = {
        "alias": lun.alias if lun else None,
        "vendor": _vendor(seen.vendor) if seen else "",
        "product": _vendor(seen.product) if seen else "",
        "size_bytes": seen.size_bytes if seen else None,
        "allowed": True,
        "redundancy": "none",
        "paths": {
            "usable": 0,
            "active": 0,
            "standby": 0,
            "marginal": 0,
            "failed": 0,
            "visible": len(seen.hcil) if seen else 0,
            "expected": expected.count,
            "expected_source": expected.source,
        },
        "missing_paths": sorted(expected.names),
        "queueing": "none",
        "flags": ["session-without-path"] if leads_to_session(expected.names, view.sessions) else [],
        "path_list": [],
        "baseline": list(baseline.identities),
        "acked": baseline.told_acceptance(),
    }
    missed = before is not None and before.state == "missing"
    if _recent(view, view.allowed_since.get(wwid, float("-inf"))) or (_applying(view) and not missed):
        return Cell(MULTIPATH_MAP, wwid, "pending", ("apply-in-progress",), detail, {}, view.wall)
    if busy_since is not None and view.now - busy_since < PENDING_SECONDS and not missed:
        return Cell(MULTIPATH_MAP, wwid, "pending", ("daemon-starting",), detail, {}, view.wall)
    return Cell(MULTIPATH_MAP, wwid, "missing", (_missing_reason(view, wwid),), detail, {}, view.wall)


def _busy_since(view: View, before: float | None) -> float | None:
    """Since when the daemon has been doing something else than its daily round: it starts, or reads its files. None if it is not."""
    words = view.doing.split()
    if not words or words[0] in _AT_REST:
        return None
    return view.now if before is None else before


def _recent(view: View, moment: float) -> bool:
    return 0 <= view.wall - moment < PENDING_SECONDS


def _applying(view: View) -> bool:
    """Whether an apply is under way that may bring the map: one that is held back, or lasts, hides nothing."""
    outcome = view.outcome
    if outcome is None or outcome.state is not ApplyState.PENDING or not _recent(view, outcome.since):
        return False
    return all(note.code != "prune-deferred" for note in outcome.notes)


def _missing_reason(view: View, wwid: str) -> str:
    codes = {error.code for error in view.outcome.errors if error.wwid == wwid} if view.outcome else set()
    if wwid in view.seen:
        return "create-failed" if "wwid-create-failed" in codes else "not-assembled"
    return "blacklisted" if wwid in view.attached or "wwid-blacklisted" in codes else "not-visible"


def _unknown(view: View, wwid: str, code: str, before: Shown | None) -> Cell:
    lun = view.model.luns.get(wwid)
    detail: dict[str, Any] = {"alias": lun.alias if lun else None, "allowed": lun is not None and lun.enabled}
    if before is not None and before.last:
        detail["last"] = dict(before.last)
    return Cell(MULTIPATH_MAP, wwid, "unknown", (code,), detail, {}, view.wall)


def _held(before: Shown | None, cell: Cell, now: float) -> Shown:
    shown = show(before, cell.state, cell.reasons, now)
    if cell.state == "unknown":
        return shown
    return replace(shown, last={"state": shown.state, "reasons": list(shown.reasons), **cell.detail})


def as_shown(cell: Cell, shown: Shown) -> Cell:
    """The cell with the state that hold-down allows; while it recovers it keeps its former reasons beside the fresh detail."""
    reasons = shown.reasons if shown.state == cell.state else (*shown.reasons, "recovering")
    if shown.flapping:
        reasons = (*reasons, "flapping")
    return Cell(cell.kind, cell.id, shown.state, reasons, cell.detail, cell.measures, cell.observed_at)


def _vendor(text: str) -> str:
    return "" if text == "##" else clean(text).strip()
