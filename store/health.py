"""Health streams: what each node reports of itself, how it merges, and how old it is.

Theory of operation. A stream belongs to one node and only that node writes it. `(epoch, seq)` orders its contents: the epoch is a boot
counter, seq counts content changes within it from 0. Every cell carries the seq at which it last changed; a removed cell stays as an
`absent` entry. So a delta from any base is "the cells with a greater seq", any holder can make one for any receiver, and merging is
newest per cell.

The *beat* counts heartbeats; it moves while the content stands still. Ages need no synchronised clocks: a beat travels with the
milliseconds it has already lived, and each holder adds its own holding time on its own clock that runs on during suspend.

At every beat the node signs where its stream stands: the position, the beat, and the hash and size of the whole map, every entry of it
with all that it holds. A receiver that merged up to seq must arrive at that hash, or it asks for the whole map again; so whoever relays
a stream can neither change nor leave out anything, nor make up a beat. What is not signed is the age, which every hop adds to.

The cells of others are held packed: a hundred nodes of five hundred maps are fifty thousand cells.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, IntEnum
from math import isfinite
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from store.cells import Cell, CellView, content_hash, pack
from store.errors import one_line
from store.limits import limit

ABSENT = "absent"
UNKNOWN_AGE_MS = 2**40
"""The age of a beat that came from the disk: nobody knows how long it lay there. It adds up with real time and is always stale."""
TRUNCATED = "truncated"
"""The reason that a cell carries of which something was left out, because it or its stream was too large."""
DETAIL_DEPTH = 12
_Count = Annotated[int, Meta(ge=0, le=2**53)]


TAG_BYTES = 8
"""How much of its clock's hash a node tells with each beat."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Where a stream stands: order by `(epoch, seq)` for content and by `(epoch, beat)` for life.

    `clock_tag` is the beginning of the hash of the clock that its node had committed then: it tells everybody which edits all have.
    """

    actor: Annotated[bytes, Meta(min_length=16, max_length=16)]
    epoch: _Count
    seq: _Count
    beat: _Count
    clock_tag: Annotated[bytes, Meta(max_length=TAG_BYTES)] = b""

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

    `map_hash` and `size` (bytes) are the whole map's at the head. A delta that is too large for one message travels in `parts`, each with
    a share of the cells; the receiver puts them together first.
    """

    node: Annotated[str, Meta(max_length=255)]
    head: Head
    base: _Count
    age_ms: _Count
    map_hash: Annotated[bytes, Meta(min_length=32, max_length=32)]
    size: _Count
    signature: Annotated[bytes, Meta(max_length=64)]
    cells: Annotated[tuple[CellEntry, ...], Meta(max_length=2 * 4096 + 16)]
    part: _Count = 0
    parts: Annotated[int, Meta(ge=1, le=256)] = 1

    @property
    def body(self) -> bytes:
        """What `signature` is over."""
        return head_body(self.node, self.head, self.map_hash, self.size)


class Merge(Enum):
    """What a delta did."""

    TAKEN = "content moved"
    BEAT = "only the beat moved"
    OLD = "nothing newer in it"
    GAP = "it starts after what is here: ask for what lies between"
    MISMATCH = "the merged map is not the one that was signed: ask for the whole map"
    FORGED = "the signature is wrong: drop it"
    EQUIVOCATION = "the same position was signed with two different contents: alarm"
    OVERSIZED = "the map that was signed is larger than any that is taken: do not ask for it"


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


def head_body(node: str, head: Head, map_hash: bytes, size: int) -> bytes:
    """What the node signs: its name, the position and beat, its clock's tag, and the hash and size of the map there."""
    return msgspec.msgpack.encode(("pathmesh-health", node, head.actor, head.epoch, head.seq, head.beat, head.clock_tag, map_hash, size))


class Mark(NamedTuple):
    """What an entry adds to its map: its own hash (32 bytes), and its size in bytes."""

    digest: bytes
    size: int


_canonical = msgspec.msgpack.Encoder(order="deterministic")


def mark(entry: CellEntry) -> Mark:
    """The mark of an entry, over all that it holds. What a later version adds to cells is left out: an older one would not know it."""
    c = entry.cell
    body = _canonical.encode((entry.seq, c.kind, c.id, c.state, c.reasons, c.detail, c.measures, float(c.observed_at)))
    return Mark(hashlib.sha256(body).digest(), len(body))


class Held(msgspec.Struct, frozen=True, gc=False):
    """An entry as a stream holds it: with its mark, and the cell packed if it is another node's."""

    seq: int
    cell: CellView
    digest: bytes
    size: int

    def entry(self) -> CellEntry:
        """The entry as it travels and as it is kept on disk."""
        return CellEntry(self.seq, self.cell.whole())


def hold_own(entry: CellEntry) -> Held:
    """An entry of this node's own: its cell is asked for again with every report."""
    return Held(entry.seq, entry.cell, *mark(entry))


def hold_foreign(entry: CellEntry) -> Held:
    """An entry of another node's."""
    return Held(entry.seq, pack(entry.cell), *mark(entry))


def map_hash(marks: Iterable[Mark | Held]) -> bytes:
    """The hash of a map (32 bytes): SHA-256 over its entries' hashes, sorted. No sum: a sum can be met by other entries (Wagner 2002)."""
    return hashlib.sha256(b"".join(sorted(m.digest for m in marks))).digest()


_Key = tuple[str, str]


class HealthStream:
    """One node's stream as this node holds it.

    Invariants: no entry's seq is above the head's; `map_hash` and `size` come from the entries' marks; `signature` covers exactly `head`,
    `map_hash` and `size` (empty only in a stream that is being made).
    """

    def __init__(self, node: str, head: Head, age_ms: int = 0, heard_ms: int = 0) -> None:
        self.node = node
        self.head = head
        self.signature = b""
        self.hold({})
        self._age_ms = age_ms
        self._heard_ms = heard_ms
        self.content_heard_ms = heard_ms
        self.fresh = True
        """False after a restart, until a newer beat of known age than the one on disk arrives."""

    def hold(self, entries: Mapping[_Key, Held]) -> None:
        """Make these the content. The mapping is not changed any more."""
        self.entries = entries
        self.map_hash = map_hash(entries.values())
        self.size = sum(e.size for e in entries.values())

    def age_ms(self, now_ms: int) -> int:
        """How old the newest beat is: what it had lived when it came, plus the time since. Milliseconds."""
        return self._age_ms + max(0, now_ms - self._heard_ms)

    def cells(self) -> Iterable[CellView]:
        """The cells that exist (absent entries left out)."""
        return (e.cell for e in self.entries.values() if e.cell.state != ABSENT)

    def delta(self, base: tuple[int, int] | None, now_ms: int) -> HealthDelta:
        """What a holder of `(epoch, seq)` `base` lacks; None or another epoch = the whole map."""
        start = base[1] if base is not None and base[0] == self.head.epoch and base[1] <= self.head.seq else 0
        changed = tuple(e.entry() for e in self.entries.values() if e.seq > start)
        return HealthDelta(self.node, self.head, start, self.age_ms(now_ms), self.map_hash, self.size, self.signature, changed)

    def hear_beat(self, head: Head, signature: bytes, age_ms: int, now_ms: int, verify: Callable[[bytes, bytes], bool]) -> Merge:
        """Take a newer beat of exactly the content held here: BEAT, OLD or FORGED. The signature is only looked at if it would be taken.

        A beat of newer content is not taken: it would make what is shown look fresher than it is. The content comes first.
        """
        if head.content != self.head.content or head.beat <= self.head.beat or (self.fresh and age_ms >= UNKNOWN_AGE_MS):
            return Merge.OLD
        if not verify(head_body(self.node, head, self.map_hash, self.size), signature):
            return Merge.FORGED
        self.head, self.signature = head, signature
        self._age_ms, self._heard_ms = age_ms, now_ms
        self.fresh = age_ms < UNKNOWN_AGE_MS
        return Merge.BEAT

    def merge(self, delta: HealthDelta, now_ms: int, verify: Callable[[bytes, bytes], bool]) -> Merge:
        """Take a delta of the same epoch. `verify(body, signature)` judges the signature by the node's registered key."""
        if delta.head.epoch != self.head.epoch or delta.head.seq < self.head.seq:
            return Merge.OLD
        if delta.head.seq == self.head.seq and self.signature:
            if (delta.map_hash, delta.size) != (self.map_hash, self.size):
                return Merge.EQUIVOCATION if verify(delta.body, delta.signature) else Merge.FORGED
            return self.hear_beat(delta.head, delta.signature, delta.age_ms, now_ms, verify)
        if delta.base > self.head.seq:
            return Merge.GAP
        if not verify(delta.body, delta.signature):
            return Merge.FORGED
        if delta.size > limit("stream_bytes"):
            return Merge.OVERSIZED
        entries = dict(self.entries) if delta.base else {}
        for entry in delta.cells:
            if entry.seq > delta.head.seq:
                return Merge.MISMATCH
            key = entry.cell.key
            old = entries.get(key)
            if old is None or old.seq < entry.seq:
                held = hold_foreign(entry)
                entries[held.cell.key] = held  # its key is made of the names that are kept once
        if map_hash(entries.values()) != delta.map_hash or sum(e.size for e in entries.values()) != delta.size:
            return Merge.MISMATCH
        if len(entries) > limit("stream_cells"):
            return Merge.OVERSIZED
        self.hold(entries)
        self.head, self.signature = delta.head, delta.signature
        self.content_heard_ms = now_ms
        self._age_ms, self._heard_ms, self.fresh = delta.age_ms, now_ms, delta.age_ms < UNKNOWN_AGE_MS
        return Merge.TAKEN


def new_stream(delta: HealthDelta, now_ms: int, verify: Callable[[bytes, bytes], bool]) -> tuple[HealthStream | None, Merge]:
    """A stream from the first delta of an epoch; (None, why) if the delta is no whole map or is not what was signed."""
    if delta.base:
        return None, Merge.GAP
    stream = HealthStream(delta.node, Head(delta.head.actor, delta.head.epoch, 0, 0), 0, now_ms)
    result = stream.merge(delta, now_ms, verify)
    return (stream if result is Merge.TAKEN else None), result


class Cut(IntEnum):
    """What a stream that would be larger than its limit leaves out; each step leaves out more."""

    NOTHING = 0
    MEASURES = 1
    LISTS = 2
    DETAIL = 3


def cut_down(cell: Cell, cut: Cut) -> Cell:
    """The cell without what the step leaves out. A cell that lost content says so among its reasons."""
    if cut is Cut.NOTHING:
        return cell
    detail = {} if cut is Cut.DETAIL else {k: v for k, v in cell.detail.items() if cut is Cut.MEASURES or not isinstance(v, list | tuple)}
    reasons = cell.reasons if len(detail) == len(cell.detail) else (*cell.reasons[:16], TRUNCATED)
    return Cell(cell.kind, cell.id, cell.state, reasons, detail, observed_at=cell.observed_at)


class OwnStream:
    """This node's own stream: the only writer of it.

    A snapshot that equals the last one by content moves nothing. `sign(body)` makes the signature over each position and beat. `cut` says
    what the present content leaves out to keep within the limit.
    """

    def __init__(self, node: str, actor: bytes, epoch: int, sign: Callable[[bytes], bytes], now_ms: int) -> None:
        self.stream = HealthStream(node, Head(actor, epoch, 0, 0), 0, now_ms)
        self.cut = Cut.NOTHING
        self.clock_tag = b""
        """What the next beat tells of the node's committed clock."""
        self._sign = sign
        self._content: dict[_Key, bytes] = {}
        """The content hash of each cell that exists."""
        self._seal(self.stream.head)

    def report(self, cells: Iterable[Cell], now_ms: int) -> bool:
        """Take a whole snapshot; whether the content changed. What is missing from it becomes an absent entry."""
        stream = self.stream
        reported = [cell for cell in cells if cell.state != ABSENT]
        seq = stream.head.seq + 1
        for cut in Cut:
            entries, content = self._map(reported, cut, seq)
            if sum(e.size for e in entries.values()) <= limit("stream_bytes"):
                break
        self.cut = cut
        if all(entry.seq < seq for entry in entries.values()):
            return False
        self._content = content
        stream.hold(entries)
        stream._heard_ms = stream.content_heard_ms = now_ms
        self._seal(Head(stream.head.actor, stream.head.epoch, seq, stream.head.beat + 1, self.clock_tag))
        return True

    def beat(self, now_ms: int) -> None:
        """One heartbeat: the content stands, the node lives."""
        head = self.stream.head
        self.stream._heard_ms = now_ms
        self._seal(Head(head.actor, head.epoch, head.seq, head.beat + 1, self.clock_tag))

    def begin(self, epoch: int, now_ms: int) -> None:
        """Go on with the same content in a later epoch: somebody has heard this stream further on than it is."""
        head = self.stream.head
        self.stream._heard_ms = now_ms
        self.stream.hold({cell.key: hold_own(CellEntry(1, cell.whole())) for cell in self.stream.cells()})
        self._seal(Head(head.actor, epoch, 1, 1, self.clock_tag))

    def _map(self, reported: Iterable[Cell], cut: Cut, seq: int) -> tuple[dict[_Key, Held], dict[_Key, bytes]]:
        """The entries and their content hashes as they would be at `seq`; what did not change keeps its entry."""
        stream = self.stream
        entries: dict[_Key, Held] = {}
        content: dict[_Key, bytes] = {}
        for whole in reported:
            cell = cut_down(whole, cut)
            key = cell.key
            content[key] = content_hash(cell)
            old = stream.entries.get(key)
            stays = old is not None and self._content.get(key) == content[key] and not (cut and old.cell.measures)
            entries[key] = old if stays and old is not None else hold_own(CellEntry(seq, cell))
        for key, old in stream.entries.items():
            if key not in content:
                entries[key] = old if old.cell.state == ABSENT else hold_own(CellEntry(seq, Cell(*key, ABSENT)))
        if len(entries) > limit("stream_cells"):
            # All at once: each time that one is forgotten, everybody finds another hash and asks for the whole map.
            entries = {key: entries[key] for key in content}
        return entries, content

    def _seal(self, head: Head) -> None:
        stream = self.stream
        stream.head = head
        stream.signature = self._sign(head_body(stream.node, head, stream.map_hash, stream.size))


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
    entries = tuple(held.entry() for held in stream.entries.values())
    return _row_encoder.encode(StreamRow(stream.node, stream.head, stream.map_hash, stream.signature, entries))


def decode_stream(blob: bytes, now_ms: int) -> HealthStream:
    """A stream from its blob row, not fresh: its cells read unknown until the node is heard again. ValueError if the blob is damaged."""
    try:
        row = _row_decoder.decode(blob)
    except msgspec.MsgspecError as fault:
        raise ValueError(f"a damaged health row: {one_line(fault)}") from None
    stream = HealthStream(row.node, row.head, UNKNOWN_AGE_MS, now_ms)
    stream.hold({held.cell.key: held for held in map(hold_foreign, row.entries)})
    stream.signature = row.signature
    stream.fresh = False
    if stream.map_hash != row.map_hash:
        raise ValueError("a damaged health row: the hash does not fit")
    return stream
