"""Blocking work is finished before its caller goes on, also a caller that was cancelled."""

import asyncio
import threading

import pytest

from apply.threads import uninterrupted

pytestmark = pytest.mark.anyio


def add(one: int, *, two: int) -> int:
    return one + two


def fail() -> None:
    raise LookupError("lost")


async def test_results_and_errors_come_back() -> None:
    assert await uninterrupted(add, 1, two=2) == 3
    with pytest.raises(LookupError, match="lost"):
        await uninterrupted(fail)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end(fails: bool) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(10)
        ended.set()
        if fails:
            fail()

    task = asyncio.create_task(uninterrupted(work))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.005)
        assert not task.done(), "the work is not left behind"
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
