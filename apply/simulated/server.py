"""The socket of the simulated daemon: its wire protocol, its limits, and the life of the process's socket and program files.

A frame is a native size_t, the length of the text including its closing NUL, and the text; a reply is framed alike. A connection may carry
any number of commands. A bad length closes it in silence; an unfinished request is answered with `timeout` after four seconds.
"""

import asyncio
import errno
import logging
import socket as sockets
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from apply.simulated.commands import answer
from apply.simulated.daemon import Daemon
from store.errors import UnavailableError

MAX_COMMAND_BYTES = 512
REQUEST_SECONDS = 4.0
"""How long a request may take to arrive after its first byte, and a reply to be taken."""
RECONFIGURE_SECONDS = 0.005
"""How long after its request a reconfigure pass runs, so that quick requests share one and a client can see that it is asynchronous."""

PROGRAM = "#!/bin/sh\n# Stand-in for multipathd, made by `pathmesh simulate-host`; it is removed when that stops.\nexit 1\n"

_LENGTH = struct.Struct("@N")
_CREDENTIALS = struct.Struct("@3i")

log = logging.getLogger(__name__)

PeerUid = Callable[[sockets.socket], int]


def peer_uid(connection: sockets.socket) -> int:
    """The user at the other end, by the kernel's word (unix(7), SO_PEERCRED)."""
    raw = connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)


async def serve(
    socket: str,
    etc_dir: Path,
    luns: Path,
    program: Path | None,
    *,
    ready: Callable[[], None] | None = None,
    clock: Callable[[], float] | None = None,
    uid_of: PeerUid = peer_uid,
) -> None:
    """Run the stand-in until cancelled.

    `socket` is a path, or an abstract name after `@`; `program` is the file whose presence says that multipath-tools are installed: made at
    the start, removed at a clean stop, as the socket file is. `ready` is called once connections are accepted. `clock` gives seconds for
    countdowns (default: the loop's).

    Raises `UsageError` for a bad LUN file, and `UnavailableError` for a socket in use or a directory or program file that cannot be used.
    """
    loop = asyncio.get_running_loop()
    daemon = Daemon(etc_dir, luns, clock or loop.time)
    listener = _listen(socket)
    try:
        _make_program(program)
    except UnavailableError:
        _close(listener, socket)
        raise
    host = _Host(daemon, uid_of)
    try:
        async with host.accepting(listener):
            if ready:
                ready()
            await loop.create_future()
    finally:
        _close(listener, socket)
        if program:
            program.unlink(missing_ok=True)


class _Host:
    """The connections of one daemon and its pending reconfigure pass."""

    def __init__(self, daemon: Daemon, uid_of: PeerUid) -> None:
        self._daemon = daemon
        self._uid_of = uid_of
        self._tasks: set[asyncio.Task[None]] = set()
        self._pass: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def accepting(self, listener: sockets.socket) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MAX_COMMAND_BYTES * 2)
        try:
            yield
        finally:
            server.close()
            if self._pass:
                self._pass.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            root = self._uid_of(writer.get_extra_info("socket")) == 0
            while (command := await self._request(reader, writer)) is not None:
                reply = answer(self._daemon, command, root=root)
                self._schedule()
                await self._reply(writer, reply)
        except OSError:  # the peer is gone, or does not take its reply
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        """The next command; nothing at the end of the connection or after a request that the daemon would not take."""
        first = await reader.read(1)
        if not first:
            return None
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                length = _LENGTH.unpack(first + await reader.readexactly(_LENGTH.size - 1))[0]
                if not 0 < length <= MAX_COMMAND_BYTES:
                    return None
                body = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return None
        except TimeoutError:
            await self._reply(writer, "timeout\n")
            return None
        return body.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    async def _reply(self, writer: asyncio.StreamWriter, text: str) -> None:
        body = text.encode("utf-8", "surrogateescape") + b"\0"
        writer.write(_LENGTH.pack(len(body)) + body)
        async with asyncio.timeout(REQUEST_SECONDS):
            await writer.drain()

    def _schedule(self) -> None:
        if self._daemon.reconfiguring and self._pass is None:
            self._pass = asyncio.get_running_loop().call_later(RECONFIGURE_SECONDS, self._configure)

    def _configure(self) -> None:
        self._pass = None
        try:
            self._daemon.configure()
        except OSError as error:
            log.error("reconfigure failed: %s", error)


def _listen(address: str) -> sockets.socket:
    """A listening socket; a socket file that nobody serves any more is replaced."""
    name = f"\0{address[1:]}" if address.startswith("@") else address
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        if not address.startswith("@"):
            _clear_stale(address)
        listener.bind(name)
        if not address.startswith("@"):
            # Anybody may connect, as to the daemon's own abstract socket; commands check the peer.
            Path(address).chmod(0o666)
        listener.listen(128)
    except UnavailableError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise _occupied(address) from None
        raise UnavailableError(f"{address}: {error.strerror or error}", code="socket", hint="choose another --socket") from None
    listener.setblocking(False)
    return listener


def _clear_stale(address: str) -> None:
    path = Path(address)
    if not path.exists():
        return
    if not path.is_socket():
        raise UnavailableError(f"{address}: exists and is no socket", code="socket", hint="choose another --socket")
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink()
            return
    raise _occupied(address)


def _occupied(address: str) -> UnavailableError:
    return UnavailableError(f"{address}: another daemon listens there", code="socket-in-use", hint="stop it or choose another --socket")


def _close(listener: sockets.socket, address: str) -> None:
    listener.close()
    if not address.startswith("@"):
        Path(address).unlink(missing_ok=True)


def _make_program(program: Path | None) -> None:
    """Write the stand-in program; a file that is not one of ours is left alone."""
    if program is None:
        return
    try:
        if program.exists() and program.read_text(errors="replace") != PROGRAM:
            raise UnavailableError(f"{program}: exists and is not a stand-in", code="program", hint="choose another --program")
        program.write_text(PROGRAM)
        program.chmod(0o755)
    except OSError as error:
        raise UnavailableError(f"{program}: {error.strerror}", code="program", hint="choose another --program") from None
