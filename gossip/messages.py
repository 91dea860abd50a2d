"""The messages between peers, as typed structures with their limits.

Unknown fields are ignored and unknown classes counted and dropped, so that a newer node can talk to this one.
"""

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from store.clocks import ACTOR_BYTES
from store.health import TAG_BYTES, HealthDelta
from store.limits import limit

_Name = Annotated[str, Meta(max_length=255)]
_Actor = Annotated[bytes, Meta(min_length=ACTOR_BYTES, max_length=ACTOR_BYTES)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Clock = Annotated[dict[_Actor, _Count], Meta(max_length=8 * 2048)]
_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Key = Annotated[str, Meta(max_length=300)]
_Tag = Annotated[bytes, Meta(min_length=4, max_length=4)]
SESSION_BYTES = 8
"""How much of the boot nonce names a process's life in every message."""
REPAIR_FAN = 16
"""Into how many parts a range of keys is split, and how few keys are listed instead."""


class MessageClass(IntEnum):
    """The class byte of frame 1. Numbers are never used again for something else."""

    HELLO = 1
    DIGEST = 2
    DELTA = 3
    PING = 4
    PONG = 5
    PROBE = 6
    ALIVE = 7
    FETCH = 8
    CHUNK = 9
    RANGES = 10


BULK = frozenset({MessageClass.DIGEST, MessageClass.DELTA, MessageClass.CHUNK, MessageClass.RANGES})


class Hello(msgspec.Struct, frozen=True):
    """The first message on every connection: who is here, and which protocol versions and features it speaks.

    `ask` says that the sender has not had the receiver's hello, and wants one. `hears` is the session of the receiver that the sender
    listens to; empty if none.
    """

    cluster: Annotated[str, Meta(max_length=64)]
    name: _Name
    actor: _Actor
    version_min: _Count
    version_max: _Count
    boot_nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    features: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    ask: bool = False
    hears: Annotated[bytes, Meta(max_length=SESSION_BYTES)] = b""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """How far the sender holds a stream: enough to tell who lacks what. Nothing is believed for it, so it needs no signature.

    `actor_tag` is the beginning of the stream's actor: another actor under the same name is another stream. `map_tag` is the beginning
    of the hash of its content: by it a node finds out that others hold something else at its own position.
    """

    actor_tag: _Tag
    epoch: _Count
    seq: _Count
    beat: _Count
    map_tag: _Tag


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """Where a stream stands, how many milliseconds its newest beat has lived, and its node's signature over that position and beat.

    The actor and the hash that were signed as well are not sent: only who holds the same content can take the beat.
    """

    actor_tag: _Tag
    epoch: _Count
    seq: _Count
    beat: _Count
    clock_tag: Annotated[bytes, Meta(max_length=TAG_BYTES)]
    age_ms: _Count
    signature: Annotated[bytes, Meta(max_length=64)]


class Digest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender has, so that the receiver can send what it lacks.

    `clock_hash` stands for the clock; the clock itself and the floor (what may be gone from the sender's log) are there only if `full`.
    `health` holds the streams with names within `span` (inclusive; two empty names: all). `held` are dots in the sender's hold-back,
    which need not be sent. `answer` marks a digest that was caused by one: it is served, and not answered with a digest again. `whole`
    names streams of which the sender wants the whole map; `refused` those of which it does not want what is at this epoch and seq.
    `hears` is the session of the receiver that the sender listens to. `behind`: the sender's log holds edits of a kind that it does not
    know, so its state may differ. `yours` is a clock that the receiver once showed, and that is beyond the one that it shows now.
    """

    clock_hash: _Hash
    state_hash: _Hash
    full: bool = False
    clock: _Clock = {}
    floor: _Clock = {}
    health: Annotated[dict[_Name, Place], Meta(max_length=2048)] = {}
    span: tuple[_Name, _Name] = ("", "")
    held: Annotated[tuple[tuple[_Actor, _Count], ...], Meta(max_length=1024)] = ()
    answer: bool = False
    whole: Annotated[tuple[_Name, ...], Meta(max_length=2048)] = ()
    refused: Annotated[dict[_Name, tuple[_Count, _Count]], Meta(max_length=2048)] = {}
    hears: Annotated[bytes, Meta(max_length=SESSION_BYTES)] = b""
    behind: bool = False
    yours: _Clock = {}


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Edits (their own bytes, in causal order), health content, and newer beats of content that the receiver already has.

    `ahead` is the sender's clock if it has further edits for this receiver, which asks again once these are committed; else empty.
    `push` marks news, which a receiver in a large cluster hands on at its first receipt; what answers a digest is not handed on.
    """

    edits: Annotated[tuple[bytes, ...], Meta(max_length=8192)] = ()
    health: Annotated[tuple[HealthDelta, ...], Meta(max_length=2048)] = ()
    beats: Annotated[dict[_Name, Beat], Meta(max_length=2048)] = {}
    ahead: _Clock = {}
    push: bool = False


class Ping(msgspec.Struct, frozen=True, array_like=True):
    """Asks for a pong with the same nonce."""

    nonce: _Count


class Pong(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a ping."""

    nonce: _Count


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """Asks the receiver to find out whether the member `target` lives."""

    target: _Name


class Alive(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a probe: `target` was heard `age_ms` ago by the sender itself."""

    target: _Name
    age_ms: _Count


class Fetch(msgspec.Struct, frozen=True, array_like=True):
    """Asks for a chunk of a snapshot: of the one named `id`, or, with an empty id, of a new one from its beginning."""

    id: Annotated[bytes, Meta(max_length=16)]
    offset: _Count


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of the snapshot `id` from `offset` on; the whole of it has `total` bytes and the SHA-256 `checksum`.

    With `wait_ms` and no data: not now, ask for this offset again after so many milliseconds.
    """

    id: Annotated[bytes, Meta(max_length=16)]
    offset: _Count
    total: _Count
    checksum: Annotated[bytes, Meta(max_length=32)]
    data: Annotated[bytes, Meta(max_length=limit("chunk_bytes"))]
    wait_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0


class KeyRange(msgspec.Struct, frozen=True, array_like=True):
    """The live keys from `low` on and before `high` (empty: to the end): how many the sender has, and the hash of their siblings."""

    low: _Key
    high: _Key
    count: _Count
    hash: _Hash


class ListedSibling(msgspec.Struct, frozen=True, array_like=True):
    """A live sibling of a key: its dot, and the SHA-256 of its value."""

    actor: _Actor
    counter: _Count
    value: _Hash


class ListedKey(msgspec.Struct, frozen=True, array_like=True):
    """A live key, the hash of its siblings, and these, sorted by dot. `more`: there are more of them than are listed."""

    key: _Key
    hash: _Hash
    siblings: Annotated[tuple[ListedSibling, ...], Meta(max_length=limit("repair_siblings"))]
    more: bool = False


class RangePart(msgspec.Struct, frozen=True, array_like=True):
    """The answer to the asked range with this index: nothing where it is equal, else either a finer split of it, or all keys in it."""

    index: _Count
    equal: bool
    split: Annotated[tuple[KeyRange, ...], Meta(max_length=REPAIR_FAN)] = ()
    keys: Annotated[tuple[ListedKey, ...], Meta(max_length=REPAIR_FAN)] = ()


class KeyDot(msgspec.Struct, frozen=True, array_like=True):
    """One sibling of a key, by its dot."""

    key: _Key
    actor: _Actor
    counter: _Count


class Ranges(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question or `answer` of a repair: where do two states differ that come from the same edits?

    `number` is the asker's number of the question, `clock` the hash of the sender's clock. A question names ranges (`ask`, answered by
    `parts`), or siblings that only the asker has (`absent`, answered by those that the answerer may have collected), or dots (`want`,
    answered by their `edits`). Of what does not fit into the answer the question is asked again.
    """

    number: _Count
    clock: _Hash
    answer: bool = False
    ask: Annotated[tuple[KeyRange, ...], Meta(max_length=limit("repair_ranges"))] = ()
    parts: Annotated[tuple[RangePart, ...], Meta(max_length=limit("repair_ranges"))] = ()
    absent: Annotated[tuple[KeyDot, ...], Meta(max_length=limit("repair_ranges"))] = ()
    want: Annotated[tuple[tuple[_Actor, _Count], ...], Meta(max_length=limit("repair_ranges"))] = ()
    edits: Annotated[tuple[bytes, ...], Meta(max_length=limit("repair_ranges"))] = ()


Message = Hello | Digest | Delta | Ping | Pong | Probe | Alive | Fetch | Chunk | Ranges

TYPES: dict[MessageClass, type[Message]] = {
    MessageClass.HELLO: Hello,
    MessageClass.DIGEST: Digest,
    MessageClass.DELTA: Delta,
    MessageClass.PING: Ping,
    MessageClass.PONG: Pong,
    MessageClass.PROBE: Probe,
    MessageClass.ALIVE: Alive,
    MessageClass.FETCH: Fetch,
    MessageClass.CHUNK: Chunk,
    MessageClass.RANGES: Ranges,
}
CLASSES: dict[type[Message], MessageClass] = {kind: number for number, kind in TYPES.items()}
