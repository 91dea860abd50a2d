"""The one loop around the engine: transport events, ticks and commits in; sends, commits and news out."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gossip import codec
from gossip.engine import Engine
from gossip.events import (
    Accepted,
    Alarm,
    Commit,
    CommitFailed,
    Committed,
    Connect,
    Disconnect,
    Effect,
    EpochSet,
    Event,
    LocalEdit,
    LocalSnapshot,
    Publish,
    Rebase,
    Rebased,
    RebaseFailed,
    Rejected,
    Remake,
    Send,
    SendRefused,
    SetEpoch,
    Tick,
)
from gossip.messages import SESSION_BYTES
from gossip.recording import Recording
from gossip.transport import Transport, TransportEvent
from store.cells import Cell
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, SignedEdit
from store.errors import PathmeshError, UnavailableError
from store.limits import limit


def boottime_ms() -> int:
    """Milliseconds of a clock that runs on during suspend and never steps (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


EPOCH_AGAIN_SECONDS = 1.0
"""How soon an epoch that could not be written is tried again: nothing of it may be sent before."""


class Log(Protocol):
    """Where edits are made durable. PathmeshError from any method: nothing of that call was kept."""

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        """Durable when it returns, which says since when (CLOCK_MONOTONIC, ns)."""

    async def rebase(self, base: bytes, gone: Iterable[Dot], log: Iterable[bytes] | None = None) -> None:
        """Durable when it returns: this base, without the edits `gone`, or with exactly the edits `log`."""

    async def set_epoch(self, epoch: int) -> None:
        """Durable when it returns."""


class RemakingTransport(Transport, Protocol):
    """A transport that can make a connection anew."""

    def remake(self, key: str) -> None:
        """Close the connection to the peer and open it again."""


@dataclass(frozen=True, slots=True)
class Trace:
    """When something became true on this node: CLOCK_MONOTONIC nanoseconds, comparable between processes of one host."""

    cursor: int
    what: str
    name: str
    monotonic_ns: int


class Runner:
    """Runs one engine. `dispatch` may be called from the event loop's thread only."""

    def __init__(
        self,
        engine: Engine,
        transport: RemakingTransport,
        log: Log,
        *,
        published: Callable[[Publish], None],
        alarmed: Callable[[Alarm], None],
        recording: Recording | None = None,
    ) -> None:
        self.engine = engine
        self.recording = recording
        self.rebasing = False
        """Whether the engine waits for a new base to be durable: no image of it can be taken then."""
        self._session = engine.identity.boot_nonce[:SESSION_BYTES]
        self.traces: deque[Trace] = deque(maxlen=limit("traces"))
        self._transport = transport
        self._log = log
        self._published = published
        self._alarmed = alarmed
        self._requests: dict[int, asyncio.Future[Dot]] = {}
        self._numbers = itertools.count(1)
        self._cursor = itertools.count(1)
        self._commits: set[asyncio.Task[None]] = set()
        self._closed = False
        self._withdrawn = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms = 0
        self._broken: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Tick until cancelled. Raises what broke an event or a commit, unless the disk did: the program is wrong then, and must stop."""
        self._broken = asyncio.get_running_loop().create_future()
        now_ms = boottime_ms()
        if self.recording is not None:
            self.recording.started(now_ms)
        self._perform(self.engine.start(now_ms))
        self._arm()
        try:
            await self._broken
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _arm(self) -> None:
        """Tick when the engine wants it; sooner than planned if something came up meanwhile."""
        wanted = self.engine.tick_ms
        if self._timer is not None:
            if wanted >= self._armed_ms:
                return
            self._timer.cancel()
        self._armed_ms = wanted
        self._timer = asyncio.get_running_loop().call_later(wanted / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.dispatch(Tick())
        if not self._closed:
            self._arm()

    async def stop(self) -> None:
        """Wait for the commit in flight, tell those whose edits it held, and end what else waits."""
        self._closed = True
        if self._commits:
            await asyncio.wait(self._commits)
        for waiting in self._requests.values():
            if not waiting.done():
                waiting.set_exception(UnavailableError("the agent is stopping", code="stopping"))

    def withdraw(self) -> None:
        """Take no part any more: end all connections, hear nobody and say nothing, for the rest of this process's life."""
        self._withdrawn = True
        for key in self.engine.peers:
            self._transport.remove_peer(key)

    def dispatch(self, event: Event) -> None:
        """Give the engine an event and do what it asks."""
        if self._closed or (self._withdrawn and isinstance(event, TransportEvent)):
            return
        try:
            self._perform(self._tell(event))
        except Exception as fault:
            self._break(fault)
            raise
        if self._timer is not None:
            self._arm()

    def _tell(self, event: Event) -> list[Effect]:
        """Give the engine an event, noted before in case it breaks; returns what is to be done."""
        now_ms = boottime_ms()
        if self.recording is not None:
            self.recording.note(event, now_ms)
        return self.engine.handle(event, now_ms)

    def _break(self, fault: BaseException) -> None:
        """End `run` with this: what the engine does next could be wrong."""
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(fault)

    async def submit(
        self,
        changes: Mapping[str, Options | None],
        *,
        reason: str = "",
        kind: str = CHANGE,
        covers: Mapping[str, tuple[Dot, ...]] | None = None,
    ) -> Dot:
        """Make one edit; returns its dot once it is durable and folded. PathmeshError with the engine's code if it was not made."""
        if self._closed:
            raise UnavailableError("the agent is stopping", code="stopping")
        request = next(self._numbers)
        future: asyncio.Future[Dot] = asyncio.get_running_loop().create_future()
        self._requests[request] = future
        self.dispatch(LocalEdit(request, changes, time.time(), reason, kind, covers or {}))
        return await future

    def observe(self, cells: Iterable[Cell]) -> None:
        """Report this node's whole health."""
        self.dispatch(LocalSnapshot(tuple(cells)))

    def _perform(self, effects: list[Effect]) -> None:
        self.rebasing = self.rebasing or any(isinstance(effect, Rebase) for effect in effects)
        pending = deque(effects)
        full: set[str] = set()
        while pending:
            effect = pending.popleft()
            match effect:
                case Send() | Connect() | Remake() if self._withdrawn:
                    pass
                case Send():
                    pending.extend(self._send(effect, full))
                case Commit():
                    self._write(self._commit(effect.batch))
                case Rebase():
                    self._write(self._rebase(effect))
                case SetEpoch():
                    self._write(self._set_epoch(effect.epoch))
                case Publish():
                    for node in effect.health:
                        self._trace("health", f"{node}:{self._seq(node)}")
                    self._published(effect)
                case Connect():
                    self._transport.add_peer(effect.key, effect.endpoint)
                case Disconnect():
                    self._transport.remove_peer(effect.key)
                case Remake():
                    self._transport.remake(effect.key)
                case Accepted():
                    future = self._requests.pop(effect.request)
                    if not future.done():
                        future.set_result(effect.dot)
                case Rejected():
                    future = self._requests.pop(effect.request)
                    if not future.done():
                        future.set_exception(PathmeshError(effect.message, code=effect.code))
                case Alarm():
                    self._alarmed(effect)

    def _send(self, effect: Send, full: set[str]) -> list[Effect]:
        """Send to each peer; to none of `full`, which took nothing a moment ago: the rest of a long answer need not even be encoded."""
        if not full.issuperset(effect.keys):
            try:
                frames = codec.encode(effect.message, self._session)
            except codec.BadMessage as fault:
                # Never expected: the engine keeps within the limits. One message less is better than a node that stands still.
                return [Alarm("message-too-large", f"not sent: {fault}")]
            full.update(key for key in effect.keys if key not in full and not self._transport.send(key, frames))
        answers: list[Effect] = []
        for key in full.intersection(effect.keys):
            answers.extend(self._tell(SendRefused(key, effect.message)))
        return answers

    async def _commit(self, batch: tuple[SignedEdit, ...]) -> None:
        try:
            durable_at = await self._log.commit_edits(batch)
        except PathmeshError as fault:
            self._perform(self._tell(CommitFailed(batch, fault.message)))
        else:
            for signed in batch:
                self._trace("edit", str(signed.dot), durable_at)
            self._perform(self._tell(Committed(batch)))

    async def _rebase(self, effect: Rebase) -> None:
        try:
            await self._log.rebase(effect.base, effect.gone, effect.log)
        except PathmeshError as fault:
            done: Event = RebaseFailed(fault.message)
        else:
            done = Rebased()
        effects = self._tell(done)
        self.rebasing = False
        self._perform(effects)

    async def _set_epoch(self, epoch: int) -> None:
        """Until it is done: the engine says nothing of its own before."""
        told = False
        while not self._closed:
            try:
                await self._log.set_epoch(epoch)
            except PathmeshError as fault:
                if not told:
                    self._alarmed(Alarm("storage-failed", fault.message))
                    told = True
                await asyncio.sleep(EPOCH_AGAIN_SECONDS)
            else:
                self._perform(self._tell(EpochSet(epoch)))
                return

    def _write(self, writing: Coroutine[None, None, None]) -> None:
        """Do it in the background, unless the runner is stopping."""
        if self._closed:
            writing.close()
            return
        task = asyncio.get_running_loop().create_task(writing)
        self._commits.add(task)
        task.add_done_callback(self._commit_ended)

    def _commit_ended(self, task: asyncio.Task[None]) -> None:
        self._commits.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._break(fault)

    def _seq(self, node: str) -> str:
        stream = self.engine.exchange.streams.get(node)
        return f"{stream.head.epoch}.{stream.head.seq}" if stream else "-"

    def _trace(self, what: str, name: str, at_ns: int | None = None) -> None:
        self.traces.append(Trace(next(self._cursor), what, name, time.monotonic_ns() if at_ns is None else at_ns))
