"""This node's connections: to whom, who may come in, what was agreed at hello, and which life of a peer is listened to."""

from collections.abc import Callable, Iterator

from gossip import codec
from gossip.events import Connect, Disconnect, Remake
from gossip.messages import Hello
from gossip.peers import Peer
from gossip.sessions import LATELY_MS, Heard, Sessions
from gossip.state import State
from gossip.view import Neighbourhood, View, eager
from store.limits import limit
from store.members import Member, MemberState

HELLO_WITHIN_MS = 5_000
REMIND_MS = 1_000
MISHEARD_MS = LATELY_MS + 1_000
"""A peer that goes on naming another session of this node's after so long listens to another process with the same keys: it names only what
it heard lately, and a former life of this node has been silent for longer by then."""
GUEST_SILENT_MS = 60_000
FAREWELL_MS = 10_000
OUT_MS = 5_000
"""How long a node that knows itself to be retired goes on talking: what it has may not have reached those who do not know it yet."""
OUTSIDE_EVERY_MS = 10_000
"""In a large cluster each node meets a member outside its view so often, by chance: no split of the views can last."""


class Mesh:
    """The peers by key. Invariant: `peers` holds exactly those that a connection is kept to; `by_name` the same by shown name."""

    def __init__(self, state: State, forget: Callable[[str], None], now_ms: int) -> None:
        """`forget(key)` drops what a peer has begun and not finished."""
        self.peers: dict[str, Peer] = {}
        self.by_name: dict[str, Peer] = {}
        self.anchored = False
        """Whether the registry here is as new as a present member's: from then on only who is in it counts."""
        self.watched: frozenset[str] = frozenset()
        """The names of all other members that take part, connected or not."""
        self.view = View(frozenset(), (), True)
        self.out = False
        """Whether this node was retired, and has ended all connections: nobody would listen to it."""
        self._retired_ms: int | None = None
        self._state = state
        self._forget = forget
        self._neighbourhood = Neighbourhood(state.identity.name, state.replica.cluster_id)
        self._seen: frozenset[str] = frozenset()
        self._outside_due = now_ms + OUTSIDE_EVERY_MS

    # -- whom -----------------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Connect to exactly the members in the view, and keep guests that are members; one that leaves stays to hear that it is known.

        While joining, and with a database that was restored, the members that the join or the guard named count until the registry is here.
        """
        if self.out:
            return
        state = self._state
        own, registry, joined = state.identity.name, state.replica.registry, state.member is not None
        named = () if self.anchored else state.identity.bootstrap if not joined or state.identity.restored else ()
        known = {m.name: m for m in named if m.name not in registry.by_name}
        known.update({m.name: m for m in registry.active})
        known.pop(own, None)
        self._see(frozenset((*known, own)))
        wanted = {m.curve_key: m for name, m in known.items() if name in self.view.peers}
        for key, peer in self.peers.items():
            member = known.get(peer.registered)
            if peer.guest and member is not None and member.curve_key == key:
                wanted.setdefault(key, member)
        for key, peer in self.peers.items():
            member = registry.by_key.get(key)
            if peer.open and member is not None and member.state is MemberState.LEFT:
                wanted.setdefault(key, member)
        labels = {key: m.name for key, m in wanted.items()}
        for member in registry.contested if joined else ():
            if member.actor != state.identity.actor and wanted.setdefault(member.curve_key, member) is member:
                labels[member.curve_key] = f"{member.name} ({member.actor.hex()})"
        for key in sorted(self.peers.keys() - wanted.keys()):
            self._remove(key)
        for key, member in wanted.items():
            peer = self.peers.get(key) or self._add(member, labels[key])
            if peer.endpoint != member.endpoint:
                peer.endpoint = member.endpoint
                state.effects.append(Connect(key, member.endpoint))
            peer.name, peer.registered, peer.contested = labels[key], member.name, labels[key] != member.name
            peer.actor = member.actor
            peer.guest = not peer.contested and member.name not in self.view.peers
        self._index()
        self.watched = frozenset(known)

    def _see(self, names: frozenset[str]) -> None:
        if names != self._seen:
            self._seen = names
            self.view = self._neighbourhood.view(names)

    def _add(self, member: Member, label: str) -> Peer:
        peer = self.peers[member.curve_key] = Peer(member.curve_key, label, member.endpoint, member.name, member.actor)
        self._state.effects.append(Connect(member.curve_key, member.endpoint))
        return peer

    def _remove(self, key: str) -> None:
        self._state.effects.append(Disconnect(key))
        self._forget(key)
        del self.peers[key]

    def _index(self) -> None:
        self.by_name = {peer.name: peer for peer in self.peers.values()}

    def allowed(self, key: str) -> bool:
        """Whether a peer with this public key may connect and be heard: asked for every handshake and every message."""
        if self.out or key in self.peers:
            return not self.out
        member = self._state.replica.registry.by_key.get(key)
        return member is not None and member.active and member.name in self.watched

    def host(self, key: str, now_ms: int) -> Peer | None:
        """Connect to a member outside the view for as long as it talks with this node; None if it is no member."""
        member = self._state.replica.registry.by_key.get(key)
        if member is None or not self.allowed(key):
            return None
        guests = [peer for peer in self.peers.values() if peer.guest]
        if len(guests) >= limit("guests"):
            self._state.counters["guests_dropped"] += 1
            self._remove(min(guests, key=lambda peer: (peer.heard_ms, peer.key)).key)
        peer = self._add(member, member.name)
        peer.guest, peer.heard_ms = True, now_ms
        self._index()
        return peer

    @property
    def open(self) -> Iterator[Peer]:
        """The peers that messages pass to and come from."""
        return (peer for peer in self.peers.values() if peer.open)

    @property
    def all_met(self) -> bool:
        """Whether every member in the view has shown, in its present session, which edits it has."""
        return all((peer := self.by_name.get(name)) is not None and peer.floor is not None for name in self.view.peers)

    def open_keys(self) -> tuple[str, ...]:
        return tuple(peer.key for peer in self.open)

    def eager_keys(self, but: str = "") -> tuple[str, ...]:
        """Whom news goes to at once: everybody in a small cluster, ⌈log2 N⌉ + 1 in a large one."""
        names = [peer.name for peer in self.open if peer.key != but]
        return tuple(self.by_name[name].key for name in eager(self.view, names, len(self._seen), self._state.random))

    # -- hello and sessions -------------------------------------------------------------------------------------------

    def hello(self, peer: Peer, now_ms: int, *, ask: bool = False) -> Hello:
        """What this node says of itself first. The peer's own hello is asked for if there is none, or if there is a newer one."""
        identity = self._state.identity
        return Hello(
            cluster=self._state.replica.cluster_id,
            name=identity.name,
            actor=identity.actor,
            version_min=codec.VERSION_MIN,
            version_max=codec.VERSION_MAX,
            boot_nonce=identity.boot_nonce,
            ask=ask or peer.hello is None,
            hears=peer.sessions.alive(now_ms),
        )

    def listens(self, peer: Peer, session: bytes, hello: bool, now_ms: int) -> bool:
        """Whether a message of this session of the peer is taken."""
        match peer.sessions.hear(session, hello, now_ms):
            case Heard.TAKEN:
                return True
            case Heard.NEW:
                peer.end_session()
                self._forget(peer.key)
                return True
            case Heard.CLONE:
                self._state.counters["clones"] += 1
                peer.end_session()
                self._forget(peer.key)
                self._state.alarm("clone", f"two processes run with the identity of {peer.name}: the newer one is not listened to")
                self.remind(peer, now_ms)
                return False
            case Heard.UNKNOWN:
                self._state.counters["messages_before_hello"] += 1
                self.remind(peer, now_ms, ask=True)
                return False
            case Heard.DROPPED:
                refused = peer.sessions.refuses(session)
                self._state.counters["clone_messages" if refused else "messages_late"] += 1
                if refused:
                    self.remind(peer, now_ms)
                return False

    def remind(self, peer: Peer, now_ms: int, *, ask: bool = False) -> None:
        """Say hello again, at most once a second; `ask` for the peer's, which was lost."""
        if peer.up and now_ms - peer.reminded_ms >= REMIND_MS:
            peer.reminded_ms = now_ms
            self._state.send((peer.key,), self.hello(peer, now_ms, ask=ask))

    def greeted(self, peer: Peer, hello: Hello, now_ms: int) -> bool | None:
        """Judge a hello: True if the peer is to be asked now (a new session), False if not, None if it is not accepted."""
        state = self._state
        if hello.version_max < codec.VERSION_MIN or hello.version_min > codec.VERSION_MAX:
            peer.hello = None
            state.counters["hellos_refused"] += 1
            theirs, ours = f"{hello.version_min} to {hello.version_max}", f"{codec.VERSION_MIN} to {codec.VERSION_MAX}"
            complaint = f"peer {peer.name} speaks protocol {theirs}, this node {ours}"
            if peer.complaint != complaint:
                peer.complaint = complaint
                state.alarm("version-mismatch", complaint)
            return None
        peer.complaint = ""
        first = peer.hello is None or peer.hello.boot_nonce != hello.boot_nonce
        peer.hello = hello
        if peer.up and hello.ask:
            state.send((peer.key,), self.hello(peer, now_ms))
        return peer.up and first

    def heard_as(self, peer: Peer, session: bytes, now_ms: int) -> None:
        """The peer says to which session of this node's it listens."""
        if session == self._state.identity.session:
            peer.misheard_ms, peer.cloned = None, False
        elif session:
            peer.vouched = False
            if not peer.up:
                return  # it cannot have heard this process's hello yet
            if peer.misheard_ms is None:
                peer.misheard_ms = now_ms
            peer.cloned = now_ms - peer.misheard_ms >= MISHEARD_MS
            self.remind(peer, now_ms)

    @property
    def cloned(self) -> bool:
        """Whether peers listen to another process with this node's identity instead of to this one."""
        return any(peer.cloned for peer in self.peers.values())

    # -- connections come and go --------------------------------------------------------------------------------------

    def up(self, peer: Peer, now_ms: int) -> None:
        """Our connection to the peer stands."""
        peer.up, peer.up_ms = True, now_ms
        peer.owes_hello = False
        self._state.send((peer.key,), self.hello(peer, now_ms))

    def down(self, peer: Peer) -> None:
        """Our connection to the peer was lost. It must vouch for this node anew: much can happen unseen."""
        peer.up, peer.vouched, peer.misheard_ms, peer.cloned = False, False, None, False

    def misbehaved(self, peer: Peer, counter: str, what: str, now_ms: int) -> None:
        """Count a bad message against its sender; after too many it is not heard for a while."""
        state = self._state
        state.counters[counter] += 1
        peer.bad += 1
        if peer.bad == 1 or peer.bad == limit("bad_messages"):
            state.alarm("bad-peer", f"peer {peer.name} sent {what}")
        if peer.bad >= limit("bad_messages"):
            state.counters["peers_expelled"] += 1
            peer.bad, peer.up, peer.expelled_ms, peer.sessions = 0, False, now_ms, Sessions()
            peer.end_session()
            self._forget(peer.key)
            state.effects.append(Remake(peer.key))

    def _has_left(self, peer: Peer, now_ms: int) -> bool:
        """Whether the peer left the cluster a while ago."""
        member = self._state.replica.registry.by_key.get(peer.key)
        if member is None or member.state is not MemberState.LEFT:
            return False
        if peer.left_ms is None:
            peer.left_ms = now_ms
        return now_ms - peer.left_ms >= FAREWELL_MS

    def _go_out(self, now_ms: int) -> None:
        """This node was retired: soon it ends its connections."""
        if self._retired_ms is None:
            self._retired_ms = now_ms
        if now_ms - self._retired_ms >= OUT_MS:
            self.out = True
            for key in sorted(self.peers):
                self._remove(key)
            self._index()

    def tick(self, now_ms: int) -> None:
        """Make connections anew over which no hello came; let silent guests go; meet somebody from outside the view."""
        me = self._state.member
        if not self.out and me is not None and me.state is MemberState.RETIRED:
            self._go_out(now_ms)
        for peer in list(self.peers.values()):
            if self._has_left(peer, now_ms) or (peer.guest and now_ms - max(peer.heard_ms, peer.up_ms) >= GUEST_SILENT_MS):
                self._remove(peer.key)
                self._index()
            elif peer.up and peer.hello is None and now_ms - peer.up_ms >= HELLO_WITHIN_MS:
                peer.up = False
                self._state.effects.append(Remake(peer.key))
            elif peer.misheard_ms is not None:
                self.remind(peer, now_ms)  # its hello may have been lost
        if not self.view.full_mesh and now_ms >= self._outside_due:
            self._outside_due = now_ms + OUTSIDE_EVERY_MS
            outside = sorted(self.watched - self.by_name.keys())
            member = self._state.replica.registry.by_name.get(self._state.random.choice(outside)) if outside else None
            if member is not None:
                self.host(member.curve_key, now_ms)
