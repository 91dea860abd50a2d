"""Every fault as a problem document (RFC 9457): one place that maps our errors to HTTP."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from agent.history import ChangedSince
from agent.writes import ConflictOpen, Refused, StaleDigest, problem_json
from store.errors import ConflictError, PathmeshError, UnavailableError, UsageError

log = structlog.get_logger("api")

CODES: dict[str, tuple[HTTPStatus, str]] = {
    "malformed": (HTTPStatus.BAD_REQUEST, "the request itself is wrong: its JSON, a field, a header or a query parameter"),
    "no-session": (HTTPStatus.UNAUTHORIZED, "on the web page's port: there is no session, or it has ended"),
    "link-unknown": (HTTPStatus.FORBIDDEN, "this node gave out no such one-time link to its web page"),
    "link-used": (HTTPStatus.FORBIDDEN, "the one-time link was used already"),
    "link-expired": (HTTPStatus.FORBIDDEN, "the one-time link was not used in time"),
    "wrong-origin": (HTTPStatus.FORBIDDEN, "on the web page's port: the request comes from another site"),
    "wrong-host": (HTTPStatus.MISDIRECTED_REQUEST, "on the web page's port: `Host` is no name of the loopback"),
    "forbidden": (HTTPStatus.FORBIDDEN, "the client may not write here, or this node's role does not allow it"),
    "left": (HTTPStatus.FORBIDDEN, "this node has left the cluster: it is read-only"),
    "cloned": (HTTPStatus.FORBIDDEN, "another process runs with this node's keys, and the cluster listens to that one"),
    "config-behind": (HTTPStatus.FORBIDDEN, "the configuration holds edits of a newer version, which this node must not write over"),
    "retired": (HTTPStatus.FORBIDDEN, "this node was retired from the cluster: it is read-only"),
    "token-unknown": (HTTPStatus.NOT_FOUND, "this node gave out no such join token"),
    "not-found": (HTTPStatus.NOT_FOUND, "there is no such section, LUN, member, node or address"),
    "method-not-allowed": (HTTPStatus.METHOD_NOT_ALLOWED, "the address knows other methods; `Allow` lists them"),
    "conflict-open": (HTTPStatus.CONFLICT, "the section `key` has concurrent values that nobody has resolved"),
    "changed-since": (HTTPStatus.CONFLICT, "the section `key` was changed again since the edit that is to be reverted, by `edit`"),
    "accept-changed": (HTTPStatus.CONFLICT, "the paths that would be accepted are not those that were shown"),
    "exists": (HTTPStatus.CONFLICT, "what is to be made is there already"),
    "name-taken": (HTTPStatus.CONFLICT, "another node holds this node's name"),
    "history-gone": (HTTPStatus.GONE, "what was before the edit, or the edit itself, is no longer known on this node"),
    "stale-digest": (HTTPStatus.PRECONDITION_FAILED, "the document has changed since; `digest` is the present one"),
    "request-too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is longer than is taken"),
    "edit-too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the edit is longer than can travel"),
    "config-too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the configuration would be larger than is held"),
    "unsupported-type": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is of a type that is not taken here"),
    "digest-required": (HTTPStatus.PRECONDITION_REQUIRED, "a write without `If-Match`"),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the program; the agent's log says more"),
    "busy": (HTTPStatus.SERVICE_UNAVAILABLE, "too many edits wait for the disk"),
    "leave-unheard": (HTTPStatus.SERVICE_UNAVAILABLE, "this node has left, and no other member has heard of it yet"),
    "purge-failed": (HTTPStatus.SERVICE_UNAVAILABLE, "the host refused to give up what apply wrote; the node has not left"),
    "joining": (HTTPStatus.SERVICE_UNAVAILABLE, "the node has not received the cluster's configuration yet"),
    "too-many-streams": (HTTPStatus.SERVICE_UNAVAILABLE, "as many readers as are served follow the events already"),
    "stopping": (HTTPStatus.SERVICE_UNAVAILABLE, "the agent is stopping"),
    "log-full": (HTTPStatus.INSUFFICIENT_STORAGE, "the log of edits is full"),
    "storage-failed": (HTTPStatus.INSUFFICIENT_STORAGE, "the database could not be written; nothing was kept"),
}
"""Codes whose status says more than their class does, with what they mean."""


def status_of(fault: PathmeshError) -> HTTPStatus:
    """The status for an error: by its code, else by its class."""
    if (known := CODES.get(fault.code)) is not None:
        return known[0]
    if isinstance(fault, ConflictError):
        return HTTPStatus.CONFLICT
    if isinstance(fault, UsageError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(fault, UnavailableError) else HTTPStatus.INTERNAL_SERVER_ERROR


def problem(status: HTTPStatus, code: str, message: str, hint: str = "", **more: Any) -> Response:
    """A problem document."""
    body = {
        "type": f"about:blank#{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": message,
        "hint": hint,
    } | more
    return Response(msgspec.json.encode(body), status.value, media_type="application/problem+json")


async def pathmesh_error(_: Request, fault: Exception) -> Response:
    """Starlette's handler for our errors."""
    assert isinstance(fault, PathmeshError)
    more: dict[str, Any] = {}
    if isinstance(fault, StaleDigest):
        more["digest"] = fault.current
    elif isinstance(fault, ConflictOpen):
        more["key"] = fault.key
    elif isinstance(fault, ChangedSince):
        more["key"], more["edit"] = fault.key, fault.edit
    elif isinstance(fault, Refused):
        more["problems"] = [problem_json(p) for p in fault.problems]
    return problem(status_of(fault), fault.code, fault.message, fault.hint, **more)


async def unforeseen(request: Request, fault: Exception) -> Response:
    """Starlette's handler for a fault of the program: logged with its place, told without it."""
    log.error("request failed", method=request.method, path=request.url.path, exc_info=fault)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "a fault of pathmesh; nothing is known to be written",
        "the agent's log has the details",
    )


async def http_error(_: Request, fault: Exception) -> Response:
    """Starlette's own refusals: unknown path, method not allowed."""
    status = HTTPStatus(getattr(fault, "status_code", 500))
    code = {404: "not-found", 405: "method-not-allowed"}.get(status.value, "refused")
    answer = problem(status, code, status.description or status.phrase, "GET /v1/openapi.json lists what there is")
    answer.headers.update(getattr(fault, "headers", None) or {})  # a 405 says which methods there are
    return answer
