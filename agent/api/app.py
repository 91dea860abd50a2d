"""The application: the table of operations as routes, access checked in one place, the OpenAPI document made from the same table."""

from functools import cache
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agent import __version__
from agent.api import cluster, config, conflicts, events, history, importing, membership, options, overrides, recording, storages, web
from agent.api.access import require_writer
from agent.api.errors import http_error, pathmesh_error, unforeseen
from agent.api.requests import check_query
from agent.api.responses import json_response
from agent.api.routes import Access, Operation
from agent.node import Node
from store.errors import PathmeshError

_log = structlog.get_logger("api")


_FLAGS = ("dry_run", "evict", "brief", "matrix", "preview")
_QUERY_TYPES = dict.fromkeys(_FLAGS, "boolean") | dict.fromkeys(("limit", "after", "since"), "integer")


async def get_openapi(_: Node, __: Request) -> Response:
    return json_response(openapi())


OPERATIONS: tuple[Operation, ...] = (
    *cluster.OPERATIONS,
    *storages.OPERATIONS,
    *membership.OPERATIONS,
    *config.OPERATIONS,
    *importing.OPERATIONS,
    *overrides.OPERATIONS,
    *conflicts.OPERATIONS,
    *options.OPERATIONS,
    *history.OPERATIONS,
    *events.OPERATIONS,
    *recording.OPERATIONS,
    *web.OPERATIONS,
    Operation("GET", "/v1/openapi.json", get_openapi, "This API as an OpenAPI document"),
)


def make_app(node: Node) -> Starlette:
    """The application of one node."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes = [Route(path, _Endpoint(node, operations), methods=list(operations)) for path, operations in by_path.items()]
    return Starlette(routes=routes, exception_handlers={PathmeshError: pathmesh_error, HTTPException: http_error, Exception: unforeseen})


class _Endpoint:
    """One path's operations as an ASGI application: Starlette's own wrapping of functions costs a fifth of a small request."""

    def __init__(self, node: Node, operations: dict[str, Operation]) -> None:
        self._node = node
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        operation = self._operations["GET" if request.method == "HEAD" else request.method]
        check_query(request, operation.query)
        if operation.access is Access.WRITE:
            client = await require_writer(request, self._node.settings.api.admin_group)
            by = {"session": client.session} if client.session else {}
            _log.info("write", method=operation.method, path=request.url.path, uid=client.uid, pid=client.pid, **by)
        response = await operation.handler(self._node, request)
        await response(scope, receive, send)


@cache
def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the table."""
    bodies = [o.body for o in OPERATIONS if o.body is not None]
    _, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        path = operation.path.replace(":path}", "}")
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pathmesh", "version": __version__, "description": "The local API of one node, on its unix socket."},
        "paths": paths,
        "components": {"schemas": components},
    }


def _describe(operation: Operation, path: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    if operation.digest:
        parameters.append({"name": "If-Match", "in": "header", "required": True, "schema": {"type": "string"}})
    parameters += [{"name": name, "in": "query", "schema": {"type": _QUERY_TYPES.get(name, "string")}} for name in operation.query]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done"},
            "default": {"description": "a problem document", "content": {"application/problem+json": {}}},
        },
    }
    content: dict[str, Any] = {}
    if operation.body is not None:
        content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{operation.body.__name__}"}}
    if operation.text and operation.method != "GET":
        content["text/plain"] = {"schema": {"type": "string"}}
    if content:
        described["requestBody"] = {"content": content}
    return described
