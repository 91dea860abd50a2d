"""The engine's events in the form in which a recording keeps them, and back.

Most are kept as they are. Smaller than they are: of this node's own health only what changed since the last time; of edits only their
bytes; of a message that could not be sent whether it was a hello, as nothing else about it is asked.
"""

from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec

from gossip import codec
from gossip.events import (
    CommitFailed,
    Committed,
    EpochSet,
    Event,
    LocalEdit,
    LocalSnapshot,
    Rebased,
    RebaseFailed,
    SendRefused,
    Tick,
)
from gossip.messages import Delta, Hello
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp
from store.cells import Cell
from store.clocks import Dot
from store.edits import decode_edit
from store.health import Cut, cut_down

Health = dict[tuple[str, str], Cell]
"""This node's own health as the last event told it."""


class _Edit(msgspec.Struct, frozen=True):
    request: int
    changes: dict[str, dict[str, str] | None]
    wall: float
    reason: str
    kind: str
    covers: dict[str, tuple[Dot, ...]]


class _Batch(msgspec.Struct, frozen=True):
    """A commit that ended; `why` it failed, if it did."""

    raws: tuple[bytes, ...]
    why: str | None


class _Health(msgspec.Struct, frozen=True):
    """The cells that changed, packed, and the keys of those that are gone."""

    cells: bytes
    gone: tuple[tuple[str, str], ...]


class _Refused(msgspec.Struct, frozen=True):
    """`hello`: its two frames, if the message was one."""

    key: str
    hello: tuple[bytes, bytes] | None


_AS_THEY_ARE = (MessageReceived, Tick, PeerUp, PeerDown, Knocked, Rebased, RebaseFailed, EpochSet)
_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (*_AS_THEY_ARE, _Edit, _Batch, _Health, _Refused)}
_cells = msgspec.msgpack.Decoder(tuple[Cell, ...])
_encoder = msgspec.msgpack.Encoder()


def reduced(event: Event, health: Health, largest_health: int) -> tuple[Any, int]:
    """What is kept of an event (`restored` takes its type's name and its msgpack), and how many bytes it takes beside a fixed part.

    `health` is what the last snapshot said, and is brought up to date. Changed health above `largest_health` bytes is kept without detail.
    """
    match event:
        case MessageReceived():
            return event, len(event.body)
        case LocalSnapshot():
            return _reduced_health(event, health, largest_health)
        case Committed():
            return _batch(tuple(signed.raw for signed in event.batch), None)
        case CommitFailed():
            return _batch(tuple(signed.raw for signed in event.batch), event.why)
        case SendRefused():
            return _Refused(event.key, codec.encode(event.message) if isinstance(event.message, Hello) else None), 0
        case LocalEdit():
            changes = {key: dict(value) if value is not None else None for key, value in event.changes.items()}
            covers = {key: tuple(dots) for key, dots in event.covers.items()}
            edit = _Edit(event.request, changes, event.wall, event.reason, event.kind, covers)
            return edit, len(_encoder.encode(edit))
        case _:
            return event, 0


def restored(kind: str, body: bytes | msgspec.Raw, health: Health) -> Event:
    """The event that this was kept of; ValueError or KeyError if it is damaged. `health` as for `reduced`."""
    kept = msgspec.msgpack.decode(body, type=_KINDS[kind])
    match kept:
        case _Health():
            for key in kept.gone:
                health.pop(key, None)
            health.update({cell.key: cell for cell in _cells.decode(kept.cells)})
            return LocalSnapshot(tuple(health.values()))
        case _Batch():
            batch = tuple(decode_edit(raw) for raw in kept.raws)
            return Committed(batch) if kept.why is None else CommitFailed(batch, kept.why)
        case _Refused():
            return SendRefused(kept.key, codec.decode(*kept.hello) if kept.hello is not None else Delta())
        case _Edit():
            # Interned: an edit leaves a field out if it is the default itself, not if it only equals it.
            return LocalEdit(kept.request, kept.changes, kept.wall, kept.reason, intern(kept.kind), kept.covers)
    event: Event = kept
    return event


def _batch(raws: tuple[bytes, ...], why: str | None) -> tuple[_Batch, int]:
    return _Batch(raws, why), sum(map(len, raws))


def _reduced_health(event: LocalSnapshot, health: Health, largest: int) -> tuple[_Health, int]:
    now = {cell.key: cell for cell in event.cells}
    changed = tuple(cell for key, cell in now.items() if not _same(health.get(key), cell))
    gone = tuple(sorted(health.keys() - now.keys()))
    health.clear()
    health.update(now)
    cells = _encoder.encode(changed)
    if len(cells) > largest:
        cells = _encoder.encode(tuple(cut_down(cell, Cut.DETAIL) for cell in changed))
    return _Health(cells, gone), len(cells)


def _same(old: Cell | None, new: Cell) -> bool:
    """Whether the cell says what it said before; what is volatile in it does not count, as it does not for the engine."""
    return old is not None and old.state == new.state and old.reasons == new.reasons and old.detail == new.detail
