"""The joiner's side of the join socket: ask the sponsor that made a token, and tell apart why it did not work."""

import asyncio
from enum import Enum

import msgspec
import zmq

from gossip.addresses import Endpoint, parse_endpoint
from gossip.join_messages import HANDSHAKE_SECONDS, ZAP_DOMAIN, JoinCode, JoinReply, JoinRequest, decode_reply
from gossip.sockets import Monitor, make_context, resolve, set_dead_peer_options
from gossip.tokens import Token, TokenCode
from store.errors import PathmeshError, UnavailableError, UsageError
from store.limits import limit

BAD_KEY = "join-bad-key"
UNREACHABLE = "join-unreachable"
TIMED_OUT = "join-timeout"

_ATTEMPT_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_NEW_TOKEN = "make a new one on a node of the cluster: pathmesh token create"
_HINTS: dict[str, str] = {
    TokenCode.EXPIRED: _NEW_TOKEN,
    TokenCode.USED: _NEW_TOKEN,
    TokenCode.REVOKED: _NEW_TOKEN,
    TokenCode.UNKNOWN: "a token is accepted only by the node that made it; make a new one there: pathmesh token create",
    JoinCode.NAME_TAKEN: "choose another name: pathmesh join TOKEN --name NAME",
    JoinCode.CLUSTER_FULL: "retire members that are gone for good: pathmesh member retire NAME",
    JoinCode.VERSION_MISMATCH: "run the same version of pathmesh on both nodes",
}


class _Stage(Enum):
    """How far an attempt came, in the words for what did not follow."""

    CONNECTING = "no connection"
    SHAKING = "connected, but its handshake was not answered"
    ASKED = "asked, but there was no answer"


class _NotAskedError(Exception):
    """One endpoint could not be asked, so the next one may be."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


class _Attempt:
    """One request over one connection: `asked` becomes None when the request has left, `answer` the reply or None if there will be none."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], target: Endpoint, join_key: str, payload: bytes) -> None:
        self._payload = payload
        self._loop = asyncio.get_running_loop()
        self.stage = _Stage.CONNECTING
        self.asked: asyncio.Future[_NotAskedError | None] = self._loop.create_future()
        self.answer: asyncio.Future[bytes | None] = self._loop.create_future()
        dealer = self._dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.set(zmq.MAXMSGSIZE, limit("frame_bytes"))
        set_dead_peer_options(dealer)
        dealer.set(zmq.IMMEDIATE, 1)
        dealer.set(zmq.RECONNECT_IVL, -1)
        dealer.set(zmq.HANDSHAKE_IVL, int(HANDSHAKE_SECONDS * 1000))
        dealer.set(zmq.IPV6, 1 if target.is_ipv6 else 0)
        dealer.curve_serverkey = join_key.encode()
        dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
        dealer.zap_domain = ZAP_DOMAIN.encode()
        self._monitor = Monitor(dealer, _ATTEMPT_EVENTS, self._on_event)
        self._descriptor: int = dealer.FD
        self._loop.add_reader(self._descriptor, self._on_readable)
        dealer.connect(str(target))

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._monitor.close()
        self._dealer.close()

    def _on_event(self, event: int, _value: int) -> None:
        if event == zmq.EVENT_CONNECTED:
            self.stage = _Stage.SHAKING
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._ask()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._fail(_NotAskedError(JoinCode.BUSY, "too many strangers are knocking there"))
        elif event in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
            self._fail(_NotAskedError(BAD_KEY, "the handshake failed"))
        else:
            lost = "connection refused" if self.stage is _Stage.CONNECTING else "connection lost"
            self._fail(_NotAskedError(UNREACHABLE, lost))

    def _ask(self) -> None:
        # Asking for EVENTS makes libzmq notice the connection that its monitor has just told of.
        if int(self._dealer.getsockopt(zmq.EVENTS)) & zmq.POLLOUT:
            self._dealer.send(self._payload, zmq.NOBLOCK)
            self.stage = _Stage.ASKED
            if not self.asked.done():
                self.asked.set_result(None)
            # Sending may have consumed the descriptor's signal.
            self._on_readable()

    def _on_readable(self) -> None:
        try:
            frames = self._dealer.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        if not self.answer.done():
            self.answer.set_result(frames[0])

    def _fail(self, failure: _NotAskedError) -> None:
        if not self.asked.done():
            self.asked.set_result(failure)
        elif not self.answer.done():
            self.answer.set_result(None)


async def request_join(token: Token, request: JoinRequest, timeout: float) -> JoinReply:  # noqa: ASYNC109 (a budget for several attempts)
    """Ask the sponsor that made `token` to let this node in, trying its endpoints in turn within `timeout` seconds altogether.

    Returns only a reply that is `ok`. Raises UsageError for a refusal (a `TokenCode`, `name-taken`, `cluster-full`,
    `version-mismatch`, …) and if the wrong node answers (`join-bad-key`); UnavailableError if no endpoint could be asked
    (`join-unreachable`, naming them all), if no answer came (`join-timeout`) or the sponsor could not decide (`join-busy`,
    `join-failed`). Once one endpoint was asked no other one is. Asking again with the same request is safe.
    """
    payload = msgspec.msgpack.encode(request)
    deadline = asyncio.get_running_loop().time() + timeout
    failures: dict[str, _NotAskedError] = {}
    context = make_context()
    try:
        for position, endpoint in enumerate(token.endpoints):
            remaining = len(token.endpoints) - position
            try:
                answer = await _ask(context, endpoint, token.join_key, payload, remaining, deadline)
            except _NotAskedError as failure:
                failures[endpoint] = failure
            else:
                return _accept(endpoint, answer)
    finally:
        context.destroy(linger=0)
    raise _none_asked(failures)


async def _ask(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, join_key: str, payload: bytes, remaining: int, deadline: float
) -> bytes:
    now = asyncio.get_running_loop().time()
    give_up = now + max(0.0, deadline - now) / remaining
    try:
        async with asyncio.timeout_at(give_up):
            target = await resolve(parse_endpoint(endpoint))
    except OSError as error:  # TimeoutError is one
        raise _NotAskedError(UNREACHABLE, f"its name cannot be resolved ({error.strerror or 'no answer'})") from None
    attempt = _Attempt(context, target, join_key, payload)
    answer: bytes | None = None
    try:
        async with asyncio.timeout_at(give_up):
            failure = await attempt.asked
        if failure is not None:
            raise failure
        async with asyncio.timeout_at(deadline):
            answer = await attempt.answer
    except TimeoutError:
        if attempt.stage is not _Stage.ASKED:
            raise _NotAskedError(UNREACHABLE, f"{attempt.stage.value} in time") from None
    finally:
        attempt.close()
    if answer is None:
        raise UnavailableError(
            f"sponsor {endpoint}: {_Stage.ASKED.value}",
            code=TIMED_OUT,
            hint="ask again; if this node was let in meanwhile, the same token still works for it",
        )
    return answer


def _accept(endpoint: str, answer: bytes) -> JoinReply:
    reply = decode_reply(answer)
    if reply.ok:
        return reply
    # The text comes from elsewhere and goes to a terminal.
    said = "".join(character if character.isprintable() else " " for character in reply.message)
    message = f"sponsor {endpoint}: {said or reply.code}"
    if reply.code in (JoinCode.BUSY, JoinCode.FAILED):
        raise UnavailableError(message, code=reply.code, hint="ask again in a while")
    raise UsageError(message, code=reply.code, hint=_HINTS.get(reply.code, ""))


def _none_asked(failures: dict[str, _NotAskedError]) -> PathmeshError:
    told = "; ".join(f"{endpoint}: {failure.why}" for endpoint, failure in failures.items())
    codes = {failure.code for failure in failures.values()}
    if BAD_KEY in codes:
        return UsageError(
            f"what listens there is not the node that made this token ({told})",
            code=BAD_KEY,
            hint="check that the token is of this cluster, and that the address leads to that node's join port",
        )
    if JoinCode.BUSY in codes:
        return UnavailableError(f"no sponsor could be asked ({told})", code=JoinCode.BUSY, hint="ask again in a while")
    return UnavailableError(
        f"no sponsor could be reached ({told})",
        code=UNREACHABLE,
        hint="check that the agent runs on the node that made the token, and that its join port is open from here",
    )
