"""Who may author edits: what every actor was admitted with, and who has left for good.

Pure. Everything is judged from an edit's own past, so every node judges alike, in whatever order edits come: an author is what the first
admission (by `(lamport, actor)`) among those that this very edit has seen says. So two sponsors that let one actor in at the same time,
with different roles, make no two nodes disagree. Actors here are always the *owners* of edits: the ones that members were admitted with.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from store.clocks import Actor, Dot, covers
from store.edits import Edit
from store.members import MEMBER_PREFIX, Ending, Member, MemberState, Role, may_author, read_member, registered

CLUSTER_KEY = "cluster/identity"


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
    which each was first let in.
    """

    __slots__ = ("beyond", "endings", "known", "since")

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

    def copy(self) -> "Authors":
        """Another table with the same content."""
        return Authors(self.known, self.endings, self.beyond)

    def of(self, edit: Edit) -> Author | None:
        """What the edit's owner is, as far as the edit has seen; None if it has seen no admission of it."""
        found = [a for a in self.known.get(edit.owner, ()) if covers(edit.context, a.by) or a.by == edit.dot]
        return min(found, key=lambda a: (a.lamport, a.by.actor), default=None)

    def may(self, edit: Edit) -> bool:
        """Whether the edit is within its owner's rights."""
        author = self.of(edit)
        return author is not None and may_change(author, edit)

    def excess(self, edit: Edit) -> int:
        """How many edits beyond its rights its owner had written in the edit's past."""
        return sum(covers(edit.context, dot) for dot in self.beyond.get(edit.owner, ()))

    def went_beyond(self, edit: Edit) -> None:
        """Note an edit that is beyond its owner's rights."""
        self.beyond[edit.owner] = (*self.beyond.get(edit.owner, ()), edit.dot)

    def learn(self, edit: Edit) -> list[Member]:
        """Take what an edit within its owner's rights says of members; returns those that it registers."""
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

    def _admit(self, actor: Actor, found: tuple[Author, ...]) -> None:
        self.known[actor] = found
        self.since[actor] = min(a.lamport for a in found)

    def found(self, author: Author, edit: Edit) -> None:
        """Take the author of a cluster's first edit."""
        self._admit(edit.owner, (author,))

    @property
    def witnesses(self) -> set[Dot]:
        """The edits that prove all this. They are kept for ever, so that whoever gets the log can check who may write."""
        return {a.by for found in self.known.values() for a in found} | {ending.by for ending in self.endings.values()}


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
