"""Who is on the other end of the local socket, and who may write.

The kernel says who connected (`SO_PEERCRED`, `SO_PEERGROUPS`, unix(7)); the socket's mode and group already decided who may connect at all,
which is who may read. Writes are for root, for the agent's own user, and for members of the admin group.
"""

import grp
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from store.errors import PathmeshError

_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("3i")
_GROUPS_BYTES = 1024
"""256 groups, the most that Python's getsockopt can ask for."""


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
    """uvicorn's protocol, which also lets a handler drop the connection (`abort` in the request's state).

    It closes a connection that leaves it waiting for a request.

    uvicorn itself lets a client that never finishes its request hold one of the few connections for ever.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._limit_waiting()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None until the first head is complete
        if cycle is None or cycle.response_complete or cycle.more_body:
            self._limit_waiting()

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


def may_write(client: Client, admin_group: str) -> bool:
    """Whether the client is root, the agent's own user, or in the admin group."""
    return client.uid in (0, os.geteuid()) or group_id(admin_group) in client.groups


def require_writer(request: Request, admin_group: str) -> Client:
    """The client, if it may write; PathmeshError `forbidden` (403) if not."""
    client: Client = request.state.client
    if may_write(client, admin_group):
        return client
    raise PathmeshError(
        f"uid {client.uid} may read but not write here",
        code="forbidden",
        hint=f"writes are for root and members of the group {admin_group}",
    )
