"""Blocking work beside the event loop, never left half done behind its caller's back."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


async def uninterrupted(work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """Run `work` in a thread. A cancellation takes effect once it is done, so that nothing is written after the caller is gone."""
    future = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # looked at, or the loop would report it as lost
        raise cancelled
    return future.result()
