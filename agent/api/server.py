"""The local socket and the HTTP server on it."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from agent.api.access import LocalProtocol
from agent.api.patience import PatientProtocol
from agent.name_service import group_id
from agent.settings import ApiSettings
from store.errors import UnavailableError
from store.limits import limit


def bind_socket(settings: ApiSettings) -> socket.socket:
    """Bind the local socket with its mode and group before anybody can connect.

    A socket file that nobody answers on is replaced. Raises UnavailableError: `socket-in-use` (an agent answers there), `socket-failed`.
    """
    path = settings.socket
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_dead(path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o777)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        if (gid := group_id(settings.group)) is not None:
            with contextlib.suppress(PermissionError):  # an agent that is not root may not give its socket away
                os.chown(path, -1, gid)
        path.chmod(settings.mode)
        bound.listen(limit("api_clients"))
    except OSError as fault:
        place = f"{fault.filename}: " if fault.filename else ""
        raise UnavailableError(
            f"{path}: the local socket cannot be made: {place}{fault.strerror}",
            code="socket-failed",
            hint="check api.socket and its directory",
        ) from None
    return bound


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UnavailableError(f"{path}: exists and is not a socket", code="socket-failed", hint="move it away or set api.socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (BlockingIOError, TimeoutError):
            pass  # somebody listens there, and is only slow to accept
    raise UnavailableError(f"{path}: another agent answers on this socket", code="socket-in-use", hint="stop it, or set api.socket")


class LocalServer(uvicorn.Server):
    """uvicorn on the bound socket; signals are the daemon's business."""

    def __init__(self, config: uvicorn.Config, finishing: Callable[[], None]) -> None:
        super().__init__(config)
        self._finishing = finishing
        self._finished = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Wait for `finish` instead of waking ten times a second: there is no date header to renew and no limit of requests."""
        await self._finished.wait()

    def finish(self) -> None:
        """End serving: open requests get `timeout_graceful_shutdown` to end."""
        self._finishing()
        self.should_exit = True
        self._finished.set()


def make_server(
    app: ASGIApp, finishing: Callable[[], None] = lambda: None, *, protocol: type[PatientProtocol] = LocalProtocol
) -> LocalServer:
    """The server, not started: `serve(sockets=[…])` runs it, `finish` ends it; it calls `finishing` first, to end answers without end."""
    return LocalServer(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=limit("api_clients"),
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2,
        ),
        finishing,
    )
