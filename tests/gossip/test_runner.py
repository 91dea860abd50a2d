"""The loop around the engine, with a fake transport and a fake disk."""

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from gossip import codec
from gossip.engine import Engine, Identity
from gossip.events import (
    Alarm,
    Committed,
    Effect,
    EpochSet,
    Event,
    LocalEdit,
    LocalSnapshot,
    Publish,
    Rebase,
    Rebased,
    RebaseFailed,
    SendRefused,
    SetEpoch,
    Tick,
)
from gossip.messages import Delta, Digest, Hello, Message, Ping
from gossip.recording import Image, Options, Recording, load, take_image
from gossip.runner import Runner, boottime_ms
from gossip.stability import clock_hash
from gossip.transport import Frames, MessageReceived, PeerUp
from store.cells import Cell
from store.clocks import Dot
from store.edits import SignedEdit
from store.errors import PathmeshError, UnavailableError
from store.members import member_value
from store.replica import Replica

pytestmark = pytest.mark.anyio


class FakeTransport:
    """Takes everything while `takes` is true, and keeps it for the test."""

    def __init__(self) -> None:
        self.takes = True
        self.calls: list[tuple[str, ...]] = []
        self.sent: list[tuple[str, Message]] = []
        self.asked = 0

    def add_peer(self, key: str, endpoint: str) -> None:
        self.calls.append(("add", key, endpoint))

    def remove_peer(self, key: str) -> None:
        self.calls.append(("remove", key))

    def remake(self, key: str) -> None:
        self.calls.append(("remake", key))

    def send(self, key: str, frames: Frames) -> bool:
        self.asked += 1
        if self.takes:
            self.sent.append((key, codec.decode(*frames)))
        return self.takes

    def close(self) -> None:
        self.calls.append(("close",))


DURABLE_AT = 12345


class FakeLog:
    """A disk that waits for the test's word, and fails as the test says."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.fault: Exception | None = None
        self.log: list[SignedEdit] = []
        self.rebased: list[tuple[bytes, tuple[Dot, ...], Iterable[bytes] | None]] = []
        self.epochs: list[int] = []

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        self.log += batch
        return DURABLE_AT

    async def rebase(self, base: bytes, gone: Iterable[Dot], log: Iterable[bytes] | None = None) -> None:
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        self.rebased.append((base, tuple(gone), log))

    async def set_epoch(self, epoch: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.epochs.append(epoch)


class Bench:
    """A runner for `n1`, which knows of a member `n2`."""

    def __init__(self, scribe: Any) -> None:
        self.scribe = scribe
        log = [scribe.founding("n1"), scribe.registration("n1", scribe.member("n2"), {scribe.actor("n1"): 1})]
        identity = Identity("n1", scribe.actor("n1"), 1, b"session1nonce...", lambda body: scribe.sign("n1", body), scribe.verify)
        self.engine = Engine(identity, Replica("c1", scribe.verify, log), {}, Random(1), boottime_ms())
        self.transport, self.log = FakeTransport(), FakeLog()
        self.published: list[Publish] = []
        self.alarms: list[Alarm] = []
        self.runner = Runner(self.engine, self.transport, self.log, published=self.published.append, alarmed=self.alarms.append)
        self.peer = scribe.member("n2")
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.runner.run())
        await self.until(lambda: bool(self.transport.calls))

    def meet(self) -> None:
        """The peer is there, both ways."""
        self.runner.dispatch(PeerUp(self.peer.curve_key))
        self.hear(Hello("c1", "n2", self.peer.actor, 1, 1, bytes(16)))
        clock = dict(self.engine.replica.fold.clock)
        self.hear(self.digest(clock))

    def digest(self, clock: dict[bytes, int]) -> Digest:
        """What the peer has, and that it listens to this node."""
        state = self.engine.replica.fold.state_hash
        return Digest(clock_hash(clock), state, full=True, clock=clock, answer=True, hears=self.engine.identity.session)

    def hear(self, message: Message) -> None:
        self.runner.dispatch(MessageReceived(self.peer.curve_key, *codec.encode(message)))

    def kinds(self) -> list[str]:
        return [type(message).__name__ for _, message in self.transport.sent]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        self.log.go.set()
        await self.runner.stop()
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


@pytest.fixture
async def bench(scribe: Any) -> Any:
    bench = Bench(scribe)
    yield bench
    await bench.close()


def lun(alias: str) -> dict[str, dict[str, str]]:
    return {"wwid/1": {"alias": alias}}


async def test_it_connects_to_the_members_and_ticks(bench: Bench) -> None:
    await bench.start()
    assert bench.transport.calls == [("add", bench.peer.curve_key, bench.peer.endpoint)]
    bench.meet()
    bench.transport.sent.clear()
    beat = bench.engine.exchange.own.stream.head.beat
    await bench.until(lambda: bench.engine.exchange.own.stream.head.beat > beat)
    await bench.until(lambda: "Digest" in bench.kinds())


async def test_an_edit_is_answered_when_it_is_durable_and_then_pushed(bench: Bench) -> None:
    await bench.start()
    bench.meet()
    bench.log.go.clear()
    waiting = asyncio.ensure_future(bench.runner.submit(lun("a"), reason="because"))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not any(message.edits for _, message in bench.transport.sent if isinstance(message, Delta))
    bench.log.go.set()
    dot = await waiting
    assert dot == Dot(bench.scribe.actor("n1"), 3)
    assert [s.dot for s in bench.log.log] == [dot]
    assert bench.log.log[0].edit.reason == "because"
    assert Delta(edits=(bench.log.log[0].raw,), push=True) in [m for _, m in bench.transport.sent]
    assert any("wwid/1" in p.keys for p in bench.published)
    assert [(t.what, t.name, t.monotonic_ns) for t in bench.runner.traces] == [("edit", str(dot), DURABLE_AT)]


async def test_a_disk_that_fails_is_the_submitters_error_and_an_alarm(bench: Bench) -> None:
    bench.log.fault = UnavailableError("no space", code="disk-full")
    with pytest.raises(PathmeshError, match="no space") as caught:
        await bench.runner.submit(lun("a"))
    assert caught.value.code == "storage-failed"
    assert [a.code for a in bench.alarms] == ["storage-failed"]
    bench.log.fault = None
    assert (await bench.runner.submit(lun("a"))).counter == 1, "the number of the one that was lost"


async def test_a_refusal_carries_the_engines_code(bench: Bench) -> None:
    with pytest.raises(PathmeshError) as caught:
        await bench.runner.submit({"k" * 400: {}})
    assert caught.value.code == "edit-too-large"


async def test_a_submitter_that_went_away_disturbs_nobody(bench: Bench) -> None:
    bench.log.go.clear()
    gone = asyncio.ensure_future(bench.runner.submit(lun("a")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    bench.log.go.set()
    await bench.until(lambda: bench.engine.replica.fold.value("wwid/1") == {"alias": "a"})
    assert (await bench.runner.submit(lun("b"))).counter == 2


async def test_stopping_waits_for_the_disk_and_answers_everybody(bench: Bench) -> None:
    bench.log.go.clear()
    first = asyncio.ensure_future(bench.runner.submit(lun("a")))
    second = asyncio.ensure_future(bench.runner.submit(lun("b")))
    await asyncio.sleep(0)
    stopping = asyncio.ensure_future(bench.runner.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    bench.log.go.set()
    await stopping
    assert (await first).counter == 1, "it is durable, so its user is told"
    with pytest.raises(UnavailableError) as caught:
        await second
    assert caught.value.code == "stopping"
    assert len(bench.log.log) == 1
    with pytest.raises(UnavailableError):
        await bench.runner.submit(lun("c"))
    beat = bench.engine.exchange.own.stream.head
    bench.runner.observe([Cell("k", "i", "healthy")])
    assert bench.engine.exchange.own.stream.head == beat, "events are not taken any more"


class Asking:
    """Stands in for the engine's `handle`: asks for one thing at the first event and keeps what it is told."""

    def __init__(self, bench: Bench, *wanted: Effect) -> None:
        self._wanted = list(wanted)
        self.told: list[Event] = []
        bench.engine.handle = self.handle  # type: ignore[method-assign]

    def handle(self, event: Event, _: int) -> list[Effect]:
        self.told.append(event)
        wanted, self._wanted = self._wanted, []
        return wanted


async def test_a_rebase_is_answered_when_it_is_durable(bench: Bench) -> None:
    asking = Asking(bench, Rebase(b"base", (Dot(b"a" * 16, 1),), (b"raw",)))
    bench.log.go.clear()
    bench.runner.dispatch(Tick())
    await asyncio.sleep(0.01)
    assert asking.told == [Tick()]
    bench.log.go.set()
    await bench.until(lambda: asking.told == [Tick(), Rebased()])
    assert bench.log.rebased == [(b"base", (Dot(b"a" * 16, 1),), (b"raw",))]


async def test_a_rebase_that_the_disk_refuses_is_told(bench: Bench) -> None:
    asking = Asking(bench, Rebase(b"base"))
    bench.log.fault = UnavailableError("no space", code="disk-full")
    bench.runner.dispatch(Tick())
    await bench.until(lambda: asking.told == [Tick(), RebaseFailed("no space")])


async def test_an_epoch_is_written_until_it_is_durable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.runner.EPOCH_AGAIN_SECONDS", 0.001)
    asking = Asking(bench, SetEpoch(7))
    bench.log.fault = UnavailableError("no space", code="disk-full")
    bench.runner.dispatch(Tick())
    await bench.until(lambda: bool(bench.alarms))
    await asyncio.sleep(0.01)
    assert asking.told == [Tick()] and [a.code for a in bench.alarms] == ["storage-failed"], "said once"
    bench.log.fault = None
    await bench.until(lambda: asking.told == [Tick(), EpochSet(7)])
    assert bench.log.epochs == [7]


async def test_an_epoch_that_cannot_be_written_keeps_nothing_from_stopping(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.runner.EPOCH_AGAIN_SECONDS", 0.001)
    asking = Asking(bench, SetEpoch(7))
    bench.log.fault = UnavailableError("no space", code="disk-full")
    bench.runner.dispatch(Tick())
    await bench.until(lambda: bool(bench.alarms))
    await asyncio.wait_for(bench.runner.stop(), 5)
    assert asking.told == [Tick()]


async def test_who_has_withdrawn_hears_nobody_and_says_nothing(bench: Bench) -> None:
    await bench.start()
    bench.meet()
    bench.runner.withdraw()
    assert bench.transport.calls[-1] == ("remove", bench.peer.curve_key)
    bench.transport.sent.clear()
    heard = bench.engine.counters["messages_received"]
    bench.hear(Ping(1))
    bench.runner.dispatch(PeerUp(bench.peer.curve_key))
    calls = len(bench.transport.calls)
    await bench.runner.submit({"member/n9": member_value(bench.scribe.member("n9"))})
    bench.runner.observe([Cell("multipath.map", "m1", "healthy")])
    bench.runner.dispatch(Tick())
    assert bench.transport.sent == [] and bench.engine.counters["messages_received"] == heard
    assert len(bench.transport.calls) == calls, "no connection is made either"


async def test_every_message_names_the_session(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(bench.transport, "send", lambda _, frames: sent.append(codec.session_of(frames[0])) or True)
    await bench.start()
    bench.meet()
    assert sent and set(sent) == {bench.engine.identity.boot_nonce[:8]}


async def test_a_fault_of_the_program_in_a_commit_ends_the_loop(bench: Bench) -> None:
    await bench.start()
    await asyncio.sleep(0)
    bench.log.fault = RuntimeError("a bug")
    waiting = asyncio.ensure_future(bench.runner.submit(lun("a")))
    assert bench.task is not None
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(bench.task, 5)
    await bench.runner.stop()
    with pytest.raises(UnavailableError):
        await waiting


async def test_a_refused_send_is_told_to_the_engine_which_makes_up_for_it(bench: Bench) -> None:
    await bench.start()
    bench.meet()
    bench.transport.takes = False
    await bench.runner.submit(lun("a"))
    assert bench.engine.counters["sends_refused"] >= 1
    bench.transport.takes = True
    bench.transport.sent.clear()
    await bench.until(lambda: any(isinstance(m, Digest) and m.full for _, m in bench.transport.sent))
    (digest, *_) = [m for _, m in bench.transport.sent if isinstance(m, Digest) and m.full]
    assert digest.clock[bench.scribe.actor("n1")] == 3


async def test_nothing_more_is_encoded_for_a_peer_that_takes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.start()
    bench.meet()
    large = {"x": "y" * 60_000}
    bench.runner.observe([Cell("k", str(n), "healthy", detail=large) for n in range(100)])
    bench.transport.sent.clear()
    ask = bench.digest({})
    bench.engine.peers[bench.peer.curve_key].answered_ms = 0  # long ago
    encoded: list[Message] = []
    original = codec.encode
    monkeypatch.setattr(codec, "encode", lambda message, session: encoded.append(message) or original(message, session))
    bench.transport.takes = False
    bench.runner.dispatch(MessageReceived(bench.peer.curve_key, *original(ask)))
    assert len(encoded) == 1
    assert bench.engine.counters["sends_refused"] > 5, "the engine knows of all"
    bench.transport.takes = True
    bench.runner.dispatch(MessageReceived(bench.peer.curve_key, *original(Ping(1))))
    assert bench.kinds() == ["Pong"]


async def test_a_message_that_cannot_be_encoded_stops_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.start()
    bench.meet()

    def too_large(message: Message, session: bytes) -> Frames:
        raise codec.BadMessage("too large", oversized=True)

    monkeypatch.setattr(codec, "encode", too_large)
    await bench.runner.submit(lun("a"))
    assert "message-too-large" in [a.code for a in bench.alarms]


async def test_health_is_pushed_and_traced(bench: Bench) -> None:
    await bench.start()
    bench.meet()
    bench.transport.sent.clear()
    bench.runner.observe([Cell("multipath.map", "m1", "healthy")])
    (delta,) = [m for _, m in bench.transport.sent if isinstance(m, Delta)]
    assert [e.cell.id for e in delta.health[0].cells] == ["m1"]
    assert ("health", "n1:1.1") in [(t.what, t.name) for t in bench.runner.traces]
    cursors = [t.cursor for t in bench.runner.traces]
    assert cursors == sorted(set(cursors))
    bench.runner.observe([Cell("multipath.map", "m1", "healthy", observed_at=5.0)])
    assert len([m for _, m in bench.transport.sent if isinstance(m, Delta)]) == 1


async def test_a_ping_is_answered_and_a_member_that_goes_is_disconnected(bench: Bench) -> None:
    await bench.start()
    bench.meet()
    bench.hear(Ping(7))
    assert bench.kinds()[-1] == "Pong"
    await bench.runner.submit({"member/n2": member_value(bench.peer) | {"state": "retired"}})
    assert bench.transport.calls[-1] == ("remove", bench.peer.curve_key)


async def test_a_peer_that_sends_garbage_is_remade(bench: Bench) -> None:
    await bench.start()
    bench.meet()
    for _ in range(20):
        bench.runner.dispatch(MessageReceived(bench.peer.curve_key, b"bad", b""))
    assert bench.transport.calls[-1] == ("remake", bench.peer.curve_key)
    assert {a.code for a in bench.alarms} == {"bad-peer"}


def test_the_clock_is_in_whole_milliseconds_and_runs() -> None:
    first = boottime_ms()
    assert isinstance(first, int)
    assert 0 <= boottime_ms() - first < 60_000


def recorded(bench: Bench) -> list[Event]:
    """What the runner's recording holds; it begins with the first call."""
    runner, engine = bench.runner, bench.engine
    if runner.recording is None:
        runner.recording = Recording(2**20, lambda now_ms: None)
        runner.recording.begin(take_image(engine.identity, engine.replica, {}, Random(1), boottime_ms(), Options()))
    ((_, inputs),) = load(runner.recording.dump())
    times = [at_ms for at_ms, _ in inputs]
    assert times == sorted(times)
    return [event for _, event in inputs]


async def test_whatever_the_engine_is_told_is_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(bench) == []
    told: list[Event] = []
    handle = bench.engine.handle

    def watched(event: Event, now_ms: int) -> list[Effect]:
        told.append(event)
        assert len(recorded(bench)) == len(told), "it is noted before"
        return handle(event, now_ms)

    monkeypatch.setattr(bench.engine, "handle", watched)
    await bench.start()
    bench.meet()
    await bench.runner.submit(lun("a"))
    bench.transport.takes = False
    bench.runner.observe([Cell("k", "i", "healthy")])
    bench.log.fault = UnavailableError("no space", code="disk-full")
    with pytest.raises(PathmeshError):
        await bench.runner.submit(lun("b"))
    kinds = [type(event) for event in recorded(bench)]
    assert kinds == [type(event) for event in told]
    assert {PeerUp, MessageReceived, LocalEdit, Committed, SendRefused, LocalSnapshot} <= set(kinds)


async def test_what_breaks_the_engine_is_in_the_recording(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(bench)

    def broken(event: Event, now_ms: int) -> list[Effect]:
        raise RuntimeError("broken")

    monkeypatch.setattr(bench.engine, "handle", broken)
    with pytest.raises(RuntimeError):
        bench.runner.dispatch(PeerUp("key"))
    assert recorded(bench) == [PeerUp("key")]


@pytest.mark.parametrize("fails", [False, True])
async def test_it_is_known_while_a_rebase_is_under_way(bench: Bench, fails: bool) -> None:
    """An engine that starts from an image then would be told that a rebase ended of which it knows nothing."""
    images: list[bool] = []

    def renew(now_ms: int) -> tuple[Image, tuple[Event, ...]] | None:
        images.append(bench.runner.rebasing)
        return None

    recorded(bench)
    bench.runner.recording = Recording(0, renew)
    old = take_image(bench.engine.identity, bench.engine.replica, {}, Random(1), boottime_ms() - 60_000, Options())
    bench.runner.recording.begin(old)
    asking = Asking(bench, Rebase(b"base"))
    bench.log.go.clear()
    bench.runner.dispatch(Tick())
    bench.runner.dispatch(Tick())
    if fails:
        bench.log.fault = UnavailableError("no space", code="disk-full")
    bench.log.go.set()
    await bench.until(lambda: len(asking.told) == 3)
    bench.runner.dispatch(Tick())
    assert images == [False, True, True, False]
