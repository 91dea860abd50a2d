"""The HTTP client: framing, timeouts, and everything that is no answer of an agent."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cli.client import Client, Response, quoted
from agent.cli.errors import AgentUnreachable, ApiError, default_hint, exit_status


@contextmanager
def answering(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[list[bytes]]:
    """A server for one connection: reads the request's head, then does as `answer` says."""
    seen: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(10)

    def serve() -> None:
        connection = listener.accept()[0]
        with connection:
            data = b""
            while b"\r\n\r\n" not in data and (more := connection.recv(65536)):
                data += more
            seen.append(data)
            answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        thread.join()
        listener.close()


def exchange(tmp_path: Path, *pieces: bytes, timeout: float = 10) -> Response:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    with answering(tmp_path / "s", answer):
        return Client(str(tmp_path / "s"), timeout).request("GET", "/v1/status")


def test_a_body_with_a_length(tmp_path: Path) -> None:
    response = exchange(tmp_path, b'HTTP/1.1 200 OK\r\nETag: "ab"\r\nContent-Length: 8\r\n\r\n{"a"', b": 1}ignored")
    assert response.json() == {"a": 1}
    assert response.digest() == "ab"


def test_a_chunked_body_in_awkward_pieces(tmp_path: Path) -> None:
    message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
    assert exchange(tmp_path, *(message[i : i + 1] for i in range(len(message)))).body == b"abc0123456789"


def test_a_body_that_ends_with_the_connection(tmp_path: Path) -> None:
    assert exchange(tmp_path, b"HTTP/1.1 200 OK\r\n\r\nall of it").body == b"all of it"


def test_interim_responses_are_passed_over(tmp_path: Path) -> None:
    response = exchange(tmp_path, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (response.status, response.body) == (204, b"")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 70000,
    ],
)
def test_no_complete_answer_is_an_unreachable_agent(tmp_path: Path, message: bytes) -> None:
    with pytest.raises(AgentUnreachable):
        exchange(tmp_path, message)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_garbage_never_ends_in_anything_but_its_own_errors(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        exchange(tmp_path_factory.mktemp("s"), b"HTTP/1.1 " + data)
    except (AgentUnreachable, ApiError):
        return


def test_a_late_answer_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while not done.wait(0.02):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    with answering(tmp_path / "s", drip):
        with pytest.raises(AgentUnreachable, match=r"within 0\.2 s") as caught:
            Client(str(tmp_path / "s"), 0.2).request("GET", "/")
        done.set()
    assert "--timeout" in caught.value.hint


def test_an_early_refusal_of_a_large_body_is_read(tmp_path: Path) -> None:
    problem = b'{"status":413,"code":"too-large","detail":"too large"}'
    head = b"HTTP/1.1 413 X\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n" % len(problem)
    with (
        answering(tmp_path / "s", lambda connection: connection.sendall(head + problem)),
        pytest.raises(ApiError, match="too large"),
    ):
        Client(str(tmp_path / "s"), 10).request("PUT", "/v1/config", body="x" * 5_000_000)


def test_the_request_is_well_formed(tmp_path: Path) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with answering(tmp_path / "s", lambda connection: connection.sendall(ok)) as seen:
        query = {"reason": "a b&c=ä", "dry_run": None}
        Client(str(tmp_path / "s"), 10).request("DELETE", "/v1/overrides", query=query, if_match="d" * 64)
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "DELETE /v1/overrides?reason=a%20b%26c%3D%C3%A4 HTTP/1.1"
    assert f'If-Match: "{"d" * 64}"' in lines
    assert "Host: localhost" in lines
    assert "Connection: close" in lines


def test_a_missing_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable, match="does not exist") as caught:
        Client(str(tmp_path / "absent"), 1).request("GET", "/")
    assert exit_status(caught.value) == 3


def test_a_dead_socket_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    with pytest.raises(AgentUnreachable, match="no agent listens"):
        Client(str(tmp_path / "s"), 1).request("GET", "/")


def test_a_path_too_long_for_a_socket_says_so() -> None:
    with pytest.raises(AgentUnreachable, match="cannot reach"):
        Client("/" + "x" * 200, 1).request("GET", "/")


def test_permission_denied_names_the_groups() -> None:
    error = AgentUnreachable.from_connect("/s", PermissionError(13, "Permission denied"))
    assert "pathmesh-admin" in error.hint


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (412, "stale-digest", 4),
        (409, "conflict-open", 4),
        (409, "exists", 1),
        (404, "unknown-section", 1),
        (428, "digest-required", 1),
        (422, "invalid", 1),
        (500, "internal", 1),
    ],
)
def test_problem_documents_become_exit_statuses(status: int, code: str, expected: int) -> None:
    body = b'{"code": "%s", "detail": "why", "hint": "do this"}' % code.encode()
    error = ApiError.from_response(status, "application/problem+json", body)
    assert (error.message, error.hint, exit_status(error)) == ("why", "do this", expected)


@pytest.mark.parametrize("body", [b"", b"gone\nwrong", b"\xff\xfe", b"[1]", b'{"problems": 3}'])
def test_any_error_body_becomes_one_line(body: bytes) -> None:
    error = ApiError.from_response(502, "application/json", body)
    assert error.message
    assert "\n" not in error.message


def test_a_fault_of_the_agent_points_to_its_log() -> None:
    error = ApiError.from_response(500, "text/plain", b"Internal Server Error")
    assert error.message == "HTTP 500: Internal Server Error"
    assert "journalctl" in default_hint(error)


def test_a_stale_digest_without_a_problem_document_is_a_conflict() -> None:
    assert exit_status(ApiError.from_response(412, "text/plain", b"no")) == 4


@given(st.text(max_size=30))
def test_quoting_is_what_the_standard_library_undoes(text: str) -> None:
    from urllib.parse import unquote

    try:
        text.encode()
    except UnicodeEncodeError:
        return
    word = quoted(text)
    assert unquote(word) == text
    assert set(word) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")
