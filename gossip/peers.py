"""What this node knows of each peer connection, what it is still owed, and which peer to ask next."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossip.exchange import Cursor
from gossip.messages import Hello

if TYPE_CHECKING:
    from random import Random


@dataclass(slots=True)
class Peer:
    """One connection, both ways: ours to it (`up`), and what came from it (`hello`).

    A `contested` peer was let in under a name that another one keeps. It is told what happens, so that it learns of it, and its edits are
    taken; it is no member, and its `name` here is one that no member has.
    """

    key: str
    name: str
    endpoint: str
    registered: str
    """The name in its hello."""
    contested: bool = False
    up: bool = False
    up_ms: int = 0
    hello: Hello | None = None
    behind: bool = False
    """The peer is known to have what we lack."""
    asked_ms: int = -(10**9)
    answered_ms: int = -(10**9)
    bad: int = 0
    expelled_ms: int = -(10**9)
    complaint: str = ""
    """What was last reported of it, so that the same is not reported over and over."""
    cursor: Cursor | None = None
    """Where the last answer to its digest was cut."""
    owes_hello: bool = False
    owes_digest: bool = False
    """The socket refused messages. One digest stands for all of them: the peer asks for what it missed. So nothing queues per peer."""

    @property
    def open(self) -> bool:
        """Whether both directions stand and the versions fit."""
        return self.up and self.hello is not None


class Rotation:
    """Whom to pull from: every peer once per round, each round in a new random order."""

    def __init__(self, random: "Random") -> None:
        self._random = random
        self._queue: list[str] = []

    def next(self, candidates: Iterable[str]) -> str | None:
        """The next key among the candidates; None if there are none."""
        present = set(candidates)
        if not present:
            return None
        while True:
            while self._queue:
                key = self._queue.pop()
                if key in present:
                    return key
            self._queue = sorted(present)
            self._random.shuffle(self._queue)
