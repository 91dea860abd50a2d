"""The clock of the configuration that this host last had in effect: who knows less than that must take nothing away from the host.

It is kept twice, in the database and in the guard file, and the greater of the two counts: a database that was put back from an older copy
brings an older clock with it. If the guard file is lost, the node counts as restored, and takes nothing away before it has met all members.
"""

import msgspec

from agent.guard import Keeper
from store.clocks import Vector, join, meet
from store.records import Records

_KIND = "applied"
_ID = "clock"


class AppliedClock:
    """Both places. UnavailableError from the methods that write: then the former clock stands in one of them at least."""

    def __init__(self, records: Records, keeper: Keeper) -> None:
        self._records = records
        self._keeper = keeper

    async def read(self) -> dict[bytes, int]:
        """What was last in effect; empty if nothing ever was."""
        return join(self._keeper.guard.applied, await self._stored())

    async def reached(self, clock: Vector) -> None:
        """The configuration of this clock is in effect now; durable. What was known before stays so, whatever this clock lacks."""
        await self._keeper.applied(clock)
        stored = await self._stored()
        await self._store(stored, join(stored, clock))

    async def replaced(self, clock: Vector) -> None:
        """The log is about to be replaced by one with this clock.

        What it has not of the present one is written anew under other names, and nobody waits for that. What the present one never had,
        because it was restored itself, is waited for as before.
        """
        stored = await self._stored()
        beyond = {actor: n for actor, n in self._keeper.guard.applied.items() if n > stored.get(actor, 0)}
        await self._keeper.lower(join(clock, beyond))
        await self._store(stored, meet(stored, clock))

    async def give_up(self, clock: Vector) -> None:
        """Somebody says that what this clock has not is lost for good."""
        await self._keeper.give_up(clock)
        stored = await self._stored()
        await self._store(stored, meet(stored, clock))

    async def _stored(self) -> dict[bytes, int]:
        found = (await self._records.load(_KIND)).get(_ID)
        return msgspec.msgpack.decode(found, type=dict[bytes, int]) if found else {}

    async def _store(self, before: dict[bytes, int], clock: dict[bytes, int]) -> None:
        if clock != before:
            await self._records.change(_KIND, {_ID: msgspec.msgpack.encode(clock)})
