"""What the mesh and the join socket share: contexts, binding, the CURVE authenticator, socket monitors, and connection limits.

All of it is driven by `loop.add_reader` on the sockets' descriptors. Such a descriptor is edge-triggered: it says "look again", not
"there is something", so whoever is called drains its socket until it would block.
"""

import asyncio
import errno
import itertools
import os
import resource
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from gossip.addresses import Endpoint, parse_endpoint
from store.errors import UnavailableError, UsageError
from store.limits import limit, web_connections

SOCKETS_PER_PEER = 3  # the DEALER and both ends of its monitor
DESCRIPTORS_PER_PEER = 5  # one for each of those, and the TCP connections in both directions
DESCRIPTORS_ELSEWHERE = 256 + web_connections()  # database, local API clients, sysfs reads, libzmq's own; the web page

CURVE_OVERHEAD_BYTES = 33
"""libzmq compares a frame's size as encrypted: with command name, nonce, authenticator and flags (ZeroMQ RFC 26)."""
DEAD_AFTER_MS = 6000
"""How long sent data may stay unacknowledged, or a full peer take nothing, until the kernel ends it all (tcp(7): TCP_USER_TIMEOUT)."""
KEEPALIVE_IDLE_SECONDS = 5
KEEPALIVE_INTERVAL_SECONDS = 2
KEEPALIVE_COUNT = 3

GUARD_INTERVAL_SECONDS = 0.1
GUARD_LOOKS = 128
"""Connections that are looked at each time, in turn; one look costs some 4 µs."""
_TCP_BYTES_RECEIVED = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h, since 4.1)

_monitor_numbers = itertools.count()


def make_context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context with room for the largest cluster (libzmq's default is 1,023 sockets)."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, limit("members") * SOCKETS_PER_PEER + 64)
    return context


def check_file_limit(members: int) -> None:
    """Make sure that this process may open enough files for a cluster of `members`, raising the soft limit to the hard one if need be.

    Raises UnavailableError (`file-limit`) if even the hard limit is too low.
    """
    wanted = members * DESCRIPTORS_PER_PEER + DESCRIPTORS_ELSEWHERE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UnavailableError(
            f"{members} members need {wanted} open files, but this process may have {hard}",
            code="file-limit",
            hint=f"set LimitNOFILE={wanted} or more in the systemd unit (or raise 'ulimit -Hn')",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def set_dead_peer_options(socket: zmq.Socket[bytes]) -> None:
    """Let the kernel find dead connections, not libzmq.

    libzmq 4.3.5 can do it too (ZMTP heartbeats), but aborts the process if one is due, or one of the peer's is to be answered, on a
    connection that was lost while its queue was full. So none is ever asked for, and no listening socket has a queue that gets full.
    """
    socket.set(zmq.TCP_MAXRT, DEAD_AFTER_MS)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_SECONDS)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_SECONDS)
    socket.set(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT)


async def resolve(endpoint: Endpoint, attempt: int = 0) -> Endpoint:
    """The endpoint with an address for its name; `attempt` counts through the addresses of a name that has several. Raises OSError.

    libzmq is never given a name: it would look it up in its I/O thread and stop all its traffic for a slow resolver.
    """
    if endpoint.is_numeric:
        return endpoint
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return Endpoint(str(found[attempt % len(found)][4][0]), endpoint.port)


def bind_curve_server(router: zmq.Socket[bytes], listen: str, *, public: str, secret: str, domain: str, setting: str) -> str:
    """Make `router` a CURVE server at `listen` and return the endpoint it really has. It needs a `ConnectionGuard`: its queue has no mark.

    `setting` is named in the error: UnavailableError `address-in-use`, `address-not-available` or `address-not-allowed`.
    """
    wanted = parse_endpoint(listen, listening=True)
    router.linger = 0
    # Never full, for only then is input stopped, where a peer's ZMTP PING is deadly. The guard bounds what waits instead.
    router.rcvhwm = 0
    set_dead_peer_options(router)
    router.curve_publickey = public.encode()
    router.curve_secretkey = secret.encode()
    router.curve_server = True
    router.zap_domain = domain.encode()
    # Without this, libzmq lets everybody in whenever no authenticator is there.
    router.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
    router.set(zmq.IPV6, 1 if wanted.is_ipv6 else 0)
    try:
        router.bind(str(wanted))
    except zmq.ZMQError as error:
        raise _bind_error(listen, setting, error) from None
    return router.get_string(zmq.LAST_ENDPOINT)


def _bind_error(listen: str, setting: str, error: zmq.ZMQError) -> UnavailableError | UsageError:
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            f"{setting} = {listen}: the port is in use by another process",
            code="address-in-use",
            hint=f"stop the other process ('ss -ltnp' names it) or choose another port in {setting}",
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return UnavailableError(
            f"{setting} = {listen}: this host has no such address",
            code="address-not-available",
            hint=f"give an address of this host in {setting}, or tcp://0.0.0.0:PORT for all of them",
        )
    if error.errno == errno.EACCES:
        return UnavailableError(f"{setting} = {listen}: not allowed to listen there", code="address-not-allowed")
    return UsageError(f"{setting} = {listen}: {error.strerror}", code="bad-endpoint")


class Authenticator:
    """Answers libzmq's question, once a handshake, whether a client's key may connect (ZAP, ZeroMQ RFC 27).

    pyzmq's own authenticator is not used: it answers from a task that ends for good at the first error, goes through `zmq.asyncio`,
    and logs for every stranger. This one answers on the spot, in the loop's callback, with the key as `User-Id`.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], domain: str, allowed: Callable[[str], bool]) -> None:
        self._domain = domain.encode()
        self._allowed = allowed
        self._loop = asyncio.get_running_loop()
        # ROUTER, not REP: a request that could not be answered must not block the ones behind it.
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind("inproc://zeromq.zap.01")
        self._descriptor: int = self._socket.FD
        self._loop.add_reader(self._descriptor, self._answer_all)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._socket.close()

    def _answer_all(self) -> None:
        while True:
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer(request)

    def _answer(self, request: list[bytes]) -> None:
        # Frames: our return address, empty, version, request id, domain, address, routing id, mechanism, credentials.
        if len(request) < 4:
            return
        key = self._admitted(request)
        status, text = (b"200", b"OK") if key else (b"400", b"not allowed")
        self._socket.send_multipart([request[0], b"", b"1.0", request[3], status, text, key or b"", b""], zmq.NOBLOCK)

    def _admitted(self, request: list[bytes]) -> bytes | None:
        if len(request) != 9 or request[4] != self._domain or request[7] != b"CURVE" or len(request[8]) != 32:
            return None
        key: bytes = z85.encode(request[8])
        return key if self._allowed(key.decode()) else None


class Monitor:
    """Tells `on_event(event, value)` what happens to the connections of one socket, on the loop, without polling."""

    def __init__(self, watched: zmq.Socket[bytes], events: int, on_event: Callable[[int, int], None]) -> None:
        self._watched = watched
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._closed = False
        address = f"inproc://monitor-{next(_monitor_numbers)}"
        watched.monitor(address, events)
        self._socket = watched.context.socket(zmq.PAIR)
        self._socket.linger = 0
        # No high-water mark: libzmq's I/O thread blocks on a full monitor, and with it every other connection.
        self._socket.rcvhwm = 0
        self._socket.connect(address)
        self._descriptor: int = self._socket.FD
        self._loop.add_reader(self._descriptor, self._read_all)
        # libzmq signals only a reader that has once found nothing.
        self._loop.call_soon(self._read_all)

    def close(self) -> None:
        """Stop; to be called before the watched socket is closed. May be called from within `on_event`."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._watched.disable_monitor()
            self._socket.close()

    def _read_all(self) -> None:
        while not self._closed:
            try:
                event, _endpoint = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._on_event(*struct.unpack("=Hi", event))


@dataclass(slots=True)
class _Accepted:
    since: float
    taken: int = 0
    """Bytes of the messages that were read from it."""


class ConnectionGuard:
    """Keeps what others can open on a listening socket within bounds, whatever they do before or after their handshake.

    More than `most()` connections at a time are shut. With `seconds` a connection is shut at that age, with `bytes_each` once it carried
    more than that, with `unread_each` once so much of it was not `taken`, be it in the kernel, in libzmq's queue, or in a message of
    endlessly many frames, which libzmq holds until its last. `on_shut` is called for each of these.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        port: int,
        *,
        most: Callable[[], int],
        seconds: float | None = None,
        bytes_each: int | None = None,
        unread_each: int | None = None,
        on_shut: Callable[[], None] = lambda: None,
    ) -> None:
        self._port = port
        self._most = most
        self._seconds = seconds
        self._bytes_each = bytes_each
        self._unread_each = unread_each
        self._on_shut = on_shut
        self._loop = asyncio.get_running_loop()
        self._accepted: dict[int, _Accepted] = {}
        """By libzmq's descriptor, the one whose look is due first."""
        self._timer: asyncio.TimerHandle | None = None
        self._monitor = Monitor(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED, self._on_event)

    @property
    def connections(self) -> int:
        return len(self._accepted)

    def taken(self, descriptor: int, header: int, body: int) -> None:
        """A message of two frames of these sizes, which came through the connection, was read."""
        if (connection := self._accepted.get(descriptor)) is not None:
            connection.taken += wire_bytes(header) + wire_bytes(body)

    def unread(self, descriptor: int) -> int:
        """Bytes that came through the connection and were not taken, its handshake included."""
        return _bytes_received(descriptor) - self._accepted[descriptor].taken

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._monitor.close()

    def _on_event(self, event: int, descriptor: int) -> None:
        if event != zmq.EVENT_ACCEPTED:
            self._accepted.pop(descriptor, None)
            return
        too_many = len(self._accepted) >= self._most()
        self._accepted[descriptor] = _Accepted(self._loop.time())
        if too_many:
            self._shut(descriptor)
        elif self._timer is None:
            self._timer = self._loop.call_later(GUARD_INTERVAL_SECONDS, self._inspect)

    def _inspect(self) -> None:
        now = self._loop.time()
        for descriptor in list(itertools.islice(self._accepted, GUARD_LOOKS)):
            connection = self._accepted[descriptor] = self._accepted.pop(descriptor)
            if self._exceeds(descriptor, now - connection.since):
                self._shut(descriptor)
        self._timer = self._loop.call_later(GUARD_INTERVAL_SECONDS, self._inspect) if self._accepted else None

    def _exceeds(self, descriptor: int, age: float) -> bool:
        return (
            (self._seconds is not None and age > self._seconds)
            or (self._bytes_each is not None and _bytes_received(descriptor) > self._bytes_each)
            or (self._unread_each is not None and self.unread(descriptor) > self._unread_each)
        )

    def _shut(self, descriptor: int) -> None:
        # It stays in the table until libzmq reports its end, so that it counts for as long as it holds a descriptor.
        if shut_connection(descriptor, self._port):
            self._on_shut()


def wire_bytes(frame: int) -> int:
    """What a frame of so many bytes takes on the wire: as a CURVE message (ZeroMQ RFC 26) in a short or long ZMTP frame (RFC 23)."""
    encrypted = frame + CURVE_OVERHEAD_BYTES
    return encrypted + (2 if encrypted <= 255 else 9)


def shut_connection(descriptor: int, port: int) -> bool:
    """Shut the accepted TCP connection behind libzmq's descriptor; libzmq then sees it end. False if it was gone already.

    The number may have been given to something else meanwhile, so only a TCP socket whose own port is `port` is touched: at worst
    another peer of this listener has to reconnect.
    """
    try:
        duplicate = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return False
    with duplicate:
        if duplicate.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        try:
            if duplicate.getsockname()[1] != port:
                return False
            duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True


def _bytes_received(descriptor: int) -> int:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            info = duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0
    return int(struct.unpack_from("=Q", info, _TCP_BYTES_RECEIVED)[0]) if len(info) >= _TCP_BYTES_RECEIVED + 8 else 0
