"""This node's own record of what happened in the cluster, for people and programs that follow it.

Every event has a cursor, which only grows, also over restarts. The newest are in memory for readers; all are written to the database, at
most once a second, where the oldest go when there are too many. Who asks from a cursor that is gone is told that there is a gap.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from agent.cell_view import iso
from store.errors import PathmeshError, UsageError
from store.limits import limit

EVERY_SECONDS = 1.0
AGAIN_SECONDS = 5.0
"""How soon events that could not be written are tried again."""
STREAM_PAGE = 200
STOPPED = "agent-stopped"
"""The last event of a process that ended in order: whoever follows it knows that none is missing."""
KINDS = {
    "agent-started": "the agent of this node started: `node`, `version`, `epoch`",
    STOPPED: "it stopped in order: `node`",
    "edit": "an edit was committed here: `edit`, `edit_kind`, `author`, `reason`, `keys` (the first), `more_keys` (how many more)",
    "late-edit": "the same of one that came after its time: written anew by a node that had fallen behind, or by a retired member",
    "conflict-opened": "a section has concurrent values: `key`, `edits`",
    "conflict-resolved": "it has one again: `key`, `edit`",
    "member-joined": "a member is registered: `node`",
    "member-left": "a member left: `node`",
    "member-retired": "a member was retired: `node`",
    "node": "a node is `online`, `suspect`, `offline`, `left` or `retired` now: `node`, `before`, `after`",
    "node-flapping": "a node was lost again and again lately, or no longer: `node`, `flapping`",
    "cell": "a cell of the matrix reads otherwise: `node`, `resource_kind`, `id`, `before`, `after`, `reasons`",
    "cells": "all cells of a node read otherwise, because its word counts otherwise: `node`, `count`, `states` (state → cells), `reasons`",
    "path-lost": "a path that is expected on a node is not there any more: `node`, `wwid`, `paths` (the first identities), `count`",
    "path-back": "it is there again: `node`, `wwid`, `paths`, `count`",
    "paths-expected": "more paths are expected than before, or an acceptance made it fewer: `node`, `wwid`, `before`, `after`, "
    "`expected_source`",
    "lun": "a LUN rolls up to another state: `wwid`, `before`, `after`",
    "apply": "a node's apply came to another state, or has other faults: `node`, `before`, `after`, `codes`",
    "alarm": "something that an operator should know: `code`; the same again within a minute is no event",
    "snapshot-taken": "this node caught up by a snapshot: `edits` (how many it brought)",
    "log-collected": "edits that everybody has left the log: `edits`, `kept`",
    "more": "more events of one kind at once than are told one by one: `of`, `count`. Read the whole instead",
}
"""The kinds of events: what each tells, and with which members beside `cursor`, `at`, `kind` and `message`."""

log = structlog.get_logger("events")


class Journal(Protocol):
    """Where events are kept. Any method may raise UnavailableError; then nothing of that call was kept."""

    async def append_events(self, rows: Sequence[tuple[int, float, bytes]]) -> None:
        """Keep events: cursor, wall time in seconds, body. The oldest of all may go for them."""

    async def load_events(self, after: int, limit: int) -> list[tuple[int, float, bytes]]:
        """The first events above a cursor, in order."""

    async def last_event(self) -> int:
        """The greatest cursor that was kept; 0 if none was."""


class Event(NamedTuple):
    """One event. `at` is wall time in seconds, for people; `body` is a JSON object with its `kind`, a `message` and more."""

    cursor: int
    at: float
    body: bytes

    def json(self) -> bytes:
        """The event as readers get it."""
        return b'{"cursor":%d,"at":"%s",%s' % (self.cursor, iso(self.at).encode(), self.body[1:])

    @property
    def kind(self) -> str:
        """What sort of event it is."""
        return _read_kind(self.body)


class Page(NamedTuple):
    """Events from a cursor on. `next` is where to go on; `gap` says that events between the cursor and the first of these are gone."""

    events: tuple[Event, ...]
    next: int
    gap: bool


class _Kind(msgspec.Struct):
    kind: str


_kinds = msgspec.json.Decoder(_Kind)
_encoder = msgspec.json.Encoder()


def _read_kind(body: bytes) -> str:
    """The kind that a body tells; empty if it is no event's body."""
    try:
        return _kinds.decode(body).kind
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ""


class EventLog:
    """The log of one process. `note` may be called from the event loop's thread only, after `open`."""

    def __init__(self, journal: Journal, wall: Callable[[], float] = time.time) -> None:
        self.streams = 0
        """How many readers follow now."""
        self.unsaved = 0
        """How many events were never written, because the database could not be."""
        self._journal = journal
        self._wall = wall
        self._recent: deque[Event] = deque(maxlen=limit("events_in_memory"))
        self._pending: deque[Event] = deque()
        self._cursor = 0
        self._wake = asyncio.Event()
        self._arrived = asyncio.Event()
        self._ended = False
        self._stirred = 0

    async def open(self) -> None:
        """Go on where the last process stopped. One that ended out of order may have shown cursors that it never wrote: none is reused."""
        last = await self._journal.last_event()
        self._recent.extend(_read(await self._journal.load_events(max(0, last - limit("events_in_memory")), limit("events_in_memory"))))
        in_order = not last or (bool(self._recent) and self._recent[-1].cursor == last and self._recent[-1].kind == STOPPED)
        self._cursor = last if in_order else last + limit("events")

    @property
    def newest(self) -> int:
        """The cursor of the newest event."""
        return self._cursor

    def note(self, kind: str, message: str, **more: Any) -> None:
        """Take note of an event that happens now. `message` is one line for people, `more` holds plain JSON values."""
        assert kind in KINDS, kind
        self._cursor += 1
        event = Event(self._cursor, self._wall(), _encoder.encode({"kind": kind, "message": message} | more))
        self._recent.append(event)
        self._pending.append(event)
        if len(self._pending) > limit("events_in_memory"):
            self._pending.popleft()
            self.unsaved += 1
        self._wake.set()
        self._arrived.set()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self, since: int | None, most: int) -> Page:
        """At most so many events above the cursor, in order; without a cursor the newest. May raise UnavailableError for older ones."""
        recent = self._recent
        if since is None:
            found = tuple(islice(recent, max(0, len(recent) - most), None))
            return Page(found, self._cursor, False)
        unheard = since > self._cursor  # of a log that is gone: what there is follows from the beginning
        since = 0 if unheard else since
        if since == self._cursor or (recent and recent[0].cursor <= since + 1):
            return self._page(since, (e for e in recent if e.cursor > since), self._cursor, most, gap=unheard)
        stored = await self._journal.load_events(since, most)
        oldest = await self._journal.load_events(0, 1)
        first = min([row[0] for row in oldest] + [event.cursor for event in islice(self._recent, 1)], default=since + 1)
        last = stored[-1][0] if stored else since
        whole = len(stored) < most
        tail = [e for e in self._recent if e.cursor > last] if whole else []
        return self._page(since, [*_read(stored), *tail], self._cursor if whole else last, most, gap=unheard or first > since + 1)

    def _page(self, since: int, events: Iterable[Event], end: int, most: int, *, gap: bool) -> Page:
        """`end`: where to go on if nothing is found.

        Cursors follow each other, but for the leap after a process that ended out of order: any other step is over events that were never
        written, by this process or a former one.
        """
        found = tuple(islice(events, most))
        steps = pairwise((since, *(event.cursor for event in found)))
        whole = all(after - before in (1, limit("events") + 1) for before, after in steps)
        return Page(found, found[-1].cursor if found else end, gap or not whole)

    async def follow(self, since: int | None) -> AsyncIterator[Page]:
        """What comes after the cursor, as it comes; without a cursor what comes from now on. Ends when the agent stops.

        After `stir` there is a page too, if only an empty one.
        """
        position = self._cursor if since is None else since
        stirred = self._stirred
        while not self._ended:
            page = await self.read(position, STREAM_PAGE)
            position = page.next
            if page.events or page.gap or stirred != self._stirred:
                stirred = self._stirred
                yield page
            elif position >= self._cursor:
                arrived = self._arrived
                await arrived.wait()
                if self._arrived is arrived and not self._ended:
                    self._arrived = asyncio.Event()

    def stir(self) -> None:
        """Let those who follow look up: something else that they tell has changed."""
        self._stirred += 1
        self._arrived.set()

    def require_room(self) -> None:
        """UsageError `too-many-streams` if no further reader can follow now."""
        if self.streams >= limit("event_streams"):
            raise UsageError(
                f"{self.streams} readers follow the events already",
                code="too-many-streams",
                hint="end one of them, or ask without following",
            )

    # -- writing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what comes until cancelled. What cannot be written is told once and tried again."""
        told = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._flush()
                told = False
            except PathmeshError as fault:
                if not told:
                    log.warning("events not written", why=fault.message)
                told = True
                self._wake.set()
            await asyncio.sleep(AGAIN_SECONDS if told else EVERY_SECONDS)

    def end_streams(self) -> None:
        """Let nobody follow any longer: the agent is stopping."""
        self._ended = True
        self._arrived.set()

    async def close(self) -> None:
        """Write what is left."""
        self.end_streams()
        await self.save()

    async def save(self) -> None:
        """Write what is not written yet. After the first event of a process its cursors are safe from being used again."""
        try:
            await self._flush()
        except PathmeshError as fault:
            log.warning("events not written", why=fault.message)

    async def _flush(self) -> None:
        batch = tuple(self._pending)
        if batch:
            await self._journal.append_events(batch)
            while self._pending and self._pending[0].cursor <= batch[-1].cursor:
                self._pending.popleft()


def _read(rows: Iterable[tuple[int, float, bytes]]) -> list[Event]:
    """The rows that are events."""
    return [event for event in (Event(*row) for row in rows) if event.kind]
