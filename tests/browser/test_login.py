"""Who gets in, and what a stranger's page can do."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


def home(node: Any) -> str:
    return f"http://127.0.0.1:{node.web_port}"


def test_a_link_logs_in_and_leaves_no_trace_of_itself(cluster: Any, visit: Any, login_link: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node).page
    page.wait_for_selector(".grid-row")
    page.wait_for_url(lambda url: url.rstrip("/") == home(node))  # the secret is not in the address any more
    page.wait_for_selector("#where:text-is('demo · n1')")
    accessible(page)
    page.go_back()
    page.wait_for_url(lambda url: "#" not in url)


def test_a_link_works_once(cluster: Any, visit: Any, login_link: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    link = login_link(node)
    first, second = visit(node, log_in=False).page, visit(node, log_in=False, allowed=("status of 40[13]",)).page
    first.goto(link)
    first.wait_for_selector("#connection[data-state=live]", state="attached")
    second.goto(link)
    second.wait_for_selector("#command:visible")
    assert "used already" in second.inner_text("#what") and "pathmesh web-login" in second.inner_text("#command")
    accessible(second)
    second.goto(f"{home(node)}/")
    second.wait_for_url(f"{home(node)}/login")


def test_a_wrong_link_and_none(cluster: Any, visit: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node, log_in=False, allowed=("status of 40[13]",), locale="de-DE").page
    page.goto(f"{home(node)}/login#{'x' * 43}")
    page.wait_for_selector("#command:visible")
    assert "nicht bekannt" in page.inner_text("#what")
    page.goto(f"{home(node)}/")
    page.wait_for_selector("#command:visible")
    assert "nicht angemeldet" in page.inner_text("#what") and page.get_attribute("html", "lang") == "de"
    accessible(page)


def test_logging_out_ends_every_tab_and_a_new_link_takes_them_up_again(cluster: Any, visit: Any, login_link: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    opened = visit(node, loses=True, allowed=("status of 401",))
    page, tab = opened.page, opened.page.context.new_page()
    tab.goto(f"{home(node)}/")
    tab.wait_for_selector("#connection[data-state=live]", state="attached")
    tab.evaluate("() => { window.same = true; }")
    page.click("#logout")
    page.wait_for_url(f"{home(node)}/login")
    tab.wait_for_selector("#connection[data-state=logged-out]")
    assert "web-login" in tab.inner_text("#stale") and page.context.cookies() == []
    accessible(tab)
    page.goto(login_link(node))
    page.wait_for_selector("#connection[data-state=live]", state="attached")
    tab.wait_for_selector("#connection[data-state=live]", state="attached")
    assert tab.locator("#stale").is_hidden() and tab.evaluate("() => window.same"), "it went on by itself"


def test_who_is_logged_in_is_not_asked_to_log_in(cluster: Any, visit: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node).page
    page.goto(f"{home(node)}/login")
    page.wait_for_selector("#connection[data-state=live]")
    page.wait_for_url(lambda url: url.rstrip("/") == home(node))


def test_a_place_is_kept_until_there_is_a_session(cluster: Any, visit: Any, login_link: Any) -> None:
    node, place = cluster.nodes[0], "/#/events?kind=edit"
    page = visit(node, log_in=False, allowed=("status of 40[13]",)).page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    page.goto(home(node) + place)
    page.wait_for_selector("#command:visible")
    page.wait_for_url(lambda url: url == f"{home(node)}/login{place[1:]}")
    assert "not logged in" in page.inner_text("#what")
    page.reload()
    page.wait_for_selector("#command:visible")
    assert f"POST {home(node)}/login" not in asked, "a place is no link"
    page.goto(f"{home(node)}/login#{'x' * 43}")  # the same document: nothing is loaded anew
    page.wait_for_selector("#what:has-text('not known')")
    page.wait_for_url(lambda url: url == f"{home(node)}/login{place[1:]}")  # the secret is gone from the address, the place is not
    page.goto(login_link(node))
    page.wait_for_selector("#connection[data-state=live]")
    page.wait_for_url(lambda url: url == home(node) + place)
    page.wait_for_selector(".panel[data-panel=events]:not([hidden])")


def test_a_place_is_gone_to_once_another_tab_has_logged_in(cluster: Any, visit: Any, login_link: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node, log_in=False, allowed=("status of 401",)).page
    page.goto(f"{home(node)}/#/nodes")
    page.wait_for_selector("#command:visible")
    tab = page.context.new_page()
    tab.goto(login_link(node))
    tab.wait_for_selector("#connection[data-state=live]")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # pages of a browser without a window are never hidden
    page.wait_for_selector("#connection[data-state=live]")
    page.wait_for_url(f"{home(node)}/#/nodes")


@pytest.mark.parametrize("place", ["//evil.example", "/\\evil.example", "/javascript:alert(1)", "/", "/%0d%0a/evil.example"])
def test_a_place_is_one_of_the_page(cluster: Any, visit: Any, place: str) -> None:
    node = cluster.nodes[0]
    page = visit(node).page
    page.goto(f"{home(node)}/login#{place}")
    page.wait_for_selector("#connection[data-state=live]")
    assert page.evaluate("[location.origin, location.pathname, location.search]") == [home(node), "/", ""]


NOBODY = 65534
ASK = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(b"POST /v1/web/links HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
print(answer.partition(b"\\r\\n\\r\\n")[2].decode())
"""


@pytest.fixture
def reader_link(cluster: Any) -> Iterator[str]:
    """A link that somebody asked for who may use the first node's socket and is nobody besides."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    path = cluster.nodes[0].socket
    mode, directory = path.stat().st_mode, path.parent.stat().st_mode
    path.chmod(0o666)
    path.parent.chmod(0o711)
    try:
        command = [sys.executable, "-I", "-c", ASK, path.name, str(NOBODY)]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=30, check=True)
        yield json.loads(done.stdout)["url"]
    finally:
        path.chmod(mode)
        path.parent.chmod(directory)


def test_who_may_only_read_sees_the_page_and_changes_nothing(cluster: Any, visit: Any, reader_link: str, accessible: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node, log_in=False, allowed=("status of 403",)).page
    page.goto(reader_link)
    page.wait_for_selector(".grid-row")
    page.goto(f"{home(node)}/#/configuration")
    page.get_by_text("You may read here and not write").wait_for()
    accessible(page)
    assert page.evaluate("fetch('/v1/apply', { method: 'POST' }).then((answer) => answer.status)") == 403
    assert page.evaluate("fetch('/v1/web/links', { method: 'POST' }).then((answer) => answer.status)") == 403


@pytest.fixture
def evil_site() -> Iterator[str]:
    """A site on another port of this host: the same site to a browser, and another origin. It does what a stranger could try."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>evil</title>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_site_cannot_read_write_or_frame(cluster: Any, visit: Any, evil_site: str) -> None:
    node = cluster.nodes[0]
    before = node.ask("GET", "/v1/config").digest
    opened = visit(node, allowed=("",))  # the browser says what it kept from the other site
    page = opened.page.context.new_page()
    page.goto(evil_site)
    tries = """async (home) => {
      const outcome = async (path, options) => {
        try {
          const answer = await fetch(home + path, { credentials: "include", ...options });
          return `${answer.type} ${answer.status}`;
        } catch {
          return "refused";
        }
      };
      const frame = document.createElement("iframe");
      frame.src = `${home}/`;
      document.body.append(frame);
      await new Promise((done) => { frame.onload = done; });
      let framed = "shown";
      try { framed = frame.contentDocument ? "blank" : "kept out"; } catch { framed = "kept out"; }
      return {
        read: await outcome("/v1/status"),
        write: await outcome("/v1/apply", { method: "POST" }),
        blind: await outcome("/v1/apply", { method: "POST", mode: "no-cors" }),
        script: await new Promise((done) => {
          const script = document.createElement("script");
          script.onerror = () => done("refused");
          script.onload = () => done("loaded");
          script.src = `${home}/static/main.js`;
          document.body.append(script);
        }),
        framed,
      };
    }"""
    found = page.evaluate(tries, home(node))
    assert found["read"] == found["write"] == found["script"] == "refused", found
    assert found["blind"] in ("opaque 0", "refused"), found
    assert node.ask("GET", "/v1/config").digest == before
    log = node.log("agent")
    assert "path=/v1/apply" not in log, "no write of the other site came through"
    frames = [frame for frame in page.frames if frame != page.main_frame]
    assert frames and frames[0].query_selector("#connection") is None, "the page is not shown in a frame"
