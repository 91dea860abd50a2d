"""What is looked at now and then on this host, beside its health: notes for people, each starting with its code.

It takes long or moves seldom, so it is no part of a poll.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import structlog

EVERY_SECONDS = 60.0
SKEW_SECONDS = 30.0
"""So far apart wall clocks are worth a note."""
SKEW_AGAIN_SECONDS = 25.0
"""Below this the note goes."""

log = structlog.get_logger("host")


class HostChecks:
    """Runs `looks`, each of which blocks and gives notes, and compares this node's wall clock with the others'.

    `skew()` gives how far the clocks of other nodes are ahead, in seconds. `told()` is called when the notes are others.
    """

    def __init__(
        self,
        looks: Sequence[Callable[[], Sequence[str]]],
        skew: Callable[[], Mapping[str, float]],
        told: Callable[[], None],
        *,
        every: float = EVERY_SECONDS,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._looks = looks
        self._skew = skew
        self._told = told
        self._every = every
        self._skewed = ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Look once. A look that fails says nothing."""
        notes: list[str] = []
        for each in self._looks:
            try:
                notes += await asyncio.to_thread(each)
            except Exception as fault:  # the host's files are not in our hands
                log.error("host not checked", why=str(fault), exc_info=True)
        self._skewed = skew_note(self._skew(), bool(self._skewed))
        found = tuple([*notes, self._skewed] if self._skewed else notes)
        moved, self.notes = found != self.notes, found
        if moved:
            self._told()


def skew_note(ahead: Mapping[str, float], noted: bool) -> str:
    """What to say of this node's wall clock; `ahead` is how far each other one is before it. Of two nobody knows which is wrong."""
    if not ahead:
        return ""
    usual = median(ahead.values())
    if abs(usual) <= (SKEW_AGAIN_SECONDS if noted else SKEW_SECONDS):
        return ""
    way = "behind" if usual > 0 else "ahead of"
    return f"clock-skew: this node's wall clock is more than {SKEW_AGAIN_SECONDS:g} s {way} most others': is its time synchronised?"
