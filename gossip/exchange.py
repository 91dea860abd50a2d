"""Health streams on their way in and out: which are held, what a peer lacks of them, and putting parts together."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from gossip.messages import Beat
from store.health import CellEntry, HealthDelta, HealthStream, Merge, OwnStream, head_body, new_stream
from store.limits import limit
from store.members import Registry
from store.replica import Verify

PART_BYTES = limit("delta_bytes") // 2
PART_CELLS = 4096


@dataclass(slots=True)
class _Assembly:
    """The parts of one large delta that have come so far from one peer."""

    first: HealthDelta
    found: dict[int, tuple[CellEntry, ...]] = field(default_factory=dict)
    size: int = 0

    def takes(self, delta: HealthDelta) -> bool:
        """Whether the delta is another part of the same whole (its beat and age may be newer)."""
        one, other = self.first, delta
        return (one.node, one.head.actor, one.head.content, one.base, one.parts, one.map_hash, one.signature) == (
            other.node, other.head.actor, other.head.content, other.base, other.parts, other.map_hash, other.signature
        )  # fmt: skip


class Cursor(NamedTuple):
    """Where the answer to a peer's digest was cut: the part of the node's delta that comes next."""

    node: str
    part: int


class Answer(NamedTuple):
    """What a peer lacks: health deltas, already grouped into messages, newer beats, and where it was cut (None: it is complete)."""

    messages: list[tuple[HealthDelta, ...]]
    beats: dict[str, Beat]
    cursor: Cursor | None


class Exchange:
    """All streams that this node holds, its own among them.

    Invariants: every stream's node is a registered member and its actor is the one that the registry names; this node's own stream is only
    ever written by `own`; no stream is larger than its limits; at most one delta per peer is being put together.
    """

    def __init__(self, own: OwnStream, streams: Mapping[str, HealthStream], verify: Verify, counters: Counter[str]) -> None:
        self.own = own
        self.streams: dict[str, HealthStream] = {**streams, own.stream.node: own.stream}
        self._verify = verify
        self._counters = counters
        self._assemblies: dict[str, _Assembly] = {}
        self._sizes: dict[str, int] = {}
        """An upper bound of each stream's encoded size."""

    def prune(self, registry: Registry) -> set[str]:
        """Forget the streams of nodes that are no longer who the registry names; returns their names."""
        own = self.own.stream.node
        gone = {
            name
            for name, stream in self.streams.items()
            if name != own and ((m := registry.by_name.get(name)) is None or m.actor != stream.head.actor)
        }
        for name in gone:
            del self.streams[name]
            self._sizes.pop(name, None)
        return gone

    def forget_peer(self, carrier: str) -> None:
        """Drop what a peer sent half of."""
        self._assemblies.pop(carrier, None)

    def vector(self, now_ms: int) -> dict[str, Beat]:
        """The health part of a digest."""
        return {name: Beat(s.head, s.age_ms(now_ms)) for name, s in self.streams.items()}

    def lacking(self, vector: Mapping[str, Beat], whole: Iterable[str], asker: str, now_ms: int) -> tuple[list[str], dict[str, Beat]]:
        """What a peer with this vector lacks: nodes whose content it needs (stalest first), and beats newer than its own."""
        again = set(whole)
        content, beats = [], {}
        for name, stream in self.streams.items():
            if name == asker:
                continue
            theirs = vector.get(name)
            if theirs is None or name in again or theirs.head.actor != stream.head.actor or theirs.head.content < stream.head.content:
                content.append(name)
            elif theirs.head.content == stream.head.content and theirs.head.beat < stream.head.beat:
                beats[name] = Beat(stream.head, stream.age_ms(now_ms))
        content.sort(key=lambda n: (vector[n].head.content if n in vector else (0, 0), n))
        return content, beats

    def answer(self, vector: Mapping[str, Beat], whole: Iterable[str], asker: str, cursor: Cursor | None, now_ms: int) -> Answer:
        """What a peer with this vector lacks, in at most `answer_parts` messages.

        A delta that was cut last time goes on where it was cut, so that one of any size gets through; the peer puts the parts together.
        """
        again = set(whole)
        content, beats = self.lacking(vector, again, asker, now_ms)
        messages: list[tuple[HealthDelta, ...]] = []
        group: list[HealthDelta] = []
        used = 0
        for node in content:
            parts = self.deltas(node, None if node in again else vector.get(node), now_ms)
            start = cursor.part % len(parts) if cursor is not None and cursor.node == node else 0
            for position in (*range(start, len(parts)), *range(start)):
                size = len(msgspec.msgpack.encode(parts[position]))
                if group and used + size > limit("delta_bytes"):
                    messages.append(tuple(group))
                    group, used = [], 0
                    if len(messages) >= limit("answer_parts"):
                        return Answer(messages, beats, Cursor(node, position))
                group.append(parts[position])
                used += size
        if group:
            messages.append(tuple(group))
        return Answer(messages, beats, None)

    def wanted(self, vector: Mapping[str, Beat], registry: Registry) -> bool:
        """Whether a peer with this vector holds newer content than this node."""
        for name, theirs in vector.items():
            member = registry.by_name.get(name)
            if name == self.own.stream.node or member is None or member.actor != theirs.head.actor:
                continue
            held = self.streams.get(name)
            if held is None or held.head.content < theirs.head.content:
                return True
        return False

    def deltas(self, node: str, base: Beat | None, now_ms: int) -> list[HealthDelta]:
        """The node's changes since `base`, in as many parts as fit messages."""
        stream = self.streams[node]
        since = base.head.content if base is not None and base.head.actor == stream.head.actor else None
        return split(stream.delta(since, now_ms))

    def take(self, delta: HealthDelta, registry: Registry, now_ms: int, carrier: str = "") -> Merge:
        """Merge what the peer `carrier` sent."""
        member = registry.by_name.get(delta.node)
        if member is None or member.actor != delta.head.actor or delta.node == self.own.stream.node:
            return Merge.OLD

        def verify(body: bytes, signature: bytes) -> bool:
            return self._verify(member.signing_key, body, signature)

        result = self._merge(delta, now_ms, carrier, verify)
        if result in (Merge.FORGED, Merge.EQUIVOCATION, Merge.MISMATCH, Merge.GAP):
            self._counters[f"health_{result.name.lower()}"] += 1
        return result

    def hear(self, node: str, beat: Beat, now_ms: int) -> bool:
        """Take a beat that a peer carried here; whether it was newer."""
        stream = self.streams.get(node)
        if stream is None or node == self.own.stream.node or stream.head.actor != beat.head.actor:
            return False
        return stream.hear_beat(beat.head, beat.age_ms, now_ms)

    def _merge(self, delta: HealthDelta, now_ms: int, carrier: str, verify: Callable[[bytes, bytes], bool]) -> Merge:
        held = self.streams.get(delta.node)
        if held is not None and held.head.actor == delta.head.actor and delta.head.content < held.head.content:
            return Merge.OLD
        if delta.parts > 1:
            if delta.part >= delta.parts or not verify(head_body(delta.node, delta.head, delta.map_hash), delta.signature):
                return Merge.FORGED
            whole = self._assemble(delta, carrier)
            if whole is None:
                return Merge.OLD
            delta = whole
        size = self._size_with(delta)
        if size is None:
            self._counters["health_oversized"] += 1
            return Merge.OLD
        if held is None or held.head.epoch < delta.head.epoch or held.head.actor != delta.head.actor:
            stream, result = new_stream(delta, now_ms, verify)
            if stream is not None:
                self.streams[delta.node] = stream
        else:
            result = held.merge(delta, now_ms, verify)
        if result is Merge.TAKEN:
            self._sizes[delta.node] = size
        return result

    def _assemble(self, delta: HealthDelta, carrier: str) -> HealthDelta | None:
        assembly = self._assemblies.get(carrier)
        if assembly is None or not assembly.takes(delta):
            assembly = self._assemblies[carrier] = _Assembly(delta)
        if delta.part not in assembly.found:
            assembly.found[delta.part] = delta.cells
            assembly.size += _encoded_size(delta.cells)
        if assembly.size > limit("stream_bytes"):
            del self._assemblies[carrier]
            self._counters["health_oversized"] += 1
            return None
        if len(assembly.found) < delta.parts:
            return None
        del self._assemblies[carrier]
        cells = tuple(entry for part in sorted(assembly.found) for entry in assembly.found[part])
        return msgspec.structs.replace(delta, cells=cells, part=0, parts=1)

    def _size_with(self, delta: HealthDelta) -> int | None:
        """The most that the stream's size can be with the delta in it; None beyond the limits."""
        held = self.streams.get(delta.node)
        grown = held is not None and delta.base > 0
        added = _encoded_size(delta.cells)
        count = len(delta.cells) + (len(held.entries) if held is not None and grown else 0)
        if held is None or not grown:
            size = added
        else:
            size = self._sizes.get(delta.node, limit("stream_bytes")) + added
            if size > limit("stream_bytes"):
                size = _encoded_size(tuple(held.entries.values())) + added
        if count > limit("stream_cells"):
            fresh = {entry.cell.key for entry in delta.cells}
            count = len(fresh) + (sum(1 for key in held.entries if key not in fresh) if held is not None and grown else 0)
        return size if size <= limit("stream_bytes") and count <= limit("stream_cells") else None


def split(delta: HealthDelta) -> list[HealthDelta]:
    """One delta as parts of about `PART_BYTES` each; most are one part."""
    parts = list(_chunks(delta.cells))
    if len(parts) <= 1:
        return [delta]
    return [msgspec.structs.replace(delta, cells=cells, part=n, parts=len(parts)) for n, cells in enumerate(parts)]


def _chunks(cells: Iterable[CellEntry]) -> Iterator[tuple[CellEntry, ...]]:
    chunk: list[CellEntry] = []
    used = 0
    for entry in cells:
        size = _encoded_size((entry,))
        if chunk and (used + size > PART_BYTES or len(chunk) >= PART_CELLS):
            yield tuple(chunk)
            chunk, used = [], 0
        chunk.append(entry)
        used += size
    if chunk:
        yield tuple(chunk)


def _encoded_size(cells: tuple[CellEntry, ...]) -> int:
    return len(msgspec.msgpack.encode(cells))
