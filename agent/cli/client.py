"""A small HTTP/1.1 client for the agent's unix socket: one request a connection, one deadline, nothing imported but `socket` and `json`.

The standard library's client would do, but it brings the whole mail parser with it, which alone costs more than a status request.
"""

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from agent.cli.errors import AgentUnreachable, ApiError

MAX_HEAD_BYTES = 64 * 1024
"""A longer response head is not the agent's."""

MAX_BODY_BYTES = 256 * 1024 * 1024
"""Above the dump of the largest cluster; a body without end must not fill this process."""

TEXT = "text/plain"
JSON = "application/json"

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Response(NamedTuple):
    """A response of the agent; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises AgentUnreachable for a body that is none, because then the peer is no agent."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise AgentUnreachable("the agent's answer is not valid JSON") from None

    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def digest(self) -> str:
        """The digest in the `ETag` header, empty when there is none."""
        return self.headers.get("etag", "").removeprefix("W/").strip('"')


def quoted(part: str) -> str:
    """Percent-encode one path segment or query value (RFC 3986: everything but the unreserved characters)."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in part.encode())


class Client:
    """Speaks with the agent behind one unix socket. `timeout` bounds each request as a whole, in seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: Mapping[str, Any] | str | None = None,
        if_match: str | None = None,
        accept: str = JSON,
    ) -> Response:
        """Send one request and return its successful response.

        `path` is percent-encoded already; query values of None are left out. A mapping is sent as JSON, a string as plain text. Raises
        ApiError for a status of 400 and above, AgentUnreachable when there is no complete HTTP response within the timeout.
        """
        head = _head(method, path, query, accept)
        if if_match is not None:
            head.append(f'If-Match: "{if_match}"')
        content = b""
        if body is not None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            head.append(f"Content-Type: {TEXT + '; charset=utf-8' if isinstance(body, str) else JSON}")
        if content or method in ("POST", "PUT", "PATCH"):
            head.append(f"Content-Length: {len(content)}")
        response = self._exchange("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        if response.status >= 400:
            raise ApiError.from_response(response.status, response.headers.get("content-type", ""), response.body)
        return response

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Any:
        """The JSON body of a GET."""
        return self.request("GET", path, query=query).json()

    def stream(
        self, path: str, *, query: Mapping[str, str | None] | None = None, accept: str, since: str | None, silence: float
    ) -> Iterator[bytes]:
        """The lines of an answer that goes on, without their ends; an empty one as soon as it begins. `since` is sent as `Last-Event-ID`.

        Raises ApiError for a refusal, AgentUnreachable once the connection ends or nothing has come for `silence` seconds.
        """
        head = _head("GET", path, query, accept)
        if since is not None:
            head.append(f"Last-Event-ID: {since}")
        with self._connected("\r\n".join(head).encode() + b"\r\n\r\n") as reader:
            status, headers = reader.begin()
            if status >= 400:
                raise ApiError.from_response(status, headers.get("content-type", ""), reader.body(status, headers))
            yield b""
            rest = b""
            for piece in reader.pieces(silence):
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > MAX_BODY_BYTES:
                    raise _garbage()
                yield from lines
        raise _garbage()

    def _exchange(self, message: bytes) -> Response:
        with self._connected(message) as reader:
            return reader.response()

    @contextmanager
    def _connected(self, message: bytes) -> "Iterator[_Reader]":
        """A connection over which the message went."""
        deadline = time.monotonic() + self.timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self.timeout)
            try:
                connection.connect(self.path)
            except TimeoutError:
                raise self._late() from None
            except (OSError, ValueError) as error:
                raise AgentUnreachable.from_connect(self.path, error) from None
            try:
                connection.sendall(message)
            except TimeoutError:
                raise self._late() from None
            except OSError:
                pass  # the agent may refuse a large body and close before it has read it all: its answer is there to read
            yield _Reader(connection, deadline, self._late)

    def _late(self) -> AgentUnreachable:
        return AgentUnreachable(
            f"no answer from the agent at {self.path} within {self.timeout:g} s",
            hint="a write may still have been done; look before you repeat it, or give it longer with --timeout",
        )


def _head(method: str, path: str, query: Mapping[str, str | None] | None, accept: str) -> list[str]:
    """The lines of a request's head that all requests have."""
    items = [f"{name}={quoted(value)}" for name, value in (query or {}).items() if value is not None]
    target = f"{path}?{'&'.join(items)}" if items else path
    return [f"{method} {target} HTTP/1.1", "Host: localhost", f"Accept: {accept}", "User-Agent: pathmesh-cli", "Connection: close"]


class _Reader:
    """Reads one response off a connection, never past the deadline."""

    def __init__(self, connection: socket.socket, deadline: float, late: Any) -> None:
        self.connection, self.deadline, self.late = connection, deadline, late
        self.buffer = b""

    def response(self) -> Response:
        status, headers = self.begin()
        return Response(status, headers, self.body(status, headers))

    def begin(self) -> tuple[int, dict[str, str]]:
        """The status and the headers."""
        status = 100
        headers: dict[str, str] = {}
        while status < 200:  # interim responses (1xx) have a head only
            status, headers = self._head()
        return status, headers

    def body(self, status: int, headers: Mapping[str, str]) -> bytes:
        """The whole body."""
        if status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = headers.get("content-length")
        return self._rest() if length is None else self._exactly(_whole(length, 10))

    def _head(self) -> tuple[int, dict[str, str]]:
        head = self._until(b"\r\n\r\n", MAX_HEAD_BYTES).decode("latin-1")
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1."):
            raise _garbage()
        pairs = (line.partition(":") for line in lines)
        return _whole(rest[:3], 10), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def pieces(self, silence: float | None = None) -> Iterator[bytes]:
        """A chunked body, chunk by chunk; `silence` (seconds) is how long each may take, if that is not bounded as a whole."""
        while True:
            if silence is not None:
                self.deadline = time.monotonic() + silence
            size = _whole(self._until(b"\r\n", MAX_HEAD_BYTES).split(b";")[0].decode("latin-1"), 16)
            if size == 0:
                while self._until(b"\r\n", MAX_HEAD_BYTES):  # trailers, up to the empty line
                    pass
                return
            yield self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise _garbage()

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        for piece in self.pieces():
            total += len(piece)
            if total > MAX_BODY_BYTES:
                raise _garbage()
            parts.append(piece)
        return b"".join(parts)

    def _until(self, mark: bytes, limit: int) -> bytes:
        while mark not in self.buffer:
            if len(self.buffer) > limit or not self._more():
                raise _garbage()
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        if size > MAX_BODY_BYTES:
            raise _garbage()
        parts = [self.buffer]
        have = len(self.buffer)
        while have < size:
            self.buffer = b""
            if not self._more():
                raise _garbage()
            parts.append(self.buffer)
            have += len(self.buffer)
        joined = b"".join(parts)
        self.buffer = joined[size:]
        return joined[:size]

    def _rest(self) -> bytes:
        parts = [self.buffer]
        total = len(self.buffer)
        self.buffer = b""
        while self._more():
            parts.append(self.buffer)
            total += len(self.buffer)
            self.buffer = b""
            if total > MAX_BODY_BYTES:
                raise _garbage()
        return b"".join(parts)

    def _more(self) -> bool:
        """Append what has arrived to the buffer; False at the end of the stream."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.late()
        self.connection.settimeout(left)
        try:
            data = self.connection.recv(65536)
        except TimeoutError:
            raise self.late() from None
        except OSError:
            data = b""
        self.buffer += data
        return bool(data)


def _whole(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        raise _garbage() from None
    if number < 0:
        raise _garbage()
    return number


def _garbage() -> AgentUnreachable:
    return AgentUnreachable(
        "the agent closed the connection without a complete answer",
        hint="is it still running? `systemctl status pathmesh`, and its log",
    )
