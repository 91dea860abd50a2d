"""Getting back what this node had learned of its paths, once, after its database was lost.

A new database cannot tell whether this node learned anything before. So it asks (see `agent.remembered`) for a while once it hears the
cluster, takes what is offered, and keeps down that it asked. Nothing waits for the answer: what it learns anew meanwhile is no other thing.
"""

from collections.abc import Awaitable, Callable, Mapping

from store.records import Records

ASKING_SECONDS = 60.0
"""How long it asks once it has heard a peer that knows nothing more: by then everybody has heard the question, and answered."""
_KIND, _DONE = "paths", "asked"


class RegainedPaths:
    """Whether this node asks, and the end of that. `adopt` takes learned paths by WWID; `monotonic` gives seconds."""

    def __init__(
        self, records: Records, adopt: Callable[[Mapping[str, tuple[str, ...]]], Awaitable[None]], monotonic: Callable[[], float]
    ) -> None:
        self.asking = False
        self._records = records
        self._adopt = adopt
        self._monotonic = monotonic
        self._settled: bool | None = None
        self._since: float | None = None
        self._taken: Mapping[str, tuple[str, ...]] = {}

    async def step(self, *, lost: bool, alone: bool, heard: bool, offers: Callable[[], Mapping[str, tuple[str, ...]]]) -> None:
        """One poll. `lost`: the database is known to be an older one. `alone`: there is nobody to ask. `heard`: the cluster was heard.

        Raises PathmeshError if the database cannot be read or written: then it is asked again at the next poll.
        """
        if self._settled is None:
            self._settled = not lost and _DONE in await self._records.load(_KIND)
        if self._settled:
            return
        self.asking = not alone
        if self.asking and not heard:
            return
        if self.asking:
            self._since = self._monotonic() if self._since is None else self._since
            found = offers()
            if found and found != self._taken:
                await self._adopt(found)
                self._taken = found
            if self._monotonic() - self._since < ASKING_SECONDS:
                return
        await self._records.change(_KIND, {_DONE: b"1"})
        self._settled, self.asking = True, False
