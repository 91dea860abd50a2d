"""What this node knows of each peer connection, what it is still owed, and which peer to ask next."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossip.exchange import Cursor
from gossip.messages import Hello
from gossip.sessions import Sessions
from store.clocks import Vector

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
    actor: bytes
    contested: bool = False
    guest: bool = False
    """Not in this node's view: connected only for as long as it talks with this node."""
    left_ms: int | None = None
    """When this node heard that the peer has left the cluster: it stays a moment, to hear that this is known."""
    heard_ms: int = -(10**9)
    up: bool = False
    up_ms: int = 0
    hello: Hello | None = None
    sessions: Sessions = field(default_factory=Sessions)
    floor: Vector | None = None
    """What may be gone from the peer's log; None until it has shown that in this session. Nothing of ours is pushed to it before."""
    distrusted_until: int = -(10**9)
    """Until when no snapshot is fetched from it: the last one led to nothing."""
    was: Vector | None = None
    """A clock that it once had and has no more."""
    vouched: bool = False
    """It listens to this session, and knows of no more edits of this node's actor than the node itself."""
    misheard_ms: int | None = None
    """When it first said that it listens to another session of this node's identity, and not to this one since."""
    cloned: bool = False
    """It said so again, much later: another process runs with this node's keys."""
    behind: bool = False
    """The peer is known to have what we lack."""
    asked_ms: int = -(10**9)
    reminded_ms: int = -(10**9)
    """When it was last asked for its hello, or told to whom this node listens."""
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

    def end_session(self) -> None:
        """Forget what belongs to one life of the peer's process."""
        self.hello, self.floor, self.vouched, self.behind, self.cursor = None, None, False, False, None


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
