"""Under which actor this node writes, so that no dot is ever used for two edits.

An actor's counter must never be taken up again by a process that does not know how far it got: after a database or a whole machine was
restored from an older copy, or in a clone of it. No local evidence can prove that, because all of it may have been restored together. So a
node writes as its identity actor only while all other members vouch for it in this process's life: they listen to this process and know of
no edit of that actor which is not here. Else, and from then on, it writes as a *session actor*, which this process has made and no other
can know (see `store.edits.session_actor`).
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

from gossip.events import LocalEdit
from gossip.intake import Intake
from gossip.mesh import Mesh
from gossip.state import State
from store.clocks import Actor, Vector
from store.document import OVERRIDES, Options, is_config_key
from store.edits import CHANGE, LATE, RESOLVE, Edit, SignedEdit, encode_body, frozen_changes, seal, session_actor
from store.limits import limit
from store.members import MEMBER_PREFIX, MemberState
from store.replica import CLUSTER_KEY, Replica


class Continuity(StrEnum):
    """Whether this process certainly goes on where the last one of this node stopped."""

    SURE = "sure"
    """Every other member vouches for that."""
    UNPROVEN = "unproven"
    """Not all have yet. Nothing is wrong: writes go under an actor of this process."""
    RESTORED = "restored"
    """This node was further on once: its database, or all of it, was brought back from an older copy."""
    CLONED = "cloned"
    """Another process runs with the same keys, and the others listen to that one. This one writes nothing."""


class Authoring:
    """Makes this node's edits."""

    def __init__(self, state: State, mesh: Mesh, intake: Intake) -> None:
        self.restored = state.identity.restored
        self._state = state
        self._mesh = mesh
        self._intake = intake
        self._doubted = False
        self._nonce = b""
        """What the session actor is made from; empty while this node writes as its identity actor."""
        identity = state.identity.actor
        self._former = {identity, *(s.edit.actor for s in state.replica.edits() if s.edit.owner == identity)}
        """The actors under which this node certainly wrote in its former lives."""

    def continuity(self, *, caught_up: bool) -> Continuity:
        """What is known now."""
        if self._mesh.cloned:
            return Continuity.CLONED
        if self.restored:
            return Continuity.RESTORED
        others = self._mesh.watched
        by_name = self._mesh.by_name
        vouched = bool(others) and caught_up and all((peer := by_name.get(n)) is not None and peer.vouched for n in others)
        return Continuity.SURE if vouched else Continuity.UNPROVEN

    def note(self, key: str, hears: bytes, clock: Vector, now_ms: int) -> bool:
        """A peer showed its clock, and to which session it listens; whether it knows of edits of this node that are not here."""
        peer, state = self._mesh.peers[key], self._state
        self._mesh.heard_as(peer, hears, now_ms)
        own = {self.actor, *self._former}
        pending = self._intake.own_pending
        further = any(clock.get(actor, 0) > state.replica.fold.clock.get(actor, 0) + pending[actor] for actor in own)
        if hears or further:
            peer.vouched = hears == state.identity.session and not further
        return further

    @property
    def actor(self) -> Actor:
        """Under which actor the next edit goes."""
        return session_actor(self._state.identity.actor, self._nonce) if self._nonce else self._state.identity.actor

    def doubt(self) -> None:
        """Something has happened after which even this process may not be what it was: its machine may have been set back while it ran."""
        self._doubted = True

    def renew(self) -> None:
        """Never write under the present actor again."""
        self._nonce = self._state.random.randbytes(16)
        self._state.counters["session_actors"] += 1

    def refusal(self, event: LocalEdit, continuity: Continuity) -> tuple[str, str] | None:
        """Why this edit cannot be made now: a stable code and one line."""
        state = self._state
        registry, name = state.replica.registry, state.identity.name
        found = registry.by_name.get(name)
        if found is None and not founds(event.changes, state.replica):
            return "joining", "this node has not received its own membership yet: try again shortly"
        if found is not None and found.actor != state.identity.actor:
            return "name-taken", f"another node holds the name {name!r}: this one is read-only"
        if found is not None and found.state is MemberState.RETIRED:
            return "retired", "this node was retired from the cluster: it is read-only"
        if found is not None and found.state is MemberState.LEFT:
            return "left", "this node has left the cluster: it is read-only"
        if continuity is Continuity.CLONED:
            return "cloned", "another process runs with this node's keys, and the cluster listens to that one: this one is read-only"
        if self._intake.own_pending.total() >= limit("pending_local_edits"):
            return "busy", "too many edits wait for the disk: try again"
        if state.replica.unknown_kinds and event.kind != RESOLVE and any(is_config_key(key) or key == OVERRIDES for key in event.changes):
            # Its context would cover what it does not know: it would replace that unseen, and nobody would hear of a conflict.
            return "config-behind", "a newer version wrote edits that this one does not know: upgrade it, or write on a node that does"
        tidies = event.kind == RESOLVE or all(key.startswith(MEMBER_PREFIX) for key in event.changes)
        if not tidies and len(state.replica.fold.clock) >= limit("actors") and self.actor not in state.replica.fold.clock:
            return "too-many-actors", f"{limit('actors'):,} actors have written to this cluster: no other can begin"
        full = len(state.replica) >= limit("unstable_edits") or state.replica.log_bytes >= limit("unstable_bytes")
        if full and not tidies:
            return "log-full", "the log of edits is full: some member has not received them; see `pathmesh doctor`"
        return None

    def make(self, event: LocalEdit, continuity: Continuity) -> SignedEdit:
        """The edit, on what is committed here and what waits for the disk. EditError beyond the limits of one."""
        doubted, self._doubted = self._doubted, False
        if (doubted or not self._nonce) and continuity is not Continuity.SURE and not founds(event.changes, self._state.replica):
            self.renew()
        covers = {key: [(d.actor, d.counter) for d in dots] for key, dots in event.covers.items()} if event.kind == RESOLVE else {}
        pending = self._intake.own_pending
        return self.seal(self._state.replica, event.changes, event.wall, event.reason, event.kind, covers, pending)

    def seal(
        self,
        replica: Replica,
        changes: Mapping[str, Options | None],
        wall: float,
        reason: str,
        kind: str = CHANGE,
        covers: Mapping[str, Collection[tuple[Actor, int]]] | None = None,
        pending: Mapping[Actor, int] | None = None,
        lamport: int = 0,
    ) -> SignedEdit:
        """A signed edit that follows all that the replica has, and this node's `pending` ones by actor. EditError beyond the limits.

        A given `lamport` number ranks it as if it had been made then.
        """
        fold, actor, waiting = replica.fold, self.actor, pending or {}
        context = dict(fold.clock)
        for each, count in waiting.items():
            context[each] = context.get(each, 0) + count
        next_lamport = max(fold.lamport, self._intake.own_lamport if waiting else 0) + 1
        edit = Edit(
            actor=actor,
            counter=context.get(actor, 0) + 1,
            context=dict(sorted(context.items())),  # one form of the same clock, whatever the order in which it was learnt
            lamport=min(lamport, sum(context.values()) + 1) or next_lamport,
            author=self._state.identity.name,
            wall=wall,
            changes=frozen_changes(changes),
            reason=reason,
            kind=kind,
            covers={key: list(dots) for key, dots in (covers or {}).items()} if kind in (RESOLVE, LATE) else {},
            identity=self._state.identity.actor if self._nonce else b"",
            nonce=self._nonce,
        )
        body = encode_body(edit)
        return seal(edit, body, self._state.identity.sign(body))


def founds(changes: Mapping[str, Options | None], replica: Replica) -> bool:
    """Whether these changes begin a cluster."""
    return CLUSTER_KEY in changes and not replica.fold.clock
