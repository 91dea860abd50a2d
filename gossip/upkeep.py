"""What changes the base that the configuration stands on: collecting stable edits, catching up by a snapshot, repairing a divergence.

Each of them works out a new base in memory, asks for it to be made durable in one transaction, and takes effect when that is done; nothing
else is written meanwhile. If it fails, nothing has happened, and it is tried again when there is reason to.
"""

from collections.abc import Callable, Iterable, Mapping

from gossip.antientropy import AntiEntropy
from gossip.authoring import Authoring
from gossip.events import Rebase
from gossip.intake import Intake
from gossip.mesh import Mesh
from gossip.messages import Chunk, Fetch, Ranges
from gossip.peers import Peer
from gossip.repair import Repair
from gossip.stability import Stability
from gossip.state import State
from gossip.transfer import BulkClient, BulkServer
from store.absorb import LateChange, absorb
from store.base import encode_base
from store.clocks import Vector, dominates
from store.edits import CHANGE, LATE, EditError, SignedEdit
from store.limits import limit
from store.replica import Replica
from store.snapshot import Snapshot, SnapshotError, make_snapshot, read_snapshot

LOOK_EVERY_MS = 10_000
REPAIR_EVERY_MS = 10_000
DISTRUST_MS = 30_000
"""After a transfer that led to nothing the same peer is not asked for another so soon."""


class Upkeep:
    """One rebase at a time, never beside a commit."""

    def __init__(
        self, state: State, mesh: Mesh, intake: Intake, pull: AntiEntropy, authoring: Authoring, now_ms: int, *, collect_edits: int
    ) -> None:
        self.frozen: frozenset[str] = frozenset()
        """Keys in which this node and a peer differ, and which nothing here may decide."""
        self.diverged: set[str] = set()
        """The peers that have the same edits and another state."""
        self.busy = False
        """Whether a rebase is under way."""
        self.replaced: set[str] = set()
        """The keys that a finished rebase may have changed; taken by the engine."""
        self.late: list[SignedEdit] = []
        """This node's late edits that a finished rebase made; taken by the engine."""
        self._state = state
        self._mesh = mesh
        self._intake = intake
        self._pull = pull
        self._authoring = authoring
        self._finish: Callable[[], None] | None = None
        self._client = BulkClient(state.counters)
        self._server = BulkServer(lambda: make_snapshot(state.replica), state.counters)
        self._repair = Repair(lambda: state.replica, state.counters)
        self._repair_due = now_ms
        self._agreed: set[str] = set()
        """The peers that have shown this node's state at its present clock. While there are any, who differs is the odd one out."""
        self._agreed_clock = b""
        self._arrived: bytes | None = None
        self._readmit: Mapping[str, SignedEdit] = {}
        self._collect_edits = collect_edits
        self._look_due = now_ms + LOOK_EVERY_MS
        self._kept = (0, 0)
        """How many edits, and bytes of them, the last look left."""

    # -- the pipeline -------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Begin what waits for the disk, if that is free."""
        if self.busy or self._intake.in_flight:
            return
        if self._arrived is not None:
            data, self._arrived = self._arrived, None
            self._install(data)
        elif self._readmit:
            deletions, self._readmit = self._readmit, {}
            try:
                replica = self._state.replica.readmitted(deletions)
            except ValueError:
                return  # an edit that came meanwhile has decided it; if not, the next comparison finds it again
            self._replace(replica, "divergences_repaired")

    def _begin(self, effect: Rebase, finish: Callable[[], None]) -> None:
        self.busy, self._finish = True, finish
        self._state.effects.append(effect)

    def rebased(self) -> None:
        """What was asked for is durable."""
        assert self._finish is not None
        finish, self._finish, self.busy = self._finish, None, False
        finish()

    def failed(self) -> None:
        """None of it is."""
        self._finish, self.busy = None, False
        self._pull.silent = self._client.peer is not None

    def _replace(self, replica: Replica, counter: str) -> None:
        """Stand on another replica from the moment on when it is durable."""
        base = replica.base
        assert base is not None
        before = self._state.replica

        def finish() -> None:
            self._state.counters[counter] += 1
            self.replaced = {*before.fold, *replica.fold}
            self._state.replica = replica
            self._intake.rebase(replica)
            self._state.clocks.advance(replica.fold.clock)
            self._kept = (0, 0)

        self._begin(Rebase(encode_base(base), (), tuple(signed.raw for signed in replica.edits())), finish)

    # -- collecting ---------------------------------------------------------------------------------------------------

    def stability(self) -> Stability:
        """What all members have, and who is behind."""
        state = self._state
        replica, own = state.replica, state.identity.name
        departed = {actor: ending.by for actor, ending in replica.endings.items()}
        active = {member.name: member.actor for member in replica.registry.active if member.name != own}
        return state.clocks.stability(active, departed, replica.floor)

    def look(self, now_ms: int) -> None:
        """Collect what is stable, if there is enough of it to be worth a transaction."""
        if now_ms < self._look_due or self.busy or self._intake.in_flight or self._pull.silent:
            return
        self._look_due = now_ms + LOOK_EVERY_MS
        replica = self._state.replica
        edits, size = self._kept
        few = len(replica) - edits < self._collect_edits and replica.log_bytes - size < limit("collect_bytes")
        if few and len(replica) < limit("unstable_edits") // 10 and replica.log_bytes < limit("unstable_bytes") // 10:
            return
        stable = self.stability().floor
        if dict(stable) == dict(replica.floor):
            return
        collection = replica.collect(stable)
        if collection is None:
            return

        def finish() -> None:
            replica.collected(collection)
            self._kept = (len(replica), replica.log_bytes)
            self._state.counters["collections"] += 1
            self._state.counters["edits_collected"] += len(collection.gone)

        self._begin(Rebase(encode_base(collection.base), collection.gone), finish)

    # -- catching up by a snapshot ------------------------------------------------------------------------------------

    @property
    def source(self) -> str | None:
        """The name of the peer that a snapshot is being fetched from."""
        key = self._client.peer
        peer = self._mesh.peers.get(key) if key is not None else None
        return peer.name if peer is not None else None

    @property
    def progress(self) -> tuple[int, int]:
        """How many bytes of the snapshot are here, of how many."""
        return self._client.progress

    def check_floor(self, peer: Peer, now_ms: int) -> bool:
        """Fetch a snapshot from the peer if edits that are lacking here may be gone from its log; whether that is so."""
        if peer.floor is None or dominates(self._state.replica.fold.clock, peer.floor) or not self._believed(peer.floor, peer):
            return False
        if now_ms < peer.distrusted_until:
            return True
        self._pull.silent = True
        if self._client.peer is None and self._arrived is None and not self.busy:
            self._state.counters["snapshots_begun"] += 1
            self._state.send((peer.key,), self._client.start(peer.key, now_ms))
        return True

    def _believed(self, floor: Vector, source: Peer | None) -> bool:
        """Whether another member confirms that so much may be collected: what is, all have, so its clock must cover it.

        Who is connected to nobody else, or is no member yet, has nobody to ask and little to lose. A node whose own guard says that it was
        restored needs no other word for it that it is behind: all who could confirm it may have been restored too, or be gone.
        """
        others = [p for p in self._mesh.open if p is not source and not p.contested]
        if not others or self._state.member is None or self._state.identity.restored:
            return True
        return any((clock := self._state.clocks.of(p.actor)) is not None and dominates(clock, floor) for p in others)

    def fetch(self, peer: Peer, fetch: Fetch, now_ms: int) -> None:
        """A peer wants a piece of this node's snapshot."""
        if not self._pull.silent and not peer.contested:
            self._state.send((peer.key,), self._server.answer(peer.key, fetch, now_ms))

    def chunk(self, peer: Peer, chunk: Chunk, now_ms: int) -> None:
        """A piece of a peer's snapshot."""
        found = self._client.take(peer.key, chunk, now_ms)
        if isinstance(found, bytes):
            self._arrived = found
            peer.distrusted_until = now_ms + DISTRUST_MS  # if this one is not taken, the next is not asked for at once
            self.advance()
        else:
            for fetch in found:
                self._state.send((peer.key,), fetch)

    def tick(self, now_ms: int) -> None:
        """Ask again for what did not come; give up a peer that is gone."""
        self._server.tick(now_ms)
        fetching = self._client.peer
        for key, fetch in self._client.tick(now_ms):
            self._state.send((key,), fetch)
        if fetching is not None and self._client.peer is None and (peer := self._mesh.peers.get(fetching)) is not None:
            peer.distrusted_until = now_ms + DISTRUST_MS
        if self._pull.silent and self._client.peer is None and self._arrived is None and not self.busy:
            self._pull.silent = False
        self.look(now_ms)

    def _install(self, data: bytes) -> None:
        state = self._state
        trusted = {member.actor: member.signing_key for member in state.identity.bootstrap}
        trusted.update({actor: admitted[0].signing_key for actor, admitted in state.replica.authors.items() if admitted})
        try:
            snapshot: Snapshot = read_snapshot(data, state.replica.cluster_id, state.identity.verify, trusted)
        except SnapshotError as fault:
            state.counters["snapshots_refused"] += 1
            state.alarm("snapshot-refused", f"a snapshot that a peer sent is not taken: {fault}")
            return
        if not self._believed(snapshot.base.floor, None) or snapshot.base.lamport > sum(snapshot.base.clock.values()) + 1:
            state.counters["snapshots_refused"] += 1
            state.alarm("snapshot-refused", "a snapshot that a peer sent leaves out more than any other member confirms")
            return
        if dominates(state.replica.fold.clock, snapshot.base.clock):
            return  # what it brings came otherwise meanwhile
        absorbed = absorb(state.replica, snapshot)
        if absorbed.dropped:
            state.counters["edits_dropped"] += absorbed.dropped
        if absorbed.late or self._goes_back(absorbed.replica):
            self._authoring.renew()
        self.late = self._again(absorbed.replica, absorbed.late)
        self._replace(absorbed.replica, "snapshots_taken")

    def _goes_back(self, replica: Replica) -> bool:
        """Whether the actor that this node writes under would be given numbers anew."""
        actor = self._authoring.actor
        return replica.fold.clock.get(actor, 0) < self._state.replica.fold.clock.get(actor, 0)

    def _again(self, replica: Replica, changes: Iterable[LateChange]) -> list[SignedEdit]:
        """Write the late changes anew, on top of what the snapshot brought. The caller made sure that nobody has seen the actor."""
        written: list[SignedEdit] = []
        for late in changes:
            covers = {key: [(d.actor, d.counter) for d in dots] for key, dots in late.covers.items()}
            steps = [(late.changes, LATE, late.lamport)]
            if late.removed:
                steps.insert(0, (dict.fromkeys(late.removed), CHANGE, 0))
            for values, kind, lamport in steps:
                try:
                    signed = self._authoring.seal(replica, values, late.wall, late.reason[:4096], kind, covers, lamport=lamport)
                except EditError as fault:
                    self._state.alarm("late-edit-lost", f"an edit of this node could not be written anew: {fault}")
                    break
                if replica.is_void(signed):
                    self._state.alarm("late-edit-lost", "an edit of this node is beyond the rights that it has now")
                    break
                replica.commit(signed)
                written.append(signed)
        if written:
            self._state.counters["late_edits"] += len(written)
            self._state.alarm("late-edits", f"{len(written)} edits of this node came late: they stand beside the others' as conflicts")
        return written

    # -- divergence ---------------------------------------------------------------------------------------------------

    def compare(self, peer: Peer, state_hash: bytes, now_ms: int) -> None:
        """The peer has the same edits: it must have the same state."""
        if self._agreed_clock != self._state.clocks.hash:
            self._agreed_clock = self._state.clocks.hash
            self._agreed.clear()
        if state_hash == self._state.replica.fold.state_hash:
            self._agreed.add(peer.name)
            self.agree(peer.name)
            return
        self._agreed.discard(peer.name)
        if peer.name not in self.diverged:
            self.diverged.add(peer.name)
            self._state.counters["divergences"] += 1
            self._state.alarm("diverged", f"this node and {peer.name} have the same edits and different states")
        if now_ms >= self._repair_due and not self.busy:
            self._repair_due = now_ms + REPAIR_EVERY_MS
            if not self._refold():
                self._state.send((peer.key,), self._repair.start(peer.key))

    @property
    def in_doubt(self) -> bool:
        """Whether a peer has the same edits and another state, and none is known to have this node's, which may then be the wrong one."""
        return bool(self.diverged) and not self._agreed - self.diverged

    def _refold(self) -> bool:
        """Work the state out anew from what is kept; whether it was wrong in memory."""
        replica = self._state.replica
        fresh = replica.anew(replica.edits(), replica.base)
        if fresh.fold.state_hash == replica.fold.state_hash:
            return False
        self._state.counters["states_refolded"] += 1
        self.replaced = {*replica.fold, *fresh.fold}
        self._state.replica = fresh
        self._intake.rebase(fresh)
        return True

    def ranges(self, peer: Peer, ranges: Ranges) -> None:
        """The next step of finding out where two states differ."""
        step = self._repair.take(peer.key, ranges)
        for answer in step.send:
            self._state.send((peer.key,), answer)
        if step.frozen and step.frozen != self.frozen and self.in_doubt:
            self.frozen = step.frozen
            self._state.alarm("frozen", f"{len(step.frozen)} keys differ from {peer.name}'s beyond repair: nothing is applied here")
        if step.readmit:
            self._readmit = step.readmit
            self.advance()

    def agree(self, name: str) -> None:
        """The peer has this node's state, or is no member any more."""
        self.diverged.discard(name)
        if not self.diverged:
            self.frozen = frozenset()
