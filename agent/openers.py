"""Who has a map open beyond what stands on it, from one look to the next.

A count that is there at two looks in a row counts: whoever only looks at a device has it open for a moment.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from apply.usage import HostUse, openers

LOOKS_BETWEEN = 30
"""The open files of all processes are gone through when the counts are others, and after so many looks: that is dear."""


class Openers:
    """The openers on the host whose /proc is below `root`."""

    def __init__(self, root: Path) -> None:
        self.found: Mapping[str, tuple[str, ...]] = {}
        """The uses `open:<program>` by number of the device; what was found stays as long as nothing else can be told."""
        self.counted: frozenset[str] = frozenset()
        """The devices of which it is known whether they are open: those that were counted at the last two looks, and whose count is
        explained, or was as little explained the time before.
        """
        self._root = root
        self._before: frozenset[str] = frozenset()
        self._unexplained: Mapping[str, int] = {}
        self._named: Mapping[str, int] = {}
        self._looks = 0

    async def look(self, use: HostUse, counts: Mapping[str, int]) -> None:
        """Take how often each device is open, by number. A device that is not in `counts` could not be counted."""
        numbers = use.numbers().keys()
        told = frozenset(numbers & counts.keys())
        unexplained = {number: counts[number] for number in told if counts[number] > use.explained.get(number, 0)}
        lasting = {number: count for number, count in unexplained.items() if number in self._unexplained}
        kept = {number: found for number, found in self.found.items() if number in numbers - told}
        before = {number: count for number, count in self._unexplained.items() if number in numbers - told}
        begun = unexplained.keys() - lasting.keys()
        self.counted, self._before, self._unexplained = (self._before & told) - begun, told, before | unexplained
        self._looks += 1
        if lasting != self._named or self._looks >= LOOKS_BETWEEN:
            by = await asyncio.to_thread(openers, lasting.keys(), self._root)
            self._named, self._looks = lasting, 0
            self.found = kept | {number: tuple(f"open:{program}" for program in by.get(number, ("process",))) for number in lasting}
        else:
            self.found = kept | {number: found for number, found in self.found.items() if number in lasting}
