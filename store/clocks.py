"""Dots and version vectors: who has seen what.

A *dot* names one edit: the actor that made it and its position in that actor's own sequence, counted from 1 without gaps. A *version
vector* maps actors to the highest position seen; because delivery is causal it has no holes, so a dot is covered exactly if its counter
is not above the vector's entry (Mattern 1989; Preguiça et al., "Dotted Version Vectors", 2010).
"""

from collections.abc import Mapping
from typing import NamedTuple

Actor = bytes
ACTOR_BYTES = 16
Vector = Mapping[Actor, int]


class Dot(NamedTuple):
    """One event of one actor. Ordered by actor, then counter; the order has no meaning beyond being total."""

    actor: Actor
    counter: int

    def __str__(self) -> str:
        return f"{self.actor.hex()}:{self.counter}"


def parse_dot(text: str) -> Dot:
    """Read what `str(dot)` wrote; ValueError for anything else."""
    actor, _, counter = text.partition(":")
    if len(actor) != 2 * ACTOR_BYTES or not counter.isascii() or not counter.isdigit() or len(counter) > 16 or int(counter) < 1:
        raise ValueError(f"not an edit's name: {text[:80]!r}")
    raw = bytes.fromhex(actor)
    if len(raw) != ACTOR_BYTES:  # fromhex skips spaces
        raise ValueError(f"not an edit's name: {text[:80]!r}")
    return Dot(raw, int(counter))


def covers(vector: Vector, dot: Dot) -> bool:
    """Whether the dot is part of what the vector has seen."""
    return vector.get(dot.actor, 0) >= dot.counter


def dominates(left: Vector, right: Vector) -> bool:
    """Whether `left` has seen all that `right` has seen (equal vectors dominate each other)."""
    return all(left.get(actor, 0) >= counter for actor, counter in right.items())


def join(left: Vector, right: Vector) -> dict[Actor, int]:
    """The least vector that dominates both."""
    joined = dict(left)
    for actor, counter in right.items():
        if counter > joined.get(actor, 0):
            joined[actor] = counter
    return joined


def meet(left: Vector, right: Vector) -> dict[Actor, int]:
    """The greatest vector that both dominate."""
    return {actor: min(counter, right[actor]) for actor, counter in left.items() if actor in right}
