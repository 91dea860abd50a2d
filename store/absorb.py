"""Taking over a snapshot without losing what this node alone knows.

A node that was away for so long that the others have collected edits which it lacks takes their snapshot and stands on that. What it has
written meanwhile is of two kinds. An edit that has seen all that may have been collected is taken as it is. Any other is *late*: between
what it has seen and what the others have now there are edits that nobody can look at any more, so it is written again by this node, now
knowing everything, but replacing only what the original replaced. Beside what came in between it stands as a conflict, for people to
decide. If a section that it changes was deleted meanwhile, and the deletion collected, that deletion has to be written again before it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from store.clocks import Dot, covers
from store.document import Options
from store.edits import Edit, SignedEdit
from store.fold import replaces
from store.replica import Admission, Replica
from store.snapshot import Snapshot


class LateChange(NamedTuple):
    """What of an edit has to be written again, as one edit of kind `late` with exactly these `covers`.

    First, if `removed` is not empty, an edit of kind `change` that deletes those keys; both in one transaction with the new base: nobody
    may ever have the one without the other. `covers` has no entry for keys that nobody else has written. `lamport` is the original's: an
    edit with this number ranks below what came since.
    """

    changes: Mapping[str, Options | None]
    covers: Mapping[str, tuple[Dot, ...]]
    reason: str
    removed: tuple[str, ...]
    wall: float
    lamport: int
    original: Dot


class Absorbed(NamedTuple):
    """The replica on the snapshot's base, what has to be written again, oldest first, and how many edits had nothing left to say."""

    replica: Replica
    late: tuple[LateChange, ...]
    dropped: int


def absorb(old: Replica, snapshot: Snapshot) -> Absorbed:
    """Stand on the snapshot, with everything that only `old` has; `old` is not changed.

    An edit that `old` has and the snapshot has not is in the new replica, in `late`, or counted in `dropped`: because it was void, because
    later edits of `old` replaced all of it, or because it says what is there anyway.
    """
    new = old.anew(snapshot.log, snapshot.base)
    waiting: list[SignedEdit] = []
    shared: list[SignedEdit] = []
    for signed in old.edits():
        if new.has(signed.dot):
            twice = new.raw(signed.dot) not in (None, signed.raw)  # one number, two edits
            (waiting if twice else shared).append(signed)
        elif not new.behind(signed.edit.context) and new.admit(signed) is Admission.READY:
            new.commit(signed)
        else:
            waiting.append(signed)
    waiting_keys = {key for signed in waiting for key in signed.edit.changes}
    past: dict[str, list[Edit]] = {key: [] for key in waiting_keys}
    for signed in shared:
        for key in waiting_keys.intersection(signed.edit.changes) if not old.is_void(signed) else ():
            past[key].append(signed.edit)
    # A deletion can only be written before all that is written of its key: what any of them had seen there counts for the first.
    existed = {
        key
        for signed in waiting
        for key, value in signed.edit.changes.items()
        if value is not None and not old.is_void(signed) and _stands(old, key, signed.dot) and _existed(signed.edit, key, past[key])
    }
    late: list[LateChange] = []
    written: set[str] = set()
    for signed in waiting:
        change = None if old.is_void(signed) else _late(old, new, signed.edit, existed, written)
        if change is not None:
            late.append(change)
            written.update(change.changes)
    return Absorbed(new, tuple(late), len(waiting) - len(late))


def _late(old: Replica, new: Replica, edit: Edit, existed: Collection[str], written: Collection[str]) -> LateChange | None:
    """What is left of an edit that cannot be taken as it is; None if nothing.

    `existed`: the keys that had a value which the others know too; `written`: the keys of late changes before it.
    """
    changes: dict[str, Options | None] = {}
    named: dict[str, tuple[Dot, ...]] = {}
    removed: list[str] = []
    for key, value in edit.changes.items():
        kept = {s.dot for s in old.fold.siblings(key)}
        if edit.dot not in kept:
            continue  # replaced by a later edit, which only this node has too: else the others would have this one
        present = new.fold.siblings(key)
        replaced = tuple(s.dot for s in present if covers(edit.context, s.dot) and s.dot not in kept)
        if len(present) > 1 or any(s.value is not None for s in present):
            if all(s.value == value for s in present):
                continue
            named[key] = replaced
        elif value is None:
            continue
        # Nothing there, or a deletion that another node may have collected: it must make no difference which of the two.
        elif key in written:
            named[key] = ()
        elif (present and not replaced) or (not present and key in existed):
            removed.append(key)
            named[key] = ()
        changes[key] = value
    if not changes:
        return None
    reason = f"late: {edit.author}: {edit.reason}" if edit.reason else f"late: {edit.author}"
    return LateChange(changes, named, reason, tuple(removed), edit.wall, edit.lamport, edit.dot)


def _stands(replica: Replica, key: str, dot: Dot) -> bool:
    """Whether what an edit wrote there has not been replaced."""
    return any(s.dot == dot for s in replica.fold.siblings(key))


def _existed(edit: Edit, key: str, past: Iterable[Edit]) -> bool:
    """Whether the key had a value that the others know too, as far as the edit had seen."""
    live: list[Edit] = []
    for earlier in past:
        if covers(edit.context, earlier.dot):
            live = [*(e for e in live if not replaces(earlier, key, e.dot)), earlier]
    return any(e.changes[key] is not None for e in live)
