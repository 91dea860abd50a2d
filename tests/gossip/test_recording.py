"""Recordings: a run that is repeated from one does the same, and the ring keeps its bound."""

import typing
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossip.engine import Engine, Identity
from gossip.events import (
    CommitFailed,
    Committed,
    Effect,
    EpochSet,
    Event,
    LocalEdit,
    LocalSnapshot,
    Rebased,
    RebaseFailed,
    SendRefused,
    Tick,
)
from gossip.messages import Delta, Digest, Hello, Ping
from gossip.recorded_events import Health, reduced, restored
from gossip.recording import Image, Options, Recording, RecordingError, image_of, load, start, take_image
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp
from store.cells import Cell
from store.clocks import Dot
from store.edits import RESOLVE
from store.health import HealthStream
from store.limits import limit
from store.replica import Replica

LARGE = 10**6


class Taped(Engine):
    """An engine that records itself, and remembers what it asked for."""

    bound = 2**30
    tapes: typing.ClassVar[dict[str, "Taped"]] = {}

    def __init__(
        self, identity: Identity, replica: Replica, streams: dict[str, HealthStream], random: Random, now_ms: int, *, collect_edits: int
    ) -> None:
        options = Options(collect_edits=collect_edits)

        def renew(now_ms: int) -> tuple[Image, tuple[Event, ...]]:
            return image_of(self, random, now_ms, options)

        self.recording = Recording(self.bound, renew)
        self.recording.begin(take_image(identity, replica, streams, random, now_ms, options))
        self.asked: list[list[Effect]] = []
        self.tapes[identity.name] = self
        signing = replace(identity, sign=self.recording.signing(identity.sign))
        super().__init__(signing, replica, streams, random, now_ms, collect_edits=collect_edits)

    def start(self, now_ms: int) -> list[Effect]:
        self.recording.started(now_ms)
        self.asked.append(super().start(now_ms))
        return list(self.asked[-1])

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        self.recording.note(event, now_ms)
        self.asked.append(super().handle(event, now_ms))
        return list(self.asked[-1])


@pytest.fixture
def taped(world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Worlds whose engines record themselves; `bound` is what they may keep."""

    def make(count: int, *, bound: int = 2**30, **options: Any) -> Any:
        made = world(count, start=False, **options)
        monkeypatch.setattr(Taped, "bound", bound)
        monkeypatch.setattr(Taped, "tapes", {})
        monkeypatch.setitem(type(made).start.__globals__, "Engine", Taped)
        made.collect_edits = 10
        for name in made.nodes:
            made.start(name)
        return made

    return make


def troubled(world: Any, seed: int) -> Any:
    """A run with edits, conflicts, health, lost messages, refused sends, failed commits and a peer that is killed."""
    random = Random(seed)
    world.run(1_000)
    world.loss, world.refuse, world.commit_failure = 0.1, 0.1, 0.2
    for n in range(12):
        name = random.choice([node.name for node in world.up])
        world.edit(name, {f"k{random.randrange(4)}": {"v": str(n)}})
        world.report(name, a="healthy", b=random.choice(("healthy", "degraded")))
        if n == 5:
            world.kill("n3")
        if n == 8:
            world.start("n3")
        world.run(random.randrange(20, 900))
    world.loss = world.refuse = world.commit_failure = 0.0
    world.run(30_000)
    return world


def test_a_run_from_the_beginning_is_repeated_exactly(taped: Callable[..., Any], scribe: Any) -> None:
    kinds = set()
    for seed in range(4):
        world = troubled(taped(3, seed=seed), seed)
        tape = Taped.tapes["n1"]
        ((image, inputs),) = load(tape.recording.dump())
        engine, first = start(image, Random(), scribe.verify)
        assert first == tape.asked[0]
        assert len(inputs) == len(tape.asked) - 1 > 100
        for (at_ms, event), effects in zip(inputs, tape.asked[1:], strict=True):
            assert engine.handle(event, at_ms) == effects, (at_ms, event)
        assert engine.replica.fold.state_hash == world.nodes["n1"].engine.replica.fold.state_hash
        assert engine.counters == tape.counters
        kinds |= {type(event) for _, event in inputs}
    assert {Committed, CommitFailed, Rebased, SendRefused, LocalEdit, LocalSnapshot, PeerDown} <= kinds


@pytest.mark.parametrize("seed", range(3))
def test_an_image_in_mid_life_goes_on_as_after_a_restart(taped: Callable[..., Any], scribe: Any, seed: int) -> None:
    world = troubled(taped(3, seed=seed, bound=60_000), seed)
    world.run(20_000)
    tape = Taped.tapes["n1"]
    live = world.nodes["n1"].engine
    segments = load(tape.recording.dump())
    assert len(segments) == 2
    for image, inputs in segments:
        assert inputs
        engine, _ = start(image, Random(), scribe.verify)
        for at_ms, event in inputs:
            engine.handle(event, at_ms)
    assert image.epoch == live.identity.epoch + 1
    assert engine.replica.fold.clock == live.replica.fold.clock
    assert engine.replica.fold.state_hash == live.replica.fold.state_hash
    assert {key for key, peer in engine.peers.items() if peer.open} == {key for key, peer in live.peers.items() if peer.open} != set()


def test_the_ring_keeps_its_bound(taped: Callable[..., Any]) -> None:
    bound = 60_000
    world = taped(3, bound=bound)
    tape = Taped.tapes["n1"]
    sizes = []
    for n in range(60):
        world.edit("n2", {f"k{n % 3}": {"v": str(n)}})
        world.run(1_000)
        segments = load(tape.recording.dump())
        images = sum(len(msgspec.msgpack.encode(image)) for image, _ in segments)
        sizes.append(len(tape.recording.dump()) - images)
        assert len(segments) <= 2
    assert max(sizes) <= bound
    assert len(segments) == 2
    last = segments[-1][1][-1][0]
    assert world.now - last < 12_000


# -- one event at a time ----------------------------------------------------------------------------------------------


def examples(scribe: Any) -> list[Event]:
    batch = (scribe.founding("n1"), scribe.registration("n1", scribe.member("n2"), {scribe.actor("n1"): 1}))
    dot = Dot(scribe.actor("n1"), 1)
    return [
        Tick(),
        LocalEdit(1, {"k": {"v": "1"}, "l": None}, 5.5, "why", RESOLVE, {"k": (dot,)}),
        LocalSnapshot((Cell("k", "a", "healthy", ("r",), {"d": [1, {"e": None}]}, {"m": 2}, 7.0),)),
        Committed(batch),
        CommitFailed(batch, "disk full"),
        Rebased(),
        RebaseFailed("disk full"),
        EpochSet(7),
        SendRefused("key", Hello("c", "n1", bytes(16), 1, 1, bytes(16))),
        SendRefused("key", Delta()),
        MessageReceived("key", b"header", b"body"),
        PeerUp("key"),
        PeerDown("key"),
        Knocked("key"),
    ]


def passed(event: Event, out: Health, back: Health, largest: int = LARGE) -> Event:
    kept, size = reduced(event, out, largest)
    body = msgspec.msgpack.encode(kept)
    assert len(body) <= size + 300
    return restored(type(kept).__name__, body, back)


def test_every_event_is_kept(scribe: Any) -> None:
    found = examples(scribe)
    assert {type(event) for event in found} == set(typing.get_args(Event))
    for event in found:
        assert passed(event, {}, {}) == event


def test_of_a_refused_message_it_is_kept_whether_it_was_a_hello() -> None:
    for message in (Ping(1), Digest(bytes(32), bytes(32)), Delta(edits=(bytes(800_000),))):
        kept, size = reduced(SendRefused("key", message), {}, LARGE)
        assert size == 0
        assert len(msgspec.msgpack.encode(kept)) < 50
        back = restored(type(kept).__name__, msgspec.msgpack.encode(kept), {})
        assert isinstance(back, SendRefused)
        assert not isinstance(back.message, Hello)


CELLS = st.lists(
    st.builds(
        Cell, st.just("k"), st.sampled_from("abcd"), st.sampled_from(["healthy", "failed"]), st.just(()), st.sampled_from([{}, {"x": 1}])
    ),
    unique_by=lambda cell: cell.key,
    max_size=4,
)


@given(st.lists(CELLS, max_size=6))
def test_health_that_stays_is_not_kept_again(snapshots: list[list[Cell]]) -> None:
    out: Health = {}
    back: Health = {}
    before: dict[tuple[str, str], Cell] = {}
    for cells in snapshots:
        changed = [cell for cell in cells if before.get(cell.key) != cell]
        seen = tuple(msgspec.structs.replace(cell, measures={"m": len(changed)}, observed_at=float(len(before))) for cell in cells)
        kept, size = reduced(LocalSnapshot(seen), out, LARGE)
        assert size == len(msgspec.msgpack.encode(tuple(cell for cell in seen if cell.key in {c.key for c in changed})))
        event = restored(type(kept).__name__, msgspec.msgpack.encode(kept), back)
        assert isinstance(event, LocalSnapshot)
        before = {cell.key: cell for cell in cells}
        assert {c.key: (c.state, c.reasons, c.detail) for c in event.cells} == {c.key: (c.state, c.reasons, c.detail) for c in cells}


def test_much_health_is_kept_without_its_detail() -> None:
    cells = tuple(Cell("k", str(n), "healthy", (), {"path_list": ["x" * 100] * 10}) for n in range(200))
    event = passed(LocalSnapshot(cells), {}, {}, 100_000)
    assert isinstance(event, LocalSnapshot)
    assert [(c.id, c.state, c.detail) for c in event.cells] == [(c.id, "healthy", {}) for c in cells]


# -- the ring, with inputs of its own ---------------------------------------------------------------------------------


def image(scribe: Any, now_ms: int) -> Image:
    replica = scribe.replica(scribe.founding("n1"))
    identity = Identity("n1", scribe.actor("n1"), 1, bytes(16), lambda body: b"", scribe.verify)
    return take_image(identity, replica, {}, Random(1), now_ms, Options())


def message(n: int, size: int = 1_000) -> MessageReceived:
    return MessageReceived(str(n), b"", bytes(size))


def seen(recording: Recording) -> list[list[str]]:
    return [[event.key for _, event in inputs if isinstance(event, MessageReceived)] for _, inputs in load(recording.dump())]


def test_a_third_segment_drops_the_first(scribe: Any) -> None:
    recording = Recording(12_000, lambda now: (image(scribe, now), (message(-1, 0),)))
    recording.note(message(0), 0)  # before it has begun
    recording.begin(image(scribe, 0))
    for n in range(13):
        recording.note(message(n), 20_000 * n)
    assert seen(recording) == [["-1", *"56789"], ["-1", "10", "11", "12"]]


def test_under_a_flood_a_segment_ends_early_and_has_no_hole(scribe: Any) -> None:
    """Images cost time: no two are made at once. What comes meanwhile is lost, and what follows begins with a new image."""
    made: list[int] = []

    def renew(now: int) -> tuple[Image, tuple[Event, ...]] | None:
        made.append(now)
        return (image(scribe, now), ()) if now < 10_500 or now > 11_000 else None

    recording = Recording(12_000, renew)
    recording.begin(image(scribe, 0))
    for n in range(120):
        recording.note(message(n), 100 * n)
    assert made == [10_000]
    assert seen(recording) == [[str(n) for n in range(5)], [str(n) for n in range(100, 105)]]
    recording.note(message(200), 20_600)
    assert made == [10_000, 20_600]
    assert seen(recording) == [[str(n) for n in range(100, 105)], ["200"]]


def test_an_image_that_cannot_be_made_now_is_made_later(scribe: Any) -> None:
    answers: list[tuple[Image, tuple[Event, ...]] | None] = [None, None, (image(scribe, 30_000), ())]
    recording = Recording(4_000, lambda now: answers.pop(0))
    recording.begin(image(scribe, 0))
    for n in range(5):
        recording.note(message(n), 20_000 + n)
    assert seen(recording) == [["0", "1"], ["4"]]


def test_signatures_are_in_the_segment_in_which_they_were_made(scribe: Any) -> None:
    recording = Recording(2_000, lambda now: (image(scribe, now), ()))
    sign = recording.signing(lambda body: b"s" * 60 + body)
    assert sign(b"none") == b"s" * 60 + b"none"
    recording.begin(image(scribe, 0))
    sign(b"1234")
    for n in range(20):
        recording.note(message(n), 20_000 * n)
        sign(b"%4d" % n)
    recording.note(message(20), 380_001)
    sign(b"left out")
    (first, _), (second, _) = load(recording.dump())
    assert first.sign(b"  18") == b"s" * 60 + b"  18"
    assert second.sign(b"  19") == b"s" * 60 + b"  19"
    assert len(second.sign(b"  18")) == 64 != second.sign(b"  18")[:1] + b"s"
    assert second.sign(b"left out") != b"s" * 60 + b"left out"
    assert second.signatures.keys() & first.signatures.keys() == set()


def test_health_in_an_image_is_bounded(scribe: Any, taped: Callable[..., Any]) -> None:
    world = taped(2)
    world.settled()
    for _ in range(3):
        world.report("n2", **{f"w{n:04}": "healthy" for n in range(3_000)})
        world.run(2_000)
    engine = world.nodes["n1"].engine
    stream = engine.exchange.streams["n2"]
    with_health, _ = image_of(engine, Random(1), 0, Options())
    assert (stream.size <= limit("recording_bytes") // 8) == ("n2" in with_health.streams)
    assert sum(map(len, with_health.streams.values())) <= limit("recording_bytes") // 4
    assert "n1" not in with_health.streams


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_garbage_is_no_recording(data: bytes) -> None:
    with pytest.raises(RecordingError):
        load(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_recording_is_refused_or_read(scribe: Any, place: int, value: int, cut: bool) -> None:
    recording = Recording(LARGE, lambda now: None)
    recording.begin(image(scribe, 0))
    for event in examples(scribe):
        recording.note(event, 1)
    data = bytearray(recording.dump())
    data[place % len(data)] = value
    try:
        for found, _ in load(bytes(data[: place % len(data)] if cut else data)):
            start(found, Random(), scribe.verify)
    except RecordingError:
        pass


def test_another_version_is_refused(scribe: Any) -> None:
    recording = Recording(LARGE, lambda now: None)
    recording.begin(image(scribe, 0))
    written = msgspec.msgpack.decode(recording.dump())
    for magic, version in (("other", written[1]), (written[0], 2)):
        with pytest.raises(RecordingError, match="version 1"):
            load(msgspec.msgpack.encode([magic, version, written[2]]))


def test_nothing_secret_is_in_it(scribe: Any) -> None:
    secret = b"the secret key of this node"
    recording = Recording(LARGE, lambda now: None)
    identity = Identity(
        "n1", scribe.actor("n1"), 1, bytes(16), recording.signing(lambda body: scribe.sign_with(secret, body)), scribe.verify
    )
    recording.begin(take_image(identity, scribe.replica(scribe.founding("n1")), {}, Random(1), 0, Options()))
    identity.sign(b"x")
    assert secret not in recording.dump()
