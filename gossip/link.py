"""Our connection to one peer: its DEALER, what its monitor tells, and when it is made anew.

    connecting ──connected──> shaking hands ──succeeded──> up ──disconnected──> connecting   (the DEALER reconnects by itself)
                                    └──refused, failed, or 5 s──> waiting ──0.2 → 5 s──> connecting   (with a new DEALER)

A new DEALER is needed there because one that was refused once never tries again (libzmq 4.3.5), even when its key is allowed later; and
a node that has just joined does meet peers that have not heard of it yet. A peer that is heard while there is no connection to it can be
reached, so the next attempt need not wait: without that, one that was away is connected to as late as its own absence made the waits long.
"""

import asyncio
import logging
from collections.abc import Callable

import zmq

from gossip.addresses import Endpoint, is_curve_key, parse_endpoint
from gossip.keys import NodeKeys
from gossip.sockets import CURVE_OVERHEAD_BYTES, Monitor, resolve, set_dead_peer_options
from gossip.transport import Frames, PeerDown, PeerUp, Sink
from store.errors import UsageError
from store.limits import limit

logger = logging.getLogger(__name__)

ZAP_DOMAIN = "pathmesh"
SEND_BUFFER_MESSAGES = 16
"""A DEALER's queue. Short: the engine above makes one digest of all that does not fit, and this queue cannot."""
FAREWELL_MS = 500
HANDSHAKE_SECONDS = 5.0
CONNECT_TIMEOUT_MS = 5000
"""Left to itself, TCP spaces its attempts up to a minute apart, so a healed partition would stay cut for as long."""
RECONNECT_MS = 100
RECONNECT_MAX_MS = 5000
REMAKE_SECONDS = 0.2
REMAKE_MAX_SECONDS = 5.0
HURRY_SECONDS = 0.2
"""An attempt has at least so long before one that is hurried replaces it; twice that each time, up to `REMAKE_MAX_SECONDS`."""

_LINK_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_FRAME_BYTES = limit("frame_bytes")


def set_mesh_options(socket: zmq.Socket[bytes]) -> None:
    """The options that every mesh socket has, the ROUTER too."""
    socket.linger = 0
    socket.set(zmq.MAXMSGSIZE, _FRAME_BYTES + CURVE_OVERHEAD_BYTES)
    socket.set(zmq.HANDSHAKE_IVL, int(HANDSHAKE_SECONDS * 1000))
    set_dead_peer_options(socket)


class Link:
    """Our connection to one peer: its DEALER, and when that is made anew."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: NodeKeys, key: str, endpoint: str, sink: Sink) -> None:
        self.endpoint = endpoint
        self.up = False
        self._context = context
        self._keys = keys
        self._key = key
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._dealer: zmq.Socket[bytes] | None = None
        self._monitor: Monitor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._backoff = REMAKE_SECONDS
        self._attempts = 0
        self._told_down = False
        self._shaking_hands = False
        self._opened = self._loop.time()
        self._patience = HURRY_SECONDS

    def open(self) -> None:
        """Make the DEALER and connect it."""
        self._timer = None
        self._opened = self._loop.time()
        try:
            endpoint = parse_endpoint(self.endpoint)
            if not is_curve_key(self._key):
                raise UsageError(f"peer key {self._key[:40]!r} is not a CURVE public key")
        except UsageError as error:
            logger.warning("peer cannot be connected to: %s", error.message)
            return
        if endpoint.is_numeric:
            self._connect(endpoint, _LINK_EVENTS)
        else:
            self._resolving = self._loop.create_task(self._resolve_and_connect(endpoint))

    def send(self, frames: Frames) -> bool:
        header, body = frames
        if len(header) > _FRAME_BYTES or len(body) > _FRAME_BYTES:
            raise ValueError("a frame is longer than any peer accepts")
        dealer = self._dealer
        if dealer is None:
            return False
        try:
            dealer.send(header, zmq.NOBLOCK | zmq.SNDMORE)
            dealer.send(body, zmq.NOBLOCK)
        except zmq.Again:
            # libzmq looks at most once a millisecond whether room was made or the connection attached; asking for EVENTS looks now.
            if not int(dealer.getsockopt(zmq.EVENTS)) & zmq.POLLOUT:
                return False
            try:
                dealer.send(header, zmq.NOBLOCK | zmq.SNDMORE)
                dealer.send(body, zmq.NOBLOCK)
            except zmq.Again:
                return False
        return True

    def remake(self) -> None:
        """Connect anew, at once. The sink hears of the loss after the caller has returned, never from within its own call."""
        self._drop()
        self.open()
        self._loop.call_soon(self._tell_down)

    def hurry(self) -> None:
        """The peer was heard: if there is no connection to it, try now."""
        if self.up or self._shaking_hands or self._resolving is not None or self._loop.time() - self._opened < self._patience:
            return
        self._patience = min(self._patience * 2, REMAKE_MAX_SECONDS)
        self._drop()
        self.open()

    def close(self, *, last_words: bool = False) -> None:
        """Silent: whoever removes a peer needs no telling. `last_words`: what was handed over may still leave, for a moment.

        That is how a member that is taken out of the cluster learns of it.
        """
        self._drop(linger_ms=FAREWELL_MS if last_words else 0)
        self._told_down = True

    async def _resolve_and_connect(self, endpoint: Endpoint) -> None:
        try:
            target = await resolve(endpoint, self._attempts)
        except OSError as error:
            logger.info("peer address %s cannot be resolved: %s", self.endpoint, error)
            self._retry()
            return
        self._attempts += 1
        # The name may mean another address next time, so a failed connection comes back here instead of trying the old one for ever.
        self._connect(target, _LINK_EVENTS | zmq.EVENT_CLOSED)

    def _connect(self, target: Endpoint, events: int) -> None:
        dealer = self._context.socket(zmq.DEALER)
        set_mesh_options(dealer)
        dealer.curve_serverkey = self._key.encode()
        dealer.curve_publickey = self._keys.mesh_public.encode()
        dealer.curve_secretkey = self._keys.mesh_secret.encode()
        dealer.zap_domain = ZAP_DOMAIN.encode()
        dealer.set(zmq.IMMEDIATE, 1)
        dealer.set(zmq.IPV6, 1 if target.is_ipv6 else 0)
        dealer.set(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
        dealer.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        dealer.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        dealer.sndhwm = SEND_BUFFER_MESSAGES
        # Nothing is ever read from it, so a peer that answers through it fills one slot and then only its own buffers. Its input then
        # stays stopped for good, and what is stopped answers no ZMTP PING (see `set_dead_peer_options`).
        dealer.rcvhwm = 1
        self._dealer = dealer
        self._monitor = Monitor(dealer, events, self._on_event)
        dealer.connect(str(target))

    def _on_event(self, event: int, _value: int) -> None:
        if event == zmq.EVENT_CONNECTED:
            self._shaking_hands = True
            self._set_timer(HANDSHAKE_SECONDS, self._retry)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._cancel_timer()
            self._backoff = REMAKE_SECONDS
            self._patience = HURRY_SECONDS
            self._shaking_hands = False
            self.up = True
            self._told_down = False
            self._sink(PeerUp(self._key))
        elif event == zmq.EVENT_DISCONNECTED:
            self._cancel_timer()
            self._shaking_hands = False
            self.up = False
            self._tell_down()
        else:  # a failed handshake, or for a named peer a failed connection
            self._retry()

    def _retry(self) -> None:
        self._drop()
        self._set_timer(self._backoff, self.open)
        self._backoff = min(self._backoff * 2, REMAKE_MAX_SECONDS)
        self._tell_down()

    def _tell_down(self) -> None:
        if not self._told_down:
            self._told_down = True
            self._sink(PeerDown(self._key))

    def _drop(self, *, linger_ms: int = 0) -> None:
        self.up = False
        self._shaking_hands = False
        self._cancel_timer()
        if self._resolving is not None:
            if self._resolving is not asyncio.current_task(self._loop):
                self._resolving.cancel()
            self._resolving = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._dealer is not None:
            self._dealer.close(linger=linger_ms)
            self._dealer = None

    def _set_timer(self, seconds: float, action: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
