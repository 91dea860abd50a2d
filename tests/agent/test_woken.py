"""Waiting for an event with a bound."""

import asyncio

import pytest

from agent.woken import woken

pytestmark = pytest.mark.anyio


async def test_it_says_whether_the_event_came() -> None:
    event = asyncio.Event()
    assert await woken(event, 0) is False
    asyncio.get_running_loop().call_soon(event.set)
    assert await woken(event, 10) is True
    assert await woken(event, 0) is True, "it stays set"


async def test_a_cancellation_that_comes_with_the_event_is_heard() -> None:
    event = asyncio.Event()

    async def forever() -> None:
        while True:
            event.clear()
            await woken(event, 10)

    for order in (0, 1):
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (event.set, task.cancel)[order]()
        (task.cancel, event.set)[order]()
        done, _ = await asyncio.wait([task], timeout=2)
        assert done and task.cancelled()
