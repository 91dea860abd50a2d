"""The protocol engine: events in, effects out; no I/O, no clock, no randomness of its own.

Theory of operation. Every node holds the whole configuration (a `Replica`) and every node's health (an `Exchange`). What changes here
is pushed at once; what a push missed is found by the pull: each second this node shows one peer a digest, and the peer answers with what
is lacking. Nothing is advertised before it is durable: edits go through the intake to a `Commit` effect, and only `Committed` folds them,
raises the clock and pushes them. In a small cluster pushed bodies are not forwarded, for everybody gets them from their author; in a large
one the first receipt of a signed body is handed on before it is committed, which advertises nothing.

The parts: `mesh` (connections, hellos, sessions), `vitals` (who is up), `antientropy` (digests and deltas), `pulse` (health), `authoring`
(under which actor this node writes), `upkeep` (what replaces the base that the configuration stands on). They share a `State`.

Times are integer milliseconds of one clock that runs on during suspend.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gossip import codec
from gossip.antientropy import AntiEntropy
from gossip.authoring import Authoring, Continuity
from gossip.events import (
    Accepted,
    Commit,
    CommitFailed,
    Committed,
    Effect,
    EpochSet,
    Event,
    LocalEdit,
    LocalSnapshot,
    Publish,
    Rebased,
    RebaseFailed,
    Rejected,
    SendRefused,
    Tick,
)
from gossip.exchange import Exchange
from gossip.farewell import Farewell
from gossip.intake import Intake
from gossip.liveness import PAUSE_MS, Liveness
from gossip.mesh import Mesh
from gossip.messages import Alive, Chunk, Delta, Digest, Fetch, Hello, Ping, Pong, Probe, Ranges
from gossip.peers import Peer, Rotation
from gossip.pulse import Pulse
from gossip.stability import Clocks, Stability
from gossip.state import Identity as Identity
from gossip.state import State
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp
from gossip.upkeep import Upkeep
from gossip.vitals import SPREAD_MS, Vitals
from store.clocks import Vector, dominates
from store.document import Options
from store.edits import CHANGE, EditError, SignedEdit
from store.health import HealthStream, OwnStream
from store.level import KindIs
from store.limits import limit
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, Member, may_author
from store.replica import Replica

if TYPE_CHECKING:
    from random import Random

TICK_MS = 500
HURRIED_TICK_MS = 100
"""While something waits for its moment: a push, a verdict on a lost peer."""
PURGE_MS = 30_000
"""How often edits go that wait for something which nobody sends: one of them would keep this node from being caught up for ever."""
BACKLOG_MS = 1_000
"""How long after a pause what waited for this process may go on coming in."""
PAUSED_MS = 5_000
"""After a pause of this process nobody vouches for it any more: another may have taken its place."""
_FORBIDDEN = ("forbidden", "this node's role does not allow this change")


class Engine:
    """One node's side of the protocol."""

    def __init__(
        self,
        identity: Identity,
        replica: Replica,
        streams: Mapping[str, HealthStream],
        random: "Random",
        now_ms: int,
        *,
        pull_ms: int = 1_000,
        snapshot_within_ms: int | None = None,
        collect_edits: int = limit("collect_edits"),
    ) -> None:
        """`snapshot_within_ms`: a node whose health was not observed for so long stops its heart, so that nobody believes its last word.

        `collect_edits`: how many new edits are worth a collection.
        """
        counters: Counter[str] = Counter()
        own = OwnStream(identity.name, identity.actor, identity.epoch, identity.sign, now_ms)
        exchange = Exchange(own, streams, identity.verify, counters)
        self._state = State(identity, replica, Clocks(replica.fold.clock), exchange, counters, random)
        self.mesh = Mesh(self._state, self._forget, now_ms)
        self._vitals = Vitals(self._state, self.mesh, now_ms)
        self._intake = Intake(replica, counters)
        self._pull = AntiEntropy(self._state, self.mesh, self._intake)
        self._authoring = Authoring(self._state, self.mesh, self._intake)
        self._pulse = Pulse(self._state, self.mesh, self._pull, self._vitals, lambda: self.mesh.cloned, now_ms)
        self._upkeep = Upkeep(self._state, self.mesh, self._intake, self._pull, self._authoring, now_ms, collect_edits=collect_edits)
        self._farewell = Farewell(self._state, self.mesh)
        self._rotation = Rotation(random)
        self._requests: dict[bytes, int] = {}
        self._settled = False
        self._storage_failed = False
        self._purge_due = now_ms + PURGE_MS
        self._pull_ms = pull_ms
        self._pull_due = now_ms + random.randrange(pull_ms)
        self._ticked_ms = now_ms
        self._event_ms = now_ms
        self._waited_ms, self._waited_until = 0, now_ms
        """How long what comes until then may have waited for this process, which did not run."""
        self._snapshot_within_ms = snapshot_within_ms
        self._was = Continuity.UNPROVEN
        self._was_behind = False

    # -- what readers ask ---------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        return self._state.identity

    @property
    def replica(self) -> Replica:
        return self._state.replica

    @property
    def exchange(self) -> Exchange:
        return self._state.exchange

    @property
    def counters(self) -> Counter[str]:
        return self._state.counters

    @property
    def liveness(self) -> Liveness:
        return self._vitals.liveness

    @property
    def peers(self) -> dict[str, Peer]:
        """The members (and guests) that a connection is kept to, by key."""
        return self.mesh.peers

    @property
    def member(self) -> Member | None:
        """This node's own registration; None while it is still joining."""
        return self._state.member

    @property
    def name_taken(self) -> bool:
        """Whether another actor holds this node's name."""
        found = self.replica.registry.by_name.get(self.identity.name)
        return found is not None and found.actor != self.identity.actor

    @property
    def caught_up(self) -> bool:
        """Whether this node knows of no edit that is not committed here, and has met a peer since its start that could have told it.

        Only what a peer says of itself counts, and only while it is a member: one that claims more than it has keeps others from this.
        A node that was restored must have met all: it may have known more than any single one of them.
        """
        pull = self._pull
        if not pull.met or pull.lacking or pull.silent or self._intake.lacks:
            return False
        return not self._authoring.restored or self.mesh.all_met

    @property
    def continuity(self) -> Continuity:
        """Whether this process certainly goes on where this node's last one stopped."""
        return self._authoring.continuity(caught_up=self.caught_up)

    @property
    def diverged(self) -> set[str]:
        """The peers that have the same edits and another state."""
        return self._upkeep.diverged

    @property
    def in_doubt(self) -> bool:
        """Whether this node's state may be the wrong one of two that the same edits led to."""
        return self._upkeep.in_doubt

    @property
    def frozen(self) -> frozenset[str]:
        """The keys in which this node differs from a peer and which nothing here may decide: nothing is applied while there are any."""
        return self._upkeep.frozen

    @property
    def config_behind(self) -> bool:
        """Whether the log holds edits of a kind that this version does not know: it cannot say what the configuration is."""
        return self.replica.unknown_kinds > 0

    @property
    def catching_up(self) -> str | None:
        """The name of the peer that a snapshot is being fetched from."""
        return self._upkeep.source

    @property
    def catch_up_bytes(self) -> tuple[int, int]:
        """How many bytes of that snapshot are here, of how many."""
        return self._upkeep.progress

    def stability(self) -> Stability:
        """What all members have, and which of them are behind this node."""
        return self._upkeep.stability()

    def clock_of(self, name: str) -> Vector | None:
        """The newest clock that the member is known to have."""
        if name == self.identity.name:
            return self._state.clocks.own
        member = self.replica.registry.by_name.get(name)
        return None if member is None else self._state.clocks.of(member.actor)

    def refusal(self, changes: Mapping[str, Options | None], kind: str = CHANGE) -> tuple[str, str] | None:
        """Why an edit with these changes would be refused now: a stable code and one line. None if it would be made. Nothing happens."""
        reason = self._authoring.refusal(LocalEdit(0, changes, 0.0, "", kind), self.continuity)
        member = self.member
        if reason is None and member is not None and not may_author(member.role, changes):
            return _FORBIDDEN
        return reason

    def connected(self, name: str) -> bool:
        """Whether this node and the member talk with each other directly now, both ways."""
        peer = self.mesh.by_name.get(name)
        return peer is not None and peer.open

    def reporter(self, name: str, now_ms: int) -> Reporter:
        """How far a node's health can be believed now."""
        return self._vitals.reporter(name, now_ms)

    def published_reporter(self, name: str) -> Reporter | None:
        """The same as was last published (`Publish.standing`); None if it never was."""
        return self._vitals.published(name)

    def allowed(self, key: str) -> bool:
        """Whether a peer with this public key may connect and be heard: asked for every handshake and every message."""
        return self.mesh.allowed(key)

    def concerns(self, key: str) -> bool:
        """Whether it is of interest that this key was refused: a `Knocked` event makes a retired member hear that it is one."""
        return self._farewell.concerns(key)

    @property
    def tick_ms(self) -> int:
        """How soon the next `Tick` is wanted."""
        if (self._pulse.waits and self._pulse.speaks) or self._pull.hurried or self.liveness.uneasy:
            return HURRIED_TICK_MS
        return SPREAD_MS if self._vitals.spreading else TICK_MS

    # -- events -------------------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> list[Effect]:
        """The first effects: connect to whoever is known."""
        self._follow_members(now_ms)
        return self._drain()

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; returns what is to be done, in order."""
        if now_ms - self._event_ms > PAUSE_MS:
            # This process did not run. What comes now may have waited in its sockets as long; nobody can tell, so all of it counts as old.
            self._waited_ms, self._waited_until = now_ms - self._event_ms, now_ms + BACKLOG_MS
        self._event_ms = now_ms
        match event:
            case MessageReceived():
                self._received(event, now_ms)
            case Committed():
                self._committed(event.batch, now_ms)
            case Tick():
                self._tick(now_ms)
            case LocalEdit():
                self._local_edit(event)
            case LocalSnapshot():
                self._pulse.snapshot(event, now_ms)
            case PeerUp():
                self._peer_up(event.key, now_ms)
            case PeerDown():
                self._peer_down(event.key, now_ms)
            case Knocked():
                self._farewell.knocked(event.key, now_ms)
            case SendRefused():
                self._refused(event)
            case CommitFailed():
                self._commit_failed(event)
            case Rebased():
                self._rebased(now_ms)
            case RebaseFailed():
                self._upkeep.failed()
                self._storage_fault(event.why)
                self._commit_next()
            case EpochSet():
                self._state.identity = replace(self.identity, epoch=event.epoch)
                self._pulse.begin(event.epoch, now_ms)
        if not self.mesh.anchored and self._pull.anchored:
            self.mesh.anchored = True
            self._follow_members(now_ms)
        if self.caught_up is not self._settled:
            self._settled = not self._settled
            if self._settled:
                self._state.effects.append(Publish(settled=True))
        return self._drain()

    def _drain(self) -> list[Effect]:
        effects, self._state.effects = self._state.effects, []
        return effects

    # -- edits --------------------------------------------------------------------------------------------------------

    def _local_edit(self, event: LocalEdit) -> None:
        continuity = self.continuity
        reason = self._authoring.refusal(event, continuity)
        if reason is None:
            try:
                signed = self._authoring.make(event, continuity)
            except EditError as fault:
                reason = ("edit-too-large", str(fault))
            else:
                if self.replica.fold.clock and self.replica.is_void(signed):
                    reason = _FORBIDDEN
                else:
                    self._requests[_request(signed)] = event.request
                    self._intake.add_own(signed)
                    self._commit_next()
                    return
        self.counters["writes_refused"] += 1
        self._state.effects.append(Rejected(event.request, *reason))

    def _commit_next(self) -> None:
        if self._upkeep.busy:
            return
        batch, refused = self._intake.next_batch()
        if refused:
            self.counters["edits_refused"] += refused
            self._state.alarm("edits-refused", f"{refused} edits were dropped: unknown author, no right to write, or wrong signature")
        if batch:
            self._state.effects.append(Commit(batch))
        else:
            self._upkeep.advance()

    def _committed(self, batch: tuple[SignedEdit, ...], now_ms: int) -> None:
        voided = self.replica.voided
        keys = self.replica.commit(*batch)
        self._storage_failed = False
        self._state.clocks.advance(self.replica.fold.clock)
        self._pull.committed()
        if self.replica.voided > voided:
            self._note_void(batch)
        self._intake.landed()
        own = [signed for signed in batch if signed.edit.owner == self.identity.actor and _request(signed) in self._requests]
        self._pull.push((signed.raw for signed in own), self.mesh.eager_keys())
        if own:
            self._pull.announce(now_ms)
        for signed in own:
            self._state.effects.append(Accepted(self._requests.pop(_request(signed)), signed.dot))
        self._changed(keys, now_ms)
        self._commit_next()
        self._ask_on(now_ms)

    def _note_void(self, batch: tuple[SignedEdit, ...]) -> None:
        """Of edits that change nothing in any version somebody has to know: an honest node writes none."""
        void = [signed for signed in batch if self.replica.is_void(signed)]
        impossible = [signed for signed in void if self.replica.kind(signed) is KindIs.IMPOSSIBLE]
        beyond = sum(self.replica.kind(signed) is KindIs.KNOWN for signed in void)
        if beyond:
            self.counters["edits_void"] += beyond
            self._state.alarm("edits-void", "edits beyond their author's rights change nothing here")
        if impossible:
            self.counters["edits_impossible"] += len(impossible)
            author, kind = self.replica.author(impossible[0]), impossible[0].edit.kind
            name = author.name if author is not None else "a node"
            what = f"{name} wrote an edit of the kind {kind!r}, which the cluster's level does not allow: it changes nothing"
            self._state.alarm("edits-impossible", what)

    def _changed(self, keys: set[str], now_ms: int) -> None:
        if any(key.startswith("member/") for key in keys):
            self._follow_members(now_ms)
        behind = self.config_behind
        if behind and not self._was_behind:
            self._state.alarm(
                "config-behind", "a newer version wrote edits that this one does not know: nothing is applied here until it is upgraded"
            )
        self._was_behind = behind
        self._state.publish(keys=keys)

    def _rebased(self, now_ms: int) -> None:
        """The base is another one. Late edits that came of it are durable as well, and are news."""
        self._upkeep.rebased()
        self._storage_failed = False
        keys, self._upkeep.replaced = self._upkeep.replaced, set()
        late, self._upkeep.late = self._upkeep.late, []
        if keys:
            self._pull.committed()
            self._upkeep.tick(now_ms)
            self._pull.push((signed.raw for signed in late), self.mesh.eager_keys())
            self._changed(keys, now_ms)
            for peer in self.mesh.open:
                self._pull.ask(peer, now_ms)
        self._commit_next()
        self._ask_on(now_ms)

    def _ask_on(self, now_ms: int) -> None:
        """Ask those who said that they have more, once nothing is under way that would make them send the same again."""
        if self._intake.in_flight:
            return
        for peer in self.mesh.open:
            if peer.behind:
                peer.behind = False
                self._pull.ask(peer, now_ms)

    def _commit_failed(self, event: CommitFailed) -> None:
        self.counters["commits_failed"] += 1
        if self._intake.lacks:
            self._pull.lost()
        for signed in (*event.batch, *self._intake.failed()):
            request = self._requests.pop(_request(signed), None)
            if request is not None:
                self._state.effects.append(Rejected(request, "storage-failed", event.why))
        self._storage_fault(event.why)
        self._upkeep.advance()

    def _storage_fault(self, why: str) -> None:
        if not self._storage_failed:
            self._storage_failed = True
            self._state.alarm("storage-failed", why)

    # -- connections --------------------------------------------------------------------------------------------------

    def _follow_members(self, now_ms: int) -> None:
        """The members have changed, or are new to this process."""
        self.mesh.follow()
        self._vitals.follow(now_ms)
        self._pull.follow()
        self._state.clocks.keep({*(m.actor for m in self.replica.registry.by_name.values()), *self.replica.endings})
        for name in sorted(self.diverged - self.mesh.by_name.keys()):
            self._upkeep.agree(name)
        gone = self.exchange.prune(self.replica.registry)
        if gone:
            self._state.publish(health=gone)

    def _forget(self, key: str) -> None:
        """Drop what a peer has begun and not finished."""
        self.exchange.forget_peer(key)
        self._pull.forget(key)

    def _peer_up(self, key: str, now_ms: int) -> None:
        peer = self.peers.get(key)
        if peer is None:
            self._farewell.up(key, now_ms)
            return
        self.liveness.link_up(peer.name)
        self.mesh.up(peer, now_ms)
        if peer.hello is not None:
            self._pull.ask(peer, now_ms)

    def _peer_down(self, key: str, now_ms: int) -> None:
        peer = self.peers.get(key)
        if peer is None or not peer.up:
            return
        self.mesh.down(peer)
        self._pull.closed(peer)
        if not any(self.mesh.open):
            self._authoring.doubt()
        self.liveness.link_down(peer.name, now_ms)

    def _refused(self, event: SendRefused) -> None:
        """Remember that the socket took nothing: a digest, sent once it does again, makes the peer ask for all that it missed."""
        peer = self.peers.get(event.key)
        if peer is None:
            return
        self.counters["sends_refused"] += 1
        if isinstance(event.message, Hello):
            peer.owes_hello = True
        else:
            peer.owes_digest = True

    def _flush(self, peer: Peer, now_ms: int) -> None:
        if peer.owes_hello:
            peer.owes_hello = False
            self._state.send((peer.key,), self.mesh.hello(peer, now_ms))
        elif peer.owes_digest:
            peer.owes_digest = False
            self._pull.ask(peer, now_ms)

    # -- messages -----------------------------------------------------------------------------------------------------

    def _received(self, event: MessageReceived, now_ms: int) -> None:
        peer = self.peers.get(event.key)
        if peer is not None and now_ms - peer.expelled_ms < limit("expulsion_ms"):
            self.counters["messages_expelled"] += 1
            return
        try:
            message = codec.decode(event.header, event.body)
        except codec.UnknownClass:
            self.counters["messages_unknown"] += 1
            return
        except codec.BadMessage as fault:
            if peer is not None:
                self.mesh.misbehaved(peer, "messages_oversized" if fault.oversized else "messages_bad", str(fault), now_ms)
            return
        if peer is None:
            peer = self.mesh.host(event.key, now_ms)
        if peer is None:
            self.counters["messages_from_strangers"] += 1
            self._farewell.knocked(event.key, now_ms)
            return
        session = codec.session_of(event.header)
        if isinstance(message, Hello):
            self._hello_received(peer, message, session, now_ms)
            return
        if not self.mesh.listens(peer, session, False, now_ms):
            return
        if peer.hello is None:
            self.counters["messages_before_hello"] += 1
            self.mesh.remind(peer, now_ms)
            return
        peer.heard_ms = now_ms
        self.counters["messages_received"] += 1
        self._vitals.heard(peer.name, now_ms, direct=True)
        match message:
            case Delta():
                self._delta(peer, message, now_ms)
            case Digest():
                self._digest(peer, message, now_ms)
            case Ping():
                self._vitals.ping(peer, message)
            case Pong():
                self._vitals.pong(message, now_ms)
            case Probe():
                self._vitals.probe(peer, message)
            case Alive():
                self._vitals.alive(peer, message, now_ms)
            case Fetch():
                self._upkeep.fetch(peer, message, now_ms)
            case Chunk():
                self._upkeep.chunk(peer, message, now_ms)
            case Ranges():
                self._upkeep.ranges(peer, message)

    def _hello_received(self, peer: Peer, hello: Hello, session: bytes, now_ms: int) -> None:
        wrong = hello.cluster != self.replica.cluster_id or hello.name != peer.registered
        if wrong or not hello.boot_nonce.startswith(session):
            self.mesh.misbehaved(peer, "hellos_refused", f"a hello as {hello.name!r} of cluster {hello.cluster!r}", now_ms)
            return
        if not self.mesh.listens(peer, session, True, now_ms):
            return
        first = self.mesh.greeted(peer, hello, now_ms)
        if first is None:
            return
        peer.heard_ms = now_ms
        self.mesh.heard_as(peer, hello.hears, now_ms)
        self._vitals.heard(peer.name, now_ms, direct=True)
        if first:
            self._pull.ask_first(peer, now_ms)

    def _delta(self, peer: Peer, delta: Delta, now_ms: int) -> None:
        shown = self._state.clocks.of(peer.actor)
        if delta.edits and delta.push and shown is not None and self.replica.behind(shown):
            # It was restored and may not know it yet. What it wrote has not seen what everybody else has, and comes again as late edits.
            self.counters["edits_from_behind"] += len(delta.edits)
        elif delta.edits:
            offered = self._intake.offer(delta.edits)
            if offered.bad:
                self.mesh.misbehaved(peer, "messages_bad", f"{offered.bad} damaged or forged edits", now_ms)
            if offered.news and delta.push and not self.mesh.view.full_mesh:
                self._pull.hand_on(offered.news, self.mesh.eager_keys(but=peer.key))
            if delta.ahead:
                peer.behind = True
                self._pull.note_clock(peer, delta.ahead)
            self._commit_next()
            if not self._intake.in_flight and (delta.ahead or self._intake.held):
                self._pull.ask_soon(peer, now_ms)
            if not delta.push and self._farewell.heard(delta.edits):
                self._state.alarm("retired", f"{peer.name} tells that this node was retired from the cluster: it is read-only")
                self._changed({MEMBER_PREFIX + self.identity.name}, now_ms)
        self._pulse.take(peer, delta, self._waited_ms if now_ms < self._waited_until else 0, now_ms)

    def _digest(self, peer: Peer, digest: Digest, now_ms: int) -> None:
        """Take what a digest tells at once, and answer it unless this peer was answered only just now: then the newest one waits."""
        self._pull.note_digest(peer, digest)
        clock = digest.clock if digest.full else {}
        if digest.full or digest.clock_hash == self._state.clocks.hash:
            if self._authoring.note(peer.key, digest.hears, clock, now_ms):
                self._was_restored(f"{peer.name} has edits of this node that are not here")
            elif not dominates(self._state.clocks.own, digest.yours):
                self._was_restored(f"{peer.name} knows that this node once had edits that are not here")
        else:
            self.mesh.heard_as(peer, digest.hears, now_ms)
        if self._pulse.follow_own(digest, now_ms):
            self._was_restored(f"{peer.name} has heard this node further on than it is")
        if digest.full and self._upkeep.check_floor(peer, now_ms) and self.member is not None:
            # Whatever a member once showed to have keeps the floor from going beyond that.
            self._was_restored(f"{peer.name} keeps no edits from so far back")
        self._pull.unanswered[peer.key] = digest
        self._answer(peer, now_ms)

    def _answer(self, peer: Peer, now_ms: int) -> None:
        digest = self._pull.unanswered[peer.key]
        if self._pull.answer(peer, now_ms) and not digest.behind and not self.config_behind and not peer.contested:
            self._upkeep.compare(peer, digest.state_hash, now_ms)
            self._take_refold(now_ms)

    def _take_refold(self, now_ms: int) -> None:
        keys, self._upkeep.replaced = self._upkeep.replaced, set()
        if keys:
            self._changed(keys, now_ms)

    def _was_restored(self, why: str) -> None:
        """This node was further on once."""
        self._authoring.doubt()
        if self._authoring.restored:
            return
        self._authoring.restored = True
        self.counters["restored"] += 1
        self._state.alarm("restored", f"{why}: its database is an older copy; it goes on under a new actor and fetches what it lacks")

    # -- time ---------------------------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> None:
        if now_ms - self._ticked_ms > PAUSED_MS:
            for peer in self.peers.values():
                peer.vouched = False
            self._authoring.doubt()
        self._ticked_ms = now_ms
        continuity = self.continuity
        if continuity is Continuity.CLONED and self._was is not Continuity.CLONED:
            self._state.alarm(
                "cloned", "another process runs with this node's keys, and the others listen to that one: this one is passive"
            )
        self._was = continuity
        self._pulse.tick(now_ms)
        if now_ms >= self._pull_due:
            self._pull_due = now_ms + int(self._pull_ms * self._state.random.uniform(0.9, 1.1))
            chosen = self._rotation.next(peer.key for peer in self.mesh.open)
            if chosen is not None:
                self._pull.ask(self.peers[chosen], now_ms, full=chosen in self._pull.lacking)
            if self._intake.waiting and not self._intake.in_flight:
                self._commit_next()
        self._ask_on(now_ms)
        self._pull.tick(now_ms)
        for key in list(self._pull.unanswered):
            self._answer(self.peers[key], now_ms)
        if now_ms >= self._purge_due:
            self._purge_due = now_ms + PURGE_MS
            self._intake.purge()
        self._upkeep.tick(now_ms)
        observed = self._snapshot_within_ms is None or now_ms - self._pulse.observed_ms <= self._snapshot_within_ms
        self._vitals.tick(now_ms, beats=observed and self._pulse.speaks)
        self.mesh.tick(now_ms)
        self._farewell.tick(now_ms)
        for peer in self.peers.values():
            if peer.up:
                self._flush(peer, now_ms)


def _request(signed: SignedEdit) -> bytes:
    """What a local edit is known by until it is committed."""
    return b"%s:%d" % (signed.edit.actor, signed.edit.counter)
