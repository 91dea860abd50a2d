"""Health on its way: this node's own to the others, the others' into what is shown, and in a large cluster on to further peers."""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from gossip.antientropy import AntiEntropy
from gossip.events import LocalSnapshot, SetEpoch
from gossip.exchange import Position
from gossip.mesh import Mesh
from gossip.messages import Delta, Digest
from gossip.peers import Peer
from gossip.state import State
from gossip.vitals import Vitals
from store.cells import Cell
from store.health import Cut, HealthDelta, Merge, cut_down, is_plain
from store.limits import limit

PUSH_GAP_MS = 500
EPOCH_LEAP = 2**20
"""How far beyond its own epoch a node follows what a peer has heard of it. More is not believed."""
MOVE_EVERY_MS = 5_000
"""How often at most the epoch moves for what others claim."""
HAND_ON_TO = 3
"""In a large cluster new content is handed on to so many peers; others see from the node's beats that it is there, and ask."""


class Pulse:
    """Health content. Invariant: nothing of this node's own is sent in an epoch that is not durable."""

    def __init__(self, state: State, mesh: Mesh, pull: AntiEntropy, vitals: Vitals, passive: Callable[[], bool], now_ms: int) -> None:
        """`passive()`: this node is a clone and says nothing of its own."""
        self.observed_ms = now_ms
        """When this node's host was last observed."""
        self.waits = False
        """Whether a change of this node's own waits for its turn to be pushed."""
        self._state = state
        self._mesh = mesh
        self._pull = pull
        self._vitals = vitals
        self._passive = passive
        self._pushed_ms = -(10**9)
        self._pushed_seq = 0
        self._epoch_asked = 0
        self._moved_ms = -(10**9)
        self._equivocal: dict[str, Position] = {}

    # -- this node's own ----------------------------------------------------------------------------------------------

    def snapshot(self, event: LocalSnapshot, now_ms: int) -> None:
        """This node's host was observed."""
        self.observed_ms = now_ms
        state = self._state
        own = state.exchange.own
        before = own.cut
        own.clock_tag = state.clocks.tag
        moved = own.report([self._fit(cell) for cell in event.cells], now_ms)
        if own.cut > before:
            state.alarm("health-cut", f"this node's health is too large to be sent: without {own.cut.name.lower()}")
        if moved:
            state.publish(health=(state.identity.name,))
            self.waits = True
            self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Push what waits, if its time has come."""
        if self.waits and now_ms - self._pushed_ms >= PUSH_GAP_MS and self.speaks:
            self._push(now_ms)

    @property
    def speaks(self) -> bool:
        """Whether this node may say anything of its own: its epoch is durable, and it is no clone."""
        return self._epoch_asked <= self._state.identity.epoch and not self._passive()

    def _fit(self, cell: Cell) -> Cell:
        """The cell, or the little of it that every peer takes."""
        if is_plain(cell) and len(msgspec.msgpack.encode(cell)) <= limit("cell_bytes"):
            return cell
        self._state.counters["cells_oversized"] += 1
        return cut_down(cell, Cut.DETAIL)

    def _push(self, now_ms: int) -> None:
        own = self._state.exchange.own.stream
        keys = tuple(key for key in self._mesh.eager_keys() if not self._mesh.peers[key].contested)
        for part in self._state.exchange.deltas(own.node, (own.head.epoch, self._pushed_seq), now_ms):
            self._state.send(keys, Delta(health=(part,), push=True))
        self._pushed_ms, self._pushed_seq, self.waits = now_ms, own.head.seq, False

    def follow_own(self, digest: Digest, now_ms: int) -> bool:
        """A peer that has heard this node further on than it is has heard one of its former lives: its epoch must come after that.

        Returns whether it is so.
        """
        state = self._state
        epoch = state.exchange.beyond_own(digest.health)
        own = max(state.identity.epoch, self._epoch_asked)
        if epoch is None or epoch < own or epoch > own + EPOCH_LEAP or self._passive() or now_ms - self._moved_ms < MOVE_EVERY_MS:
            return False
        self._moved_ms = now_ms
        self._epoch_asked = epoch + 1
        state.counters["epochs_moved"] += 1
        state.effects.append(SetEpoch(epoch + 1))
        return True

    def begin(self, epoch: int, now_ms: int) -> None:
        """That epoch is durable."""
        self._state.exchange.own.begin(epoch, now_ms)
        self._pushed_seq, self.waits = 0, True
        self._state.publish(health=(self._state.identity.name,))
        self.tick(now_ms)

    # -- the others' --------------------------------------------------------------------------------------------------

    def take(self, peer: Peer, delta: Delta, waited_ms: int, now_ms: int) -> None:
        """Take the health and the beats in a delta, which may have waited for so long before this node saw it."""
        if waited_ms and (delta.health or delta.beats):
            health = tuple(replace(part, age_ms=part.age_ms + waited_ms) for part in delta.health)
            delta = replace(delta, health=health, beats={n: replace(b, age_ms=b.age_ms + waited_ms) for n, b in delta.beats.items()})
        moved = {part.node for part in delta.health if self._merge(peer, part, delta.push, now_ms)}
        if moved:
            self._state.publish(health=moved)
            self._vitals.touch(sorted(moved), now_ms)
        if delta.beats:
            lacking, forged = self._vitals.beats(peer, delta.beats, now_ms)
            if forged >= limit("forged_beats"):
                self._mesh.misbehaved(peer, "messages_bad", f"{forged} beats with a wrong signature", now_ms)
            elif peer.open:
                self._pull.ask_for(peer, lacking, now_ms)

    def _merge(self, peer: Peer, delta: HealthDelta, push: bool, now_ms: int) -> bool:
        state = self._state
        held = state.exchange.streams.get(delta.node)
        before = held.head if held is not None else None
        result = state.exchange.take(delta, state.replica.registry, now_ms, peer.key)
        if result is Merge.TAKEN:
            self._pull.whole.discard(delta.node)
            state.clocks.tagged(delta.head.actor, delta.head.clock_tag)
            if delta.node != peer.name:
                self._vitals.heard(delta.node, now_ms, delta.age_ms)
            if push and not self._mesh.view.full_mesh:
                self._hand_on(delta.node, before.content if before and before.actor == delta.head.actor else None, peer.key, now_ms)
        elif result in (Merge.GAP, Merge.MISMATCH):
            if result is Merge.MISMATCH:
                self._pull.whole.add(delta.node)
            self._pull.ask_soon(peer, now_ms)
        elif result is Merge.FORGED:
            self._mesh.misbehaved(peer, "health_bad", f"health of {delta.node} with a wrong signature", now_ms)
        elif result is Merge.OVERSIZED:
            self._pull.whole.discard(delta.node)
            state.alarm("health-oversized", f"the health of {delta.node} is larger than this node takes: {delta.size:,} bytes")
        elif result is Merge.EQUIVOCATION and self._equivocal.get(delta.node) != delta.head.content:
            self._equivocal[delta.node] = delta.head.content
            state.alarm("equivocation", f"node {delta.node} signed two states for one position: is it running twice?")
        return result is Merge.TAKEN

    def _hand_on(self, node: str, base: Position | None, but: str, now_ms: int) -> None:
        keys = [peer.key for peer in self._mesh.open if peer.key != but and not peer.contested]
        chosen = self._state.random.sample(keys, min(HAND_ON_TO, len(keys)))
        for part in self._state.exchange.deltas(node, base, now_ms):
            self._state.send(chosen, Delta(health=(part,), push=True))
