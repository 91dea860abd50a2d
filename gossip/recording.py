"""A bounded recording of everything that an engine was told, from which a run can be repeated.

Theory of operation. The engine is a function of its start and its inputs, so these are kept: an *image* of what it was started with, and
every event with its time. A recording is made of segments, each an image and what came after it. When a segment has grown to half of the
bound the next one begins, with a new image; the one before stays, and goes when a third begins. So there is always about half of the bound
to look back on.

The image at the start of the process is exact: the repeated run does the same, byte for byte. An image taken in mid-life repeats as a
restart at that moment: the engine starts in the next epoch on what the node held, its connections are put back at once, and what it was
just waiting for (answers, pieces of health, edits held back) is not known to it. Health of other nodes is in an image as far as it fits.

Inputs are kept as they are or smaller (`gossip.recorded_events`), without a copy, and encoded when somebody asks for the recording. No
secret is kept; the signatures that this node made are, as without its key they cannot be made again.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from gossip import codec
from gossip.engine import Engine, Identity
from gossip.events import Effect, Event
from gossip.messages import SESSION_BYTES
from gossip.recorded_events import Health, reduced, restored
from gossip.transport import MessageReceived, PeerUp
from store.base import Base, decode_base, encode_base
from store.edits import decode_edit
from store.health import HealthStream, decode_stream, encode_stream
from store.limits import limit
from store.members import Member
from store.replica import Replica, Verify

if TYPE_CHECKING:
    from random import Random

VERSION = 1
_MAGIC = "pathmesh-recording"
_INPUT_BYTES = 200
"""What an input takes in memory beside its own bytes."""
_HEALTH_PART = 8
"""The part of the bound that health may take, in an image and in one input."""
_GAP_MS = 10_000
"""No two images are made within this time: under a flood a segment ends early instead."""
_TAG_BYTES = 12


class RecordingError(ValueError):
    """The bytes are not a recording that this version can read."""


class Options(msgspec.Struct, frozen=True):
    """What an engine is started with beside its state: see `Engine`."""

    pull_ms: int = 1_000
    snapshot_within_ms: int | None = None
    collect_edits: int = limit("collect_edits")


class Image(msgspec.Struct, frozen=True):
    """All that an engine is started from, but the key it signs with."""

    cluster_id: str
    name: str
    actor: bytes
    epoch: int
    boot_nonce: bytes
    restored: bool
    bootstrap: tuple[Member, ...]
    options: Options
    now_ms: int
    random: tuple[int, tuple[int, ...], float | None]
    log: tuple[bytes, ...]
    base: bytes | None = None
    streams: dict[str, bytes] = {}
    signatures: dict[bytes, bytes] = {}
    """What the node signed in this segment: the signature by the beginning of the hash of what it is over."""
    start_ms: int | None = None
    """When the engine was started, if that was not at once."""

    def sign(self, body: bytes) -> bytes:
        """The node's signature over the body (64 bytes); one that fits nothing if the node did not make it."""
        return self.signatures.get(_tag(body)) or hashlib.sha512(body).digest()


def start(image: Image, random: "Random", verify: Verify) -> tuple[Engine, list[Effect]]:
    """An engine in the state of the image, with this source of randomness in the state that it had, and its first effects.

    RecordingError if the image is damaged.
    """
    random.setstate(image.random)
    try:
        base = decode_base(image.base) if image.base is not None else None
        replica = Replica(image.cluster_id, verify, [decode_edit(raw) for raw in image.log], base)
        streams = {name: decode_stream(row, image.now_ms) for name, row in image.streams.items()}
    except ValueError as fault:
        raise RecordingError(f"a damaged image: {fault}") from None
    identity = Identity(image.name, image.actor, image.epoch, image.boot_nonce, image.sign, verify, image.bootstrap, image.restored)
    options = image.options
    engine = Engine(
        identity, replica, streams, random, image.now_ms,
        pull_ms=options.pull_ms, snapshot_within_ms=options.snapshot_within_ms, collect_edits=options.collect_edits,
    )  # fmt: skip
    return engine, engine.start(image.now_ms if image.start_ms is None else image.start_ms)


def take_image(
    identity: Identity,
    replica: Replica,
    streams: Mapping[str, HealthStream],
    random: "Random",
    now_ms: int,
    options: Options,
) -> Image:
    """The image of an engine that is about to be made of this."""
    left = limit("recording_bytes") // _HEALTH_PART
    rows: dict[str, bytes] = {}
    for name, stream in streams.items():
        left -= stream.size
        if left < 0:
            break
        rows[name] = encode_stream(stream)
    return Image(
        replica.cluster_id, identity.name, identity.actor, identity.epoch, identity.boot_nonce, identity.restored, identity.bootstrap,
        options, now_ms, random.getstate(), tuple(replica.raws()), _encoded(replica.base), rows,
    )  # fmt: skip


def image_of(engine: Engine, random: "Random", now_ms: int, options: Options) -> tuple[Image, tuple[Event, ...]]:
    """The image of a running engine, as if it were restarted now; and the events that put its connections back."""
    me = engine.identity
    others = {name: stream for name, stream in engine.exchange.streams.items() if name != me.name}
    image = take_image(me, engine.replica, others, random, now_ms, options)
    back: list[Event] = []
    for key, peer in engine.peers.items():
        if peer.up:
            back.append(PeerUp(key))
        if peer.hello is not None:
            back.append(MessageReceived(key, *codec.encode(peer.hello, peer.hello.boot_nonce[:SESSION_BYTES])))
    return msgspec.structs.replace(image, epoch=me.epoch + 1), tuple(back)


def _encoded(base: Base | None) -> bytes | None:
    return encode_base(base) if base is not None else None


def _tag(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_TAG_BYTES]


class _Input(msgspec.Struct, frozen=True, array_like=True):
    at_ms: int
    kind: str
    body: msgspec.Raw


class _Written(msgspec.Struct, frozen=True, array_like=True):
    image: Image
    inputs: list[_Input]


class _File(msgspec.Struct, frozen=True, array_like=True):
    magic: str
    version: int
    segments: list[_Written]


@dataclass(slots=True)
class _Segment:
    image: Image
    inputs: list[tuple[int, Any]] = field(default_factory=list)
    signatures: dict[bytes, bytes] = field(default_factory=dict)
    start_ms: int | None = None
    bytes: int = 0
    ended: bool = False
    """Something was left out: nothing more is kept here."""
    health: Health = field(default_factory=dict)
    """The last snapshot in this segment."""


class Recording:
    """The ring. Invariants: at most two segments, which together keep no more than the bound beside their images."""

    def __init__(self, limit_bytes: int, renew: Callable[[int], tuple[Image, tuple[Event, ...]] | None]) -> None:
        """`renew(now_ms)` makes an image of the engine as it is, and the events that belong to it; None: not at this moment."""
        self._half = limit_bytes // 2
        self._largest_health = limit_bytes // _HEALTH_PART
        self._renew = renew
        self._segments: list[_Segment] = []

    def begin(self, image: Image, opening: Iterable[Event] = ()) -> None:
        """Begin a segment."""
        self._segments = [*self._segments[-1:], _Segment(image)]
        for event in opening:
            self._keep(self._segments[-1], event, image.now_ms)

    def started(self, now_ms: int) -> None:
        """The engine of the first image was started."""
        if self._segments:
            self._segments[-1].start_ms = now_ms

    def note(self, event: Event, now_ms: int) -> None:
        """Keep what the engine is about to be told."""
        if not self._segments:
            return
        segment = self._segments[-1]
        if segment.bytes >= self._half:
            renewed = self._renew(now_ms) if now_ms - segment.image.now_ms >= _GAP_MS else None
            if renewed is None:
                segment.ended = True
                return
            self.begin(*renewed)
            segment = self._segments[-1]
        self._keep(segment, event, now_ms)

    def signing(self, sign: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """The function, which from now on also notes the signatures that it makes."""

        def noted(body: bytes) -> bytes:
            signature = sign(body)
            if self._segments:
                segment = self._segments[-1]
                if not segment.ended:
                    segment.signatures[_tag(body)] = signature
                    segment.bytes += _INPUT_BYTES
            return signature

        return noted

    def dump(self) -> bytes:
        """The recording as it is now, for `load`."""
        segments = [
            _Written(
                msgspec.structs.replace(segment.image, signatures=segment.signatures, start_ms=segment.start_ms),
                [_Input(at_ms, type(event).__name__, msgspec.Raw(msgspec.msgpack.encode(event))) for at_ms, event in segment.inputs],
            )
            for segment in self._segments
        ]
        return msgspec.msgpack.encode(_File(_MAGIC, VERSION, segments))

    def _keep(self, segment: _Segment, event: Event, now_ms: int) -> None:
        kept, size = reduced(event, segment.health, self._largest_health)
        segment.inputs.append((now_ms, kept))
        segment.bytes += size + _INPUT_BYTES


def load(data: bytes) -> list[tuple[Image, list[tuple[int, Event]]]]:
    """The segments, oldest first: the image to `start` from, and each event with its time; RecordingError for anything else."""
    try:
        found = msgspec.msgpack.decode(data, type=_File)
        if (found.magic, found.version) != (_MAGIC, VERSION):
            raise RecordingError(f"no recording of version {VERSION}")
        return [(segment.image, _events(segment.inputs)) for segment in found.segments]
    except RecordingError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise RecordingError(f"not a recording: {fault}") from None


def _events(inputs: Iterable[_Input]) -> list[tuple[int, Event]]:
    health: Health = {}
    return [(given.at_ms, restored(given.kind, given.body, health)) for given in inputs]
