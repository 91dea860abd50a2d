"""One-time join tokens: the text that an administrator carries to a new node, and the sponsor's book of those it gave out.

The text is `pmj1.` and base64url of: payload length (2 bytes, big-endian), the first 4 bytes of the payload's SHA-256, the payload
(msgpack). Length and checksum tell a token that was cut short or mistyped from one that is merely not valid. The sponsor keeps only
a hash of the secret.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec

from gossip.addresses import ENDPOINT_MAX_CHARS, is_curve_key, parse_endpoint
from gossip.join_messages import SECRET_BYTES, Secret, TokenId
from store.errors import UsageError
from store.limits import limit
from store.members import Role
from store.records import Records

RECORD_KIND = "token"
ID_BYTES = 5
TOKEN_MAX_CHARS = 4096
"""Eight endpoints of the greatest length and the rest fit; a longer text is not read at all."""
ENDPOINTS_MAX = 8
TOKENS_MAX = 256
"""Tokens kept at a time: an administrator hands them out one by one."""
TTL_MAX_SECONDS = 30 * 24 * 3600
KEPT_AFTER_EXPIRY_SECONDS = 24 * 3600
"""For so long a late comer is told 'expired', and not merely 'unknown'."""

_PREFIX = "pmj1."
_ANY_VERSION = re.compile(r"pmj[0-9]{1,6}\.")
_HEADER_BYTES = 6
_NEW_TOKEN_HINT = "make a new one on a node of the cluster: pathmesh token create"

UnixSeconds = Annotated[int, msgspec.Meta(ge=0, le=2**48)]


class TokenCode(StrEnum):
    """Why a token is not taken: the `code` of the UsageError."""

    MALFORMED = "token-malformed"
    TRUNCATED = "token-truncated"
    CHECKSUM = "token-checksum"
    VERSION = "token-version"
    UNKNOWN = "token-unknown"
    """Never given out by this node, long gone, or the secret is wrong."""
    EXPIRED = "token-expired"
    USED = "token-used"
    REVOKED = "token-revoked"


_REFUSALS = {
    TokenCode.UNKNOWN: "this node did not give out join token {id}, or not with this secret",
    TokenCode.EXPIRED: "join token {id} has expired",
    TokenCode.USED: "join token {id} is used up",
    TokenCode.REVOKED: "join token {id} was revoked",
}


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. `endpoints` are the sponsor's join sockets, `join_key` their CURVE key, `expires` Unix seconds."""

    endpoints: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=ENDPOINT_MAX_CHARS)], ...],
        msgspec.Meta(min_length=1, max_length=ENDPOINTS_MAX),
    ]
    join_key: Annotated[str, msgspec.Meta(min_length=40, max_length=40)]
    id: TokenId
    secret: Secret
    expires: UnixSeconds
    cluster: Annotated[str, msgspec.Meta(max_length=64)]

    def __repr__(self) -> str:
        return f"Token(id={self.id!r}, cluster={self.cluster!r}, endpoints={self.endpoints!r}, expires={self.expires})"

    @classmethod
    def create(
        cls,
        endpoints: Sequence[str],
        join_key: str,
        cluster: str,
        expires: int,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> "Token":
        """A new token with an id and a secret of its own. Raises UsageError for endpoints that nobody can connect to."""
        if not 1 <= len(endpoints) <= ENDPOINTS_MAX:
            raise UsageError(f"a join token carries 1 to {ENDPOINTS_MAX} endpoints, not {len(endpoints)}", code="bad-endpoint")
        token = cls(tuple(endpoints), join_key, random(ID_BYTES).hex(), random(SECRET_BYTES), expires, cluster)
        return cls.parse(token.text())

    def text(self) -> str:
        """The text to hand over; whoever has it can join."""
        payload = msgspec.msgpack.encode(self)
        raw = len(payload).to_bytes(2, "big") + _checksum(payload) + payload
        return _PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str, *, now: float | None = None) -> "Token":
        """Read a token's text; blanks and line breaks of a paste are ignored. With `now` (Unix seconds) an expired one is refused.

        Raises UsageError with a `TokenCode`, never anything else.
        """
        payload = _unwrap("".join(text[: 2 * TOKEN_MAX_CHARS].split()))
        try:
            token = msgspec.msgpack.decode(payload, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _malformed("its content is not a token's") from None
        for endpoint in token.endpoints:
            parse_endpoint(endpoint)
        if not is_curve_key(token.join_key):
            raise _malformed("its key is not a CURVE key")
        if now is not None and now >= token.expires:
            raise refusal(TokenCode.EXPIRED, token.id)
        return token


def secret_hash(secret: bytes) -> bytes:
    """What the sponsor keeps of a secret: SHA-256. The secret is 256 random bits, so nothing slower is needed."""
    return hashlib.sha256(secret).digest()


class TokenState(StrEnum):
    """Where a token of this node's book stands."""

    LIVE = "live"
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


_REFUSED_STATES = {
    TokenState.USED: TokenCode.USED,
    TokenState.EXPIRED: TokenCode.EXPIRED,
    TokenState.REVOKED: TokenCode.REVOKED,
}


class TokenRecord(msgspec.Struct, frozen=True):
    """One token as its sponsor keeps it. `uses_left` counts down to 0; `actors` are the nodes that used it; `expires` is Unix seconds."""

    id: str
    hash: bytes
    role: Role
    uses_left: int
    expires: int
    revoked: bool = False
    actors: tuple[bytes, ...] = ()

    def state(self, now: float) -> TokenState:
        """Where it stands at `now`. Used comes before expired: it says more."""
        if self.revoked:
            return TokenState.REVOKED
        if self.uses_left <= 0:
            return TokenState.USED
        return TokenState.EXPIRED if now >= self.expires else TokenState.LIVE


class TokenBook:
    """The tokens that this node gave out, durable in `records`. Only this node accepts them, so every use is counted exactly."""

    def __init__(self, records: Records, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._records = records
        self._random = random
        self._lock = asyncio.Lock()

    async def create(
        self, endpoints: Sequence[str], join_key: str, cluster: str, *, role: Role, uses: int, ttl_seconds: int, now: float
    ) -> Token:
        """Make a token for `uses` nodes, valid for `ttl_seconds`. The text of what is returned is never shown again."""
        if not 1 <= uses <= limit("members"):
            raise UsageError(f"a join token is for 1 to {limit('members')} uses, not {uses}", code="bad-token-uses")
        if not 1 <= ttl_seconds <= TTL_MAX_SECONDS:
            raise UsageError(
                f"a join token is valid for 1 second to {TTL_MAX_SECONDS // 86400} days, not {ttl_seconds} seconds",
                code="bad-token-ttl",
            )
        token = Token.create(endpoints, join_key, cluster, int(now) + ttl_seconds, random=self._random)
        record = TokenRecord(token.id, secret_hash(token.secret), role, uses, token.expires)
        async with self._lock:
            kept = await self._load_and_purge(now)
            if len(kept) >= TOKENS_MAX:
                raise UsageError(
                    f"{len(kept)} join tokens are kept already, which is the most",
                    code="too-many-tokens",
                    hint="make one token with more uses, or wait until old ones are forgotten, a day after they expire",
                )
            await self._write(record)
        return token

    async def list(self, now: float) -> list[TokenRecord]:
        """All tokens that are kept, those that expire first ahead."""
        async with self._lock:
            return sorted((await self._load_and_purge(now)).values(), key=lambda record: (record.expires, record.id))

    async def revoke(self, token_id: str, now: float) -> None:
        """Never accept this token again. Raises UsageError (`token-unknown`)."""
        async with self._lock:
            record = (await self._load_and_purge(now)).get(token_id)
            if record is None:
                raise UsageError(
                    f"this node gave out no join token {token_id[:40]!r}",
                    code=TokenCode.UNKNOWN,
                    hint="pathmesh token ls shows them; a token is known only to the node that made it",
                )
            await self._write(msgspec.structs.replace(record, revoked=True))

    async def check(self, token_id: str, secret: bytes, actor: bytes, now: float) -> TokenRecord:
        """What `redeem` would say, without using the token up. A node that used it before may come again."""
        async with self._lock:
            return await self._valid(token_id, secret, actor, now)

    async def redeem(self, token_id: str, secret: bytes, actor: bytes, now: float) -> TokenRecord:
        """Use the token for the node `actor`; the count is durable before this returns.

        One actor counts once, however often its request is repeated: the answer to the first may have been lost. Raises UsageError
        with a `TokenCode`. Whoever lacks the secret learns nothing but `token-unknown`.
        """
        async with self._lock:
            record = await self._valid(token_id, secret, actor, now)
            if actor not in record.actors:
                record = msgspec.structs.replace(record, uses_left=record.uses_left - 1, actors=(*record.actors, actor))
                await self._write(record)
            return record

    async def _valid(self, token_id: str, secret: bytes, actor: bytes, now: float) -> TokenRecord:
        record = (await self._load_and_purge(now)).get(token_id)
        if record is None or not hmac.compare_digest(record.hash, secret_hash(secret)):
            raise refusal(TokenCode.UNKNOWN, token_id)
        state = record.state(now)
        comes_again = state is TokenState.USED and actor in record.actors and now < record.expires
        if state is not TokenState.LIVE and not comes_again:
            raise refusal(_REFUSED_STATES[state], token_id)
        return record

    async def _load_and_purge(self, now: float) -> dict[str, TokenRecord]:
        kept: dict[str, TokenRecord] = {}
        gone: list[str] = []
        for token_id, data in (await self._records.load(RECORD_KIND)).items():
            try:
                record = msgspec.msgpack.decode(data, type=TokenRecord)
            except msgspec.MsgspecError:
                # Not readable means not redeemable, for ever.
                gone.append(token_id)
                continue
            if now >= record.expires + KEPT_AFTER_EXPIRY_SECONDS:
                gone.append(token_id)
            else:
                kept[token_id] = record
        if gone:
            await self._records.change(RECORD_KIND, {}, gone)
        return kept

    async def _write(self, record: TokenRecord) -> None:
        await self._records.change(RECORD_KIND, {record.id: msgspec.msgpack.encode(record)})


def refusal(code: TokenCode, token_id: str) -> UsageError:
    """The error for a token that its sponsor, or its own expiry, refuses."""
    return UsageError(_REFUSALS[code].format(id=token_id), code=code, hint=_NEW_TOKEN_HINT)


def _unwrap(text: str) -> bytes:
    if not text.startswith(_PREFIX):
        if match := _ANY_VERSION.match(text):
            raise UsageError(
                f"join token of another version ({match[0][:-1]}); this program reads {_PREFIX[:-1]}",
                code=TokenCode.VERSION,
                hint="run the same version of pathmesh on both nodes",
            )
        raise _malformed(f"it does not begin with '{_PREFIX}'")
    if len(text) > TOKEN_MAX_CHARS:
        raise _malformed(f"it is longer than {TOKEN_MAX_CHARS} characters")
    body = text[len(_PREFIX) :]
    if not body.isascii() or body.strip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise _malformed("it has characters that no token has")
    # A lone last character carries no whole byte: the cut fell inside a group of four.
    cut = len(body) % 4 == 1
    try:
        raw = base64.urlsafe_b64decode(body[: len(body) - cut] + "=" * (-(len(body) - cut) % 4))
    except binascii.Error:
        raise _malformed("it is not base64url") from None
    payload = raw[_HEADER_BYTES:]
    if len(raw) < _HEADER_BYTES or len(payload) < int.from_bytes(raw[:2], "big"):
        raise UsageError("join token is cut short", code=TokenCode.TRUNCATED, hint="copy the whole text, which may span several lines")
    if cut or len(payload) > int.from_bytes(raw[:2], "big") or raw[2:_HEADER_BYTES] != _checksum(payload):
        raise UsageError("join token is damaged (its checksum is wrong)", code=TokenCode.CHECKSUM, hint="copy it once more")
    return payload


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[: _HEADER_BYTES - 2]


def _malformed(what: str) -> UsageError:
    return UsageError(f"not a join token: {what}", code=TokenCode.MALFORMED, hint=_NEW_TOKEN_HINT)
