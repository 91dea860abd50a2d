"""The transport over ZeroMQ: one ROUTER that only receives, one DEALER a peer that only sends, CURVE on all of them.

Identity is the client key that the CURVE handshake proved (`User-Id`), never the routing id, which a client chooses. Plain sockets on
the event loop's own selector are used, not `zmq.asyncio`, whose futures cost several times what the message itself does.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from gossip.addresses import parse_endpoint
from gossip.keys import NodeKeys
from gossip.link import ZAP_DOMAIN, Link, set_mesh_options
from gossip.sockets import Authenticator, ConnectionGuard, bind_curve_server, make_context, shut_connection
from gossip.transport import Frames, MessageReceived, Sink
from store.limits import limit

RECEIVE_SECONDS = limit("receive_ms") / 1000
SPARE_CONNECTIONS = 256
"""Inbound connections beyond two a peer (an old one may linger while its successor connects): joiners, strangers, port scans."""


@dataclass(slots=True)
class Counters:
    """What the transport did since it was made."""

    received: int = 0
    """Messages given to the sink."""
    sent: int = 0
    refused: int = 0
    """Handshakes refused, and messages dropped, because their key is not allowed."""
    dropped_bad_frames: int = 0
    """Messages that were not exactly two frames."""
    connections_shut: int = 0
    """Connections beyond the most, or with too much in them that was not read."""
    bytes_sent: int = 0
    bytes_received: int = 0


class ZeroMQTransport:
    """The `Transport` of a real node. To be made and used on the event loop's thread.

    `listen` is `tcp://HOST:PORT` (port 0: any free one; `endpoint` then says which). `allowed(key)` is asked at each handshake and for
    each message; `knocked(key)` is told whom it refuses. Raises UnavailableError (`address-in-use`, …) or UsageError (`bad-endpoint`).
    """

    def __init__(
        self, keys: NodeKeys, listen: str, allowed: Callable[[str], bool], sink: Sink, *, knocked: Callable[[str], None] | None = None
    ) -> None:
        self.counters = Counters()
        self._keys = keys
        self._allowed = allowed
        self._sink = sink
        self._knocked = knocked
        self._loop = asyncio.get_running_loop()
        self._links: dict[str, Link] = {}
        self._removed: set[str] = set()
        self._closed = False
        self._context = make_context()
        self._authenticator = Authenticator(self._context, ZAP_DOMAIN, self._admits)
        self._router = self._context.socket(zmq.ROUTER)
        try:
            set_mesh_options(self._router)
            self.endpoint = bind_curve_server(
                self._router,
                listen,
                public=keys.mesh_public,
                secret=keys.mesh_secret,
                domain=ZAP_DOMAIN,
                setting="gossip.listen",
            )
        except BaseException:
            self._authenticator.close()
            self._context.destroy(linger=0)
            raise
        self._port = parse_endpoint(self.endpoint, listening=True).port
        self._guard = ConnectionGuard(
            self._router,
            self._port,
            most=lambda: 2 * len(self._links) + SPARE_CONNECTIONS,
            unread_each=limit("unread_bytes"),
            on_shut=self._count_shut,
        )
        self._descriptor: int = self._router.FD
        self._loop.add_reader(self._descriptor, self._on_readable)

    def add_peer(self, key: str, endpoint: str) -> None:
        """See `Transport`. A malformed key or endpoint, which can only come from another node, leaves the peer down and is logged."""
        self._removed.discard(key)
        link = self._links.get(key)
        if link is None:
            self._links[key] = link = Link(self._context, self._keys, key, endpoint, self._sink)
            link.open()
        elif link.endpoint != endpoint:
            link.endpoint = endpoint
            link.remake()

    def remove_peer(self, key: str) -> None:
        """See `Transport`. What the peer still sends is dropped, and its connection shut at its next message."""
        self._removed.add(key)
        link = self._links.pop(key, None)
        if link is not None:
            link.close(last_words=True)

    def remake(self, key: str) -> None:
        """Connect to the peer anew: for one that is up and yet never answers. Unknown keys are ignored."""
        link = self._links.get(key)
        if link is not None:
            link.remake()

    def send(self, key: str, frames: Frames) -> bool:
        """See `Transport`. A frame above the limit `frame_bytes` is a fault of this program: ValueError."""
        link = self._links.get(key)
        if link is None or not link.up or not link.send(frames):
            return False
        self.counters.sent += 1
        self.counters.bytes_sent += len(frames[0]) + len(frames[1])
        return True

    @property
    def connections(self) -> int:
        """Inbound connections open now, strangers' included."""
        return self._guard.connections

    def close(self) -> None:
        """See `Transport`."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._guard.close()
        self._authenticator.close()
        self._context.destroy(linger=0)

    def _admits(self, key: str) -> bool:
        if key not in self._removed and self._allowed(key):
            return True
        self.counters.refused += 1
        if self._knocked is not None:
            self._knocked(key)
        return False

    def _count_shut(self) -> None:
        self.counters.connections_shut += 1

    def _on_readable(self) -> None:
        # The descriptor will not fire again for what is left here, be it for the batch's end or for an error in the sink.
        unfinished = True
        try:
            unfinished = self._receive_batch()
        finally:
            if unfinished:
                self._loop.call_soon(self._on_readable)

    def _receive_batch(self) -> bool:
        receive = self._router.recv
        counters = self.counters
        end = time.monotonic() + RECEIVE_SECONDS
        while time.monotonic() < end:
            if self._closed:
                return False
            try:
                receive(zmq.NOBLOCK)
            except zmq.Again:
                return False
            # A message of several frames is there as a whole, so these cannot block.
            header = receive(zmq.NOBLOCK, False, False)
            if not header.more:
                counters.dropped_bad_frames += 1
                continue
            body = receive(zmq.NOBLOCK, False, False)
            if body.more:
                self._skip_message()
                continue
            key = str(header.get("User-Id"))
            connection = int(header.get(zmq.SRCFD))
            if not self._admits(key):
                shut_connection(connection, self._port)
                continue
            message = MessageReceived(key, header.bytes, body.bytes)
            self._guard.taken(connection, len(message.header), len(message.body))
            counters.received += 1
            counters.bytes_received += len(message.header) + len(message.body)
            link = self._links.get(key)
            if link is not None and not link.up:
                link.hurry()
            self._sink(message)
        return True

    def _skip_message(self) -> None:
        while self._router.recv(zmq.NOBLOCK, False, False).more:
            pass
        self.counters.dropped_bad_frames += 1
