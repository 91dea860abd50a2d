"""What answers on the page's port: the page's files to everybody, the API of the local socket to those with a session.

The order of the checks is the security of it: where the request comes from, then whether it needs a session and has one, then the API's own
access, by the client that the session acts for.
"""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.api.access import Client
from agent.api.errors import pathmesh_error, problem
from agent.api.requests import body_as
from agent.web.files import File
from agent.web.headers import SECURITY_HEADERS, check_origin, cookie_of, set_cookie
from agent.web.service import WebService
from agent.web.sessions import SECRET_CHARS, Session
from store.errors import PathmeshError, UsageError
from store.limits import limit

LOGIN, LOGOUT = "/login", "/logout"
_PAGES = {"/": "index.html", LOGIN: "login.html"}


class LoginBody(msgspec.Struct, forbid_unknown_fields=True):
    """The secret of a one-time link."""

    link: Annotated[str, msgspec.Meta(min_length=1, max_length=2 * SECRET_CHARS)]


class WebApp:
    """The ASGI application of the page's port."""

    def __init__(self, web: WebService, api: ASGIApp, files: dict[str, File]) -> None:
        self._web = web
        self._api = api
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers.setdefault("cache-control", "no-store")
                message["headers"] = [*headers.raw, *SECURITY_HEADERS]
            await send(message)

        try:
            check_origin(request.method, request.headers)
            session = self._session(request)
            scope["state"]["meet"]("" if session is None else session.id)
            response = await self._own(request, session)
            if response is not None:
                await response(scope, receive, answer)
                return
            if session is None:
                await _no_session()(scope, receive, answer)
                return
            async with self._web.using(session):
                await self._api(_acting_for(scope, session), receive, answer)
        except PathmeshError as fault:
            await (await pathmesh_error(request, fault))(scope, receive, answer)
        except TimeoutError:  # the session has ended meanwhile
            if begun:
                scope["state"]["abort"]()
            else:
                await _no_session()(scope, receive, answer)

    async def _own(self, request: Request, session: Session | None) -> Response | None:
        """The answer to what is not the API's; None if it is."""
        path, reads = request.url.path, request.method in ("GET", "HEAD")
        if path == LOGOUT and request.method == "POST":
            return self._logout(session)
        if path == LOGIN and request.method == "POST":
            return await self._login(request)
        name = _PAGES.get(path) or path.removeprefix("/static/")
        if not reads or name not in self._files or path == f"/{name}":
            return None
        if path == "/" and session is None:
            return RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER)
        return self._files[name].answer(request.headers.get("if-none-match", ""))

    async def _login(self, request: Request) -> Response:
        seconds = limit("request_head_seconds")
        try:
            async with asyncio.timeout(seconds):
                body = await body_as(request, LoginBody, most=limit("web_request_bytes"))
        except TimeoutError:
            raise UsageError(f"the request's body: not there within {seconds} s", code="malformed") from None
        opened = self._web.redeem(body.link)
        headers = {"set-cookie": set_cookie(self._web.cookie, opened.secret, limit("web_session_seconds"))}
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)

    def _logout(self, session: Session | None) -> Response:
        if session is None:
            return _no_session()
        self._web.end(session)
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"set-cookie": set_cookie(self._web.cookie, "", 0)})

    def _session(self, request: Request) -> Session | None:
        secret = cookie_of(request.headers.get("cookie", ""), self._web.cookie)
        return self._web.find(secret) if secret else None


def _no_session() -> Response:
    return problem(HTTPStatus.UNAUTHORIZED, "no-session", "this needs a session, and there is none (any more)", "pathmesh web-login")


def _acting_for(scope: Scope, session: Session) -> dict[str, Any]:
    """The request as if the process that asked for the session's link had sent it."""
    client = Client(session.who.pid, session.who.uid, frozenset(session.who.groups), session.label)
    headers = [(name, value) for name, value in Headers(scope=scope).raw if name != b"cookie"]
    return {**scope, "headers": headers, "state": {**scope["state"], "client": client}}
