"""The storages as readers see them: what each stands on, how it fares on each of its nodes, and the volumes it has."""

from collections.abc import Mapping
from typing import Any

from agent.cell_view import said, said_all
from agent.node import Node
from agent.picture import Picture
from agent.writes import problem_json
from apply.model import Storage
from apply.volumes import volumes_of
from apply.wwid import device_path
from store.cells import MULTIPATH_MAP, STORAGE, CellView
from store.document import STORAGE_PREFIX
from store.errors import UsageError
from store.matrix import SEVERITY, CellState, Expectation, Reporter, Row, ShownCell, Sources, build_rows, roll_up

_MAP_STATES_THAT_ARE_THERE = frozenset({CellState.HEALTHY, CellState.UNEXPECTED, CellState.DEGRADED, CellState.FAILED, CellState.UNKNOWN})


def storages_json(node: Node) -> list[dict[str, Any]]:
    """Every storage, by id."""
    picture = node.picture
    model = picture.config.model
    expectations = {name: Expectation(_nodes_of(storage, picture), wanted=True) for name, storage in model.storages.items()}
    reporters = picture.reporters()
    sources = Sources({name: picture.cells_of(name, STORAGE) for name in reporters}, reporters, (), frozenset(picture.maintenance()))
    own = {row.id: row for row in build_rows(STORAGE, sources, {}, ids=list(model.storages))}
    return [_storage_json(storage, expectations[name], own.get(name), picture) for name, storage in sorted(model.storages.items())]


def _storage_json(storage: Storage, expectation: Expectation, own: Row | None, picture: Picture) -> dict[str, Any]:
    config, rows = picture.config, picture.rows(MULTIPATH_MAP)
    luns = set(volumes_of(storage, config.model))
    luns |= {wwid for wwid, found in config.expected.items() if any(storage.id in (c.storage, c.via) for c in found.consumers)}
    status = {name: _status(name, storage, sorted(luns), own, rows, picture) for name in sorted(expectation.nodes)}
    counted = {name: CellState(found["state"]) for name, found in status.items() if name not in picture.maintenance()}
    return {
        "id": storage.id,
        "type": storage.type,
        "enabled": storage.enabled,
        "nodes": sorted(storage.nodes) if storage.nodes is not None else None,
        "base": ":".join(storage.base) if storage.base else None,
        "state": roll_up(counted, expectation).value,
        "luns": [{"wwid": w, "state": rows[w].state.value if w in rows else "unknown"} for w in sorted(luns)],
        "status": status,
        "problems": [problem_json(p) for p in config.problems if p.key == STORAGE_PREFIX + storage.id],
    }


def _nodes_of(storage: Storage, picture: Picture) -> frozenset[str]:
    if not storage.enabled:
        return frozenset()
    members = picture.config.members
    return members if storage.nodes is None else storage.nodes & members


def _status(name: str, storage: Storage, luns: list[str], own: Row | None, rows: Mapping[str, Row], picture: Picture) -> dict[str, Any]:
    """How a storage fares on one node: the worst of what the node says of it, and of the LUNs that are its own or under it."""
    shown = [rows[wwid].nodes[name] for wwid in luns if wwid in rows and name in rows[wwid].nodes]
    cell = None
    if own is not None and name in own.nodes:
        shown.append(own.nodes[name])
        cell = own.nodes[name].cell
    if not shown:  # a storage of maps may have none on a node; of any other the node should say something
        fresh = picture.reporters()[name] is Reporter.FRESH
        nothing_due = storage.offers_maps and fresh
        shown.append(ShownCell(CellState.ABSENT, (), None) if nothing_due else ShownCell(CellState.UNKNOWN, ("not-reported",), None))
    state = max((each.state for each in shown), key=lambda each: SEVERITY[each])
    reasons = dict.fromkeys(reason for each in shown if each.state is state for reason in each.reasons)
    return {
        "state": state.value,
        "reasons": list(reasons),
        "age_seconds": picture.age_seconds(name),
        **_told(cell),
    }


def _told(cell: CellView | None) -> dict[str, Any]:
    """What the node itself said of the storage last: its volume group, or its sessions; empty if nothing."""
    if cell is None:
        return {}
    found = cell.whole()
    detail = found.detail
    match said(detail, "type", ""):
        case "lvm":
            size = said(detail, "size_bytes", 0)
            return {
                "vg": {
                    "name": said(detail, "vg", ""),
                    "size_bytes": size or None,
                    "free_bytes": said(detail, "free_bytes", 0) if size else None,
                    "active": said(detail, "active", False),
                    "missing_pvs": said(detail, "missing_pvs", 0),
                    "on": said_all(detail, "on", str),
                    "volumes": said(found.measures, "volumes", 0),
                    "active_volumes": said(found.measures, "active_volumes", 0),
                }
            }
        case "iscsi":
            return {
                "sessions": {
                    "there": said(detail, "sessions", 0),
                    "expected": said(detail, "expected", 0),
                    "missing": said_all(detail, "missing", str),
                    "errors": [
                        {field: said(fault, field, "") for field in ("code", "message", "hint")}
                        for fault in said_all(detail, "errors", dict)
                    ],
                }
            }
        case _:
            return {}


def volumes_json(node: Node, storage_id: str, name: str) -> dict[str, Any]:
    """The volumes of a storage on one node: its maps there that are allow-listed; with each, how it is on the other nodes that have it.

    UsageError `not-found`, or `no-volumes` for a storage whose volumes are no maps.
    """
    picture = node.picture
    model = picture.config.model
    storage = model.storages.get(storage_id)
    if storage is None:
        raise UsageError(f"there is no storage {storage_id[:80]!r}", code="not-found", hint="see `pathmesh storage ls`")
    if not storage.offers_maps:
        hint = f"lvs {storage.options['vgname']}" if "vgname" in storage.options else "set `multipath 1` if they are maps"
        raise UsageError(f"the volumes of the storage {storage_id} are no maps", code="no-volumes", hint=hint)
    rows, on = picture.rows(MULTIPATH_MAP), _nodes_of(storage, picture)
    found = []
    for wwid in volumes_of(storage, model) if name in on else ():
        everywhere = _uses(rows.get(wwid), on)
        here = everywhere.get(name)
        if here is not None:
            found.append(
                {
                    "volid": f"{storage_id}:{wwid}",
                    "wwid": wwid,
                    "alias": model.luns[wwid].alias,
                    "path": device_path(wwid),
                    "size_bytes": here.pop("size_bytes"),
                    "format": "raw",
                    **here,
                    "nodes": {other: {"state": v["state"], "used_by": v["used_by"]} for other, v in everywhere.items()},
                }
            )
    return {"storage": storage_id, "node": name, "volumes": found}


def _uses(row: Row | None, on: frozenset[str]) -> dict[str, dict[str, Any]]:
    """State, users and size of a LUN on each node that has its map, as far as is known."""
    found = {}
    for name, shown in sorted(row.nodes.items()) if row is not None else ():
        if name in on and shown.cell is not None and shown.state in _MAP_STATES_THAT_ARE_THERE and shown.cell.state != CellState.MISSING:
            detail = shown.cell.detail
            size = said(detail, "size_bytes", 0) or None
            found[name] = {"state": shown.state.value, "used_by": said_all(detail, "used_by", str), "size_bytes": size}
    return found
