"""Telling members that were retired while they were away, and hearing it.

Nobody listens to a retired member: its key is refused at the handshake, so it would never learn why. But whoever knocks can be called on.
A node that refused a retired member's key connects to the address under which that member was registered, says hello, sends the signed edit
that retired it, with the admissions that prove who signed, and ends the connection. Nothing that the member sends is taken meanwhile.

The retired member cannot commit such an edit: it lacks what that has seen, and gets no more of the configuration. It checks the proof
against what it knows, shows itself as retired, and ends its connections, until it is started again and told again.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gossip.antientropy import chunks
from gossip.events import Connect, Disconnect
from gossip.mesh import FAREWELL_MS, OUT_MS, Mesh
from gossip.messages import Delta
from gossip.peers import Peer
from gossip.state import State
from store.authors import proven_end
from store.clocks import Actor
from store.edits import EditError, SignedEdit, decode_edit
from store.limits import limit
from store.members import MemberState, registered
from store.replica import Replica

PROOF_EDITS = 64
"""More edits than that are no proof: so many admins would have let each other in."""


class _Call(NamedTuple):
    """A connection to a retired member: what it is to be told, and since when."""

    peer: Peer
    proof: tuple[bytes, ...]
    since_ms: int


class Farewell:
    """Both sides. Invariant: nobody that is called is among the mesh's peers."""

    def __init__(self, state: State, mesh: Mesh) -> None:
        self._state = state
        self._mesh = mesh
        self._calls: dict[str, _Call] = {}
        self._knocked_ms: dict[str, int] = {}
        """When each knocked first."""
        self._called_ms: dict[str, int] = {}
        """When each was last called. Only retired members' keys come in here."""

    def concerns(self, key: str) -> bool:
        """Whether this is the key of a retired member."""
        return self._retired(key) is not None

    def knocked(self, key: str, now_ms: int) -> None:
        """A key was refused: call its member, if it was retired, was not called lately, and does not stop by itself, as who knows does."""
        state, me = self._state, self._state.member
        actor = self._retired(key)
        if actor is None or me is None or not me.active or key in self._mesh.peers or key in self._calls:
            return
        if now_ms - self._knocked_ms.setdefault(key, now_ms) < 2 * OUT_MS:
            return
        if now_ms - self._called_ms.get(key, -(10**9)) < limit("farewell_gap_ms"):
            return
        if len(self._calls) >= limit("farewells"):
            state.counters["farewells_dropped"] += 1
            return
        proof = proof_of_end(state.replica, actor)
        member = next((m for m in registered(proof[-1].edit.changes) if m.actor == actor), None) if proof else None
        if member is None:
            return
        self._called_ms[key] = now_ms
        peer = Peer(key, member.name, member.endpoint, member.name, actor)
        self._calls[key] = _Call(peer, tuple(signed.raw for signed in proof), now_ms)
        state.counters["farewells"] += 1
        state.effects.append(Connect(key, member.endpoint))

    def up(self, key: str, now_ms: int) -> None:
        """The connection to a member that was called stands."""
        call = self._calls.get(key)
        if call is not None:
            self._state.send((key,), self._mesh.hello(call.peer, now_ms))
            for chunk in chunks(call.proof):
                self._state.send((key,), Delta(edits=chunk))

    def tick(self, now_ms: int) -> None:
        """End the calls that had their time."""
        for key, call in list(self._calls.items()):
            if now_ms - call.since_ms >= FAREWELL_MS:
                del self._calls[key]
                if key not in self._mesh.peers:
                    self._state.effects.append(Disconnect(key))

    def heard(self, raws: Iterable[bytes]) -> bool:
        """Whether these edits prove that this node was retired, which it did not know. Then its registration says so from now on."""
        state, found = self._state, tuple(raws)
        me = state.member
        name_in_edits = state.identity.actor.hex().encode()
        if me is None or me.state is MemberState.RETIRED or len(found) > PROOF_EDITS or not any(name_in_edits in raw for raw in found):
            return False
        ending = proven_end(state.replica.authors_copy(), _readable(found), state.identity.actor, state.identity.verify)
        if ending is None or ending.state is not MemberState.RETIRED:
            return False
        state.replica.believe(state.identity.actor, ending)
        return True

    def _retired(self, key: str) -> Actor | None:
        replica = self._state.replica
        for actor, ending in replica.endings.items():
            if ending.state is MemberState.RETIRED and any(author.curve_key == key for author in replica.authors.get(actor, ())):
                return actor
        return None


def proof_of_end(replica: Replica, actor: Actor) -> tuple[SignedEdit, ...]:
    """The edit that ended an actor, after the admission of its author, and of that one's, and so on; empty if there is none."""
    ending = replica.endings.get(actor)
    signed = replica.signed(ending.by) if ending is not None else None
    proof: list[SignedEdit] = []
    while signed is not None and len(proof) < PROOF_EDITS:
        proof.append(signed)
        author = replica.author(signed)
        signed = replica.signed(author.by) if author is not None and author.by != signed.dot else None
    return tuple(reversed(proof))


def _readable(raws: Iterable[bytes]) -> list[SignedEdit]:
    found = []
    for raw in raws:
        try:
            found.append(decode_edit(raw))
        except EditError:
            continue
    return found
