"""Which lines of the allow-list are ours, and how they come and go.

Ours is a line that we appended and that was absent before. A line that was there stays its writer's for ever, also if the same LUN is
configured later. Without rows nothing is ours: that is the safe side.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from apply.backoff import LONGEST_SECONDS
from apply.dropins import Reach
from apply.inuse import InUse
from apply.journal import Appending, Journal, Ledger, Owned, Remembered, settle, torn
from apply.outcome import ApplyError
from apply.plan import Plan
from apply.wwids import WwidsChanged, WwidsError, append, cut, disable, read

RETRY_SECONDS = 2 * LONGEST_SECONDS
"""How long a line that multipathd wrote back is left alone: each try costs a `reconfigure`."""
_TRIES = 5


@dataclass(frozen=True)
class Guarded:
    """Lines that may go now, and an error for each that may not."""

    ready: tuple[str, ...]
    deferred: tuple[ApplyError, ...]


class Ownership:
    """The allow-list file together with its rows."""

    def __init__(self, path: Path, ledger: Ledger, clock: Callable[[], float], in_use: InUse, reach: Reach) -> None:
        self._path = path
        self._ledger = ledger
        self._clock = clock
        self._in_use = in_use
        self._reach = reach

    async def settled(self) -> Remembered:
        """All records, after deciding about rows that an interrupted append left unconfirmed. Raises WwidsError.

        An append that broke off inside a line is taken back first; what is missing is then added anew, as a whole.
        """
        remembered = await self._ledger.load()
        allowed = read(self._path)
        size = torn(remembered, allowed.content)
        if size is not None:
            with contextlib.suppress(WwidsChanged):
                await cut(self._path, allowed, size)
            allowed = read(self._path)
        confirmed, forgotten = settle(remembered, allowed.content)
        if not confirmed and not forgotten:
            return remembered
        await self._ledger.own(confirmed, forgotten)
        return await self._ledger.load()

    async def allow(self, journal: Journal, wanted: Collection[str], names: Mapping[str, str]) -> tuple[str, ...]:
        """Append what is missing of `wanted` and return it; `names` are what their maps are to be called. Raises WwidsError.

        The rows that make the lines ours are durable before the lines.
        """
        for _ in range(_TRIES):
            before = read(self._path)
            wwids = tuple(sorted(set(wanted) - before.active))
            if not wwids:
                return ()
            intent = Appending(len(before.content), before.sha256, before.appendix(wwids), wwids)
            await self._ledger.open(msgspec.structs.replace(journal, appending=intent))
            rows = {wwid: Owned(self._clock(), journal.desired, name=names.get(wwid, "")) for wwid in wwids}
            await self._ledger.own(rows)
            self._reach("apply.wwids.owned")
            try:
                await append(self._path, before, wwids)
            except WwidsChanged:
                await self._ledger.own({}, wwids)
                continue
            self._reach("apply.wwids.appended")
            await self._ledger.own({wwid: msgspec.structs.replace(row, confirmed=True) for wwid, row in rows.items()})
            return wwids
        raise WwidsError(f"{self._path}: changes faster than lines can be added", code="write-failed", hint="find out who writes it")

    async def named(self, owned: Mapping[str, Owned], names: Mapping[str, str]) -> None:
        """Keep down what the maps of our lines are called now."""
        rows = {wwid: row for wwid, row in owned.items() if names.get(wwid, row.name) != row.name}
        if rows:
            await self._ledger.own({wwid: msgspec.structs.replace(row, name=names[wwid]) for wwid, row in rows.items()})

    async def guarded(self, plan: Plan, owned: Mapping[str, Owned], *, force: bool) -> Guarded:
        """Which of the plan's unwanted lines may go. A line that is gone already needs no guard: only its row is left."""
        active = read(self._path).active
        ready = []
        deferred = [_deferred(wwid, why) for wwid, why in plan.kept.items()]
        for wwid in plan.prune:
            reason = await self._guard(wwid, owned[wwid], force=force) if wwid in active else ""
            if reason:
                deferred.append(_deferred(wwid, f"in use: {reason}"))
            else:
                ready.append(wwid)
        return Guarded(tuple(ready), tuple(deferred))

    async def _guard(self, wwid: str, row: Owned, *, force: bool) -> str:
        if row.deferred_until > self._clock() and not force:
            return "multipathd put it back"
        return await self._in_use.reason(wwid, row.name)

    async def disable(self, wwids: Collection[str]) -> frozenset[str]:
        """Take our lines out; returns those WWIDs that a line of somebody else still allows. Raises WwidsError."""
        await disable(self._path, wwids)
        self._reach("apply.pruned")
        return read(self._path).active.intersection(wwids)

    async def forget(
        self, owned: Mapping[str, Owned], wwids: Collection[str], others: Collection[str]
    ) -> tuple[tuple[str, ...], tuple[ApplyError, ...]]:
        """Drop the rows of lines that are gone, after the daemon has read its files; returns them, and an error for each that came back.

        multipathd writes the line of a map in use back: it stays ours and is tried again later. `others` is what `disable` returned.
        """
        back = sorted(read(self._path).active.intersection(wwids) - set(others))
        until = self._clock() + RETRY_SECONDS
        rows = {wwid: msgspec.structs.replace(owned[wwid], deferred_until=until) for wwid in back}
        gone = tuple(sorted(set(wwids) - rows.keys()))
        await self._ledger.own(rows, gone)
        return gone, tuple(_deferred(wwid, "in use: multipathd put it back") for wwid in back)


def _deferred(wwid: str, why: str) -> ApplyError:
    return ApplyError("prune-deferred", f"{wwid} stays in the allow-list: {why}", "it goes by itself once that is over", wwid=wwid)
