"""When the next reconcile is due by itself: rarer after each failure, and never rarer than a look at a host where nothing failed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply_loop import CHECK_SECONDS, ApplyLoop
from apply.backoff import FIRST_SECONDS, LONGEST_SECONDS
from apply.outcome import ApplyOutcome, ApplyState

pytestmark = pytest.mark.anyio


class Loop(ApplyLoop):
    """A loop whose reconciles all end in one way."""

    def __init__(self, state: ApplyState) -> None:
        async def converge(_desired: object, *, force: bool) -> ApplyOutcome:
            return ApplyOutcome(state, "d1")

        async def reached(*_: object) -> None:
            return None

        config: Any = SimpleNamespace(apply_digest="d1", clock={})
        parts: list[Any] = [
            SimpleNamespace(converge=converge), None, SimpleNamespace(reached=reached), SimpleNamespace(config=config), None,
            SimpleNamespace(held=lambda: None),
        ]  # fmt: skip
        reconciler, records, clock, picture, engine, knowledge = parts

        async def version() -> None:
            return None

        super().__init__(
            "n1", reconciler, records, clock, picture, engine, knowledge,
            debounce=0.0, polled=asyncio.Event(), tools_version=version, told=lambda: None,
        )  # fmt: skip

    async def _desired(self, config: Any, *, told: bool) -> Any:
        return None

    async def waits(self, times: int) -> list[float]:
        """The seconds after each of so many reconciles."""
        return [await self._apply_once() for _ in range(times)]


async def test_a_failure_is_tried_again_ever_more_rarely() -> None:
    assert await Loop(ApplyState.FAILED).waits(7) == [FIRST_SECONDS * 2**n for n in range(5)] + [LONGEST_SECONDS] * 2


async def test_what_is_in_use_is_looked_at_as_often_as_a_host_in_sync() -> None:
    assert await Loop(ApplyState.IN_SYNC).waits(2) == [CHECK_SECONDS] * 2
    assert await Loop(ApplyState.TEARDOWN).waits(6) == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS, *[CHECK_SECONDS] * 3]
