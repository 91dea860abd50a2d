"""Messages to two frames and back.

Frame 1 is nineteen bytes: magic `PMSH`, protocol major and minor, the message class, the length of frame 2 (big-endian, 32 bits), and the
session of the sender: the beginning of its boot nonce, which tells one process's life from another's.
Frame 2 is msgpack. Limits are checked before anything is unpacked: the size by class, then types, lengths and depth by the decoder
itself.
"""

import struct

import msgspec

from gossip.messages import BULK, CLASSES, SESSION_BYTES, TYPES, Delta, Message, MessageClass
from gossip.transport import Frames
from store.errors import one_line
from store.health import is_plain
from store.limits import limit

MAJOR = 1
MINOR = 0
VERSION_MIN = 1
VERSION_MAX = 1

_MAGIC = b"PMSH"
_HEADER = struct.Struct(f">4sBBBI{SESSION_BYTES}s")
HEADER_BYTES = _HEADER.size
_NAMES = {int(number): number for number in MessageClass}

_encoder = msgspec.msgpack.Encoder()
_decoders = {number: msgspec.msgpack.Decoder(kind) for number, kind in TYPES.items()}


class BadMessage(ValueError):
    """The frames are no message of this protocol, or one beyond its limits. `oversized` tells those apart for the counters."""

    def __init__(self, text: str, *, oversized: bool = False) -> None:
        super().__init__(text)
        self.oversized = oversized


class UnknownClass(ValueError):
    """A well-formed header with a class that this version does not know: to be counted and ignored."""


def encode(message: Message, session: bytes = bytes(SESSION_BYTES)) -> Frames:
    """The two frames of a message sent in this session. The caller keeps within the limits: BadMessage if not."""
    body = _encoder.encode(message)
    number = CLASSES[type(message)]
    if len(body) > size_limit(number):
        raise BadMessage(f"a {number.name} of {len(body):,} bytes", oversized=True)
    return _HEADER.pack(_MAGIC, MAJOR, MINOR, number, len(body), session), body


def decode(header: bytes, body: bytes) -> Message:
    """The message in two frames; BadMessage or UnknownClass for anything else. Never raises another exception, whatever the bytes."""
    if len(header) != HEADER_BYTES:
        raise BadMessage(f"a header of {len(header)} bytes")
    magic, major, _minor, number, length, _session = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise BadMessage("no magic")
    if length != len(body):
        raise BadMessage(f"{len(body):,} bytes where the header says {length:,}")
    kind = _NAMES.get(number)
    if kind is not MessageClass.HELLO and major != MAJOR:
        raise BadMessage(f"protocol version {major}")
    if kind is None:
        raise UnknownClass(f"message class {number}")
    if length > size_limit(kind):
        raise BadMessage(f"a {kind.name} of {length:,} bytes", oversized=True)
    try:
        message = _decoders[kind].decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise BadMessage(f"a damaged {kind.name}: {one_line(fault)}") from None
    if isinstance(message, Delta) and not all(is_plain(entry.cell) for part in message.health for entry in part.cells):
        raise BadMessage("a DELTA with health that is no plain data")
    return message


def session_of(header: bytes) -> bytes:
    """The sender's session in a header that `decode` took."""
    return header[-SESSION_BYTES:]


def size_limit(number: MessageClass) -> int:
    """The most bytes that the body of a class may have."""
    return limit("bulk_message_bytes") if number in BULK else limit("message_bytes")
