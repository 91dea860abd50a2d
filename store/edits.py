"""Edits: the immutable, signed units of configuration change, and their bytes.

An edit travels and is stored as the exact bytes its author made: `[body, signature]`, where `body` is itself packed. Nothing ever
re-encodes it, so fields that this version does not know survive, and the signature stays valid at the tenth hop.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from store.clocks import ACTOR_BYTES, Actor, Dot
from store.document import Options
from store.errors import one_line
from store.limits import limit

_Actor = Annotated[bytes, Meta(min_length=ACTOR_BYTES, max_length=ACTOR_BYTES)]
_Counter = Annotated[int, Meta(ge=1, le=2**53)]
_Key = Annotated[str, Meta(min_length=1, max_length=300)]
_Name = Annotated[str, Meta(max_length=255)]
_Text = Annotated[str, Meta(max_length=limit("edit_bytes"))]

_Optional = Annotated[bytes, Meta(max_length=ACTOR_BYTES)]

CHANGE = "change"
RESOLVE = "resolve"
LATE = "late"
"""An edit written again by a node that came back too late to deliver it: it names what it may replace, as `resolve` does."""


class EditError(ValueError):
    """The bytes are not an edit, or one beyond the limits. The text says what is wrong, never who sent it."""


def session_actor(identity: Actor, nonce: bytes) -> Actor:
    """The actor under which one life of a process writes: nobody but the owner of `identity` can sign for it, no other life uses it.

    `nonce` are 16 random bytes of that life.
    """
    return hashlib.sha256(b"pathmesh-actor" + identity + nonce).digest()[:ACTOR_BYTES]


class Edit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One atomic change of one or more keys.

    `context` is the author's committed clock when it was made: what it depends on, and which siblings it replaces. Of a key that `covers`
    lists, a `resolve` or `late` edit replaces exactly the siblings that are named there instead. `changes` maps a key to its new options,
    or to None for a deletion. `wall` is the author's wall clock in seconds: it is shown, and orders nothing.

    `actor` is a member's own (then `identity` and `nonce` are empty) or `session_actor(identity, nonce)`.
    """

    actor: _Actor
    counter: _Counter
    context: Annotated[dict[_Actor, _Counter], Meta(max_length=8 * 2048)]
    lamport: _Counter
    author: _Name
    wall: float
    changes: Annotated[dict[_Key, dict[_Key, _Text] | None], Meta(max_length=limit("edit_keys"))]
    reason: Annotated[str, Meta(max_length=4096)] = ""
    kind: Annotated[str, Meta(max_length=40)] = CHANGE
    covers: Annotated[dict[_Key, list[tuple[_Actor, _Counter]]], Meta(max_length=limit("edit_keys"))] = {}
    identity: _Optional = b""
    nonce: _Optional = b""

    @property
    def dot(self) -> Dot:
        return Dot(self.actor, self.counter)

    @property
    def owner(self) -> Actor:
        """The member that wrote it, by the actor it was admitted with: whose rights and whose key count."""
        return self.identity or self.actor


class SignedEdit(msgspec.Struct, frozen=True):
    """An edit with the bytes it came from. `raw` is what is stored and relayed; `body` is what the signature covers."""

    edit: Edit
    raw: bytes
    body: bytes
    signature: bytes

    @property
    def dot(self) -> Dot:
        return self.edit.dot


_encoder = msgspec.msgpack.Encoder()
_body_decoder = msgspec.msgpack.Decoder(Edit)
_envelope_decoder = msgspec.msgpack.Decoder(tuple[bytes, Annotated[bytes, Meta(min_length=64, max_length=64)]])


def encode_body(edit: Edit) -> bytes:
    """The bytes that the author signs."""
    return _encoder.encode(edit)


def seal(edit: Edit, body: bytes, signature: bytes) -> SignedEdit:
    """Put the author's signature (64 bytes, Ed25519 over `body`) around an edit.

    EditError beyond any limit: what other nodes would not take must not be committed here either.
    """
    raw = _encoder.encode((body, signature))
    if len(raw) > limit("edit_bytes"):
        raise EditError(f"the edit has {len(raw):,} bytes; at most {limit('edit_bytes'):,} are taken")
    return decode_edit(raw)


def decode_edit(raw: bytes) -> SignedEdit:
    """Read an edit's bytes; EditError for anything that is not exactly one, within the limits. The signature is not checked here."""
    if len(raw) > limit("edit_bytes"):
        raise EditError(f"an edit of {len(raw):,} bytes")
    try:
        body, signature = _envelope_decoder.decode(raw)
        edit = _body_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise EditError(f"not an edit: {one_line(fault)}") from None
    if (edit.identity or edit.nonce) and not _follows(edit):
        raise EditError("an edit whose actor does not follow from its identity and nonce")
    if edit.context.get(edit.actor, 0) != edit.counter - 1:
        raise EditError("an edit whose context does not end at its author's previous edit")
    if edit.lamport > sum(edit.context.values()) + 1:
        # Each edit adds at most one to the greatest number it has seen. Without this bound one edit could use up all numbers.
        raise EditError("an edit with a lamport number that its context cannot have led to")
    return SignedEdit(edit, raw, body, signature)


def _follows(edit: Edit) -> bool:
    return len(edit.identity) == len(edit.nonce) == ACTOR_BYTES and edit.actor == session_actor(edit.identity, edit.nonce)


def frozen_changes(changes: Mapping[str, Options | None]) -> dict[str, dict[str, str] | None]:
    """Plain copies of the changes, keys sorted, as an edit holds them."""
    return {key: None if value is None else dict(sorted(value.items())) for key, value in sorted(changes.items())}
