"""What the host's name service says of users and groups, without waiting for it for long."""

import asyncio
import grp
import os
import pwd
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from store.errors import UnavailableError

MEMBERSHIP_SECONDS = 3.0
"""For so long what the name service said is not asked again."""
LOOKUP_SECONDS = 3.0
"""For so long its answer is waited for."""
_Key = TypeVar("_Key", int, str)
_Answer = TypeVar("_Answer")


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


names = NameService()
"""The host's."""
