"""The page's place in the process: a port that is taken, no page at all, a disk that refuses."""

import socket
from pathlib import Path
from typing import Any

import pytest

from agent.api.access import Client
from agent.bootstrap import init
from agent.web.service import WebService
from scripts.cluster.nodes import free_ports, wait_for
from store.errors import PathmeshError, UnavailableError
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


def test_a_node_without_a_page_says_so(lone: Any) -> None:
    assert code(lone) == "web-off"
    assert "web.listen" in lone.ask("POST", "/v1/web/links").json["hint"]


class Broken(MemoryRecords):
    """Records that cannot be written."""

    async def change(self, *_: Any, **__: Any) -> None:
        raise UnavailableError("the disk is full", code="disk-full")


@pytest.mark.anyio
async def test_a_disk_that_refuses_keeps_nobody_out() -> None:
    web = WebService("127.0.0.1:7980", "x", Broken())
    await web.load()
    opened = await web.redeem(web.offer(ROOT).partition("#")[2])
    assert web.find(opened.secret) == opened.session
    await web.end(opened.session)
    assert web.find(opened.secret) is None


@pytest.mark.anyio
async def test_damaged_records_are_forgotten() -> None:
    records = MemoryRecords()
    await records.change("web.session", {"x": b"garbage"})
    await WebService("127.0.0.1:7980", "x", records).load()
    assert await records.load("web.session") == {}


@pytest.mark.anyio
async def test_the_session_that_ends_for_a_new_one_ends_on_the_disk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.sessions.limit", lambda name: {"web_sessions": 1}.get(name, 100))
    records = MemoryRecords()
    web = WebService("127.0.0.1:7980", "x", records)
    first = await web.redeem(web.offer(ROOT).partition("#")[2])
    second = await web.redeem(web.offer(ROOT).partition("#")[2])
    assert web.find(first.secret) is None and set(await records.load("web.session")) == {second.session.id}
    with pytest.raises(TimeoutError):
        async with web.using(second.session):
            await web.end(second.session)
            await _forever()


async def _forever() -> None:
    import asyncio

    await asyncio.Event().wait()


def test_a_web_session_gets_no_link() -> None:
    with pytest.raises(PathmeshError) as caught:
        WebService("127.0.0.1:7980", "x", MemoryRecords()).offer(Client(1, 0, frozenset(), "abc"))
    assert caught.value.code == "forbidden"
