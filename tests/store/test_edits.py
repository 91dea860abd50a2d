"""Edits and their bytes."""

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from store.edits import Edit, EditError, SignedEdit, decode_edit, encode_body, frozen_changes, seal, session_actor
from store.limits import limit

A, B = b"a" * 16, b"b" * 16
SIGNATURE = bytes(64)


def make(**fields: Any) -> Edit:
    values: dict[str, Any] = {
        "actor": A, "counter": 1, "context": {}, "lamport": 1, "author": "n1", "wall": 0.0, "changes": {"defaults": {"a": "b"}}
    }  # fmt: skip
    return Edit(**(values | fields))


def sealed(**fields: Any) -> SignedEdit:
    edit = make(**fields)
    return seal(edit, encode_body(edit), SIGNATURE)


def raw_of(body: dict[str, Any], *more: Any) -> bytes:
    packed: bytes = msgpack.packb([msgpack.packb(body), SIGNATURE, *more])
    return packed


def body_of(signed: SignedEdit) -> dict[str, Any]:
    body: dict[str, Any] = msgpack.unpackb(signed.body)
    return body


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.binary(max_size=16), inner, max_size=4),
    max_leaves=12,
)
FIELD = st.sampled_from(
    ["actor", "counter", "context", "lamport", "author", "wall", "changes", "reason", "kind", "covers", "identity", "nonce", "else"]
)


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x92\xc4\x01\xc1\xc4\x01\x00")
@example(b"\x91" * 100_000)
def test_any_bytes_are_an_edit_or_an_edit_error(raw: bytes) -> None:
    with suppress(EditError):
        assert decode_edit(raw).raw == raw


@given(st.dictionaries(FIELD, JSON_LIKE))
def test_an_edit_with_any_fields_replaced_is_an_edit_or_an_edit_error(fields: dict[str, Any]) -> None:
    try:
        raw = raw_of(body_of(sealed()) | fields)
    except (OverflowError, ValueError):  # not every integer can be packed
        return
    with suppress(EditError):
        assert decode_edit(raw).raw == raw


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_byte_is_seen_or_harmless(position: int, value: int) -> None:
    raw = bytearray(sealed(changes={"wwid/3600": {"alias": "x"}, "defaults": None}).raw)
    raw[position % len(raw)] = value
    with suppress(EditError):
        assert decode_edit(bytes(raw)).raw == bytes(raw)


@given(st.dictionaries(st.text(min_size=1, max_size=10).map("x-".__add__), JSON_LIKE, max_size=4))
def test_fields_of_a_later_version_survive_byte_for_byte(extra: dict[str, Any]) -> None:
    try:
        raw = raw_of(body_of(sealed(reason="why")) | extra)
    except (OverflowError, ValueError):
        return
    try:
        signed = decode_edit(raw)
    except EditError:  # a map key that msgspec does not take, such as a text that is not UTF-8
        return
    assert signed.raw == raw
    assert signed.body in raw
    assert msgpack.unpackb(signed.body, strict_map_key=False).keys() >= extra.keys()
    assert signed.edit == make(reason="why")


def test_what_is_not_said_takes_no_room_and_reads_as_before() -> None:
    assert set(body_of(sealed())) == {"actor", "counter", "context", "lamport", "author", "wall", "changes"}
    spelled_out = raw_of(body_of(sealed()) | {"reason": "", "kind": "change", "covers": {}, "identity": b"", "nonce": b""})
    assert decode_edit(spelled_out).edit == make()


def test_a_session_actor_follows_from_its_owner_and_nonce() -> None:
    actor = session_actor(A, B)
    assert len(actor) == 16
    assert actor != session_actor(B, A) != session_actor(A, A)
    signed = sealed(actor=actor, identity=A, nonce=B)
    assert decode_edit(signed.raw).edit.owner == A
    assert signed.dot.actor == actor
    assert sealed().edit.owner == A


@pytest.mark.parametrize(
    "fields",
    [
        {"identity": A},
        {"nonce": B},
        {"identity": A, "nonce": B},
        {"actor": session_actor(A, B), "identity": A},
        {"actor": session_actor(A, B), "nonce": B},
        {"actor": session_actor(A, B), "identity": B, "nonce": A},
        {"actor": session_actor(A, b""), "identity": A, "nonce": b""},
        {"actor": session_actor(A, b"short"), "identity": A, "nonce": b"short"},
        {"actor": session_actor(b"", B), "identity": b"", "nonce": B},
        {"actor": session_actor(A + B, b""), "identity": A + B, "nonce": b""},
    ],
)
def test_no_other_actor_can_be_claimed(fields: dict[str, Any]) -> None:
    with pytest.raises(EditError):
        sealed(**fields)


@given(st.binary(max_size=17), st.binary(max_size=17), st.booleans())
def test_any_identity_and_nonce_are_right_or_refused(identity: bytes, nonce: bytes, follows: bool) -> None:
    actor = session_actor(identity, nonce) if follows else A
    try:
        edit = decode_edit(sealed(actor=actor, identity=identity, nonce=nonce).raw).edit
    except EditError:
        return
    if identity or nonce:
        assert follows and len(identity) == len(nonce) == 16 and edit.owner == identity
    else:
        assert edit.owner == actor


def test_a_kind_of_a_later_version_is_read() -> None:
    assert decode_edit(sealed(kind="merge-3").raw).edit.kind == "merge-3"


def test_frozen_changes_are_sorted_copies() -> None:
    options = {"b": "1", "a": "2"}
    frozen = frozen_changes({"z": options, "k": None})
    options["c"] = "3"
    assert list(frozen) == ["k", "z"]
    assert frozen["z"] == {"a": "2", "b": "1"}


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"actor": b"short"}, "length"),
        ({"counter": 0, "context": {}}, ">= 1"),
        ({"counter": 2, "lamport": 1}, "previous edit"),
        ({"counter": 1, "context": {A: 1}}, "previous edit"),
        ({"lamport": 2}, "lamport"),
        ({"context": {B: 4}, "lamport": 6}, "lamport"),
        ({"context": {B: 4}, "lamport": 2**53}, "lamport"),
        ({"changes": {"": {}}}, "length"),
        ({"changes": {"k" * 301: {}}}, "length"),
        ({"reason": "r" * 4097}, "length"),
        ({"author": "n" * 256}, "length"),
    ],
)
def test_what_breaks_a_rule_can_neither_be_sealed_nor_read(fields: dict[str, Any], what: str) -> None:
    edit = make(**fields)
    body = encode_body(edit)
    with pytest.raises(EditError, match=what):
        seal(edit, body, SIGNATURE)
    with pytest.raises(EditError, match=what):
        decode_edit(msgpack.packb([body, SIGNATURE]))


def test_the_greatest_lamport_number_that_the_context_allows_is_taken() -> None:
    assert decode_edit(sealed(context={B: 4}, lamport=5).raw).edit.lamport == 5


def test_the_size_limit_holds_on_both_sides() -> None:
    most = limit("edit_bytes")
    spare = len(sealed(changes={"overrides": {"text": ""}}).raw)
    fits = sealed(changes={"overrides": {"text": "x" * (most - spare - 16)}})
    assert decode_edit(fits.raw) == fits
    with pytest.raises(EditError, match="bytes"):
        sealed(changes={"overrides": {"text": "x" * most}})
    with pytest.raises(EditError, match="bytes"):
        decode_edit(b"\xc6" + bytes(most))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)])
def test_a_signature_has_sixty_four_bytes(signature: bytes) -> None:
    with pytest.raises(EditError):
        decode_edit(msgpack.packb([encode_body(make()), signature]))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(EditError):
        decode_edit(sealed().raw + b"\x00")
