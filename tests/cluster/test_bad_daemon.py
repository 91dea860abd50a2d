"""A multipathd that answers nonsense, or nothing: the node says so, claims nothing, changes nothing, and goes on."""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A

pytestmark = pytest.mark.slow
LENGTH = struct.Struct("@N")


class Between(socketserver.ThreadingUnixStreamServer):
    """Stands between the agent and the simulated daemon, and spoils what it passes on as `spoil(command, answer)` says.

    `spoil` returns the bytes to send, framed or not as it likes; None = hold the connection and say nothing.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, behind: Path) -> None:
        super().__init__(str(path), Passing)
        self.behind = behind
        self.spoil: Callable[[str, bytes], bytes | None] = lambda _, answer: framed(answer)
        self.over = threading.Event()

    def honest(self) -> None:
        """Pass on what is said, and let go of those who were held."""
        self.spoil = lambda _, answer: framed(answer)
        self.over.set()
        self.over = threading.Event()


class Passing(socketserver.BaseRequestHandler):
    server: Between

    def handle(self) -> None:
        with contextlib.suppress(OSError), self.request.makefile("rb") as reader:
            while head := reader.read(LENGTH.size):
                request = reader.read(LENGTH.unpack(head)[0])
                command = request.rstrip(b"\0").decode()
                answer = self.server.spoil(command, self._ask(request))
                if answer is None:
                    self.server.over.wait(30)
                    return
                self.request.sendall(answer)
                if answer[: LENGTH.size] != LENGTH.pack(max(0, len(answer) - LENGTH.size)):
                    return

    def _ask(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(self.server.behind))
            behind.sendall(LENGTH.pack(len(request)) + request)
            with behind.makefile("rb") as reader:
                return reader.read(LENGTH.unpack(reader.read(LENGTH.size))[0])


def framed(answer: bytes) -> bytes:
    return LENGTH.pack(len(answer)) + answer


def only(command_begins: str, spoiled: bytes | None) -> Callable[[str, bytes], bytes | None]:
    """Spoil the answers to these commands alone."""
    return lambda command, answer: spoiled if command.startswith(command_begins) else framed(answer)


WAYS: dict[str, tuple[Callable[[str, bytes], bytes | None], set[str]]] = {
    "says nothing": (lambda _, __: None, {"timeout"}),
    "says nothing about maps": (only("show maps json", None), {"running", "timeout"}),
    "is too busy": (lambda _, __: framed(b"timeout\n\0"), {"timeout"}),
    "refuses": (lambda _, __: framed(b"fail\n\0"), {"running", "unknown"}),
    "has a permission problem": (lambda _, __: framed(b"permission deny: need to be root\n\0"), {"unknown"}),
    "closes at once": (lambda _, __: b"", {"garbage"}),
    "announces too much": (lambda _, __: LENGTH.pack(2**40) + b"x", {"garbage"}),
    "announces nothing": (lambda _, __: LENGTH.pack(0), {"garbage"}),
    "closes inside its answer": (lambda _, answer: framed(answer)[: LENGTH.size + 3], {"garbage"}),
    "answers binary": (lambda _, __: framed(bytes(range(256)) * 10 + b"\0"), {"garbage"}),
    "answers its help": (lambda _, __: framed(b"multipath-tools v0.9.4 (12/19, 2022)\nCLI commands reference:\n\0"), {"garbage"}),
    "cuts its JSON": (lambda c, a: framed(a[: len(a) // 2] + b"\0") if c == "show maps json" else framed(a), {"garbage"}),
    "has JSON of another kind": (only("show maps json", framed(b'[1, {"maps": 5}]\0')), {"garbage"}),
    "has maps that are none": (only("show maps json", framed(b'{"major_version":0,"maps":[5,null,{"name":[]}]}\0')), {"garbage"}),
    "has JSON without end": (only("show maps json", framed(b"[" * 200_000 + b"\0")), {"garbage"}),
}


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory, nodes_in: Any) -> Iterator[tuple[Node, Between]]:
    """A node with one healthy LUN, whose daemon can be spoiled."""
    directory = tmp_path_factory.mktemp("daemon")
    settings = {"multipath": {"socket": str(directory / "between.sock"), "query_timeout_ms": 300}}
    [node] = nodes_in(directory, settings=settings)
    node.start_host()
    with Between(directory / "between.sock", node.host_socket) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        node.run("init")
        node.start_agent()
        digest = node.ask("GET", "/v1/config").digest
        assert node.ask("POST", "/v1/config/wwids", {"wwid": LUN_A, "options": {"nodes": "n1"}}, if_match=digest).status == 200
        wait_for("the LUN is healthy", lambda: cell(node)["state"] == "healthy", 30)
        wait_for("the node is in sync", lambda: node.get("/v1/apply")["apply"]["state"] == "in-sync", 30)
        yield node, server
        server.over.set()
        assert node.stop() == 0
        assert "Traceback" not in node.log("agent")
        server.shutdown()


def cell(node: Node) -> Any:
    return node.get(f"/v1/luns/{LUN_A}")["nodes"]["n1"]


@pytest.mark.parametrize("way", WAYS)
def test_a_daemon_that(between: tuple[Node, Between], way: str) -> None:
    node, server = between
    spoil, daemon = WAYS[way]
    wait_for("all is well before", lambda: cell(node)["state"] == "healthy", 40)
    files = {path: path.read_bytes() for path in node.etc.rglob("*") if path.is_file()}
    process = node.agent
    server.spoil = spoil
    with contextlib.ExitStack() as stack:
        stack.callback(server.honest)
        unknown = wait_for("the cell is unknown", lambda: (found := cell(node))["state"] == "unknown" and found, 20)
        wait_for("the node says what is wrong", lambda: node.get("/v1/nodes/n1")["daemon"] in daemon, 20)
        status = node.get("/v1/status")
        assert node.run("status").returncode == 0
    assert unknown["reasons"] and all(reason == reason.lower() for reason in unknown["reasons"]), unknown
    assert unknown["paths"]["usable"] == 0 and unknown["redundancy"] == "none"
    assert status["cluster_state"] == "unknown" and status["luns"][0]["state"] == "unknown"
    assert {path: path.read_bytes() for path in node.etc.rglob("*") if path.is_file()} == files
    wait_for("all is well again", lambda: cell(node)["state"] == "healthy", 40)
    assert node.agent is process and process is not None and process.poll() is None, "the same process all along"


def test_an_edit_while_the_daemon_is_mute_is_applied_when_it_speaks_again(between: tuple[Node, Between]) -> None:
    node, server = between
    server.spoil = lambda _, __: None
    wait_for("the daemon is mute", lambda: cell(node)["state"] == "unknown", 20)
    digest = node.ask("GET", "/v1/config").digest
    assert node.ask("PATCH", f"/v1/config/wwids/{LUN_A}", {"set": {"alias": "late"}}, if_match=digest).status == 200
    with contextlib.ExitStack() as stack:
        stack.callback(server.honest)

        def says_why() -> Any:
            apply = node.get("/v1/apply")["apply"]
            return apply["state"] in ("failed", "pending") and [e for e in apply["errors"] if e["code"] == "daemon-timeout"]

        [error] = wait_for("apply says why", says_why, 30)
        assert error["hint"] and str(node.directory.parent) in error["message"]
        assert "late" not in (node.etc / "conf.d" / "90-pathmesh.conf").read_text()
    wait_for("it is applied", lambda: "late" in (node.etc / "conf.d" / "90-pathmesh.conf").read_text(), 60)
    wait_for("it is in sync", lambda: node.get("/v1/apply")["apply"]["state"] == "in-sync", 60)
