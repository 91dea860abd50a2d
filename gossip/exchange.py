"""Health streams on their way in and out: which are held, what a peer lacks of them, and putting parts together."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from gossip.messages import Beat, Digest, Place
from store.health import CellEntry, Head, HealthDelta, HealthStream, Held, Merge, OwnStream, new_stream
from store.limits import limit
from store.members import Registry
from store.replica import Verify

NAMES_BYTES = 52
"""How much longer an entry is on the wire than its mark says: there its fields have names."""
ENVELOPE_BYTES = 640
"""What a health delta holds beside its cells: name, head, hash, signature."""
PART_BYTES = limit("delta_bytes") // 2 - ENVELOPE_BYTES
PART_CELLS = 4096

Position = tuple[int, int]
"""The epoch and seq of a stream's content."""
Span = tuple[str, str]
"""The first and the last name of a slice of all nodes; an empty last name: no end."""
EVERYBODY: Span = ("", "")
NOBODY: Span = ("~", "~")
"""No node has this name."""

_COUNTED = {
    Merge.FORGED: "health_forged",
    Merge.EQUIVOCATION: "health_equivocation",
    Merge.MISMATCH: "health_mismatch",
    Merge.GAP: "health_gap",
    Merge.OVERSIZED: "health_oversized",
}

assert limit("stream_bytes") + limit("stream_cells") * NAMES_BYTES < (PART_BYTES - limit("cell_bytes")) * 256, (
    "the parts of the largest map"
)


@dataclass(slots=True)
class _Assembly:
    """The parts of one large delta that have come so far from one peer."""

    first: HealthDelta
    found: dict[int, tuple[CellEntry, ...]] = field(default_factory=dict)
    size: int = 0

    def takes(self, delta: HealthDelta) -> bool:
        """Whether the delta is another part of the same whole (its beat, and with it its signature, and its age may be newer)."""
        one, other = self.first, delta
        return (one.node, one.head.actor, one.head.content, one.base, one.parts, one.map_hash, one.size) == (
            other.node, other.head.actor, other.head.content, other.base, other.parts, other.map_hash, other.size
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
    ever written by `own`; no stream is larger than its limits; at most one delta per peer is being put together, and none of them grows
    beyond the size that its node signed.
    """

    def __init__(self, own: OwnStream, streams: Mapping[str, HealthStream], verify: Verify, counters: Counter[str]) -> None:
        self.own = own
        self.streams: dict[str, HealthStream] = {**streams, own.stream.node: own.stream}
        self._verify = verify
        self._counters = counters
        self._assemblies: dict[str, _Assembly] = {}
        self._refused: dict[str, Head] = {}
        """The newest position of each node whose map is too large to be taken."""

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
        for name, head in list(self._refused.items()):
            if (m := registry.by_name.get(name)) is None or m.actor != head.actor:
                del self._refused[name]
        return gone

    def forget_peer(self, carrier: str) -> None:
        """Drop what a peer sent half of."""
        self._assemblies.pop(carrier, None)

    def places(self, span: Span = EVERYBODY) -> dict[str, Place]:
        """The health part of a digest: how far each stream with a name in the span is held."""
        first, last = span
        return {
            name: Place(stream.head.actor[:4], stream.head.epoch, stream.head.seq, stream.head.beat, stream.map_hash[:4])
            for name, stream in self.streams.items()
            if first <= name and (not last or name <= last)
        }

    def beat(self, node: str, now_ms: int) -> Beat:
        """The newest beat of a node whose stream is held."""
        stream = self.streams[node]
        head = stream.head
        return Beat(head.actor[:4], head.epoch, head.seq, head.beat, head.clock_tag, stream.age_ms(now_ms), stream.signature)

    @property
    def refused(self) -> dict[str, Position]:
        """The newest position of each node whose map there is too large to be taken: nobody needs to send it again."""
        return {name: head.content for name, head in self._refused.items()}

    def lacking(self, digest: Digest, asker: str, now_ms: int) -> tuple[list[str], dict[str, Beat]]:
        """What the sender of a digest lacks and did not refuse: nodes whose content it needs (stalest first), and newer beats."""
        again = set(digest.whole)
        first, last = digest.span
        content, beats = [], {}
        for name, stream in self.streams.items():
            head = stream.head
            if name == asker or name < first or (last and name > last) or digest.refused.get(name) == head.content:
                continue
            theirs = digest.health.get(name)
            if theirs is None or name in again or theirs.actor_tag != head.actor[:4] or (theirs.epoch, theirs.seq) < head.content:
                content.append(name)
            elif (theirs.epoch, theirs.seq) == head.content and theirs.beat < head.beat:
                beats[name] = self.beat(name, now_ms)
        content.sort(key=lambda n: ((p.epoch, p.seq) if (p := digest.health.get(n)) else (0, 0), n))
        return content, beats

    def answer(self, digest: Digest, asker: str, cursor: Cursor | None, now_ms: int) -> Answer:
        """What the sender of a digest lacks and did not refuse, in at most `answer_parts` messages.

        A delta that was cut last time goes on where it was cut, so that one of any size gets through; the peer puts the parts together.
        """
        again = set(digest.whole)
        content, beats = self.lacking(digest, asker, now_ms)
        messages: list[tuple[HealthDelta, ...]] = []
        group: list[HealthDelta] = []
        used = 0
        for node in content:
            theirs = digest.health.get(node)
            same = theirs is not None and node not in again and theirs.actor_tag == self.streams[node].head.actor[:4]
            parts = self.deltas(node, (theirs.epoch, theirs.seq) if theirs and same else None, now_ms)
            start = cursor.part % len(parts) if cursor is not None and cursor.node == node else 0
            for position in (*range(start, len(parts)), *range(start)):
                size = self._wire_bytes(parts[position])
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

    def wanted(self, places: Mapping[str, Place], registry: Registry) -> list[str]:
        """The nodes of which a peer that holds these places has newer content than this node."""
        found = []
        for name, theirs in places.items():
            member = registry.by_name.get(name)
            if name == self.own.stream.node or member is None or member.actor[:4] != theirs.actor_tag:
                continue
            held = self.streams.get(name)
            position = (theirs.epoch, theirs.seq)
            newer = held is None or held.head.actor != member.actor or held.head.content < position
            if newer and not self._was_refused(name, member.actor, position):
                found.append(name)
        return found

    def fresher(self, places: Mapping[str, Place]) -> bool:
        """Whether a peer that holds these places has newer beats than this node, of content that is here."""
        own = self.own.stream.node
        return any(
            name != own and (held := self.streams.get(name)) is not None and held.head.actor[:4] == theirs.actor_tag
            and held.head.content == (theirs.epoch, theirs.seq) and held.head.beat < theirs.beat
            for name, theirs in places.items()
        )  # fmt: skip

    def beyond_own(self, places: Mapping[str, Place]) -> int | None:
        """The epoch in which a peer has heard this node's own stream further on than it is, or otherwise; None if it has not."""
        head = self.own.stream.head
        theirs = places.get(self.own.stream.node)
        if theirs is None or theirs.actor_tag != head.actor[:4]:
            return None
        position = (theirs.epoch, theirs.seq)
        other = position == head.content and theirs.map_tag != self.own.stream.map_hash[:4]
        ahead = other or position > head.content or (theirs.epoch, theirs.beat) > head.life
        return theirs.epoch if ahead else None

    def deltas(self, node: str, since: Position | None, now_ms: int) -> list[HealthDelta]:
        """The node's changes since that position (None: all), in as many parts as fit messages."""
        stream = self.streams[node]
        return split(stream.delta(since, now_ms), stream.entries)

    def take(self, delta: HealthDelta, registry: Registry, now_ms: int, carrier: str = "") -> Merge:
        """Merge what the peer `carrier` sent."""
        member = registry.by_name.get(delta.node)
        if member is None or member.actor != delta.head.actor or delta.node == self.own.stream.node:
            return Merge.OLD

        def verify(body: bytes, signature: bytes) -> bool:
            return self._verify(member.signing_key, body, signature)

        result = self._merge(delta, now_ms, carrier, verify)
        if result is Merge.TAKEN:
            self._refused.pop(delta.node, None)
        elif result is Merge.OVERSIZED:
            self._refused[delta.node] = delta.head
        if result in _COUNTED:
            self._counters[_COUNTED[result]] += 1
        return result

    def hear(self, node: str, beat: Beat, registry: Registry, now_ms: int) -> Merge:
        """Take a beat that a peer carried here, if it is newer: BEAT, OLD, FORGED, or GAP if its content is newer than what is here."""
        stream, member = self.streams.get(node), registry.by_name.get(node)
        if member is None or node == self.own.stream.node or member.actor[:4] != beat.actor_tag:
            return Merge.OLD
        position = (beat.epoch, beat.seq)
        if stream is None or stream.head.actor != member.actor or position > stream.head.content:
            return Merge.OLD if self._was_refused(node, member.actor, position) else Merge.GAP

        def verify(body: bytes, signature: bytes) -> bool:
            return self._verify(member.signing_key, body, signature)

        head = Head(stream.head.actor, beat.epoch, beat.seq, beat.beat, beat.clock_tag)
        return stream.hear_beat(head, beat.signature, beat.age_ms, now_ms, verify)

    def _was_refused(self, node: str, actor: bytes, content: Position) -> bool:
        refused = self._refused.get(node)
        return refused is not None and refused.actor == actor and content <= refused.content

    def _merge(self, delta: HealthDelta, now_ms: int, carrier: str, verify: Callable[[bytes, bytes], bool]) -> Merge:
        held = self.streams.get(delta.node)
        if held is not None and held.head.actor == delta.head.actor and delta.head.content < held.head.content:
            return Merge.OLD
        if self._was_refused(delta.node, delta.head.actor, delta.head.content):
            return Merge.OLD
        if delta.parts > 1:
            if delta.part >= delta.parts or not verify(delta.body, delta.signature):
                return Merge.FORGED
            if delta.size > limit("stream_bytes"):
                return Merge.OVERSIZED
            whole = self._assemble(delta, carrier)
            if not isinstance(whole, HealthDelta):
                return whole
            delta = whole
        if held is not None and held.head.epoch >= delta.head.epoch and held.head.actor == delta.head.actor:
            return held.merge(delta, now_ms, verify)
        stream, result = new_stream(delta, now_ms, verify)
        if stream is not None:
            self.streams[delta.node] = stream
        return result

    def _assemble(self, delta: HealthDelta, carrier: str) -> HealthDelta | Merge:
        """The whole delta once its last part is here; else OLD, or MISMATCH for parts that cannot make up the whole."""
        assembly = self._assemblies.get(carrier)
        if assembly is None or not assembly.takes(delta):
            assembly = self._assemblies[carrier] = _Assembly(delta)
        if delta.part not in assembly.found:
            assembly.found[delta.part] = delta.cells
            assembly.size += len(msgspec.msgpack.encode(delta.cells)) - NAMES_BYTES * len(delta.cells) - ENVELOPE_BYTES
        if assembly.size > delta.size:
            del self._assemblies[carrier]
            return Merge.MISMATCH
        if len(assembly.found) < delta.parts:
            return Merge.OLD
        del self._assemblies[carrier]
        cells = tuple(entry for part in sorted(assembly.found) for entry in assembly.found[part])
        return msgspec.structs.replace(delta, cells=cells, part=0, parts=1)

    def _wire_bytes(self, delta: HealthDelta) -> int:
        """No less than what the delta takes in a message."""
        held = self.streams[delta.node].entries
        return ENVELOPE_BYTES + sum(held[entry.cell.key].size + NAMES_BYTES for entry in delta.cells)


def split(delta: HealthDelta, held: Mapping[tuple[str, str], Held]) -> list[HealthDelta]:
    """One delta as parts of about `PART_BYTES` each; most are one part. `held` are the entries it was made of: they know their size."""
    parts = list(_chunks(delta.cells, held))
    if len(parts) <= 1:
        return [delta]
    return [msgspec.structs.replace(delta, cells=cells, part=n, parts=len(parts)) for n, cells in enumerate(parts)]


def _chunks(cells: Iterable[CellEntry], held: Mapping[tuple[str, str], Held]) -> Iterator[tuple[CellEntry, ...]]:
    chunk: list[CellEntry] = []
    used = 0
    for entry in cells:
        size = held[entry.cell.key].size + NAMES_BYTES
        if chunk and (used + size > PART_BYTES or len(chunk) >= PART_CELLS):
            yield tuple(chunk)
            chunk, used = [], 0
        chunk.append(entry)
        used += size
    if chunk:
        yield tuple(chunk)
