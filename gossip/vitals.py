"""Who is up, and how far each node's word counts: beats on their way through the cluster, pings, probes, and the standing of every node."""

from collections.abc import Iterable, Mapping

from gossip.antientropy import PULL_SUFFICES
from gossip.liveness import Liveness, Opinion
from gossip.mesh import Mesh
from gossip.messages import Alive, Beat, Delta, Ping, Pong, Probe
from gossip.peers import Peer
from gossip.state import State
from store.health import Merge
from store.limits import limit
from store.matrix import Reporter
from store.members import MemberState

BEAT_MS = 1_000
LARGE_BEAT_MS = 4_000
HUGE_BEAT_MS = 5_000
HUGE = 256
"""From so many members on beats are rarer still: each costs every node about 100 bytes, twice."""
SPREAD_MS = 250
SPREAD_TO = 2
"""New beats go on to so many peers at once, by chance; the pull finds the few that this leaves out."""
STALE_MS = 15_000
PROBES = 3
SCAN_MS = 1_000
JUDGE_MS = 450
"""How often all members are judged. Below the time between two ticks: each of those does it, unless they are hurried."""
ANSWER_WITHIN_MS = 5_000
_QUESTIONS = 256


class Vitals:
    """The liveness of the members as evidence comes in, and what it makes of each node's standing."""

    def __init__(self, state: State, mesh: Mesh, now_ms: int) -> None:
        self.liveness = Liveness(now_ms)
        self._state = state
        self._mesh = mesh
        self._probing: dict[int, tuple[str, str]] = {}
        self._asked: dict[tuple[str, str], int] = {}
        """When which peer was asked after which member."""
        self._nonce = 0
        self._standing: dict[str, Reporter] = {}
        self._beat_due = now_ms + BEAT_MS
        self._fresh: dict[str, str] = {}
        """Nodes whose newest beat is to be handed on, and from whom it came."""
        self._spread_due = now_ms
        self._scan_due = now_ms
        self._judge_due = now_ms

    @property
    def beat_ms(self) -> int:
        """How often this node's heart beats, which depends on how many have to hear it."""
        count = len(self._mesh.watched) + 1
        return BEAT_MS if count <= limit("full_mesh") else LARGE_BEAT_MS if count <= HUGE else HUGE_BEAT_MS

    @property
    def spreading(self) -> bool:
        """Whether beats wait to be handed on."""
        return bool(self._fresh)

    def follow(self, now_ms: int) -> None:
        """The members have changed."""
        self.liveness.watch(self._mesh.watched, now_ms)
        self.liveness.slack_ms = self.beat_ms - BEAT_MS
        self.touch(sorted({*self._state.replica.registry.by_name, *self._standing}), now_ms)

    # -- standing -----------------------------------------------------------------------------------------------------

    def reporter(self, name: str, now_ms: int) -> Reporter:
        """How far a node's health can be believed now."""
        state = self._state
        if name == state.identity.name:
            return Reporter.STALE if state.exchange.own.stream.age_ms(now_ms) > STALE_MS else Reporter.FRESH
        member = state.replica.registry.by_name.get(name)
        if member is None or member.state is not MemberState.JOINED:
            return Reporter.LEFT
        opinion = self.liveness.opinion(name)
        if opinion is Opinion.OFFLINE:
            return Reporter.OFFLINE
        stream = state.exchange.streams.get(name)
        if stream is None or not stream.fresh:
            return Reporter.UNHEARD
        if opinion is Opinion.SUSPECT:
            return Reporter.SUSPECT
        return Reporter.STALE if stream.age_ms(now_ms) > STALE_MS else Reporter.FRESH

    def published(self, name: str) -> Reporter | None:
        """The same as it was last published; None if it never was."""
        return self._standing.get(name)

    def touch(self, names: Iterable[str], now_ms: int) -> None:
        """Publish those of these nodes whose word counts differently than when last published."""
        members = self._state.replica.registry.by_name
        moved = []
        for name in names:
            standing = self.reporter(name, now_ms) if name in members else None
            if standing is not self._standing.get(name):
                moved.append(name)
                if standing is None:
                    del self._standing[name]
                else:
                    self._standing[name] = standing
        if moved:
            self._state.publish(standing=moved)

    # -- evidence -----------------------------------------------------------------------------------------------------

    def heard(self, name: str, now_ms: int, age_ms: int = 0, *, direct: bool = False) -> None:
        """The member lived `age_ms` ago."""
        if self.liveness.heard(name, now_ms, age_ms, direct=direct):
            self.touch((name,), now_ms)

    def beats(self, peer: Peer, beats: Mapping[str, Beat], now_ms: int) -> tuple[list[str], int]:
        """Take the beats that are newer; returns the nodes whose content this node lacks, and how many had a wrong signature."""
        state, lacking, forged = self._state, [], 0
        for node, beat in beats.items():
            result = state.exchange.hear(node, beat, state.replica.registry, now_ms)
            if result is Merge.BEAT:
                state.clocks.tagged(state.replica.registry.by_name[node].actor, beat.clock_tag)
                self.liveness.heard(node, now_ms, beat.age_ms)
                self.touch((node,), now_ms)
                self.hand_on(node, peer.key)
            elif result is Merge.GAP:
                lacking.append(node)
            elif result is Merge.FORGED:
                state.counters["beats_forged"] += 1
                forged += 1
                if forged == limit("forged_beats"):
                    break
        return lacking, forged

    def hand_on(self, node: str, carrier: str) -> None:
        """The node's newest beat is news here."""
        if len(self._mesh.watched) >= PULL_SUFFICES:
            self._fresh[node] = carrier

    def ping(self, peer: Peer, ping: Ping) -> None:
        self._state.send((peer.key,), Pong(ping.nonce))

    def pong(self, pong: Pong, now_ms: int) -> None:
        asked = self._probing.pop(pong.nonce, None)
        if asked is not None:
            asker, target = asked
            age = self.liveness.direct_age_ms(target, now_ms)
            if age is not None:
                self._state.send((asker,), Alive(target, age))

    def probe(self, peer: Peer, probe: Probe) -> None:
        target = self._mesh.by_name.get(probe.target)
        if target is None or not target.up:
            return
        self._nonce += 1
        self._probing[self._nonce] = (peer.key, probe.target)
        while len(self._probing) > _QUESTIONS:
            del self._probing[next(iter(self._probing))]
        self._state.send((target.key,), Ping(self._nonce))

    def alive(self, peer: Peer, alive: Alive, now_ms: int) -> None:
        """Take the word of a third member, if it was asked for it lately; once."""
        asked_ms = self._asked.pop((peer.key, alive.target), None)
        if asked_ms is not None and now_ms - asked_ms <= ANSWER_WITHIN_MS:
            self.heard(alive.target, now_ms, alive.age_ms)

    # -- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int, *, beats: bool) -> None:
        """Beat if the time has come and this node's heart may; hand on what is new; ask for those that are silent."""
        state = self._state
        if now_ms >= self._beat_due:
            self._beat_due = now_ms + self.beat_ms
            if beats:
                state.exchange.own.clock_tag = state.clocks.tag
                state.exchange.own.beat(now_ms)
                self.hand_on(state.identity.name, "")
        if self._fresh and now_ms >= self._spread_due:
            self._spread(now_ms)
        if now_ms >= self._judge_due or self.liveness.uneasy:
            self._judge_due = now_ms + JUDGE_MS
            self._judge(now_ms)
        if now_ms >= self._scan_due:
            self._scan_due = now_ms + SCAN_MS * self.beat_ms // BEAT_MS
            self.touch(list(state.replica.registry.by_name), now_ms)

    def _judge(self, now_ms: int) -> None:
        """Look at every member; ask for those that are silent."""
        state = self._state
        questions = self.liveness.tick(now_ms)
        for name in questions.ping:
            peer = self._mesh.by_name.get(name)
            if peer is not None and peer.up:
                self._nonce += 1
                state.send((peer.key,), Ping(self._nonce))
        for name in questions.probe:
            helpers = [p.key for p in self._mesh.open if p.name != name]
            chosen = state.random.sample(helpers, min(PROBES, len(helpers)))
            self._asked.update(dict.fromkeys(((key, name) for key in chosen), now_ms))
            while len(self._asked) > _QUESTIONS:
                del self._asked[next(iter(self._asked))]
            state.send(chosen, Probe(name))
        if questions.changed:
            self.touch(questions.changed, now_ms)

    def _spread(self, now_ms: int) -> None:
        """Hand on the beats that are new here."""
        state = self._state
        self._spread_due = now_ms + SPREAD_MS
        fresh, self._fresh = self._fresh, {}
        keys = [peer.key for peer in self._mesh.open if not peer.contested]
        for key in state.random.sample(keys, min(SPREAD_TO, len(keys))):
            beats = {n: state.exchange.beat(n, now_ms) for n, carrier in fresh.items() if carrier != key and n in state.exchange.streams}
            if beats:
                state.send((key,), Delta(beats=beats))
