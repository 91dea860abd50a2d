"""What a node is from its first moment on, as its database keeps it."""

import msgspec

from agent.settings import Settings
from store.database import FILE_NAME
from store.errors import UnavailableError, UsageError
from store.members import Member


class Birth(msgspec.Struct, frozen=True):
    """What a node is from its first moment on: kept in the database under `node`."""

    name: str
    actor: bytes
    cluster_id: str
    cluster_name: str
    bootstrap: tuple[Member, ...] = ()


def encode_birth(birth: Birth) -> bytes:
    """The stored form."""
    return msgspec.msgpack.encode(birth)


def not_a_member(settings: Settings) -> UsageError:
    """The error of a node that was never made."""
    return UsageError(
        f"{settings.node.state_dir}: this node belongs to no cluster yet",
        code="not-a-member",
        hint="start one with `pathmesh init`, or enter one with `pathmesh join TOKEN`",
    )


def decode_birth(data: bytes | None, settings: Settings) -> Birth:
    """Read the stored form; UsageError `not-a-member` if this node was never made."""
    if data is None:
        raise not_a_member(settings)
    try:
        return msgspec.msgpack.decode(data, type=Birth)
    except msgspec.MsgspecError as fault:
        raise UnavailableError(f"{settings.node.state_dir / FILE_NAME}: damaged node record: {fault}", code="database-corrupt") from None
