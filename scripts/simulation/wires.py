"""Connections between machines: made, refused, lost, and what happens to frames on them."""

from typing import TYPE_CHECKING

from gossip import codec
from gossip.events import Effect, Send, SendRefused
from gossip.messages import Hello
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp
from scripts.simulation import seams
from scripts.simulation.machine import Arrived, Machine
from scripts.simulation.network import DEAD_AFTER_MS, RETRY_MS, Cut, Frame, Link
from scripts.simulation.trace import frame_digest
from scripts.simulation.violation import Violation

if TYPE_CHECKING:
    from scripts.simulation.world import World


class Wires:
    """Every machine has a link of its own to each peer: what it sends leaves on that, and comes to the peer's one socket."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def cut(self, cut: Cut, *, loud: bool) -> None:
        """Break the network. A loud break is noticed at once, a silent one when the kernel gives up waiting for answers."""
        self.world.net.cuts.append(cut)
        self.world.trace.note(self.world.now, "", "*", f"cut: {cut.shape.value}: {' '.join(sorted(cut.side))[:80]}")
        for machine in self.world.machines.values():
            for link in machine.links.values():
                if link.up and cut.severs(machine.label, link.target):
                    wait = self.world.random.randint(1, 5) if loud else DEAD_AFTER_MS + self.world.random.randint(0, 500)
                    self.world.later(wait, machine, self._severed, machine, link, link.generation)

    def _severed(self, machine: Machine, link: Link, generation: int) -> None:
        if link.up and link.generation == generation and self.world.net.severs(machine.label, link.target):
            self.link_lost(machine, link, 0)

    def mend(self, cut: Cut) -> None:
        """End one cut; what was handed to connections that still stand arrives."""
        if cut not in self.world.net.cuts:
            return
        self.world.net.cuts.remove(cut)
        self.world.trace.note(self.world.now, "", "*", "mended")
        for machine in self.world.machines.values():
            for link in machine.links.values():
                if link.stuck and link.up and not self.world.net.drops(machine.label, link.target):
                    stuck, link.stuck = link.stuck, []
                    for frame in stuck:
                        self._launch(machine, link, frame)

    def link_lost(self, machine: Machine, link: Link, ms: int) -> None:
        """The connection breaks; its owner hears of it and connects anew."""
        link.reset()
        link.retry_ms = RETRY_MS[0]
        self.world.later(ms, machine, self.world.pump.dispatch, machine, PeerDown(link.key))
        self.world.later(link.retry_ms + ms, machine, self.connect, machine, link, link.generation)

    def connect(self, machine: Machine, link: Link, generation: int) -> None:
        if link.up or link.generation != generation or machine.links.get(link.key) is not link:
            return
        target = self._reachable(machine, link.key)
        if target is None or machine.paused:
            link.retry_ms = min(RETRY_MS[1], link.retry_ms * 2)
            self.world.later(self.world.random.randint(link.retry_ms // 2, link.retry_ms), machine, self.connect, machine, link, generation)
            return
        link.up, link.target, link.clear_ms, link.retry_ms = True, target.label, 0, RETRY_MS[0]
        self.world.pump.dispatch(machine, PeerUp(link.key))

    def _reachable(self, machine: Machine, key: str) -> Machine | None:
        found = [
            peer
            for peer in self.world.by_key.get(key, ())
            if peer is not machine and peer.engine is not None and not peer.paused and not self.world.net.severs(machine.label, peer.label)
        ]
        if not found:
            return None
        target = found[0] if len(found) == 1 else self.world.random.choice(found)
        if target.running.allowed(machine.key):
            return target
        if target.running.concerns(machine.key):
            self.world.pump.dispatch(target, Knocked(machine.key))
        return None

    def send(self, machine: Machine, effect: Send) -> list[Effect]:
        message, engine = effect.message, machine.running
        answers: list[Effect] = []
        frame: Frame | None = None
        for key in effect.keys:
            link = machine.links.get(key)
            if link is None or not link.up or not self.world.net.accepts(link):
                refused = SendRefused(key, message)
                self.world.trace.event(self.world.now, machine.index, machine.label, refused)
                answers += engine.handle(refused, machine.now(self.world.now))
                continue
            if frame is None:
                frame = self._frame(machine, effect)
            self.world.bytes_sent += len(frame.frames[1]) + len(frame.frames[0])
            self.world.sent[type(message).__name__] += 1
            if self.world.net.cuts and self.world.net.drops(machine.label, link.target):
                link.under_way += 1
                link.stuck.append(frame)
            else:
                self._launch(machine, link, frame, counted=False)
        return answers

    def _frame(self, machine: Machine, effect: Send) -> Frame:
        message = effect.message
        ages = self.world.check.sending(machine, message)
        if isinstance(message, Hello) and machine.version_shift:
            message = Hello(
                message.cluster, message.name, message.actor, message.version_min + machine.version_shift,
                message.version_max + machine.version_shift, message.boot_nonce, message.features, message.ask,
            )  # fmt: skip
        try:
            frames = seams.encode(machine.running, message)
        except codec.BadMessage as fault:
            raise Violation(7, machine.label, f"a message that no peer takes: {fault}", self.world.now) from fault
        if self.world.net.babbler == machine.label or (self.world.net.garbage and self.world.net.random.random() < self.world.net.garbage):
            frames = self._spoiled(frames)
            ages = ()
        return Frame(frames, frame_digest(*frames), self.world.now, message, ages)

    def _spoiled(self, frames: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """What a faulty peer of this or another version could send in its place."""
        self.world.happened["garbage sent"] += 1
        header, body = frames
        draw = self.world.net.random.random()
        if draw < 0.4:
            return header[:6] + bytes((200,)) + header[7:], body  # a class of a later version
        if draw < 0.7:
            cut = body[: len(body) // 2]
            return header[:7] + len(cut).to_bytes(4, "big") + header[11:], cut
        return self.world.net.random.randbytes(len(header)), body[:64]

    def _launch(self, machine: Machine, link: Link, frame: Frame, *, counted: bool = True) -> None:
        """Put the frame on its way; `counted` if it already takes a place in the queue."""
        target = self.world.machines[link.target]
        arrivals = self.world.net.arrivals(self.world.now, link)
        link.under_way += len(arrivals) - counted
        for time in arrivals:
            self.world.at(time, self._arrive, machine, target, target.life, link, link.generation, frame)

    def _arrive(self, machine: Machine, target: Machine, life: int, link: Link, generation: int, frame: Frame) -> None:
        if link.generation != generation or target.life != life:
            return
        arrived = Arrived(MessageReceived(machine.key, *frame.frames), frame.digest, frame, link, generation)
        if target.paused:
            target.inbox.append(arrived)
        else:
            self.world.pump.take(target, arrived)
