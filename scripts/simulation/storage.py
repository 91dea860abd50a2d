"""Transactions: they take their time, one after the other, and happen whole or not at all."""

from typing import TYPE_CHECKING

from gossip.events import Commit, CommitFailed, Committed, EpochSet, Rebase, Rebased, RebaseFailed, SetEpoch
from scripts.simulation.disk import lowered
from scripts.simulation.machine import Machine
from scripts.simulation.violation import Violation
from store.edits import decode_edit
from store.health import encode_stream

if TYPE_CHECKING:
    from scripts.simulation.world import World

HEALTH_ROWS_MS = 4_000
"""How often health rows are written (unsynced)."""


class Storage:
    """All machines' disks at work."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def write(self, machine: Machine, effect: Commit | Rebase | SetEpoch) -> None:
        if not isinstance(effect, SetEpoch):
            if machine.writing is not None:
                raise Violation(7, machine.label, "two transactions at once", self.world.now)
            machine.writing = effect
        if isinstance(effect, Commit):
            self.world.check.committing(machine, effect.batch)
            own = [s.edit.counter for s in effect.batch if s.edit.actor == machine.member.actor]
            if own and max(own) > machine.guard.ceiling:
                machine.guard.least, machine.guard.ceiling = min(own) - 1, max(own) + machine.guard_block - 1
        elif isinstance(effect, Rebase):
            self.world.check.rebasing(machine, effect)
        low, high = self.world.commit_ms
        ms = self.world.disks.randint(low, high) if self.world.now >= machine.slow_until else self.world.disks.randint(200, 3_000)
        self.world.later(ms, machine, self._written, machine, effect)

    def _written(self, machine: Machine, effect: Commit | Rebase | SetEpoch) -> None:
        failed = self.world.now < machine.full_until or (
            self.world.commit_failure > 0 and self.world.disks.random() < self.world.commit_failure
        )
        if isinstance(effect, SetEpoch):
            if failed:
                self.world.later(500, machine, self._written, machine, effect)
                return
            self.persist(machine, effect)
            self.world.pump.dispatch(machine, EpochSet(effect.epoch))
            return
        machine.writing = None
        if failed:
            self.world.happened["commit failed"] += 1
            if isinstance(effect, Commit):
                self.world.check.lost(machine, effect.batch)
                self.world.pump.dispatch(machine, CommitFailed(effect.batch, "disk full"))
            else:
                self.world.pump.dispatch(machine, RebaseFailed("disk full"))
            return
        self.persist(machine, effect)
        self.world.pump.dispatch(machine, Committed(effect.batch) if isinstance(effect, Commit) else Rebased())

    def persist(self, machine: Machine, effect: Commit | Rebase | SetEpoch) -> None:
        disk = machine.disk
        match effect:
            case Commit():
                raws = {signed.dot: signed.raw for signed in effect.batch}
                disk.append(raws, self.world.check.persisting(machine, effect.batch))
                if self.world.heard_edit is not None:
                    for dot in raws:
                        self.world.heard_edit(machine, dot)
            case Rebase():
                log = None if effect.log is None else {decode_edit(raw).dot: raw for raw in effect.log}
                known = self.world.check.rebased_to(machine, effect)
                disk.rebase(effect.base, effect.gone, log)
                disk.known = known
                if log is not None:
                    clock = self.world.check.oracle.clock(known)
                    machine.guard.lower(clock, had=disk.applied)
                    disk.applied = lowered(disk.applied, clock)
                    counter = clock.get(machine.member.actor, 0)
                    machine.guard.ceiling = max(machine.guard.ceiling, counter)
            case SetEpoch():
                disk.epoch = max(disk.epoch, effect.epoch)
                machine.guard.epoch = max(machine.guard.epoch, effect.epoch)

    def save_health(self, machine: Machine, *, again: bool = True) -> None:
        engine = machine.running
        machine.disk.save_health({name: encode_stream(stream) for name, stream in engine.exchange.streams.items()})
        if again:
            self.world.later(HEALTH_ROWS_MS, machine, self.save_health, machine)
