"""Who changed what, and why: the edits that this node still knows, what each did to each key, and how one is undone.

Known are the edits in the log and those that were collected from it and kept in the database for this. They are listed newest first in an
order that is the same on every node. What a key was before an edit follows from the edit's causal past, never from the clock on the wall.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from agent.edit_view import entry_json, short
from agent.past import Base, Before, Past, Runs, rank
from agent.picture import Picture
from agent.writes import ConflictOpen, Expected, Writer, Written
from gossip.engine import Engine
from store.clocks import ACTOR_BYTES, Dot, Vector
from store.document import DEFAULTS, OVERRIDES, STORAGE_PREFIX, WWID_PREFIX, Options, is_config_key
from store.edits import Edit, EditError, SignedEdit, decode_edit
from store.errors import ConflictError, UsageError
from store.limits import limit
from store.members import MEMBER_PREFIX
from store.replica import Replica

PAGE = 256
"""Edits read at a time; between two pages everything else on this node gets its turn."""
KEYS_SHOWN = 32
"""Keys of one edit that a list tells the changes of; a single edit is told whole."""
ACKS = "ack/"

log = structlog.get_logger("history")


class Archive(Protocol):
    """Where collected edits are kept."""

    async def history(self, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """At most `limit` collected edits with their places, newest first, from below the place `before`. May raise UnavailableError."""


class ChangedSince(ConflictError):
    """What is to be undone was changed again."""

    def __init__(self, key: str, edit: Dot, by: str) -> None:
        super().__init__(
            f"{key} was changed again by edit {short(edit)} ({by}): nothing was written",
            code="changed-since",
            hint=f"look at `pathmesh config history {key}`; revert that edit first, or change the section yourself",
        )
        self.key, self.edit = key, str(edit)


class _Known(NamedTuple):
    """One pass over all known edits."""

    chosen: list[SignedEdit]
    more: bool
    runs: Runs


class History:
    """The edits that this node knows, as people see them. One question at a time: a long log is a lot to read."""

    def __init__(self, engine: Engine, picture: Picture, writer: Writer, archive: Archive) -> None:
        self._engine = engine
        self._picture = picture
        self._writer = writer
        self._archive = archive
        self._one_at_a_time = asyncio.Lock()

    async def page(self, key: str | None, most: int, cursor: str | None = None) -> dict[str, Any]:
        """The newest edits, of `key` alone if one is given, from below `cursor` on; fewer than `most` if they grow long.

        `key`: a key, a WWID, a storage's id or a LUN's alias. `next` continues where the answer ends. UsageError `not-found`, `malformed`.
        """
        wanted = self._key(key) if key is not None else None
        below = _read_cursor(cursor) if cursor is not None else None
        async with self._one_at_a_time:
            replica = self._engine.replica
            known = await self._choose(replica, lambda signed: wanted is None or wanted in signed.edit.changes, most, below)
            past = await self._past(replica, known)
            entries: list[bytes] = []
            size, last = 0, None
            for signed in known.chosen:
                entry = msgspec.json.encode(entry_json(replica, signed, past, keys=KEYS_SHOWN))
                if entries and size + len(entry) > limit("history_answer_bytes"):
                    break
                entries.append(entry)
                size, last = size + len(entry), signed.edit
                await asyncio.sleep(0)
            more = last is not None and (known.more or len(entries) < len(known.chosen))
            following = _cursor(last) if last is not None and more else None
        return {"key": wanted, "edits": [msgspec.Raw(entry) for entry in entries], "next": following}

    async def newest(self, wanted: Callable[[str], bool]) -> Dot | None:
        """The newest edit of a key that is wanted; None if nobody ever wrote one.

        Asked of the edits themselves too: a removal leaves no trace in the state once every member has it.
        """
        async with self._one_at_a_time:
            replica = self._engine.replica
            known = await self._choose(replica, lambda signed: any(map(wanted, signed.edit.changes)) and not replica.is_void(signed), 1)
        fold = replica.fold
        ranks = [(*sibling.rank, sibling.dot.counter) for key in fold if wanted(key) for sibling in fold.siblings(key)]
        ranks += [rank(signed.edit) for signed in known.chosen]
        if not ranks:
            return None
        _, actor, counter = max(ranks)
        return Dot(actor, counter)

    async def one(self, text: str) -> dict[str, Any]:
        """One edit, whole. `digest` is that of the document that a revert of it changes. UsageError: `not-found`, `history-gone`, …"""
        async with self._one_at_a_time:
            replica = self._engine.replica
            signed, past = await self._find(replica, text)
            return entry_json(replica, signed, past) | {"digest": self._digest(signed.edit)}

    async def revert(self, text: str, digest: str, *, reason: str = "", dry_run: bool = False) -> Written:
        """Give each key of an edit the value that it had before, as a new edit made from the document with this digest.

        Raises ConflictOpen, ChangedSince, UsageError (`history-gone`, `not-revertible`), or what a write raises; then nothing has changed.
        """
        async with self._one_at_a_time:
            replica = self._engine.replica
            signed, past = await self._find(replica, text)
            values = self._values_before(replica, signed, past)
        edit, clock = signed.edit, dict(replica.fold.clock)

        def undo(_: Mapping[str, Options]) -> Mapping[str, Options | None]:
            for key in values:
                self._require_untouched(edit, key, past, clock)
            return values

        expected = Expected(overrides=digest) if _overrides_alone(edit) else Expected(config=digest)
        reason = reason or f"revert {short(edit.dot)}{': ' if edit.reason else ''}{edit.reason}"[:4096]
        return await self._writer.change(undo, expected, reason=reason, dry_run=dry_run)

    async def at(self, clocks: Mapping[str, Vector]) -> dict[str, Before]:
        """What each key was in the state of a clock; of a clock that is an edit's context, or what several have in common."""
        async with self._one_at_a_time:
            replica = self._engine.replica
            dots: list[Dot] = []
            edits: list[Edit] = []
            async for signed in self._edits(replica):
                dots.append(signed.dot)
                if not clocks.keys().isdisjoint(signed.edit.changes) and not replica.is_void(signed):
                    edits.append(signed.edit)
            past = Past(edits, Runs(dots), _base(replica))
            return {key: past.at(clock, key) for key, clock in clocks.items()}

    def resolve(self, text: str) -> Dot:
        """The edit that a text names: its name, or so much of its actor that only one fits. UsageError: `not-found`, `ambiguous-edit`."""
        prefix, colon, number = text.strip().lower().partition(":")
        clock = self._engine.replica.fold.clock
        actors = sorted(actor for actor in clock if prefix and actor.hex().startswith(prefix))
        if colon:
            counter = int(number) if number.isascii() and number.isdigit() and len(number) <= 16 else 0
            found = [Dot(actor, counter) for actor in actors if 1 <= counter <= clock[actor]]
        else:  # an actor alone names its edit if it made only one
            found = [Dot(actor, counter) for actor in actors for counter in dict.fromkeys((1, clock[actor]))]
        if len(found) == 1:
            return found[0]
        if found:
            among = ", ".join(str(dot) for dot in found[:4])
            raise UsageError(
                f"{text[:80]!r} names more than one edit, among them {among}",
                code="ambiguous-edit",
                hint="give more of its name, as `pathmesh config history --json` tells it",
            )
        raise UsageError(f"{text[:80]!r}: no such edit is known here", code="not-found", hint="see `pathmesh config history`")

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _edits(self, replica: Replica) -> AsyncIterator[SignedEdit]:
        """Every known edit once. The log comes first: what is collected meanwhile is found again in the archive."""
        seen: set[Dot] = set()
        for dot in _dots(replica.fold.clock):
            if (signed := replica.signed(dot)) is not None:
                seen.add(dot)
                yield signed
                if len(seen) % PAGE == 0:
                    await asyncio.sleep(0)
        place: int | None = None
        while rows := await self._archive.history(place, PAGE):
            for place, raw in rows:
                try:
                    signed = decode_edit(raw)
                except EditError as fault:
                    log.warning("a collected edit cannot be read", place=place, why=str(fault))
                    continue
                if signed.dot not in seen:
                    seen.add(signed.dot)
                    yield signed

    async def _choose(
        self, replica: Replica, wanted: Callable[[SignedEdit], bool], most: int, below: tuple[int, bytes, int] | None = None
    ) -> _Known:
        """The newest edits that are wanted, newest first, and which there are at all."""
        dots: list[Dot] = []
        heap: list[tuple[tuple[int, bytes, int], SignedEdit]] = []
        fits = 0
        async for signed in self._edits(replica):
            dots.append(signed.dot)
            place = rank(signed.edit)
            if wanted(signed) and (below is None or place < below):
                fits += 1
                (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, (place, signed))
        return _Known([signed for _, signed in sorted(heap, reverse=True)], fits > most, Runs(dots))

    async def _past(self, replica: Replica, known: _Known) -> Past:
        """All that is known of the keys of the chosen edits."""
        keys = {key for signed in known.chosen for key in signed.edit.changes}
        edits = []
        if keys:
            async for signed in self._edits(replica):
                if not keys.isdisjoint(signed.edit.changes) and not replica.is_void(signed):
                    edits.append(signed.edit)
        return Past(edits, known.runs, _base(replica))

    async def _find(self, replica: Replica, text: str) -> tuple[SignedEdit, Past]:
        dot = self.resolve(text)
        runs: list[Dot] = []
        found = None
        async for signed in self._edits(replica):
            runs.append(signed.dot)
            if signed.dot == dot:
                found = signed
        if found is None:
            raise UsageError(
                f"edit {short(dot)} is no longer known here: it was collected, and its record has gone",
                code="history-gone",
                hint="a node that has been in the cluster for longer may still know it",
            )
        return found, await self._past(replica, _Known([found], False, Runs(runs)))

    def _key(self, text: str) -> str:
        """The key that a text names."""
        if text in (DEFAULTS, OVERRIDES) or "/" in text:
            return text
        for wwid, lun in self._picture.config.model.luns.items():
            if lun.alias == text:
                return WWID_PREFIX + wwid
        fold = self._engine.replica.fold
        for key in (WWID_PREFIX + text, STORAGE_PREFIX + text, MEMBER_PREFIX + text):
            if fold.siblings(key):
                return key
        raise UsageError(
            f"{text[:80]!r}: there is no such section, LUN or alias",
            code="not-found",
            hint="name what was removed by its key: wwid/…, storage/…, defaults, overrides",
        )

    # -- undoing ------------------------------------------------------------------------------------------------------

    def _digest(self, edit: Edit) -> str:
        config = self._picture.config
        return config.overrides_digest if _overrides_alone(edit) else config.digest

    def _values_before(self, replica: Replica, signed: SignedEdit, past: Past) -> dict[str, Options | None]:
        edit = signed.edit
        other = next((key for key in edit.changes if not (is_config_key(key) or key == OVERRIDES or key.startswith(ACKS))), None)
        if other is not None:
            raise UsageError(
                f"edit {short(edit.dot)} changes {other}: members and the cluster itself are not reverted",
                code="not-revertible",
                hint="see `pathmesh member --help`",
            )
        if replica.is_void(signed):
            raise UsageError(f"edit {short(edit.dot)} changed nothing", code="not-revertible")
        values: dict[str, Options | None] = {}
        for key in edit.changes:
            known, value = past.before(edit, key)
            if not known:
                raise _gone(edit, key)
            values[key] = value
        return values

    def _require_untouched(self, edit: Edit, key: str, past: Past, clock: Vector) -> None:
        """Raise unless the edit's value of the key is the only one there is now."""
        fold = self._engine.replica.fold
        if fold.in_conflict(key):
            raise ConflictOpen(key)
        siblings = fold.siblings(key)
        if [s.dot for s in siblings] == [edit.dot]:
            return
        newer = max((s for s in siblings if s.dot != edit.dot), key=lambda s: s.rank, default=None)
        if newer is not None:
            raise ChangedSince(key, newer.dot, newer.author)
        later = past.later(edit, key)  # the key is gone, and so is the record of its removal
        if later is not None:
            raise ChangedSince(key, later.dot, later.author)
        if edit.changes[key] is not None or not past.complete_since(edit, clock):
            raise _gone(edit, key)


def _base(replica: Replica) -> Base | None:
    base = replica.base
    return Base(base.clock, base.floor, base.siblings) if base is not None else None


def _gone(edit: Edit, key: str) -> UsageError:
    return UsageError(
        f"edit {short(edit.dot)}: what {key} was before it is no longer known here",
        code="history-gone",
        hint="a node that has been in the cluster for longer may still know it; or set the section yourself",
    )


def _overrides_alone(edit: Edit) -> bool:
    """Whether a revert is guarded by the digest of the overrides, and not by that of the configuration."""
    return edit.changes.keys() == {OVERRIDES}


def _dots(clock: Vector) -> Iterator[Dot]:
    """All that the clock covers, as it is now."""
    for actor, last in tuple(clock.items()):
        for counter in range(1, last + 1):
            yield Dot(actor, counter)


def _cursor(edit: Edit) -> str:
    return f"{edit.lamport}.{edit.actor.hex()}.{edit.counter}"


def _read_cursor(text: str) -> tuple[int, bytes, int]:
    lamport, _, rest = text.partition(".")
    actor, _, counter = rest.partition(".")
    try:
        if not all(part.isascii() and part.isalnum() and len(part) <= 2 * ACTOR_BYTES for part in (lamport, actor, counter)):
            raise ValueError
        return int(lamport), bytes.fromhex(actor), int(counter)
    except ValueError:
        raise UsageError(f"cursor: {text[:80]!r} is none of ours", code="malformed") from None
