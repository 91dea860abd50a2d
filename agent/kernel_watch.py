"""Looks at the host as soon as the kernel says that something moved.

The first event is answered at once, a storm of them by one look in a while, and the last one by a second look a moment later: the daemon
hears of it when this node does, and needs that moment itself. The steady rhythm goes on beside it, as the net below.
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

    `took()` gives the seconds that the last look took.
    """

    def __init__(
        self, moved: Callable[[], None], took: Callable[[], float] = lambda: 0.0, *, opening: Callable[[], Monitor] = open_monitor
    ) -> None:
        self.note = ""
        self._coalesced = Coalesced(moved, lambda: max(GAP_SECONDS, WORK_SHARE * took()))
        self._opening = opening

    async def run(self) -> None:
        """Hear the kernel until cancelled; return if it cannot be heard."""
        try:
            monitor = await asyncio.to_thread(self._opening)
        except UnavailableError as fault:
            self._end(fault.message)
            return
        loop, failed = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def readable() -> None:
            try:
                if heard(monitor):
                    self._coalesced.news()
            except OSError as fault:
                loop.remove_reader(number)
                failed.set_result(fault.strerror or str(fault))

        number = monitor.fileno()
        loop.add_reader(number, readable)
        try:
            self._end(f"the kernel's events cannot be heard any more: {await failed}")
        finally:
            loop.remove_reader(number)
            self._coalesced.close()

    def _end(self, why: str) -> None:
        self.note = f"no-kernel-events: {why}; the steady rhythm alone finds what moved"
        log.warning("no kernel events", why=why)
