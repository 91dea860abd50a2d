"""The clock of the configuration that this host last had in effect: who knows less than that must take nothing away from the host.

It is kept twice, in the database and in the guard file, and the greater of the two counts: a database that was put back from an older copy
brings an older clock with it. If the guard file is lost, the node counts as restored, and takes nothing away before it has met all members.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec

from agent.guard import Keeper
from store.clocks import Vector, dominates, join, meet
from store.records import Records

_KIND = "applied"
_ID = "clock"


class AppliedClock:
    """Both places. UnavailableError from the methods that write: then the former clock stands in one of them at least."""

    def __init__(self, records: Records, keeper: Keeper) -> None:
        self._records = records
        self._keeper = keeper
        self._lock = asyncio.Lock()

    async def read(self) -> dict[bytes, int]:
        """What was last in effect; empty if nothing ever was."""
        return join(self._keeper.guard.applied, await self._stored())

    async def reached(self, clock: Vector, known: Callable[[], Vector]) -> None:
        """The configuration of this clock is in effect now; durable. What was known before stays so, whatever this clock lacks.

        `known()` is the clock of the log now. If it has not all of `clock`, the log was replaced while the host was changed, and nothing
        is noted: what went with it will never come, and the next apply is not far.
        """
        async with self._lock:
            if dominates(known(), clock):
                await self._keeper.applied(clock)
                stored = await self._stored()
                await self._store(stored, join(stored, clock))

    @contextlib.asynccontextmanager
    async def replaced(self, clock: Vector) -> AsyncIterator[None]:
        """While the log is replaced by one with this clock.

        What it has not of the present one is written anew under other names, and nobody waits for that. What the present one never had,
        because it was restored itself, is waited for as before. All of it before the log itself: else a crash in between would leave a
        clock that nobody will ever have.
        """
        async with self._lock:
            stored = await self._stored()
            beyond = {actor: n for actor, n in self._keeper.guard.applied.items() if n > stored.get(actor, 0)}
            await self._keeper.lower(join(clock, beyond))
            await self._store(stored, meet(stored, clock))
            yield

    async def give_up(self, clock: Vector) -> None:
        """Somebody says that what this clock has not is lost for good."""
        async with self._lock:
            await self._keeper.give_up(clock)
            stored = await self._stored()
            await self._store(stored, meet(stored, clock))

    async def _stored(self) -> dict[bytes, int]:
        found = (await self._records.load(_KIND)).get(_ID)
        return msgspec.msgpack.decode(found, type=dict[bytes, int]) if found else {}

    async def _store(self, before: dict[bytes, int], clock: dict[bytes, int]) -> None:
        if clock != before:
            await self._records.change(_KIND, {_ID: msgspec.msgpack.encode(clock)})
