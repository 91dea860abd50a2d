"""Snapshots from one node to another: in chunks, resumable, at a bounded rate, a few at a time.

Theory of operation. An image is named by its content, so a server that was restarted, or made the image again from the same state, goes
on where the client is; with any other state the chunk says a new name, and the client begins anew. The client asks and the server answers:
nothing is sent unasked, each chunk is asked for again until it comes, and the whole is taken only if its checksum is right. So chunks may
be lost, doubled and reordered. The server keeps an image for as long as its peer goes on asking; the client leaves a peer that makes no
progress.

Times are integer milliseconds of one clock.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gossip.messages import Chunk, Fetch
from store.limits import limit

IDLE_MS = 15_000
"""An image that nobody asks for goes, and so does, at the client, a peer that sends nothing new."""
SERVE_MS = 120_000
"""A peer that takes longer than this gives way if another one waits."""
BUSY_MS = 1_000
TOO_LARGE_MS = 60_000
AGAIN_MS = 1_000
"""How long a chunk may take before it is asked for again."""
WINDOW = 4
"""Chunks that are asked for ahead."""
RESTARTS = 8
"""How often the image may become another one during one transfer."""
PATIENCE_MS = 30_000
"""A transfer may take this long, and a second more for each chunk."""
ID_BYTES = 16
_BURST_PART = 4
"""The part of a second's bytes that may leave at once."""


@dataclass(slots=True)
class _Image:
    """What one peer fetches."""

    checksum: bytes
    data: bytes
    begun_ms: int
    used_ms: int
    sent: int = 0

    @property
    def id(self) -> bytes:
        return self.checksum[:ID_BYTES]

    def yields(self, now_ms: int) -> bool:
        """Whether its peer has had it all once, or had time enough."""
        return self.sent >= len(self.data) or now_ms - self.begun_ms > SERVE_MS


class BulkServer:
    """Answers fetches. Invariant: never more images in memory than `snapshots_served`, one a peer."""

    def __init__(self, make: Callable[[], bytes], counters: Counter[str]) -> None:
        """`make` makes the image of the present state."""
        self._make = make
        self._counters = counters
        self._images: dict[str, _Image] = {}
        self._rate = limit("snapshot_bytes_per_second")
        self._budget = float(self._rate // _BURST_PART)
        self._budget_ms: int | None = None
        self._too_large_until_ms: int | None = None

    def answer(self, peer_key: str, fetch: Fetch, now_ms: int) -> Chunk:
        """The chunk that is asked for, the first one of another image if there is no such image (any more), or word of when to ask again.

        Whatever a peer asks, it costs no more than the rate allows: making an image counts as sending it.
        """
        self._refill(now_ms)
        image = self._images.get(peer_key) or self._begin(peer_key, now_ms)
        if image is None:
            busy_ms = BUSY_MS if self._too_large_until_ms is None else max(BUSY_MS, self._too_large_until_ms - now_ms)
            return Chunk(fetch.id, fetch.offset, 0, b"", b"", busy_ms)
        image.used_ms = now_ms
        if self._budget < 0:
            return Chunk(fetch.id, fetch.offset, 0, b"", b"", min(60_000, 1 + int(-self._budget * 1_000 / self._rate)))
        offset = fetch.offset if fetch.id == image.id and fetch.offset < len(image.data) else 0
        data = image.data[offset : offset + limit("chunk_bytes")]
        image.sent += len(data)
        self._budget -= len(data)
        return Chunk(image.id, offset, len(image.data), image.checksum, data)

    def tick(self, now_ms: int) -> None:
        """Forget the images that nobody asks for any more."""
        for peer in [peer for peer, image in self._images.items() if now_ms - image.used_ms >= IDLE_MS]:
            del self._images[peer]

    def _begin(self, peer_key: str, now_ms: int) -> _Image | None:
        self.tick(now_ms)
        if self._too_large_until_ms is not None and now_ms < self._too_large_until_ms:
            return None
        if len(self._images) >= limit("snapshots_served"):
            oldest = min((p for p, i in self._images.items() if i.yields(now_ms)), key=lambda p: self._images[p].used_ms, default=None)
            if oldest is None:
                return None
            del self._images[oldest]
        data = self._make()
        self._budget -= len(data)
        if not 0 < len(data) <= limit("snapshot_bytes"):
            self._counters["snapshots_oversized"] += 1
            self._too_large_until_ms = now_ms + TOO_LARGE_MS
            return None
        self._too_large_until_ms = None
        self._counters["snapshots_served"] += 1
        image = self._images[peer_key] = _Image(hashlib.sha256(data).digest(), data, now_ms, now_ms)
        return image

    def _refill(self, now_ms: int) -> None:
        if self._budget_ms is not None:
            earned = max(0, now_ms - self._budget_ms) * self._rate / 1_000
            self._budget = min(self._rate / _BURST_PART, self._budget + earned)
        self._budget_ms = now_ms


@dataclass(slots=True)
class _Transfer:
    """What has come from one peer so far.

    Invariant: every chunk before `next` is in `chunks` or in `due`, which says when it is asked for again.
    """

    peer: str
    deadline_ms: int
    moved_ms: int
    id: bytes = b""
    total: int = 0
    checksum: bytes = b""
    have: int = 0
    next: int = 0
    chunks: dict[int, bytes] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    former: set[bytes] = field(default_factory=set)

    def ask(self, now_ms: int) -> tuple[Fetch, ...]:
        """Ask for the next chunks, up to the window."""
        asked: list[int] = []
        while len(self.due) + len(asked) < WINDOW and (self.next < self.total or not self.next):
            asked.append(self.next)
            self.next += limit("chunk_bytes")
        return self.again(asked, now_ms)

    def again(self, offsets: list[int], now_ms: int) -> tuple[Fetch, ...]:
        """Ask for these chunks."""
        self.due.update(dict.fromkeys(offsets, now_ms + AGAIN_MS))
        return tuple(Fetch(self.id, offset) for offset in offsets)

    def change(self, chunk: Chunk, now_ms: int) -> None:
        """From now on it is this image."""
        if self.id:
            self.former.add(self.id)
        else:
            self.deadline_ms += -(-chunk.total // limit("chunk_bytes")) * 1_000
        self.id, self.total, self.checksum, self.have, self.next = chunk.id, chunk.total, chunk.checksum, 0, limit("chunk_bytes")
        self.chunks.clear()
        self.due = {0: now_ms}


class BulkClient:
    """Fetches one snapshot at a time. A peer that answers wrongly, slowly or not at all is given up: `peer` is None then."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._transfer: _Transfer | None = None

    @property
    def peer(self) -> str | None:
        """Whom the snapshot is fetched from; None if none is."""
        return self._transfer.peer if self._transfer is not None else None

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes that are here, and bytes in all; zero as long as that is not known."""
        return (self._transfer.have, self._transfer.total) if self._transfer is not None else (0, 0)

    def start(self, peer_key: str, now_ms: int) -> Fetch:
        """Begin to fetch from this peer, or go on if it is the one that is fetched from. What came from another is forgotten."""
        transfer = self._transfer
        if transfer is None or transfer.peer != peer_key:
            transfer = self._transfer = _Transfer(peer_key, now_ms + PATIENCE_MS, now_ms)
            return transfer.ask(now_ms)[0]
        return transfer.again([min(transfer.due)], now_ms)[0]

    def take(self, peer_key: str, chunk: Chunk, now_ms: int) -> tuple[Fetch, ...] | bytes:
        """Take a chunk; returns what to ask that peer for now, or the whole, once: its checksum is right, nothing else is known of it."""
        transfer = self._transfer
        if transfer is None or transfer.peer != peer_key:
            return ()
        if chunk.wait_ms and not chunk.data:
            if chunk.id == transfer.id and chunk.offset in transfer.due:
                transfer.due[chunk.offset] = now_ms + chunk.wait_ms
            return ()
        if chunk.id in transfer.former or (chunk.id != transfer.id and chunk.offset):
            return ()
        if not _sound(chunk) or len(transfer.former) >= RESTARTS:
            return self._give_up("transfers_given_up")
        if chunk.id != transfer.id:
            transfer.change(chunk, now_ms)
        elif (chunk.total, chunk.checksum) != (transfer.total, transfer.checksum):
            return self._give_up("transfers_given_up")
        if transfer.due.pop(chunk.offset, None) is None:
            return ()
        transfer.chunks[chunk.offset] = chunk.data
        transfer.have += len(chunk.data)
        transfer.moved_ms = now_ms
        if transfer.have < transfer.total:
            return transfer.ask(now_ms)
        whole = b"".join(data for _, data in sorted(transfer.chunks.items()))
        if hashlib.sha256(whole).digest() != transfer.checksum:
            return self._give_up("transfers_damaged")
        self._transfer = None
        return whole

    def tick(self, now_ms: int) -> tuple[tuple[str, Fetch], ...]:
        """Ask again for what did not come; give the peer up that sent nothing new for too long."""
        transfer = self._transfer
        if transfer is None:
            return ()
        if now_ms - transfer.moved_ms >= IDLE_MS or now_ms >= transfer.deadline_ms:
            self._give_up("transfers_given_up")
            return ()
        late = [offset for offset, due_ms in transfer.due.items() if due_ms <= now_ms]
        return tuple((transfer.peer, fetch) for fetch in transfer.again(late, now_ms))

    def _give_up(self, counter: str) -> tuple[Fetch, ...]:
        self._counters[counter] += 1
        self._transfer = None
        return ()


def _sound(chunk: Chunk) -> bool:
    """Whether it is a chunk of a snapshot that may be taken."""
    step = limit("chunk_bytes")
    return (
        len(chunk.id) == ID_BYTES
        and len(chunk.checksum) == 32
        and 0 < chunk.total <= limit("snapshot_bytes")
        and chunk.offset % step == 0
        and chunk.offset < chunk.total
        and len(chunk.data) == min(step, chunk.total - chunk.offset)
    )
