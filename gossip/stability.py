"""Which edits all members have: the clock of each, and the floor below which nobody needs an edit any more.

A member's clock is known from its own full digest, or from the tag in its signed beat, if this node has had the same clock itself. An
edit is *stable* once the clocks of all members that take part cover it (Baquero & Shoker, 2014: causal stability). That is only concluded
while this node's own clock dominates all of them: then whatever a member writes later, or has written and this node not seen, has seen
what is stable. A member that left or was retired counts until everybody else knows that: until then somebody could still take its edits.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from store.clocks import Actor, Dot, Vector, covers, dominates
from store.health import TAG_BYTES
from store.limits import limit


def clock_hash(clock: Vector) -> bytes:
    """What stands for a clock in a short digest (32 bytes)."""
    return hashlib.sha256(msgspec.msgpack.encode(sorted(clock.items()))).digest()


class Stability(NamedTuple):
    """`floor`: what all members have. `blocked_by`: the members that keep it from being this node's whole clock, by name."""

    floor: Vector
    blocked_by: tuple[str, ...]


class Clocks:
    """The newest known clock of each member. Invariant: a clock in here is never changed, so equal ones may be one object."""

    def __init__(self, clock: Vector) -> None:
        self.own: Vector = {}
        self.hash = b""
        self._past: OrderedDict[bytes, Vector] = OrderedDict()
        self._known: dict[Actor, Vector] = {}
        """By identity actor: who comes under a name that was used before begins anew."""
        self.advance(clock)

    @property
    def tag(self) -> bytes:
        """What beats tell of this node's clock."""
        return self.hash[:TAG_BYTES]

    def advance(self, clock: Vector) -> None:
        """This node's own committed clock is now this one."""
        self.own = dict(clock)
        self.hash = clock_hash(self.own)
        self._past[self.tag] = self.own
        while len(self._past) > limit("past_clocks"):
            self._past.popitem(last=False)

    def told(self, member: Actor, clock: Vector) -> Vector | None:
        """The member itself showed its clock. Returns the one that it had before, if that went further: the member has lost edits."""
        before = self._known.get(member)
        self._known[member] = clock
        return before if before is not None and not dominates(clock, before) else None

    def same(self, member: Actor) -> None:
        """The member showed that its clock is this node's."""
        self._known[member] = self.own

    def tagged(self, member: Actor, tag: bytes) -> None:
        """A beat of the member names its clock: known if this node has had the same."""
        clock = self._past.get(tag)
        if clock is not None:
            self._known[member] = clock

    def of(self, member: Actor) -> Vector | None:
        """The newest clock that the member is known to have."""
        return self._known.get(member)

    def keep(self, members: Iterable[Actor]) -> None:
        """Forget all others."""
        wanted = set(members)
        for member in self._known.keys() - wanted:
            del self._known[member]

    def stability(self, active: Mapping[str, Actor], departed: Mapping[Actor, Dot], floor: Vector) -> Stability:
        """What all have, given the other `active` members by name and the edits that ended the `departed`; never less than `floor`."""
        known = {name: self._known.get(member) for name, member in active.items()}
        blocked = tuple(sorted(name for name, clock in known.items() if clock is None or not dominates(clock, self.own)))
        stable = self._minimum(known.values())
        for member, dot in departed.items():
            if stable is not None and not covers(stable, dot):
                stable = self._minimum((stable, self._known.get(member)))
        return Stability(floor if stable is None or not dominates(stable, floor) else stable, blocked)

    def _minimum(self, clocks: Iterable[Vector | None]) -> Vector | None:
        """The pointwise minimum of these and this node's own; None if one is not known or not covered here."""
        lowest: dict[Actor, int] = dict(self.own)
        for clock in {id(clock): clock for clock in clocks}.values():
            if clock is None or not dominates(self.own, clock):
                return None
            if clock is not self.own:
                lowest = {actor: min(counter, clock[actor]) for actor, counter in lowest.items() if actor in clock}
        return lowest
