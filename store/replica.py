"""One node's copy of the replicated configuration: the fold, the edits it came from, and who may author.

Pure. The replica decides whether an edit may be committed (`admit`) and takes it once it is durable (`commit`); it never does I/O.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from store.clocks import Actor, Dot, Vector, covers, dominates
from store.edits import KNOWN_KINDS, SignedEdit
from store.fold import Fold
from store.limits import limit
from store.members import MEMBER_PREFIX, MemberState, Registry, Role, may_author, read_member, read_registry, registered

CLUSTER_KEY = "cluster/identity"

Verify = Callable[[bytes, bytes, bytes], bool]
"""`verify(public_key, data, signature)`: whether the signature is the key's over the data."""


class Author(NamedTuple):
    """What an actor was admitted with, and by which edit."""

    name: str
    signing_key: bytes
    role: Role
    lamport: int
    by: Dot


class Admission(Enum):
    """What to do with an edit that arrived."""

    READY = "commit it"
    WAIT = "hold it back: something it depends on is missing"
    DUPLICATE = "it was committed before"
    REFUSED = "its author is unknown, or may not add it to the log, or its signature is wrong: drop it"


class Replica:
    """The committed configuration and the log of its edits.

    Invariants: the log holds exactly the dots that the fold's clock covers; log order is a causal order; every author in the log
    is in `authors`.

    Who an author is (key and role) is judged per edit, from the admissions that this very edit has seen: the first of them by
    `(lamport, actor)`. So two sponsors that let one actor in at the same time, with different roles, make no two nodes disagree.

    An observer's edits are refused. Another author's edit beyond its rights is *void*: it moves the clock and nothing else. After
    `void_edits` of them the author's next is refused, and with it all that follow, for they build on it. Every node refuses the same
    edits, because an edit's past holds all earlier ones of its author. (Edits of an unknown kind are void too, and not counted: a node
    of a later version may know the kind.)
    """

    def __init__(self, cluster_id: str, verify: Verify, log: Iterable[SignedEdit] = ()) -> None:
        self.cluster_id = cluster_id
        self.fold = Fold()
        self.authors: dict[Actor, list[Author]] = {}
        self.registry = Registry({})
        self.log_bytes = 0
        self.voided = 0
        self._beyond: Counter[Actor] = Counter()
        """How many edits beyond its rights each author has in the log."""
        self._verify = verify
        self._retired: set[Actor] = set()
        self._log: dict[Actor, list[tuple[int, bytes]]] = {}
        self._next = 0
        for signed in log:
            self._take(signed)
        self.registry = self._read_registry()

    def __len__(self) -> int:
        return self._next

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
        author = self._author(signed) or self._founder(signed)
        if author is not None and author.role is not Role.OBSERVER:
            beyond = not may_author(author.role, edit.changes)
            if beyond and not self.fold.deliverable(edit):
                return Admission.WAIT  # those before it are not counted yet
            if (not beyond or self._beyond[edit.actor] < limit("void_edits")) and (
                signer == author.signing_key or self._verify(author.signing_key, signed.body, signed.signature)
            ):
                return Admission.READY
        # What it has seen may be on its way to the disk, and its author's admission with it.
        return Admission.REFUSED if self.fold.deliverable(edit) else Admission.WAIT

    def knows(self, actor: Actor) -> bool:
        """Whether the actor was ever admitted."""
        return actor in self.authors

    def signer(self, signed: SignedEdit) -> bytes | None:
        """The key that made the signature, among those that the edit's actor was admitted with; None if it was none of them."""
        keys = {author.signing_key for author in self.authors.get(signed.edit.actor, ())}
        return next((key for key in keys if self._verify(key, signed.body, signed.signature)), None)

    def commit(self, *batch: SignedEdit) -> set[str]:
        """Take edits that were admitted as READY and are durable, in order; returns the keys whose siblings changed."""
        changed: set[str] = set()
        for signed in batch:
            changed.update(self._take(signed))
        if any(key.startswith(MEMBER_PREFIX) for key in changed):
            self.registry = self._read_registry()
        return changed

    def is_void(self, signed: SignedEdit) -> bool:
        """Whether the edit moves the clock only: an unknown kind, or keys that its author's role may not touch.

        Judged by what its author was admitted as, in the edit's own past, so every node voids the same edits.
        """
        return signed.edit.kind not in KNOWN_KINDS or self._is_beyond(signed)

    def _is_beyond(self, signed: SignedEdit) -> bool:
        author = self._author(signed)
        return author is None or not may_author(author.role, signed.edit.changes)

    def since(self, vector: Vector, budget: int, *, also: Iterable[Dot] = ()) -> tuple[list[bytes], bool]:
        """The raw edits that `vector` lacks, in causal order, up to `budget` bytes, and whether more remain.

        Dots in `also` are left out: the asker holds them already. At least one edit is returned if any is missing and fits no budget,
        so that progress never stops.
        """
        held = frozenset(also)
        chosen: list[bytes] = []
        used = 0
        for raw in self._missing(vector, held):
            if chosen and used + len(raw) > budget:
                return chosen, True
            chosen.append(raw)
            used += len(raw)
        return chosen, False

    def has(self, dot: Dot) -> bool:
        """Whether the edit is committed here."""
        return covers(self.fold.clock, dot)

    def raw(self, dot: Dot) -> bytes | None:
        """The bytes of one committed edit; None if it is not here."""
        entries = self._log.get(dot.actor, [])
        return entries[dot.counter - 1][1] if dot.counter <= len(entries) else None

    def _missing(self, vector: Vector, held: frozenset[Dot]) -> Iterator[bytes]:
        def lane(actor: Actor, entries: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
            for position in range(vector.get(actor, 0), len(entries)):
                if Dot(actor, position + 1) not in held:
                    yield entries[position]

        lanes = [lane(a, e) for a, e in self._log.items() if len(e) > vector.get(a, 0)]
        return (raw for _, raw in heapq.merge(*lanes))

    def _take(self, signed: SignedEdit) -> tuple[str, ...]:
        edit = signed.edit
        founder = self._founder(signed)
        if founder is not None:
            self.authors[edit.actor] = [founder]
        void = self.is_void(signed)
        self.voided += void
        self._beyond[edit.actor] += void and self._is_beyond(signed)
        changed = self.fold.apply(edit, void=void)
        entries = self._log.setdefault(edit.actor, [])
        if len(entries) != edit.counter - 1:
            raise ValueError(f"edit {edit.dot} does not follow its author's last one")
        entries.append((self._next, signed.raw))
        self._next += 1
        self.log_bytes += len(signed.raw)
        if not void:
            self._admit_authors(signed)
        return changed

    def _read_registry(self) -> Registry:
        return read_registry(self.fold, self._retired, {actor: min(a.lamport for a in known) for actor, known in self.authors.items()})

    def _author(self, signed: SignedEdit) -> Author | None:
        edit = signed.edit
        known = [a for a in self.authors.get(edit.actor, ()) if covers(edit.context, a.by) or a.by == edit.dot]
        return min(known, key=lambda a: (a.lamport, a.by.actor), default=None)

    def _admit_authors(self, signed: SignedEdit) -> None:
        edit = signed.edit
        for member in registered(edit.changes):
            if member.state is MemberState.RETIRED:
                self._retired.add(member.actor)
            author = Author(member.name, member.signing_key, member.role, edit.lamport, edit.dot)
            known = self.authors.setdefault(member.actor, [])
            # A later word of the same admission, or of one that had seen an earlier one, can never be the first that an edit has seen.
            if not any(covers(edit.context, a.by) or a.by == edit.dot for a in known):
                known.append(author)

    def _founder(self, signed: SignedEdit) -> Author | None:
        """The author of a cluster's very first edit, which introduces itself and names the cluster."""
        edit = signed.edit
        if self._next or edit.counter != 1 or edit.context:
            return None
        identity = edit.changes.get(CLUSTER_KEY)
        own = edit.changes.get(MEMBER_PREFIX + edit.author)
        if identity is None or identity.get("id") != self.cluster_id or own is None:
            return None
        member = read_member(edit.author, own)
        if member is None or member.actor != edit.actor:
            return None
        return Author(member.name, member.signing_key, member.role, edit.lamport, edit.dot)
