"""The protocol engine: events in, effects out; no I/O, no clock, no randomness of its own.

Theory of operation. Every node holds the whole configuration (a `Replica`) and every node's health (an `Exchange`). What changes here
is pushed at once to every open peer; what a push missed is found by the pull: each second this node shows one peer a digest, and the
peer answers with a delta of what is lacking. Nothing is advertised before it is durable: edits go through the intake to a `Commit`
effect, and only `Committed` folds them, raises the clock and pushes them. Pushed bodies are not forwarded (full mesh); the pull covers
every gap.

Times are integer milliseconds of one clock that runs on during suspend.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gossip import codec
from gossip.events import (
    Accepted,
    Alarm,
    Commit,
    CommitFailed,
    Committed,
    Connect,
    Disconnect,
    Effect,
    Event,
    LocalEdit,
    LocalSnapshot,
    Publish,
    Rejected,
    Remake,
    Send,
    SendRefused,
    Tick,
)
from gossip.exchange import Exchange
from gossip.intake import Intake
from gossip.liveness import Liveness, Opinion
from gossip.messages import Alive, Beat, Delta, Digest, Hello, Message, Ping, Pong, Probe
from gossip.peers import Peer, Rotation
from gossip.transport import MessageReceived, PeerDown, PeerUp
from store.cells import Cell
from store.clocks import Dot, Vector, dominates
from store.edits import RESOLVE, Edit, EditError, SignedEdit, encode_body, frozen_changes, seal
from store.health import Cut, HealthDelta, HealthStream, Merge, OwnStream, cut_down, is_plain
from store.limits import limit
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, Member, MemberState
from store.replica import CLUSTER_KEY, Replica, Verify

if TYPE_CHECKING:
    from random import Random

TICK_MS = 500
HURRIED_TICK_MS = 100
"""While something waits for its moment: a push, a verdict on a lost peer."""
HELLO_WITHIN_MS = 5_000
PUSH_GAP_MS = 500
BEAT_MS = 1_000
STALE_MS = 15_000
ASK_AGAIN_MS = 200
PROBES = 3
PURGE_MS = 30_000
"""How often edits go that wait for something which nobody sends: one of them would keep this node from being caught up for ever."""
LOST = ""
"""The holder, in `_lacking`, of edits that came and could not be written. No peer has this key."""
_DELTA_BUDGET = limit("delta_bytes")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. `bootstrap` are the members that a join named, trusted until the registry is here."""

    name: str
    actor: bytes
    epoch: int
    boot_nonce: bytes
    sign: Callable[[bytes], bytes]
    verify: Verify
    bootstrap: tuple[Member, ...] = ()


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
    ) -> None:
        """`snapshot_within_ms`: a node whose health was not observed for so long stops its heart, so that nobody believes its last word."""
        self.identity = identity
        self.replica = replica
        self.counters: Counter[str] = Counter()
        self.exchange = Exchange(
            OwnStream(identity.name, identity.actor, identity.epoch, identity.sign, now_ms), streams, identity.verify, self.counters
        )
        self.liveness = Liveness(now_ms)
        self.peers: dict[str, Peer] = {}
        self.diverged: set[str] = set()
        self._by_name: dict[str, Peer] = {}
        self._intake = Intake(replica, self.counters)
        self._requests: dict[bytes, int] = {}
        self._met = False
        self._lacking: dict[str, Vector] = {}
        """The clock of each peer that is known to have edits which are not here."""
        self._settled = False
        self._unanswered: dict[str, Digest] = {}
        """The newest digest of each peer whose last one was answered only just now."""
        self._storage_failed = False
        self._purge_due = now_ms + PURGE_MS
        self._random = random
        self._rotation = Rotation(random)
        self._pull_ms = pull_ms
        self._pull_due = now_ms + random.randrange(pull_ms)
        self._beat_due = now_ms + BEAT_MS
        self._snapshot_ms = now_ms
        self._snapshot_within_ms = snapshot_within_ms
        self._pushed_ms = -(10**9)
        self._pushed_seq = 0
        self._push_waits = False
        self._probing: dict[int, tuple[str, str]] = {}
        self._nonce = 0
        self._whole: set[str] = set()
        self._standing: dict[str, Reporter] = {}
        self._equivocal: dict[str, tuple[int, int]] = {}
        self._effects: list[Effect] = []

    # -- what readers ask ---------------------------------------------------------------------------------------------

    @property
    def member(self) -> Member | None:
        """This node's own registration; None while it is still joining."""
        found = self.replica.registry.by_name.get(self.identity.name)
        return found if found is not None and found.actor == self.identity.actor else None

    @property
    def name_taken(self) -> bool:
        """Whether another actor holds this node's name."""
        found = self.replica.registry.by_name.get(self.identity.name)
        return found is not None and found.actor != self.identity.actor

    @property
    def caught_up(self) -> bool:
        """Whether this node knows of no edit that is not committed here, and has met a peer since its start that could have told it.

        Only what a peer says of itself counts, and only while it is a member: one that claims more than it has keeps others from this.
        """
        return self._met and not self._lacking and not self._intake.lacks(self.identity.actor)

    def connected(self, name: str) -> bool:
        """Whether this node and the member talk with each other directly now, both ways."""
        peer = self._by_name.get(name)
        return peer is not None and peer.open

    def reporter(self, name: str, now_ms: int) -> Reporter:
        """How far a node's health can be believed now."""
        if name == self.identity.name:
            return Reporter.STALE if self.exchange.own.stream.age_ms(now_ms) > STALE_MS else Reporter.FRESH
        member = self.replica.registry.by_name.get(name)
        if member is None or member.state is not MemberState.JOINED:
            return Reporter.LEFT
        opinion = self.liveness.opinion(name)
        if opinion is Opinion.OFFLINE:
            return Reporter.OFFLINE
        stream = self.exchange.streams.get(name)
        if stream is None or not stream.fresh:
            return Reporter.UNHEARD
        if opinion is Opinion.SUSPECT:
            return Reporter.SUSPECT
        return Reporter.STALE if stream.age_ms(now_ms) > STALE_MS else Reporter.FRESH

    @property
    def tick_ms(self) -> int:
        """How soon the next `Tick` is wanted."""
        return HURRIED_TICK_MS if self._push_waits or self._unanswered or self.liveness.uneasy else TICK_MS

    # -- events -------------------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> list[Effect]:
        """The first effects: connect to whoever is known."""
        self._follow_members(now_ms)
        return self._drain()

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event; returns what is to be done, in order."""
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
                self._snapshot(event, now_ms)
            case PeerUp():
                self._peer_up(event.key, now_ms)
            case PeerDown():
                self._peer_down(event.key, now_ms)
            case SendRefused():
                self._refused(event)
            case CommitFailed():
                self._commit_failed(event)
        if self.caught_up is not self._settled:
            self._settled = not self._settled
            if self._settled:
                self._effects.append(Publish(settled=True))
        return self._drain()

    def _drain(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    # -- local writes -------------------------------------------------------------------------------------------------

    def _local_edit(self, event: LocalEdit) -> None:
        reason = self._refusal(event)
        if reason is None:
            fold, actor = self.replica.fold, self.identity.actor
            pending = self._intake.own_pending(actor)
            counter = fold.clock.get(actor, 0) + pending + 1
            context = dict(fold.clock)
            if counter > 1:
                context[actor] = counter - 1
            edit = Edit(
                actor=actor,
                counter=counter,
                context=context,
                lamport=fold.lamport + pending + 1,
                author=self.identity.name,
                wall=event.wall,
                changes=frozen_changes(event.changes),
                reason=event.reason,
                kind=event.kind,
                covers={key: [(d.actor, d.counter) for d in dots] for key, dots in event.covers.items()} if event.kind == RESOLVE else {},
            )
            body = encode_body(edit)
            try:
                signed = seal(edit, body, self.identity.sign(body))
            except EditError as fault:
                reason = ("edit-too-large", str(fault))
            else:
                if fold.clock and self.replica.is_void(signed):
                    self._effects.append(Rejected(event.request, "forbidden", "this node's role does not allow this change"))
                    return
                self._requests[b"%s:%d" % (actor, counter)] = event.request
                self._intake.add_own(signed)
                self._commit_next()
                return
        self._effects.append(Rejected(event.request, *reason))

    def _refusal(self, event: LocalEdit) -> tuple[str, str] | None:
        member, founding = self.member, CLUSTER_KEY in event.changes and not self.replica.fold.clock
        if member is None and not founding:
            return (
                ("name-taken", f"another node holds the name {self.identity.name!r}: this one is read-only")
                if self.name_taken
                else ("joining", "this node has not received its own membership yet: try again shortly")
            )
        if member is not None and member.state is MemberState.RETIRED:
            return ("retired", "this node was retired from the cluster: it is read-only")
        if self._intake.own_pending(self.identity.actor) >= limit("pending_local_edits"):
            return ("busy", "too many edits wait for the disk: try again")
        tidies = event.kind == RESOLVE or all(key.startswith(MEMBER_PREFIX) for key in event.changes)
        if not tidies and (len(self.replica) >= limit("unstable_edits") or self.replica.log_bytes >= limit("unstable_bytes")):
            return ("log-full", "the log of edits is full")
        return None

    def _commit_next(self) -> None:
        batch, refused = self._intake.next_batch()
        if refused:
            self.counters["edits_refused"] += refused
            self._effects.append(
                Alarm("edits-refused", f"{refused} edits were dropped: unknown author, no right to write, or wrong signature")
            )
        if batch:
            self._effects.append(Commit(batch))

    def _committed(self, batch: tuple[SignedEdit, ...], now_ms: int) -> None:
        own = [signed for signed in batch if signed.edit.actor == self.identity.actor]
        voided = self.replica.voided
        keys = self.replica.commit(*batch)
        self._storage_failed = False
        clock = self.replica.fold.clock
        self._lacking = {key: theirs for key, theirs in self._lacking.items() if not dominates(clock, theirs)}
        if self.replica.voided > voided:
            self.counters["edits_void"] += self.replica.voided - voided
            self._effects.append(Alarm("edits-void", "edits of an unknown kind, or beyond their author's rights, change nothing here"))
        self._intake.landed()
        for chunk in _chunks([s.raw for s in own]):
            self._send(self._open_keys(), Delta(edits=chunk))
        for signed in own:
            request = self._requests.pop(b"%s:%d" % (signed.edit.actor, signed.edit.counter), None)
            if request is not None:
                self._effects.append(Accepted(request, signed.dot))
        if any(key.startswith("member/") for key in keys):
            self._follow_members(now_ms)
        self._effects.append(Publish(keys=frozenset(keys)))
        self._commit_next()
        self._ask_on(now_ms)

    def _ask_on(self, now_ms: int) -> None:
        """Ask those who said that they have more, once nothing is under way that would make them send the same again."""
        if self._intake.in_flight:
            return
        for peer in self.peers.values():
            if peer.behind and peer.open:
                peer.behind = False
                self._ask(peer, now_ms)

    def _commit_failed(self, event: CommitFailed) -> None:
        self.counters["commits_failed"] += 1
        lost = {s.edit.actor: s.edit.counter for s in event.batch if s.edit.actor != self.identity.actor}
        if lost:
            self._lacking[LOST] = {**self._lacking.get(LOST, {}), **lost}
        for signed in (*event.batch, *self._intake.failed()):
            request = self._requests.pop(b"%s:%d" % (signed.edit.actor, signed.edit.counter), None)
            if request is not None:
                self._effects.append(Rejected(request, "storage-failed", event.why))
        if not self._storage_failed:
            self._storage_failed = True
            self._effects.append(Alarm("storage-failed", event.why))

    # -- health -------------------------------------------------------------------------------------------------------

    def _snapshot(self, event: LocalSnapshot, now_ms: int) -> None:
        self._snapshot_ms = now_ms
        own = self.exchange.own
        before = own.cut
        moved = own.report([self._fit(cell) for cell in event.cells], now_ms)
        if own.cut > before:
            self._effects.append(Alarm("health-cut", f"this node's health is too large to be sent: without {own.cut.name.lower()}"))
        if not moved:
            return
        self._effects.append(Publish(health=frozenset({self.identity.name})))
        if now_ms - self._pushed_ms >= PUSH_GAP_MS:
            self._push_health(now_ms)
        else:
            self._push_waits = True

    def _fit(self, cell: Cell) -> Cell:
        """The cell, or the little of it that every peer takes."""
        if is_plain(cell) and len(msgspec.msgpack.encode(cell)) <= limit("cell_bytes"):
            return cell
        self.counters["cells_oversized"] += 1
        return cut_down(cell, Cut.DETAIL)

    def _push_health(self, now_ms: int) -> None:
        own = self.exchange.own.stream
        keys = tuple(key for key, peer in self.peers.items() if peer.open and not peer.contested)
        for part in self.exchange.deltas(self.identity.name, (own.head.epoch, self._pushed_seq), now_ms):
            self._send(keys, Delta(health=(part,)))
        self._pushed_ms, self._pushed_seq, self._push_waits = now_ms, own.head.seq, False

    # -- connections --------------------------------------------------------------------------------------------------

    def _follow_members(self, now_ms: int) -> None:
        """Connect to exactly the active members (and, while joining, to those that the join named)."""
        registry = self.replica.registry
        wanted = {m.curve_key: m for m in self.identity.bootstrap} if self.member is None else {}
        wanted.update({m.curve_key: m for m in registry.active})
        wanted = {k: m for k, m in wanted.items() if m.name != self.identity.name}
        labels = {key: m.name for key, m in wanted.items()}
        for member in registry.contested if self.member is not None else ():
            if member.actor != self.identity.actor and wanted.setdefault(member.curve_key, member) is member:
                labels[member.curve_key] = f"{member.name} ({member.actor.hex()})"
        for key in self.peers.keys() - wanted.keys():
            self._effects.append(Disconnect(key))
            self._forget(key)
            self._lacking.pop(key, None)
            del self.peers[key]
        for key, member in wanted.items():
            peer = self.peers.get(key)
            if peer is None:
                peer = self.peers[key] = Peer(key, labels[key], member.endpoint, member.name)
                self._effects.append(Connect(key, member.endpoint))
            elif peer.endpoint != member.endpoint:
                peer.endpoint = member.endpoint
                self._effects.append(Connect(key, member.endpoint))
            peer.name, peer.registered, peer.contested = labels[key], member.name, labels[key] != member.name
        self._by_name = {peer.name: peer for peer in self.peers.values()}
        self.liveness.watch((peer.name for peer in self.peers.values() if not peer.contested), now_ms)
        gone = self.exchange.prune(registry)
        if gone:
            self._effects.append(Publish(health=frozenset(gone)))

    def allowed(self, key: str) -> bool:
        """Whether a peer with this public key may connect and be heard: asked for every handshake and every message."""
        return key in self.peers

    def _peer_up(self, key: str, now_ms: int) -> None:
        peer = self.peers.get(key)
        if peer is None:
            return
        peer.up, peer.up_ms = True, now_ms
        self.liveness.link_up(peer.name)
        peer.owes_hello = False
        self._send((key,), self._hello(peer))
        if peer.hello is not None:
            self._ask(peer, now_ms)

    def _peer_down(self, key: str, now_ms: int) -> None:
        peer = self.peers.get(key)
        if peer is None or not peer.up:
            return
        peer.up = False
        self._unanswered.pop(key, None)
        self.liveness.link_down(peer.name, now_ms)

    def _hello(self, peer: Peer) -> Hello:
        me = self.identity
        return Hello(
            self.replica.cluster_id, me.name, me.actor, codec.VERSION_MIN, codec.VERSION_MAX, me.boot_nonce, ask=peer.hello is None
        )

    # -- messages -----------------------------------------------------------------------------------------------------

    def _received(self, event: MessageReceived, now_ms: int) -> None:
        peer = self.peers.get(event.key)
        if peer is None:
            self.counters["messages_from_strangers"] += 1
            return
        if now_ms - peer.expelled_ms < limit("expulsion_ms"):
            self.counters["messages_expelled"] += 1
            return
        try:
            message = codec.decode(event.header, event.body)
        except codec.UnknownClass:
            self.counters["messages_unknown"] += 1
            return
        except codec.BadMessage as fault:
            self._misbehaved(peer, "messages_oversized" if fault.oversized else "messages_bad", str(fault), now_ms)
            return
        if isinstance(message, Hello):
            self._hello_received(peer, message, now_ms)
            return
        if peer.hello is None:
            self.counters["messages_before_hello"] += 1
            return
        self.counters["messages_received"] += 1
        if self.liveness.heard(peer.name, now_ms, direct=True):
            self._standing_moved(now_ms)
        match message:
            case Delta():
                self._delta(peer, message, now_ms)
            case Digest():
                self._digest(peer, message, now_ms)
            case Ping():
                self._send((peer.key,), Pong(message.nonce))
            case Pong():
                self._pong(message, now_ms)
            case Probe():
                self._probe(peer, message, now_ms)
            case Alive():
                if self.liveness.heard(message.target, now_ms, message.age_ms):
                    self._standing_moved(now_ms)

    def _misbehaved(self, peer: Peer, counter: str, what: str, now_ms: int) -> None:
        self.counters[counter] += 1
        peer.bad += 1
        if peer.bad == 1 or peer.bad == limit("bad_messages"):
            self._effects.append(Alarm("bad-peer", f"peer {peer.name} sent {what}"))
        if peer.bad >= limit("bad_messages"):
            self.counters["peers_expelled"] += 1
            peer.bad, peer.hello, peer.up, peer.expelled_ms = 0, None, False, now_ms
            self._forget(peer.key)
            self._effects.append(Remake(peer.key))

    def _forget(self, key: str) -> None:
        """Drop what a peer has begun and not finished."""
        self.exchange.forget_peer(key)
        self._unanswered.pop(key, None)

    def _hello_received(self, peer: Peer, hello: Hello, now_ms: int) -> None:
        if hello.cluster != self.replica.cluster_id or hello.name != peer.registered:
            self._misbehaved(peer, "hellos_refused", f"a hello as {hello.name!r} of cluster {hello.cluster!r}", now_ms)
            return
        if hello.version_max < codec.VERSION_MIN or hello.version_min > codec.VERSION_MAX:
            peer.hello = None
            self.counters["hellos_refused"] += 1
            theirs = f"{hello.version_min} to {hello.version_max}"
            ours = f"{codec.VERSION_MIN} to {codec.VERSION_MAX}"
            complaint = f"peer {peer.name} speaks protocol {theirs}, this node {ours}"
            if peer.complaint != complaint:
                peer.complaint = complaint
                self._effects.append(Alarm("version-mismatch", complaint))
            return
        peer.complaint = ""
        first = peer.hello is None or peer.hello.boot_nonce != hello.boot_nonce
        peer.hello = hello
        if self.liveness.heard(peer.name, now_ms, direct=True):
            self._standing_moved(now_ms)
        if peer.up and hello.ask:
            self._send((peer.key,), self._hello(peer))
        if peer.up and first:
            self._ask(peer, now_ms)

    def _delta(self, peer: Peer, delta: Delta, now_ms: int) -> None:
        if delta.edits:
            bad = self._intake.offer(delta.edits)
            if bad:
                self._misbehaved(peer, "messages_bad", f"{bad} damaged or forged edits", now_ms)
            if delta.ahead:
                peer.behind = True
                self._note_clock(peer, delta.ahead)
            self._commit_next()
            if not self._intake.in_flight and (delta.ahead or self._intake.held):
                self._ask_soon(peer, now_ms)
        moved = {d.node for d in delta.health if self._take_health(peer, d, now_ms)}
        standing = self._hear_beats(peer, delta.beats, now_ms)
        if moved:
            self._effects.append(Publish(health=frozenset(moved)))
        if moved or standing:
            self._standing_moved(now_ms)

    def _take_health(self, peer: Peer, delta: HealthDelta, now_ms: int) -> bool:
        result = self.exchange.take(delta, self.replica.registry, now_ms, peer.key)
        if result is Merge.TAKEN:
            self._whole.discard(delta.node)
            if delta.node != peer.name:
                self.liveness.heard(delta.node, now_ms, delta.age_ms)
        elif result in (Merge.GAP, Merge.MISMATCH):
            if result is Merge.MISMATCH:
                self._whole.add(delta.node)
            self._ask_soon(peer, now_ms)
        elif result is Merge.FORGED:
            self._misbehaved(peer, "health_bad", f"health of {delta.node} with a wrong signature", now_ms)
        elif result is Merge.OVERSIZED:
            self._whole.discard(delta.node)
            self._effects.append(
                Alarm("health-oversized", f"the health of {delta.node} is larger than this node takes: {delta.size:,} bytes")
            )
        elif result is Merge.EQUIVOCATION and self._equivocal.get(delta.node) != delta.head.content:
            self._equivocal[delta.node] = delta.head.content
            self._effects.append(Alarm("equivocation", f"node {delta.node} signed two states for one position: is it running twice?"))
        return result is Merge.TAKEN

    def _hear_beats(self, peer: Peer, beats: Mapping[str, Beat], now_ms: int) -> bool:
        """Take the beats that are newer; whether they moved the standing of a node."""
        moved, forged = False, 0
        for node, beat in beats.items():
            result = self.exchange.hear(node, beat, self.replica.registry, now_ms)
            if result is Merge.BEAT:
                moved |= self.liveness.heard(node, now_ms, beat.age_ms)
            elif result is Merge.FORGED:
                self.counters["beats_forged"] += 1
                forged += 1
                if forged == limit("forged_beats"):
                    self._misbehaved(peer, "messages_bad", f"{forged} beats with a wrong signature", now_ms)
                    break
        return moved

    def _note_clock(self, peer: Peer, clock: Vector) -> None:
        """Remember whether the peer has edits that are not here."""
        if dominates(self.replica.fold.clock, clock):
            self._lacking.pop(peer.key, None)
        else:
            self._lacking[peer.key] = clock

    def _digest(self, peer: Peer, digest: Digest, now_ms: int) -> None:
        """Take what a digest tells at once, and answer it unless this peer was answered only just now: then the newest one waits."""
        if self._hear_beats(peer, digest.health, now_ms):
            self._standing_moved(now_ms)
        if digest.clock:
            self._met = True
            self._note_clock(peer, digest.clock)
        self._unanswered[peer.key] = digest
        self._answer(peer, now_ms)

    def _answer(self, peer: Peer, now_ms: int) -> None:
        if now_ms - peer.answered_ms < limit("answer_gap_ms"):
            return
        peer.answered_ms = now_ms
        digest = self._unanswered.pop(peer.key)
        fold = self.replica.fold
        held = (Dot(*pair) for pair in digest.held)
        edits, more = self.replica.since(digest.clock, _DELTA_BUDGET, also=held)
        if edits:
            self._send((peer.key,), Delta(edits=tuple(edits), ahead=dict(fold.clock) if more else {}))
        if not peer.contested:
            self._answer_health(peer, digest, now_ms)
        if not dominates(fold.clock, digest.clock) or self.exchange.wanted(digest.health, self.replica.registry):
            if not digest.answer:
                self._ask(peer, now_ms, answer=True)
        elif dict(digest.clock) == fold.clock:
            self._compare(peer, digest.state_hash)

    def _answer_health(self, peer: Peer, digest: Digest, now_ms: int) -> None:
        answer = self.exchange.answer(digest.health, digest.whole, peer.name, peer.cursor, now_ms, digest.refused)
        if answer.beats:
            self._send((peer.key,), Delta(beats=answer.beats))
        for deltas in answer.messages:
            self._send((peer.key,), Delta(health=deltas))
        peer.cursor = answer.cursor
        if answer.cursor is not None:
            peer.owes_digest = True

    def _compare(self, peer: Peer, state_hash: bytes) -> None:
        if state_hash == self.replica.fold.state_hash:
            self.diverged.discard(peer.name)
        elif peer.name not in self.diverged:
            self.diverged.add(peer.name)
            self.counters["divergences"] += 1
            self._effects.append(Alarm("diverged", f"this node and {peer.name} have the same edits and different states"))

    def _ask_soon(self, peer: Peer, now_ms: int) -> None:
        if now_ms - peer.asked_ms >= ASK_AGAIN_MS:
            self._ask(peer, now_ms)

    def _ask(self, peer: Peer, now_ms: int, *, answer: bool = False) -> None:
        """Show the peer what is here, so that it sends what is not."""
        peer.asked_ms = now_ms
        self._send(
            (peer.key,),
            Digest(
                clock=dict(self.replica.fold.clock),
                state_hash=self.replica.fold.state_hash,
                health=self.exchange.vector(now_ms),
                held=tuple((d.actor, d.counter) for d in (*self._intake.held, *(s.dot for s in self._intake.in_flight)))[:1024],
                answer=answer,
                whole=tuple(self._whole),
                refused=self.exchange.refused,
            ),
        )

    # -- liveness -----------------------------------------------------------------------------------------------------

    def _pong(self, pong: Pong, now_ms: int) -> None:
        asked = self._probing.pop(pong.nonce, None)
        if asked is not None:
            asker, target = asked
            age = self.liveness.direct_age_ms(target, now_ms)
            if age is not None:
                self._send((asker,), Alive(target, age))

    def _probe(self, peer: Peer, probe: Probe, now_ms: int) -> None:
        target = self._by_name.get(probe.target)
        if target is None or not target.up:
            return
        self._nonce += 1
        self._probing[self._nonce] = (peer.key, probe.target)
        while len(self._probing) > 256:
            del self._probing[next(iter(self._probing))]
        self._send((target.key,), Ping(self._nonce))

    def _standing_moved(self, now_ms: int) -> None:
        """Publish the nodes whose word counts differently than when last published."""
        standing = {name: self.reporter(name, now_ms) for name in self.replica.registry.by_name}
        if standing != self._standing:
            moved = {n for n in standing.keys() | self._standing.keys() if standing.get(n) is not self._standing.get(n)}
            self._standing = standing
            self._effects.append(Publish(standing=frozenset(moved)))

    # -- time ---------------------------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> None:
        if now_ms >= self._beat_due:
            self._beat_due = now_ms + BEAT_MS
            if self._snapshot_within_ms is None or now_ms - self._snapshot_ms <= self._snapshot_within_ms:
                self.exchange.own.beat(now_ms)
        if self._push_waits and now_ms - self._pushed_ms >= PUSH_GAP_MS:
            self._push_health(now_ms)
        if now_ms >= self._pull_due:
            self._pull_due = now_ms + int(self._pull_ms * self._random.uniform(0.9, 1.1))
            chosen = self._rotation.next(key for key, peer in self.peers.items() if peer.open)
            if chosen is not None:
                self._ask(self.peers[chosen], now_ms)
            if self._intake.waiting and not self._intake.in_flight:
                self._commit_next()
        self._ask_on(now_ms)
        for key in list(self._unanswered):
            self._answer(self.peers[key], now_ms)
        if now_ms >= self._purge_due:
            self._purge_due = now_ms + PURGE_MS
            self._intake.purge()
        questions = self.liveness.tick(now_ms)
        for name in questions.ping:
            peer = self._by_name.get(name)
            if peer is not None and peer.up:
                self._nonce += 1
                self._send((peer.key,), Ping(self._nonce))
        for name in questions.probe:
            helpers = [p.key for p in self.peers.values() if p.open and p.name != name]
            self._send(tuple(self._random.sample(helpers, min(PROBES, len(helpers)))), Probe(name))
        self._standing_moved(now_ms)
        for peer in self.peers.values():
            if peer.up:
                self._flush(peer, now_ms)
            if peer.up and peer.hello is None and now_ms - peer.up_ms >= HELLO_WITHIN_MS:
                peer.up = False
                self._effects.append(Remake(peer.key))

    # -- sending ------------------------------------------------------------------------------------------------------

    def _open_keys(self) -> tuple[str, ...]:
        return tuple(key for key, peer in self.peers.items() if peer.open)

    def _send(self, keys: Iterable[str], message: Message) -> None:
        targets = tuple(keys)
        if targets:
            self._effects.append(Send(targets, message))

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
            self._send((peer.key,), self._hello(peer))
        elif peer.owes_digest:
            peer.owes_digest = False
            self._ask(peer, now_ms)


def _chunks(raws: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The edits in groups that fit one delta each."""
    chunk: list[bytes] = []
    used = 0
    for raw in raws:
        if chunk and used + len(raw) > _DELTA_BUDGET:
            yield tuple(chunk)
            chunk, used = [], 0
        chunk.append(raw)
        used += len(raw)
    if chunk:
        yield tuple(chunk)
