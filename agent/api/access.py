"""Who is on the other end of the local socket, and who may write.

The kernel says who connected (`SO_PEERCRED`, `SO_PEERGROUPS`, unix(7)); the socket's mode and group already decided who may connect at all,
which is who may read. Writes are for root, for the agent's own user, and for members of the admin group. The groups are those of the
process that connected; for a web session, which lasts for hours, the user must be in the group at the write as well.
"""

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from agent import name_service
from agent.api.patience import PatientProtocol
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


class LocalProtocol(PatientProtocol):
    """The same on the local socket: it remembers who connected (`client` in the request's state)."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "client": client_of(transport.get_extra_info("socket"))}


async def may_write(client: Client, admin_group: str) -> bool:
    """Whether the client is root, the agent's own user, or in the admin group; a web session's user must be in it still.

    UnavailableError `names-unavailable` if that cannot be told.
    """
    if client.uid in (0, os.geteuid()):
        return True
    wanted = await name_service.names.gid(admin_group)
    if wanted is None or wanted not in client.groups:
        return False
    return not client.session or wanted in await name_service.names.ask(name_service.groups_of, client.uid)


async def require_writer(request: Request, admin_group: str) -> Client:
    """The client, if it may write; PathmeshError `forbidden` (403) if not, UnavailableError `names-unavailable` if that cannot be told."""
    client: Client = request.state.client
    if await may_write(client, admin_group):
        return client
    raise PathmeshError(
        f"uid {client.uid} may read but not write here",
        code="forbidden",
        hint=f"writes are for root and members of the group {admin_group}",
    )
