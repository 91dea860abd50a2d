"""Health streams: what each node reports of itself, how it merges, and how old it is.

Theory of operation. A stream belongs to one node and only that node writes it. `(epoch, seq)` orders its contents: the epoch is a boot
counter, seq counts content changes within it from 0. Every cell carries the seq at which it last changed; a removed cell stays as an
`absent` entry. So a delta from any base is "the cells with a greater seq", any holder can make one for any receiver, and merging is
newest per cell. The hash of the whole map at seq (a sum of the cells' content hashes, so that it moves with each cell at constant cost)
is signed by the node: a receiver that merged up to seq must arrive at that hash, or it asks for the whole map again.

The *beat* counts heartbeats; it moves while the content stands still. Ages need no synchronised clocks: a beat travels with the
milliseconds it has already lived, and each holder adds its own holding time on its own clock that runs on during suspend.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from math import isfinite
from typing import Annotated

import msgspec
from msgspec import Meta

from store.cells import Cell, content_hash
from store.limits import limit

ABSENT = "absent"
UNKNOWN_AGE_MS = 2**40
"""The age of a beat that came from the disk: nobody knows how long it lay there. It adds up with real time and is always stale."""
DETAIL_DEPTH = 12
_HASH_MODULUS = 2**256
_Count = Annotated[int, Meta(ge=0, le=2**53)]


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Where a stream stands: order by `(epoch, seq)` for content and by `(epoch, beat)` for life."""

    actor: Annotated[bytes, Meta(min_length=16, max_length=16)]
    epoch: _Count
    seq: _Count
    beat: _Count

    @property
    def content(self) -> tuple[int, int]:
        return (self.epoch, self.seq)

    @property
    def life(self) -> tuple[int, int]:
        return (self.epoch, self.beat)


class CellEntry(msgspec.Struct, frozen=True, array_like=True):
    """A cell and the seq at which it last changed."""

    seq: _Count
    cell: Cell


class HealthDelta(msgspec.Struct, frozen=True, array_like=True):
    """All cells of one stream that changed after `base` (a seq of the same epoch; 0 = the whole map), and the proof of where that leads.

    A delta that is too large for one message travels in `parts`, each with a share of the cells; the receiver puts them together first.
    """

    node: Annotated[str, Meta(max_length=255)]
    head: Head
    base: _Count
    age_ms: _Count
    map_hash: Annotated[bytes, Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, Meta(max_length=64)]
    cells: Annotated[tuple[CellEntry, ...], Meta(max_length=2 * 4096 + 16)]
    part: _Count = 0
    parts: Annotated[int, Meta(ge=1, le=64)] = 1


class Merge(Enum):
    """What a delta did."""

    TAKEN = "content moved"
    BEAT = "only the beat moved"
    OLD = "nothing newer in it"
    GAP = "it starts after what is here: ask for what lies between"
    MISMATCH = "the merged map is not the one that was signed: ask for the whole map"
    FORGED = "the signature is wrong: drop it"
    EQUIVOCATION = "the same position was signed with two different contents: alarm"


def is_plain(cell: Cell) -> bool:
    """Whether the cell holds plain JSON values only, at a sane depth, so that nothing that reads it can fail on it."""
    return isfinite(cell.observed_at) and _plain(cell.detail, DETAIL_DEPTH) and _plain(cell.measures, DETAIL_DEPTH)


def _plain(value: object, depth: int) -> bool:
    if value is None or isinstance(value, str | int):
        return True
    if isinstance(value, float):
        return isfinite(value)
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(item, depth - 1) for key, item in value.items())
    return isinstance(value, list | tuple) and all(_plain(item, depth - 1) for item in value)


def head_body(node: str, head: Head, map_hash: bytes) -> bytes:
    """What the node signs: the name, the position of the content, and the hash of the map there. The beat is not signed."""
    return msgspec.msgpack.encode(("pathmesh-health", node, head.actor, head.epoch, head.seq, map_hash))


class HealthStream:
    """One node's stream as this node holds it.

    Invariants: no entry's seq is above the head's; `map_hash` is the sum of the content hashes of the entries that are not absent.
    """

    def __init__(self, node: str, head: Head, age_ms: int = 0, heard_ms: int = 0) -> None:
        self.node = node
        self.head = head
        self.signature = b""
        self.entries: dict[tuple[str, str], CellEntry] = {}
        self._sum = 0
        self._age_ms = age_ms
        self._heard_ms = heard_ms
        self.content_heard_ms = heard_ms
        self.fresh = True
        """False after a restart, until a newer beat of known age than the one on disk arrives."""

    @property
    def map_hash(self) -> bytes:
        return self._sum.to_bytes(32, "big")

    def age_ms(self, now_ms: int) -> int:
        """How old the newest beat is: what it had lived when it came, plus the time since. Milliseconds."""
        return self._age_ms + max(0, now_ms - self._heard_ms)

    def cells(self) -> Iterable[Cell]:
        """The cells that exist (absent entries left out)."""
        return (e.cell for e in self.entries.values() if e.cell.state != ABSENT)

    def delta(self, base: tuple[int, int] | None, now_ms: int) -> HealthDelta:
        """What a holder of `(epoch, seq)` `base` lacks; None or another epoch = the whole map."""
        start = base[1] if base is not None and base[0] == self.head.epoch and base[1] <= self.head.seq else 0
        changed = tuple(e for e in self.entries.values() if e.seq > start)
        return HealthDelta(self.node, self.head, start, self.age_ms(now_ms), self.map_hash, self.signature, changed)

    def hear_beat(self, head: Head, age_ms: int, now_ms: int) -> bool:
        """Take a newer beat of exactly the content held here; whether it was newer.

        A beat of newer content is not taken: it would make what is shown look fresher than it is. The content comes first.
        """
        if head.content != self.head.content or head.beat <= self.head.beat or (self.fresh and age_ms >= UNKNOWN_AGE_MS):
            return False
        self.head = Head(self.head.actor, self.head.epoch, self.head.seq, head.beat)
        self._age_ms, self._heard_ms = age_ms, now_ms
        self.fresh = age_ms < UNKNOWN_AGE_MS
        return True

    def merge(self, delta: HealthDelta, now_ms: int, verify: Callable[[bytes, bytes], bool]) -> Merge:
        """Take a delta of the same epoch. `verify(body, signature)` judges the signature by the node's registered key."""
        if delta.head.epoch != self.head.epoch:
            return Merge.OLD
        if delta.head.seq < self.head.seq:
            return Merge.OLD
        if delta.head.seq == self.head.seq and self.signature:
            if delta.map_hash != self.map_hash and verify(head_body(self.node, delta.head, delta.map_hash), delta.signature):
                return Merge.EQUIVOCATION
            return Merge.BEAT if self.hear_beat(delta.head, delta.age_ms, now_ms) else Merge.OLD
        if delta.base > self.head.seq:
            return Merge.GAP
        if not verify(head_body(self.node, delta.head, delta.map_hash), delta.signature):
            return Merge.FORGED
        entries, total = (dict(self.entries), self._sum) if delta.base else ({}, 0)
        for entry in delta.cells:
            if entry.seq > delta.head.seq:
                return Merge.MISMATCH
            old = entries.get(entry.cell.key)
            if old is not None and old.seq >= entry.seq:
                continue
            total += _weight(entry.cell) - (_weight(old.cell) if old else 0)
            entries[entry.cell.key] = entry
        total %= _HASH_MODULUS
        if total.to_bytes(32, "big") != delta.map_hash:
            return Merge.MISMATCH
        newer_beat = delta.head.beat > self.head.beat or not self.signature
        self.entries, self._sum, self.signature = entries, total, delta.signature
        self.head = Head(delta.head.actor, delta.head.epoch, delta.head.seq, max(self.head.beat, delta.head.beat))
        self.content_heard_ms = now_ms
        if newer_beat:
            self._age_ms, self._heard_ms, self.fresh = delta.age_ms, now_ms, delta.age_ms < UNKNOWN_AGE_MS
        return Merge.TAKEN


def new_stream(delta: HealthDelta, now_ms: int, verify: Callable[[bytes, bytes], bool]) -> tuple[HealthStream | None, Merge]:
    """A stream from the first delta of an epoch; (None, why) if the delta is no whole map or is not what was signed."""
    if delta.base:
        return None, Merge.GAP
    stream = HealthStream(delta.node, Head(delta.head.actor, delta.head.epoch, 0, 0), 0, now_ms)
    result = stream.merge(delta, now_ms, verify)
    return (stream if result is Merge.TAKEN else None), result


class OwnStream:
    """This node's own stream: the only writer of it.

    A snapshot that equals the last one by content moves nothing. `sign(body)` makes the signature over each new position.
    """

    def __init__(self, node: str, actor: bytes, epoch: int, sign: Callable[[bytes], bytes], now_ms: int) -> None:
        self.stream = HealthStream(node, Head(actor, epoch, 0, 0), 0, now_ms)
        self._sign = sign
        self._seal()

    def report(self, cells: Iterable[Cell], now_ms: int) -> bool:
        """Take a whole snapshot; whether the content changed. What is missing from it becomes an absent entry."""
        stream = self.stream
        reported = {cell.key: cell for cell in cells}
        for key, entry in stream.entries.items():
            if key not in reported and entry.cell.state != ABSENT:
                reported[key] = Cell(key[0], key[1], ABSENT)
        changed = [c for c in reported.values() if self._differs(c)]
        if not changed:
            return False
        seq = stream.head.seq + 1
        for cell in changed:
            old = stream.entries.get(cell.key)
            stream._sum = (stream._sum + _weight(cell) - (_weight(old.cell) if old else 0)) % _HASH_MODULUS
            stream.entries[cell.key] = CellEntry(seq, cell)
        self._forget_absent()
        stream.head = Head(stream.head.actor, stream.head.epoch, seq, stream.head.beat + 1)
        stream._heard_ms = stream.content_heard_ms = now_ms
        self._seal()
        return True

    def beat(self, now_ms: int) -> None:
        """One heartbeat: the content stands, the node lives."""
        head = self.stream.head
        self.stream.head = Head(head.actor, head.epoch, head.seq, head.beat + 1)
        self.stream._heard_ms = now_ms

    def _differs(self, cell: Cell) -> bool:
        old = self.stream.entries.get(cell.key)
        if old is None:
            return cell.state != ABSENT
        return content_hash(old.cell) != content_hash(cell)

    def _forget_absent(self) -> None:
        """Keep within the limit: a receiver that misses an absent entry finds the hash wrong and asks for the whole map."""
        entries = self.stream.entries
        excess = len(entries) - limit("stream_cells")
        if excess > 0:
            for entry in sorted((e for e in entries.values() if e.cell.state == ABSENT), key=lambda e: e.seq)[:excess]:
                del entries[entry.cell.key]

    def _seal(self) -> None:
        stream = self.stream
        stream.signature = self._sign(head_body(stream.node, stream.head, stream.map_hash))


def _weight(cell: Cell) -> int:
    return 0 if cell.state == ABSENT else int.from_bytes(content_hash(cell), "big")


class StreamRow(msgspec.Struct, frozen=True):
    """A stream as it is kept on disk."""

    node: str
    head: Head
    map_hash: bytes
    signature: bytes
    entries: tuple[CellEntry, ...]


_row_encoder = msgspec.msgpack.Encoder()
_row_decoder = msgspec.msgpack.Decoder(StreamRow)


def encode_stream(stream: HealthStream) -> bytes:
    """The blob row of a stream."""
    return _row_encoder.encode(StreamRow(stream.node, stream.head, stream.map_hash, stream.signature, tuple(stream.entries.values())))


def decode_stream(blob: bytes, now_ms: int) -> HealthStream:
    """A stream from its blob row, not fresh: its cells read unknown until the node is heard again. ValueError if the blob is damaged."""
    try:
        row = _row_decoder.decode(blob)
    except msgspec.MsgspecError as fault:
        raise ValueError(f"a damaged health row: {fault}") from None
    stream = HealthStream(row.node, row.head, UNKNOWN_AGE_MS, now_ms)
    stream.entries = {e.cell.key: e for e in row.entries}
    stream._sum = sum(_weight(e.cell) for e in row.entries) % _HASH_MODULUS
    stream.signature = row.signature
    stream.fresh = False
    if stream.map_hash != row.map_hash:
        raise ValueError("a damaged health row: the hash does not fit")
    return stream
