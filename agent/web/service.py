"""The web page's place in the process: its port, its links and sessions, and what keeps it from being served."""

import asyncio
import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable

import structlog
from starlette.types import ASGIApp

from agent.api.access import Client
from agent.api.server import LocalServer, make_server
from agent.findings import Finding
from agent.web.connections import PageProtocol, estrange
from agent.web.sessions import Opened, Session, Sessions, Who
from store.errors import UnavailableError, UsageError
from store.limits import limit
from store.records import Records

RECORD_KIND = "web.session"
"""Where earlier versions kept sessions."""
AGAIN_SECONDS = 10.0
"""How soon a port that is taken is tried again."""

log = structlog.get_logger("web")


class WebService:
    """One node's web page. `listen` is `HOST:PORT`, None where there is none; `name` sets its cookie apart from those of other nodes."""

    def __init__(self, listen: str | None, name: str, wall: Callable[[], float] = time.time) -> None:
        # Of `localhost` a browser may try another address first, where somebody else may listen for the links.
        self.listen = listen and re.sub(r"^localhost(?=:)", "127.0.0.1", listen, flags=re.IGNORECASE)
        self.cookie = f"pathmesh-{name}"
        self.fault = ""
        """Why nobody is served, though somebody should be."""
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

    def offer(self, client: Client) -> str:
        """The address of a new one-time link that acts for this client.

        UsageError `web-off`, `forbidden` to a web session, which must not outlive itself. UnavailableError `web-failed`.
        """
        if self.listen is None:
            raise UsageError("this node serves no web page", code="web-off", hint='set web.listen, such as "127.0.0.1:480", and restart')
        if client.session:
            raise UsageError("a web session makes no links", code="forbidden", hint="ask on the node: pathmesh web-login")
        if self.fault:
            raise UnavailableError(self.fault, code="web-failed", hint=_FREE)
        secret = self._sessions.offer(Who(client.uid, tuple(sorted(client.groups)), client.pid), self._wall())
        log.info("link given out", uid=client.uid, pid=client.pid)
        return f"http://{self.listen}/login#{secret}"

    def redeem(self, secret: str) -> Opened:
        """Open the session of a link; see `Sessions.redeem`."""
        opened = self._sessions.redeem(secret, self._wall())
        for ended in opened.ended:
            self._stop(ended)
        log.info("session opened", session=opened.session.label, uid=opened.session.who.uid)
        return opened

    def find(self, secret: str) -> Session | None:
        """The session of a cookie, while it lasts."""
        return self._sessions.find(secret, self._wall())

    def sessions(self) -> tuple[Session, ...]:
        """The open sessions, the oldest first. Others there are none after this, whatever becomes of the clock."""
        for ended in self._sessions.expire(self._wall()):
            self._stop(ended)
        return self._sessions.held(self._wall())

    def end(self, session: Session) -> None:
        """End a session, and what it still receives."""
        if self._sessions.end(session.id):
            self._stop(session.id)
            log.info("session ended", session=session.label, uid=session.who.uid)

    def end_all(self) -> tuple[Session, ...]:
        """End all sessions, and let no link that was given out open another; those that ended."""
        self._sessions.forget_links()
        ended = self.sessions()
        for session in ended:
            self.end(session)
        return ended

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
        if self._server is not None:
            estrange(self._server.server_state.connections, session_id)

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
        self._server = make_server(self._app, self._finishing, protocol=PageProtocol)
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
        host = host.strip("[]")
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


async def forget_kept_sessions(records: Records) -> None:
    """Remove what earlier versions kept: no session outlives the agent. May raise UnavailableError."""
    if kept := await records.load(RECORD_KIND):
        await records.change(RECORD_KIND, {}, kept)


_FREE = "free the port, or set web.listen to another one and restart the agent"
