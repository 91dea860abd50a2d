"""The page's port: who gets in, what needs a session, and for whom it acts."""

import contextlib
import grp
import http.client
import json
import os
import pwd
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent.api.access import Client
from agent.api.app import OPERATIONS
from agent.api.routes import Access
from agent.bootstrap import init
from agent.web.headers import SECURITY_HEADERS
from scripts.cluster.nodes import free_ports, wait_for
from store.limits import limit

A = "3624a9370e92ace0b12e941bf000cb4d5"
NOBODY = 65534
ADMINS = 1
"""A group that exists everywhere, and that nobody is in."""


class Browser:
    """What a browser sends, by hand."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookie = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, dict[str, str], bytes]:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        sent: dict[str, str | None] = {"host": self.address}
        if method not in ("GET", "HEAD"):
            sent["origin"] = f"http://{self.address}"
        if self.cookie:
            sent["cookie"] = self.cookie
        data = json.dumps(body) if body is not None else None
        if data is not None:
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {**sent, "content-length": str(len(data or ""))}.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders((data or "").encode())
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def code(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, str]:
        """The status, and the code of a refusal."""
        status, answered, data = self.ask(method, path, body, **headers)
        return status, json.loads(data)["code"] if answered.get("content-type") == "application/problem+json" else ""

    def log_in(self, url: str) -> None:
        status, headers, _ = self.ask("POST", "/login", {"link": url.partition("#")[2]})
        assert status == 204
        assert headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict")
        self.cookie = headers["set-cookie"].partition(";")[0]


@pytest.fixture(scope="module")
def web_node(tmp_path_factory: pytest.TempPathFactory, live_node: Any, settings_in: Any) -> Iterator[Any]:
    """A node that serves its page."""
    settings = settings_in(
        tmp_path_factory.mktemp("web"), web={"listen": f"127.0.0.1:{free_ports(1)[0]}"}, api={"admin_group": grp.getgrgid(ADMINS).gr_name}
    )
    init(settings, "n1", "san")
    with live_node(settings) as node:
        wait_for("the page is served", lambda: connects(settings.web.listen))
        yield node


def connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 1):
        return True


def link(node: Any) -> str:
    answer = node.ask("POST", "/v1/web/links")
    assert answer.status == 200, answer
    assert answer.json["expires_seconds"] == limit("web_link_seconds")
    return str(answer.json["url"])


@contextlib.contextmanager
def following(browser: Browser) -> Iterator[socket.socket]:
    """A connection that follows the events."""
    host, _, port = browser.address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as stream:
        head = f"GET /v1/events HTTP/1.1\r\nHost: {browser.address}\r\nAccept: text/event-stream\r\nCookie: {browser.cookie}\r\n\r\n"
        stream.sendall(head.encode())
        assert b"200 OK" in stream.recv(4096)
        yield stream


def drained(stream: socket.socket) -> None:
    """Wait until the other end has closed it."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while stream.recv(65536):
            pass


@pytest.fixture
def stranger(web_node: Any) -> Browser:
    return Browser(web_node.settings.web.listen)


@pytest.fixture
def browser(web_node: Any) -> Browser:
    found = Browser(web_node.settings.web.listen)
    found.log_in(link(web_node))
    return found


def test_nothing_is_answered_without_a_session(stranger: Browser) -> None:
    for operation in OPERATIONS:
        assert stranger.code(operation.method, operation.path) == (401, "no-session"), operation
    assert stranger.code("GET", "/v1/no-such") == stranger.code("GET", "/static/../app.py") == (401, "no-session")
    status, headers, _ = stranger.ask("GET", "/")
    assert status == 303 and headers["location"] == "/login"


def test_the_login_page_and_the_files_are_for_everybody(stranger: Browser) -> None:
    for path, media_type in (("/login", "text/html"), ("/static/main.js", "text/javascript"), ("/static/style.css", "text/css")):
        status, headers, body = stranger.ask("GET", path)
        assert status == 200 and headers["content-type"].startswith(media_type) and body
        status, again, body = stranger.ask("GET", path, if_none_match=headers["etag"])
        assert status == 304 and not body and again["etag"] == headers["etag"]
    assert stranger.ask("HEAD", "/login")[0] == 200
    assert stranger.code("POST", "/static/main.js") == (401, "no-session")


def test_a_session_reads_and_writes_as_who_asked_for_it(browser: Browser, web_node: Any) -> None:
    status, headers, _ = browser.ask("GET", "/v1/config")
    assert status == 200
    status, _, written = browser.ask("POST", "/v1/config/wwids", {"wwid": A}, if_match=headers["etag"])
    assert status == 200, written
    web_node.clear()
    me = json.loads(browser.ask("GET", "/v1/whoami")[2])
    own = web_node.get("/v1/whoami")
    assert me["uid"] == own["uid"] and me["may_write"] and len(me["session"]) == 8 and own["session"] is None
    assert {k: v for k, v in me.items() if k != "session"} == {k: v for k, v in own.items() if k != "session"}
    assert browser.ask("GET", "/")[0] == 200


def acting_for(node: Any, uid: int, *groups: int) -> Browser:
    """A browser with a session of this user, who was in these groups when the link was asked for."""
    browser = Browser(node.settings.web.listen)
    browser.log_in(node.call(lambda: node.node.web.offer(Client(4242, uid, frozenset(groups)))))
    return browser


def may_write(browser: Browser) -> bool:
    """Whether a session may write, by what it is told and by what it may do."""
    told = json.loads(browser.ask("GET", "/v1/whoami")[2])["may_write"]
    code = browser.code("POST", "/v1/members/tokens", {"uses": 0})
    assert code == ((422, "bad-token-uses") if told else (403, "forbidden")), code
    return bool(told)


def test_a_session_of_who_may_only_read_only_reads(web_node: Any) -> None:
    reader = acting_for(web_node, NOBODY, NOBODY)
    assert reader.ask("GET", "/v1/status")[0] == 200 and not may_write(reader)
    for operation in OPERATIONS:
        if operation.access is Access.WRITE:
            assert reader.code(operation.method, operation.path.replace(":path}", "}")) == (403, "forbidden"), operation


def test_a_session_loses_what_its_user_lost(web_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group counts that was there when the link was asked for, and is there at the write."""
    monkeypatch.setattr("agent.name_service.MEMBERSHIP_SECONDS", 0)
    groups = {pwd.getpwuid(NOBODY).pw_name: [NOBODY, ADMINS]}
    monkeypatch.setattr(os, "getgrouplist", lambda name, primary: groups.get(name, [primary]))
    member, late = acting_for(web_node, NOBODY, ADMINS), acting_for(web_node, NOBODY, NOBODY)
    assert may_write(member) and not may_write(late)
    groups.clear()
    assert not may_write(member)
    assert member.ask("GET", "/v1/status")[0] == 200, "it may still read"


def test_a_user_that_is_gone_may_not_write(web_node: Any) -> None:
    for uid in (NOBODY, 4_000_000_000):
        assert not may_write(acting_for(web_node, uid, ADMINS)), "nobody here is in that group"
    for uid in (0, os.geteuid()):
        assert may_write(acting_for(web_node, uid)), "no group is needed"


def test_a_link_works_once(stranger: Browser, web_node: Any) -> None:
    url = link(web_node)
    assert url.startswith(f"http://{stranger.address}/login#")
    secret = {"link": url.partition("#")[2]}
    assert stranger.ask("POST", "/login", secret)[0] == 204
    assert stranger.code("POST", "/login", secret) == (403, "link-used")
    assert stranger.code("POST", "/login", {"link": "x"}) == (403, "link-unknown")


@pytest.mark.parametrize("body", [None, {}, {"link": 1}, {"link": ""}, {"link": "x" * 100}, {"link": "x", "more": 1}])
def test_a_login_that_is_none(stranger: Browser, body: Any) -> None:
    assert stranger.code("POST", "/login", body) == (400, "malformed")
    assert stranger.code("POST", "/login", {"link": "x" * 5000})[0] == 413


def test_no_session_makes_links(browser: Browser) -> None:
    assert browser.code("POST", "/v1/web/links") == (403, "forbidden")


def test_other_origins_and_other_hosts_get_nothing(browser: Browser, web_node: Any) -> None:
    for origin in (None, "null", "http://evil.example", "http://127.0.0.1:1"):
        for path in ("/v1/apply", "/login", "/logout"):
            assert browser.code("POST", path, origin=origin) == (403, "wrong-origin")
    for path in ("/", "/login", "/v1/status", "/static/main.js"):
        assert browser.code("GET", path, host="evil.example") == (421, "wrong-host")
    assert browser.code("GET", "/v1/status", sec_fetch_site="same-site", sec_fetch_mode="cors") == (403, "wrong-origin")
    assert browser.ask("GET", "/v1/status")[0] == 200


def test_logging_out_ends_the_session_and_what_it_follows(browser: Browser, web_node: Any) -> None:
    with following(browser) as stream:
        wait_for("it follows", lambda: web_node.node.events.streams == 1)
        other = Browser(browser.address)
        other.log_in(link(web_node))
        status, headers, _ = browser.ask("POST", "/logout")
        assert status == 204 and "Max-Age=0" in headers["set-cookie"]
        drained(stream)
    wait_for("it follows no more", lambda: web_node.node.events.streams == 0)
    assert browser.code("GET", "/v1/status") == browser.code("POST", "/logout") == (401, "no-session")
    assert other.ask("GET", "/v1/status")[0] == 200


def test_a_session_ends_in_the_middle_of_an_answer_at_its_time(browser: Browser, web_node: Any) -> None:
    web = web_node.node.web
    session = web.sessions()[-1]

    async def soon() -> None:
        for timeout in web._uses[session.id]:
            timeout.reschedule(web_node._loop.time() + 0.05)

    with following(browser) as stream:
        web_node.run(soon())
        drained(stream)
    wait_for("nobody follows", lambda: web_node.node.events.streams == 0)


def test_every_answer_says_what_a_browser_must_not_do(browser: Browser, stranger: Browser) -> None:
    for who, path in ((browser, "/"), (browser, "/v1/status"), (stranger, "/login"), (stranger, "/v1/x"), (stranger, "/static/main.js")):
        _, headers, _ = who.ask("GET", path)
        assert all(headers[name.decode()] == value.decode() for name, value in SECURITY_HEADERS), path
        assert headers["cache-control"] in ("no-store", "no-cache")
    assert stranger.ask("GET", "/", host="evil.example")[1]["content-security-policy"]


def test_two_cookies_of_one_name_are_none(browser: Browser) -> None:
    browser.cookie += f"; {browser.cookie}x"
    assert browser.code("GET", "/v1/status") == (401, "no-session")


def test_sessions_are_listed_and_ended_on_the_node(web_node: Any) -> None:
    web_node.ask("DELETE", "/v1/web/sessions")
    before = time.time()
    browsers = [acting_for(web_node, uid, ADMINS) for uid in (0, NOBODY, 4_000_000_000)]
    unused = link(web_node)
    listed = web_node.get("/v1/web/sessions")["sessions"]
    assert [(each["uid"], each["user"]) for each in listed] == [
        (0, "root"),
        (NOBODY, pwd.getpwuid(NOBODY).pw_name),
        (4_000_000_000, "4000000000"),
    ]
    assert set(listed[0]) == {"label", "uid", "user", "began", "expires"}
    assert all(before - 1 < _seconds(each["began"]) == _seconds(each["expires"]) - limit("web_session_seconds") for each in listed)
    assert [json.loads(each.ask("GET", "/v1/whoami")[2])["session"] for each in browsers] == [each["label"] for each in listed]
    for method, path in (("GET", ""), ("DELETE", ""), ("DELETE", f"/{listed[0]['label']}"), ("DELETE", "/x")):
        assert browsers[0].code(method, f"/v1/web/sessions{path}") == (403, "forbidden")

    with following(browsers[1]) as stream:
        answer = web_node.ask("DELETE", f"/v1/web/sessions/{listed[1]['label']}")
        assert answer.status == 200 and answer.json == {"ended": [listed[1]]}
        drained(stream)
    assert browsers[1].code("GET", "/v1/status") == (401, "no-session")
    assert web_node.get("/v1/web/sessions")["sessions"] == [listed[0], listed[2]]
    for label in (listed[1]["label"], "no-such"):
        assert web_node.ask("DELETE", f"/v1/web/sessions/{label}").json["code"] == "not-found"

    with following(browsers[0]) as stream:
        assert web_node.ask("DELETE", "/v1/web/sessions").json == {"ended": [listed[0], listed[2]]}
        drained(stream)
    assert {browser.code("GET", "/v1/status") for browser in browsers} == {(401, "no-session")}
    assert browsers[0].code("POST", "/login", {"link": unused.partition("#")[2]}) == (403, "link-unknown")
    assert web_node.ask("DELETE", "/v1/web/sessions").json == {"ended": []} and web_node.get("/v1/web/sessions") == {"sessions": []}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_no_session_outlives_the_agent(tmp_path: Path, live_node: Any, settings_in: Any) -> None:
    """Whoever takes the port while the agent is down gathers the cookies of the pages that are open."""
    settings = settings_in(tmp_path, web={"listen": f"127.0.0.1:{free_ports(1)[0]}"})
    init(settings, "n1", "san")
    browser = Browser(settings.web.listen)
    with live_node(settings) as node:
        wait_for("the page is served", lambda: connects(settings.web.listen))
        browser.log_in(link(node))
        unused = link(node)
    with live_node(settings) as node:
        wait_for("the page is served", lambda: connects(settings.web.listen))
        assert browser.code("GET", "/v1/status") == (401, "no-session")
        assert browser.code("POST", "/login", {"link": unused.partition("#")[2]}) == (403, "link-unknown")
        browser.log_in(link(node))
        assert browser.ask("GET", "/v1/status")[0] == 200
