"""Native NVMe multipath as cells: a subsystem is judged by its controllers, its namespaces by the ANA states of their paths. Pure.

A controller that is live serves what is optimized on it (active) and can serve what is not (standby). A namespace that a controller cannot
reach for now (inaccessible, persistent loss) has one path less, which is the array's doing and no fault of the cable. A controller that
connects or resets keeps its former class for a while, as a path that is being checked does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apply.classify import Expectation, MapState, PathClass, PathMemory, Redundancy, Verdict, map_verdict, settle
from apply.expected import Baseline
from apply.paths import single_failure_domain
from apply.topology import clean
from store.cells import NVME_SUBSYSTEM, Cell
from store.limits import limit

MOST_NAMESPACES = limit("nvme_namespaces")
_LIVE = {"": PathClass.ACTIVE, "optimized": PathClass.ACTIVE, "non-optimized": PathClass.STANDBY, "change": PathClass.TRANSIENT}
_ANA_LOST = frozenset({"inaccessible", "persistent-loss"})
_TRANSIENT = frozenset({"new", "connecting", "resetting"})
_SEVERITY = (MapState.HEALTHY, MapState.PENDING, MapState.DEGRADED, MapState.FAILED)


@dataclass(frozen=True)
class Controller:
    """One connection to a subsystem: its name in sysfs, its identity, its transport, its state in the kernel's words."""

    name: str
    id: str
    transport: str
    state: str


@dataclass(frozen=True)
class Namespace:
    """One namespace: `ana` holds the ANA state of its path by each controller's name; "" where the subsystem has no ANA."""

    nsid: int
    wwid: str
    size_bytes: int | None
    ana: Mapping[str, str]


@dataclass(frozen=True)
class Subsystem:
    """One subsystem."""

    nqn: str
    model: str
    serial: str
    firmware: str
    iopolicy: str
    controllers: tuple[Controller, ...]
    namespaces: tuple[Namespace, ...]


NvmeKey = tuple[str, str, int]
"""Subsystem, controller's identity, namespace; 0 stands for the controller itself."""


@dataclass(frozen=True)
class NvmeObserved:
    """The cells of one poll, and the memory for the next."""

    cells: list[Cell]
    memory: Mapping[NvmeKey, PathMemory]


def path_class(controller: str, ana: str) -> tuple[PathClass, str]:
    """The class of a namespace's path by a controller in these states, and the reason code of what is wrong with it."""
    if controller in _TRANSIENT:
        return PathClass.TRANSIENT, ""
    if controller != "live":
        return PathClass.FAILED, "controller-lost"
    if ana in _ANA_LOST:
        return PathClass.FAILED, "ana-inaccessible"
    found = _LIVE.get(ana)
    return (PathClass.SUSPECT, "path-suspect") if found is None else (found, "")


def observe_nvme(
    subsystems: Iterable[Subsystem], baselines: Mapping[str, Baseline], before: Mapping[NvmeKey, PathMemory], now: float, wall: float
) -> NvmeObserved:
    """Judge every subsystem. `now` is in monotonic seconds, `wall` in unix seconds; `baselines` are the controllers learned, by NQN.

    A subsystem of which controllers are known and that is not there at all is missing: that is how one looks whose every connection the
    kernel has given up.
    """
    memory: dict[NvmeKey, PathMemory] = {}
    cells = {each.nqn: _judged(each, baselines.get(each.nqn, Baseline()), before, memory, now, wall) for each in subsystems}
    for nqn, baseline in baselines.items():
        if nqn not in cells and is_subsystem(nqn) and baseline.identities:
            cells[nqn] = _missing(nqn, baseline, wall)
    return NvmeObserved([cells[nqn] for nqn in sorted(cells)], memory)


def is_subsystem(name: str) -> bool:
    """Whether what was learned belongs to a subsystem, and not to a LUN."""
    return name.startswith("nqn.")


def live(subsystem: Subsystem) -> frozenset[str]:
    """The identities of the controllers that are connected now."""
    ids = _identities(subsystem.controllers)
    return frozenset(ids[each.name] for each in subsystem.controllers if each.state == "live")


def connections(subsystem: Subsystem) -> frozenset[str]:
    """The identities of all controllers that are there, connected or not."""
    return frozenset(_identities(subsystem.controllers).values())


def _missing(nqn: str, baseline: Baseline, wall: float) -> Cell:
    gone = Subsystem(nqn, "", "", "", "", (), ())
    expected = Expectation(len(baseline.identities), baseline.source, frozenset(baseline.identities))
    detail = _detail(gone, {}, {}, expected, Verdict(MapState.FAILED, (), Redundancy.NONE))
    detail |= {"baseline": list(baseline.identities), "acked": baseline.told_acceptance()}
    return Cell(NVME_SUBSYSTEM, nqn, "missing", ("not-visible",), detail, {}, wall)


def _judged(
    subsystem: Subsystem,
    baseline: Baseline,
    before: Mapping[NvmeKey, PathMemory],
    memory: dict[NvmeKey, PathMemory],
    now: float,
    wall: float,
) -> Cell:
    ids = _identities(subsystem.controllers)

    def settled(name: str, state: str, ana: str, nsid: int) -> tuple[PathClass, str]:
        raw, reason = path_class(state, ana)
        key = (subsystem.nqn, ids[name], nsid)
        cls, memory[key] = settle(raw, before.get(key), now)
        return cls, "controller-lost" if cls is PathClass.SUSPECT and not reason else reason

    known = frozenset(baseline.identities)
    source = baseline.source if known else "none"
    expected = Expectation(len(known) or None, source, known, explicit=source == "accepted", min_paths=1)
    of_controllers = {each.name: settled(each.name, each.state, "", 0) for each in subsystem.controllers}
    verdicts = [_verdict(of_controllers.values(), ids.values(), expected)]
    namespaces = []
    for namespace in subsystem.namespaces:
        found = {
            each.name: settled(each.name, each.state, namespace.ana[each.name], namespace.nsid)
            for each in subsystem.controllers
            if each.name in namespace.ana
        }
        verdict = _verdict(found.values(), (), Expectation(None, "none", min_paths=1))
        verdicts.append(verdict)
        namespaces.append(
            {
                "nsid": namespace.nsid,
                "wwid": clean(namespace.wwid),
                "size_bytes": namespace.size_bytes,
                "state": verdict.state.value,
                "paths": {ids[name]: clean(namespace.ana[name]) or "none" for name in found},
            }
        )
    worst = max(verdicts, key=lambda verdict: _SEVERITY.index(verdict.state))
    reasons = tuple(dict.fromkeys(reason for verdict in verdicts for reason in verdict.reasons))
    detail = _detail(subsystem, ids, {name: cls for name, (cls, _) in of_controllers.items()}, expected, verdicts[0])
    detail |= {"namespaces": namespaces[:MOST_NAMESPACES], "namespace_count": len(namespaces)}
    detail |= {"baseline": list(baseline.identities), "acked": baseline.told_acceptance()}
    return Cell(NVME_SUBSYSTEM, subsystem.nqn, worst.state.value, reasons, detail, _measures(subsystem, ids), wall)


def _verdict(found: Iterable[tuple[PathClass, str]], present: Iterable[str], expected: Expectation) -> Verdict:
    pairs = list(found)
    return map_verdict([cls for cls, _ in pairs], [reason for _, reason in pairs if reason], list(present), expected, suspended=False)


def _identities(controllers: Sequence[Controller]) -> dict[str, str]:
    """The identity of each controller by its name; equal ones are counted."""
    counts: dict[str, int] = {}
    result = {}
    for each in sorted(controllers, key=lambda c: (c.id, len(c.name), c.name)):
        counts[each.id] = counts.get(each.id, 0) + 1
        name = clean(each.id)
        result[each.name] = name if counts[each.id] == 1 else f"{name}#{counts[each.id]}"
    return result


def _detail(
    subsystem: Subsystem, ids: Mapping[str, str], classes: Mapping[str, PathClass], expected: Expectation, verdict: Verdict
) -> dict[str, Any]:
    count = list(classes.values()).count
    names = sorted(ids.values())
    return {
        "alias": None,
        "vendor": "",
        "product": clean(subsystem.model).strip(),
        "serial": clean(subsystem.serial).strip(),
        "iopolicy": clean(subsystem.iopolicy),
        "redundancy": verdict.redundancy.value,
        "paths": {
            "usable": count(PathClass.ACTIVE) + count(PathClass.STANDBY),
            "active": count(PathClass.ACTIVE),
            "standby": count(PathClass.STANDBY),
            "marginal": 0,
            "failed": count(PathClass.FAILED),
            "visible": len(classes),
            "expected": expected.count,
            "expected_source": expected.source,
        },
        "missing_paths": sorted(expected.names - set(names)),
        "queueing": "none",
        "flags": ["single-failure-domain"] if single_failure_domain(names) else [],
        "path_list": [
            {"id": ids[each.name], "class": classes[each.name].value, "group": 0, "state": clean(each.state)}
            for each in sorted(subsystem.controllers, key=lambda c: ids[c.name])
        ],
    }


def _measures(subsystem: Subsystem, ids: Mapping[str, str]) -> dict[str, Any]:
    return {"firmware": clean(subsystem.firmware), "devs": {ids[each.name]: each.name for each in subsystem.controllers}}
