"""The join socket of a sponsor, where a node that is not a member yet asks to be let in.

The sponsor listens with a CURVE key of its own that the token carries, so the joiner knows whom it talks to and the secret travels
encrypted. Any client key may connect; the token's secret is what admits. One message of one frame asks, one answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
import zmq

from gossip.addresses import parse_endpoint
from gossip.join_client import request_join
from gossip.join_messages import (
    HANDSHAKE_SECONDS,
    ZAP_DOMAIN,
    JoinCode,
    JoinMember,
    JoinReply,
    JoinRequest,
    decode_request,
)
from gossip.keys import NodeKeys
from gossip.sockets import Authenticator, ConnectionGuard, bind_curve_server, make_context
from store.errors import PathmeshError, UsageError

__all__ = ["Handler", "JoinCode", "JoinMember", "JoinReply", "JoinRequest", "JoinServer", "request_join"]

logger = logging.getLogger(__name__)

REQUEST_MAX_BYTES = 4096
"""A request is some 500 bytes; the greatest valid one fits."""
CONNECTION_MAX_BYTES = 64 * 1024
"""What one connection may carry in: handshake and a request need under 8 KiB."""
CONNECTION_SECONDS = 30.0
CONNECTIONS_MAX = 64
PENDING_MAX = 16
"""Requests being answered at a time: each of them waits for a commit."""
ANSWER_SECONDS = 20.0
RATE_PER_SECOND = 10.0
RATE_BURST = 50.0
"""Handshakes, and requests, taken at once and then each second; beyond, the stranger is refused and may come again."""

Handler = Callable[[JoinRequest], Awaitable[JoinReply]]


class _Bucket:
    """A token bucket: `burst` at once, then `rate` a second."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._at = burst, clock()

    def take(self) -> bool:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class JoinServer:
    """Listens for joiners and has `handler` answer each of them. To be made and used on the event loop's thread.

    A PathmeshError that the handler raises is answered with its code and message; anything else is logged and answered `join-failed`.
    `endpoint` is the address it really has. Raises UnavailableError (`address-in-use`, …) or UsageError (`bad-endpoint`).
    """

    def __init__(self, listen: str, keys: NodeKeys, handler: Handler) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._handshakes = _Bucket(RATE_PER_SECOND, RATE_BURST, self._loop.time)
        self._requests = _Bucket(RATE_PER_SECOND, RATE_BURST, self._loop.time)
        self._pending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.answered = 0
        self.dropped = 0
        """Requests of more than one frame, and answers whose asker was gone."""
        self._context = make_context()
        self._authenticator = Authenticator(self._context, ZAP_DOMAIN, lambda _key: self._handshakes.take())
        self._router = self._context.socket(zmq.ROUTER)
        try:
            self._router.set(zmq.MAXMSGSIZE, REQUEST_MAX_BYTES)
            self._router.set(zmq.HANDSHAKE_IVL, int(HANDSHAKE_SECONDS * 1000))
            # An answer whose asker is gone is reported instead of kept.
            self._router.set(zmq.ROUTER_MANDATORY, 1)
            self._router.sndhwm = 1
            self.endpoint = bind_curve_server(
                self._router,
                listen,
                public=keys.join_public,
                secret=keys.join_secret,
                domain=ZAP_DOMAIN,
                setting="gossip.join_listen",
            )
        except BaseException:
            self._authenticator.close()
            self._context.destroy(linger=0)
            raise
        self._guard = ConnectionGuard(
            self._router,
            parse_endpoint(self.endpoint, listening=True).port,
            most=lambda: CONNECTIONS_MAX,
            seconds=CONNECTION_SECONDS,
            bytes_each=CONNECTION_MAX_BYTES,
        )
        self._descriptor: int = self._router.FD
        self._loop.add_reader(self._descriptor, self._on_readable)

    @property
    def connections(self) -> int:
        """Connections open now, strangers' included."""
        return self._guard.connections

    async def close(self) -> None:
        """Stop listening at once; requests under way are cancelled and get no answer."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        self._guard.close()
        self._authenticator.close()
        self._context.destroy(linger=0)

    def _on_readable(self) -> None:
        while not self._closed:
            try:
                sender = self._router.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            frame = self._router.recv(zmq.NOBLOCK, False, False)
            if not frame.more:
                self._take(sender, frame.bytes)
                continue
            self.dropped += 1
            while frame.more:  # one at a time: a stranger's message may have any number
                frame = self._router.recv(zmq.NOBLOCK, False, False)

    def _take(self, sender: bytes, data: bytes) -> None:
        if len(self._pending) >= PENDING_MAX or not self._requests.take():
            self._send(sender, _refusal(JoinCode.BUSY, "too many nodes are joining at this moment"))
            return
        try:
            request = decode_request(data)
        except UsageError as error:
            self._send(sender, _refusal(error.code, error.message))
            return
        task = self._loop.create_task(self._answer(sender, request))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _answer(self, sender: bytes, request: JoinRequest) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reply = await self._handler(request)
        except PathmeshError as error:
            reply = _refusal(error.code, error.message)
        except TimeoutError:
            reply = _refusal(JoinCode.FAILED, "the sponsor could not answer in time")
        except Exception:
            logger.exception("join request of %s failed", request.name)
            reply = _refusal(JoinCode.FAILED, "the sponsor failed; its log says why")
        self._send(sender, reply)

    def _send(self, sender: bytes, reply: JoinReply) -> None:
        try:
            self._router.send_multipart([sender, msgspec.msgpack.encode(reply)], zmq.NOBLOCK)
            self.answered += 1
        except zmq.ZMQError:
            # The asker is gone, or does not read. It can ask again.
            self.dropped += 1
        # Sending may have consumed the descriptor's signal for a request that came meanwhile.
        self._loop.call_soon(self._on_readable)


def _refusal(code: str, message: str) -> JoinReply:
    return JoinReply(ok=False, code=code[:64], message=message[:1024])
