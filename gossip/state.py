"""What the parts of the engine share: who this node is, what it holds, and the effects that it asks for."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossip.events import Alarm, Effect, Publish, Send
from gossip.exchange import Exchange
from gossip.messages import SESSION_BYTES, Message
from gossip.stability import Clocks
from store.members import Member
from store.replica import Replica, Verify

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. `bootstrap` are the members that a join named, trusted until the registry is here.

    `epoch` counts the starts of this node; `boot_nonce` (16 bytes) names this process's life. `restored`: something on this host knows
    that the database is older than what the node once was.
    """

    name: str
    actor: bytes
    epoch: int
    boot_nonce: bytes
    sign: Callable[[bytes], bytes]
    verify: Verify
    bootstrap: tuple[Member, ...] = ()
    restored: bool = False

    @property
    def session(self) -> bytes:
        """What names this process's life in every message."""
        return self.boot_nonce[:SESSION_BYTES]


@dataclass(slots=True)
class State:
    """Shared by reference: a part never keeps the replica for itself, because it may be replaced as a whole."""

    identity: Identity
    replica: Replica
    clocks: Clocks
    exchange: Exchange
    counters: Counter[str]
    random: "Random"
    effects: list[Effect] = field(default_factory=list)

    @property
    def member(self) -> Member | None:
        """This node's own registration; None while it is still joining."""
        found = self.replica.registry.by_name.get(self.identity.name)
        return found if found is not None and found.actor == self.identity.actor else None

    def send(self, keys: Iterable[str], message: Message) -> None:
        """Ask for a message to each of these peers."""
        targets = tuple(keys)
        if targets:
            self.effects.append(Send(targets, message))

    def alarm(self, code: str, message: str) -> None:
        """Ask for an operator's attention."""
        self.effects.append(Alarm(code, message))

    def publish(self, *, keys: Iterable[str] = (), health: Iterable[str] = (), standing: Iterable[str] = ()) -> None:
        """Tell readers what moved."""
        self.effects.append(Publish(frozenset(keys), frozenset(health), frozenset(standing)))
