"""What a joiner and its sponsor say to each other: one request, one reply, both msgpack maps.

Unknown fields are ignored, so that nodes of different versions can at least tell each other that they differ.
"""

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from gossip.addresses import ENDPOINT_MAX_CHARS, is_curve_key, parse_endpoint
from store.clocks import ACTOR_BYTES
from store.errors import UsageError
from store.level import FIRST
from store.limits import limit
from store.members import NODE_NAME, Role

SECRET_BYTES = 32
ZAP_DOMAIN = "pathmesh-join"
HANDSHAKE_SECONDS = 5.0

TokenId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{10}\Z")]
Secret = Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
Name = Annotated[str, msgspec.Meta(pattern=rf"^{NODE_NAME.pattern}\Z", max_length=63)]
Actor = Annotated[bytes, msgspec.Meta(min_length=ACTOR_BYTES, max_length=ACTOR_BYTES)]
CurveKey = Annotated[str, msgspec.Meta(min_length=40, max_length=40)]
SigningKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
EndpointText = Annotated[str, msgspec.Meta(max_length=ENDPOINT_MAX_CHARS)]
Version = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class JoinCode(StrEnum):
    """The outcome in `JoinReply.code`, besides the `TokenCode`s that a sponsor may answer with."""

    OK = "ok"
    NAME_TAKEN = "name-taken"
    CLUSTER_FULL = "cluster-full"
    VERSION_MISMATCH = "version-mismatch"
    MALFORMED = "join-malformed"
    BUSY = "join-busy"
    FAILED = "join-failed"


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the joiner says of itself.

    `endpoint` is where peers will reach it; versions are the wire's majors that it speaks, `level` is the highest feature level.
    """

    version_min: Version
    version_max: Version
    token_id: TokenId
    secret: Secret
    name: Name
    actor: Actor
    curve_key: CurveKey
    signing_key: SigningKey
    endpoint: EndpointText
    level: Version = FIRST

    def __repr__(self) -> str:
        return f"JoinRequest(name={self.name!r}, token_id={self.token_id!r}, endpoint={self.endpoint!r})"


class JoinMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member that the joiner may connect to."""

    name: Name
    actor: Actor
    curve_key: CurveKey
    signing_key: SigningKey
    endpoint: EndpointText


class JoinReply(msgspec.Struct, frozen=True, kw_only=True):
    """The sponsor's answer. If `ok`, the joiner is a member now and `members` lists whom to connect to, `sponsor` (a name) among them."""

    ok: bool
    code: Annotated[str, msgspec.Meta(max_length=64)]
    message: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    cluster: Annotated[str, msgspec.Meta(max_length=64)] = ""
    cluster_name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    role: Role = Role.OBSERVER
    sponsor: Annotated[str, msgspec.Meta(max_length=63)] = ""
    members: Annotated[tuple[JoinMember, ...], msgspec.Meta(max_length=limit("members"))] = ()


_Message = TypeVar("_Message", JoinRequest, JoinReply)


def decode_request(data: bytes) -> JoinRequest:
    """Read a request. Raises UsageError (`join-malformed`), never anything else."""
    request = _decode(data, JoinRequest)
    if not is_curve_key(request.curve_key):
        raise UsageError("join request: curve_key is not a CURVE key", code=JoinCode.MALFORMED)
    if request.version_min > request.version_max:
        raise UsageError("join request: version_min is above version_max", code=JoinCode.MALFORMED)
    try:
        parse_endpoint(request.endpoint)
    except UsageError as error:
        raise UsageError(f"join request: {error.message}", code=JoinCode.MALFORMED, hint=error.hint) from None
    return request


def decode_reply(data: bytes) -> JoinReply:
    """Read a reply. Raises UsageError (`join-malformed`), never anything else.

    Members' keys and endpoints are checked by whoever connects to them: one that is odd must not keep the joiner out.
    """
    return _decode(data, JoinReply)


def _decode(data: bytes, kind: type[_Message]) -> _Message:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"malformed {kind.__name__}: {str(error)[:200]}", code=JoinCode.MALFORMED) from None
