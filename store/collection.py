"""What can go from the log: the plan of one collection."""

from collections.abc import Collection as Items
from typing import NamedTuple

from store.authors import Authors
from store.base import Base
from store.clocks import Dot, Vector, covers, join, meet
from store.fold import Fold
from store.log import EditLog, Entry


class Collection(NamedTuple):
    """A new base, the edits that go with it, and how many bytes those have."""

    base: Base
    gone: tuple[Dot, ...]
    bytes: int


def base_of(fold: Fold, authors: Authors, voids: Items[Dot], floor: Vector) -> Base:
    """The base at the fold's clock."""
    return Base(
        clock=dict(fold.clock),
        floor=dict(floor),
        lamport=fold.lamport,
        siblings={key: tuple(s.dot for s in fold.siblings(key)) for key in fold},
        authors=dict(authors.known),
        endings=dict(authors.endings),
        beyond=dict(authors.beyond),
        voids=tuple(sorted(voids)),
    )


def plan(fold: Fold, log: EditLog, authors: Authors, voids: Items[Dot], floor: Vector, stable: Vector) -> Collection | None:
    """What goes once `stable` is what everybody has; None if that is nothing.

    An edit that the new floor covers goes if none of its values is live; a deletion that stands alone is not a live value any more. Three
    kinds stay: the edits of live values; the witnesses of who may author; and of each key that an edit above the floor changes, the
    last edit before: it shows what that edit was made from, in case it never reaches the others and has to be written again.
    """
    floor = join(floor, meet(stable, fold.clock))
    forgotten = set()
    stay = authors.witnesses
    for key in fold:
        siblings = fold.siblings(key)
        if len(siblings) == 1 and siblings[0].value is None and covers(floor, siblings[0].dot):
            forgotten.add(key)
        else:
            stay.update(s.dot for s in siblings)
    below: list[Entry] = []
    fresh: set[str] = set()
    for entry in log:
        if covers(floor, entry.dot):
            below.append(entry)
        else:
            fresh.update(entry.keys)
    before: dict[str, Entry] = {}
    for entry in below:
        for key in fresh.intersection(entry.keys):
            if key not in before or before[key].position < entry.position:
                before[key] = entry
    stay.update(entry.dot for entry in before.values())
    gone = [entry for entry in below if entry.dot not in stay]
    if not gone and not forgotten:
        return None
    dots = tuple(entry.dot for entry in gone)
    base = base_of(fold, authors, set(voids).difference(dots), floor)
    for key in forgotten:
        del base.siblings[key]
    return Collection(base, dots, sum(len(entry.raw) for entry in gone))
