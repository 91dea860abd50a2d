"""Looks at the host as soon as the kernel says that something moved.

The first event is answered at once, a storm of them by one look in a while, and the last one by a second look a moment later: the daemon
hears of it when this node does, and needs that moment itself. The steady rhythm goes on beside it, as the net below: alone while the kernel
cannot be heard, which is tried again and again.
"""

import asyncio
from collections.abc import Callable

import structlog

from apply.kernel_events import Monitor, heard, open_monitor
from store.errors import UnavailableError

GAP_SECONDS = 0.2
"""Looks that events bring about are at least so far apart,"""
WORK_SHARE = 4
"""and so many times as long as a look took."""
SETTLE_SECONDS = 0.4
"""How long after the last event it is looked once more."""
RETRY_SECONDS = 1.0
"""How long after the kernel could not be heard it is tried again; twice as long after each further time,"""
LONGEST_RETRY_SECONDS = 300.0
LASTING_SECONDS = 60.0
"""unless it could be heard for so long meanwhile."""

log = structlog.get_logger("host")


class Coalesced:
    """Does something at once at the first of many calls, then at most once a gap, and once more when they have ceased."""

    def __init__(self, act: Callable[[], None], gap: Callable[[], float], settle: float = SETTLE_SECONDS) -> None:
        self._act = act
        self._gap = gap
        self._settle = settle
        self._next = 0.0
        self._again = False
        self._timer: asyncio.TimerHandle | None = None

    def news(self) -> None:
        """Something moved."""
        self._again = True
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self._fire()
        else:
            self._at(self._next)

    def close(self) -> None:
        """Do nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self.close()
        gap, now = self._gap(), asyncio.get_running_loop().time()
        self._next = now + gap
        self._act()
        if self._again:
            self._again = False
            self._at(now + max(gap, self._settle))

    def _at(self, when: float) -> None:
        """Act at that time of the loop's clock, unless it is to be sooner."""
        if self._timer is not None and self._timer.when() <= when:
            return
        self.close()
        self._timer = asyncio.get_running_loop().call_at(when, self._fire)


class KernelWatch:
    """Calls `moved()` for the kernel's events. `note` says why it does not, empty if it does or is switched off.

    `took()` gives the seconds that the last look took; `retry` is how soon it is tried again.
    """

    def __init__(
        self,
        moved: Callable[[], None],
        took: Callable[[], float] = lambda: 0.0,
        *,
        opening: Callable[[], Monitor] = open_monitor,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self.note = ""
        self._coalesced = Coalesced(moved, lambda: max(GAP_SECONDS, WORK_SHARE * took()))
        self._opening = opening
        self._retry = retry

    async def run(self) -> None:
        """Hear the kernel until cancelled."""
        loop, wait = asyncio.get_running_loop(), self._retry
        try:
            while True:
                begun = loop.time()
                why = await self._hear()
                if loop.time() - begun >= LASTING_SECONDS:
                    wait = self._retry
                self._say(f"no-kernel-events: {why}; the steady rhythm alone finds what moved")
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY_SECONDS)
        finally:
            self._coalesced.close()

    async def _hear(self) -> str:
        """Hear the kernel as long as it can be heard; returns why not."""
        try:
            monitor = await asyncio.to_thread(self._opening)
        except UnavailableError as fault:
            return fault.message
        except Exception as fault:  # a library of the host's does that: what it fails with is not in our hands
            log.error("the kernel's events cannot be heard", exc_info=True)
            return f"{type(fault).__name__}: {fault}"
        loop, failed = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def readable() -> None:
            try:
                if heard(monitor):
                    self._coalesced.news()
            except Exception as fault:  # as above
                loop.remove_reader(number)
                failed.set_result((isinstance(fault, OSError) and fault.strerror) or f"{type(fault).__name__}: {fault}")

        number = monitor.fileno()
        loop.add_reader(number, readable)
        self._say("")
        try:
            return f"the kernel's events cannot be heard any more: {await failed}"
        finally:
            loop.remove_reader(number)

    def _say(self, note: str) -> None:
        """Take the note; a look tells it, and finds what moved while nothing was heard."""
        if note != self.note:
            self.note = note
            log.warning(note) if note else log.info("the kernel's events are heard again")
            self._coalesced.news()
