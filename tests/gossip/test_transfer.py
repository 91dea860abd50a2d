"""Snapshots in chunks: whole or not at all, over any network, from any server, at a bounded cost."""

import hashlib
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import codec
from gossip.messages import Chunk, Fetch, Message
from gossip.transfer import AGAIN_MS, IDLE_MS, RESTARTS, SERVE_MS, TOO_LARGE_MS, WINDOW, BulkClient, BulkServer
from store import limits
from store.limits import limit

STEP = limit("chunk_bytes")
RATE = limit("snapshot_bytes_per_second")


def image(size: int, seed: int = 0) -> bytes:
    return Random(f"{size} {seed}").randbytes(size)


def wired(message: Message) -> Message:
    return codec.decode(*codec.encode(message))


def serving(data: bytes) -> tuple[BulkServer, Counter[str]]:
    counters: Counter[str] = Counter()
    return BulkServer(lambda: data, counters), counters


def fetch_all(server: BulkServer, client: BulkClient, peer: str, now: int, within_ms: int = 60_000) -> tuple[bytes, int]:
    """Over a network that loses nothing; returns the whole and when it was here."""
    asked = [client.start(peer, now)]
    end = now + within_ms
    while now < end:
        while asked:
            fetch = wired(asked.pop(0))
            assert isinstance(fetch, Fetch)
            chunk = wired(server.answer(peer, fetch, now))
            assert isinstance(chunk, Chunk)
            found = client.take(peer, chunk, now)
            if isinstance(found, bytes):
                return found, now
            asked += found
        now += 10
        asked += [fetch for _, fetch in client.tick(now)]
    raise AssertionError("not done in time")


@pytest.mark.parametrize("size", [1, STEP - 1, STEP, STEP + 1, 7 * STEP, 9 * STEP + 5])
def test_a_snapshot_arrives_whole(size: int) -> None:
    server, counters = serving(image(size))
    client = BulkClient(Counter())
    assert client.peer is None
    assert client.progress == (0, 0)
    assert fetch_all(server, client, "a", 1_000)[0] == image(size)
    assert client.peer is None
    assert counters == {"snapshots_served": 1}


def test_progress_is_shown_and_few_chunks_are_asked_ahead() -> None:
    server, _ = serving(image(20 * STEP))
    client = BulkClient(Counter())
    first = client.start("a", 0)
    assert client.peer == "a"
    asked = client.take("a", server.answer("a", first, 0), 0)
    assert [f.offset for f in asked if isinstance(f, Fetch)] == [STEP * n for n in range(1, WINDOW + 1)]
    assert client.progress == (STEP, 20 * STEP)


class Net:
    """Loses, doubles and reorders messages, by a seed."""

    def __init__(self, seed: int, loss: float) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.under_way: list[tuple[int, Message]] = []

    def send(self, message: Message, now: int) -> None:
        for _ in range(self.random.choice((1, 1, 1, 2))):
            if self.random.random() >= self.loss:
                self.under_way.append((now + self.random.randint(0, 400), wired(message)))

    def arrived(self, now: int) -> list[Message]:
        here = [m for due, m in self.under_way if due <= now]
        self.under_way = [(due, m) for due, m in self.under_way if due > now]
        self.random.shuffle(here)
        return here


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 12 * STEP),
    loss=st.sampled_from((0.0, 0.1, 0.3)),
    restarts=st.lists(st.tuples(st.integers(0, 4_000), st.booleans()), max_size=4),
)
def test_any_network_and_any_restart_of_the_server(seed: int, size: int, loss: float, restarts: list[tuple[int, bool]]) -> None:
    """A server that comes back with another image makes the client begin anew, one with the same lets it go on; no mixture comes out."""
    there, back = Net(seed, loss), Net(seed + 1, loss)
    version = 0
    made = [0]

    def make() -> bytes:
        made[0] += 1
        return image(size, version)

    server, client = BulkServer(make, Counter()), BulkClient(Counter())
    pending = sorted(restarts)
    there.send(client.start("a", 0), 0)
    whole: bytes | None = None
    for now in range(0, 120_000, 20):
        while pending and pending[0][0] <= now:
            version += pending.pop(0)[1]
            server = BulkServer(make, Counter())
        for message in there.arrived(now):
            assert isinstance(message, Fetch)
            back.send(server.answer("c", message, now), now)
        asked: list[Fetch] = []
        for message in back.arrived(now):
            assert isinstance(message, Chunk)
            found = client.take("a", message, now)
            if isinstance(found, bytes):
                whole = found
            else:
                asked += found
        asked += [fetch for _, fetch in client.tick(now)]
        for fetch in asked:
            there.send(fetch, now)
        assert len(asked) <= 2 * WINDOW
        if whole is not None:
            break
        if client.peer is None:  # so much was lost that it gave up: it begins again
            there.send(client.start("a", now), now)
    assert whole in {image(size, v) for v in range(version + 1)}
    assert made[0] <= 1 + len(restarts) + 8  # an image is made at the start of a transfer, not for each chunk


def test_the_same_image_goes_on_after_a_restart_of_the_server() -> None:
    data = image(6 * STEP)
    client = BulkClient(Counter())
    asked = client.take("a", serving(data)[0].answer("c", client.start("a", 0), 0), 0)
    assert isinstance(asked, tuple)
    later = serving(data)[0]
    for fetch in asked:
        chunk = later.answer("c", fetch, 10)
        assert chunk.offset == fetch.offset
        client.take("a", chunk, 10)
    assert client.progress == ((1 + WINDOW) * STEP, 6 * STEP)


def test_another_image_begins_anew() -> None:
    client = BulkClient(Counter())
    asked = client.take("a", serving(image(6 * STEP))[0].answer("c", client.start("a", 0), 0), 0)
    assert isinstance(asked, tuple)
    server = serving(image(3 * STEP, 1))[0]
    chunk = server.answer("c", asked[0], 10)
    assert chunk.offset == 0
    assert client.take("a", chunk, 10) == (Fetch(chunk.id, STEP), Fetch(chunk.id, 2 * STEP))
    assert client.progress == (STEP, 3 * STEP)


def test_a_reconnection_goes_on_where_it_was() -> None:
    server, _ = serving(image(4 * STEP))
    client = BulkClient(Counter())
    client.take("a", server.answer("c", client.start("a", 0), 0), 0)
    assert client.start("a", 5_000) == Fetch(server.answer("c", Fetch(b"", 0), 0).id, STEP)
    assert client.progress == (STEP, 4 * STEP)
    assert client.start("b", 6_000) == Fetch(b"", 0)
    assert client.progress == (0, 0)


def test_what_does_not_come_is_asked_for_again_and_the_silent_are_given_up() -> None:
    counters: Counter[str] = Counter()
    client = BulkClient(counters)
    client.start("a", 0)
    assert client.tick(AGAIN_MS - 1) == ()
    assert client.tick(AGAIN_MS) == (("a", Fetch(b"", 0)),)
    assert client.tick(AGAIN_MS + 1) == ()
    assert client.tick(IDLE_MS - 1) != ()
    assert client.tick(IDLE_MS) == ()
    assert client.peer is None
    assert counters == {"transfers_given_up": 1}


def test_a_third_peer_waits_until_one_is_served() -> None:
    server, _ = serving(image(2 * STEP))
    started = [server.answer(peer, Fetch(b"", 0), 0) for peer in ("a", "b")]
    waiting = server.answer("c", Fetch(b"", 0), 0)
    assert waiting.wait_ms
    assert not waiting.data
    client = BulkClient(Counter())
    client.start("s", 0)
    assert client.take("s", waiting, 0) == ()
    assert client.tick(waiting.wait_ms - 1) == ()
    assert client.tick(waiting.wait_ms) == (("s", Fetch(b"", 0)),)
    server.answer("a", Fetch(started[0].id, STEP), 100)  # a has it all now
    assert server.answer("c", Fetch(b"", 0), 100).data
    assert server.answer("a", Fetch(started[0].id, STEP), 100).wait_ms  # b is not done


def test_who_dawdles_gives_way_and_who_is_silent_is_forgotten() -> None:
    server, _ = serving(image(100 * STEP))
    now = 0
    for peer in ("a", "b"):
        server.answer(peer, Fetch(b"", 0), now)
    while now <= SERVE_MS:
        assert server.answer("c", Fetch(b"", 0), now).wait_ms
        now += IDLE_MS - 1_000
        server.answer("a", Fetch(b"", 10**9), now)
        server.answer("b", Fetch(b"x" * 16, 0), now)
    now += server.answer("c", Fetch(b"", 0), now).wait_ms  # the image is made, and counts as sent
    assert server.answer("c", Fetch(b"", 0), now).data
    quiet, _ = serving(image(4 * STEP))
    for peer in ("a", "b"):
        quiet.answer(peer, Fetch(b"", 0), 0)
    assert quiet.answer("c", Fetch(b"", 0), IDLE_MS - 1).wait_ms
    assert quiet.answer("c", Fetch(b"", 0), IDLE_MS).data


def test_dawdling_is_bounded_at_the_client_too() -> None:
    """One chunk each 14 seconds is progress, but no transfer."""
    server, _ = serving(image(300 * STEP))
    client = BulkClient(Counter())
    client.start("a", 0)
    server.answer("a", Fetch(b"", 0), 0)  # it is made
    now = taken = 0
    while client.peer is not None:
        now += IDLE_MS - 1_000
        assert now < 30_000 + 301_000 + IDLE_MS
        asked = client.tick(now)
        if asked:
            client.take("a", server.answer("a", asked[0][1], now), now)
            taken += 1
    assert taken > 10


def test_the_rate_is_bounded_over_all_peers() -> None:
    server, _ = serving(image(64 * STEP))
    sent, now = 0, 0
    last = {"a": Fetch(b"", 0), "b": Fetch(b"", 0)}
    while now < 2_000:
        for peer, fetch in last.items():
            chunk = server.answer(peer, fetch, now)
            sent += len(chunk.data)
            if chunk.data:
                last[peer] = Fetch(chunk.id, 0)
            else:
                assert 0 < chunk.wait_ms <= 60_000
        now += 1
    assert 1.5 * RATE < sent < 2.5 * RATE


def test_a_clock_that_stands_still_gives_nothing_for_ever() -> None:
    server, _ = serving(image(8 * STEP))
    chunks = [server.answer("a", Fetch(b"", 0), 5) for _ in range(2_000)]
    assert sum(len(c.data) for c in chunks) <= RATE // 2


@pytest.mark.parametrize("size", [0, limit("snapshot_bytes") + 1])
def test_an_image_beyond_the_limit_is_not_served_and_not_made_again_and_again(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counters: Counter[str] = Counter()
    made = []

    def make() -> bytes:
        made.append(size)
        return bytes(size)

    server = BulkServer(make, counters)
    for now in range(0, TOO_LARGE_MS, 1_000):
        chunk = server.answer("a", Fetch(b"", 0), now)
        assert chunk.wait_ms
        wired(chunk)
    assert len(made) == 1
    server.answer("a", Fetch(b"", 0), TOO_LARGE_MS)
    assert len(made) == 2
    assert counters == {"snapshots_oversized": 2}


def good(total: int = 3 * STEP, seed: int = 0) -> Callable[[int], Chunk]:
    data = image(total, seed)
    checksum = hashlib.sha256(data).digest()
    return lambda offset: Chunk(checksum[:16], offset, total, checksum, data[offset : offset + STEP])


BAD = {
    "too large": Chunk(b"i" * 16, 0, limits.limit("snapshot_bytes") + 1, b"c" * 32, bytes(STEP)),
    "nothing": Chunk(b"i" * 16, 0, 0, b"c" * 32, b""),
    "short id": Chunk(b"i", 0, STEP, b"c" * 32, bytes(STEP)),
    "no checksum": Chunk(b"i" * 16, 0, STEP, b"", bytes(STEP)),
    "short data": Chunk(b"i" * 16, 0, 2 * STEP, b"c" * 32, bytes(STEP - 1)),
    "long data": Chunk(b"i" * 16, 0, 5, b"c" * 32, bytes(STEP)),
}


@pytest.mark.parametrize("what", BAD)
def test_a_chunk_that_cannot_be_ends_the_transfer(what: str) -> None:
    counters: Counter[str] = Counter()
    client = BulkClient(counters)
    client.start("a", 0)
    assert client.take("b", BAD[what], 0) == ()
    assert client.peer == "a"
    assert client.take("a", BAD[what], 0) == ()
    assert client.peer is None
    assert counters == {"transfers_given_up": 1}


def test_a_total_that_changes_ends_the_transfer() -> None:
    client = BulkClient(Counter())
    client.start("a", 0)
    chunk = good()(0)
    client.take("a", chunk, 0)
    client.take("a", Chunk(chunk.id, STEP, 4 * STEP, chunk.checksum, bytes(STEP)), 0)
    assert client.peer is None


def test_a_wrong_checksum_ends_the_transfer() -> None:
    counters: Counter[str] = Counter()
    client = BulkClient(counters)
    client.start("a", 0)
    chunks = good(2 * STEP)
    client.take("a", chunks(0), 0)
    assert client.take("a", Chunk(chunks(0).id, STEP, 2 * STEP, chunks(0).checksum, bytes(STEP)), 0) == ()
    assert client.peer is None
    assert counters == {"transfers_damaged": 1}


def test_a_server_whose_image_is_always_another_is_given_up() -> None:
    client = BulkClient(Counter())
    client.start("a", 0)
    for seed in range(RESTARTS + 2):
        client.take("a", good(3 * STEP, seed)(0), 0)
    assert client.peer is None


def test_a_late_chunk_of_a_former_image_changes_nothing() -> None:
    client = BulkClient(Counter())
    client.start("a", 0)
    old, new = good(), good(4 * STEP, 1)
    client.take("a", old(0), 0)
    client.take("a", new(0), 0)
    assert client.take("a", old(0), 0) == ()
    assert client.take("a", old(STEP), 0) == ()
    assert client.progress == (STEP, 4 * STEP)


CHUNKS = st.builds(
    Chunk,
    st.sampled_from((b"", b"i" * 16, b"j" * 16, b"k")) | st.binary(max_size=16),
    st.sampled_from((0, STEP, 2 * STEP, 5)) | st.integers(0, 2**53),
    st.sampled_from((STEP + 5, 2 * STEP, 2**53)) | st.integers(0, 2**53),
    st.sampled_from((b"", b"c" * 32)) | st.binary(max_size=32),
    st.sampled_from((b"", bytes(5), bytes(STEP))),
    st.integers(0, 60_000),
)


@settings(deadline=None)
@given(st.lists(st.tuples(CHUNKS, st.integers(0, 3_000)), max_size=30))
def test_no_peer_makes_the_client_fail_or_grow(chunks: list[tuple[Chunk, int]]) -> None:
    client = BulkClient(Counter())
    now = 0
    client.start("a", now)
    for chunk, gap in chunks:
        now += gap
        found = client.take("a", chunk, now)
        if isinstance(found, bytes):
            assert hashlib.sha256(found).digest() == chunk.checksum
            client.start("a", now)
        else:
            assert len(found) <= WINDOW
        assert len(client.tick(now)) <= WINDOW
        have, total = client.progress
        assert have <= total <= limit("snapshot_bytes")
    silent = [client.tick(now + 1_000 * second) for second in range(20)]
    assert silent[-1] == ()
    assert client.progress == (0, 0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"),
            st.builds(
                Fetch, st.sampled_from((b"", b"x" * 16)) | st.binary(max_size=16), st.integers(0, 2**53) | st.sampled_from((0, STEP))
            ),
            st.integers(0, 20_000),
        ),
        max_size=40,
    )
)
def test_no_peer_makes_the_server_fail_or_grow(fetches: list[tuple[str, Fetch, int]]) -> None:
    made = [0]

    def make() -> bytes:
        made[0] += 1
        return image(3 * STEP)

    server = BulkServer(make, Counter())
    now = sent = 0
    for peer, fetch, gap in fetches:
        now += gap
        chunk = server.answer(peer, fetch, now)
        wired(chunk)
        assert bool(chunk.data) != bool(chunk.wait_ms)
        sent += len(chunk.data)
        if chunk.data:
            assert chunk.data == image(3 * STEP)[chunk.offset : chunk.offset + STEP]
    assert sent + made[0] * 3 * STEP <= RATE // 4 + RATE * now // 1_000 + 4 * STEP
