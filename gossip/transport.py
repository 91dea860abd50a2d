"""The port between the protocol and the wire: what a transport takes, what it promises, what it reports.

A transport carries whole messages (two frames: header, body) between peers that are known by their CURVE public key. It never
blocks, never raises for a peer's fault, and keeps no queue worth the name: a message that cannot leave now is refused and the caller
may forget it (the engine notes what it owes the peer instead). Everything that happens is told to one sink, on the event loop's thread.

    add_peer(key, endpoint)   connect; may be called again with another endpoint
    remove_peer(key)          close; nothing more is received from it
    send(key, frames)         True: handed to the socket. False: not connected, or its buffer is full; try again at the next `PeerUp`
    close()                   drop everything at once

Reported to the sink: `MessageReceived` (exactly two frames, from a key that authenticated; whether that key is a member is checked by
the receiver, for every message), `PeerUp` (our connection to the peer finished its handshake), `PeerDown` (it was lost). `Knocked` tells
the engine of a key that was refused; a transport may report it apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Frames = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Two frames arrived from the authenticated peer `key` (z85 text of its CURVE public key, 40 characters)."""

    key: str
    header: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class PeerUp:
    """Our connection to `key` is established and authenticated; sends are accepted now."""

    key: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """Our connection to `key` was lost, or was refused. The transport keeps trying by itself."""

    key: str


@dataclass(frozen=True, slots=True)
class Knocked:
    """Whoever has `key` tried to connect here, or sent something, and may not."""

    key: str


TransportEvent = MessageReceived | PeerUp | PeerDown | Knocked
Sink = Callable[[TransportEvent], None]


class Transport(Protocol):
    """The three methods (and their opposite ends) that the runner needs."""

    def add_peer(self, key: str, endpoint: str) -> None:
        """Connect to the peer with this public key; idempotent; a changed endpoint replaces the connection."""

    def remove_peer(self, key: str) -> None:
        """Close the connection to the peer; unknown keys are ignored."""

    def send(self, key: str, frames: Frames) -> bool:
        """Hand one message to the peer's socket without blocking. False means: not now."""

    def close(self) -> None:
        """Close every socket at once, undelivered messages included."""
