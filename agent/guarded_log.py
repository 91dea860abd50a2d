"""The database as the runner's log, with the guard file kept ahead of it."""

from collections.abc import Iterable

from agent.applied_clock import AppliedClock
from agent.guard import Keeper
from store.base import decode_base
from store.clocks import Dot, Vector
from store.database import Database
from store.edits import SignedEdit, decode_edit


class GuardedLog:
    """Makes edits durable, and before them the room for them in the guard. UnavailableError from any method: nothing was kept."""

    def __init__(self, database: Database, keeper: Keeper, applied: AppliedClock) -> None:
        self._database = database
        self._keeper = keeper
        self._applied = applied
        self._actor = keeper.guard.birth.actor

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        """Durable when it returns, which says since when (CLOCK_MONOTONIC, ns)."""
        edits = tuple(batch)
        own = [signed.edit.counter for signed in edits if signed.edit.actor == self._actor]
        if own:
            await self._keeper.reserve(max(own), durable=min(own) - 1)
        return await self._database.commit_edits(edits)

    async def rebase(self, base: bytes, gone: Iterable[Dot], log: Iterable[bytes] | None = None) -> None:
        """Durable when it returns. A log that is replaced as a whole may hold own edits that this node had lost, and lack others."""
        if log is None:
            await self._database.rebase(base, gone)
            return
        log = tuple(log)
        clock = _clock(base, log)
        await self._keeper.reserve(clock.get(self._actor, 0))
        async with self._applied.replaced(clock):
            await self._database.rebase(base, gone, log)

    async def set_epoch(self, epoch: int) -> None:
        """Durable when it returns: first in the database, for a guard that is ahead of it means an older database."""
        await self._database.put_meta({"epoch": epoch.to_bytes(8, "big")})
        await self._keeper.set_epoch(epoch)


def _clock(base: bytes, log: Iterable[bytes]) -> Vector:
    """The clock of a base and the edits on it."""
    clock = dict(decode_base(base).clock)
    for raw in log:
        dot = decode_edit(raw).dot
        clock[dot.actor] = max(clock.get(dot.actor, 0), dot.counter)
    return clock
