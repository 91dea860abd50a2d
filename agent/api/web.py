"""Operations on the web page: who is asking, one-time links into it, and the sessions that they opened."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agent import __version__, name_service
from agent.api.access import Client, may_write
from agent.api.responses import json_response
from agent.api.routes import Access, Operation
from agent.cell_view import iso
from agent.node import Node
from agent.web.sessions import Session
from store.errors import UnavailableError, UsageError
from store.limits import limit


async def get_whoami(node: Node, request: Request) -> Response:
    """Whom the agent takes the client for, and who the agent is. `may_write` is null while the name service does not say it."""
    client: Client = request.state.client
    writes: bool | None = None
    with contextlib.suppress(UnavailableError):
        writes = await may_write(client, node.settings.api.admin_group)
    return json_response(
        {
            "uid": client.uid,
            "user": await name_service.names.name(client.uid),
            "may_write": writes,
            "session": client.session or None,
            "node": node.birth.name,
            "cluster": node.birth.cluster_name,
            "version": __version__,
        }
    )


async def post_link(node: Node, request: Request) -> Response:
    url = node.web.offer(request.state.client)
    return json_response({"url": url, "expires_seconds": limit("web_link_seconds")})


async def get_sessions(node: Node, request: Request) -> Response:
    _only_on_the_socket(request)
    return json_response({"sessions": await _describe(node.web.sessions())})


async def delete_session(node: Node, request: Request) -> Response:
    _only_on_the_socket(request)
    label = request.path_params["label"]
    found = [session for session in node.web.sessions() if session.label == label]
    if not found:
        raise UsageError(f"no web session {label[:40]!r}", code="not-found", hint="see `pathmesh web-sessions`")
    for session in found:
        node.web.end(session)
    return json_response({"ended": await _describe(found)})


async def delete_sessions(node: Node, request: Request) -> Response:
    _only_on_the_socket(request)
    return json_response({"ended": await _describe(node.web.end_all())})


def _only_on_the_socket(request: Request) -> None:
    """A web session sees and ends no other; itself it ends by logging out."""
    client: Client = request.state.client
    if client.session:
        raise UsageError("web sessions are seen and ended on the node only", code="forbidden", hint="on the node: pathmesh web-sessions")


async def _describe(sessions: Sequence[Session]) -> list[dict[str, Any]]:
    users = await asyncio.gather(*(name_service.names.name(session.who.uid) for session in sessions))
    return [
        {"label": session.label, "uid": session.who.uid, "user": user, "began": iso(session.began), "expires": iso(session.expires)}
        for session, user in zip(sessions, users, strict=True)
    ]


_SESSIONS = "/v1/web/sessions"
OPERATIONS = (
    Operation("GET", "/v1/whoami", get_whoami, "Whom the agent takes the client for, and who the agent is"),
    Operation("POST", "/v1/web/links", post_link, "A one-time link to the web page; not for web sessions"),
    Operation("GET", _SESSIONS, get_sessions, "The open web sessions; not for web sessions", Access.WRITE),
    Operation("DELETE", _SESSIONS, delete_sessions, "End all web sessions, and forget unused links; not for web sessions", Access.WRITE),
    Operation("DELETE", f"{_SESSIONS}/{{label}}", delete_session, "End a web session; not for web sessions", Access.WRITE),
)
