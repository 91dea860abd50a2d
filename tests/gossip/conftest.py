"""A cluster in one process: real engines and real frames, over a network, disks and a clock that a test rules.

Everything follows from the seed. Commits take time, may fail, and survive a kill or not; connections are made, refused and lost;
messages are lost, repeated and reordered if the test wants. While it runs, the world checks what must never happen: a dot with two
contents, an edit that is shown before it is on the disk, an age that is too young, a message that does not fit.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import pytest

from gossip import codec
from gossip.antientropy import AntiEntropy
from gossip.authoring import Authoring
from gossip.engine import TICK_MS, Engine, Identity
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
    Rejected,
    Remake,
    Send,
    SendRefused,
    SetEpoch,
    Tick,
)
from gossip.exchange import Exchange
from gossip.intake import Intake
from gossip.mesh import Mesh
from gossip.messages import Delta, Digest, Hello, Message
from gossip.peers import Peer
from gossip.pulse import Pulse
from gossip.stability import Clocks
from gossip.state import State
from gossip.transport import Knocked, MessageReceived, PeerDown, PeerUp
from gossip.upkeep import Upkeep
from gossip.vitals import Vitals
from store.base import decode_base
from store.cells import Cell
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, SignedEdit, decode_edit
from store.health import OwnStream, decode_stream, encode_stream
from store.limits import limit
from store.matrix import Reporter
from store.members import Member, Role
from store.replica import Replica

LATENCY_MS = 3


@dataclass
class Link:
    """One node's connection to a peer. `generation` makes what was under way on an earlier connection disappear."""

    up: bool = False
    generation: int = 0
    under_way: int = 0
    clear_ms: int = 0


@dataclass
class Node:
    """One process with its disk. What is in `disk`, `streams` and `epoch` survives a kill."""

    name: str
    member: Member
    cluster: str
    bootstrap: tuple[Member, ...] = ()
    disk: list[bytes] = field(default_factory=list)
    base: bytes | None = None
    streams: dict[str, bytes] = field(default_factory=dict)
    epoch: int = 0
    life: int = 0
    due_ms: int = 0
    running: Engine | None = None
    paused: bool = False
    inbox: list[Event] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)
    accepted: dict[int, Dot] = field(default_factory=dict)
    rejected: dict[int, Rejected] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    published: list[Publish] = field(default_factory=list)
    on_disk: set[Dot] = field(default_factory=set)
    standings: list[tuple[int, str, Reporter]] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        assert self.running is not None, f"{self.name} is down"
        return self.running

    def codes(self) -> Counter[str]:
        return Counter(alarm.code for alarm in self.alarms)


class World:
    """All nodes, the network between them, and the time."""

    def __init__(self, scribe: Any, count: int, *, seed: int = 0, roles: Mapping[str, Role] | None = None, start: bool = True) -> None:
        self.scribe = scribe
        self.random = Random(seed)
        self.now = 1_000_000
        self.loss = self.repeat = self.refuse = self.commit_failure = 0.0
        self.jitter_ms = 0
        self.commit_ms = (1, 20)
        self.capacity = 16
        self.collect_edits = limit("collect_edits")
        self.nodes: dict[str, Node] = {}
        self.cut: set[tuple[str, str]] = set()
        self.mute: set[tuple[str, str]] = set()
        self.sent: Counter[str] = Counter()
        self.bytes_sent = 0
        self.check_ages = True
        self._worst_delay_ms = LATENCY_MS
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._requests = 0
        self._dots: dict[Dot, bytes] = {}
        self._beats: dict[tuple[bytes, int, int], int] = {}
        self._commits: list[tuple[Node, int, tuple[SignedEdit, ...]]] = []
        names = [f"n{n}" for n in range(1, count + 1)]
        log: list[SignedEdit] = [scribe.founding("n1")]
        for name in names[1:]:
            member = scribe.member(name, (roles or {}).get(name, Role.ADMIN))
            log.append(scribe.registration("n1", member, {scribe.actor("n1"): len(log)}))
        for name in names:
            self.add(name, [s.raw for s in log])
            if start:
                self.start(name)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def add(self, name: str, disk: Iterable[bytes] = (), *, actor: str = "", bootstrap: Iterable[str] = (), label: str = "") -> Node:
        """A node that is not running yet; `label` is what the test calls it if two have one name."""
        node = Node(
            name, self.scribe.member(name, actor=actor), self.scribe.cluster, tuple(self.nodes[n].member for n in bootstrap), list(disk)
        )
        node.on_disk = {decode_edit(raw).dot for raw in node.disk}
        self.nodes[label or name] = node
        return node

    def start(self, name: str, *, cluster: str = "", restored: bool = False) -> None:
        node = self.nodes[name]
        assert node.running is None
        node.epoch += 1
        node.life += 1
        key = node.member.signing_key
        base = decode_base(node.base) if node.base is not None else None
        replica = Replica(cluster or node.cluster, self.scribe.verify, [decode_edit(raw) for raw in node.disk], base)
        identity = Identity(
            node.name, node.member.actor, node.epoch, self.random.randbytes(16), lambda body: self.scribe.sign_with(key, body),
            self.scribe.verify, node.bootstrap, restored,
        )  # fmt: skip
        streams = {n: decode_stream(blob, self.now) for n, blob in node.streams.items() if n != node.name}
        node.running = Engine(identity, replica, streams, Random(self.random.random()), self.now, collect_edits=self.collect_edits)
        node.paused, node.inbox, node.links = False, [], {}
        self._after(node, node.engine.start(self.now))
        node.due_ms = self.now + TICK_MS
        self._tick_at(node, self.now + self.random.randrange(1, TICK_MS))

    def kill(self, name: str) -> None:
        """As SIGKILL does: the kernel closes the connections; a commit under way is on the disk or is not."""
        node = self.nodes[name]
        node.streams = {n: encode_stream(s) for n, s in node.engine.exchange.streams.items()}
        node.running = None
        node.life += 1
        node.links = {}
        for commit in [c for c in self._commits if c[0] is node]:
            self._commits.remove(commit)
            if self.random.random() < 0.5:
                self._persist(node, commit[2])
        for other in self.nodes.values():
            self._break(other, node)

    def pause(self, name: str) -> None:
        """As SIGSTOP does: the connections stand, what arrives waits."""
        self.nodes[name].paused = True

    def resume(self, name: str) -> None:
        node = self.nodes[name]
        node.paused = False
        inbox, node.inbox = node.inbox, []
        for event in inbox:
            self.dispatch(node, event)
        self.dispatch(node, Tick())

    @property
    def up(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.running is not None]

    # -- the network --------------------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[str]) -> None:
        """Only nodes of one group reach each other."""
        sides = [set(group) for group in groups]
        self.heal()
        for a in self.nodes:
            for b in self.nodes:
                if a != b and not any(a in side and b in side for side in sides):
                    self.cut.add((a, b))
        for a, b in self.cut:
            self._break(self.nodes[a], self.nodes[b])

    def heal(self) -> None:
        """Everybody can reach everybody again; the next attempt to connect succeeds."""
        self.cut.clear()

    def calm(self) -> None:
        """End all faults but what is down, paused or cut."""
        self.loss = self.repeat = self.refuse = self.commit_failure = 0.0
        self.jitter_ms = 0

    def _label(self, node: Node) -> str:
        return next(label for label, other in self.nodes.items() if other is node)

    def _wired(self, node: Node, peer: Node) -> bool:
        ends = self._label(node), self._label(peer)
        return ends not in self.cut and ends[::-1] not in self.cut

    def _by_key(self, key: str) -> Node | None:
        return next((n for n in self.nodes.values() if n.member.curve_key == key and n.running is not None), None)

    def _break(self, node: Node, peer: Node) -> None:
        link = node.links.get(peer.member.curve_key)
        if link is not None and link.up:
            link.up = False
            link.generation += 1
            link.under_way = 0
            self._later(self.random.randint(1, 5), node, lambda: self.dispatch(node, PeerDown(peer.member.curve_key)))
            self._connect_later(node, peer.member.curve_key, 100)

    def _connect_later(self, node: Node, key: str, ms: int) -> None:
        link = node.links.get(key)
        if link is not None:
            generation = link.generation
            self._later(ms, node, lambda: self._connect(node, key, generation))

    def _connect(self, node: Node, key: str, generation: int) -> None:
        link, peer = node.links.get(key), self._by_key(key)
        if link is None or link.up or link.generation != generation:
            return
        if peer is None or peer.paused or not self._wired(node, peer) or not peer.engine.allowed(node.member.curve_key):
            if peer is not None and self._wired(node, peer) and peer.engine.concerns(node.member.curve_key):
                self.dispatch(peer, Knocked(node.member.curve_key))
            self._connect_later(node, key, self.random.randint(200, 500))
            return
        link.up, link.under_way, link.clear_ms = True, 0, 0
        self.dispatch(node, PeerUp(key))

    def _transmit(self, node: Node, key: str, message: Message, frames: tuple[bytes, bytes]) -> bool:
        link = node.links.get(key)
        if link is None or not link.up or link.under_way >= self.capacity or self.random.random() < self.refuse:
            return False
        self.sent[type(message).__name__] += 1
        self.bytes_sent += len(frames[1])
        peer = self._by_key(key)
        if peer is None or (self._label(node), self._label(peer)) in self.mute:
            return True
        copies = 0 if self.random.random() < self.loss else 2 if self.random.random() < self.repeat else 1
        for _ in range(copies):
            delay = self.random.randint(1, LATENCY_MS) + (self.random.randint(0, self.jitter_ms) if self.jitter_ms else 0)
            self._worst_delay_ms = max(self._worst_delay_ms, delay)
            arrival = self.now + delay
            if not self.jitter_ms:
                arrival = link.clear_ms = max(arrival, link.clear_ms)
            link.under_way += 1
            self._at(arrival, partial(self._arrive, node, peer, (peer.life, link.generation), link, frames))
        return True

    def _arrive(self, node: Node, peer: Node, sent_in: tuple[int, int], link: Link, frames: tuple[bytes, bytes]) -> None:
        life, generation = sent_in
        if link.generation != generation:
            return
        link.under_way -= 1
        if peer.life == life and peer.running is not None:
            self.dispatch(peer, MessageReceived(node.member.curve_key, *frames))

    # -- events and effects -------------------------------------------------------------------------------------------

    def dispatch(self, node: Node, event: Event) -> None:
        if node.running is None:
            return
        if node.paused:
            node.inbox.append(event)
            return
        self._after(node, node.running.handle(event, self.now))
        if self.now + node.running.tick_ms < node.due_ms:
            self._tick_at(node, self.now + node.running.tick_ms)

    def _after(self, node: Node, effects: list[Effect]) -> None:
        head = node.engine.exchange.own.stream.head
        self._beats.setdefault((head.actor, head.epoch, head.beat), self.now)
        pending = list(effects)
        while pending:
            effect = pending.pop(0)
            match effect:
                case Send():
                    self._check_honest(node, effect.message)
                    frames = codec.encode(effect.message, node.engine.identity.session)
                    for key in effect.keys:
                        if not self._transmit(node, key, effect.message, frames):
                            pending += node.engine.handle(SendRefused(key, effect.message), self.now)
                case Commit():
                    commit = (node, node.life, effect.batch)
                    self._commits.append(commit)
                    self._at(self.now + self.random.randint(*self.commit_ms), partial(self._commit_done, commit))
                case Rebase():
                    self._later(self.random.randint(*self.commit_ms), node, partial(self._rebase_done, node, effect))
                case SetEpoch():
                    self._later(self.random.randint(*self.commit_ms), node, partial(self._epoch_done, node, effect.epoch))
                case Connect():
                    old = node.links.get(effect.key)
                    node.links[effect.key] = Link(generation=old.generation + 1 if old else 0)
                    self._connect_later(node, effect.key, self.random.randint(1, 20))
                case Disconnect():
                    node.links.pop(effect.key).generation += 1
                case Remake():
                    link = node.links[effect.key]
                    link.up, link.generation = False, link.generation + 1
                    self._connect_later(node, effect.key, 20)
                case Accepted():
                    node.accepted[effect.request] = effect.dot
                case Rejected():
                    node.rejected[effect.request] = effect
                case Alarm():
                    node.alarms.append(effect)
                case Publish():
                    node.published.append(effect)
                    node.standings += [(self.now, name, node.engine.reporter(name, self.now)) for name in sorted(effect.standing)]

    def _commit_done(self, commit: tuple[Node, int, tuple[SignedEdit, ...]]) -> None:
        if commit not in self._commits:
            return
        self._commits.remove(commit)
        node, _, batch = commit
        if self.random.random() < self.commit_failure:
            self.dispatch(node, CommitFailed(batch, "disk full"))
            return
        self._persist(node, batch)
        self.dispatch(node, Committed(batch))

    def _rebase_done(self, node: Node, effect: Rebase) -> None:
        node.base = effect.base
        if effect.log is None:
            gone = set(effect.gone)
            node.disk = [raw for raw in node.disk if decode_edit(raw).dot not in gone]
        else:
            node.disk = list(effect.log)
        node.on_disk = {decode_edit(raw).dot for raw in node.disk}
        self.dispatch(node, Rebased())

    def _epoch_done(self, node: Node, epoch: int) -> None:
        node.epoch = epoch
        self.dispatch(node, EpochSet(epoch))

    def _persist(self, node: Node, batch: tuple[SignedEdit, ...]) -> None:
        for signed in batch:
            assert signed.dot not in node.on_disk, f"{node.name} commits {signed.dot} twice"
            assert self._dots.setdefault(signed.dot, signed.raw) == signed.raw, f"{signed.dot} names two edits"
            node.disk.append(signed.raw)
            node.on_disk.add(signed.dot)

    def _check_honest(self, node: Node, message: Message) -> None:
        if isinstance(message, Delta) and not (message.push and not node.engine.mesh.view.full_mesh):
            assert all(decode_edit(raw).dot in node.on_disk for raw in message.edits[:20]), "sent before it is durable"
        elif isinstance(message, Digest):
            floor = node.engine.replica.floor
            for actor, counter in message.clock.items():
                assert Dot(actor, counter) in node.on_disk or counter <= floor.get(actor, 0), "advertised before it is durable"

    def _check_ages(self, node: Node) -> None:
        slack = 8 * self._worst_delay_ms
        for stream in node.engine.exchange.streams.values():
            made = self._beats.get((stream.head.actor, stream.head.epoch, stream.head.beat))
            if stream.fresh and made is not None:
                assert stream.age_ms(self.now) >= self.now - made - slack, f"{node.name} takes {stream.node} for younger than it is"

    # -- time ---------------------------------------------------------------------------------------------------------

    def _at(self, time: int, call: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (time, self._number, call))

    def _later(self, ms: int, node: Node, call: Callable[[], None]) -> None:
        life = node.life
        self._at(self.now + ms, lambda: call() if node.life == life else None)

    def _tick_at(self, node: Node, time: int) -> None:
        node.due_ms = time
        self._later(time - self.now, node, lambda: self._tick(node, time))

    def _tick(self, node: Node, time: int) -> None:
        if node.due_ms != time:
            return  # one that is due sooner took its place
        if not node.paused:
            self.dispatch(node, Tick())
            if self.check_ages:
                self._check_ages(node)
        self._tick_at(node, self.now + node.engine.tick_ms)

    def run(self, ms: int) -> None:
        end = self.now + ms
        while self._agenda and self._agenda[0][0] <= end:
            time, _, call = heapq.heappop(self._agenda)
            self.now = max(self.now, time)
            call()
        self.now = end

    def until(self, condition: Callable[[], bool], within_ms: int, what: str = "the condition") -> int:
        """Run until it holds; returns how long that took. Fails after `within_ms`."""
        start = self.now
        while not condition():
            assert self.now - start < within_ms, f"{what} does not hold after {within_ms} ms"
            self.run(50)
        return self.now - start

    # -- what tests do and ask ----------------------------------------------------------------------------------------

    def edit(
        self, name: str, changes: Mapping[str, Options | None], *, kind: str = CHANGE, covers: Mapping[str, tuple[Dot, ...]] | None = None
    ) -> int:
        self._requests += 1
        self.dispatch(self.nodes[name], LocalEdit(self._requests, changes, self.now / 1000, "test", kind, covers or {}))
        return self._requests

    def report(self, name: str, **states: str) -> None:
        self.dispatch(self.nodes[name], LocalSnapshot(tuple(Cell("multipath.map", w, s) for w, s in states.items())))

    def made(self, name: str, *requests: int) -> bool:
        """Whether the node has acknowledged all these edits, or all that were asked of it."""
        node = self.nodes[name]
        assert not node.rejected.keys() & set(requests), node.rejected
        return node.accepted.keys() >= set(requests)

    def converged(self, *names: str) -> bool:
        nodes = [self.nodes[n] for n in names] if names else self.up
        first = nodes[0].engine.replica.fold
        return all(n.engine.replica.fold.clock == first.clock and n.engine.replica.fold.state_hash == first.state_hash for n in nodes)

    def shown(self, at: str, of: str) -> dict[str, str]:
        stream = self.nodes[at].engine.exchange.streams.get(of)
        return {c.id: c.state for c in stream.cells()} if stream else {}

    def sees(self, at: str, of: str) -> Reporter:
        return self.nodes[at].engine.reporter(of, self.now)

    def value(self, at: str, key: str) -> Options | None:
        return self.nodes[at].engine.replica.fold.value(key)

    def all_see(self, standing: Reporter) -> bool:
        return all(self.sees(a, n.name) is standing for a in self.nodes if self.nodes[a].running for n in self.up if n is not self.nodes[a])

    def settled(self) -> "World":
        """The world once everybody sees everybody."""
        self.until(lambda: self.all_see(Reporter.FRESH), 10_000, "that all see all")
        assert self.converged()
        return self

    def check_accepted(self) -> None:
        """No edit that a user was told of is missing anywhere that runs."""
        for node in self.nodes.values():
            for dot in node.accepted.values():
                for other in self.up:
                    assert other.engine.replica.raw(dot) == self._dots[dot]


@pytest.fixture
def world(scribe: Any) -> Callable[..., World]:
    def make(count: int, **options: Any) -> World:
        return World(scribe, count, **options)

    return make


class Parts:
    """The parts of one engine, wired as the engine wires them, which a test calls one by one. Nothing is sent: see `sent`."""

    def __init__(self, scribe: Any, *members: Member, log: Iterable[SignedEdit] = (), restored: bool = False, now: int = 1_000_000) -> None:
        """Node n1, which has founded the cluster and let the `members` in, and has what else is in the log."""
        self.scribe = scribe
        self.now = now
        edits = [scribe.founding("n1")]
        for count, member in enumerate(members, 1):
            edits.append(scribe.registration("n1", member, {scribe.actor("n1"): count}))
        self.clock = {scribe.actor("n1"): len(edits)}
        self.members = {member.name: member for member in members}
        key = scribe.signing_key("n1")
        replica = Replica(scribe.cluster, scribe.verify, [*edits, *log])
        identity = Identity(
            "n1", scribe.actor("n1"), 1, b"boot-nonce-of-n1", lambda body: scribe.sign_with(key, body), scribe.verify, (), restored
        )
        counters: Counter[str] = Counter()
        own = OwnStream("n1", identity.actor, 1, identity.sign, now)
        exchange = Exchange(own, {}, scribe.verify, counters)
        self.state = State(identity, replica, Clocks(replica.fold.clock), exchange, counters, Random(1))
        self.forgotten: list[str] = []
        self.mesh = Mesh(self.state, self.forgotten.append, now)
        self.vitals = Vitals(self.state, self.mesh, now)
        self.intake = Intake(replica, counters)
        self.pull = AntiEntropy(self.state, self.mesh, self.intake)
        self.authoring = Authoring(self.state, self.mesh, self.intake)
        self.pulse = Pulse(self.state, self.mesh, self.pull, self.vitals, lambda: self.mesh.cloned, now)
        self.upkeep = Upkeep(self.state, self.mesh, self.intake, self.pull, self.authoring, now, collect_edits=1)
        self.mesh.follow()
        self.vitals.follow(now)
        self.state.effects.clear()

    def open(self, name: str, *, met: bool = True) -> Peer:
        """The connection to a member stands and its hello came; if `met`, it has also shown that its clock is this node's."""
        peer = self.mesh.by_name[name]
        nonce = name.encode().ljust(16, b".")
        self.mesh.up(peer, self.now)
        self.vitals.liveness.link_up(name)
        assert self.mesh.listens(peer, nonce[:8], True, self.now)
        self.mesh.greeted(peer, Hello(self.scribe.cluster, name, peer.actor, 1, 1, nonce), self.now)
        if met:
            self.pull.note_digest(peer, Digest(self.state.clocks.hash, self.state.replica.fold.state_hash))
        self.vitals.heard(name, self.now, direct=True)
        self.state.effects.clear()
        return peer

    def commit(self, *edits: SignedEdit) -> None:
        """These edits are durable and folded."""
        self.state.replica.commit(*edits)
        self.state.clocks.advance(self.state.replica.fold.clock)

    def effects(self) -> list[Effect]:
        """What the parts have asked for since the last look."""
        effects, self.state.effects = self.state.effects, []
        return effects

    def sent(self, kind: type[Any]) -> list[tuple[tuple[str, ...], Any]]:
        """Of that, the messages of one kind, with the names of whom each is for; all else is forgotten."""
        names = {peer.key: peer.name for peer in self.mesh.peers.values()}
        sends = [effect for effect in self.effects() if isinstance(effect, Send)]
        return [(tuple(names[key] for key in effect.keys), effect.message) for effect in sends if isinstance(effect.message, kind)]


@pytest.fixture(scope="session")
def parts(scribe: Any) -> Callable[..., Parts]:
    def make(*names: str, **options: Any) -> Parts:
        return Parts(scribe, *(scribe.member(name) for name in names), **options)

    return make
