"""The base: what the edits said that a replica has folded for good, so that those which nobody needs any more can go.

A replica is a base and a log. The log keeps every edit above the base's floor, and below it those that still mean something: each
sibling's value is read from its edit in the log, never from the base, so a value has one copy, with its author's signature.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from store.authors import Author, Authors
from store.clocks import ACTOR_BYTES, Dot, dominates
from store.errors import one_line
from store.members import Ending

_VERSION = 1
_Actor = Annotated[bytes, Meta(min_length=ACTOR_BYTES, max_length=ACTOR_BYTES)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Vector = dict[_Actor, Annotated[int, Meta(ge=1, le=2**53)]]


class Base(msgspec.Struct, frozen=True):
    """The fold of all edits that `clock` covers.

    `floor`: whatever it covers may be gone from the log; all above it is there. `siblings`: the dots of each key's live values (sorted).
    `authors`, `endings`, `beyond`: see `store.authors`. `voids`: the edits in the log, covered by `clock`, that changed nothing.
    """

    clock: _Vector = {}
    floor: _Vector = {}
    lamport: _Count = 0
    siblings: dict[str, tuple[Dot, ...]] = {}
    authors: dict[_Actor, tuple[Author, ...]] = {}
    endings: dict[_Actor, Ending] = {}
    beyond: dict[_Actor, tuple[Dot, ...]] = {}
    voids: tuple[Dot, ...] = ()

    @property
    def table(self) -> Authors:
        """Who may author, by this base."""
        return Authors(self.authors, self.endings, self.beyond)


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    version: int
    base: Base


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def encode_base(base: Base) -> bytes:
    """The stored form."""
    return _encoder.encode(_Stored(_VERSION, base))


def decode_base(data: bytes) -> Base:
    """Read the stored form; ValueError if it is damaged or of a later version."""
    try:
        stored = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise ValueError(f"not a base: {one_line(fault)}") from None
    base = stored.base
    if stored.version != _VERSION:
        raise ValueError(f"a base of version {stored.version}")
    if not dominates(base.clock, base.floor):
        raise ValueError("a base whose floor is above its clock")
    dots = (dot for found in base.siblings.values() for dot in found)
    named = (*dots, *base.voids, *(dot for found in base.beyond.values() for dot in found))
    if not all(len(dot.actor) == ACTOR_BYTES and 1 <= dot.counter <= base.clock.get(dot.actor, 0) for dot in named):
        raise ValueError("a base that names an edit which its clock does not cover")
    return base
