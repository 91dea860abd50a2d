"""Collecting: nobody can tell a replica that collects from one that never did, but by the size of its log."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from store.base import decode_base, encode_base
from store.clocks import Dot, Vector, covers, dominates, join, meet
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, SignedEdit, decode_edit
from store.members import MEMBER_PREFIX, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Admission, Replica

KEYS = ("defaults", "storage/san", "wwid/1", "wwid/2")
VALUES: st.SearchStrategy[Options | None] = st.none() | st.sampled_from(["1", "2"]).map(lambda v: {"x": v})
LIVES = st.sampled_from(["", "", "one", "two"])
MOST_NODES = 5


@dataclass
class Made:
    """An edit as the oracle knows it: what came before it, what it writes, and what it says that it replaces. No clocks."""

    signed: SignedEdit
    ancestors: frozenset[Dot]
    named: Mapping[str, frozenset[Dot]]
    void: bool


class Oracle:
    """The meaning of a set of edits, from the ancestor relation alone."""

    def __init__(self) -> None:
        self.made: dict[Dot, Made] = {}

    def live(self, known: Iterable[Dot], key: str) -> set[Dot]:
        writers = [self.made[dot] for dot in known if key in self.made[dot].signed.edit.changes and not self.made[dot].void]

        def replaced(earlier: Made, later: Made) -> bool:
            seen = earlier.signed.dot in later.ancestors
            return seen and (key not in later.named or earlier.signed.dot in later.named[key])

        return {w.signed.dot for w in writers if not any(replaced(w, other) for other in writers)}

    def value(self, live: Iterable[Dot], key: str) -> Options | None:
        won = max((self.made[dot].signed.edit for dot in live), key=lambda e: (e.lamport, e.actor), default=None)
        return won.changes[key] if won else None


@dataclass
class Node:
    """One node that collects, beside one with the same edits that never does."""

    name: str
    role: Role
    lean: Replica
    plain: Replica
    known: set[Dot]
    heard: dict[str, list[Vector]] = field(default_factory=dict)
    """The clocks that each other node is known to have had, oldest first; those that count for something."""


class Collecting(RuleBasedStateMachine):
    """Nodes that write, hear of each other's edits and clocks, come, go, collect and restart, in any order."""

    scribe: Any

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.nodes: list[Node] = []
        self.reported = 0

    @initialize()
    def found(self) -> None:
        founding = self.scribe.founding("n0")
        self.nodes.append(Node("n0", Role.ADMIN, self.scribe.replica(founding), self.scribe.replica(founding), {founding.dot}))
        self.oracle.made[founding.dot] = Made(founding, frozenset(), {}, False)
        for role in (Role.ADMIN, Role.EDITOR):
            self.let_in(self.nodes[0], role)

    # -- what nodes do ------------------------------------------------------------------------------------------------

    def active(self, node: Node) -> bool:
        member = node.plain.registry.by_name.get(node.name)
        return member is not None and member.active

    def let_in(self, sponsor: Node, role: Role) -> None:
        name = f"n{len(self.nodes)}"
        self.write(sponsor, {MEMBER_PREFIX + name: member_value(self.scribe.member(name, role))})
        self.nodes.append(Node(name, role, sponsor.lean.copy(), sponsor.plain.copy(), set(sponsor.known)))

    def write(
        self,
        node: Node,
        changes: Mapping[str, Options | None],
        *,
        kind: str = CHANGE,
        covers: Mapping[str, Iterable[Dot]] | None = None,
        life: str = "",
    ) -> Dot:
        named = {key: frozenset(dots) for key, dots in (covers or {}).items()}
        signed = self.scribe.edit(
            node.name, changes, node.plain.fold.clock, lamport=node.plain.fold.lamport + 1, kind=kind,
            covers={key: sorted(dots) for key, dots in named.items()}, life=life,
        )  # fmt: skip
        void = node.role is not Role.ADMIN and CLUSTER_KEY in changes
        self.oracle.made[signed.dot] = Made(signed, frozenset(node.known), named, void)
        self.take(node, signed)
        return Dot(*signed.dot)

    def take(self, node: Node, signed: SignedEdit) -> None:
        assert node.plain.admit(signed) is node.lean.admit(signed) is Admission.READY
        assert node.lean.commit(signed) == node.plain.commit(signed)
        node.known.add(signed.dot)
        self.check(node)

    def writers(self) -> list[Node]:
        return [node for node in self.nodes if self.active(node) and node.role is not Role.OBSERVER]

    @rule(
        data=st.data(), changes=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3), life=LIVES,
    )  # fmt: skip
    def change(self, data: st.DataObject, changes: dict[str, Options | None], life: str) -> None:
        if writers := self.writers():
            self.write(data.draw(st.sampled_from(writers)), changes, life=life)

    @rule(data=st.data(), value=VALUES, life=LIVES)
    def resolve(self, data: st.DataObject, value: Options | None, life: str) -> None:
        contested = [(node, key) for node in self.writers() for key in node.lean.fold.conflicts if key in KEYS]
        if contested:
            node, key = data.draw(st.sampled_from(contested))
            named = data.draw(st.sets(st.sampled_from([s.dot for s in node.lean.fold.siblings(key)]), min_size=1))
            self.write(node, {key: value}, kind=RESOLVE, covers={key: named}, life=life)

    @rule(data=st.data(), key=st.sampled_from(KEYS), value=VALUES, life=LIVES)
    def write_late(self, data: st.DataObject, key: str, value: Options | None, life: str) -> None:
        """As who absorbed a snapshot does: it never says of a deletion that another node may have collected that it stays."""
        if not (writers := self.writers()):
            return
        node = data.draw(st.sampled_from(writers))
        present = node.lean.fold.siblings(key)
        if len(present) > 1 or any(s.value is not None for s in present):
            named = data.draw(st.sets(st.sampled_from([s.dot for s in present])))
            self.write(node, {key: value}, kind=LATE, covers={key: named}, life=life)
        elif data.draw(st.booleans()):
            self.write(node, {key: value}, kind=LATE, life=life)
        else:
            self.write(node, {key: None}, life=life)
            self.write(node, {key: value}, kind=LATE, covers={key: ()}, life=life)

    @rule(data=st.data(), life=LIVES)
    def overstep(self, data: st.DataObject, life: str) -> None:
        editors = [node for node in self.writers() if node.role is Role.EDITOR]
        if editors:
            node = data.draw(st.sampled_from(editors))
            if node.plain.voided < 8:
                self.write(node, {CLUSTER_KEY: {"id": "mine"}, "defaults": {"x": "mine"}}, life=life)

    @rule(data=st.data(), role=st.sampled_from(Role))
    def join(self, data: st.DataObject, role: Role) -> None:
        sponsors = [node for node in self.writers() if node.role is Role.ADMIN]
        if sponsors and len(self.nodes) < MOST_NODES:
            self.let_in(data.draw(st.sampled_from(sponsors)), role)

    @rule(data=st.data(), retired=st.booleans())
    def part(self, data: st.DataObject, retired: bool) -> None:
        """Somebody leaves, or is retired by another, who may not know what that one has written since."""
        node = data.draw(st.sampled_from(self.nodes))
        by = data.draw(st.sampled_from([n for n in self.nodes if n.role is Role.ADMIN])) if retired else node
        known = by.plain.registry.by_name.get(node.name)
        if known is None or not known.active or not self.active(by) or (retired and by is node) or node is self.nodes[0]:
            return
        state = MemberState.RETIRED if retired else MemberState.LEFT
        self.write(by, {MEMBER_PREFIX + node.name: member_value(self.scribe.member(node.name, node.role, state))})

    @rule(data=st.data(), port=st.integers(1, 3))
    def move(self, data: st.DataObject, port: int) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        if self.active(node):
            value = member_value(self.scribe.member(node.name, node.role)) | {"endpoint": f"tcp://elsewhere:{port}"}
            self.write(node, {MEMBER_PREFIX + node.name: value})

    # -- what nodes hear ----------------------------------------------------------------------------------------------

    def speaks_to(self, source: Node, target: Node) -> bool:
        member = target.plain.registry.by_name.get(source.name)
        return source is not target and member is not None and member.active

    @rule(data=st.data(), most=st.integers(1, 6))
    def deliver(self, data: st.DataObject, most: int) -> None:
        pairs = [(s, t) for s in self.nodes for t in self.nodes if self.speaks_to(s, t) and s.known - t.known]
        if pairs:
            source, target = data.draw(st.sampled_from(pairs))
            self.send(source, target, most)

    def send(self, source: Node, target: Node, most: int, wanted: Container[Dot] | None = None) -> None:
        """What a peer that lacks it would get: from the log that is collected. `wanted`: only these get through."""
        if source.lean.behind(target.lean.fold.clock):
            return
        raws, _ = source.lean.since(target.lean.fold.clock, 10**9)
        assert raws == source.plain.since(target.plain.fold.clock, 10**9)[0]
        for signed in map(decode_edit, raws[:most]):
            if wanted is None or signed.dot in wanted:
                self.take(target, signed)

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """One node hears the clocks of all others, which may have edits that it has not."""
        target = data.draw(st.sampled_from(self.nodes))
        for source in self.nodes:
            if self.speaks_to(source, target):
                target.heard.setdefault(source.name, []).append(dict(source.plain.fold.clock))

    @rule(data=st.data())
    def meet_all(self, data: st.DataObject) -> None:
        """One edit reaches everybody who may have it from somebody."""
        known = sorted(set[Dot]().union(*(node.known for node in self.nodes)))
        self.spread(data.draw(st.sampled_from(known)))

    def spread(self, dot: Dot) -> None:
        for _ in self.nodes:
            for source in self.nodes:
                for target in self.nodes:
                    if dot in source.known and dot not in target.known and self.speaks_to(source, target):
                        self.send(source, target, 10**9, self.oracle.made[dot].ancestors | {dot})

    def stable(self, node: Node) -> Vector:
        """Of each member the newest clock from which all has arrived here; who is gone counts until all others know that."""
        own = node.plain.fold.clock
        clocks: dict[str, Vector] = {node.name: dict(own)}
        departed: dict[str, Dot] = {}
        for name, member in node.plain.registry.by_name.items():
            clocks.setdefault(name, next((c for c in reversed(node.heard.get(name, [])) if dominates(own, c)), {}))
            if not member.active:
                departed[name] = node.plain.endings[member.actor].by
        staying = [name for name in clocks if name not in departed]
        for name, dot in departed.items():
            if all(covers(clocks[other], dot) for other in staying):
                del clocks[name]
        floor = dict(own)
        for clock in clocks.values():
            floor = meet(floor, clock)
        return floor

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        self.collect_at(data.draw(st.sampled_from(self.nodes)))

    def collect_at(self, node: Node) -> None:
        before = {s.dot: s.raw for s in node.lean.edits()}
        stable = self.stable(node)
        collection = node.lean.collect(stable)
        assert {s.dot for s in node.lean.edits()} == before.keys(), "a plan changes nothing"
        if collection is None:
            return
        assert all(covers(stable, dot) for dot in collection.gone)
        assert collection.bytes == sum(len(before[dot]) for dot in collection.gone)
        assert collection.base == decode_base(encode_base(collection.base))
        node.lean.collected(collection)
        assert {s.dot for s in node.lean.edits()} == before.keys() - set(collection.gone)
        assert node.lean.floor == join(stable, node.lean.floor)
        self.check(node)

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.nodes))
        old = node.lean
        base = decode_base(encode_base(old.base)) if old.base is not None else None
        new = self.scribe.replica(*map(decode_edit, [s.raw for s in old.edits()]), base=base)
        same(new, old)
        node.lean = new
        self.check(node)

    @rule(data=st.data())
    def set_out_anew(self, data: st.DataObject) -> None:
        """A base at the present clock and the log are the whole state too."""
        node = data.draw(st.sampled_from(self.nodes))
        same(self.scribe.replica(*node.lean.edits(), base=node.lean.present_base()), node.lean)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def check(self, node: Node) -> None:
        lean, plain = node.lean, node.plain
        assert lean.fold.clock == plain.fold.clock
        assert lean.fold.lamport == plain.fold.lamport
        assert lean.fold.state_hash == plain.fold.state_hash
        assert lean.fold.conflicts == plain.fold.conflicts
        for key in KEYS:
            live = self.oracle.live(node.known, key)
            dots = {s.dot for s in lean.fold.siblings(key)}
            assert dots == live or (not dots and len(live) == 1 and self.oracle.value(live, key) is None)
            assert lean.fold.value(key) == plain.fold.value(key) == self.oracle.value(live, key)
            assert lean.fold.in_conflict(key) == (len({str(self.oracle.value([dot], key)) for dot in live}) > 1)
        assert lean.registry.by_name == plain.registry.by_name
        assert lean.registry.contested == plain.registry.contested
        assert lean.authors == plain.authors
        assert lean._authors.beyond == plain._authors.beyond
        for dot in node.known:
            assert lean.has(dot)
            if not covers(lean.floor, dot):
                assert lean.raw(dot) == plain.raw(dot)

    def teardown(self) -> None:
        """Once all have all and know it, what is left is what is live and who may write."""
        if not self.nodes:
            return
        for _ in range(2 * len(self.nodes)):
            for source in self.nodes:
                for target in self.nodes:
                    if self.speaks_to(source, target):
                        self.send(source, target, 10**9)
        for target in self.nodes:
            for source in self.nodes:
                if self.speaks_to(source, target):
                    target.heard.setdefault(source.name, []).append(dict(source.plain.fold.clock))
        there = [node for node in self.nodes if self.active(node)]
        if any(not dominates(a.plain.fold.clock, b.plain.fold.clock) for a in there for b in there):
            return  # somebody who left has told only those who then did not listen
        for node in there:
            self.collect_at(node)
            fold = node.plain.fold
            live = {dot for key in fold for dot in self.oracle.live(node.known, key)}
            alone = {fold.siblings(key)[0].dot for key in fold if len(fold.siblings(key)) == 1 and fold.value(key) is None}
            kept = {s.dot for s in node.lean.edits()}
            witnesses = node.lean._authors.witnesses
            assert (live - alone) | witnesses <= kept <= live | witnesses
            assert not [key for key in node.lean.fold if len(fold.siblings(key)) == 1 and fold.value(key) is None]
            assert node.lean.collect(self.stable(node)) is None


def same(new: Replica, old: Replica) -> None:
    """The two say the same to everybody."""
    assert new.fold.clock == old.fold.clock
    assert new.fold.lamport == old.fold.lamport
    assert new.fold.state_hash == old.fold.state_hash
    assert {key: new.fold.siblings(key) for key in new.fold} == {key: old.fold.siblings(key) for key in old.fold}
    assert new.fold.conflicts == old.fold.conflicts
    assert new.floor == old.floor
    assert (len(new), new.log_bytes, new.voided, new.unknown_kinds) == (len(old), old.log_bytes, old.voided, old.unknown_kinds)
    assert list(new.raws()) == list(old.raws())
    assert new.authors == old.authors
    assert new.endings == old.endings
    assert new._authors.beyond == old._authors.beyond
    assert new.registry.by_name == old.registry.by_name
    assert new.registry.contested == old.registry.contested
    for vector in (old.floor, old.fold.clock, {}):
        assert new.behind(vector) is old.behind(vector)
        assert new.since(vector, 900) == old.since(vector, 900)


@pytest.fixture(autouse=True)
def _scribe(scribe: Any) -> None:
    Collecting.scribe = scribe


Collecting.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCollecting = Collecting.TestCase
