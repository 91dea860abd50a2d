"""The loop around an engine: it is told what happened, and what it asks for is done. As `gossip.runner`, in virtual time."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossip.events import (
    Accepted,
    Alarm,
    Commit,
    Connect,
    Disconnect,
    Effect,
    Event,
    LocalEdit,
    Publish,
    Rebase,
    Rejected,
    Remake,
    Send,
    SetEpoch,
    Tick,
)
from scripts.simulation.hosts import apply_config
from scripts.simulation.machine import Arrived, Machine
from scripts.simulation.network import Link
from scripts.simulation.violation import Violation

if TYPE_CHECKING:
    from scripts.simulation.world import World

_NEVER = 2**62


class Pump:
    """Runs all engines."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def dispatch(self, machine: Machine, event: Event) -> None:
        """Tell a machine's engine what happened; a stopped one hears of it later."""
        if machine.engine is None:
            return
        if machine.paused:
            machine.inbox.append(Arrived(event))
            return
        self._handle(machine, event, b"")

    def take(self, machine: Machine, arrived: Arrived) -> None:
        link, frame = arrived.link, arrived.frame
        if frame is None or link is None:
            self._handle(machine, arrived.event, b"")
            return
        if link.generation == arrived.generation:
            link.under_way -= 1
        before = self.world.check.health.arriving(machine, frame)
        self._handle(machine, arrived.event, arrived.digest)
        self.world.check.health.arrived(machine, frame, before)

    def _handle(self, machine: Machine, event: Event, digest: bytes) -> None:
        engine = machine.engine
        if engine is None:
            return
        self.world.trace.event(self.world.now, machine.index, machine.label, event, digest)
        machine.events += 1
        if machine.events == machine.crash_at:
            self._die_in(machine, event)
            return
        if isinstance(event, LocalEdit):
            self.world.check.asking(machine, event)
        try:
            effects = engine.handle(event, machine.now(self.world.now))
        except Exception as fault:
            raise Violation(
                7, machine.label, f"the engine fails at {type(event).__name__}: {type(fault).__name__}: {fault}", self.world.now
            ) from fault
        self.world.check.handled(machine, event)
        self.world.check.health.stepped(machine)
        self.perform(machine, effects)
        if machine.engine is engine:
            wanted = self.world.now + engine.tick_ms
            if wanted < machine.due_ms:
                self.tick_at(machine, wanted)

    def _die_in(self, machine: Machine, event: Event) -> None:
        """The process dies while it does what this event asked for: some of the effects happen."""
        engine = machine.running
        if isinstance(event, LocalEdit):
            self.world.check.asking(machine, event)
        effects = engine.handle(event, machine.now(self.world.now))
        self.world.check.handled(machine, event)
        self.world.happened["crash amid effects"] += 1
        self.perform(machine, effects[: machine.crash_after])
        if machine.engine is engine:
            self.world.crash(machine)

    def perform(self, machine: Machine, effects: Sequence[Effect]) -> None:
        queue: deque[Effect] = deque(effects)
        life = machine.life
        while queue and machine.life == life:
            effect = queue.popleft()
            match effect:
                case Send():
                    queue.extend(self.world.wires.send(machine, effect))
                case Commit() | Rebase() | SetEpoch():
                    self.world.storage.write(machine, effect)
                case Connect():
                    old = machine.links.get(effect.key)
                    if old is not None:
                        old.reset()
                    link = machine.links[effect.key] = Link(effect.key, generation=old.generation + 1 if old else 0)
                    self.world.later(self.world.random.randint(1, 20), machine, self.world.wires.connect, machine, link, link.generation)
                case Disconnect():
                    machine.links.pop(effect.key).reset()
                case Remake():
                    link = machine.links[effect.key]
                    link.reset()
                    self.world.later(self.world.random.randint(10, 40), machine, self.world.wires.connect, machine, link, link.generation)
                case Accepted():
                    self.world.check.accepted(machine, effect)
                case Rejected():
                    machine.rejected[effect.request] = effect
                    machine.asked.pop(effect.request, None)
                case Alarm():
                    machine.alarms.append(effect)
                    self.world.check.alarmed(machine, effect)
                    self.world.happened[f"alarm {effect.code}"] += 1
                    self.world.trace.note(self.world.now, machine.label, "!", f"{effect.code}: {effect.message}")
                case Publish():
                    self.world.check.health.published(machine, effect)
                    if effect.keys or effect.settled:
                        self.plan_apply(machine)
                    if effect.settled and machine.guard.restored:
                        replica = machine.running.replica
                        if all(replica.knows(member.actor) for member in machine.bootstrap):
                            machine.guard.settle(replica.fold.clock, replica.fold.clock.get(machine.member.actor, 0))

    def tick_at(self, machine: Machine, time: int) -> None:
        machine.due_ms = time
        self.world.at(time, self._tick, machine, machine.life, time)

    def _tick(self, machine: Machine, life: int, time: int) -> None:
        if machine.life != life or machine.due_ms != time:
            return  # one that is due sooner took its place
        if not machine.paused:
            machine.due_ms = _NEVER
            self._handle(machine, Tick(), b"")
        if machine.engine is not None and machine.life == life:
            wanted = self.world.now + machine.engine.tick_ms
            if wanted < machine.due_ms or machine.due_ms == time:
                self.tick_at(machine, wanted)

    def plan_apply(self, machine: Machine) -> None:
        if machine.apply_due <= self.world.now:
            machine.apply_due = self.world.now + self.world.random.randint(10, 300)
            self.world.later(machine.apply_due - self.world.now, machine, self._apply, machine)

    def _apply(self, machine: Machine) -> None:
        if machine.paused:
            self.world.later(500, machine, self._apply, machine)
        elif not apply_config(machine, self.world.check):
            machine.apply_due = self.world.now + 2_000
            self.world.later(2_000, machine, self._apply, machine)
