"""Who may read and who may write: the kernel says who is there."""

import grp
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.api.access import Client, client_of, may_write
from agent.api.app import OPERATIONS
from agent.api.routes import Access
from agent.bootstrap import init
from agent.name_service import MEMBERSHIP_SECONDS, NameService
from scripts.cluster.nodes import free_ports

NOBODY = 65534
ADMINS = grp.getgrgid(1).gr_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

ASK = """
import json, os, socket, sys
uid, groups = json.loads(sys.argv[3])
os.setgroups(groups)
os.setgid(uid)
os.setuid(uid)
answers = []
for method, target in json.loads(sys.argv[2]):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(sys.argv[1])
        except OSError as fault:
            answers.append(type(fault).__name__)
            continue
        s.sendall(f"{method} {target} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n".encode())
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
        head, _, body = answer.partition(b"\\r\\n\\r\\n")
        answers.append([int(head.split()[1]), json.loads(body or b"null")])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def open_node(live_node: Any, settings_in: Any) -> Iterator[Any]:
    """A node whose socket everybody may connect to, in a directory that everybody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="pathmesh-access-"))
    directory.chmod(0o755)
    api = {"mode": 0o666, "group": ADMINS, "admin_group": ADMINS}
    settings = settings_in(directory, api=api, web={"listen": f"127.0.0.1:{free_ports(1)[0]}"})
    init(settings, "n1", "san")
    try:
        with live_node(settings) as node:
            yield node
    finally:
        shutil.rmtree(directory)


def ask_as(node: Any, uid: int, groups: list[int], *requests: tuple[str, str]) -> Any:
    """The answers that a process with this uid and these groups gets."""
    command = [sys.executable, "-I", "-c", ASK, str(node.settings.api.socket), json.dumps(requests), json.dumps([uid, groups])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def test_others_read_and_do_not_write(open_node: Any) -> None:
    before = open_node.digest()
    writes = [(o.method, o.path) for o in OPERATIONS if o.access is Access.WRITE]
    reads = [("GET", "/v1/status"), ("GET", "/v1/config"), ("HEAD", "/readyz")]
    answers = ask_as(open_node, NOBODY, [], *writes, *reads)
    for status, body in answers[: len(writes)]:
        assert status == 403 and body["code"] == "forbidden" and str(NOBODY) in body["detail"] and ADMINS in body["hint"]
    assert [status for status, _ in answers[len(writes) :]] == [200, 200, 200]
    assert open_node.digest() == before


def test_members_of_the_admin_group_write(open_node: Any) -> None:
    [[status, body]] = ask_as(open_node, NOBODY, [1], ("POST", "/v1/members/tokens"))
    assert status == 200 and body["token"].startswith("pmj1.")


def test_who_may_read_gets_a_link_into_the_page(open_node: Any) -> None:
    [[status, body], *_] = ask_as(open_node, NOBODY, [], ("POST", "/v1/web/links"))
    assert status == 200 and body["url"].startswith(f"http://{open_node.settings.web.listen}/login#")


def test_the_mode_of_the_socket_says_who_may_read(open_node: Any) -> None:
    socket_path = open_node.settings.api.socket
    assert socket_path.stat().st_gid == 1
    socket_path.chmod(0o660)
    try:
        assert ask_as(open_node, NOBODY, [], ("GET", "/v1/status")) == ["PermissionError"]
        [[status, _]] = ask_as(open_node, NOBODY, [1], ("GET", "/v1/status"))
        assert status == 200
    finally:
        socket_path.chmod(0o666)


def test_the_kernel_tells_pid_uid_and_groups() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert client_of(here) == Client(os.getpid(), os.getuid(), frozenset({os.getgid(), *os.getgroups()}))


@pytest.mark.anyio
async def test_a_name_service_that_hangs_stops_web_sessions_and_nobody_on_the_socket(
    hanging: Any, unavailable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("agent.name_service.names", NameService(lambda: now))
    member, other = Client(1, NOBODY, frozenset({1})), Client(1, NOBODY, frozenset({2}))
    assert await may_write(member, ADMINS) and not await may_write(other, ADMINS)
    now += MEMBERSHIP_SECONDS
    monkeypatch.setattr("agent.name_service.LOOKUP_SECONDS", 0.05)
    for name in ("group_id", "groups_of"):
        monkeypatch.setattr(f"agent.name_service.{name}", hanging)
    assert await may_write(member, ADMINS) and not await may_write(other, ADMINS), "by the id that was known last"
    assert await may_write(Client(1, 0, frozenset()), "other") and await may_write(Client(1, 0, frozenset(), "web"), "other")
    await unavailable(may_write(replace(member, session="web"), ADMINS))
    await unavailable(may_write(member, "other"))


def test_a_node_whose_name_service_hangs_answers(open_node: Any, hanging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.name_service.names", NameService())
    monkeypatch.setattr("agent.name_service.LOOKUP_SECONDS", 0.05)
    for name in ("user_name", "group_id", "groups_of"):
        monkeypatch.setattr(f"agent.name_service.{name}", hanging)
    me, write = ask_as(open_node, NOBODY, [1], ("GET", "/v1/whoami"), ("POST", "/v1/members/tokens"))
    assert me[0] == 200 and me[1]["user"] == str(NOBODY) and me[1]["may_write"] is None
    assert write[0] == 503 and write[1]["code"] == "names-unavailable"
    [[status, root]] = ask_as(open_node, 0, [0], ("GET", "/v1/whoami"))
    assert status == 200 and root["user"] == "0" and root["may_write"] is True
