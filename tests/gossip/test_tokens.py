"""Join tokens: what a paste can do to them, and the sponsor's exact count of their uses."""

import asyncio
import base64
import hashlib
from collections.abc import Iterable, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.keys import NodeKeys
from gossip.tokens import (
    KEPT_AFTER_EXPIRY_SECONDS,
    RECORD_KIND,
    TOKENS_MAX,
    Token,
    TokenBook,
    TokenCode,
    TokenRecord,
    TokenState,
    secret_hash,
)
from store.errors import UsageError
from store.members import Role
from store.records import MemoryRecords

KEY = NodeKeys.generate().join_public
ENDPOINTS = ("tcp://192.0.2.1:7947", "tcp://[2001:db8::1]:7947")
NOW = 1_700_000_000.5


def new_token(expires: int = 2_000_000_000) -> Token:
    return Token.create(ENDPOINTS, KEY, "san", expires)


def code_of(text: str, now: float | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        Token.parse(text, now=now)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.code


def wrapped(payload: bytes) -> str:
    raw = len(payload).to_bytes(2, "big") + hashlib.sha256(payload).digest()[:4] + payload
    return "pmj1." + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_survives_its_text() -> None:
    token = new_token()
    assert Token.parse(token.text()) == token
    assert (token.endpoints, token.join_key, token.cluster, len(token.secret)) == (ENDPOINTS, KEY, "san", 32)
    assert token.text().startswith("pmj1.")
    assert repr(token.secret) not in repr(token)


def test_two_tokens_share_nothing_secret() -> None:
    one, two = new_token(), new_token()
    assert one.id != two.id
    assert one.secret != two.secret


def test_a_paste_may_be_wrapped_and_indented() -> None:
    token = new_token()
    text = token.text()
    assert Token.parse("  " + "\r\n   ".join(text[start : start + 30] for start in range(0, len(text), 30)) + " \n") == token


def test_expiry_is_told_only_when_asked() -> None:
    token = new_token(expires=1000)
    assert Token.parse(token.text()) == token
    assert Token.parse(token.text(), now=999.9) == token
    assert code_of(token.text(), now=1000.0) == TokenCode.EXPIRED


def test_every_cut_is_told_as_a_cut() -> None:
    text = new_token().text()
    for length in range(len("pmj1."), len(text)):
        assert code_of(text[:length]) == TokenCode.TRUNCATED


@given(st.data())
def test_every_mistyped_character_is_noticed(data: st.DataObject) -> None:
    text = FIXED.text()
    place = data.draw(st.integers(len("pmj1."), len(text) - 2))
    other = data.draw(st.sampled_from("ABCXYZabcxyz0189-_").filter(lambda character: character != text[place]))
    assert code_of(text[:place] + other + text[place + 1 :]) in (TokenCode.CHECKSUM, TokenCode.TRUNCATED)


FIXED = new_token()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", TokenCode.MALFORMED),
        ("hello", TokenCode.MALFORMED),
        ("pmj1", TokenCode.MALFORMED),
        ("pmj1.", TokenCode.TRUNCATED),
        ("pmj1.!!!!", TokenCode.MALFORMED),
        ("pmj1.ä", TokenCode.MALFORMED),
        ("pmj1." + "A" * 5000, TokenCode.MALFORMED),
        ("pmj2." + FIXED.text()[5:], TokenCode.VERSION),
        ("pmj17.x", TokenCode.VERSION),
        ("PMJ1." + FIXED.text()[5:], TokenCode.MALFORMED),
        (FIXED.text() + "AAAA", TokenCode.CHECKSUM),
        (wrapped(b""), TokenCode.MALFORMED),
        (wrapped(b"\x91" * 2000), TokenCode.MALFORMED),
        (wrapped(msgspec.msgpack.encode({"a": 1})), TokenCode.MALFORMED),
        (wrapped(msgspec.msgpack.encode([list(ENDPOINTS), "~" * 40, FIXED.id, FIXED.secret, 1, "san"])), TokenCode.MALFORMED),
        (wrapped(msgspec.msgpack.encode([[], KEY, FIXED.id, FIXED.secret, 1, "san"])), TokenCode.MALFORMED),
        (wrapped(msgspec.msgpack.encode([list(ENDPOINTS), KEY, FIXED.id, b"short", 1, "san"])), TokenCode.MALFORMED),
        (wrapped(msgspec.msgpack.encode([["ipc:///etc/passwd"], KEY, FIXED.id, FIXED.secret, 1, "san"])), "bad-endpoint"),
    ],
)
def test_other_texts_are_told_apart(text: str, code: str) -> None:
    assert code_of(text) == code


def test_a_token_of_a_later_minor_version_is_read() -> None:
    fields = [*msgspec.msgpack.decode(msgspec.msgpack.encode(FIXED)), "a field of later"]
    assert Token.parse(wrapped(msgspec.msgpack.encode(fields))) == FIXED


@given(st.text(max_size=200) | st.text(max_size=200).map(lambda text: "pmj1." + text) | st.binary(max_size=200).map(wrapped))
def test_parsing_raises_nothing_but_usage_errors(text: str) -> None:
    code_of(text)


@given(
    endpoints=st.lists(st.integers(1, 65535).map(lambda port: f"tcp://192.0.2.1:{port}"), min_size=1, max_size=8),
    cluster=st.text(max_size=64),
    expires=st.integers(0, 2**48),
)
def test_whatever_is_created_is_read_back(endpoints: list[str], cluster: str, expires: int) -> None:
    try:
        cluster.encode()
    except UnicodeEncodeError:
        return
    token = Token.create(endpoints, KEY, cluster, expires)
    assert Token.parse(token.text()) == token


@pytest.mark.parametrize("endpoints", [[], ["tcp://*:7947"], ["tcp://0:0"], ["tcp://h:1"] * 9])
def test_a_token_that_leads_nowhere_is_not_made(endpoints: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        Token.create(endpoints, KEY, "san", 1)
    assert caught.value.code == "bad-endpoint"


ALICE, BOB, CAROL = bytes(16), b"b" * 16, b"c" * 16


async def create(book: TokenBook, *, uses: int = 1, ttl: int = 3600, now: float = NOW) -> Token:
    return await book.create(ENDPOINTS, KEY, "san", role=Role.EDITOR, uses=uses, ttl_seconds=ttl, now=now)


async def refused(book: TokenBook, token: Token, actor: bytes = BOB, now: float = NOW, secret: bytes | None = None) -> str:
    codes = set()
    for method in (book.check, book.redeem):
        with pytest.raises(UsageError) as caught:
            await method(token.id, token.secret if secret is None else secret, actor, now)
        codes.add(caught.value.code)
    (code,) = codes
    return code


@pytest.mark.anyio
async def test_a_use_is_durable_before_it_is_granted_and_only_a_hash_is_kept() -> None:
    records = MemoryRecords()
    token = await create(TokenBook(records))
    (stored,) = (await records.load(RECORD_KIND)).values()
    assert token.secret not in stored
    assert secret_hash(token.secret) in stored
    granted = await TokenBook(records).redeem(token.id, token.secret, ALICE, NOW)
    assert (granted.role, granted.uses_left) == (Role.EDITOR, 0)
    assert await refused(TokenBook(records), token) == TokenCode.USED


@pytest.mark.anyio
async def test_a_use_whose_write_fails_is_not_granted() -> None:
    class Failing(MemoryRecords):
        broken = False

        async def change(self, kind: str, put: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
            if self.broken:
                raise OSError("disk full")
            await super().change(kind, put, delete)

    records = Failing()
    book = TokenBook(records)
    token = await create(book)
    records.broken = True
    with pytest.raises(OSError, match="disk full"):
        await book.redeem(token.id, token.secret, ALICE, NOW)
    records.broken = False
    assert (await book.redeem(token.id, token.secret, BOB, NOW)).uses_left == 0


@pytest.mark.anyio
async def test_the_count_is_exact_under_concurrency() -> None:
    class Slow(MemoryRecords):
        async def load(self, kind: str) -> dict[str, bytes]:
            await asyncio.sleep(0)
            return await super().load(kind)

        async def change(self, kind: str, put: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
            await asyncio.sleep(0)
            await super().change(kind, put, delete)

    book = TokenBook(Slow())
    token = await create(book, uses=3)
    outcomes = await asyncio.gather(
        *(book.redeem(token.id, token.secret, bytes([number]) * 16, NOW) for number in range(10)), return_exceptions=True
    )
    granted = [outcome for outcome in outcomes if isinstance(outcome, TokenRecord)]
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, UsageError)]
    assert ([record.uses_left for record in granted], codes) == ([2, 1, 0], [TokenCode.USED] * 7)


@pytest.mark.anyio
async def test_one_node_asking_twice_is_one_use() -> None:
    book = TokenBook(MemoryRecords())
    token = await create(book, uses=2)
    for _ in range(3):
        assert (await book.redeem(token.id, token.secret, ALICE, NOW)).uses_left == 1
    assert (await book.redeem(token.id, token.secret, BOB, NOW)).uses_left == 0
    assert (await book.redeem(token.id, token.secret, ALICE, NOW)).uses_left == 0
    assert await refused(book, token, CAROL) == TokenCode.USED


@pytest.mark.anyio
async def test_checking_uses_nothing_up() -> None:
    book = TokenBook(MemoryRecords())
    token = await create(book)
    for _ in range(3):
        assert (await book.check(token.id, token.secret, ALICE, NOW)).uses_left == 1


@pytest.mark.anyio
async def test_unknown_expired_and_revoked_are_told_apart() -> None:
    book = TokenBook(MemoryRecords())
    token = await create(book, ttl=60)
    assert await refused(book, new_token()) == TokenCode.UNKNOWN
    assert await refused(book, token, secret=bytes(32)) == TokenCode.UNKNOWN
    assert await refused(book, token, now=token.expires) == TokenCode.EXPIRED
    await book.revoke(token.id, NOW)
    assert await refused(book, token) == TokenCode.REVOKED
    assert await refused(book, token, secret=bytes(32)) == TokenCode.UNKNOWN
    with pytest.raises(UsageError) as caught:
        await book.revoke("0123456789", NOW)
    assert caught.value.code == TokenCode.UNKNOWN


@pytest.mark.anyio
async def test_a_node_cannot_come_again_with_an_expired_or_revoked_token() -> None:
    book = TokenBook(MemoryRecords())
    token = await create(book)
    await book.redeem(token.id, token.secret, ALICE, NOW)
    assert await refused(book, token, ALICE, now=token.expires) == TokenCode.USED
    await book.revoke(token.id, NOW)
    assert await refused(book, token, ALICE) == TokenCode.REVOKED


@pytest.mark.anyio
async def test_the_list_shows_states_and_old_tokens_are_forgotten() -> None:
    records = MemoryRecords()
    book = TokenBook(records)
    short, long, used, revoked = [await create(book, ttl=ttl) for ttl in (10, 5000, 6000, 7000)]
    await book.redeem(used.id, used.secret, ALICE, NOW)
    await book.revoke(revoked.id, NOW)
    listed = await book.list(NOW + 20)
    assert [(record.id, record.state(NOW + 20)) for record in listed] == [
        (short.id, TokenState.EXPIRED),
        (long.id, TokenState.LIVE),
        (used.id, TokenState.USED),
        (revoked.id, TokenState.REVOKED),
    ]
    later = short.expires + KEPT_AFTER_EXPIRY_SECONDS
    assert await refused(book, short, now=later - 1) == TokenCode.EXPIRED
    assert await refused(book, short, now=later) == TokenCode.UNKNOWN
    assert short.id not in await records.load(RECORD_KIND)


@pytest.mark.anyio
async def test_the_book_is_bounded_until_old_tokens_are_forgotten() -> None:
    book = TokenBook(MemoryRecords())
    for _ in range(TOKENS_MAX):
        await create(book, ttl=10)
    with pytest.raises(UsageError) as caught:
        await create(book)
    assert caught.value.code == "too-many-tokens"
    await create(book, now=NOW + 11 + KEPT_AFTER_EXPIRY_SECONDS)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("uses", "ttl", "code"), [(0, 60, "bad-token-uses"), (2049, 60, "bad-token-uses"), (1, 0, "bad-token-ttl"), (1, 10**8, "bad-token-ttl")]
)
async def test_senseless_tokens_are_not_made(uses: int, ttl: int, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        await create(TokenBook(MemoryRecords()), uses=uses, ttl=ttl)
    assert caught.value.code == code


@pytest.mark.anyio
async def test_a_damaged_record_is_no_token() -> None:
    records = MemoryRecords()
    book = TokenBook(records)
    token = await create(book)
    await records.change(RECORD_KIND, {token.id: b"\xc1damaged"})
    assert await refused(book, token) == TokenCode.UNKNOWN
    assert await book.list(NOW) == []
