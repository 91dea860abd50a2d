"""The simulated world: machines, the network between them, and virtual time. It does what engines ask for and tells them what happened.

Everything follows from the seed: there is one agenda, ordered by time and then by when a thing was put on it, and every random choice comes
from a generator of its own (world, network, disks). What a run means is judged elsewhere: the world only calls its checker.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from gossip import codec
from gossip.engine import TICK_MS
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
from gossip.messages import Hello
from gossip.transport import MessageReceived, PeerDown, PeerUp
from scripts.simulation import forge, seams
from scripts.simulation.checks import Checker, Violation
from scripts.simulation.disk import Copy, Disk
from scripts.simulation.hosts import apply_config
from scripts.simulation.machine import Arrived, Machine
from scripts.simulation.network import HEARTBEAT_MS, RETRY_MS, Cut, Frame, Link, Network
from scripts.simulation.trace import Trace, frame_digest
from store.cells import Cell
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, decode_edit
from store.health import decode_stream, encode_stream
from store.members import Member, Role
from store.replica import Replica

SMALL = 32
"""Up to so many nodes everything is checked after each event; above, every simulated second."""
HEALTH_ROWS_MS = 4_000
WALL_EPOCH_MS = 1_700_000_000_000
_LIMIT = 2**62


class World:
    """All machines and the time. `trace` takes every event; `sometimes` counts what rarely happens."""

    def __init__(self, seed: int | str, count: int, *, trace: Trace | None = None, roles: Mapping[str, Role] | None = None) -> None:
        self.random = Random(f"{seed}/world")
        self.net = Network(Random(f"{seed}/network"))
        self.disks = Random(f"{seed}/disks")
        self.trace = trace or Trace()
        self.now = 0
        self.machines: dict[str, Machine] = {}
        self.by_key: dict[str, list[Machine]] = {}
        self.commit_ms = (1, 20)
        self.commit_failure = 0.0
        self.collect_edits = 256
        self.calm = False
        """All faults have ended."""
        self.happened: Counter[str] = Counter()
        self.bytes_sent = 0
        self.sent: Counter[str] = Counter()
        self.heard_edit: Callable[[Machine, Dot], None] | None = None
        """Called for each edit that becomes durable on a machine."""
        self._agenda: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._requests = 0
        self.check = Checker(self, everything=count <= SMALL)
        members = [forge.member(f"n{n}", (roles or {}).get(f"n{n}", Role.ADMIN)) for n in range(1, count + 1)]
        log = forge.founding_log(members)
        self.check.founded(log)
        self._prepared = Replica(forge.CLUSTER, forge.verify, log)
        dots = {signed.dot: signed.raw for signed in log}
        for member in members:
            machine = self.add(member)
            machine.disk.append(dots, self.check.founding)
            machine.disk.pristine = True
            machine.guard.least = machine.guard.ceiling = sum(1 for dot in dots if dot.actor == member.actor)
        self.at(self.now + 1_000, self._second)

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, time: int, call: Callable[..., None], *args: Any) -> None:
        """Put a call on the agenda."""
        self._number += 1
        heapq.heappush(self._agenda, (time, self._number, call, args))

    def later(self, ms: int, machine: Machine, call: Callable[..., None], *args: Any) -> None:
        """The same, for the present life of a machine's process only."""
        self.at(self.now + ms, self._in_life, machine, machine.life, call, args)

    @staticmethod
    def _in_life(machine: Machine, life: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if machine.life == life:
            call(*args)

    def run(self, ms: int) -> None:
        """Let so much time pass."""
        end = self.now + ms
        agenda, pop = self._agenda, heapq.heappop
        while agenda and agenda[0][0] <= end:
            time, _, call, args = pop(agenda)
            self.now = time
            call(*args)
        self.now = end

    def until(self, condition: Callable[[], bool], within_ms: int, what: str, step_ms: int = 100) -> int:
        """Let time pass until it holds; returns how long that took. Violation if it does not in time."""
        start = self.now
        while not condition():
            if self.now - start >= within_ms:
                raise Violation(2, "", f"{what}: not after {within_ms} ms", self.now)
            self.run(step_ms)
        return self.now - start

    def _second(self) -> None:
        self.check.second()
        self.at(self.now + 1_000, self._second)

    # -- machines -----------------------------------------------------------------------------------------------------

    def add(self, member: Member, *, label: str = "", bootstrap: Iterable[Member] = ()) -> Machine:
        """A machine that is not running yet, its disk empty."""
        machine = Machine(len(self.machines), label or member.name, member, bootstrap=tuple(bootstrap))
        machine.booted_ms = self.now - self.random.randrange(10_000_000)
        machine.guard_block = self.random.choice((1, 1, 4, 64))
        self.machines[machine.label] = machine
        self.by_key.setdefault(member.curve_key, []).append(machine)
        return machine

    def start(self, machine: Machine) -> None:
        """Start its process, as the agent starts: the guard is looked at, the epoch is durable before anything is sent."""
        assert machine.engine is None and not machine.gone
        disk, guard = machine.disk, machine.guard
        replica = self._load(machine)
        counter = replica.fold.clock.get(machine.member.actor, 0)
        if not guard.fits(disk.epoch, counter):
            guard.restored = True
            guard.least, guard.ceiling = 0, max(guard.ceiling, counter)
        disk.epoch = max(disk.epoch, guard.epoch) + 1
        guard.epoch = disk.epoch
        machine.life += 1
        now = machine.now(self.now)
        rows = disk.health[-1] if disk.health else {}
        streams = {name: decode_stream(blob, now) for name, blob in rows.items() if name != machine.name}
        machine.engine = seams.make_engine(
            machine.member, replica, streams, disk.epoch, self.random.randbytes(16), machine.bootstrap, guard.restored,
            Random(self.random.getrandbits(64)), now, self.collect_edits,
        )  # fmt: skip
        machine.paused, machine.since_ms, machine.crash_at, machine.writing = False, self.now, -1, None
        machine.inbox, machine.links, machine.asked = [], {}, {}
        machine.standing, machine.positions, machine.lag, machine.apply_due = {}, {}, {}, -1
        self.trace.note(self.now, machine.label, "*", f"started, epoch {disk.epoch}{', restored' if guard.restored else ''}")
        self.check.started(machine)
        self.check.stepped(machine)
        self._perform(machine, machine.engine.start(now))
        self._tick_at(machine, self.now + self.random.randrange(1, TICK_MS))
        if self.check.everything:
            self.later(self.random.randrange(1, HEALTH_ROWS_MS), machine, self._save_health, machine)
        self.report(machine, machine.condition or {"36000": "healthy"})
        self._plan_apply(machine)

    def _load(self, machine: Machine) -> Replica:
        disk = machine.disk
        if disk.pristine and hasattr(self._prepared, "copy"):
            copied: Replica = self._prepared.copy()
            return copied
        return seams.make_replica(forge.CLUSTER, disk.rows, disk.base)

    def crash(self, machine: Machine) -> None:
        """As SIGKILL or a power cut: a transaction under way is on the disk whole or not at all; the last health rows may be lost."""
        engine = machine.engine
        assert engine is not None
        self.trace.note(self.now, machine.label, "*", "crashed")
        machine.counters += engine.counters
        self._save_health(machine, again=False)
        if machine.disk.health:
            keep = self.disks.randrange(len(machine.disk.health))
            del machine.disk.health[keep + 1 :]
        if (writing := machine.writing) is not None:
            kept = self.disks.random() < 0.5
            self.happened["torn commit kept" if kept else "torn commit lost"] += 1
            if kept:
                self._persist(machine, writing)
            elif isinstance(writing, Commit):
                self.check.lost(machine, writing.batch)
            else:
                self.check.abandoned(machine)
        machine.engine, machine.writing, machine.paused = None, None, False
        machine.life += 1
        machine.inbox = []
        for link in machine.links.values():
            link.reset()
        machine.links = {}
        for other in self.machines.values():
            theirs = other.links.get(machine.key)
            if theirs is not None and theirs.up and theirs.target == machine.label:
                self._link_lost(other, theirs, self.random.randint(1, 5))
        self.check.crashed(machine)

    def pause(self, machine: Machine) -> None:
        """As SIGSTOP: its connections stand, what arrives waits."""
        machine.paused = True
        self.trace.note(self.now, machine.label, "*", "stopped")
        self.at(self.now + HEARTBEAT_MS, self._heartbeats_missed, machine, machine.life, self.now)
        machine.since_ms = self.now

    def _heartbeats_missed(self, machine: Machine, life: int, since: int) -> None:
        if machine.life == life and machine.paused and machine.since_ms == since:
            for other in self.machines.values():
                link = other.links.get(machine.key)
                if link is not None and link.up and link.target == machine.label:
                    self._link_lost(other, link, 1)

    def resume(self, machine: Machine) -> None:
        """As SIGCONT."""
        if machine.engine is None or not machine.paused:
            return
        life = machine.life
        long = self.now - machine.since_ms >= HEARTBEAT_MS
        machine.paused, machine.since_ms = False, self.now
        self.trace.note(self.now, machine.label, "*", "goes on")
        waiting, machine.inbox = machine.inbox, []
        if self.random.random() < 0.5:
            self.dispatch(machine, Tick())
        for arrived in waiting:
            if machine.life != life:
                return
            if machine.paused:
                machine.inbox.append(arrived)
            else:
                self._take(machine, arrived)
        if machine.life != life:
            return
        if long:
            for link in list(machine.links.values()):
                if link.up:
                    self._link_lost(machine, link, 1)
        self.dispatch(machine, Tick())

    def save_copy(self, machine: Machine) -> None:
        """A backup or an image of its storage, as it is now."""
        machine.copy = Copy(machine.disk.copy(), machine.guard.copy(), dict(machine.host))

    def restore(self, machine: Machine, *, whole: bool) -> None:
        """Put its copy back while its process is down: the database alone, or the whole machine."""
        assert machine.engine is None and machine.copy is not None
        before = machine.disk
        machine.disk = machine.copy.disk.copy()
        if whole:
            machine.guard = machine.copy.guard.copy()
            machine.host = dict(machine.copy.host)
            machine.booted_ms = self.now
        self.happened["whole machine restored" if whole else "database restored"] += 1
        self.check.replaced(machine, before)

    def wipe(self, machine: Machine) -> None:
        """Its database is gone while its process is down; the guard file is still there, which names its peers."""
        assert machine.engine is None
        before = machine.disk
        machine.disk = Disk()
        machine.bootstrap = tuple(m.member for m in self.members if m is not machine)
        self.happened["database wiped"] += 1
        self.check.replaced(machine, before)

    def clone(self, machine: Machine) -> Machine:
        """A second machine from an image of this one as it is now: the same keys, the same address."""
        twin = self.add(machine.member, label=f"{machine.label}'")
        twin.disk, twin.guard, twin.host = machine.disk.copy(), machine.guard.copy(), dict(machine.host)
        twin.bootstrap, twin.condition, twin.clone = machine.bootstrap, dict(machine.condition), True
        self.happened["machine cloned"] += 1
        return twin

    def destroy(self, machine: Machine) -> None:
        """It never comes back."""
        if machine.engine is not None:
            self.crash(machine)
        machine.gone = True
        self.check.replaced(machine, machine.disk)

    @property
    def members(self) -> list[Machine]:
        """The machines that belong to the cluster, running or not; no clones."""
        return [m for m in self.machines.values() if not m.gone and not m.clone]

    @property
    def participants(self) -> list[Machine]:
        """The machines that must agree with each other: those that run and have not been retired or left."""
        return [m for m in self.members if not m.retired and m.engine is not None]

    @property
    def up(self) -> list[Machine]:
        """The machines whose process runs and is not stopped."""
        return [m for m in self.machines.values() if m.engine is not None and not m.paused]

    # -- events -------------------------------------------------------------------------------------------------------

    def dispatch(self, machine: Machine, event: Event) -> None:
        """Tell a machine's engine what happened; a stopped one hears of it later."""
        if machine.engine is None:
            return
        if machine.paused:
            machine.inbox.append(Arrived(event))
            return
        self._handle(machine, event, b"")

    def _take(self, machine: Machine, arrived: Arrived) -> None:
        link, frame = arrived.link, arrived.frame
        if frame is None or link is None:
            self._handle(machine, arrived.event, b"")
            return
        if link.generation == arrived.generation:
            link.under_way -= 1
        before = self.check.arriving(machine, frame)
        self._handle(machine, arrived.event, arrived.digest)
        self.check.arrived(machine, frame, before)

    def _handle(self, machine: Machine, event: Event, digest: bytes) -> None:
        engine = machine.engine
        if engine is None:
            return
        self.trace.event(self.now, machine.index, machine.label, event, digest)
        machine.events += 1
        if machine.events == machine.crash_at:
            self._die_in(machine, event)
            return
        if isinstance(event, LocalEdit):
            self.check.asking(machine, event)
        try:
            effects = engine.handle(event, machine.now(self.now))
        except Exception as fault:
            raise Violation(
                7, machine.label, f"the engine fails at {type(event).__name__}: {type(fault).__name__}: {fault}", self.now
            ) from fault
        self.check.handled(machine, event)
        self.check.stepped(machine)
        self._perform(machine, effects)
        if machine.engine is engine:
            wanted = self.now + engine.tick_ms
            if wanted < machine.due_ms:
                self._tick_at(machine, wanted)

    def _die_in(self, machine: Machine, event: Event) -> None:
        """The process dies while it does what this event asked for: some of the effects happen."""
        engine = machine.running
        if isinstance(event, LocalEdit):
            self.check.asking(machine, event)
        effects = engine.handle(event, machine.now(self.now))
        self.check.handled(machine, event)
        self.happened["crash amid effects"] += 1
        self._perform(machine, effects[: machine.crash_after])
        if machine.engine is engine:
            self.crash(machine)

    def _perform(self, machine: Machine, effects: Sequence[Effect]) -> None:
        queue: deque[Effect] = deque(effects)
        life = machine.life
        while queue and machine.life == life:
            effect = queue.popleft()
            match effect:
                case Send():
                    queue.extend(self._send(machine, effect))
                case Commit() | Rebase() | SetEpoch():
                    self._write(machine, effect)
                case Connect():
                    old = machine.links.get(effect.key)
                    if old is not None:
                        old.reset()
                    link = machine.links[effect.key] = Link(effect.key, generation=old.generation + 1 if old else 0)
                    self.later(self.random.randint(1, 20), machine, self._connect, machine, link, link.generation)
                case Disconnect():
                    machine.links.pop(effect.key).reset()
                case Remake():
                    link = machine.links[effect.key]
                    link.reset()
                    self.later(self.random.randint(10, 40), machine, self._connect, machine, link, link.generation)
                case Accepted():
                    self.check.accepted(machine, effect)
                case Rejected():
                    machine.rejected[effect.request] = effect
                    machine.asked.pop(effect.request, None)
                case Alarm():
                    machine.alarms.append(effect)
                    self.check.alarmed(machine, effect)
                    self.happened[f"alarm {effect.code}"] += 1
                    self.trace.note(self.now, machine.label, "!", f"{effect.code}: {effect.message}")
                case Publish():
                    self.check.published(machine, effect)
                    if effect.keys or effect.settled:
                        self._plan_apply(machine)
                    if effect.settled and machine.guard.restored:
                        machine.guard.restored = False
                        counter = machine.running.replica.fold.clock.get(machine.member.actor, 0)
                        machine.guard.least, machine.guard.ceiling = counter, max(counter, machine.guard.ceiling)

    def _tick_at(self, machine: Machine, time: int) -> None:
        machine.due_ms = time
        self.at(time, self._tick, machine, machine.life, time)

    def _tick(self, machine: Machine, life: int, time: int) -> None:
        if machine.life != life or machine.due_ms != time:
            return  # one that is due sooner took its place
        if not machine.paused:
            machine.due_ms = _LIMIT
            self._handle(machine, Tick(), b"")
        if machine.engine is not None and machine.life == life:
            wanted = self.now + machine.engine.tick_ms
            if wanted < machine.due_ms or machine.due_ms == time:
                self._tick_at(machine, wanted)

    # -- the network --------------------------------------------------------------------------------------------------

    def cut(self, cut: Cut, *, loud: bool) -> None:
        """Break the network. A loud break is noticed at once, a silent one after the heartbeat's time."""
        self.net.cuts.append(cut)
        self.trace.note(self.now, "", "*", f"cut: {cut.shape.value}: {' '.join(sorted(cut.side))[:80]}")
        for machine in self.machines.values():
            for link in machine.links.values():
                if link.up and cut.severs(machine.label, link.target):
                    wait = self.random.randint(1, 5) if loud else HEARTBEAT_MS + self.random.randint(0, 500)
                    self.later(wait, machine, self._severed, machine, link, link.generation)

    def _severed(self, machine: Machine, link: Link, generation: int) -> None:
        if link.up and link.generation == generation and self.net.severs(machine.label, link.target):
            self._link_lost(machine, link, 0)

    def mend(self, cut: Cut) -> None:
        """End one cut; what was handed to connections that still stand arrives."""
        if cut not in self.net.cuts:
            return
        self.net.cuts.remove(cut)
        self.trace.note(self.now, "", "*", "mended")
        for machine in self.machines.values():
            for link in machine.links.values():
                if link.stuck and link.up and not self.net.drops(machine.label, link.target):
                    stuck, link.stuck = link.stuck, []
                    for frame in stuck:
                        self._launch(machine, link, frame)

    def _link_lost(self, machine: Machine, link: Link, ms: int) -> None:
        """The connection breaks; its owner hears of it and connects anew."""
        link.reset()
        link.retry_ms = RETRY_MS[0]
        self.later(ms, machine, self.dispatch, machine, PeerDown(link.key))
        self.later(link.retry_ms + ms, machine, self._connect, machine, link, link.generation)

    def _connect(self, machine: Machine, link: Link, generation: int) -> None:
        if link.up or link.generation != generation or machine.links.get(link.key) is not link:
            return
        target = self._reachable(machine, link.key)
        if target is None or machine.paused:
            link.retry_ms = min(RETRY_MS[1], link.retry_ms * 2)
            self.later(self.random.randint(link.retry_ms // 2, link.retry_ms), machine, self._connect, machine, link, generation)
            return
        link.up, link.target, link.clear_ms, link.retry_ms = True, target.label, 0, RETRY_MS[0]
        self.dispatch(machine, PeerUp(link.key))

    def _reachable(self, machine: Machine, key: str) -> Machine | None:
        found = [
            peer
            for peer in self.by_key.get(key, ())
            if peer is not machine and peer.engine is not None and not peer.paused and not self.net.severs(machine.label, peer.label)
        ]
        if not found:
            return None
        target = found[0] if len(found) == 1 else self.random.choice(found)
        return target if target.running.allowed(machine.key) else None

    def _send(self, machine: Machine, effect: Send) -> list[Effect]:
        message, engine = effect.message, machine.running
        answers: list[Effect] = []
        frame: Frame | None = None
        for key in effect.keys:
            link = machine.links.get(key)
            if link is None or not link.up or not self.net.accepts(link):
                refused = SendRefused(key, message)
                self.trace.event(self.now, machine.index, machine.label, refused)
                answers += engine.handle(refused, machine.now(self.now))
                continue
            if frame is None:
                frame = self._frame(machine, effect)
            self.bytes_sent += len(frame.frames[1]) + len(frame.frames[0])
            self.sent[type(message).__name__] += 1
            if self.net.cuts and self.net.drops(machine.label, link.target):
                link.under_way += 1
                link.stuck.append(frame)
            else:
                self._launch(machine, link, frame, counted=False)
        return answers

    def _frame(self, machine: Machine, effect: Send) -> Frame:
        message = effect.message
        ages = self.check.sending(machine, message)
        if isinstance(message, Hello) and machine.version_shift:
            message = Hello(
                message.cluster, message.name, message.actor, message.version_min + machine.version_shift,
                message.version_max + machine.version_shift, message.boot_nonce, message.features, message.ask,
            )  # fmt: skip
        try:
            frames = seams.encode(machine.running, message)
        except codec.BadMessage as fault:
            raise Violation(7, machine.label, f"a message that no peer takes: {fault}", self.now) from fault
        if self.net.garbage and self.net.random.random() < self.net.garbage:
            frames = self._spoiled(frames)
            ages = ()
        return Frame(frames, frame_digest(*frames), self.now, message, ages)

    def _spoiled(self, frames: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """What a faulty peer of this or another version could send in its place."""
        self.happened["garbage sent"] += 1
        header, body = frames
        draw = self.net.random.random()
        if draw < 0.4:
            return header[:6] + bytes((200,)) + header[7:], body  # a class of a later version
        if draw < 0.7:
            cut = body[: len(body) // 2]
            return header[:7] + len(cut).to_bytes(4, "big") + header[11:], cut
        return self.net.random.randbytes(len(header)), body[:64]

    def _launch(self, machine: Machine, link: Link, frame: Frame, *, counted: bool = True) -> None:
        """Put the frame on its way; `counted` if it already takes a place in the queue."""
        target = self.machines[link.target]
        arrivals = self.net.arrivals(self.now, link)
        link.under_way += len(arrivals) - counted
        for time in arrivals:
            self.at(time, self._arrive, machine, target, target.life, link, link.generation, frame)

    def _arrive(self, machine: Machine, target: Machine, life: int, link: Link, generation: int, frame: Frame) -> None:
        if link.generation != generation or target.life != life:
            return
        arrived = Arrived(MessageReceived(machine.key, *frame.frames), frame.digest, frame, link, generation)
        if target.paused:
            target.inbox.append(arrived)
        else:
            self._take(target, arrived)

    # -- the disk -----------------------------------------------------------------------------------------------------

    def _write(self, machine: Machine, effect: Commit | Rebase | SetEpoch) -> None:
        if not isinstance(effect, SetEpoch):
            if machine.writing is not None:
                raise Violation(7, machine.label, "two transactions at once", self.now)
            machine.writing = effect
        if isinstance(effect, Commit):
            self.check.committing(machine, effect.batch)
            own = [s.edit.counter for s in effect.batch if s.edit.actor == machine.member.actor]
            if own and max(own) > machine.guard.ceiling:
                machine.guard.least, machine.guard.ceiling = min(own) - 1, max(own) + machine.guard_block - 1
        elif isinstance(effect, Rebase):
            self.check.rebasing(machine, effect)
        low, high = self.commit_ms
        ms = self.disks.randint(low, high) if self.now >= machine.slow_until else self.disks.randint(200, 3_000)
        self.later(ms, machine, self._written, machine, effect)

    def _written(self, machine: Machine, effect: Commit | Rebase | SetEpoch) -> None:
        failed = self.now < machine.full_until or (self.commit_failure > 0 and self.disks.random() < self.commit_failure)
        if isinstance(effect, SetEpoch):
            if failed:
                self.later(500, machine, self._written, machine, effect)
                return
            self._persist(machine, effect)
            self.dispatch(machine, EpochSet(effect.epoch))
            return
        machine.writing = None
        if failed:
            self.happened["commit failed"] += 1
            if isinstance(effect, Commit):
                self.check.lost(machine, effect.batch)
                self.dispatch(machine, CommitFailed(effect.batch, "disk full"))
            else:
                self.dispatch(machine, RebaseFailed("disk full"))
            return
        self._persist(machine, effect)
        self.dispatch(machine, Committed(effect.batch) if isinstance(effect, Commit) else Rebased())

    def _persist(self, machine: Machine, effect: Commit | Rebase | SetEpoch) -> None:
        disk = machine.disk
        match effect:
            case Commit():
                raws = {signed.dot: signed.raw for signed in effect.batch}
                disk.append(raws, self.check.persisting(machine, effect.batch))
                if self.heard_edit is not None:
                    for dot in raws:
                        self.heard_edit(machine, dot)
            case Rebase():
                log = None if effect.log is None else {decode_edit(raw).dot: raw for raw in effect.log}
                known = self.check.rebased_to(machine, effect)
                disk.rebase(effect.base, effect.gone, log)
                disk.known = known
                if log is not None:
                    clock = self.check.oracle.clock(known)
                    disk.applied = {actor: min(n, clock[actor]) for actor, n in disk.applied.items() if actor in clock}
                    counter = clock.get(machine.member.actor, 0)
                    machine.guard.ceiling = max(machine.guard.ceiling, counter)
            case SetEpoch():
                disk.epoch = max(disk.epoch, effect.epoch)
                machine.guard.epoch = max(machine.guard.epoch, effect.epoch)

    def _save_health(self, machine: Machine, *, again: bool = True) -> None:
        engine = machine.running
        machine.disk.save_health({name: encode_stream(stream) for name, stream in engine.exchange.streams.items()})
        if again:
            self.later(HEALTH_ROWS_MS, machine, self._save_health, machine)

    # -- the host -----------------------------------------------------------------------------------------------------

    def _plan_apply(self, machine: Machine) -> None:
        if machine.apply_due <= self.now:
            machine.apply_due = self.now + self.random.randint(10, 300)
            self.later(machine.apply_due - self.now, machine, self._apply, machine)

    def _apply(self, machine: Machine) -> None:
        if machine.paused:
            self.later(500, machine, self._apply, machine)
        elif not apply_config(machine, self.check):
            machine.apply_due = self.now + 2_000
            self.later(2_000, machine, self._apply, machine)

    # -- what users and tests do --------------------------------------------------------------------------------------

    def edit(
        self,
        machine: Machine,
        changes: Mapping[str, Options | None],
        *,
        kind: str = CHANGE,
        covers: Mapping[str, tuple[Dot, ...]] | None = None,
    ) -> int:
        """A user's write on this machine; returns the number of the request."""
        self._requests += 1
        wall = (WALL_EPOCH_MS + self.now + machine.wall_ms) / 1000
        self.dispatch(machine, LocalEdit(self._requests, changes, wall, f"u{self._requests}", kind, covers or {}))
        return self._requests

    def report(self, machine: Machine, states: Mapping[str, str]) -> None:
        """What the host's maps are like now."""
        machine.condition = dict(states)
        wall = (WALL_EPOCH_MS + self.now + machine.wall_ms) / 1000
        cells = tuple(Cell("multipath.map", wwid, state, observed_at=wall) for wwid, state in states.items())
        self.dispatch(machine, LocalSnapshot(cells))
