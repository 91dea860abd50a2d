"""Whom a node keeps connections to, and whom it hands news to first: one pure function of the names.

Up to `full_mesh` members everybody is connected to everybody. Above, all nodes stand on one ring, in the order of a hash of their
names, and each is connected to those 1, 2, 4, 8 … places away in both directions (as in Chord, Stoica et al. 2001). The relation is mutual,
so both ends agree on it without a word, and every node is reached in at most log2 N hops. News goes clockwise to one node per power of
two, which alone reaches everybody, and to two more by chance, which keeps that so while nodes are down.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from store.limits import limit

if TYPE_CHECKING:
    from random import Random

EXTRA = 2


class View(NamedTuple):
    """The names that a node is connected to, and those among them that it hands news to first. Both are everybody in a full mesh."""

    peers: frozenset[str]
    clockwise: tuple[str, ...]
    full_mesh: bool


class Ring:
    """The order of all members' names; made once for a set of names, asked for any of them."""

    def __init__(self, names: Sequence[str], cluster: str) -> None:
        self._names = sorted(names, key=lambda name: hashlib.sha256(f"{cluster}\0{name}".encode()).digest())
        self._places = {name: place for place, name in enumerate(self._names)}

    def view(self, name: str) -> View:
        """Whom the node `name` is connected to. A node that is not (yet) on the ring takes the place where it would stand: the first."""
        count = len(self._names)
        if count <= limit("full_mesh"):
            others = tuple(other for other in self._names if other != name)
            return View(frozenset(others), others, True)
        place = self._places.get(name, 0)
        steps = [1 << power for power in range((count - 1).bit_length())]
        clockwise = tuple(dict.fromkeys(self._names[(place + step) % count] for step in steps))
        counter = {self._names[(place - step) % count] for step in steps}
        return View(frozenset((*clockwise, *counter)) - {name}, clockwise, False)


def eager(view: View, open_names: Sequence[str], random: "Random") -> list[str]:
    """Whom to hand news to, among those that are connected now: at most ⌈log2 N⌉ + 1 in a large cluster."""
    if view.full_mesh:
        return list(open_names)
    first = [name for name in open_names if name in view.clockwise]
    others = [name for name in open_names if name not in view.clockwise]
    missing = len(view.clockwise) - len(first)
    return first + random.sample(others, min(EXTRA + missing, len(others)))
