"""Operations on how the cluster fares: status, matrix, LUNs, nodes, apply, traces."""

import base64
import binascii
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from agent.accept import accept
from agent.api.requests import body_as, flag, whole
from agent.api.responses import etag, json_response
from agent.api.routes import Access, Operation
from agent.cell_view import cell_json, map_json, said, said_all
from agent.node import Node
from agent.picture import KINDS
from agent.status import apply_json, lun_json, node_json, status_document
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, NVME_SUBSYSTEM
from store.errors import UnavailableError, UsageError
from store.limits import limit
from store.matrix import CellState, RollUp, ShownCell, show_cell


class AcceptBody(msgspec.Struct, forbid_unknown_fields=True):
    """Take the paths seen now as the expected ones: on these nodes, or on all that see some; `shown` by node are accepted or nothing."""

    nodes: list[str] | None = None
    shown: dict[str, list[str]] | None = None
    reason: Annotated[str, Meta(max_length=4096)] = ""
    expires_seconds: Annotated[int, Meta(ge=1, le=10 * 365 * 86400)] | None = None


async def get_status(node: Node, _: Request) -> Response:
    return json_response(status_document(node))


# -- the matrix -------------------------------------------------------------------------------------------------------


def matrix_version(node: Node) -> str:
    """The version of the matrix, of this process's epoch."""
    return f"{node.runner.engine.identity.epoch}.{node.picture.version}"


async def get_matrix(node: Node, request: Request) -> Response:
    """Rows are encoded once for as long as they do not change; the entity tag is the version, so an unchanged matrix costs no body."""
    picture, query = node.picture, request.query_params
    version = matrix_version(node)
    tag = f'"{version}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    keys = picture.row_keys()
    filters = {name: query[name] for name in ("kind", "state", "node", "resource") if name in query}
    following = None
    changes: dict[str, Any] = {}
    if "changed_since" in query:
        keys, changes = _changed(node, request, keys)
    if filters:
        keys = _filtered(node, keys, filters)
    if "limit" in query or "cursor" in query:
        keys, following = _page(keys, whole(request, "limit", 1000, limit("luns_per_node")), query.get("cursor"))
    reporters = {
        name: {"state": reporter.value, "age_seconds": picture.age_seconds(name)} for name, reporter in picture.reporters().items()
    }
    head = msgspec.json.encode({"version": version, "kinds": list(KINDS), "next": following, "reporters": reporters, **changes})
    rows = picture.brief_rows(keys) if flag(request, "brief") else picture.encoded_rows(keys)
    body = b"".join((head[:-1], b',"resources":[', b",".join(rows), b"]}"))
    return Response(body, 200, {"etag": tag}, "application/json")


def _changed(node: Node, request: Request, keys: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The rows that came or changed since a version, and which are gone; all rows if that is not known."""
    for name in ("state", "node", "resource", "limit", "cursor"):
        if name in request.query_params:
            raise UsageError(f"{name}: not together with changed_since", code="malformed")
    epoch, _, number = request.query_params["changed_since"].partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 16 for part in (epoch, number)):
        raise UsageError("changed_since: expected the `version` of an earlier answer", code="malformed")
    changes = node.picture.changes(int(number)) if int(epoch) == node.runner.engine.identity.epoch else None
    if changes is None:
        return keys, {"whole": True, "gone": []}
    return [key for key in keys if key in changes.changed], {
        "whole": False,
        "gone": [{"kind": k, "id": i} for k, i in sorted(changes.gone)],
    }


_STATES = tuple(dict.fromkeys([state.value for state in (*CellState, *RollUp)]))


def _filtered(node: Node, keys: list[tuple[str, str]], filters: dict[str, str]) -> list[tuple[str, str]]:
    if (kind := filters.get("kind")) is not None:
        if kind not in KINDS:
            raise UsageError(f"kind {kind[:40]!r}: expected one of {', '.join(KINDS)}", code="malformed")
        keys = [key for key in keys if key[0] == kind]
    if (resource := filters.get("resource")) is not None:
        keys = [key for key in keys if key[1] == _resource(node, resource)]
    name, state = filters.get("node"), filters.get("state")
    if name is not None and name not in node.picture.reporters():
        raise UsageError(f"node {name[:80]!r}: there is no such node", code="malformed", hint="see `pathmesh node ls`")
    if state is not None and state not in _STATES:
        raise UsageError(f"state {state[:40]!r}: expected one of {', '.join(_STATES)}", code="malformed")
    if name is not None or state is not None:
        rows = {kind: node.picture.rows(kind) for kind in KINDS}
        keys = [key for key in keys if _row_fits(rows[key[0]][key[1]], name, state)]
    return keys


def _resource(node: Node, text: str) -> str:
    """A resource by its id, or a LUN by its alias."""
    for wwid, lun in node.picture.config.model.luns.items():
        if lun.alias == text:
            return wwid
    return text


def _row_fits(row: Any, name: str | None, state: str | None) -> bool:
    if name is not None and name not in row.nodes:
        return False
    if state is None:
        return True
    if name is not None:
        return bool(row.nodes[name].state.value == state)
    return row.state.value == state or any(shown.state.value == state for shown in row.nodes.values())


def _page(keys: list[tuple[str, str]], most: int, cursor: str | None) -> tuple[list[tuple[str, str]], str | None]:
    """One page: the cursor names the last row of the page before, so rows that come or go between pages shift nothing."""
    start = 0
    if cursor is not None:
        last = _cursor_key(cursor)
        start = sum(1 for key in keys if (KINDS.index(key[0]), key[1]) <= last)
    page = keys[start : start + most]
    more = start + most < len(keys)
    return page, base64.urlsafe_b64encode(" ".join(page[-1]).encode()).decode() if more else None


def _cursor_key(cursor: str) -> tuple[int, str]:
    """The row that a cursor names, as rows are ordered."""
    try:
        kind, _, name = base64.b64decode(cursor.encode(), b"-_", validate=True).decode().partition(" ")
        return KINDS.index(kind), name
    except (binascii.Error, ValueError):
        raise UsageError(f"cursor: {cursor[:60]!r} is none of ours", code="malformed") from None


# -- LUNs -------------------------------------------------------------------------------------------------------------


async def get_scan(node: Node, _: Request) -> Response:
    """LUNs that some node sees and that are not allow-listed."""
    allowed = {wwid for wwid, lun in node.picture.config.model.luns.items() if lun.enabled}
    luns: dict[str, dict[str, Any]] = {}
    for name in node.picture.node_names():
        for seen in said_all(node.picture.node_facts(name), "visible", dict):
            if (wwid := said(seen, "wwid", "")) and wwid not in allowed:
                lun = luns.setdefault(wwid, {"wwid": wwid, "vendor": None, "product": None, "size_bytes": None, "nodes": {}})
                for field, nothing in (("vendor", ""), ("product", ""), ("size_bytes", 0)):
                    lun[field] = lun[field] or said(seen, field, nothing) or None
                lun["nodes"][name] = {"paths": said(seen, "paths", 0)}
    return json_response({"luns": [luns[wwid] for wwid in sorted(luns)]})


async def get_lun(node: Node, request: Request) -> Response:
    wwid = _resource(node, request.path_params["wwid"])
    row = node.picture.rows(MULTIPATH_MAP).get(wwid)
    if row is None:
        raise UsageError(f"LUN {wwid}: nobody sees it and it is not allow-listed", code="not-found")
    return json_response(lun_json(node, row))


async def get_lun_paths(node: Node, request: Request) -> Response:
    """A LUN's paths as each node told them last. A cell that is not known now still shows what was known last, and says so."""
    wwid = _resource(node, request.path_params["wwid"])
    kind = NVME_SUBSYSTEM if wwid in node.picture.rows(NVME_SUBSYSTEM) else MULTIPATH_MAP
    row = node.picture.rows(kind).get(wwid)
    if row is None:
        raise UsageError(f"LUN {wwid}: nobody sees it and it is not allow-listed", code="not-found")
    nodes = {}
    for name, shown in row.nodes.items():
        found = shown.cell.whole() if shown.cell is not None else None
        document = cell_json(ShownCell(shown.state, shown.reasons, found), node.picture.seq(name, kind, wwid))
        age = node.picture.age_seconds(name)
        nodes[name] = {**document, **map_json(found), "age_seconds": None if age is None else round(age, 1)}
    return json_response({"kind": kind, "wwid": wwid, "nodes": nodes})


async def post_accept(node: Node, request: Request) -> Response:
    body = await body_as(request, AcceptBody)
    wwid = _resource(node, request.path_params["wwid"])
    accepted = await accept(
        node.picture,
        node.writer,
        wwid,
        body.nodes,
        by=node.birth.name,
        reason=body.reason,
        expires_seconds=body.expires_seconds,
        dry_run=flag(request, "dry_run"),
        shown=body.shown,
    )
    dot = accepted.edit
    return json_response(
        {
            "accepted": [{"node": n, "paths": list(paths.kept), "given_up": list(paths.given_up)} for n, paths in accepted.paths.items()],
            "left_out": [{"node": n, "code": code} for n, code in accepted.left_out.items()],
            "edit": str(dot) if dot else None,
            "dry_run": dot is None,
        }
    )


# -- nodes -----------------------------------------------------------------------------------------------------------


async def get_nodes(node: Node, _: Request) -> Response:
    return json_response({"nodes": [node_json(node, name) for name in node.picture.node_names()]})


async def get_node(node: Node, request: Request) -> Response:
    return json_response(node_json(node, _node_name(node, request)))


async def get_node_maps(node: Node, request: Request) -> Response:
    """A node's maps as the matrix shows them: those of a node that is not heard are unknown, with what it said last beside it."""
    name, picture = _node_name(node, request), node.picture
    reporter = picture.reporters()[name]
    maps = []
    for wwid, found in sorted(picture.cells_of(name, MULTIPATH_MAP).items()):
        cell = found.whole()
        shown = show_cell(cell, reporter, expected=False, settled=True)
        if shown is not None:
            maps.append(
                {
                    "wwid": wwid,
                    **{field: said(cell.detail, field, "") or None for field in ("alias", "vendor", "product")},
                    "size_bytes": said(cell.detail, "size_bytes", 0) or None,
                    **cell_json(shown, picture.seq(name, MULTIPATH_MAP, wwid)),
                    **map_json(cell),
                }
            )
    return json_response({"node": name, "reporter": reporter.value, "age_seconds": picture.age_seconds(name), "maps": maps})


def _node_name(node: Node, request: Request) -> str:
    name: str = request.path_params["name"]
    if name not in node.picture.node_names():
        raise UsageError(f"no node named {name[:80]!r}", code="not-found", hint="see `pathmesh node ls`")
    return name


# -- apply, the rest --------------------------------------------------------------------------------------------------


async def get_render(node: Node, request: Request) -> Response:
    wanted = request.query_params.get("node", node.birth.name)
    if wanted != node.birth.name:
        raise UsageError(
            "a node renders for its own multipath-tools only", code="other-node", hint=f"ask on {wanted[:63]}: pathmesh render"
        )
    return json_response(await node.host.render())


async def get_apply(node: Node, _: Request) -> Response:
    return json_response({"apply": apply_json(node.picture.cell(node.birth.name, MULTIPATH_APPLY, "config"))})


async def post_apply(node: Node, _: Request) -> Response:
    return json_response({"apply": await node.host.apply_now()})


async def get_dump(node: Node, _: Request) -> Response:
    config = node.picture.config
    return json_response(
        {
            "status": status_document(node),
            "config": config.text,
            "overrides": config.overrides,
            "acks": {key: dict(options) for key, (_, options) in config.acks.items()},
            "members": node.members.describe(),
            "conflicts": list(config.conflicts),
            "clock": {actor.hex(): counter for actor, counter in sorted(node.runner.engine.replica.fold.clock.items())},
            "state_hash": node.runner.engine.replica.fold.state_hash.hex(),
            "counters": dict(sorted(node.counters().items())),
        }
    )


async def get_trace(node: Node, request: Request) -> Response:
    """When edits were committed and health was taken here: CLOCK_MONOTONIC nanoseconds, to measure how fast changes spread on a host."""
    after = whole(request, "after", 0, 2**53, least=0)
    entries = [t for t in node.runner.traces if t.cursor > after]
    return json_response(
        {"entries": [{"cursor": t.cursor, "what": t.what, "name": t.name, "monotonic_ns": t.monotonic_ns} for t in entries]}
    )


async def get_healthz(_: Node, __: Request) -> Response:
    return json_response({"ok": True})


async def get_readyz(node: Node, _: Request) -> Response:
    """Ready: this node knows its own membership, so what it answers is the cluster's word and not an empty page."""
    engine = node.runner.engine
    if engine.name_taken:
        raise UnavailableError("another node holds this node's name", code="name-taken", hint="retire one of the two")
    if node.departure.left:
        raise UnavailableError("this node has left the cluster", code="left", hint="stop its agent, or join anew")
    if engine.member is None:
        raise UnavailableError("joining: the cluster's configuration is not here yet", code="joining", hint="try again shortly")
    return json_response({"ready": True, "node": node.birth.name}, etag(node.picture.config.digest))


W = Access.WRITE
OPERATIONS = (
    Operation("GET", "/v1/status", get_status, "The status of the cluster"),
    Operation(
        "GET",
        "/v1/matrix",
        get_matrix,
        "Every resource on every node",
        query=("kind", "state", "node", "resource", "limit", "cursor", "brief", "changed_since"),
    ),
    Operation("GET", "/v1/luns/scan", get_scan, "LUNs that are seen and not allow-listed"),
    Operation("GET", "/v1/luns/{wwid}", get_lun, "One LUN, by WWID or alias"),
    Operation("GET", "/v1/luns/{wwid}/paths", get_lun_paths, "A LUN's paths on each node, also of a native NVMe subsystem by its NQN"),
    Operation("POST", "/v1/luns/{wwid}/accept", post_accept, "Expect the paths that are there now", W, AcceptBody, query=("dry_run",)),
    Operation("GET", "/v1/nodes", get_nodes, "The nodes and how they fare"),
    Operation("GET", "/v1/nodes/{name}", get_node, "One node"),
    Operation("GET", "/v1/nodes/{name}/maps", get_node_maps, "A node's maps, path groups and paths"),
    Operation("GET", "/v1/render", get_render, "What this node would write, the difference, what else an apply would do", query=("node",)),
    Operation("GET", "/v1/apply", get_apply, "This node's apply state"),
    Operation("POST", "/v1/apply", post_apply, "Apply again now", W),
    Operation("GET", "/v1/dump", get_dump, "Everything, for scripts and support"),
    Operation("GET", "/v1/trace", get_trace, "When changes arrived here", query=("after",)),
    Operation("GET", "/healthz", get_healthz, "Whether the agent answers"),
    Operation("GET", "/readyz", get_readyz, "Whether the agent has the cluster's state"),
)
