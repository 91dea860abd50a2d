"""The trace of a run: a hash over every event that an engine was given, in order, and on demand a line for each.

Legend of the lines: `time node mark text`, where the mark is
`<` a frame came, `x` a frame was refused by a queue, `.` a tick, `+` a peer's connection stands, `-` it is gone, `e` a local edit,
`s` a snapshot of the host's health, `C` committed, `F` commit failed, `B` rebased, `b` rebase failed, `E` epoch set, `!` an alarm of the
engine, `*` something the simulator does.
"""

import hashlib
from collections.abc import Callable
from struct import Struct

import msgspec

from gossip import events as ev
from gossip.messages import CLASSES, MessageClass
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp

LEGEND = (
    "< frame came   x queue refused a frame   . tick   + peer up   - peer down   e local edit   s snapshot   C committed   F commit failed"
    "   B rebased   b rebase failed   E epoch set   ? refused key knocked   ! alarm   * fault or repair"
)
_head = Struct(">QIB")
_packed = msgspec.msgpack.Encoder()

Event = ev.Event


def frame_digest(header: bytes, body: bytes) -> bytes:
    """What stands for a frame in the trace, so that it is hashed once however many receivers it has."""
    return hashlib.sha256(header + body).digest()


class Trace:
    """Collects the hash. `line` gets a line per event if anybody wants them."""

    def __init__(self, line: Callable[[str], None] | None = None) -> None:
        self.events = 0
        self._hash = hashlib.sha256()
        self._line = line

    @property
    def hexdigest(self) -> str:
        """The hash so far, 64 hex digits."""
        return self._hash.hexdigest()

    def event(self, now_ms: int, index: int, label: str, event: Event, digest: bytes = b"") -> None:
        """An event is about to be given to the engine of the machine `index`. `digest` is that of the frame, if it is one."""
        number, content = _content(event, digest)
        self.events += 1
        self._hash.update(_head.pack(now_ms, index, number))
        self._hash.update(content)
        if self._line is not None:
            self._line(f"{now_ms:>9} {label:<6} {describe(event)}")

    def note(self, now_ms: int, label: str, mark: str, text: str) -> None:
        """Something happened that is no event of an engine; it shows in the lines only."""
        if self._line is not None:
            self._line(f"{now_ms:>9} {label:<6} {mark} {text}")


def _content(event: Event, digest: bytes) -> tuple[int, bytes]:
    match event:
        case MessageReceived():
            return 1, event.key.encode() + (digest or frame_digest(event.header, event.body))
        case ev.Tick():
            return 2, b""
        case ev.Committed():
            return 3, b"".join(signed.raw for signed in event.batch)
        case ev.CommitFailed():
            return 4, b"".join(signed.raw for signed in event.batch)
        case ev.LocalEdit():
            return 5, _packed.encode(
                (event.request, dict(event.changes), event.wall, event.reason, event.kind, {k: list(v) for k, v in event.covers.items()})
            )
        case ev.LocalSnapshot():
            return 6, _packed.encode(event.cells)
        case ev.SendRefused():
            return 7, event.key.encode() + bytes((CLASSES[type(event.message)],))
        case PeerUp():
            return 8, event.key.encode()
        case PeerDown():
            return 9, event.key.encode()
        case ev.Rebased():
            return 10, b""
        case ev.RebaseFailed():
            return 11, event.why.encode()
        case ev.EpochSet():
            return 12, event.epoch.to_bytes(8, "big")
        case Knocked():
            return 13, event.key.encode()


_CLASS_NAMES = {int(number): number.name.lower() for number in MessageClass}


def describe(event: Event) -> str:
    """One event in short; see the legend."""
    match event:
        case MessageReceived():
            name = _CLASS_NAMES.get(event.header[6], f"class-{event.header[6]}") if len(event.header) > 6 else "no-header"
            return f"< {name} {len(event.body)} B from {event.key[:6]}"
        case ev.Tick():
            return "."
        case ev.Committed():
            return "C " + " ".join(_short(signed) for signed in event.batch)
        case ev.CommitFailed():
            return f"F {event.why}: " + " ".join(_short(signed) for signed in event.batch)
        case ev.LocalEdit():
            return f"e {event.kind} " + " ".join(
                f"{key}{'' if value is not None else ' (deleted)'}" for key, value in event.changes.items()
            )
        case ev.LocalSnapshot():
            return "s " + " ".join(f"{cell.id}={cell.state}" for cell in event.cells)
        case ev.SendRefused():
            return f"x {type(event.message).__name__.lower()} to {event.key[:6]}"
        case PeerUp():
            return f"+ {event.key[:6]}"
        case PeerDown():
            return f"- {event.key[:6]}"
        case ev.Rebased():
            return "B"
        case ev.RebaseFailed():
            return f"b {event.why}"
        case ev.EpochSet():
            return f"E {event.epoch}"
        case Knocked():
            return f"? {event.key[:6]}"


def _short(signed: object) -> str:
    edit = getattr(signed, "edit", None)
    return f"{edit.actor.hex()[:6]}:{edit.counter}" if edit is not None else "?"
