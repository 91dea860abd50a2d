"""Frames: any bytes are a message or refused, and nothing large or deep is unpacked."""

import struct
from contextlib import suppress
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gossip import codec
from gossip.codec import HEADER_BYTES, MAJOR, MINOR, BadMessage, UnknownClass, decode, encode, session_of, size_limit
from gossip.messages import (
    CLASSES,
    TYPES,
    Alive,
    Beat,
    Chunk,
    Delta,
    Digest,
    Fetch,
    Hello,
    KeyDot,
    KeyRange,
    ListedKey,
    ListedSibling,
    Message,
    MessageClass,
    Ping,
    Place,
    Pong,
    Probe,
    RangePart,
    Ranges,
)
from store.cells import Cell
from store.health import CellEntry, Head, HealthDelta
from store.limits import limit

ACTOR = st.binary(min_size=16, max_size=16)
COUNT = st.integers(0, 2**53)
NAME = st.text(max_size=20)
HASH = st.binary(min_size=32, max_size=32)
HEAD = st.builds(Head, ACTOR, COUNT, COUNT, COUNT, st.binary(max_size=8))
CLOCK = st.dictionaries(ACTOR, COUNT, max_size=4)
SIGNATURE = st.binary(max_size=64)
TAG = st.binary(min_size=4, max_size=4)
SHORT = st.binary(max_size=8)
BEATS = st.dictionaries(NAME, st.builds(Beat, TAG, COUNT, COUNT, COUNT, SHORT, COUNT, SIGNATURE), max_size=4)
PLACES = st.dictionaries(NAME, st.builds(Place, TAG, COUNT, COUNT, COUNT, TAG), max_size=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DETAIL = st.dictionaries(st.text(max_size=5), PLAIN, max_size=3)
CELL = st.builds(Cell, NAME, NAME, NAME, st.lists(NAME, max_size=3).map(tuple), DETAIL, DETAIL, st.floats(0, 2e9))
HEALTH = st.builds(
    HealthDelta, NAME, HEAD, COUNT, COUNT, HASH, COUNT, SIGNATURE,
    st.lists(st.builds(CellEntry, COUNT, CELL), max_size=3).map(tuple), COUNT, st.integers(1, 256),
)  # fmt: skip
RANGE = st.builds(KeyRange, NAME, NAME, COUNT, HASH)
LISTED = st.builds(ListedKey, NAME, HASH, st.lists(st.builds(ListedSibling, ACTOR, COUNT, HASH), max_size=3).map(tuple), st.booleans())
PART = st.builds(RangePart, COUNT, st.booleans(), st.lists(RANGE, max_size=4).map(tuple), st.lists(LISTED, max_size=4).map(tuple))
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, NAME, NAME, ACTOR, COUNT, COUNT, ACTOR, st.lists(NAME, max_size=3).map(tuple), st.booleans(), SHORT),
    st.builds(
        Digest, HASH, HASH, st.booleans(), CLOCK, CLOCK, PLACES, st.tuples(NAME, NAME),
        st.lists(st.tuples(ACTOR, COUNT), max_size=4).map(tuple), st.booleans(), st.lists(NAME, max_size=3).map(tuple),
        st.dictionaries(NAME, st.tuples(COUNT, COUNT), max_size=3), SHORT, st.booleans(),
    ),
    st.builds(
        Delta, st.lists(st.binary(max_size=40), max_size=3).map(tuple), st.lists(HEALTH, max_size=2).map(tuple), BEATS, CLOCK, st.booleans()
    ),
    st.builds(Ping, COUNT),
    st.builds(Pong, COUNT),
    st.builds(Probe, NAME),
    st.builds(Alive, NAME, COUNT),
    st.builds(Fetch, st.binary(max_size=16), COUNT),
    st.builds(Chunk, st.binary(max_size=16), COUNT, COUNT, st.binary(max_size=32), st.binary(max_size=50), st.integers(0, 60_000)),
    st.builds(
        Ranges, COUNT, HASH, st.booleans(), st.lists(RANGE, max_size=3).map(tuple), st.lists(PART, max_size=3).map(tuple),
        st.lists(st.builds(KeyDot, NAME, ACTOR, COUNT), max_size=3).map(tuple), st.lists(st.tuples(ACTOR, COUNT), max_size=3).map(tuple),
        st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    ),
)  # fmt: skip


def frames(
    number: int, body: bytes, *, magic: bytes = b"PMSH", major: int = MAJOR, minor: int = MINOR, length: int | None = None
) -> tuple[bytes, bytes]:
    return struct.pack(">4sBBBI8s", magic, major, minor, number, len(body) if length is None else length, bytes(8)), body


@given(MESSAGES)
def test_a_message_reads_back(message: Message) -> None:
    header, body = encode(message, b"session!")
    assert len(header) == HEADER_BYTES == 19
    assert decode(header, body) == message
    assert session_of(header) == b"session!"


@given(st.binary(max_size=20), st.binary(max_size=100))
@example(b"", b"")
def test_any_frames_are_refused_cleanly(header: bytes, body: bytes) -> None:
    with pytest.raises((BadMessage, UnknownClass)):
        decode(header, body)


@given(st.integers(0, 255), st.binary(max_size=200), st.integers(0, 255))
def test_any_body_is_a_message_or_refused(number: int, body: bytes, minor: int) -> None:
    try:
        message = decode(*frames(number, body, minor=minor))
    except BadMessage as fault:
        assert not fault.oversized
    except UnknownClass:
        assert number not in set(MessageClass)
    else:
        assert CLASSES[type(message)] == number


@given(MESSAGES, st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_byte_is_a_message_or_refused(message: Message, position: int, value: int) -> None:
    header, body = encode(message)
    damaged = bytearray(body)
    damaged[position % len(body)] = value
    with suppress(BadMessage):
        decode(header, bytes(damaged))


@given(MESSAGES, st.integers(0, 10**6))
def test_a_cut_message_is_refused(message: Message, position: int) -> None:
    header, body = encode(message)
    with pytest.raises(BadMessage):
        decode(header, body[: position % len(body)])


def test_fields_of_a_later_version_are_ignored() -> None:
    header, body = encode(Hello("c", "n1", bytes(16), 1, 1, bytes(16)))
    more = msgpack.packb({**msgpack.unpackb(body), "later": {"x": [1]}})
    assert decode(*frames(MessageClass.HELLO, more)) == decode(header, body)


def test_a_hello_of_another_major_version_is_read_and_nothing_else_is() -> None:
    _, body = encode(Hello("c", "n1", bytes(16), 7, 9, bytes(16)))
    hello = decode(*frames(MessageClass.HELLO, body, major=9))
    assert isinstance(hello, Hello)
    assert hello.version_min == 7
    with pytest.raises(BadMessage, match="version 9"):
        decode(*frames(MessageClass.PING, encode(Ping(1))[1], major=9))


@pytest.mark.parametrize("number", [0, 11, 200, 255])
def test_an_unknown_class_is_told_apart(number: int) -> None:
    with pytest.raises(UnknownClass):
        decode(*frames(number, b"whatever"))


@pytest.mark.parametrize(("changed", "what"), [({"magic": b"HTTP"}, "magic"), ({"length": 3}, "3"), ({"length": 2**32 - 1}, "header says")])
def test_the_header_is_checked(changed: dict[str, Any], what: str) -> None:
    with pytest.raises(BadMessage, match=what):
        decode(*frames(MessageClass.PING, encode(Ping(1))[1], **changed))


class Untouched:
    """A decoder that must not be reached."""

    def decode(self, _: bytes) -> object:
        raise AssertionError("the limit comes first")


@pytest.mark.parametrize("number", MessageClass)
def test_the_size_is_checked_before_anything_is_unpacked(number: MessageClass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_decoders", dict.fromkeys(TYPES, Untouched()))
    with pytest.raises(BadMessage) as caught:
        decode(*frames(number, bytes(size_limit(number) + 1)))
    assert caught.value.oversized
    with pytest.raises(AssertionError):
        decode(*frames(number, bytes(size_limit(number))))


def test_what_is_too_large_is_not_encoded() -> None:
    edit = bytes(limit("edit_bytes"))
    encode(Delta(edits=(edit,)))
    with pytest.raises(BadMessage) as caught:
        encode(Delta(edits=(edit, edit)))
    assert caught.value.oversized


def health(cell: Any) -> bytes:
    """A delta with one cell given as plain msgpack data."""
    head = [bytes(16), 1, 1, 1]
    packed: bytes = msgpack.packb({"health": [["n1", head, 0, 0, bytes(32), 0, b"", [[1, cell]], 0, 1]]})
    return packed


def raw_detail(detail: bytes) -> bytes:
    marker = b"\xa6DETAIL"
    return health({"kind": "k", "id": "i", "state": "s", "detail": "DETAIL"}).replace(marker, detail)


@pytest.mark.parametrize("depth", [20, 900, 990, 5_000, 200_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(BadMessage):
        decode(*frames(MessageClass.DELTA, raw_detail(b"\x81\xa1a" + b"\x91" * depth + b"\xc0")))
    for number in MessageClass:
        with pytest.raises(BadMessage):
            decode(*frames(number, b"\x91" * depth + b"\xc0"))


@pytest.mark.parametrize(
    "value", [{1: 2}, {1: 2, "x": 3}, {None: 1}, b"bytes", float("nan"), float("inf"), msgpack.ExtType(5, b"x"), msgpack.Timestamp(5)]
)
def test_health_that_is_no_plain_data_is_refused(value: Any) -> None:
    """Whatever reads it later (a hash, JSON) could fail on it."""
    with pytest.raises(BadMessage):
        decode(*frames(MessageClass.DELTA, health({"kind": "k", "id": "i", "state": "s", "detail": {"a": value}})))


def test_plain_health_is_taken() -> None:
    message = decode(*frames(MessageClass.DELTA, health({"kind": "k", "id": "i", "state": "s", "detail": {"a": [1, {"b": None}]}})))
    assert isinstance(message, Delta)
    assert message.health[0].cells[0].cell.detail == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (MessageClass.PING, [-1]),
        (MessageClass.PING, [2**60]),
        (MessageClass.PROBE, ["n" * 256]),
        (MessageClass.HELLO, {"cluster": "c", "name": "n", "actor": b"x", "version_min": 1, "version_max": 1, "boot_nonce": bytes(16)}),
        (MessageClass.DIGEST, {"clock": {}, "state_hash": bytes(31), "health": {}}),
        (MessageClass.DIGEST, {"clock": {}, "state_hash": bytes(32), "health": {str(n): [[bytes(16), 1, 1, 1], 0] for n in range(2049)}}),
        (MessageClass.DIGEST, {"clock": {}, "state_hash": bytes(32), "health": {}, "held": [[bytes(16), 1]] * 1025}),
        (MessageClass.DELTA, {"edits": [b""] * 8193}),
        (MessageClass.DELTA, {"health": [["n1", [bytes(16), 1, 1, 1], 0, 0, bytes(32), 0, b"", [], 0, 257]]}),
    ],
)
def test_limits_of_fields(number: MessageClass, body: Any) -> None:
    with pytest.raises(BadMessage):
        decode(*frames(number, msgpack.packb(body)))


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (MessageClass.FETCH, [b"x" * 17, 0]),
        (MessageClass.FETCH, [b"", -1]),
        (MessageClass.CHUNK, [b"", 0, 0, b"", b"x" * (limit("chunk_bytes") + 1), 0]),
        (MessageClass.CHUNK, [b"", 0, 0, b"x" * 33, b"", 0]),
        (MessageClass.CHUNK, [b"", 0, 0, b"", b"", 60_001]),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(31)}),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(32), "ask": [["", "", 0, bytes(32)]] * (limit("repair_ranges") + 1)}),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(32), "ask": [["x" * 301, "", 0, bytes(32)]]}),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(32), "parts": [[0, False, [["", "", 0, bytes(32)]] * 17]]}),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(32), "parts": [[0, False, [], [["k", bytes(32), []]] * 17]]}),
        (
            MessageClass.RANGES,
            {"number": 1, "clock": bytes(32), "parts": [[0, False, [], [["k", bytes(32), [[bytes(16), 1, bytes(32)]] * 65]]]]},
        ),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(32), "want": [[bytes(15), 1]]}),
        (MessageClass.RANGES, {"number": 1, "clock": bytes(32), "edits": [b""] * (limit("repair_ranges") + 1)}),
    ],
)
def test_limits_of_transfer_and_repair(number: MessageClass, body: Any) -> None:
    with pytest.raises(BadMessage):
        decode(*frames(number, msgpack.packb(body)))


def test_the_largest_chunk_fits() -> None:
    chunk = Chunk(bytes(16), 2**53, 2**53, bytes(32), bytes(limit("chunk_bytes")))
    assert decode(*encode(chunk)) == chunk


def test_the_largest_digest_of_the_largest_cluster_fits() -> None:
    members, streams = limit("members"), limit("digest_streams")
    clock = {n.to_bytes(16, "big"): 2**32 for n in range(limit("actors"))}
    digest = Digest(
        clock_hash=bytes(32),
        state_hash=bytes(32),
        full=True,
        clock=clock,
        floor=clock,
        health={f"{n:064}": Place(bytes(4), 2**32, 2**32, 2**32, bytes(4)) for n in range(streams)},
        span=("0" * 64, "9" * 64),
        held=tuple((bytes(16), 2**32) for _ in range(1024)),
        whole=tuple(f"{n:064}" for n in range(members // 2)),
        refused={f"{n:064}": (2**32, 2**32) for n in range(members // 2, members)},
        hears=bytes(8),
    )
    header, body = encode(digest)
    assert decode(header, body) == digest


def test_every_class_has_one_type() -> None:
    assert {CLASSES[kind] for kind in TYPES.values()} == set(MessageClass)
    assert all(msgspec.structs.fields(kind) for kind in TYPES.values())
