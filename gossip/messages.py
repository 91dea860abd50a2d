"""The messages between peers, as typed structures with their limits.

Unknown fields are ignored and unknown classes counted and dropped, so that a newer node can talk to this one.
"""

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from store.clocks import ACTOR_BYTES
from store.health import Head, HealthDelta

_Name = Annotated[str, Meta(max_length=255)]
_Actor = Annotated[bytes, Meta(min_length=ACTOR_BYTES, max_length=ACTOR_BYTES)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Clock = Annotated[dict[_Actor, _Count], Meta(max_length=8 * 2048)]


class MessageClass(IntEnum):
    """The class byte of frame 1. Numbers are never used again for something else."""

    HELLO = 1
    DIGEST = 2
    DELTA = 3
    PING = 4
    PONG = 5
    PROBE = 6
    ALIVE = 7


BULK = frozenset({MessageClass.DIGEST, MessageClass.DELTA})


class Hello(msgspec.Struct, frozen=True):
    """The first message on every connection: who is here, and which protocol versions and features it speaks.

    `ask` says that the sender has not had the receiver's hello, and wants one.
    """

    cluster: Annotated[str, Meta(max_length=64)]
    name: _Name
    actor: _Actor
    version_min: _Count
    version_max: _Count
    boot_nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    features: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    ask: bool = False


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """Where a stream stands, how many milliseconds its newest beat has lived, and its node's signature over that position and beat.

    The hash that was signed as well is not sent: only who holds the same content can take the beat.
    """

    head: Head
    age_ms: _Count
    signature: Annotated[bytes, Meta(max_length=64)]


class Digest(msgspec.Struct, frozen=True):
    """What the sender has, so that the receiver can send what it lacks.

    `held` are dots in the sender's hold-back, which need not be sent. `answer` marks a digest that was caused by one: it is served,
    and not answered with a digest again. `whole` names streams of which the sender wants the whole map; `refused` those of which it does
    not want what is at this epoch and seq.
    """

    clock: _Clock
    state_hash: Annotated[bytes, Meta(min_length=32, max_length=32)]
    health: Annotated[dict[_Name, Beat], Meta(max_length=2048)]
    held: Annotated[tuple[tuple[_Actor, _Count], ...], Meta(max_length=1024)] = ()
    answer: bool = False
    whole: Annotated[tuple[_Name, ...], Meta(max_length=2048)] = ()
    refused: Annotated[dict[_Name, tuple[_Count, _Count]], Meta(max_length=2048)] = {}


class Delta(msgspec.Struct, frozen=True):
    """Edits (their own bytes, in causal order), health content, and newer beats of content that the receiver already has.

    `ahead` is the sender's clock if it has further edits for this receiver, which asks again once these are committed; else empty.
    """

    edits: Annotated[tuple[bytes, ...], Meta(max_length=8192)] = ()
    health: Annotated[tuple[HealthDelta, ...], Meta(max_length=2048)] = ()
    beats: Annotated[dict[_Name, Beat], Meta(max_length=2048)] = {}
    ahead: _Clock = {}


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


Message = Hello | Digest | Delta | Ping | Pong | Probe | Alive

TYPES: dict[MessageClass, type[Message]] = {
    MessageClass.HELLO: Hello,
    MessageClass.DIGEST: Digest,
    MessageClass.DELTA: Delta,
    MessageClass.PING: Ping,
    MessageClass.PONG: Pong,
    MessageClass.PROBE: Probe,
    MessageClass.ALIVE: Alive,
}
CLASSES: dict[type[Message], MessageClass] = {kind: number for number, kind in TYPES.items()}
