"""The agent as a service: started, asked, stopped."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.client import Client
from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A

STOPPED_WITHIN_SECONDS = 5.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, nodes_in: Any) -> Node:
    """A node that was made; each test starts its agent."""
    [node] = nodes_in(tmp_path_factory.mktemp("process"))
    node.run("init", "--cluster", "san")
    return node


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


def stopped(node: Node, number: int = signal.SIGTERM) -> float:
    """Stop the agent cleanly; how long that took, in seconds."""
    begun = time.monotonic()
    assert node.stop("agent", number, 20) == 0, node.log("agent")[-2000:]
    return time.monotonic() - begun


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_service_says_when_it_is_ready_and_when_it_stops(node: Node, manager: socket.socket, number: signal.Signals) -> None:
    node.start_agent({"NOTIFY_SOCKET": manager.getsockname()}, wait=False)
    assert manager.recv(200) == b"READY=1"
    assert node.ask("GET", "/readyz").status == 200, "READY means that it answers"
    assert node.socket.stat().st_mode & 0o777 == 0o660
    assert stopped(node, number) < STOPPED_WITHIN_SECONDS
    assert manager.recv(200) == b"STOPPING=1"
    assert not node.socket.exists()
    assert "Traceback" not in node.log("agent")


def test_the_status_document_is_one_request_away(node: Node) -> None:
    node.start_agent()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(node.socket))
        connection.sendall(
            b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"content-type: application/json" in head
    document = json.loads(body)
    assert document["schema"] == 1 and document["node"] == "n1" and document["cluster"] == "san"
    assert [n["node"] for n in document["nodes"]] == ["n1"]
    stopped(node)


def hung(path: Path) -> socket.socket:
    """A multipathd that lets anybody in and never says a word."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)
    return listening


def test_it_stops_in_time_with_a_hung_daemon_and_clients_that_stay(node: Node) -> None:
    node.program.write_text("#!/bin/sh\n")
    with contextlib.ExitStack() as stack:
        stack.callback(node.program.unlink)
        stack.callback(node.host_socket.unlink)
        stack.enter_context(hung(node.host_socket))
        node.start_agent()
        digest = node.ask("GET", "/v1/config").digest
        assert node.ask("POST", "/v1/config/wwids", {"wwid": LUN_A}, if_match=digest).status == 200
        requests = [
            b"",
            b"GET /v1/sta",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PUT /v1/overrides HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
            b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        ]
        for request in requests:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(node.socket))
            connection.sendall(request)
        assert stopped(node) < STOPPED_WITHIN_SECONDS
    assert "Traceback" not in node.log("agent")
    node.start_agent()
    assert [lun["wwid"] for lun in node.get("/v1/config/wwids")["wwids"]] == [LUN_A]
    stopped(node)


def test_writes_under_way_when_it_stops_are_answered_or_refused_and_never_lost(node: Node) -> None:
    node.start_agent()
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def write() -> None:
        client = Client(node.socket)
        with contextlib.suppress(OSError), contextlib.closing(client):
            for number in range(10_000):
                digest = client.ask("GET", "/v1/config").digest
                answer = client.ask("PATCH", f"/v1/config/wwids/{LUN_A}", {"set": {"comment": f"{number}"}}, {"if-match": digest})
                answers.append((answer.status, f"{number}"))
                if answer.status != 200 or stop.is_set():
                    return

    thread = threading.Thread(target=write)
    thread.start()
    wait_for("some writes", lambda: len(answers) > 20)
    assert stopped(node) < STOPPED_WITHIN_SECONDS
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    acknowledged = [comment for status, comment in answers if status == 200]
    assert {status for status, _ in answers} <= {200, 503}
    node.start_agent()
    kept = int(node.get(f"/v1/config/wwids/{LUN_A}")["options"]["comment"])
    assert kept in (int(acknowledged[-1]), int(acknowledged[-1]) + 1), "the last answer, or one write more that nobody heard of"
    stopped(node)


def test_it_gives_up_what_it_holds_when_it_is_killed(node: Node) -> None:
    node.start_agent()
    assert node.stop("agent", signal.SIGKILL) == -signal.SIGKILL
    assert node.socket.exists(), "a killed agent cannot tidy up"
    node.start_agent()
    assert node.ask("GET", "/healthz").status == 200
    stopped(node)
    assert not node.socket.exists()


def test_the_environment_needs_no_service_manager(node: Node) -> None:
    assert "NOTIFY_SOCKET" not in os.environ
    node.start_agent({"NOTIFY_SOCKET": "/nowhere/at/all"})
    stopped(node)
