"""The web page's place in the process: its port, its links and sessions, and what keeps it from being served."""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable

import structlog
from starlette.types import ASGIApp

from agent.api.access import Client, PatientProtocol
from agent.api.server import LocalServer, make_server
from agent.findings import Finding
from agent.web.sessions import Opened, Session, Sessions, Who, decode_sessions, encode_session
from store.errors import PathmeshError, UnavailableError, UsageError
from store.limits import limit
from store.records import Records

RECORD_KIND = "web.session"
AGAIN_SECONDS = 10.0
"""How soon a port that is taken is tried again."""

log = structlog.get_logger("web")


class WebService:
    """One node's web page. `listen` is `HOST:PORT`, None where there is none; `name` sets its cookie apart from those of other nodes."""

    def __init__(self, listen: str | None, name: str, records: Records, wall: Callable[[], float] = time.time) -> None:
        self.listen = listen
        self.cookie = f"pathmesh-{name}"
        self.fault = ""
        """Why nobody is served, though somebody should be."""
        self._records = records
        self._wall = wall
        self._sessions = Sessions(secrets.token_bytes)
        self._uses: dict[str, set[asyncio.Timeout]] = {}
        self._app: ASGIApp
        self._finishing: Callable[[], None]
        self._server: LocalServer | None = None
        self._finished = asyncio.Event()

    def attach(self, app: ASGIApp, finishing: Callable[[], None]) -> None:
        """What is served; `finishing` ends answers without end."""
        self._app, self._finishing = app, finishing

    # -- links and sessions -------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Take up the sessions of the process before. May raise UnavailableError."""
        found, damaged = decode_sessions(await self._records.load(RECORD_KIND))
        self._sessions = Sessions(secrets.token_bytes, found)
        await self._forget((*damaged, *self._sessions.expire(self._wall())))

    def offer(self, client: Client) -> str:
        """The address of a new one-time link that acts for this client.

        UsageError `web-off`, `forbidden` to a web session, which must not outlive itself. UnavailableError `web-failed`.
        """
        if self.listen is None:
            raise UsageError("this node serves no web page", code="web-off", hint='set web.listen, such as "127.0.0.1:7980", and restart')
        if client.session:
            raise UsageError("a web session makes no links", code="forbidden", hint="ask on the node: pathmesh web-login")
        if self.fault:
            raise UnavailableError(self.fault, code="web-failed", hint=_FREE)
        secret = self._sessions.offer(Who(client.uid, tuple(sorted(client.groups)), client.pid), self._wall())
        return f"http://{self.listen}/login#{secret}"

    async def redeem(self, secret: str) -> Opened:
        """Open the session of a link; see `Sessions.redeem`. It is kept before this returns, unless the disk refuses."""
        opened = self._sessions.redeem(secret, self._wall())
        for ended in opened.ended:
            self._stop(ended)
        try:
            await self._records.change(RECORD_KIND, {opened.session.id: encode_session(opened.session)}, opened.ended)
        except PathmeshError as fault:
            log.warning("session not kept: it ends with the agent", why=fault.message)
        log.info("session opened", session=opened.session.label, uid=opened.session.who.uid)
        return opened

    def find(self, secret: str) -> Session | None:
        """The session of a cookie, while it lasts."""
        return self._sessions.find(secret, self._wall())

    async def end(self, session: Session) -> None:
        """End a session, and what it still receives."""
        if self._sessions.end(session.id):
            self._stop(session.id)
            log.info("session ended", session=session.label, uid=session.who.uid)
            await self._forget((session.id,))

    @contextlib.asynccontextmanager
    async def using(self, session: Session) -> AsyncIterator[None]:
        """While an answer is given to a session: TimeoutError once it ends."""
        async with asyncio.timeout(max(0.0, session.expires - self._wall())) as timeout:
            uses = self._uses.setdefault(session.id, set())
            uses.add(timeout)
            try:
                yield
            finally:
                uses.discard(timeout)
                if not uses:
                    self._uses.pop(session.id, None)

    def _stop(self, session_id: str) -> None:
        for timeout in self._uses.get(session_id, ()):
            timeout.reschedule(asyncio.get_running_loop().time())

    async def _forget(self, ids: tuple[str, ...]) -> None:
        if not ids:
            return
        try:
            await self._records.change(RECORD_KIND, {}, ids)
        except PathmeshError as fault:
            log.warning("ended sessions not forgotten", why=fault.message)

    # -- serving ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until `finish`; nothing to do without an address. A port that is taken is tried again, and the rest goes on."""
        if self.listen is None:
            return
        while (bound := self._bind()) is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._finished.wait()
                return
        self._server = make_server(self._app, self._finishing, protocol=PatientProtocol)
        log.info("serving", address=f"http://{self.listen}/")
        await self._server.serve(sockets=[bound])

    def finish(self) -> None:
        """End serving."""
        self._finished.set()
        if self._server is not None:
            self._server.finish()

    def findings(self) -> list[Finding]:
        """What is wrong with it now."""
        return [Finding("web-failed", "warning", self.fault, _FREE)] if self.fault else []

    def _bind(self) -> socket.socket | None:
        assert self.listen is not None
        host, _, port = self.listen.rpartition(":")
        host = {"localhost": "127.0.0.1"}.get(host.lower(), host.strip("[]"))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            bound = socket.create_server((host, int(port)), family=family, backlog=limit("api_clients"))
        except OSError as fault:
            if not self.fault:
                log.warning("the web page is not served", address=self.listen, why=os.strerror(fault.errno or 0))
            self.fault = f"web.listen {self.listen}: {os.strerror(fault.errno or 0)}: the web page is not served"
            return None
        bound.setblocking(False)
        self.fault = ""
        return bound


_FREE = "free the port, or set web.listen to another one and restart the agent"
