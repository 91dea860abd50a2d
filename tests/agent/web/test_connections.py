"""The page's port, when somebody without a session takes as many connections as there are, or never ends a request."""

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agent.bootstrap import init
from agent.web.connections import PageProtocol
from scripts.cluster.nodes import free_ports, wait_for
from store.limits import limit

SOON = 0.3
LATER = 2.0
"""What a loaded machine can keep."""
TRICKLE = 0.02
WAIT = 10


@pytest.fixture(scope="module")
def web_node(tmp_path_factory: pytest.TempPathFactory, live_node: Any, settings_in: Any) -> Iterator[Any]:
    """A node that serves its page."""
    settings = settings_in(tmp_path_factory.mktemp("web"), web={"listen": f"127.0.0.1:{free_ports(1)[0]}"})
    init(settings, "n1", "san")
    with live_node(settings) as node:
        wait_for("the page is served", lambda: served(node))
        yield node


def connected(node: Any) -> socket.socket:
    host, _, port = node.settings.web.listen.rpartition(":")
    return socket.create_connection((host, int(port)), WAIT)


def served(node: Any) -> bool:
    with connected(node):
        return True


def head(node: Any, first: str, *more: str) -> bytes:
    """A request's head."""
    address = node.settings.web.listen
    return "\r\n".join([f"{first} HTTP/1.1", f"Host: {address}", f"Origin: http://{address}", *more, "", ""]).encode()


def status(connection: socket.socket) -> int:
    """The status of the next answer, which is read to its end if it has one."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or pytest.fail("closed")
    told, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", told)
    while length is not None and len(body) < int(length[1]):
        body += connection.recv(65536) or pytest.fail("closed")
    return int(told.split()[1])


def log_in(web_node: Any) -> str:
    """The cookie of a new session, as a header."""
    secret = web_node.ask("POST", "/v1/web/links").json["url"].partition("#")[2]
    body = f'{{"link": "{secret}"}}'
    with connected(web_node) as connection:
        connection.sendall(head(web_node, "POST /login", f"Content-Length: {len(body)}") + body.encode())
        answer = connection.recv(65536).decode()
    assert " 204 " in answer
    (line,) = (line for line in answer.splitlines() if line.lower().startswith("set-cookie:"))
    return f"Cookie: {line.partition(':')[2].partition(';')[0].strip()}"


@pytest.fixture
def cookie(web_node: Any) -> str:
    """A session's cookie."""
    return log_in(web_node)


@pytest.fixture
def other_cookie(web_node: Any) -> str:
    """Another session's cookie."""
    return log_in(web_node)


def trickled(connection: socket.socket, data: bytes) -> float:
    """For how many seconds the other end takes data byte by byte; it has closed the connection then."""
    began = time.monotonic()
    connection.settimeout(TRICKLE)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < began + WAIT:
            connection.sendall(data)
            with contextlib.suppress(TimeoutError):
                while connection.recv(65536):
                    pass
                return time.monotonic() - began
        pytest.fail("it is held for ever")
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("begun", "more"), [("", "\r\n"), ("GET /", "x"), ("GET / HTTP/1.1\r\nX: ", "x")], ids=["before", "address", "header"]
)
def test_a_head_must_be_whole_in_time_however_its_bytes_come(web_node: Any, monkeypatch: pytest.MonkeyPatch, begun: str, more: str) -> None:
    monkeypatch.setattr("agent.api.patience.HEAD_SECONDS", SOON)
    with connected(web_node) as connection:
        connection.sendall(begun.encode())
        assert trickled(connection, more.encode()) >= SOON / 2


def test_so_must_the_next_one(web_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(web_node) as connection:
        connection.sendall(head(web_node, "GET /login"))
        assert status(connection) == 200
        monkeypatch.setattr("agent.api.patience.HEAD_SECONDS", SOON)
        connection.sendall(b"GET /")
        assert trickled(connection, b"x") >= SOON / 2


def test_a_body_that_nobody_waits_for_must_end_too(web_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.patience.HEAD_SECONDS", SOON)
    with connected(web_node) as connection:
        connection.sendall(head(web_node, "POST /v1/apply", "Content-Length: 100000"))
        assert status(connection) == 401
        assert trickled(connection, b"x") >= SOON / 2


def test_a_login_must_be_sent_in_time(web_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.patience.HEAD_SECONDS", SOON)
    monkeypatch.setattr("agent.web.app.limit", lambda name: SOON if name == "request_head_seconds" else limit(name))
    with connected(web_node) as connection:
        connection.sendall(head(web_node, "POST /login", "Content-Length: 4000"))
        assert trickled(connection, b" ") >= SOON / 2


def test_a_body_in_time_is_taken_and_the_connection_goes_on(web_node: Any, cookie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused before its body came does not end the connection, and idling is no head that is owed."""
    monkeypatch.setattr("agent.api.patience.HEAD_SECONDS", LATER)
    with connected(web_node) as connection:
        connection.sendall(head(web_node, "POST /v1/apply", "Content-Length: 3"))
        assert status(connection) == 401
        connection.sendall(b"{ }")
        connection.settimeout(1.5 * LATER)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(WAIT)
        connection.sendall(head(web_node, "GET /v1/whoami", cookie))
        assert status(connection) == 200


@pytest.mark.parametrize(
    "begun",
    [
        lambda node: head(node, "GET /login")[:-4] + b"\r\nX: ",
        lambda node: b"GET /",
        lambda node: head(node, "POST /login", "Transfer-Encoding: chunked") + b"0\r\nX: ",
    ],
    ids=["header", "address", "trailer"],
)
def test_a_head_without_end_is_not_gathered(web_node: Any, begun: Callable[[Any], bytes]) -> None:
    sent = 0
    with connected(web_node) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(begun(web_node))
        while sent < 1000 * limit("request_head_bytes"):
            connection.sendall(b"x" * 65536)
            sent += 65536
    assert sent < 500 * limit("request_head_bytes"), "what the kernel holds besides is some megabytes"


def test_what_is_read_of_bodies_is_no_long_head(web_node: Any) -> None:
    with connected(web_node) as connection:
        for _ in range(4):
            connection.sendall(head(web_node, "GET /login", "Content-Length: 60000") + b"x" * 60000)
            assert status(connection) == 200


def test_those_without_a_session_lock_nobody_out(web_node: Any, cookie: str) -> None:
    open_now = web_node.node.web._server.server_state.connections
    with contextlib.ExitStack() as stack:
        known = stack.enter_context(connected(web_node))
        known.sendall(head(web_node, "GET /v1/events", "Accept: text/event-stream", cookie))
        assert status(known) == 200
        for number in range(2 * limit("api_clients")):
            connection = stack.enter_context(connected(web_node))
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET / HT" if number % 2 else head(web_node, "GET /static/icon.svg"))
        wait_for("all but the newest are closed", lambda: len(open_now) == limit("web_strangers") + 1)
        newest = stack.enter_context(connected(web_node))
        newest.sendall(head(web_node, "GET /v1/whoami", cookie))
        assert status(newest) == 200
        known.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert known.recv(65536), "who has a session is not shown out"


def test_a_connection_whose_session_has_ended_is_a_strangers(web_node: Any, cookie: str) -> None:
    open_now = web_node.node.web._server.server_state.connections

    def strangers() -> int:
        return int(web_node.call(lambda: sum(each.session == "" for each in open_now)))

    wait_for("nobody is left", lambda: not open_now)
    with connected(web_node) as connection:
        wait_for("it is a stranger", lambda: strangers() == 1)
        connection.sendall(head(web_node, "GET /v1/whoami", cookie))
        assert status(connection) == 200 and strangers() == 0
        web_node.ask("DELETE", "/v1/web/sessions")
        connection.sendall(head(web_node, "GET /v1/whoami", cookie))
        assert status(connection) == 401 and strangers() == 1


def begun(node: Any, stack: contextlib.ExitStack, cookie: str) -> socket.socket:
    """A connection that has shown a session."""
    connection = stack.enter_context(connected(node))
    connection.sendall(head(node, "GET /v1/whoami", cookie))
    assert status(connection) == 200
    return connection


def closed(connection: socket.socket) -> bool:
    """Whether the other end closes it, or has."""
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def test_a_session_has_its_share_and_its_newest_connections_go_before_its_oldest(web_node: Any, cookie: str, other_cookie: str) -> None:
    open_now = web_node.node.web._server.server_state.connections
    wait_for("nobody is left", lambda: not open_now)
    with contextlib.ExitStack() as stack:
        other = begun(web_node, stack, other_cookie)
        most = limit("web_session_connections")
        held = [begun(web_node, stack, cookie) for _ in range(2 * most)]
        assert all(closed(each) for each in held[:most])
        assert web_node.call(lambda: len(open_now)) == most + 1
        for each in (other, *held[most:]):
            each.sendall(head(web_node, "GET /v1/whoami", other_cookie if each is other else cookie))
            assert status(each) == 200


def test_as_many_as_all_sessions_may_hold_are_served(web_node: Any) -> None:
    """No session loses anything by what others hold."""
    open_now = web_node.node.web._server.server_state.connections
    wait_for("nobody is left", lambda: not open_now)
    cookies = [log_in(web_node) for _ in range(1 + limit("api_clients") // limit("web_session_connections"))]
    with contextlib.ExitStack() as stack:
        held = [(begun(web_node, stack, cookie), cookie) for cookie in cookies for _ in range(limit("web_session_connections"))]
        assert len(held) > limit("api_clients")
        for connection, cookie in held:
            connection.sendall(head(web_node, "GET /v1/whoami", cookie))
            assert status(connection) == 200


def test_those_whose_session_has_ended_are_as_few_as_strangers(web_node: Any) -> None:
    open_now = web_node.node.web._server.server_state.connections
    wait_for("nobody is left", lambda: not open_now)
    with contextlib.ExitStack() as stack:
        cookies = [log_in(web_node) for _ in range(1 + limit("web_strangers") // limit("web_session_connections"))]
        held = [begun(web_node, stack, cookie) for cookie in cookies for _ in range(limit("web_session_connections"))]
        assert web_node.call(lambda: len(open_now)) == len(held) > limit("web_strangers")
        web_node.ask("DELETE", "/v1/web/sessions")
        wait_for("the oldest are closed", lambda: len(open_now) <= limit("web_strangers"))
        assert sum(each.session == "" for each in list(open_now)) == limit("web_strangers")


@pytest.mark.parametrize("session", ["", "x"])
def test_a_connection_that_was_shown_out_shows_out_nobody(session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.connections.limit", lambda _: 2)
    loop = SimpleNamespace(time=itertools.count().__next__)
    open_now: set[Any] = set()
    made = []
    for _ in range(3):
        each: Any = PageProtocol.__new__(PageProtocol)
        each.connections, each.loop, each.transport = open_now, loop, SimpleNamespace(abort=lambda: None)
        made.append(each)
        open_now.add(each)
        each.meet(session)
    assert open_now == set(made[1:])
    made[0].meet("y")
    made[0].meet(session)
    assert open_now == set(made[1:]) and made[0].session == session
    made[2].meet("y")
    open_now.add(made[0])
    made[2].meet(session)
    assert open_now == {made[1], made[2]}
