"""Shared by all tests."""

import hashlib
from collections.abc import Mapping

import pytest

from store.base import Base
from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, Edit, SignedEdit, encode_body, frozen_changes, seal, session_actor
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica


class Scribe:
    """Makes members and signed edits. Signatures are hashes over the public key, so they are quick and still cannot pass for another's."""

    cluster = "c1"

    @staticmethod
    def actor(name: str) -> bytes:
        return hashlib.sha256(b"actor " + name.encode()).digest()[:16]

    @classmethod
    def session(cls, name: str, life: str) -> bytes:
        """The actor under which one life of `name` writes."""
        return session_actor(cls.actor(name), cls.actor(f"nonce {life}"))

    @staticmethod
    def signing_key(name: str) -> bytes:
        return hashlib.sha256(b"key " + name.encode()).digest()

    @staticmethod
    def sign_with(key: bytes, data: bytes) -> bytes:
        return hashlib.sha512(key + data).digest()

    @classmethod
    def sign(cls, name: str, data: bytes) -> bytes:
        return cls.sign_with(cls.signing_key(name), data)

    @classmethod
    def verify(cls, key: bytes, data: bytes, signature: bytes) -> bool:
        return signature == cls.sign_with(key, data)

    @classmethod
    def member(cls, name: str, role: Role = Role.ADMIN, state: MemberState = MemberState.JOINED, *, actor: str = "") -> Member:
        """The registration of `name`; `actor` names whose keys it carries, if not its own."""
        who = actor or name
        curve = hashlib.sha256(b"curve " + who.encode()).hexdigest()[:40]
        return Member(name, cls.actor(who), curve, cls.signing_key(who), f"tcp://{name}:7946", role, state)

    @classmethod
    def edit(
        cls,
        author: str,
        changes: Mapping[str, Options | None],
        context: Mapping[bytes, int] | None = None,
        *,
        lamport: int = 0,
        kind: str = CHANGE,
        covers: Mapping[str, list[Dot]] | None = None,
        signer: str = "",
        name: str = "",
        wall: float = 1.0,
        reason: str = "",
        life: str = "",
    ) -> SignedEdit:
        """A signed edit by the actor `author`, or by the session actor of one `life`, with exactly this context.

        Its counter follows from the context.
        """
        seen = dict(context or {})
        actor = cls.session(author, life) if life else cls.actor(author)
        edit = Edit(
            actor=actor,
            counter=seen.get(actor, 0) + 1,
            context=seen,
            lamport=lamport or sum(seen.values()) + 1,
            author=name or author,
            wall=wall,
            changes=frozen_changes(changes),
            kind=kind,
            covers={key: [(d[0], d[1]) for d in dots] for key, dots in (covers or {}).items()},
            reason=reason,
            identity=cls.actor(author) if life else b"",
            nonce=cls.actor(f"nonce {life}") if life else b"",
        )
        body = encode_body(edit)
        return seal(edit, body, cls.sign(signer or author, body))

    @classmethod
    def founding(cls, name: str, role: Role = Role.ADMIN) -> SignedEdit:
        return cls.edit(name, {CLUSTER_KEY: {"id": cls.cluster}, MEMBER_PREFIX + name: member_value(cls.member(name, role))})

    @classmethod
    def registration(cls, sponsor: str, member: Member, context: Mapping[bytes, int]) -> SignedEdit:
        return cls.edit(sponsor, {MEMBER_PREFIX + member.name: member_value(member)}, context)

    @classmethod
    def replica(cls, *log: SignedEdit, base: Base | None = None) -> Replica:
        return Replica(cls.cluster, cls.verify, log, base)


@pytest.fixture(scope="session")
def scribe() -> type[Scribe]:
    return Scribe


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the product runs on."""
    return "asyncio"
