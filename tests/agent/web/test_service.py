"""The page's place in the process: a port that is taken, no page at all, sessions that end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.api.access import Client
from agent.bootstrap import init
from agent.web.service import WebService, forget_kept_sessions
from scripts.cluster.nodes import free_ports, wait_for
from store.errors import PathmeshError
from store.records import MemoryRecords

ROOT = Client(1, 0, frozenset({0}))


def code(node: Any) -> str:
    return str(node.ask("POST", "/v1/web/links").json["code"])


def test_a_port_that_is_taken_is_told_and_tried_again(
    tmp_path: Path, live_node: Any, settings_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.web.service.AGAIN_SECONDS", 0.05)
    port = free_ports(1)[0]
    settings = settings_in(tmp_path, web={"listen": f"127.0.0.1:{port}"})
    init(settings, "n1", "san")
    with socket.create_server(("127.0.0.1", port)) as busy, live_node(settings) as node:
        wait_for("it is told", lambda: node.node.web.fault)
        problems = {p["code"]: p for p in node.get("/v1/status")["config"]["problems"]}
        assert str(port) in problems["web-failed"]["message"] and problems["web-failed"]["hint"]
        assert code(node) == "web-failed"
        busy.close()
        wait_for("the port is taken", lambda: not node.node.web.fault)
        assert "web-failed" not in {p["code"] for p in node.get("/v1/status")["config"]["problems"]}
        assert node.ask("POST", "/v1/web/links").status == 200


def test_an_agent_that_still_tries_stops_at_once(tmp_path: Path, live_node: Any, settings_in: Any) -> None:
    port = free_ports(1)[0]
    settings = settings_in(tmp_path, web={"listen": f"localhost:{port}"})
    init(settings, "n1", "san")
    with socket.create_server(("127.0.0.1", port)), live_node(settings) as node:
        wait_for("it is told", lambda: node.node.web.fault)


def test_an_ipv6_address(tmp_path: Path, live_node: Any, settings_in: Any) -> None:
    settings = settings_in(tmp_path, web={"listen": f"[::1]:{free_ports(1)[0]}"})
    init(settings, "n1", "san")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6")
    with live_node(settings) as node:
        wait_for("it is served", lambda: socket.create_connection(("::1", int(settings.web.listen.rpartition(":")[2])), 1).close() or True)
        assert node.ask("POST", "/v1/web/links").json["url"].startswith(f"http://{settings.web.listen}/login#")


@pytest.mark.parametrize("listen", ["localhost:7980", "LocalHost:7980", "127.0.0.1:7980"])
def test_a_link_names_the_very_address_that_is_served(listen: str) -> None:
    assert WebService(listen, "x").offer(ROOT).startswith("http://127.0.0.1:7980/login#")


def test_a_node_without_a_page_says_so(lone: Any) -> None:
    assert code(lone) == "web-off"
    assert "web.listen" in lone.ask("POST", "/v1/web/links").json["hint"]


@pytest.mark.anyio
async def test_what_an_earlier_version_kept_is_forgotten() -> None:
    records = MemoryRecords()
    await records.change("web.session", {"x": b"a", "y": b"b"})
    await records.change("other", {"z": b"c"})
    for _ in range(2):
        await forget_kept_sessions(records)
        assert await records.load("web.session") == {} and await records.load("other") == {"z": b"c"}


@contextlib.asynccontextmanager
async def following(web: WebService, *sessions: Any) -> AsyncIterator[list[str]]:
    """The labels of the sessions whose answers have ended, one that goes on being given to each."""
    ended: list[str] = []

    async def follow(session: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with web.using(session):
                await asyncio.Event().wait()
        ended.append(session.label)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow(session)) for session in sessions]
        await asyncio.sleep(0)
        yield ended
        for task in tasks:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.anyio
async def test_a_session_that_ends_for_a_new_one_ends_what_it_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.sessions.limit", lambda name: {"web_sessions": 1}.get(name, 100))
    web = WebService("127.0.0.1:7980", "x")
    first = web.redeem(web.offer(ROOT).partition("#")[2])
    async with following(web, first.session) as ended:
        second = web.redeem(web.offer(ROOT).partition("#")[2])
        await until(lambda: ended == [first.session.label])
    assert web.find(first.secret) is None and web.sessions() == (second.session,)


@pytest.mark.anyio
async def test_one_session_is_ended_or_all() -> None:
    web = WebService("127.0.0.1:7980", "x")
    opened = [web.redeem(web.offer(ROOT).partition("#")[2]) for _ in range(3)]
    link = web.offer(ROOT).partition("#")[2]
    sessions = [each.session for each in opened]
    async with following(web, *sessions) as ended:
        web.end(sessions[1])
        await until(lambda: ended == [sessions[1].label])
        assert web.find(opened[1].secret) is None and web.sessions() == (sessions[0], sessions[2])
        assert web.end_all() == (sessions[0], sessions[2]) and web.end_all() == web.sessions() == ()
        await until(lambda: len(ended) == 3)
    with pytest.raises(PathmeshError) as caught:
        web.redeem(link)
    assert caught.value.code == "link-unknown"


def test_a_web_session_gets_no_link() -> None:
    with pytest.raises(PathmeshError) as caught:
        WebService("127.0.0.1:7980", "x").offer(Client(1, 0, frozenset(), "abc"))
    assert caught.value.code == "forbidden"


@pytest.mark.anyio
async def test_a_session_that_a_clock_put_back_has_ended_stays_ended() -> None:
    now = 1_700_000_000.0
    web = WebService("127.0.0.1:7980", "x", lambda: now)
    opened = web.redeem(web.offer(ROOT).partition("#")[2])
    async with following(web, opened.session) as ended:
        now -= 3600
        assert web.sessions() == ()
        await until(lambda: ended == [opened.session.label])
    now += 3600
    assert web.find(opened.secret) is None and web.end_all() == ()
