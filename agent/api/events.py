"""Operations on the event log: a page of it, or all that comes as a stream of server-sent events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import msgspec
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent.api.cluster import matrix_version
from agent.api.requests import flag, whole
from agent.api.responses import json_response
from agent.api.routes import Operation
from agent.node import Node
from store.errors import UsageError
from store.limits import limit

STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 5
MATRIX_GAP_SECONDS = 0.1
"""The least time between two words of the matrix to one reader; the first comes at once."""
PAGE = 100
MOST_CURSOR = 2**53

_log = structlog.get_logger("api")


class EventStream(EventSourceResponse):
    """Events as they come, to one reader. One that takes nothing for long is disconnected; it goes on where it was when it comes again.

    With `matrix` it is told too whenever the matrix has another version.
    """

    def __init__(self, node: Node, since: int | None, *, matrix: bool) -> None:
        timeout = limit("event_send_seconds")
        told = _sent(node, since, matrix=matrix)
        super().__init__(told, ping=HEARTBEAT_SECONDS, sep="\n", send_timeout=timeout, ping_message_factory=_heartbeat)
        self._events = node.events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._events.streams += 1
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _log.info("a reader of events takes nothing: disconnected")
            scope["state"]["abort"]()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while (await receive())["type"] != "http.disconnect":
                        pass
        finally:
            self._events.streams -= 1


_heartbeat = partial(ServerSentEvent, comment="alive", sep="\n")


async def _sent(node: Node, since: int | None, *, matrix: bool) -> AsyncIterator[ServerSentEvent]:
    version = matrix_version(node)
    if matrix:
        yield _matrix(version)
    async for page in node.events.follow(since):
        if page.gap:
            first = page.events[0].cursor if page.events else page.next
            gone = msgspec.json.encode({"since": since, "next": first})
            yield ServerSentEvent(gone.decode(), event="gap", sep="\n")
        for event in page.events:
            yield ServerSentEvent(event.json().decode(), event=event.kind, id=str(event.cursor), sep="\n")
        since = page.next
        if matrix and (now := matrix_version(node)) != version:
            version = now
            yield _matrix(version)
            await asyncio.sleep(MATRIX_GAP_SECONDS)


def _matrix(version: str) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode({"version": version}).decode(), event="matrix", sep="\n")


async def get_events(node: Node, request: Request) -> Response:
    events = node.events
    if STREAM in request.headers.get("accept", ""):
        since = _last_event_id(request) if "last-event-id" in request.headers else _since(request)
        whole(request, "limit", PAGE, limit("events_in_memory"))
        events.require_room()
        return EventStream(node, since, matrix=flag(request, "matrix"))
    flag(request, "matrix")
    page = await events.read(_since(request), whole(request, "limit", PAGE, limit("events_in_memory")))
    found = [msgspec.Raw(event.json()) for event in page.events]
    return json_response({"events": found, "next": page.next, "gap": page.gap, "newest": events.newest})


def _since(request: Request) -> int | None:
    return whole(request, "since", 0, MOST_CURSOR, least=0) if "since" in request.query_params else None


def _last_event_id(request: Request) -> int:
    text = request.headers["last-event-id"].strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise UsageError(f"Last-Event-ID: {text[:40]!r} is no cursor", code="malformed")
    return int(text)


OPERATIONS = (
    Operation(
        "GET", "/v1/events", get_events, "What happened; with `Accept: text/event-stream` as it happens", query=("since", "limit", "matrix")
    ),
)
