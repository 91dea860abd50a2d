"""Who is on the other end of the local socket, and who may write.

The kernel says who connected (`SO_PEERCRED`, `SO_PEERGROUPS`, unix(7)); the socket's mode and group already decided who may connect at all,
which is who may read. Writes are for root, for the agent's own user, and for members of the admin group. The groups are those of the
process that connected; for a web session, which lasts for hours, the user must be in the group at the write as well.
"""

import asyncio
import grp
import os
import pwd
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from store.errors import PathmeshError
from store.limits import limit

_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("3i")
_GROUPS_BYTES = 1024
"""256 groups, the most that Python's getsockopt can ask for."""
HEAD_SECONDS = limit("request_head_seconds")
MEMBERSHIP_SECONDS = 3.0
"""For so long what the name service said of a user is not asked again."""


@dataclass(frozen=True, slots=True)
class Client:
    """The process that connected. `session` names the web session that acts for it, if one does; then it asked for that one's link."""

    pid: int
    uid: int
    groups: frozenset[int]
    session: str = ""


def client_of(connection: socket.socket) -> Client:
    """Ask the kernel who connected."""
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    groups = frozenset({gid})
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
        groups |= frozenset(struct.unpack(f"{len(packed) // 4}I", packed))
    except OSError:
        pass  # an old kernel, or a process in more groups: the primary group alone
    return Client(pid, uid, groups)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also lets a handler drop the connection (`abort` in the request's state), and bounds what it waits for.

    uvicorn itself lets a client that never finishes its request hold one of the few connections for ever, and takes heads of any size. Here
    a head must be whole in time, however its bytes come, and so must the rest of a body that nobody waits for any more; a connection that
    brings nothing is closed after a while.
    """

    _owed: asyncio.TimerHandle | None = None
    """Runs while the client owes a head, or the rest of a request that was answered already."""
    _unread = 0
    """Bytes that came and are not of a body, since a request was whole."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._expect_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > limit("request_head_bytes"):
            self.transport.abort()
            return
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None until the first head is complete
        if cycle is None or cycle.response_complete or cycle.more_body:
            self._limit_waiting()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_rest()

    def on_headers_complete(self) -> None:
        self._have_rest()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        self._have_rest()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._expect_rest()

    def _expect_rest(self) -> None:
        if self._owed is None:
            self._owed = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _have_rest(self) -> None:
        if self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def _limit_waiting(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)


class LocalProtocol(PatientProtocol):
    """The same on the local socket: it remembers who connected (`client` in the request's state)."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "client": client_of(transport.get_extra_info("socket"))}


def group_id(name: str) -> int | None:
    """The id of a system group; None if there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def user_name(uid: int) -> str:
    """The name of a user; the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def groups_of(uid: int) -> frozenset[int]:
    """The groups that the name service puts a user in now; none for a user that it does not know."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))


class Memberships:
    """The groups of users now, each asked for in a thread and remembered for a few seconds."""

    def __init__(self, lookup: Callable[[int], frozenset[int]] = groups_of, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = lookup
        self._clock = clock
        self._known: dict[int, tuple[float, frozenset[int]]] = {}

    async def of(self, uid: int) -> frozenset[int]:
        """The groups of a user."""
        now = self._clock()
        self._known = {key: known for key, known in self._known.items() if now < known[0] + MEMBERSHIP_SECONDS}
        if uid not in self._known:
            self._known[uid] = now, await asyncio.to_thread(self._lookup, uid)
        return self._known[uid][1]


async def may_write(client: Client, admin_group: str) -> bool:
    """Whether the client is root, the agent's own user, or in the admin group; a web session's user must be in it still."""
    if client.uid in (0, os.geteuid()):
        return True
    wanted = group_id(admin_group)
    if wanted is None or wanted not in client.groups:
        return False
    return not client.session or wanted in await _memberships.of(client.uid)


async def require_writer(request: Request, admin_group: str) -> Client:
    """The client, if it may write; PathmeshError `forbidden` (403) if not."""
    client: Client = request.state.client
    if await may_write(client, admin_group):
        return client
    raise PathmeshError(
        f"uid {client.uid} may read but not write here",
        code="forbidden",
        hint=f"writes are for root and members of the group {admin_group}",
    )


_memberships = Memberships()
