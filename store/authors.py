"""Who may author edits: what every actor was admitted with, who has left for good, and at which level the cluster was.

Pure. Everything is judged from an edit's own past, so every node judges alike, in whatever order edits come: an author is what the first
admission (by `(lamport, actor)`) among those that this very edit has seen says. So two sponsors that let one actor in at the same time,
with different roles, make no two nodes disagree. Actors here are always the *owners* of edits: the ones that members were admitted with.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from store.clocks import Actor, Dot, covers
from store.edits import Edit, SignedEdit
from store.level import FIRST, LEVEL_KEY, KindIs, judge_kind, read_level
from store.members import MEMBER_PREFIX, Ending, Member, MemberState, Role, may_author, read_member, registered

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
    curve_key: str


class Authors:
    """All actors that were ever admitted.

    `known` has the admissions of each actor that had seen no other of it: later ones can never be the first that an edit has seen.
    `endings` are final for their actors. `beyond` has the edits by which each went beyond its rights. `since` is the lamport number with
    which each was first let in. `levels` has the edits that raised the cluster's level, each above the greatest that it had seen.
    """

    __slots__ = ("beyond", "endings", "known", "levels", "since")

    def __init__(
        self,
        known: Mapping[Actor, Iterable[Author]] | None = None,
        endings: Mapping[Actor, Ending] | None = None,
        beyond: Mapping[Actor, Iterable[Dot]] | None = None,
    ) -> None:
        self.known: dict[Actor, tuple[Author, ...]] = {actor: tuple(found) for actor, found in (known or {}).items()}
        self.endings: dict[Actor, Ending] = dict(endings or {})
        self.beyond: dict[Actor, tuple[Dot, ...]] = {actor: tuple(dots) for actor, dots in (beyond or {}).items()}
        self.since = {actor: min(a.lamport for a in found) for actor, found in self.known.items()}
        self.levels: tuple[tuple[int, Dot], ...] = ()

    def copy(self) -> "Authors":
        """Another table with the same content."""
        copy = Authors(self.known, self.endings, self.beyond)
        copy.levels = self.levels
        return copy

    def of(self, edit: Edit) -> Author | None:
        """What the edit's owner is, as far as the edit has seen; None if it has seen no admission of it."""
        found = [a for a in self.known.get(edit.owner, ()) if covers(edit.context, a.by) or a.by == edit.dot]
        return min(found, key=lambda a: (a.lamport, a.by.actor), default=None)

    def may(self, edit: Edit) -> bool:
        """Whether the edit is within its owner's rights."""
        author = self.of(edit)
        return author is not None and may_change(author, edit)

    def level(self, edit: Edit) -> int:
        """The cluster's level as far as the edit has seen: the greatest, for it is never taken back."""
        return max((level for level, by in self.levels if covers(edit.context, by)), default=FIRST)

    def kind(self, edit: Edit) -> KindIs:
        """What the edit's kind is to this version."""
        return judge_kind(edit.kind, self.level(edit))

    def excess(self, edit: Edit) -> int:
        """How many edits beyond its rights its owner had written in the edit's past."""
        return sum(covers(edit.context, dot) for dot in self.beyond.get(edit.owner, ()))

    def went_beyond(self, edit: Edit) -> None:
        """Note an edit that is beyond its owner's rights."""
        self.beyond[edit.owner] = (*self.beyond.get(edit.owner, ()), edit.dot)

    def learn(self, edit: Edit) -> list[Member]:
        """Take what an edit within its owner's rights says of members and of the level; returns the members that it registers."""
        self.learn_level(edit)
        members = registered(edit.changes)
        for member in members:
            ending = self.endings.get(member.actor)
            if member.state is MemberState.RETIRED and (ending is None or ending.state is MemberState.LEFT):
                self.endings[member.actor] = Ending(MemberState.RETIRED, edit.dot)
            elif member.state is MemberState.LEFT and ending is None:
                self.endings[member.actor] = Ending(MemberState.LEFT, edit.dot)
            found = self.known.get(member.actor, ())
            if not any(covers(edit.context, a.by) or a.by == edit.dot for a in found):
                self._admit(member.actor, (*found, _author(member, edit)))
        return members

    def learn_level(self, edit: Edit) -> None:
        """Take what an edit within its owner's rights says of the level."""
        level = read_level(edit.changes.get(LEVEL_KEY))
        if level > self.level(edit):
            self.levels = (*self.levels, (level, edit.dot))

    def _admit(self, actor: Actor, found: tuple[Author, ...]) -> None:
        self.known[actor] = found
        self.since[actor] = min(a.lamport for a in found)

    def found(self, author: Author, edit: Edit) -> None:
        """Take the author of a cluster's first edit."""
        self._admit(edit.owner, (author,))

    @property
    def witnesses(self) -> set[Dot]:
        """The edits that prove all this. They are kept for ever, so that whoever gets the log can check who may write."""
        admissions = {a.by for found in self.known.values() for a in found}
        return admissions | {ending.by for ending in self.endings.values()} | {by for _, by in self.levels}


def proven_end(table: Authors, edits: Iterable[SignedEdit], actor: Actor, verify: Verify) -> Ending | None:
    """How an actor ended, as far as these edits prove it together with the table, which is changed; None if they don't.

    Causes come before effects. Each edit that its author, as far as it has seen, had a right to and signed counts, whether or not all that
    it has seen is here: as for an edit that is committed, nothing else decides what it is worth.
    """
    for signed in edits:
        author = table.of(signed.edit)
        if author is None or not may_change(author, signed.edit) or table.kind(signed.edit) is not KindIs.KNOWN:
            continue
        if verify(author.signing_key, signed.body, signed.signature):
            table.learn(signed.edit)
    return table.endings.get(actor)


def founder(edit: Edit, cluster_id: str) -> Author | None:
    """The author of a cluster's very first edit, which introduces itself and names the cluster; None if this is not one."""
    if edit.counter != 1 or edit.context or edit.identity:
        return None
    identity = edit.changes.get(CLUSTER_KEY)
    own = edit.changes.get(MEMBER_PREFIX + edit.author)
    if identity is None or identity.get("id") != cluster_id or own is None:
        return None
    member = read_member(edit.author, own)
    return _author(member, edit) if member is not None and member.actor == edit.actor else None


def may_change(author: Author, edit: Edit) -> bool:
    """Whether the author may make this edit: by its role, or because it only says that it leaves or where it is reached now."""
    return may_author(author.role, edit.changes) or _serves_itself(author, edit)


def _serves_itself(author: Author, edit: Edit) -> bool:
    """Whether a member changes its own registration alone, and in it nothing but its endpoint and whether it takes part."""
    if len(edit.changes) != 1:
        return False
    value = edit.changes.get(MEMBER_PREFIX + author.name)
    own = read_member(author.name, value) if value is not None else None
    return (
        own is not None
        and own.state in (MemberState.JOINED, MemberState.LEFT)
        and (own.actor, own.signing_key, own.curve_key, own.role) == (edit.owner, author.signing_key, author.curve_key, author.role)
    )


def _author(member: Member, edit: Edit) -> Author:
    return Author(member.name, member.signing_key, member.role, edit.lamport, edit.dot, member.curve_key)
