"""Waiting for an event, but not for ever."""

import asyncio


async def woken(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it came.

    Not `asyncio.wait_for`: up to Python 3.11 it swallows a cancellation that arrives together with the event, and the loop would never end.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
