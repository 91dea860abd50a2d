"""The network between machines: what cuts it, what it does to frames on their way, and the queues at its ends."""

from dataclasses import dataclass, field
from enum import Enum
from random import Random

from gossip.messages import Message
from gossip.transport import Frames

DEAD_AFTER_MS = 6_000
"""How long the kernel waits for an answer to what was sent before it ends the connection (tcp(7): TCP_USER_TIMEOUT; heartbeats are always
on their way, so keepalive never comes first)."""
RETRY_MS = (100, 5_000)
"""The first and the longest pause between two attempts to connect."""


class Shape(Enum):
    """What a cut does to frames from its one side to its other."""

    BOTH = "nothing passes, either way"
    ONE_WAY = "no packets pass this way: connections die in both directions, what comes the other way arrives until then"
    PORT = "no connection can be made or stands this way; those made from the other side work"


@dataclass(frozen=True, slots=True)
class Cut:
    """A broken part of the network: from `side` to `other` (None: everybody else)."""

    shape: Shape
    side: frozenset[str]
    other: frozenset[str] | None = None

    def _leads(self, a: str, b: str) -> bool:
        return a in self.side and (b not in self.side if self.other is None else b in self.other)

    def drops(self, a: str, b: str) -> bool:
        """Whether packets from `a` to `b` are lost."""
        return (self.shape is not Shape.PORT and self._leads(a, b)) or (self.shape is Shape.BOTH and self._leads(b, a))

    def severs(self, a: str, b: str) -> bool:
        """Whether a connection made by `a` to `b` cannot stand."""
        return self._leads(a, b) or (self.shape is not Shape.PORT and self._leads(b, a))


@dataclass(slots=True, eq=False)
class Frame:
    """One message on its way. `ages` are what it says of the ages of streams, for the checker."""

    frames: Frames
    digest: bytes
    sent_ms: int
    message: Message | None = None
    ages: tuple[tuple[str, tuple[bytes, int, int], int], ...] = ()


@dataclass(slots=True, eq=False)
class Link:
    """One machine's own connection to a peer. `generation` makes what was under way on an earlier connection disappear."""

    key: str
    up: bool = False
    generation: int = 0
    target: str = ""
    under_way: int = 0
    clear_ms: int = 0
    retry_ms: int = RETRY_MS[0]
    stuck: list[Frame] = field(default_factory=list)
    """What was handed over while packets are lost: it arrives if the network heals before the connection dies."""

    def reset(self) -> None:
        """The connection is gone, and all that was on it."""
        self.up = False
        self.generation += 1
        self.under_way = 0
        self.stuck.clear()


@dataclass(slots=True)
class Network:
    """The network's present state. Probabilities are per message; delays in milliseconds."""

    random: Random
    delay_ms: tuple[int, int] = (1, 5)
    loss: float = 0.0
    repeat: float = 0.0
    reorder_ms: int = 0
    refuse: float = 0.0
    garbage: float = 0.0
    babbler: str = ""
    """A machine that sends garbage only."""
    capacity: int = 16
    cuts: list[Cut] = field(default_factory=list)

    def drops(self, a: str, b: str) -> bool:
        """Whether packets from `a` to `b` are lost now."""
        return any(cut.drops(a, b) for cut in self.cuts)

    def severs(self, a: str, b: str) -> bool:
        """Whether `a` cannot keep a connection to `b` now."""
        return any(cut.severs(a, b) for cut in self.cuts)

    def accepts(self, link: Link) -> bool:
        """Whether the queue of this connection takes a message."""
        return link.under_way < self.capacity and not (self.refuse and self.random.random() < self.refuse)

    def arrivals(self, now_ms: int, link: Link) -> list[int]:
        """When the copies of a message that is sent now arrive: none if it is lost, two if it is repeated."""
        draw = self.random.random
        if self.loss and draw() < self.loss:
            return []
        copies = 2 if self.repeat and draw() < self.repeat else 1
        times = []
        low, high = self.delay_ms
        for _ in range(copies):
            arrival = now_ms + low + int(draw() * (high - low + 1))
            if self.reorder_ms:
                arrival += int(draw() * self.reorder_ms)
            else:
                arrival = link.clear_ms = max(arrival, link.clear_ms)
            times.append(arrival)
        return times

    def calm(self) -> None:
        """End what happens to single messages; cuts are ended by whoever made them."""
        self.loss = self.repeat = self.refuse = self.garbage = 0.0
        self.babbler = ""
        self.reorder_ms = 0
        self.delay_ms = (1, 5)
        self.capacity = 16
