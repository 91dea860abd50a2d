"""Whom a node keeps connections to, and whom it hands news to first: one pure function of the names.

Up to `full_mesh` members everybody is connected to everybody. Above, two members are connected if a hash of both names falls below a
threshold, which makes a random graph of about log2 N + 5 connections a node (Erdős–Rényi), and each with the next one on a ring, in the
order of a hash of each name. The relation is mutual, so both ends agree on it without a word; it depends on nobody's luck, so nothing is
negotiated; and a member that comes or goes changes its own connections and hardly any others. News goes along the ring in both directions,
which alone reaches everybody, and to so many others by chance that it takes about log N hops.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from store.limits import limit

if TYPE_CHECKING:
    from random import Random

MORE_THAN_LOG = 5
"""How many more connections than log2 N a node has on average: at this many the graph stays whole while a quarter of all is down."""


class View(NamedTuple):
    """The names that a node is connected to, and its neighbours on the ring among them. Both are everybody in a full mesh."""

    peers: frozenset[str]
    ring: tuple[str, ...]
    full_mesh: bool


class Neighbourhood:
    """The view of one node. Remembers what it has hashed: when a member comes, only that one is new."""

    def __init__(self, name: str, cluster: str) -> None:
        self._name = name
        self._cluster = cluster
        self._affinities: dict[str, float] = {}
        self._places: dict[str, bytes] = {}

    def view(self, names: Collection[str]) -> View:
        """Whom the node is connected to if these are all members; it counts as one of them itself."""
        others = sorted(set(names) - {self._name})
        if len(others) < limit("full_mesh"):
            return View(frozenset(others), tuple(others), True)
        threshold = fanout(len(others) + 1) + MORE_THAN_LOG - 1
        near = {name for name in others if self._affinity(name) * len(others) < threshold}
        if len(near) > limit("view_peers"):
            near = set(sorted(near, key=self._affinity)[: limit("view_peers")])
        order = sorted((*others, self._name), key=self._place)
        place = order.index(self._name)
        ring = tuple(dict.fromkeys((order[place - 1], order[(place + 1) % len(order)])))
        return View(frozenset((*near, *ring)), ring, False)

    def _affinity(self, name: str) -> float:
        """A number from 0 to 1 that belongs to the pair of this node and the other."""
        found = self._affinities.get(name)
        if found is None:
            pair = "\0".join((self._cluster, *sorted((self._name, name))))
            found = self._affinities[name] = int.from_bytes(hashlib.sha256(pair.encode()).digest()[:8], "big") / 2**64
        return found

    def _place(self, name: str) -> bytes:
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = hashlib.sha256(f"{self._cluster}\0{name}".encode()).digest()
        return found


def fanout(count: int) -> int:
    """To how many a node of so many hands on news: ⌈log2 N⌉ + 1."""
    return (count - 1).bit_length() + 1


def eager(view: View, open_names: Sequence[str], count: int, random: "Random") -> list[str]:
    """Whom to hand news to, among those that are connected now, if there are `count` members."""
    if view.full_mesh:
        return list(open_names)
    first = [name for name in open_names if name in view.ring]
    others = [name for name in open_names if name not in view.ring]
    return first + random.sample(others, min(max(0, fanout(count) - len(first)), len(others)))
