"""Members and their signatures, made up from names.

A signature is a hash over the public key and the data: as quick as a hash, and still one that cannot pass for another member's.
"""

import hashlib
from collections.abc import Mapping, Sequence

from store.document import Options
from store.edits import Edit, SignedEdit, encode_body, frozen_changes, seal
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import CLUSTER_KEY

CLUSTER = "simulated"
_BATCH = 64
"""How many members one edit of a prepared registry lets in, in a large cluster."""


def actor(seed: str) -> bytes:
    """The actor (16 bytes) of the member made from `seed`."""
    return hashlib.sha256(b"actor " + seed.encode()).digest()[:16]


def sign(key: bytes, data: bytes) -> bytes:
    """The signature (64 bytes) of the key over the data."""
    return hashlib.sha512(key + data).digest()


def verify(key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the signature is the key's over the data."""
    return signature == hashlib.sha512(key + data).digest()


def member(name: str, role: Role = Role.ADMIN, *, incarnation: int = 0) -> Member:
    """The registration of a node. Another incarnation of the same name has keys and an actor of its own."""
    seed = f"{name}/{incarnation}"
    curve = hashlib.sha256(b"curve " + seed.encode()).hexdigest()[:40]
    signing = hashlib.sha256(b"signing " + seed.encode()).digest()
    return Member(name, actor(seed), curve, signing, f"tcp://{name}:7946", role, MemberState.JOINED)


def founding_log(members: Sequence[Member]) -> list[SignedEdit]:
    """The edits with which the first member founds the cluster and lets the others in: one edit each, or in batches if there are many."""
    founder = members[0]
    log = [_edit(founder, {CLUSTER_KEY: {"id": CLUSTER}, MEMBER_PREFIX + founder.name: member_value(founder)}, {})]
    step = 1 if len(members) <= 32 else _BATCH
    for start in range(1, len(members), step):
        changes = {MEMBER_PREFIX + m.name: member_value(m) for m in members[start : start + step]}
        log.append(_edit(founder, changes, {founder.actor: len(log)}))
    return log


def _edit(author: Member, changes: Mapping[str, Options | None], context: Mapping[bytes, int]) -> SignedEdit:
    seen = dict(context)
    edit = Edit(
        actor=author.actor,
        counter=seen.get(author.actor, 0) + 1,
        context=seen,
        lamport=sum(seen.values()) + 1,
        author=author.name,
        wall=1.0,
        changes=frozen_changes(changes),
    )
    body = encode_body(edit)
    return seal(edit, body, sign(author.signing_key, body))
