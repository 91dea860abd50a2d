"""One node's copy of the replicated configuration: the fold, the edits it came from, and who may author.

Pure. The replica decides whether an edit may be committed (`admit`) and takes it once it is durable (`commit`); in the same way it plans
what can go (`collect`) and lets go of it once that is durable (`collected`). It never does I/O.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

import msgspec

from store.authors import CLUSTER_KEY as CLUSTER_KEY
from store.authors import Author, Authors, founder, may_change
from store.authors import Verify as Verify
from store.base import Base
from store.clocks import Actor, Dot, Vector, covers, dominates
from store.collection import Collection, base_of, plan
from store.edits import SignedEdit, decode_edit
from store.fold import Fold, Sibling, replaces, sibling
from store.level import KindIs
from store.limits import limit
from store.log import EditLog
from store.members import MEMBER_PREFIX, Ending, Role, read_registry, registered


class Admission(Enum):
    """What to do with an edit that arrived."""

    READY = "commit it"
    WAIT = "hold it back: something it depends on is missing"
    DUPLICATE = "it was committed before"
    REFUSED = "its author is unknown, or may not add it to the log, or its signature is wrong: drop it"


class Replica:
    """The committed configuration and the log of its edits.

    Invariants: the log holds every edit that the clock covers and the floor does not, each sibling's edit, and the witnesses of who may
    author; log order is a causal order; folding the log anew on the base gives this very state.

    Who an author is (key and role) is judged per edit, from what this very edit has seen: see `store.authors`. An observer's edits are
    refused. Another author's edit beyond its rights is *void*: it moves the clock and nothing else. After `void_edits` of them in its past
    the author's next is refused, and with it all that follow, for they build on it. (Edits of no known kind are void too, and not
    counted: whether it is a later version's kind is not the same question to every version. See `store.level`.)
    """

    def __init__(self, cluster_id: str, verify: Verify, log: Iterable[SignedEdit] = (), base: Base | None = None) -> None:
        """`log` in its order, with all that `base` (None: nothing was ever collected) needs. ValueError if they do not fit together."""
        self.cluster_id = cluster_id
        self.verify = verify
        self.base = base
        """What this replica stands on: with `edits()` it is the whole state."""
        self.floor: Vector = base.floor if base else {}
        """Whatever it covers may be gone from the log."""
        self.unknown_kinds = 0
        """How many edits of the log are of a later version's kind, which this one does not know."""
        self._log = EditLog()
        self._voids: set[Dot] = set()
        self._authors = (base or Base()).table
        self._names: dict[Actor, set[str]] = {}
        """Under which names each actor was registered."""
        self._believed: dict[Actor, Ending] = {}
        """Actors whose end is proven, by an edit that is not here."""
        self._touched: set[Actor] = set()
        """Actors that were registered since the registry was read."""
        self.fold = Fold()
        if base is None:
            for signed in log:
                self._take(signed)
        else:
            self._stand_on(base, log)
        self.registry = read_registry(self.fold, self._authors.endings, self._authors.since)
        self._names = self._names_of_actors()
        self._touched.clear()

    def __len__(self) -> int:
        return self._log.count

    @property
    def log_bytes(self) -> int:
        """The size of all kept edits."""
        return self._log.size

    @property
    def voided(self) -> int:
        """How many of the kept edits changed nothing."""
        return len(self._voids)

    @property
    def authors(self) -> Mapping[Actor, tuple[Author, ...]]:
        """What each actor was admitted with."""
        return self._authors.known

    @property
    def endings(self) -> Mapping[Actor, Ending]:
        """The actors that take no part any more, how they went, and the first edit here that says so."""
        return self._authors.endings

    def authors_copy(self) -> Authors:
        """Who may author, for the caller to change."""
        return self._authors.copy()

    def believe(self, actor: Actor, ending: Ending) -> None:
        """Show a member as gone whose end is proven, though the edit that says so cannot be committed here. In no base or snapshot."""
        self._believed[actor] = ending
        self._touched.add(actor)
        self._reread(set())

    def copy(self) -> "Replica":
        """Another replica in the same state, independent of this one."""
        copy = Replica(self.cluster_id, self.verify)
        copy.base, copy.floor, copy.registry, copy.unknown_kinds = self.base, self.floor, self.registry, self.unknown_kinds
        copy.fold, copy._log, copy._authors, copy._voids = self.fold.copy(), self._log.copy(), self._authors.copy(), set(self._voids)
        copy._names = {actor: set(names) for actor, names in self._names.items()}
        copy._believed = dict(self._believed)
        return copy

    def anew(self, log: Iterable[SignedEdit], base: Base | None) -> "Replica":
        """A replica worked out from these alone. Who is believed to be gone stays so. ValueError if they do not fit together."""
        fresh = Replica(self.cluster_id, self.verify, log, base)
        for actor, ending in self._believed.items():
            fresh.believe(actor, ending)
        return fresh

    # -- taking edits -------------------------------------------------------------------------------------------------

    def admit(self, signed: SignedEdit, clock: Vector | None = None, signer: bytes | None = None) -> Admission:
        """Judge an edit against what is committed now, or will be: `clock` is the committed clock plus a batch on its way to the disk.

        The batch must hold no admission of the edit's author. `signer` is the key that is known to have made the signature.
        """
        edit = signed.edit
        ahead = self.fold.clock if clock is None else clock
        if covers(ahead, edit.dot):
            return Admission.DUPLICATE
        if not dominates(ahead, edit.context):
            return Admission.WAIT
        author = self._authors.of(edit) or self._founder(signed)
        if author is not None:
            beyond = not may_change(author, edit)
            if beyond and not self.fold.deliverable(edit):
                return Admission.WAIT  # those before it are not counted yet
            tolerated = not beyond or (author.role is not Role.OBSERVER and self._authors.excess(edit) < limit("void_edits"))
            if tolerated and (signer == author.signing_key or self.verify(author.signing_key, signed.body, signed.signature)):
                return Admission.READY
        # What it has seen may be on its way to the disk, and its author's admission with it.
        return Admission.REFUSED if self.fold.deliverable(edit) else Admission.WAIT

    def knows(self, owner: Actor) -> bool:
        """Whether the actor was ever admitted."""
        return owner in self._authors.known

    def signer(self, signed: SignedEdit) -> bytes | None:
        """The key that made the signature, among those that the edit's owner was admitted with; None if it was none of them."""
        keys = {author.signing_key for author in self._authors.known.get(signed.edit.owner, ())}
        return next((key for key in keys if self.verify(key, signed.body, signed.signature)), None)

    def commit(self, *batch: SignedEdit) -> set[str]:
        """Take edits that were admitted as READY and are durable, in order; returns the keys whose siblings changed."""
        changed: set[str] = set()
        for signed in batch:
            changed.update(self._take(signed))
        names = {key.removeprefix(MEMBER_PREFIX) for key in changed if key.startswith(MEMBER_PREFIX)}
        if names:
            self._reread(names)
        return changed

    def is_void(self, signed: SignedEdit) -> bool:
        """Whether the edit moves the clock only: no known kind, or keys that its author's role may not touch.

        Judged by what its author was admitted as, in the edit's own past, so every node voids the same edits.
        """
        return self._authors.kind(signed.edit) is not KindIs.KNOWN or not self._authors.may(signed.edit)

    def kind(self, signed: SignedEdit) -> KindIs:
        """What the kind of an edit whose past is here is to this version."""
        return self._authors.kind(signed.edit)

    def author(self, signed: SignedEdit) -> Author | None:
        """Who wrote an edit whose past is here; None if its owner is unknown there."""
        return self._authors.of(signed.edit)

    def _take(self, signed: SignedEdit) -> tuple[str, ...]:
        edit, dot = signed.edit, signed.dot
        first = self._founder(signed)
        if first is not None:
            self._authors.found(first, edit)
        allowed, kind = self._authors.may(edit), self._authors.kind(edit)
        void = not allowed or kind is not KindIs.KNOWN
        if covers(self.fold.clock, dot):
            raise ValueError(f"edit {dot} is there already")
        changed = self.fold.apply(edit, void=void)
        self._log.append(signed, void=void)
        self.unknown_kinds += kind is KindIs.LATER
        if not allowed:
            self._authors.went_beyond(edit)
        if void:
            self._voids.add(dot)
        else:
            for member in self._authors.learn(edit):
                self._names.setdefault(member.actor, set()).add(member.name)
                self._touched.add(member.actor)
        return changed

    def _founder(self, signed: SignedEdit) -> Author | None:
        return None if self.fold.clock else founder(signed.edit, self.cluster_id)

    # -- reading the log ----------------------------------------------------------------------------------------------

    def behind(self, vector: Vector) -> bool:
        """Whether who has this clock may lack edits that are gone from the log: it needs a snapshot."""
        return not dominates(vector, self.floor)

    def since(self, vector: Vector, budget: int, *, also: Iterable[Dot] = ()) -> tuple[list[bytes], bool]:
        """The raw edits that `vector` lacks, in causal order, up to `budget` bytes, and whether more remain.

        Dots in `also` are left out: the asker holds them already. At least one edit is returned if any is missing and fits no budget,
        so that progress never stops. Nothing for who is `behind`: without those that are gone it could commit none of them.
        """
        held = frozenset(also)
        chosen: list[bytes] = []
        used = 0
        if self.behind(vector):
            return chosen, False
        for entry in self._log.after(vector):
            if entry.dot in held:
                continue
            if chosen and used + len(entry.raw) > budget:
                return chosen, True
            chosen.append(entry.raw)
            used += len(entry.raw)
        return chosen, False

    def has(self, dot: Dot) -> bool:
        """Whether the edit is committed here, kept or not."""
        return covers(self.fold.clock, dot)

    def raw(self, dot: Dot) -> bytes | None:
        """The bytes of one kept edit; None if it is not here, or not any more."""
        entry = self._log.entry(dot)
        return entry.raw if entry else None

    def signed(self, dot: Dot) -> SignedEdit | None:
        """One kept edit; None if it is not here, or not any more."""
        raw = self.raw(dot)
        return decode_edit(raw) if raw is not None else None

    def edits(self) -> Iterator[SignedEdit]:
        """All kept edits in commit order, read anew from their bytes."""
        return self._log.edits()

    def raws(self) -> Iterator[bytes]:
        """The bytes of all kept edits in commit order."""
        return self._log.raws()

    # -- the base -----------------------------------------------------------------------------------------------------

    def collect(self, stable: Vector) -> Collection | None:
        """Plan to let go of what nobody needs any more; None if that is nothing. Changes nothing itself.

        `stable` is the pointwise minimum of a clock of each member, every one of which this replica's own clock dominates. (So whatever
        edit is not here yet has seen all that `stable` covers: else a deletion could be forgotten before something that it conflicts with
        arrives.) While the log has an edit of an unknown kind nothing goes: what that edit means is not known.
        """
        if self.unknown_kinds:
            return None
        return plan(self.fold, self._log, self._authors, self._voids, self.floor, stable)

    def collected(self, collection: Collection) -> None:
        """Carry out what `collect` planned, once it is durable. Nothing may have been committed in between (ValueError)."""
        if collection.base.clock != self.fold.clock:
            raise ValueError("this was planned for another state")
        for key in [key for key in self.fold if key not in collection.base.siblings]:
            self.fold.forget(key)
        self._log.remove(collection.gone)
        self._voids.difference_update(collection.gone)
        self.base, self.floor = collection.base, collection.base.floor

    def readmitted(self, deletions: Mapping[str, SignedEdit]) -> "Replica":
        """A replica in which these deletions, which were collected here, are siblings of their keys again, their edits in the log.

        One that a live sibling has replaced stays away. ValueError if one is no deletion of its key that the clock covers, is void, or
        is not its author's.
        """
        if self.unknown_kinds:
            raise ValueError("the log has an edit of an unknown kind")
        log = list(self.edits())
        siblings = {key: tuple(s.dot for s in self.fold.siblings(key)) for key in self.fold}
        for key, signed in deletions.items():
            edit, dot = signed.edit, signed.dot
            if self.signer(signed) is None or self.is_void(signed):
                raise ValueError(f"edit {dot} is not its author's, or void")
            present = self.raw(dot)
            if edit.changes.get(key, edit) is not None or not self.has(dot) or (present is not None and present != signed.raw):
                raise ValueError(f"edit {dot} is no known deletion of {key}")
            if any(replaces(other.edit, key, dot) for other in map(self.signed, siblings.get(key, ())) if other is not None):
                continue
            siblings[key] = tuple(sorted({*siblings.get(key, ()), dot}))
            if present is None and signed not in log:
                # Before the first that has seen it: what it has seen comes before that one too.
                place = next((n for n, other in enumerate(log) if covers(other.edit.context, dot)), len(log))
                log.insert(place, signed)
        base = msgspec.structs.replace(self.present_base(), siblings=siblings)
        return self.anew(log, base)

    def present_base(self) -> Base:
        """A base at the present clock: with `edits()` it is the whole state. Not to be made while `unknown_kinds`."""
        return base_of(self.fold, self._authors, self._voids, self.floor)

    def _stand_on(self, base: Base, log: Iterable[SignedEdit]) -> None:
        live = {dot for dots in base.siblings.values() for dot in dots}
        voids, found, later = set(base.voids), dict[Dot, SignedEdit](), list[SignedEdit]()
        above = 0
        for signed in log:
            dot = signed.dot
            if not covers(base.clock, dot):
                later.append(signed)
                continue
            self._log.append(signed, void=dot in voids)
            above += not covers(base.floor, dot)
            if dot not in voids:
                self._authors.learn_level(signed.edit)
            if dot in live:
                found[dot] = signed
        if above != sum(counter - base.floor.get(actor, 0) for actor, counter in base.clock.items()):
            raise ValueError("the log lacks edits that are above the floor")
        siblings = {key: tuple(_sibling(found.get(dot), key) for dot in dots) for key, dots in base.siblings.items()}
        self.fold = Fold(base.clock, siblings, base.lamport)
        self._voids = voids
        for signed in later:
            self._take(signed)

    def _reread(self, names: set[str]) -> None:
        """Read these names anew, and those under which actors that were registered just now are registered too."""
        also = (name for actor in self._touched for name in self._names.get(actor, ()))
        gone = {**self._believed, **self._authors.endings}
        self.registry = self.registry.reread(self.fold, names.union(also), gone, self._authors.since)
        self._touched.clear()

    def _names_of_actors(self) -> dict[Actor, set[str]]:
        """Under which names each actor is registered."""
        names: dict[Actor, set[str]] = {}
        for key in self.fold:
            for found in self.fold.siblings(key) if key.startswith(MEMBER_PREFIX) else ():
                for member in registered({key: found.value}):
                    names.setdefault(member.actor, set()).add(member.name)
        return names


def _sibling(signed: SignedEdit | None, key: str) -> Sibling:
    """The live value of the key that the edit made. ValueError if it made none."""
    if signed is None or key not in signed.edit.changes:
        raise ValueError(f"the edit of a live value of {key} is not in the log")
    return sibling(signed.edit, key)
