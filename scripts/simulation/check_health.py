"""What engines show of each other's health and life (invariant 6)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gossip.events import Publish
from gossip.messages import Delta
from scripts.simulation import seams
from scripts.simulation.machine import Machine
from scripts.simulation.network import Frame
from scripts.simulation.sometimes import glance
from scripts.simulation.violation import Violation
from store.matrix import Reporter

if TYPE_CHECKING:
    from scripts.simulation.world import World

Life = tuple[bytes, int, int]
Position = tuple[bytes, int, int]
Content = Mapping[tuple[str, str], str]
SAMPLE = 16
"""In a large simulation one in so many messages and publications is looked into."""
STEADY_MS = 20_000
"""So long after the last fault nobody has a reason to call a running node offline."""


class HealthChecks:
    """Knows when each beat was really made, and what each stream really said."""

    def __init__(self, world: "World", *, everything: bool) -> None:
        self.world = world
        self.everything = everything
        self.steady_since: int | None = None
        self.strict_liveness = False
        """Nobody may call a running node offline, ever."""
        self.doubled: frozenset[bytes] = frozenset()
        """The identities whose streams may have been written twice: restored or cloned."""
        self._beats: dict[Life, int] = {}
        self._contents: dict[Position, list[Content]] = {}
        self._sampled = 0

    def fail(self, machine: Machine, text: str) -> None:
        """Raise the violation."""
        raise Violation(6, machine.label, text, self.world.now)

    def double(self, machine: Machine) -> None:
        """From now on this identity may say two things under one number."""
        self.doubled |= {machine.member.actor}

    def claims(self, machine: Machine, message: Delta) -> tuple[tuple[str, Life, int], ...]:
        """For each stream that the message tells an age of: by how much that age is too young."""
        self._sampled += 1
        if not self.everything and self._sampled % SAMPLE:
            return ()
        streams = machine.running.exchange.streams
        claims = []
        ages = {delta.node: delta.age_ms for delta in message.health}
        ages.update({name: beat.age_ms for name, beat in message.beats.items()})
        for name, age in ages.items():
            stream = streams.get(name)
            if stream is None:
                continue
            life = (stream.head.actor, stream.head.epoch, stream.head.beat)
            made = self._beats.get(life)
            if made is not None:
                claims.append((name, life, self.world.now - made - age))
        return tuple(claims)

    def arriving(self, machine: Machine, frame: Frame) -> dict[str, object]:
        """The heads of the streams that a frame tells of, before the engine hears it."""
        if not frame.ages or machine.engine is None:
            return {}
        streams = machine.engine.exchange.streams
        return {name: streams[name].head for name, _, _ in frame.ages if name in streams}

    def arrived(self, machine: Machine, frame: Frame, before: Mapping[str, object]) -> None:
        """A stream that became younger by this frame may be too young by its way on the wire, and by what it was too young before."""
        if not frame.ages or machine.engine is None:
            return
        streams, now = machine.engine.exchange.streams, self.world.now
        for name, life, missing in frame.ages:
            stream = streams.get(name)
            if stream is None or stream.head is before.get(name) or not stream.fresh:
                continue
            if (stream.head.actor, stream.head.epoch, stream.head.beat) != life:
                continue
            lag = now - self._beats[life] - stream.age_ms(machine.now(now))
            allowed = max(0, missing) + now - frame.sent_ms
            if lag > allowed + 1:
                self.fail(machine, f"the health of {name} is taken for {lag - allowed} ms younger than it can be")
            machine.lag[name] = max(lag, 0)

    def stepped(self, machine: Machine) -> None:
        """After each event: the machine's own stream may have moved."""
        stream = machine.running.exchange.own.stream
        head = stream.head
        if head is machine.head:
            return
        machine.head = head
        life = (head.actor, head.epoch, head.beat)
        self._beats[life] = self.world.now
        position = (head.actor, head.epoch, head.seq)
        if position not in self._contents or machine.member.actor in self.doubled:
            content = {key: entry.cell.state for key, entry in stream.entries.items()}
            versions = self._contents.setdefault(position, [])
            if content not in versions:
                versions.append(content)

    def published(self, machine: Machine, effect: Publish) -> None:
        """What readers see has changed."""
        if effect.health:
            self._sampled += 1
            if self.everything or self._sampled % SAMPLE == 0:
                for name in sorted(effect.health):
                    self._health(machine, name)
        if effect.standing:
            for name in sorted(effect.standing):
                self._standing(machine, name)

    def _health(self, machine: Machine, name: str) -> None:
        stream = machine.running.exchange.streams.get(name)
        if stream is None or name == machine.name:
            return
        head = stream.head
        versions = self._contents.get((head.actor, head.epoch, head.seq), ())
        shown = {key: entry.cell.state for key, entry in stream.entries.items()}
        if not any(shown == content for content in versions):
            self.fail(machine, f"the cells of {name} at {head.epoch}.{head.seq} are none that it ever reported there")
        before = machine.positions.get(name)
        if before is not None and before[0] == head.actor and head.content < before[1] and head.actor not in self.doubled:
            self.fail(machine, f"the cells of {name} go back from {before[1]} to {head.content}")
        machine.positions[name] = (head.actor, head.content)

    def _standing(self, machine: Machine, name: str) -> None:
        engine, now = machine.running, self.world.now
        standing = engine.reporter(name, machine.now(now))
        before = machine.standing.get(name)
        machine.standing[name] = standing
        if standing is not Reporter.OFFLINE or before in (None, Reporter.OFFLINE, Reporter.UNHEARD, Reporter.LEFT):
            return
        self.world.happened["called offline"] += 1
        target = self.world.machines.get(name)
        if target is None or not target.up:
            return
        steady = self.steady_since is not None and now - self.steady_since > STEADY_MS
        if steady or (self.strict_liveness and now - target.since_ms > 1_000):
            self.fail(machine, f"it calls {name} offline, which runs")

    def second(self) -> None:
        """Every simulated second: nobody reads fresh whose last beat is too long ago."""
        now = self.world.now
        observers = [m for m in self.world.machines.values() if m.up]
        if not self.everything and observers:
            observers = [observers[now // 1_000 % len(observers)]]
        for machine in observers:
            glance(self.world, machine)
            engine, mine = machine.running, machine.now(now)
            for name, stream in engine.exchange.streams.items():
                if name == machine.name or engine.reporter(name, mine) is not Reporter.FRESH:
                    continue
                made = self._beats.get((stream.head.actor, stream.head.epoch, stream.head.beat))
                if made is not None and now - made > seams.STALE_MS + machine.lag.get(name, 0) + 5 and self.everything:
                    self.fail(machine, f"{name} reads fresh, {now - made} ms after its last beat")
