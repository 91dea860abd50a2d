"""The status document: the whole cluster as one JSON document, the same for people, scripts and monitoring."""

import time
from typing import Any

from agent.cell_view import cell_json, iso, last_known, said, said_all
from agent.doctor import problems
from agent.node import Node
from agent.writes import problem_json
from apply.wwid import device_path
from gossip.runner import boottime_ms
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, CellView
from store.matrix import CellState, RollUp, Row, count_states, worst

SCHEMA = 1


def status_document(node: Node) -> dict[str, Any]:
    """The status of the cluster as this node sees it."""
    picture = node.picture
    config = picture.config
    rows = picture.rows(MULTIPATH_MAP)
    return {
        "schema": SCHEMA,
        "generated": iso(time.time()),
        "node": node.birth.name,
        "cluster": node.birth.cluster_name,
        "cluster_state": worst(row.state for row in rows.values()).value if rows else RollUp.UNUSED.value,
        "config": {
            "digest": config.digest,
            "overrides_digest": config.overrides_digest,
            "edits": len(node.runner.engine.replica),
            "conflicts": len(config.conflicts),
            "problems": [problem_json(p) for p in config.problems] + problems(node),
        },
        "counts": count_states(rows.values()),
        "luns": [lun_json(node, row) for row in rows.values()],
        "nodes": [node_json(node, name) for name in picture.node_names()],
    }


def lun_json(node: Node, row: Row) -> dict[str, Any]:
    """One LUN: what it is, who should carry it and why, and each node's cell."""
    picture = node.picture
    config = picture.config
    lun = config.model.luns.get(row.id)
    expected = config.expected.get(row.id)
    nodes = {name: shown.whole() for name, shown in row.nodes.items()}
    told = {name: shown.cell for name, shown in nodes.items() if shown.cell is not None}
    return {
        "wwid": row.id,
        "alias": (lun.alias if lun else None) or last_known(told, "alias", str),
        "configured": lun is not None and lun.enabled,
        "vendor": last_known(told, "vendor", str),
        "product": last_known(told, "product", str),
        "size_bytes": last_known(told, "size_bytes", int),
        "device": device_path(row.id),
        "state": row.state.value,
        "since": iso(picture.since(row.kind, row.id)),
        "expected_nodes": sorted(expected.nodes) if expected else [],
        "expected_source": expected.source if expected else "none",
        "consumers": [{"storage": c.storage, "type": c.type, "via": c.via} for c in expected.consumers] if expected else [],
        "nodes": {
            name: {**cell_json(shown, picture.seq(name, row.kind, row.id)), "age_seconds": _rounded(picture.age_seconds(name))}
            for name, shown in nodes.items()
        },
    }


def node_json(node: Node, name: str) -> dict[str, Any]:
    """One node: whether it is up, what its multipathd and its apply say, how its cells stand."""
    picture = node.picture
    member = node.runner.engine.replica.registry.by_name[name]
    facts = picture.node_facts(name)
    apply_cell = picture.cell(name, MULTIPATH_APPLY, "config")
    cells = {state.value: 0 for state in CellState}
    for row in picture.rows(MULTIPATH_MAP).values():
        if (shown := row.nodes.get(name)) is not None:
            cells[shown.state.value] += 1
    stream = node.runner.engine.exchange.streams.get(name)
    heard = max((c.observed_at for c in stream.cells()), default=0.0) if stream is not None else 0.0
    return {
        "node": name,
        "state": node.members.standing(name, boottime_ms()),
        "role": member.role.value,
        "maintenance": name in picture.maintenance(),
        "age_seconds": _rounded(picture.age_seconds(name)),
        "observed_at": iso(heard) if heard else None,
        "tools_version": said(facts, "tools_version", "") or None,
        "daemon": said(facts, "daemon", "unknown"),
        "apply": apply_json(apply_cell),
        "cells": {state: count for state, count in cells.items() if count},
        "notes": said_all(facts, "notes", str),
    }


def apply_json(cell: CellView | None) -> dict[str, Any]:
    """A node's apply state, as it said last."""
    detail = cell.detail if cell is not None else {}
    return {
        "state": said(detail, "state", "pending"),
        "desired": said(detail, "desired", "") or None,
        "applied": said(detail, "applied", "") or None,
        "at": said(detail, "at", "") or None,
        "errors": [_fault_json(fault) for fault in said_all(detail, "errors", dict)],
        "notes": [_fault_json(note) for note in said_all(detail, "notes", dict)],
    }


def _fault_json(fault: dict[str, Any]) -> dict[str, Any]:
    return {**{name: said(fault, name, "") for name in ("code", "message", "hint", "since")}, "count": said(fault, "count", 1)}


def _rounded(age: float | None) -> float | None:
    return None if age is None else round(age, 1)
