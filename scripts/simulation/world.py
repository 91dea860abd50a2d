"""The simulated world: machines, the network between them, and virtual time. It does what engines ask for and tells them what happened.

Everything follows from the seed: there is one agenda, ordered by time and then by when a thing was put on it, and every random choice comes
from a generator of its own (world, network, disks). What a run means is judged elsewhere: the world only calls its checker.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from gossip.engine import TICK_MS
from gossip.events import (
    Commit,
    LocalEdit,
    LocalSnapshot,
    Tick,
)
from scripts.simulation import forge, seams
from scripts.simulation.checks import Checker
from scripts.simulation.disk import Copy, Disk
from scripts.simulation.machine import Machine
from scripts.simulation.network import DEAD_AFTER_MS, Network
from scripts.simulation.pump import Pump
from scripts.simulation.storage import HEALTH_ROWS_MS, Storage
from scripts.simulation.trace import Trace
from scripts.simulation.violation import Violation
from scripts.simulation.wires import Wires
from store.cells import Cell
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE
from store.health import decode_stream
from store.members import Member, Role
from store.replica import Replica

SMALL = 32
"""Up to so many nodes everything is checked after each event; above, every simulated second."""
WALL_EPOCH_MS = 1_700_000_000_000


class World:
    """All machines and the time. `trace` takes every event; `happened` counts what rarely happens (see `sometimes`)."""

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
        self.pump = Pump(self)
        self.wires = Wires(self)
        self.storage = Storage(self)
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

    def until(self, condition: Callable[[], object], within_ms: int, what: str, step_ms: int = 100) -> int:
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
        if not guard.fits(disk.epoch, counter, replica.fold.clock):
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
        self.check.health.stepped(machine)
        self.pump.perform(machine, machine.engine.start(now))
        self.pump.tick_at(machine, self.now + self.random.randrange(1, TICK_MS))
        if self.check.everything:
            self.later(self.random.randrange(1, HEALTH_ROWS_MS), machine, self.storage.save_health, machine)
        self.report(machine, machine.condition or {"36000": "healthy"})
        self.pump.plan_apply(machine)

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
        self.storage.save_health(machine, again=False)
        if machine.disk.health:
            keep = self.disks.randrange(len(machine.disk.health))
            del machine.disk.health[keep + 1 :]
        if (writing := machine.writing) is not None:
            kept = self.disks.random() < 0.5
            self.happened["torn commit kept" if kept else "torn commit lost"] += 1
            if kept:
                self.storage.persist(machine, writing)
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
                self.wires.link_lost(other, theirs, self.random.randint(1, 5))
        self.check.crashed(machine)

    def pause(self, machine: Machine, *, suspended: bool = False) -> None:
        """As SIGSTOP: its connections stand, what arrives waits. `suspended`: its kernel stands still too, and answers nobody."""
        machine.paused, machine.suspended, machine.since_ms = True, suspended, self.now
        self.trace.note(self.now, machine.label, "*", "suspended" if suspended else "stopped")
        if suspended:
            self.at(self.now + DEAD_AFTER_MS, self._given_up, machine, machine.life, self.now)

    def _given_up(self, machine: Machine, life: int, since: int) -> None:
        if machine.life == life and machine.paused and machine.since_ms == since:
            for other in self.machines.values():
                link = other.links.get(machine.key)
                if link is not None and link.up and link.target == machine.label:
                    self.wires.link_lost(other, link, 1)

    def resume(self, machine: Machine) -> None:
        """As SIGCONT, or as a machine that wakes up and finds its connections dead."""
        if machine.engine is None or not machine.paused:
            return
        life = machine.life
        lost = machine.suspended and self.now - machine.since_ms >= DEAD_AFTER_MS
        machine.paused, machine.since_ms = False, self.now
        self.trace.note(self.now, machine.label, "*", "goes on")
        waiting, machine.inbox = machine.inbox, []
        if self.random.random() < 0.5:
            self.pump.dispatch(machine, Tick())
        for arrived in waiting:
            if machine.life != life:
                return
            if machine.paused:
                machine.inbox.append(arrived)
            else:
                self.pump.take(machine, arrived)
        if machine.life != life:
            return
        if lost:
            for link in list(machine.links.values()):
                if link.up:
                    self.wires.link_lost(machine, link, 1)
        self.pump.dispatch(machine, Tick())

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
        self.pump.dispatch(machine, LocalEdit(self._requests, changes, wall, f"u{self._requests}", kind, covers or {}))
        return self._requests

    def report(self, machine: Machine, states: Mapping[str, str]) -> None:
        """What the host's maps are like now."""
        machine.condition = dict(states)
        wall = (WALL_EPOCH_MS + self.now + machine.wall_ms) / 1000
        cells = tuple(Cell("multipath.map", wwid, state, observed_at=wall) for wwid, state in states.items())
        self.pump.dispatch(machine, LocalSnapshot(cells))
