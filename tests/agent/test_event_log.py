"""The event log: cursors that only grow, readers that miss nothing without being told, and a database that may be slow or away."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.event_log import STOPPED, EventLog, Page
from store.errors import UnavailableError, UsageError
from store.limits import limit

pytestmark = pytest.mark.anyio


class Journal:
    """Events in memory. `kept` is how many stay; `broken` says why nothing can be written, if so."""

    def __init__(self, kept: int = 10_000) -> None:
        self.rows: list[tuple[int, float, bytes]] = []
        self.kept = kept
        self.broken = ""
        self.writes = 0

    async def append_events(self, rows: Sequence[tuple[int, float, bytes]]) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise UnavailableError(self.broken, code="disk-full")
        self.writes += 1
        self.rows = [*self.rows, *(tuple(row) for row in rows)][-self.kept :]

    async def load_events(self, after: int, limit: int) -> list[tuple[int, float, bytes]]:
        await asyncio.sleep(0)
        return [row for row in self.rows if row[0] > after][:limit]

    async def last_event(self) -> int:
        return self.rows[-1][0] if self.rows else 0


async def opened(journal: Journal) -> EventLog:
    events = EventLog(journal, lambda: 1_700_000_000.0)
    await events.open()
    return events


def small(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    monkeypatch.setattr("agent.event_log.limit", lambda name: limits.get(name) or limit(name))


def cursors(page: Page) -> list[int]:
    return [event.cursor for event in page.events]


async def test_an_event_is_read_as_it_was_noted() -> None:
    events = await opened(Journal())
    events.note("alarm", "something is wrong", code="storage-failed", detail={"a": [1, None]})
    [event] = (await events.read(None, 10)).events
    assert event.kind == "alarm" and event.cursor == events.newest == 1
    assert msgspec.json.decode(event.json()) == {
        "cursor": 1,
        "at": "2023-11-14T22:13:20Z",
        "kind": "alarm",
        "message": "something is wrong",
        "code": "storage-failed",
        "detail": {"a": [1, None]},
    }


async def test_cursors_go_on_after_an_orderly_stop_and_leave_room_after_any_other() -> None:
    journal = Journal()
    for expected in (0, 2, 4):
        events = await opened(journal)
        assert events.newest == expected
        events.note("agent-started", "x")
        events.note(STOPPED, "x")
        await events.close()
    events = await opened(journal)
    events.note("agent-started", "x")
    await events.close()
    after = await opened(journal)
    assert after.newest == 7 + limit("events"), "what the last process showed and did not write is never another event's cursor"
    assert cursors(await after.read(4, 10)) == [5, 6, 7]
    page = await after.read(7, 10)
    assert page.events == () and page.next == after.newest and not page.gap


async def test_events_are_written_together_and_not_more_often_than_once_in_a_while(eventually: Any) -> None:
    journal = Journal()
    events = await opened(journal)
    writer = asyncio.create_task(events.run())
    for n in range(50):
        events.note("edit", str(n))
    await eventually("all are written", lambda: len(journal.rows) == 50)
    assert journal.writes == 1
    for n in range(50):
        events.note("edit", str(n))
    for _ in range(20):
        await asyncio.sleep(0)
    assert journal.writes == 1, "the next write waits its time"
    writer.cancel()
    await asyncio.wait([writer])
    await events.close()
    assert [row[0] for row in journal.rows] == list(range(1, 101))


async def test_without_events_nothing_is_written() -> None:
    journal = Journal()
    events = await opened(journal)
    await events.close()
    assert journal.writes == 0


async def test_a_database_that_fails_loses_nothing_but_the_oldest_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    small(monkeypatch, events_in_memory=10)
    monkeypatch.setattr("agent.event_log.AGAIN_SECONDS", 0.01)
    journal = Journal()
    events = await opened(journal)
    journal.broken = "the disk is full"
    writer = asyncio.create_task(events.run())
    for n in range(25):
        events.note("edit", str(n))
        await asyncio.sleep(0)
    assert events.unsaved == 15 and journal.rows == []
    assert cursors(await events.read(None, 100)) == list(range(16, 26)), "readers are served from memory"
    journal.broken = ""
    await eventually("what is left is written", lambda: [row[0] for row in journal.rows] == list(range(16, 26)))
    writer.cancel()
    await asyncio.wait([writer])
    journal.broken = "again"
    events.note("edit", "last")
    await events.close()  # told in the log, and the agent stops even so


async def test_a_reader_of_a_cursor_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, events_in_memory=5)
    journal = Journal(kept=8)
    events = await opened(journal)
    for n in range(12):
        events.note("edit", str(n))
        await events._flush()
    for since, gap in ((0, True), (3, True), (4, False), (5, False), (11, False), (12, False)):
        page = await events.read(since, 100)
        assert (cursors(page), page.gap) == ([n for n in range(5, 13) if n > since], gap), since
        assert page.next == 12
    page = await events.read(99, 3)
    assert page.gap and cursors(page) == [5, 6, 7] and page.next == 7, "a cursor of another log: what there is comes from its beginning"
    assert cursors(await events.read(None, 2)) == [11, 12]


async def test_a_damaged_row_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, events_in_memory=2)
    journal = Journal()
    journal.rows = [(n, 1.0, body) for n, body in enumerate((b'{"kind":"a"}', b"nonsense", b"[]", b'{"kind":7}', b'{"kind":"b"}'), 1)]
    events = await opened(journal)
    assert cursors(await events.read(0, 100)) == [1, 5]
    page = await events.read(1, 3)
    assert page.events == () and page.next == 4, "all three are damaged; the reader goes on behind them"


async def test_a_failing_database_answers_for_what_is_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, events_in_memory=3)
    journal = Journal()
    events = await opened(journal)
    for n in range(9):
        events.note("edit", str(n))
        await events._flush()

    async def broken(after: int, limit: int) -> list[tuple[int, float, bytes]]:
        raise UnavailableError("no", code="database-failed")

    monkeypatch.setattr(journal, "load_events", broken)
    assert cursors(await events.read(7, 10)) == [8, 9]
    with pytest.raises(UnavailableError):
        await events.read(2, 10)


# -- following --------------------------------------------------------------------------------------------------------


async def test_a_follower_gets_what_was_and_what_comes(eventually: Any) -> None:
    events = await opened(Journal())
    events.note("edit", "1")
    got: list[int] = []

    async def follow(since: int | None) -> None:
        async for page in events.follow(since):
            got.extend(cursors(page))

    tasks = [asyncio.create_task(follow(since)) for since in (0, None)]
    await eventually("the first is there", lambda: got == [1])
    events.note("edit", "2")
    events.note("edit", "3")
    await eventually("both have both", lambda: sorted(got) == [1, 2, 2, 3, 3])
    events.note("edit", "4")
    await eventually("and the next", lambda: sorted(got) == [1, 2, 2, 3, 3, 4, 4])
    events.end_streams()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert [page async for page in events.follow(0)] == [], "nobody follows a log that has ended"


async def test_a_follower_that_waits_costs_nothing() -> None:
    events = await opened(Journal())
    reads = 0
    whole = events.read

    async def counted(since: int | None, most: int) -> Page:
        nonlocal reads
        reads += 1
        return await whole(since, most)

    events.read = counted  # type: ignore[method-assign]
    follower = asyncio.ensure_future(anext(events.follow(None)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert reads <= 2
    events.note("edit", "x")
    assert cursors(await asyncio.wait_for(follower, 5)) == [1]


async def test_a_follower_after_a_leap_of_cursors_waits_at_the_end() -> None:
    journal = Journal()
    journal.rows = [(1, 1.0, b'{"kind":"a","message":""}')]
    events = await opened(journal)
    follower = asyncio.ensure_future(anext(events.follow(1)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not follower.done()
    events.note("edit", "x")
    assert cursors(await asyncio.wait_for(follower, 5)) == [1 + limit("events") + 1]


async def test_who_follows_is_stirred_without_an_event(eventually: Any) -> None:
    events = await opened(Journal())
    pages: list[list[Page]] = [[], []]

    async def follow(found: list[Page]) -> None:
        async for page in events.follow(None):
            found.append(page)

    tasks = [asyncio.create_task(follow(found)) for found in pages]
    await asyncio.sleep(0)
    for count in (1, 2):
        events.stir()
        await eventually("both look up", lambda count=count: [len(found) for found in pages] == [count, count])
    events.stir()
    events.note("edit", "x")
    await eventually("both have the event", lambda: all(cursors(found[-1]) == [1] for found in pages))
    assert [len(found) for found in pages] == [3, 3], "one page tells both"
    events.end_streams()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


async def test_only_so_many_may_follow() -> None:
    events = await opened(Journal())
    events.streams = limit("event_streams") - 1
    events.require_room()
    events.streams += 1
    with pytest.raises(UsageError) as caught:
        events.require_room()
    assert caught.value.code == "too-many-streams"


STEPS = st.lists(st.one_of(st.just("note"), st.just("flush"), st.just("stop"), st.just("crash"), st.integers(1, 5)), max_size=60)


@settings(deadline=None)
@given(STEPS, st.integers(1, 6), st.integers(1, 8))
async def test_who_reads_on_gets_every_event_once_or_is_told_of_the_gap(steps: list[Any], memory: int, kept: int) -> None:
    """One reader that comes now and then with a page size of its own, over restarts; a crash may lose what nobody could have read on."""
    with pytest.MonkeyPatch.context() as patch:
        small(patch, events_in_memory=memory, events=20)
        journal = Journal(kept)
        noted: list[int] = []
        used: set[int] = set()
        position = 0

        async def started() -> EventLog:
            events = await opened(journal)
            note(events, "agent-started")
            await events.save()
            return events

        def note(events: EventLog, kind: str) -> None:
            events.note(kind, "x")
            assert events.newest not in used, "a cursor is never used twice"
            used.add(events.newest)
            noted.append(events.newest)

        events = await started()
        for step in steps:
            if step == "note":
                note(events, "edit")
            elif step == "flush":
                await events._flush()
            elif step in ("stop", "crash"):
                if step == "stop":
                    note(events, STOPPED)
                    await events.close()
                else:
                    saved = {row[0] for row in journal.rows}
                    noted = [n for n in noted if n in saved or n <= min(saved, default=0)]
                events = await started()
            else:
                page = await events.read(position, step)
                missed = [n for n in noted if position < n <= page.next and n not in cursors(page)]
                assert not missed or page.gap, (missed, position)
                assert cursors(page) == sorted(set(cursors(page))) and all(n > position or page.gap for n in cursors(page))
                position = page.next
