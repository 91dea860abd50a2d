"""Who may read and who may write: the kernel says who is there."""

import asyncio
import grp
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.api.access import MEMBERSHIP_SECONDS, Client, NameService, client_of, group_id, groups_of, may_write, user_name
from agent.api.app import OPERATIONS
from agent.api.routes import Access
from agent.bootstrap import init
from scripts.cluster.nodes import free_ports
from store.errors import UnavailableError

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


def test_a_group_that_does_not_exist_has_no_id() -> None:
    assert group_id(ADMINS) == 1
    assert group_id("no-such-group-here") is None


def test_the_groups_of_a_user_are_those_of_the_name_service() -> None:
    for user in pwd.getpwall():
        told = subprocess.run(["id", "-G", user.pw_name], capture_output=True, text=True, check=True, timeout=30).stdout
        assert groups_of(user.pw_uid) == {int(each) for each in told.split()}, user.pw_name
        assert user_name(user.pw_uid) == user.pw_name
    assert groups_of(4_000_000_000) == frozenset() and user_name(4_000_000_000) == "4000000000"


TAKEN_AWAY = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from agent.api.access import groups_of
groups = pathlib.Path("/etc/group")
assert groups.samefile(sys.argv[2]), "not a copy: nothing is written to the host's own"
before = groups.read_text()
groups.write_text(before + "pathmesh-test:x:64999:nobody\\n")
assert 64999 in groups_of(65534)
groups.write_text(before)
assert 64999 not in groups_of(65534)
print("taken away")
"""


@pytest.mark.skipif(shutil.which("unshare") is None or user_name(NOBODY) != "nobody", reason="needs a file of groups of its own")
def test_a_user_who_is_taken_out_of_a_group_is_not_in_it(tmp_path: Path) -> None:
    """The host's own file of groups, in a mount namespace where it is a copy."""
    copy = tmp_path / "group"
    shutil.copy("/etc/group", copy)
    inner = f'mount --bind {copy} /etc/group && exec {sys.executable} -c "$0" {Path(__file__).parents[3]} {copy}'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inner, TAKEN_AWAY], capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout == "taken away\n", done.stderr


@pytest.mark.anyio
async def test_the_name_service_is_asked_once_in_a_few_seconds() -> None:
    now, asked = 100.0, []

    def lookup(uid: int) -> frozenset[int]:
        asked.append(uid)
        return frozenset({uid + len(asked)})

    service = NameService(lambda: now)
    assert await service.ask(lookup, 10) == await service.ask(lookup, 10) == {11}
    assert await service.ask(lookup, 20) == {22}
    now += MEMBERSHIP_SECONDS - 0.1
    assert await service.ask(lookup, 10) == {11} and asked == [10, 20]
    now += 0.1
    assert await service.ask(lookup, 10) == {13} and asked == [10, 20, 10]


class Hanging:
    """Lookups that hang until they are let go, and who was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.go = threading.Event()

    def __call__(self, key: Any) -> Any:
        self.asked.append(key)
        assert self.go.wait(60)
        return 7


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    lookup = Hanging()
    yield lookup
    lookup.go.set()


async def unavailable(asking: Awaitable[Any]) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        await asking
    assert caught.value.code == "names-unavailable" and caught.value.hint and "\n" not in caught.value.message
    return caught.value


@pytest.mark.anyio
async def test_those_who_ask_at_once_for_the_same_wait_for_one_answer(hanging: Hanging) -> None:
    service = NameService()
    asking = [asyncio.create_task(service.ask(hanging, 10)) for _ in range(5)]
    asking[0].cancel()
    await asyncio.gather(asking[0], return_exceptions=True)
    hanging.go.set()
    assert await asyncio.gather(*asking[1:]) == [7] * 4 and hanging.asked == [10]


@pytest.mark.anyio
async def test_a_name_service_that_hangs_holds_up_nobody_for_long(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.access.LOOKUP_SECONDS", 0.05)
    service, before = NameService(), threading.active_count()
    for _ in range(3):
        for key in range(20):
            assert str(key) in (await unavailable(service.ask(hanging, key))).message
    assert threading.active_count() <= before + 2 and len(hanging.asked) == 2, "the others are never begun"
    monkeypatch.setattr("agent.api.access.LOOKUP_SECONDS", 30)
    hanging.go.set()
    assert await asyncio.gather(*(service.ask(hanging, key) for key in range(20))) == [7] * 20
    assert sorted(hanging.asked) == list(range(20)), "what was asked in vain is not asked anew"


@pytest.mark.anyio
async def test_a_lookup_that_fails_is_an_answer_that_is_missing() -> None:
    def failing(_: int) -> int:
        raise OSError("no")

    service = NameService()
    await unavailable(service.ask(failing, 1))
    assert await service.ask(lambda uid: uid + 1, 1) == 2, "the thread goes on"


@pytest.mark.anyio
async def test_while_no_name_is_told_a_user_is_a_number(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    service = NameService()
    assert await service.name(0) == "root" and await service.name(4_000_000_000) == "4000000000"
    monkeypatch.setattr("agent.api.access.LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr("agent.api.access.user_name", hanging)
    assert await service.name(0) == "0"


@pytest.mark.anyio
async def test_a_name_service_that_hangs_stops_web_sessions_and_nobody_on_the_socket(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("agent.api.access.names", NameService(lambda: now))
    member, other = Client(1, NOBODY, frozenset({1})), Client(1, NOBODY, frozenset({2}))
    assert await may_write(member, ADMINS) and not await may_write(other, ADMINS)
    now += MEMBERSHIP_SECONDS
    monkeypatch.setattr("agent.api.access.LOOKUP_SECONDS", 0.05)
    for name in ("group_id", "groups_of"):
        monkeypatch.setattr(f"agent.api.access.{name}", hanging)
    assert await may_write(member, ADMINS) and not await may_write(other, ADMINS), "by the id that was known last"
    assert await may_write(Client(1, 0, frozenset()), "other") and await may_write(Client(1, 0, frozenset(), "web"), "other")
    await unavailable(may_write(replace(member, session="web"), ADMINS))
    await unavailable(may_write(member, "other"))


def test_a_node_whose_name_service_hangs_answers(open_node: Any, hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.access.names", service := NameService())
    monkeypatch.setattr("agent.api.web.names", service)
    monkeypatch.setattr("agent.api.access.LOOKUP_SECONDS", 0.05)
    for name in ("user_name", "group_id", "groups_of"):
        monkeypatch.setattr(f"agent.api.access.{name}", hanging)
    me, write = ask_as(open_node, NOBODY, [1], ("GET", "/v1/whoami"), ("POST", "/v1/members/tokens"))
    assert me[0] == 200 and me[1]["user"] == str(NOBODY) and me[1]["may_write"] is None
    assert write[0] == 503 and write[1]["code"] == "names-unavailable"
    [[status, root]] = ask_as(open_node, 0, [0], ("GET", "/v1/whoami"))
    assert status == 200 and root["user"] == "0" and root["may_write"] is True
