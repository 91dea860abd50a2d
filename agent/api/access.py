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
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from store.errors import PathmeshError, UnavailableError
from store.limits import limit

_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("3i")
_GROUPS_BYTES = 1024
"""256 groups, the most that Python's getsockopt can ask for."""
HEAD_SECONDS = limit("request_head_seconds")
MEMBERSHIP_SECONDS = 3.0
"""For so long what the name service said is not asked again."""
LOOKUP_SECONDS = 3.0
"""For so long its answer is waited for."""
_Key = TypeVar("_Key", int, str)
_Answer = TypeVar("_Answer")


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


class _Asked(NamedTuple):
    """A question to the name service: when it was put; then the time of the answer, and the answer."""

    began: float
    future: Future[Any]

    def over(self, now: float) -> bool:
        """Whether it must be asked anew."""
        return self.future.done() and (
            self.future.exception() is not None or now >= cast(float, self.future.result()[0]) + MEMBERSHIP_SECONDS
        )


class NameService:
    """What the name service says, asked in two threads of its own and remembered for a few seconds.

    It may hang (LDAP, SSSD). Then it holds up these two threads, which are daemons, so that the agent can end; and nobody who asks for
    longer than `LOOKUP_SECONDS` from when the question was first put: further askers of the same wait for the same answer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[tuple[Any, int | str], _Asked] = {}
        self._gids: dict[str, int | None] = {}
        self._work: SimpleQueue[tuple[Future[Any], Callable[[Any], Any], int | str]] = SimpleQueue()
        self._started = False

    async def ask(self, lookup: Callable[[_Key], _Answer], key: _Key) -> _Answer:
        """What `lookup` says of a uid or a name; UnavailableError `names-unavailable` if it does not say it in time."""
        now = self._clock()
        self._asked = {place: asked for place, asked in self._asked.items() if not asked.over(now)}
        asked = self._asked.get((lookup, key))
        if asked is None:
            asked = self._asked[lookup, key] = _Asked(now, self._put(lookup, key))
        try:
            if not asked.future.done():
                left = asked.began + LOOKUP_SECONDS - now
                if left <= 0:
                    raise TimeoutError
                async with asyncio.timeout(left):
                    await asyncio.shield(asyncio.wrap_future(asked.future))
            answer: _Answer = asked.future.result()[1]
        except OSError:  # what the lookup raised, or no answer in time
            raise UnavailableError(
                f"the name service does not answer for {key}",
                code="names-unavailable",
                hint="try again; on the node, `getent passwd` and `getent group` ask it too, and root can write there meanwhile",
            ) from None
        return answer

    async def name(self, uid: int) -> str:
        """The name of a user; the number if there is none, or none is said."""
        try:
            return await self.ask(user_name, uid)
        except UnavailableError:
            return str(uid)

    async def gid(self, group: str) -> int | None:
        """The id of a group; the last one that was said, while none is. UnavailableError `names-unavailable` if there was none yet."""
        try:
            self._gids[group] = await self.ask(group_id, group)
        except UnavailableError:
            if group not in self._gids:
                raise
        return self._gids[group]

    def _put(self, lookup: Callable[[Any], Any], key: int | str) -> Future[Any]:
        if not self._started:
            self._started = True
            for _ in range(2):
                threading.Thread(target=self._answer, name="names", daemon=True).start()
        future: Future[Any] = Future()
        self._work.put((future, lookup, key))
        return future

    def _answer(self) -> None:
        while True:
            future, lookup, key = self._work.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = lookup(key)
            except Exception as fault:  # the asker's affair: the thread goes on
                future.set_exception(fault)
            else:
                future.set_result((self._clock(), answer))


async def may_write(client: Client, admin_group: str) -> bool:
    """Whether the client is root, the agent's own user, or in the admin group; a web session's user must be in it still.

    UnavailableError `names-unavailable` if that cannot be told.
    """
    if client.uid in (0, os.geteuid()):
        return True
    wanted = await names.gid(admin_group)
    if wanted is None or wanted not in client.groups:
        return False
    return not client.session or wanted in await names.ask(groups_of, client.uid)


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


names = NameService()
"""The host's."""
