"""The join socket over real connections: every outcome has its own error, and strangers cannot make the sponsor grow."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from gossip import join
from gossip.join import JoinCode, JoinMember, JoinReply, JoinRequest, JoinServer, request_join
from gossip.join_messages import ZAP_DOMAIN, decode_reply, decode_request
from gossip.keys import NodeKeys
from gossip.tokens import Token, TokenBook, TokenCode
from store.errors import PathmeshError, UnavailableError, UsageError
from store.level import FIRST
from store.members import Role
from store.records import MemoryRecords

ANY_PORT = "tcp://127.0.0.1:0"
SPONSOR, JOINER = NodeKeys.generate(), NodeKeys.generate()
TOKEN = Token.create([ANY_PORT.replace(":0", ":1")], SPONSOR.join_public, "san", 2_000_000_000)
MEMBER = JoinMember(
    name="n1", actor=b"1" * 16, curve_key=SPONSOR.mesh_public, signing_key=SPONSOR.signing_public, endpoint="tcp://192.0.2.1:7946"
)
WELCOME = JoinReply(ok=True, code=JoinCode.OK, cluster="c0ffee", cluster_name="san", role=Role.EDITOR, sponsor="n1", members=(MEMBER,))


def request(token: Token = TOKEN, **changes: object) -> JoinRequest:
    plain = JoinRequest(
        version_min=1,
        version_max=1,
        token_id=token.id,
        secret=token.secret,
        name="n2",
        actor=b"2" * 16,
        curve_key=JOINER.mesh_public,
        signing_key=JOINER.signing_public,
        endpoint="tcp://192.0.2.2:7946",
    )
    return msgspec.structs.replace(plain, **changes)


async def welcome(_request: JoinRequest) -> JoinReply:
    return WELCOME


@asynccontextmanager
async def sponsor(handler: Callable[[JoinRequest], Awaitable[JoinReply]] = welcome) -> AsyncIterator[tuple[JoinServer, Token]]:
    server = JoinServer(ANY_PORT, SPONSOR, handler)
    try:
        yield server, msgspec.structs.replace(TOKEN, endpoints=(server.endpoint,))
    finally:
        await server.close()


async def failure(token: Token, timeout: float = 10, asked: JoinRequest | None = None) -> PathmeshError:
    with pytest.raises(PathmeshError) as caught:
        await request_join(token, asked or request(token), timeout)
    assert "\n" not in caught.value.message
    return caught.value


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for the condition; it failing to come true in time is the test's failure."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stranger(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """A client with the right server key that does as it likes."""
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.curve_serverkey = SPONSOR.join_public.encode()
    dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
    dealer.zap_domain = ZAP_DOMAIN.encode()
    dealer.connect(endpoint)
    return dealer


@pytest.mark.anyio
async def test_a_joiner_gets_the_sponsors_answer_and_the_sponsor_its_request() -> None:
    seen: list[JoinRequest] = []

    async def handler(asked: JoinRequest) -> JoinReply:
        seen.append(asked)
        return WELCOME

    async with sponsor(handler) as (server, token):
        assert await request_join(token, request(token), 10) == WELCOME
        assert seen == [request(token)]
        await until(lambda: server.connections == 0)


@pytest.mark.anyio
async def test_a_whole_cluster_fits_into_an_answer() -> None:
    members = tuple(
        msgspec.structs.replace(MEMBER, name=f"node-{number}" + "x" * 40, endpoint="tcp://" + "a.b" * 60 + ":1") for number in range(2048)
    )

    async def handler(_asked: JoinRequest) -> JoinReply:
        return msgspec.structs.replace(WELCOME, members=members)

    async with sponsor(handler) as (_server, token):
        assert (await request_join(token, request(token), 10)).members == members


@pytest.mark.anyio
async def test_joining_with_a_real_book_of_tokens_tells_every_case_apart() -> None:
    book = TokenBook(MemoryRecords())
    now = 1_700_000_000.0

    async def handler(asked: JoinRequest) -> JoinReply:
        await book.check(asked.token_id, asked.secret, asked.actor, now)
        if asked.name == "taken":
            raise UsageError("the name taken is taken", code=JoinCode.NAME_TAKEN)
        if asked.version_min > 1:
            return JoinReply(ok=False, code=JoinCode.VERSION_MISMATCH, message="this cluster speaks version 1")
        if asked.name == "one-too-many":
            return JoinReply(ok=False, code=JoinCode.CLUSTER_FULL, message="2048 members already")
        record = await book.redeem(asked.token_id, asked.secret, asked.actor, now)
        return msgspec.structs.replace(WELCOME, role=record.role)

    async with sponsor(handler) as (server, _token):

        async def make(uses: int = 1) -> Token:
            return await book.create([server.endpoint], SPONSOR.join_public, "san", role=Role.ADMIN, uses=uses, ttl_seconds=60, now=now)

        token = await make()
        for changes, code in (
            ({"name": "taken"}, JoinCode.NAME_TAKEN),
            ({"version_min": 2, "version_max": 3}, JoinCode.VERSION_MISMATCH),
            ({"name": "one-too-many"}, JoinCode.CLUSTER_FULL),
            ({"secret": bytes(32)}, TokenCode.UNKNOWN),
        ):
            error = await failure(token, asked=request(token, **changes))
            assert (type(error), error.code, bool(error.hint)) == (UsageError, code, True)
        assert (await request_join(token, request(token), 10)).role is Role.ADMIN
        assert (await request_join(token, request(token), 10)).ok
        error = await failure(token, asked=request(token, actor=b"3" * 16))
        assert (error.code, bool(error.hint)) == (TokenCode.USED, True)
        revoked = await make()
        await book.revoke(revoked.id, now)
        assert (await failure(revoked)).code == TokenCode.REVOKED
        expired = await make()
        now += 60
        assert (await failure(expired)).code == TokenCode.EXPIRED


@pytest.mark.anyio
async def test_the_next_endpoint_is_tried_when_one_is_refused_or_mute_or_has_no_name() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    mute = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with sponsor() as (server, token):
            several = (f"tcp://127.0.0.1:{free_port()}", "tcp://no-such-host.invalid:7947", mute, server.endpoint)
            assert await request_join(msgspec.structs.replace(token, endpoints=several), request(token), 4) == WELCOME
    finally:
        listening.close()


@pytest.mark.anyio
async def test_nobody_reached_names_every_endpoint_and_why() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    refused, mute = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    try:
        error = await failure(msgspec.structs.replace(TOKEN, endpoints=(refused, mute)), timeout=1)
    finally:
        listening.close()
    assert (type(error), error.code) == (UnavailableError, "join-unreachable")
    assert f"{refused}: connection refused" in error.message
    assert f"{mute}: connected, but its handshake was not answered in time" in error.message
    assert error.hint


@pytest.mark.anyio
async def test_another_node_behind_the_endpoint_is_a_bad_key() -> None:
    async with sponsor() as (server, token):
        error = await failure(msgspec.structs.replace(token, join_key=JOINER.join_public))
        assert (type(error), error.code) == (UsageError, "join-bad-key")
        assert server.endpoint in error.message
        assert server.answered == 0


@pytest.mark.anyio
async def test_a_sponsor_that_does_not_answer_in_time_is_named_and_not_asked_twice() -> None:
    asked = 0

    async def handler(_asked: JoinRequest) -> JoinReply:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with sponsor(handler) as (server, token):
        error = await failure(msgspec.structs.replace(token, endpoints=(server.endpoint, server.endpoint)), timeout=0.5)
        assert (type(error), error.code, asked) == (UnavailableError, "join-timeout", 1)
        assert server.endpoint in error.message


@pytest.mark.anyio
async def test_a_sponsor_that_dies_meanwhile_is_not_waited_for() -> None:
    async def handler(_asked: JoinRequest) -> JoinReply:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with sponsor(handler) as (server, token):
        asking = asyncio.create_task(failure(token, timeout=60))
        await until(lambda: bool(server._pending))
        await server.close()
        async with asyncio.timeout(5):
            assert (await asking).code == "join-timeout"


@pytest.mark.anyio
async def test_a_handler_that_hangs_or_breaks_is_answered(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(join, "ANSWER_SECONDS", 0.1)

    async def handler(asked: JoinRequest) -> JoinReply:
        if asked.name == "hang":
            await asyncio.Event().wait()
        raise LookupError("secret detail")

    async with sponsor(handler) as (_server, token):
        for name in ("hang", "break"):
            error = await failure(token, asked=request(token, name=name))
            assert (type(error), error.code) == (UnavailableError, JoinCode.FAILED)
            assert "secret detail" not in error.message
    assert "secret detail" in caplog.text


@pytest.mark.anyio
async def test_too_many_at_a_time_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "PENDING_MAX", 2)
    release = asyncio.Event()

    async def handler(_asked: JoinRequest) -> JoinReply:
        await release.wait()
        return WELCOME

    async with sponsor(handler) as (server, token):
        waiting = [asyncio.create_task(request_join(token, request(token), 10)) for _ in range(2)]
        await until(lambda: len(server._pending) == 2)
        error = await failure(token)
        assert (type(error), error.code) == (UnavailableError, JoinCode.BUSY)
        release.set()
        assert await asyncio.gather(*waiting) == [WELCOME, WELCOME]


@pytest.mark.anyio
async def test_handshakes_beyond_the_rate_are_refused_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "RATE_BURST", 2.0)
    monkeypatch.setattr(join, "RATE_PER_SECOND", 5.0)
    async with sponsor() as (_server, token):
        outcomes = await asyncio.gather(*(request_join(token, request(token), 10) for _ in range(8)), return_exceptions=True)
        codes = {outcome.code for outcome in outcomes if isinstance(outcome, UnavailableError)}
        assert codes == {JoinCode.BUSY}
        assert outcomes.count(WELCOME) >= 2

        async def again() -> bool:
            try:
                return (await request_join(token, request(token), 10)).ok
            except UnavailableError:
                return False

        async with asyncio.timeout(10):
            while not await again():
                await asyncio.sleep(0.05)


@pytest.mark.anyio
async def test_garbage_is_answered_or_dropped_and_the_next_joiner_served() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        async with sponsor() as (server, token):
            dealer = stranger(context, server.endpoint)
            for data in (b"", b"\xc1", b"\x91" * 3000, msgspec.msgpack.encode({"name": "n"}), msgspec.msgpack.encode([1, 2, 3])):
                dealer.send(data)
                await until(lambda: bool(dealer.poll(0)))
                assert decode_reply(dealer.recv()).code == JoinCode.MALFORMED
            dealer.send_multipart([b"two", b"frames"])
            dealer.send_multipart([b"x"] * 500)
            await until(lambda: server.dropped == 2)
            big = stranger(context, server.endpoint)
            big.send(bytes(join.REQUEST_MAX_BYTES + 1))
            assert await request_join(token, request(token), 10) == WELCOME
    finally:
        context.destroy(linger=0)


@pytest.mark.anyio
async def test_a_connection_that_carries_too_much_is_cut_off() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        async with sponsor() as (server, token):
            dealer = stranger(context, server.endpoint)
            monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            dealer.send(b"ping")
            await until(lambda: bool(dealer.poll(0)))
            for _ in range(60):
                dealer.send(bytes(3000))
            await until(lambda: bool(monitor.poll(0)))
            assert await request_join(token, request(token), 10) == WELCOME
            dealer.disable_monitor()
    finally:
        context.destroy(linger=0)


@pytest.mark.anyio
async def test_connections_that_stay_are_shut_and_beyond_the_most_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "CONNECTIONS_MAX", 5)
    monkeypatch.setattr(join, "CONNECTION_SECONDS", 0.3)
    async with sponsor() as (server, token):
        host, port = server.endpoint.removeprefix("tcp://").split(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        await until(lambda: server.connections <= 5)
        async with asyncio.timeout(2):  # well below the handshake's own time-out
            for reader, _writer in idle:
                with suppress(ConnectionError):
                    await reader.read()
        await until(lambda: server.connections == 0)
        for _reader, writer in idle:
            writer.close()
        assert await request_join(token, request(token), 10) == WELCOME


@pytest.mark.anyio
async def test_an_occupied_port_is_told_with_its_setting() -> None:
    async with sponsor() as (server, _token):
        with pytest.raises(UnavailableError) as caught:
            JoinServer(server.endpoint, SPONSOR, welcome)
        assert caught.value.code == "address-in-use"
        assert "gossip.join_listen" in caught.value.message


@pytest.mark.anyio
async def test_what_a_sponsor_says_cannot_steer_a_terminal() -> None:
    async def handler(_asked: JoinRequest) -> JoinReply:
        return JoinReply(ok=False, code="later-code", message="no\x1b[2J\nway")

    async with sponsor(handler) as (_server, token):
        error = await failure(token)
        assert (type(error), error.code) == (UsageError, "later-code")
        assert error.message.endswith("no [2J way")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a" * 64},
        {"name": "-a"},
        {"name": "a\n"},
        {"name": "a/b"},
        {"actor": b"x"},
        {"secret": b""},
        {"curve_key": "~" * 40},
        {"curve_key": "x"},
        {"signing_key": bytes(31)},
        {"endpoint": "tcp://*:1"},
        {"endpoint": "x" * 300},
        {"version_min": 2},
        {"version_max": -1},
        {"version_max": 70_000},
        {"token_id": "../../../.."},
        {"token_id": "0123456789\n"},
    ],
)
def test_a_request_is_checked_in_every_field(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        decode_request(msgspec.msgpack.encode(request(TOKEN, **changes)))
    assert caught.value.code == JoinCode.MALFORMED


def test_messages_survive_the_wire_and_later_fields_are_ignored() -> None:
    for message, decode in ((request(), decode_request), (WELCOME, decode_reply)):
        data = msgspec.msgpack.encode(message)
        assert decode(data) == message
        assert decode(msgspec.msgpack.encode({**msgspec.msgpack.decode(data), "later": [1, {"x": 2}]})) == message
    assert len(msgspec.msgpack.encode(request(name="n" * 63, endpoint="tcp://" + "a." * 120 + "b:1"))) < join.REQUEST_MAX_BYTES
    assert repr(TOKEN.secret) not in repr(request())
    early = {name: value for name, value in msgspec.msgpack.decode(msgspec.msgpack.encode(request(level=9))).items() if name != "level"}
    assert decode_request(msgspec.msgpack.encode(early)).level == FIRST, "one that says nothing speaks the first level"


@given(
    st.binary(max_size=400)
    | st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ).map(msgspec.msgpack.encode)
)
def test_decoding_raises_nothing_but_usage_errors(data: bytes) -> None:
    for decode in (decode_request, decode_reply):
        with pytest.raises(UsageError) as caught:
            decode(data)
        assert caught.value.code == JoinCode.MALFORMED


@given(
    field=st.sampled_from(JoinRequest.__struct_fields__),
    value=st.none() | st.integers(-10, 70_000) | st.text(max_size=70) | st.binary(max_size=40),
)
def test_a_request_with_one_odd_field_is_taken_or_refused(field: str, value: object) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(request()))
    try:
        data = msgspec.msgpack.encode({**fields, field: value})
    except UnicodeEncodeError:
        return
    try:
        taken = decode_request(data)
    except UsageError:
        return
    assert getattr(taken, field) == value
