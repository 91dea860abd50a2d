"""What the engine is told (events) and what it asks for (effects). Plain data; the runner turns one into the other.

The commit is an effect with a completion event: until `Committed` comes back nothing is advertised, acknowledged or remembered as seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gossip.messages import Message
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp
from store.cells import Cell
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, SignedEdit


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. Expected when the engine's `tick_ms` have gone by."""


@dataclass(frozen=True, slots=True)
class LocalEdit:
    """A user's write on this node, already validated against the fold as it is now. Answered by `Accepted` or `Rejected` with `request`."""

    request: int
    changes: Mapping[str, Options | None]
    wall: float
    reason: str = ""
    kind: str = CHANGE
    covers: Mapping[str, tuple[Dot, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LocalSnapshot:
    """This node's whole health, as just observed."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """The batch of a `Commit` is durable."""

    batch: tuple[SignedEdit, ...]


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The batch of a `Commit` is not durable, none of it, and why."""

    batch: tuple[SignedEdit, ...]
    why: str


@dataclass(frozen=True, slots=True)
class SendRefused:
    """The transport did not take a message for this peer now."""

    key: str
    message: Message


@dataclass(frozen=True, slots=True)
class Rebased:
    """What a `Rebase` asked for is durable."""


@dataclass(frozen=True, slots=True)
class RebaseFailed:
    """Nothing of what a `Rebase` asked for is durable, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class EpochSet:
    """The epoch of a `SetEpoch` is durable."""

    epoch: int


Event = (
    Tick
    | LocalEdit
    | LocalSnapshot
    | Committed
    | CommitFailed
    | Rebased
    | RebaseFailed
    | EpochSet
    | SendRefused
    | MessageReceived
    | PeerUp
    | PeerDown
    | Knocked
)


@dataclass(frozen=True, slots=True)
class Send:
    """Hand the message to each of these peers; tell `SendRefused` for each that does not take it."""

    keys: tuple[str, ...]
    message: Message


@dataclass(frozen=True, slots=True)
class Commit:
    """Make the batch durable in one transaction, in order, with what it does to the fold."""

    batch: tuple[SignedEdit, ...]


@dataclass(frozen=True, slots=True)
class Rebase:
    """Make this base durable in one transaction and take edits out of the log: `gone`, or, if `log` is given, all that are not in it."""

    base: bytes
    gone: tuple[Dot, ...] = ()
    log: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class SetEpoch:
    """Make this the boot epoch, durably: nothing of it is sent before `EpochSet`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Publish:
    """What readers see has changed: configuration keys, nodes whose health content moved, nodes whose standing (liveness, age) moved.

    `settled`: this node, which lacked edits that others have, or knew nobody yet, knows of none that it lacks now.
    """

    keys: frozenset[str] = frozenset()
    health: frozenset[str] = frozenset()
    standing: frozenset[str] = frozenset()
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """Keep a connection to this peer."""

    key: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End the connection to this peer."""

    key: str


@dataclass(frozen=True, slots=True)
class Remake:
    """Make the connection to this peer anew: it stands, but nothing comes back."""

    key: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The local edit is durable and folded."""

    request: int
    dot: Dot


@dataclass(frozen=True, slots=True)
class Rejected:
    """The local edit was not made. `code` is stable, `message` one line."""

    request: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that an operator should know."""

    code: str
    message: str


Effect = Send | Commit | Rebase | SetEpoch | Publish | Connect | Disconnect | Remake | Accepted | Rejected | Alarm
