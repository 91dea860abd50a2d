"""The client of multipathd's local socket: open, ask one question, close.

The wire protocol is that of multipath-tools (libmpathcmd): a native size_t with the length, the terminating NUL included, then the text;
the answer has the same form. Nothing is kept open between questions, so this client can never use up the daemon's connections.

    MultipathdError             code, message and hint are ready to be shown as the node's error
    ├── NotInstalled            the socket refuses and the program is absent
    ├── DaemonDown              the socket refuses, the program is there
    ├── DaemonTimeout           no answer in time, or the daemon says that it was too busy
    ├── DaemonGarbage           an answer that breaks the protocol
    ├── PermissionDenied        the daemon answers root only
    └── CommandFailed           the daemon understood and answered `fail`
"""

import asyncio
import contextlib
import socket as sockets
import struct
from pathlib import Path
from typing import ClassVar

from store.errors import UnavailableError, UsageError

_LENGTH = struct.Struct("@N")
MAX_COMMAND_BYTES = 511
"""Without the NUL; multipathd closes the connection without a word on anything longer (MAX_CMD_LEN 512)."""
MAX_REPLY_BYTES = 32 * 1024 * 1024
"""multipathd's own limit (MAX_REPLY_LEN); 1,024 maps of 16 paths are about 10 MiB."""
TRIES = 2
"""How often a question is asked that nobody answered in time."""

QUEUE_FULL_SECONDS = 0.05
"""Before connecting is tried again while the daemon's queue of connections is full."""


class MultipathdError(UnavailableError):
    """multipathd cannot be asked, or refused; `code` is the node's error code."""

    default_code: ClassVar[str] = "daemon-down"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code=self.default_code, hint=hint or self.default_hint)


class NotInstalled(MultipathdError):
    """There is neither a daemon nor its program on this node."""

    default_code = "not-installed"
    default_hint = "apt install multipath-tools"


class DaemonDown(MultipathdError):
    """The program is there, but nobody answers on the socket."""

    default_code = "daemon-down"
    default_hint = "systemctl start multipathd; journalctl -u multipathd says why it stopped"


class DaemonTimeout(MultipathdError):
    """The daemon did not answer in time."""

    default_code = "daemon-timeout"
    default_hint = "multipathd is stuck or very busy: look for paths in `i/o pending` and hung tasks in the kernel log"


class DaemonGarbage(MultipathdError):
    """The answer breaks the protocol."""

    default_code = "daemon-garbage"
    default_hint = "check that the configured socket is multipathd's"


class PermissionDenied(MultipathdError):
    """The daemon, or the socket's file mode, refuses this user."""

    default_code = "permission"
    default_hint = "the agent has to run as root to change multipathd"


class CommandFailed(MultipathdError):
    """The daemon understood the command and answered `fail`."""

    default_code = "command-failed"
    default_hint = "journalctl -u multipathd says why"


class _Interrupted(Exception):
    """The daemon closed the connection inside its answer."""


def socket_address(socket: str) -> str:
    """The address that the kernel wants: a leading `@` names an abstract socket."""
    return "\0" + socket[1:] if socket.startswith("@") else socket


class MultipathdClient:
    """Asks one multipathd.

    `socket` is a path, or `@name` for an abstract socket. `program` tells an absent package from a stopped daemon.
    `timeout` is in seconds and covers one try of one question, from connecting to the last byte.
    """

    def __init__(self, socket: str, program: Path, timeout: float = 5.0) -> None:
        self.socket = socket
        self.program = program
        self.timeout = timeout

    async def ask(self, command: str) -> str:
        """The daemon's answer to `command`, decoded with replacement characters where it is not UTF-8.

        Raises a MultipathdError. A question that times out or breaks off is asked once more; that is safe for `reconfigure` too, which
        only sets a flag. The help text, with which the daemon answers an unknown command, is an answer like any other.
        """
        request = command.encode()
        if len(request) > MAX_COMMAND_BYTES or b"\0" in request:
            raise UsageError(f"multipathd command is longer than {MAX_COMMAND_BYTES} bytes or has a NUL: {command[:60]!r}…")
        failure: MultipathdError = DaemonTimeout("multipathd was not asked")
        for _ in range(TRIES):
            try:
                return _checked(command, await self._once(request))
            except DaemonTimeout as error:
                failure = error
            except TimeoutError:
                failure = DaemonTimeout(f"multipathd did not answer `{command}` within {self.timeout:g} s ({self.socket})")
            except _Interrupted:
                failure = DaemonGarbage(f"multipathd closed the connection inside its answer to `{command}` ({self.socket})")
        raise failure

    async def _once(self, request: bytes) -> bytes:
        async with asyncio.timeout(self.timeout):
            try:
                connection = await _connected(socket_address(self.socket))
            except PermissionError as error:
                raise PermissionDenied(f"{self.socket}: {error.strerror}") from error
            except TimeoutError:
                raise
            except OSError as error:
                raise self._refused(error) from error
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            try:
                return await _converse(reader, writer, request)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                raise _Interrupted from error
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def _refused(self, error: OSError) -> MultipathdError:
        if self.program.exists():
            return DaemonDown(f"multipathd is not running: {self.socket}: {error.strerror or error}")
        return NotInstalled(f"multipath-tools is not installed: {self.program} is absent and {self.socket} refuses")


async def _connected(address: str) -> sockets.socket:
    """A connection to the daemon. It is made here and not by the event loop, for uvloop takes no abstract address.

    A unix socket connects at once or not at all; while the daemon's queue is full, it is tried again.
    """
    connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(address)
                return connection
            except BlockingIOError:
                await asyncio.sleep(QUEUE_FULL_SECONDS)
    except BaseException:
        connection.close()
        raise


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(_LENGTH.pack(len(request) + 1) + request + b"\0")
    await writer.drain()
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if not 0 < length <= MAX_REPLY_BYTES:
            raise DaemonGarbage(f"multipathd announced an answer of {length} bytes")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise _Interrupted from error


def _checked(command: str, reply: bytes) -> str:
    """The text before the first NUL, as the tools' own client reads it; the daemon's plain error words become errors."""
    text = reply.split(b"\0", 1)[0].decode("utf-8", "replace")
    word = text.strip()
    if word in ("timeout", "fail\ntimeout"):
        raise DaemonTimeout(f"multipathd was too busy to answer `{command}`")
    if word.startswith("permission deny"):
        raise PermissionDenied(f"multipathd refuses `{command}`: {word}")
    if word == "fail":
        raise CommandFailed(f"multipathd answered `fail` to `{command}`")
    return text
