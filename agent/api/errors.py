"""Every fault as a problem document (RFC 9457): one place that maps our errors to HTTP."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from agent.writes import ConflictOpen, Refused, StaleDigest, problem_json
from store.errors import ConflictError, PathmeshError, UnavailableError, UsageError

log = structlog.get_logger("api")

STATUS_BY_CODE: dict[str, HTTPStatus] = {
    "not-found": HTTPStatus.NOT_FOUND,
    "malformed": HTTPStatus.BAD_REQUEST,
    "unsupported-type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "digest-required": HTTPStatus.PRECONDITION_REQUIRED,
    "stale-digest": HTTPStatus.PRECONDITION_FAILED,
    "conflict-open": HTTPStatus.CONFLICT,
    "name-taken": HTTPStatus.CONFLICT,
    "exists": HTTPStatus.CONFLICT,
    "forbidden": HTTPStatus.FORBIDDEN,
    "request-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "edit-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "config-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "joining": HTTPStatus.SERVICE_UNAVAILABLE,
    "stopping": HTTPStatus.SERVICE_UNAVAILABLE,
    "log-full": HTTPStatus.INSUFFICIENT_STORAGE,
    "storage-failed": HTTPStatus.INSUFFICIENT_STORAGE,
}


def status_of(fault: PathmeshError) -> HTTPStatus:
    """The status for an error: by its code, else by its class."""
    if (known := STATUS_BY_CODE.get(fault.code)) is not None:
        return known
    if isinstance(fault, ConflictError):
        return HTTPStatus.CONFLICT
    if isinstance(fault, UsageError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(fault, UnavailableError) else HTTPStatus.INTERNAL_SERVER_ERROR


def problem(status: HTTPStatus, code: str, message: str, hint: str = "", **more: Any) -> Response:
    """A problem document."""
    body = {"type": f"about:blank#{code}", "title": status.phrase, "status": status.value, "code": code, "detail": message, "hint": hint} | more
    return Response(msgspec.json.encode(body), status.value, media_type="application/problem+json")


async def pathmesh_error(_: Request, fault: Exception) -> Response:
    """Starlette's handler for our errors."""
    assert isinstance(fault, PathmeshError)
    more: dict[str, Any] = {}
    if isinstance(fault, StaleDigest):
        more["digest"] = fault.current
    elif isinstance(fault, ConflictOpen):
        more["key"] = fault.key
    elif isinstance(fault, Refused):
        more["problems"] = [problem_json(p) for p in fault.problems]
    return problem(status_of(fault), fault.code, fault.message, fault.hint, **more)


async def unforeseen(request: Request, fault: Exception) -> Response:
    """Starlette's handler for a fault of the program: logged with its place, told without it."""
    log.error("request failed", method=request.method, path=request.url.path, exc_info=fault)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "a fault of pathmesh; nothing is known to be written", "the agent's log has the details")


async def http_error(_: Request, fault: Exception) -> Response:
    """Starlette's own refusals: unknown path, method not allowed."""
    status = HTTPStatus(getattr(fault, "status_code", 500))
    code = {404: "not-found", 405: "method-not-allowed"}.get(status.value, "refused")
    return problem(status, code, status.description or status.phrase, "GET /v1/openapi.json lists what there is")
