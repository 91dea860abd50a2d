"""Who gets in, and what a stranger's page can do."""

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
    assert page.url.rstrip("/") == home(node), "the secret is not in the address any more"
    assert page.inner_text("#where") == "demo · n1"
    accessible(page)
    page.go_back()
    assert "#" not in page.url


def test_a_link_works_once(cluster: Any, visit: Any, login_link: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    link = login_link(node)
    first, second = visit(node, log_in=False).page, visit(node, log_in=False, allowed=("status of 403",)).page
    first.goto(link)
    first.wait_for_selector("#connection[data-state=live]", state="attached")
    second.goto(link)
    second.wait_for_selector("#command:visible")
    assert "used already" in second.inner_text("#what") and "pathmesh web-login" in second.inner_text("#command")
    accessible(second)
    second.goto(f"{home(node)}/")
    assert second.url == f"{home(node)}/login"


def test_a_wrong_link_and_none(cluster: Any, visit: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node, log_in=False, allowed=("status of 403",), locale="de-DE").page
    page.goto(f"{home(node)}/login#{'x' * 43}")
    page.wait_for_selector("#command:visible")
    assert "nicht bekannt" in page.inner_text("#what")
    page.goto(f"{home(node)}/")
    page.wait_for_selector("#command:visible")
    assert "nicht angemeldet" in page.inner_text("#what") and page.get_attribute("html", "lang") == "de"
    accessible(page)


def test_logging_out_ends_every_tab_and_a_new_link_takes_them_up_again(cluster: Any, visit: Any, login_link: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    opened = visit(node, allowed=("status of 401", "ERR_INCOMPLETE_CHUNKED_ENCODING"))
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
