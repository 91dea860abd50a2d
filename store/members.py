"""The registry of members, read from the folded `member/<name>` keys.

Registration is durable configuration; whether a member is up is an opinion kept elsewhere. Names are contested differently from options:
of two nodes that two sponsors let in under one name at the same time, the one with the smaller `(lamport, actor)` keeps it, so that a
node which is already known never loses its name to a later one.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from store.clocks import ACTOR_BYTES, Actor, Dot
from store.document import Options
from store.fold import Fold, Sibling

MEMBER_PREFIX = "member/"
NAME_CHARS = 64
"""The longest node name (a host label has 63 characters): a digest names every node."""
NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def is_node_name(text: str) -> bool:
    """Whether a node may have this name: letters, digits and `-`, at most 63, no `-` at the ends (as host names, RFC 1123)."""
    return NODE_NAME.fullmatch(text) is not None


class Role(StrEnum):
    """What a member's edits may touch."""

    OBSERVER = "observer"
    """Nothing: it reads and reports its health."""
    EDITOR = "editor"
    """The configuration and acknowledgements."""
    ADMIN = "admin"
    """Everything, members included."""


class MemberState(StrEnum):
    """Where a member stands. What is not joined is final for its actor: who comes back comes as another one."""

    JOINED = "joined"
    LEFT = "left"
    RETIRED = "retired"


class Ending(NamedTuple):
    """The first edit that says that an actor takes no part any more, and how."""

    state: MemberState
    by: Dot


_FINALITY = {MemberState.JOINED: 0, MemberState.LEFT: 1, MemberState.RETIRED: 2}


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """One registered node. `curve_key` is z85 text (40 characters); `signing_key` is 32 raw bytes; `endpoint` is its mesh address.

    `more` are the options that this version does not know, sorted: a later one wrote them, and they stay when this one changes a state.
    """

    name: str
    actor: bytes
    curve_key: str
    signing_key: bytes
    endpoint: str
    role: Role
    state: MemberState
    more: tuple[tuple[str, str], ...] = ()

    @property
    def active(self) -> bool:
        """Whether frames from it are taken."""
        return self.state is MemberState.JOINED


def member_value(member: Member) -> dict[str, str]:
    """The options of the `member/<name>` key, those that this version does not know included."""
    return {
        **dict(member.more),
        "actor": member.actor.hex(),
        "curve-key": member.curve_key,
        "signing-key": member.signing_key.hex(),
        "endpoint": member.endpoint,
        "role": member.role.value,
        "state": member.state.value,
    }


_KNOWN_OPTIONS = frozenset({"actor", "curve-key", "signing-key", "endpoint", "role", "state"})


def read_member(name: str, value: Options) -> Member | None:
    """The member that the options describe; None if they are not a member's (a newer version's, or damage)."""
    try:
        member = Member(
            name=name,
            actor=bytes.fromhex(value["actor"]),
            curve_key=value["curve-key"],
            signing_key=bytes.fromhex(value["signing-key"]),
            endpoint=value["endpoint"],
            role=Role(value["role"]),
            state=MemberState(value["state"]),
            more=tuple(sorted((option, text) for option, text in value.items() if option not in _KNOWN_OPTIONS)),
        )
    except (KeyError, ValueError):
        return None
    if len(member.actor) != ACTOR_BYTES or len(member.curve_key) != 40 or len(member.signing_key) != 32 or not 1 <= len(name) <= NAME_CHARS:
        return None
    return member


def registered(changes: Mapping[str, Options | None]) -> list[Member]:
    """The members that the changes register, whatever their state."""
    found = (
        read_member(key.removeprefix(MEMBER_PREFIX), v) for key, v in changes.items() if v is not None and key.startswith(MEMBER_PREFIX)
    )
    return [member for member in found if member is not None]


def fold_member(
    name: str,
    siblings: Iterable[Sibling],
    admitted: Mapping[Actor, int] | None = None,
    gone: Mapping[Actor, Ending] | None = None,
) -> Member | None:
    """Decide who holds a name among the siblings of `member/<name>`.

    The actor with the smallest `(lamport, actor)` holds it, one that is not `gone` before one that is; among that actor's own siblings
    the most final state wins, then the greatest rank. A deletion never removes a member. `admitted` gives the lamport number with which
    each actor was first let in, so that a later change of its registration does not cost it the name; the sibling's own number stands in
    for an actor that is not there.
    """
    read = [(s, m) for s in siblings if s.value is not None and (m := read_member(name, s.value)) is not None]
    if not read:
        return None
    since, ended = admitted or {}, gone or {}
    holder = min(read, key=lambda pair: (pair[1].actor in ended, since.get(pair[1].actor, pair[0].lamport), pair[1].actor))[1].actor
    own = [pair for pair in read if pair[1].actor == holder]
    member = max(own, key=lambda pair: (_FINALITY[pair[1].state], pair[0].rank))[1]
    return msgspec.structs.replace(member, state=ended[holder].state) if holder in ended else member


class Registry:
    """All members by name (sorted), by key and by actor; an immutable picture of one fold.

    `contested` are the nodes that were let in under a name which another one keeps. They are no members, but they are told so.
    """

    __slots__ = ("_contested", "active", "by_actor", "by_key", "by_name", "contested")

    def __init__(self, members: Mapping[str, Member], contested: Mapping[str, tuple[Member, ...]] | None = None) -> None:
        self._contested = {name: found for name, found in sorted((contested or {}).items()) if found}
        self.by_name = dict(sorted(members.items()))
        self.contested = tuple(member for found in self._contested.values() for member in found)
        self.by_key = {m.curve_key: m for m in self.by_name.values()}
        self.by_actor = {m.actor: m for m in self.by_name.values()}
        self.active = [m for m in self.by_name.values() if m.active]
        """The members that take part, by name."""

    def reread(
        self, fold: Fold, names: Iterable[str], gone: Mapping[Actor, Ending], admitted: Mapping[Actor, int] | None = None
    ) -> "Registry":
        """The registry in which these names are as the fold has them now. See `read_registry`."""
        members, contested = dict(self.by_name), dict(self._contested)
        for name in names:
            siblings = fold.siblings(MEMBER_PREFIX + name)
            holder = fold_member(name, siblings, admitted, gone)
            members.pop(name, None)
            contested.pop(name, None)
            if holder is None:
                continue
            members[name] = holder
            read = (read_member(name, s.value) for s in siblings if s.value is not None)
            contested[name] = tuple(m for m in read if m and m.active and m.actor != holder.actor and m.actor not in gone)
        return Registry(members, contested)


def read_registry(fold: Fold, gone: Mapping[Actor, Ending] | None = None, admitted: Mapping[Actor, int] | None = None) -> Registry:
    """The registry that the fold describes.

    Actors in `gone` are shown as that, whatever was written of them later. `admitted` is as in `fold_member`.
    """
    names = (key.removeprefix(MEMBER_PREFIX) for key in fold if key.startswith(MEMBER_PREFIX))
    return Registry({}).reread(fold, names, gone or {}, admitted)


def may_author(role: Role, keys: Iterable[str]) -> bool:
    """Whether a member with this role may change these keys."""
    if role is Role.ADMIN:
        return True
    if role is Role.OBSERVER:
        return False
    return not any(key.startswith((MEMBER_PREFIX, "cluster/")) for key in keys)
