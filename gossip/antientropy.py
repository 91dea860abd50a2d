"""Digests and deltas: showing a peer what is here, sending it what it lacks, and knowing what is lacking here.

A *short* digest names the clock by its hash only: among nodes that have the same edits it costs next to nothing, however many authors there
are. Who finds another hash answers with a *full* one; from then on each side sends what the other lacks.
"""

from collections.abc import Iterable, Iterator, Sequence

from gossip.exchange import EVERYBODY, NOBODY, Span
from gossip.intake import Intake
from gossip.mesh import Mesh
from gossip.messages import Delta, Digest
from gossip.peers import Peer
from gossip.state import State
from store.clocks import Dot, Vector, dominates
from store.edits import SignedEdit
from store.limits import limit

ASK_AGAIN_MS = 200
ALL_AGAIN_MS = 1_000
ANNOUNCE_MS = (250, 500, 1_000)
"""When after a push its outcome is announced. Connections lose nothing; but they end, and with them what was on its way."""
ASK_FOR_MS = 500
"""How long one peer has to bring a node's health before another is asked for it."""
PULL_SUFFICES = 9
"""Up to so many members beats travel with the pull alone, in both directions. In more they are handed on by themselves."""
UNKNOWN: Vector = {b"": 1}
"""The clock of a peer that has other edits than this node; which, it has not said yet. Nothing ever covers it."""
_DELTA_BUDGET = limit("delta_bytes")


class AntiEntropy:
    """The pull in both directions."""

    def __init__(self, state: State, mesh: Mesh, intake: Intake) -> None:
        self.met = False
        """Whether a peer that has edits was met since this node's start."""
        self.lacking: dict[str, Vector] = {}
        """The clock of each peer that is known to have edits which are not here."""
        self.whole: set[str] = set()
        self.silent = False
        """While this node brings itself up to date by a snapshot it sends nobody edits: its own may have to be written anew."""
        self.unanswered: dict[str, Digest] = {}
        """The newest digest of each peer whose last one was answered only just now."""
        self._state = state
        self._mesh = mesh
        self._intake = intake
        self._slice = ""
        self._all_asked_ms = -(10**9)
        self._announcements: list[int] = []
        self._handed_on: dict[Dot, None] = {}
        self._asked_for: dict[str, int] = {}
        """When somebody was last asked for a node's health because of its beat. Only members' names come in here."""

    def forget(self, key: str) -> None:
        """Drop what a peer has begun and not finished. What it certainly has stays lacking here."""
        self.unanswered.pop(key, None)
        if self.lacking.get(key) is UNKNOWN:
            del self.lacking[key]

    def follow(self) -> None:
        """The members have changed: what only somebody has who is no member (any more) is not lacking."""
        by_key = self._state.replica.registry.by_key
        if self._mesh.anchored:
            self.lacking = {key: clock for key, clock in self.lacking.items() if key in by_key or key in self._mesh.peers}
        self._asked_for = {name: at for name, at in self._asked_for.items() if name in self._mesh.watched}
        for key in [key for key in self.lacking if (member := by_key.get(key)) is not None and not member.active]:
            del self.lacking[key]

    @property
    def hurried(self) -> bool:
        """Whether something waits for its moment."""
        return bool(self.unanswered or self._announcements)

    # -- asking -------------------------------------------------------------------------------------------------------

    def ask(self, peer: Peer, now_ms: int, *, answer: bool = False, full: bool = True, span: Span | None = None) -> None:
        """Show the peer what is here, so that it sends what is not."""
        state = self._state
        peer.asked_ms = now_ms
        span = self._next_span() if span is None else span
        held = (*self._intake.held, *(s.dot for s in self._intake.in_flight)) if full else ()
        state.send(
            (peer.key,),
            Digest(
                clock_hash=state.clocks.hash,
                state_hash=state.replica.fold.state_hash,
                full=full,
                clock=dict(state.clocks.own) if full else {},
                floor=dict(state.replica.floor) if full else {},
                health=state.exchange.places(span),
                span=span,
                held=tuple((d.actor, d.counter) for d in held)[:1024],
                answer=answer,
                whole=tuple(sorted(self.whole)),
                refused=state.exchange.refused,
                hears=peer.sessions.alive(now_ms),
                behind=state.replica.unknown_kinds > 0,
                yours=dict(peer.was) if full and peer.was is not None else {},
            ),
        )

    def ask_first(self, peer: Peer, now_ms: int) -> None:
        """Ask a peer that was just met. In a large cluster only one of them is asked for everybody's health."""
        large = len(self._mesh.watched) >= PULL_SUFFICES
        spared = large and now_ms - self._all_asked_ms < ALL_AGAIN_MS
        if not spared:
            self._all_asked_ms = now_ms
        self.ask(peer, now_ms, span=NOBODY if spared else None)

    def announce(self, now_ms: int) -> None:
        """News was pushed: a little later all are told which clock it led to, so that who missed it asks."""
        self._announcements = [now_ms + delay for delay in ANNOUNCE_MS]

    def tick(self, now_ms: int) -> None:
        """Announce what is due."""
        if self._announcements and now_ms >= self._announcements[0]:
            self._announcements = [due for due in self._announcements if due > now_ms]
            for peer in self._mesh.open:
                if not dominates(self._state.clocks.of(peer.actor) or {}, self._state.clocks.own):
                    self.ask(peer, now_ms, full=False, span=NOBODY)

    def ask_soon(self, peer: Peer, now_ms: int) -> None:
        """Ask, if that was not done only just now."""
        if now_ms - peer.asked_ms >= ASK_AGAIN_MS:
            self.ask(peer, now_ms)

    def ask_for(self, peer: Peer, nodes: Iterable[str], now_ms: int) -> None:
        """Ask for the health of these nodes, which the peer has newer, but for what somebody else was asked for only just now."""
        due = [name for name in nodes if now_ms - self._asked_for.get(name, -(10**9)) >= ASK_FOR_MS]
        if due and now_ms - peer.asked_ms >= ASK_AGAIN_MS:
            self._asked_for.update(dict.fromkeys(due, now_ms))
            self.ask(peer, now_ms, full=False, span=self._around(due))

    def _next_span(self) -> Span:
        """All nodes, or in a large cluster the next slice of them."""
        most = limit("digest_streams")
        if len(self._state.exchange.streams) <= most:
            return EVERYBODY
        names = sorted(self._state.exchange.streams)
        start = next((n for n, name in enumerate(names) if name > self._slice), 0)
        part = names[start : start + most]
        first, self._slice = ("" if start == 0 else part[0]), part[-1]
        return (first, "" if start + most >= len(names) else part[-1])

    def _around(self, nodes: Sequence[str]) -> Span:
        """A span with all these nodes, or with the first of them if they lie too far apart for one digest."""
        if not nodes or len(self._state.exchange.streams) <= limit("digest_streams"):
            return EVERYBODY
        first, last = min(nodes), max(nodes)
        inside = sum(1 for name in self._state.exchange.streams if first <= name <= last)
        return (first, last) if inside <= limit("digest_streams") else (first, first)

    # -- what is told of edits ----------------------------------------------------------------------------------------

    def note_clock(self, peer: Peer, clock: Vector) -> None:
        """The peer has committed this."""
        if dominates(self._state.replica.fold.clock, clock):
            self.lacking.pop(peer.key, None)
        else:
            self.lacking[peer.key] = clock

    def lost(self) -> None:
        """Edits of others came and could not be written: whoever is connected may have them."""
        for peer in self._mesh.open:
            self.lacking.setdefault(peer.key, UNKNOWN)

    def closed(self, peer: Peer) -> None:
        """The connection to the peer was lost. What it certainly has is still lacking; what it might have is not."""
        self.forget(peer.key)

    @property
    def anchored(self) -> bool:
        """Whether this node is a member and has all that another present member has shown to have."""
        by_key = self._state.replica.registry.by_key
        return self._state.member is not None and any(
            peer.floor is not None and peer.key not in self.lacking and (m := by_key.get(peer.key)) is not None and m.active
            for peer in self._mesh.open
        )

    def committed(self) -> None:
        """More is here than before."""
        clock = self._state.replica.fold.clock
        self.lacking = {key: theirs for key, theirs in self.lacking.items() if not dominates(clock, theirs)}

    def note_digest(self, peer: Peer, digest: Digest) -> None:
        """Take at once what a digest tells of the peer's edits."""
        clocks = self._state.clocks
        if digest.full:
            self.met |= bool(digest.clock)
            peer.floor = digest.floor
            self.note_clock(peer, digest.clock)
            if not peer.contested:
                peer.was = clocks.told(peer.actor, digest.clock) or peer.was
                if peer.was is not None and dominates(digest.clock, peer.was):
                    peer.was = None
        elif digest.clock_hash == clocks.hash:
            self.met |= bool(clocks.own)
            self.lacking.pop(peer.key, None)
            if peer.floor is None:
                peer.floor = clocks.own  # it is no higher than the peer's clock
            if not peer.contested:
                clocks.same(peer.actor)
        elif peer.key not in self.lacking:
            self.lacking[peer.key] = UNKNOWN

    # -- answering ----------------------------------------------------------------------------------------------------

    def answer(self, peer: Peer, now_ms: int) -> bool:
        """Answer the peer's newest digest, unless it was answered only just now: then that waits. Whether both have the same edits."""
        if now_ms - peer.answered_ms < limit("answer_gap_ms"):
            return False
        peer.answered_ms = now_ms
        state, digest = self._state, self.unanswered.pop(peer.key)
        same = digest.clock_hash == state.clocks.hash
        stranded = digest.full and state.replica.behind(digest.clock)
        if digest.full and not same and not stranded and not self.silent and dominates(state.clocks.own, digest.floor):
            self._send_edits(peer, digest)
        if not peer.contested:
            self._send_health(peer, digest, now_ms)
        wanted = state.exchange.wanted(digest.health, state.replica.registry)
        fresher = len(self._mesh.watched) < PULL_SUFFICES and state.exchange.fresher(digest.health)
        if not same and not digest.full:
            self.ask(peer, now_ms)
        elif not digest.answer and (digest.full or wanted or fresher):
            self.ask(
                peer, now_ms, answer=True, full=not same or peer.was is not None, span=self._around(wanted) if wanted or fresher else NOBODY
            )
        return same

    def _send_edits(self, peer: Peer, digest: Digest) -> None:
        replica = self._state.replica
        held = (Dot(*pair) for pair in digest.held)
        edits, more = replica.since(digest.clock, _DELTA_BUDGET, also=held)
        if more:
            self._state.counters["deltas_truncated"] += 1
        if edits:
            self._state.send((peer.key,), Delta(edits=tuple(edits), ahead=dict(replica.fold.clock) if more else {}))

    def _send_health(self, peer: Peer, digest: Digest, now_ms: int) -> None:
        answer = self._state.exchange.answer(digest, peer.name, peer.cursor, now_ms)
        if answer.beats:
            self._state.send((peer.key,), Delta(beats=answer.beats))
        for deltas in answer.messages:
            self._state.send((peer.key,), Delta(health=deltas))
        peer.cursor = answer.cursor
        if answer.cursor is not None:
            peer.owes_digest = True

    def hand_on(self, news: Iterable[SignedEdit], keys: Iterable[str]) -> None:
        """Push edits of others, each once: one that is dropped here for want of room comes again, and must not go round for ever."""
        fresh = [signed for signed in news if signed.dot not in self._handed_on]
        self._handed_on.update((signed.dot, None) for signed in fresh)
        while len(self._handed_on) > limit("handed_on"):
            del self._handed_on[next(iter(self._handed_on))]
        self.push((signed.raw for signed in fresh), keys)

    def push(self, raws: Iterable[bytes], keys: Iterable[str]) -> None:
        """Send edits as news to those of these peers that have shown their floor."""
        own, peers = self._state.clocks.own, self._mesh.peers
        met = tuple(key for key in keys if (floor := peers[key].floor) is not None and dominates(own, floor))
        if not self.silent:
            for chunk in chunks(raws):
                self._state.send(met, Delta(edits=chunk, push=True))


def chunks(raws: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
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
