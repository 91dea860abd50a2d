"""The loop around the engine, with a fake transport and a fake disk."""

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from gossip import codec
from gossip.engine import Engine, Identity
from gossip.events import Alarm, Publish
from gossip.messages import Delta, Digest, Hello, Message, Ping
from gossip.runner import Runner, boottime_ms
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

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        self.log += batch
        return DURABLE_AT


class Bench:
    """A runner for `n1`, which knows of a member `n2`."""

    def __init__(self, scribe: Any) -> None:
        self.scribe = scribe
        log = [scribe.founding("n1"), scribe.registration("n1", scribe.member("n2"), {scribe.actor("n1"): 1})]
        identity = Identity("n1", scribe.actor("n1"), 1, bytes(16), lambda body: scribe.sign("n1", body), scribe.verify)
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
    assert "Delta" not in bench.kinds()
    bench.log.go.set()
    dot = await waiting
    assert dot == Dot(bench.scribe.actor("n1"), 3)
    assert [s.dot for s in bench.log.log] == [dot]
    assert bench.log.log[0].edit.reason == "because"
    assert Delta(edits=(bench.log.log[0].raw,)) in [m for _, m in bench.transport.sent]
    assert any("wwid/1" in p.keys for p in bench.published)
    assert [(t.what, t.name, t.monotonic_ns) for t in bench.runner.traces] == [("edit", str(dot), DURABLE_AT)]


async def test_a_disk_that_fails_is_the_submitters_error_and_an_alarm(bench: Bench) -> None:
    bench.log.fault = UnavailableError("no space", code="disk-full")
    with pytest.raises(PathmeshError, match="no space") as caught:
        await bench.runner.submit(lun("a"))
    assert caught.value.code == "storage-failed"
    assert [a.code for a in bench.alarms] == ["storage-failed"]
    bench.log.fault = None
    assert (await bench.runner.submit(lun("a"))).counter == 3


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
    assert (await bench.runner.submit(lun("b"))).counter == 4


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
    assert (await first).counter == 3, "it is durable, so its user is told"
    with pytest.raises(UnavailableError) as caught:
        await second
    assert caught.value.code == "stopping"
    assert len(bench.log.log) == 1
    with pytest.raises(UnavailableError):
        await bench.runner.submit(lun("c"))
    beat = bench.engine.exchange.own.stream.head
    bench.runner.observe([Cell("k", "i", "healthy")])
    assert bench.engine.exchange.own.stream.head == beat, "events are not taken any more"


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
    await bench.until(lambda: "Digest" in bench.kinds())
    (digest, *_) = [m for _, m in bench.transport.sent if isinstance(m, Digest)]
    assert digest.clock[bench.scribe.actor("n1")] == 3


async def test_nothing_more_is_encoded_for_a_peer_that_takes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.start()
    bench.meet()
    large = {"x": "y" * 60_000}
    bench.runner.observe([Cell("k", str(n), "healthy", detail=large) for n in range(100)])
    bench.transport.sent.clear()
    ask = Digest(clock={}, state_hash=bytes(32), health={})
    encoded: list[Message] = []
    original = codec.encode
    monkeypatch.setattr(codec, "encode", lambda message: encoded.append(message) or original(message))
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

    def too_large(message: Message) -> Frames:
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
