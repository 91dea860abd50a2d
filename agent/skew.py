"""How far other hosts' wall clocks are from this one's, as their own times tell. For people only: nothing is decided by wall clocks.

A change that comes in was observed at its node's wall time, and was on its way for a while. So of several samples the latest-looking
one is nearest the truth, as in Cristian's algorithm (1989); a single one may have waited anywhere, and proves nothing of a clock behind.
"""

import time
from collections import deque
from collections.abc import Mapping

from gossip.engine import Engine
from gossip.events import Publish
from gossip.runner import boottime_ms

MOST_SECONDS = 60.0
"""A difference up to this is not worth a word."""
SAMPLES = 8
LEAST = 2
"""So many samples make an estimate."""


class ClockSkew:
    """Samples of each node's wall clock against this one's, in seconds; positive = ahead."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._samples: dict[str, deque[float]] = {}
        self._newest: dict[str, float] = {}

    def news(self, change: Publish) -> None:
        """Take a sample from each node whose health has moved."""
        for name in change.health - {self._engine.identity.name}:
            stream = self._engine.exchange.streams.get(name)
            if stream is None:
                self._samples.pop(name, None)
                self._newest.pop(name, None)
                continue
            newest = max((cell.observed_at for cell in stream.cells()), default=0.0)
            before = self._newest.get(name)
            self._newest[name] = newest
            if before is not None and newest > before and stream.fresh:
                sent = time.time() - stream.age_ms(boottime_ms()) / 1000
                self._samples.setdefault(name, deque(maxlen=SAMPLES)).append(newest - sent)

    def known(self) -> Mapping[str, float]:
        """The estimate for each node of which enough is known."""
        return {name: max(samples) for name, samples in self._samples.items() if len(samples) >= LEAST}
