"""Shared by all tests."""

import hashlib
from collections.abc import Mapping

import pytest

from store.clocks import Dot
from store.document import Options
from store.edits import CHANGE, Edit, SignedEdit, encode_body, frozen_changes, seal
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica


class Scribe:
    """Makes members and signed edits. Signatures are hashes over the public key, so they are quick and still cannot pass for another's."""

    cluster = "c1"

    @staticmethod
    def actor(name: str) -> bytes:
        return hashlib.sha256(b"actor " + name.encode()).digest()[:16]

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
    ) -> SignedEdit:
        """A signed edit by the actor `author` with exactly this context; its counter follows from it."""
        seen = dict(context or {})
        edit = Edit(
            actor=cls.actor(author),
            counter=seen.get(cls.actor(author), 0) + 1,
            context=seen,
            lamport=lamport or sum(seen.values()) + 1,
            author=name or author,
            wall=wall,
            changes=frozen_changes(changes),
            kind=kind,
            covers={key: [(d.actor, d.counter) for d in dots] for key, dots in (covers or {}).items()},
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
    def replica(cls, *log: SignedEdit) -> Replica:
        return Replica(cls.cluster, cls.verify, log)


@pytest.fixture(scope="session")
def scribe() -> type[Scribe]:
    return Scribe


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the product runs on."""
    return "asyncio"
