"""Cluster → Multipath: what happens on a host is seen, in place; filters, order, open rows, keyboard, narrow and printed."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.cluster.nodes import Node, free_ports, wait_for
from scripts.cluster.relay import Relays
from scripts.cluster.sample import LUN_A, LUN_B, device, path_id

HOSTILE = {
    "markup": "<img src=x onerror=alert(1)>",
    "right-to-left": "\u202egnp.exe",
    "long": "x" * 127,
}
LAST_EVENT = """
  const { decode } = TextDecoder.prototype;
  TextDecoder.prototype.decode = function (...given) {
    const text = decode.apply(this, given);
    for (const [, id] of text.matchAll(/^id: ?(\\d+)$/gm)) window.lastEvent = Number(id);
    return text;
  };
"""


def cell(page: Any, wwid: str, node: str) -> Any:
    """The cell of a LUN on a node."""
    column = page.locator(f".grid-head .node-name:text-is('{node}')").locator("xpath=ancestor::*[@role='columnheader']")
    index = column.get_attribute("aria-colindex")
    return page.locator(f".grid-row[data-key='multipath.map {wwid}'] [aria-colindex='{index}']")


def row(page: Any, wwid: str) -> Any:
    return page.locator(f".grid-row[data-key='multipath.map {wwid}']")


def open_row(page: Any, wwid: str) -> Any:
    """The content of the row, once it is open and its paths are there."""
    toggle = row(page, wwid).locator("button.lun")
    if toggle.get_attribute("aria-expanded") == "false":
        toggle.click()
    page.wait_for_selector(".detail .path")
    return page.locator(".grid-detail").first


def shows(page: Any, wwid: str, node: str, state: str) -> None:
    """Wait until the cell reads so."""
    page.wait_for_function(
        "([element, state]) => element.dataset.state === state", arg=[cell(page, wwid, node).element_handle(), state], timeout=15_000
    )


# -- what happens -----------------------------------------------------------------------------------------------------


def test_a_fault_is_seen_within_a_second_in_the_same_elements(cluster: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    shows(page, LUN_A, "n2", "healthy")
    element, line = cell(page, LUN_A, "n2").element_handle(), row(page, LUN_A).element_handle()
    label = element.get_attribute("aria-label") or ""  # it may say too that this cell changed often
    assert element.inner_text() == "2/2" and label.startswith("n2: healthy, 2 of 2 paths usable")
    page.evaluate("([a, b]) => { a.dataset.same = b.dataset.same = 'yes'; window.moved = 0; }", [element, line])
    page.evaluate(
        """() => {
          const watch = new MutationObserver((all) => {
            for (const { addedNodes, removedNodes } of all) {
              window.moved += [...addedNodes, ...removedNodes].filter((n) => n.nodeType === 1).length;
            }
          });
          watch.observe(document.querySelector(".grid-body"), { childList: true, subtree: true });
        }"""
    )
    reads = "([element, state]) => element.dataset.state === state"
    n2.ask_host(f"fail path {device(0, 1)}")
    page.wait_for_function(reads, arg=[element, "degraded"], timeout=1500)
    assert element.inner_text() == "1/2" and "a path has failed" in str(element.get_attribute("aria-label"))
    assert cell(page, LUN_A, "n2").get_attribute("data-same") == row(page, LUN_A).get_attribute("data-same") == "yes"
    page.wait_for_selector(".chip[data-state=degraded] strong:text-is('1')")
    accessible(page)
    screenshot(page, "multipath")
    n2.ask_host(f"reinstate path {device(0, 1)}")
    page.wait_for_function(reads, arg=[element, "healthy"], timeout=3000)
    assert page.evaluate("() => window.moved") == 0, "no element came or went: nothing flickers"


def test_rows_keep_their_place_while_somebody_is_there_and_say_so(cluster: Any, visit: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    shows(page, LUN_B, "n2", "healthy")
    names = page.locator(".grid-row .lun-name")
    assert names.all_inner_texts() == ["vmpool-a", "vmpool-b"]
    row(page, LUN_A).locator("button.lun").focus()
    n2.ask_host(f"fail path {device(1, 1)}")
    shows(page, LUN_B, "n2", "degraded")
    assert names.all_inner_texts() == ["vmpool-a", "vmpool-b"], "the worse one does not jump above"
    page.click("text=Sort again")
    assert names.all_inner_texts() == ["vmpool-b", "vmpool-a"]
    assert page.locator("text=Sort again").is_hidden()
    page.mouse.move(0, 0)
    page.evaluate("() => document.activeElement.blur()")
    n2.ask_host(f"reinstate path {device(1, 1)}")
    shows(page, LUN_B, "n2", "healthy")
    page.wait_for_function("() => document.querySelector('.grid-row .lun-name').textContent === 'vmpool-a'")


def test_an_open_row_shows_lost_paths_in_their_place_and_stays_as_it_is(cluster: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1).page
    detail = open_row(page, LUN_B)
    card = detail.locator(".node-card", has=page.locator("h3 :text-is('n3')"))
    lost = path_id(n3, 2).partition(">")[2]
    line = card.locator(".path", has_text=lost)
    assert line.get_attribute("data-state") == "active" and device(1, 2) in line.inner_text()
    card.locator("h3").evaluate("(element) => { element.dataset.same = 'yes'; }")
    other = detail.locator(".node-card", has=page.locator("h3 :text-is('n1')")).locator(".path").first
    other.evaluate("(element) => { element.dataset.same = 'yes'; }")
    n3.ask_host(f"del path {device(1, 2)}")
    page.wait_for_selector(".path[data-state=lost]")
    assert card.locator(".path[data-state=lost]").inner_text().split() == ["lost", lost]
    assert "an expected path is gone" in card.locator(".reasons").inner_text()
    assert card.locator("h3").get_attribute("data-same") == other.get_attribute("data-same") == "yes"
    accessible(page)
    screenshot(page, "multipath-paths")
    page.get_by_role("button", name="Accept on n3").click()
    dialog = page.get_by_role("dialog")
    assert "1 path stays expected:" in dialog.inner_text() and "1 path is given up:" in dialog.inner_text()
    accessible(page)
    dialog.get_by_label("Reason").fill("cable moved")
    dialog.get_by_role("button", name="Accept", exact=True).click()
    page.wait_for_selector(".path[data-state=lost]", state="detached")
    assert card.locator("h3").get_attribute("data-same") == "yes"
    edits = n1.get("/v1/history")["edits"]
    assert edits[0]["reason"] == "cable moved"
    n3.ask_host(f"add path {device(1, 2)}")
    wait_for("it is expected again", lambda: _expected(n1, LUN_B, "n3") == 2, 10)


def _expected(viewer: Node, wwid: str, node: str) -> int:
    lun = next(lun for lun in viewer.get("/v1/status")["luns"] if lun["wwid"] == wwid)
    return int(lun["nodes"][node]["paths"]["expected"])


def test_a_node_whose_apply_fails_has_a_banner_with_what_to_do(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1).page
    n3.stop("host", signal.SIGTERM)
    try:
        problem = page.locator(".problems li", has_text="n3").filter(has_text="not-installed")
        problem.wait_for(timeout=15_000)
        problem.locator(".problem-hint:has-text('What to do')").wait_for(timeout=15_000)
        assert "not-installed" in problem.inner_text() and "multipath-tools" in problem.inner_text()
        accessible(page)
    finally:
        n3.start_host()
    page.locator(".problems li", has_text="n3").first.wait_for(state="detached", timeout=20_000)


@pytest.fixture
def relays() -> Iterator[Relays]:
    made = Relays()
    yield made
    made.stop()


def test_a_lost_connection_is_told_and_taken_up_where_it_ended(cluster: Any, visit: Any, login_link: Any, relays: Relays) -> None:
    """Through a tunnel that breaks: the agent goes on, and so does the session."""
    n1, n2, _ = cluster.nodes
    (port,) = free_ports(1)
    relays.start(port, n1.web_port)
    page = visit(n1, log_in=False, loses=True).page
    page.add_init_script(LAST_EVENT)
    page.goto(login_link(n1).replace(str(n1.web_port), str(port)))
    open_row(page, LUN_A)
    element = cell(page, LUN_A, "n2").element_handle()
    newest = n1.get("/v1/events?limit=1")["next"]
    n2.ask_host(f"fail path {device(1, 1)}")
    shows(page, LUN_B, "n2", "degraded")
    page.wait_for_function("(newest) => window.lastEvent > newest", arg=newest)  # there is an event to go on from
    asked: list[str | None] = []
    page.on("request", lambda request: asked.append(request.headers.get("last-event-id")) if "/v1/events?" in request.url else None)
    relays.judge(lambda _source, _target: False)
    page.wait_for_selector("#stale:not([hidden])")
    n2.ask_host(f"fail path {device(0, 1)}")
    wait_for("the agent knows", lambda: n1.get("/v1/status")["counts"]["degraded"] == 2)
    assert element.get_attribute("data-state") == "healthy", "the page cannot know"
    relays.judge(lambda _source, _target: True)
    page.wait_for_selector("#connection[data-state=live]")
    page.wait_for_selector("#stale", state="hidden")
    page.wait_for_function("(element) => element.isConnected && element.dataset.state === 'degraded'", arg=element)
    assert page.locator(".grid-detail").count() == 1, "the open row is still open"
    assert asked and all(int(each or 0) >= newest for each in asked), "it went on from the last event that it had"


def test_a_restarted_agent_asks_for_a_login_and_the_page_goes_on(cluster: Any, visit: Any, accessible: Any, login_link: Any) -> None:
    _, n2, n3 = cluster.nodes
    page = visit(n3, loses=True, allowed=("status of 401",)).page
    open_row(page, LUN_A)
    element = cell(page, LUN_A, "n2").element_handle()
    n3.stop("agent")
    page.wait_for_selector("#stale:visible:has-text('No connection to the agent since')")
    assert page.get_attribute("#stale", "role") == "alert"
    assert page.locator(".grid-row").count() == 2, "what was known is still shown"
    accessible(page)
    n3.start_agent()
    page.wait_for_selector("#connection[data-state=logged-out]", timeout=15_000)
    assert "web-login" in page.inner_text("#stale") and page.locator(".grid-row").count() == 2
    accessible(page)
    tab = page.context.new_page()
    tab.goto(login_link(n3))
    tab.wait_for_selector("#connection[data-state=live]")
    tab.close()
    page.wait_for_selector("#stale", state="hidden", timeout=15_000)
    page.wait_for_selector("#connection[data-state=live]")
    cluster.wait_online()
    n2.ask_host(f"fail path {device(0, 1)}")
    page.wait_for_function("(element) => element.isConnected && element.dataset.state === 'degraded'", arg=element, timeout=10_000)
    assert page.locator(".grid-detail").count() == 1, "the open row is still open"


def test_a_node_that_is_away_is_unknown_and_told(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    n2.stop("agent", signal.SIGKILL)
    try:
        page.wait_for_selector(".problems li:has-text('n2')", timeout=30_000)
        shows(page, LUN_A, "n2", "unknown")
        assert cell(page, LUN_A, "n2").inner_text() == "?"
        assert "last known: healthy" in str(cell(page, LUN_A, "n2").get_attribute("aria-label"))
        assert page.locator(".sort[data-away] .node-name").all_inner_texts() == ["n2"]
        accessible(page)
    finally:
        n2.start_agent()
    cluster.wait_online()
    shows(page, LUN_A, "n2", "healthy")
    page.wait_for_selector(".problems li:has-text('n2')", state="detached")


# -- filters and order ------------------------------------------------------------------------------------------------


def test_filters_are_in_the_address(cluster: Any, visit: Any, accessible: Any) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1).page
    page.wait_for_selector(".grid-row")
    names = page.locator(".grid-row .lun-name")
    page.get_by_label("Storage", exact=True).select_option("san-lvm")
    page.wait_for_url(lambda url: url.endswith("#/multipath?storage=san-lvm"))
    assert names.all_inner_texts() == ["vmpool-a"]
    assert "1 of 2 shown" in page.inner_text(".panel-head")
    page.click(".chip[data-state=failed]")
    assert page.locator(".grid-row:visible").count() == 0 and "No LUN fits" in page.inner_text(".empty")
    accessible(page)
    page.click("text=Clear the filter")
    page.get_by_role("searchbox").fill("VMPOOL-b n3")
    page.wait_for_function("() => location.hash.includes('q=')")
    assert names.all_inner_texts() == ["vmpool-b"]
    page.goto(f"http://127.0.0.1:{n1.web_port}/#/multipath?state=healthy&q=vmpool&sort=-size")
    page.reload()
    page.wait_for_selector(".grid-row")
    assert names.all_inner_texts() == ["vmpool-a", "vmpool-b"]
    assert page.get_attribute(".chip[data-state=healthy]", "aria-pressed") == "true"
    assert page.get_by_role("searchbox").input_value() == "vmpool"
    assert page.locator("[role=columnheader][aria-sort=descending]").inner_text() == "Size"
    page.goto(f"http://127.0.0.1:{n1.web_port}/#/multipath?state=nonsense&sort=constructor&storage=none")
    page.wait_for_selector(".empty:visible")


def test_headers_sort(cluster: Any, visit: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    names = page.locator(".grid-row .lun-name")
    page.wait_for_selector(".grid-row")
    page.get_by_role("button", name="Size").click()
    page.wait_for_url(lambda url: url.endswith("sort=size"))
    assert names.all_inner_texts() == ["vmpool-b", "vmpool-a"]
    page.get_by_role("button", name="Size").click()
    page.wait_for_url(lambda url: url.endswith("sort=-size"))
    assert names.all_inner_texts() == ["vmpool-a", "vmpool-b"]
    page.get_by_role("button", name="Size").click()
    page.wait_for_url(lambda url: "sort" not in url)
    n2.ask_host(f"fail path {device(1, 1)}")
    shows(page, LUN_B, "n2", "degraded")
    page.get_by_role("button", name="n2: ").click()
    page.wait_for_url(lambda url: url.endswith("sort=node%3An2"))
    assert names.all_inner_texts() == ["vmpool-b", "vmpool-a"]


# -- who uses no mouse, or a small screen, or paper --------------------------------------------------------------------


def test_the_grid_is_used_by_keyboard_alone(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    page.wait_for_selector(".grid-row")

    def focused() -> str:
        """The row and the column of what has the focus."""
        place = "(name) => document.activeElement.closest(`[${name}]`)?.getAttribute(name)"
        return f"{page.evaluate(place, 'aria-rowindex')}:{page.evaluate(place, 'aria-colindex')}"

    page.focus(".search")
    for _ in range(3):
        page.keyboard.press("Tab")
    assert focused() == "1:1", "one way into the grid"
    page.keyboard.press("ArrowDown")
    assert focused() == "2:1"
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("End")
    assert focused() == "2:7"
    page.keyboard.press("ArrowRight")
    assert focused() == "2:7", "it ends there"
    page.keyboard.press("ArrowDown")
    assert focused() == "3:7"
    page.keyboard.press("Control+Home")
    assert focused() == "2:1"
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail .path")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Copy", "what is open is next"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Escape")
    assert page.locator(".grid-detail").count() == 0 and focused() == "2:1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator(".grid-detail").count() == 1
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert focused() == "1:2"
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "sort=array" in url)
    assert page.locator(".grid [tabindex='0']").count() == 1, "one stop in the grid, beside what is open"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen(cluster: Any, visit: Any, accessible: Any, screenshot: Any, scheme: str) -> None:
    page = visit(cluster.nodes[0], viewport={"width": 360, "height": 740}, color_scheme=scheme, locale="de-DE").page
    page.wait_for_selector(".grid-row")
    accessible(page)
    open_row(page, LUN_A)
    accessible(page)
    grid = page.locator(".grid").bounding_box()
    assert grid is not None and grid["width"] <= 360
    assert page.locator(".grid-row .name").first.bounding_box()["x"] == grid["x"]
    page.evaluate("() => { document.querySelector('.grid').scrollLeft = 80; }")
    assert page.locator(".grid-row .name").first.bounding_box()["x"] == grid["x"], "the first column stays"
    screenshot(page, f"multipath-360-{scheme}")


def test_dark(cluster: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    page = visit(cluster.nodes[0], color_scheme="dark").page
    cluster.nodes[1].ask_host(f"fail path {device(0, 1)}")
    shows(page, LUN_A, "n2", "degraded")
    open_row(page, LUN_A)
    accessible(page)
    screenshot(page, "multipath-dark")


def test_paper_has_every_row(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    page.wait_for_selector(".grid-row")
    page.emulate_media(media="print")
    page.wait_for_selector(".grid.printing")
    assert page.locator(".grid-row:visible").count() == 2
    assert page.locator("nav").is_hidden() and page.locator(".search").is_hidden()
    tops = [page.locator(".grid-row").nth(n).bounding_box()["y"] for n in range(2)]
    assert tops[0] < tops[1]
    assert len(page.pdf()) > 5000


# -- hostile names ----------------------------------------------------------------------------------------------------


@pytest.fixture
def answers(cluster: Any) -> Callable[..., None]:
    """Lets the agent's answers to a page hold more rows, as a node of another version, or in bad faith, could make them."""

    def alter(page: Any, count: int, nodes: int = 0) -> None:
        def altered(route: Any) -> None:
            answer = route.fetch()
            body = answer.json()
            names = list(HOSTILE.values())
            extra = [f"m{n:02}" for n in range(nodes)]
            body["reporters"] |= {name: {"state": "fresh", "age_seconds": 1.0} for name in [*extra, "constructor", "__proto__"]}
            if body.get("whole", True):
                for number in range(count):
                    text = names[number % len(names)] if number < 30 else f"lun-{number:04}"
                    body["resources"].append(
                        {
                            "kind": "multipath.map",
                            "id": f"36{number:030x}" if number >= 30 else f"{text}{number}",
                            "state": ["healthy", "degraded", "<b>", "constructor"][number % 4] if number < 30 else "healthy",
                            "since": "2026-01-01T00:00:00Z",
                            "alias": text,
                            "vendor": text,
                            "product": "",
                            "size_bytes": 2**40 + number,
                            "configured": True,
                            "storages": [text],
                            "expected_nodes": [],
                            "cells": {
                                **{name: ["healthy", 2, 2] for name in extra},
                                "n1": ["degraded", 1, 2, ["<script>alert(1)</script>"]],
                                "constructor": ["healthy", 2, 2],
                            },
                        }
                    )
            route.fulfill(response=answer, json=body)

        page.route("**/v1/matrix?*", altered)

    return alter


def test_hostile_names_are_text(cluster: Any, visit: Any, answers: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node).page
    answers(page, 30)
    page.reload()
    page.wait_for_selector(".grid[aria-rowcount='33']")
    assert page.locator(".panel img, .panel script, .panel b").count() == 0
    texts = page.locator(".grid-row .lun-name").all_inner_texts()
    assert HOSTILE["markup"] in texts and HOSTILE["long"] in texts and "\\u202egnp.exe" in texts
    assert "\u202e" not in page.locator("body").inner_text()
    accessible(page)
    page.get_by_label("Array", exact=True).select_option(HOSTILE["markup"])
    page.wait_for_function("() => document.querySelectorAll('.grid-row').length === 10")
    box = page.locator(".grid-row .lun").first.bounding_box()
    assert box is not None and box["height"] < 60, "no name makes a row higher"


def test_a_thousand_rows_on_many_nodes_are_few_elements(cluster: Any, visit: Any, answers: Any, accessible: Any) -> None:
    node = cluster.nodes[0]
    page = visit(node, allowed=("status of 404",)).page  # nobody knows the rows that are opened
    answers(page, 1000, 28)
    page.reload()
    page.wait_for_selector(".grid[aria-rowcount='1003']")
    assert page.get_attribute(".grid", "aria-colcount") == str(4 + 3 + 28 + 2)
    rows = page.locator(".grid-row")
    assert rows.count() < 60
    for column in (1, 2, 4, 5, 20, 37):
        head, below = (page.locator(f".{part} [aria-colindex='{column}']").first.bounding_box() for part in ("grid-head", "grid-row"))
        assert (head["x"], head["width"]) == (below["x"], below["width"]), f"column {column} stands under its head"
    page.evaluate("() => { document.querySelector('.grid').scrollTop = 20000; }")
    page.wait_for_function("() => Number(document.querySelectorAll('.grid-row')[12].ariaRowIndex) > 450")
    assert rows.count() < 60
    middle = rows.nth(14)
    key = middle.get_attribute("data-key")
    page.locator(f".grid-row[data-key='{key}'] [aria-colindex='6']").click()
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    page.keyboard.press("Control+End")
    last = page.evaluate("() => [document.activeElement.parentElement.ariaRowIndex, document.activeElement.ariaColIndex]")
    assert last == ["1003", str(4 + 3 + 28 + 2)]
    box, grid = page.locator(":focus").bounding_box(), page.locator(".grid").bounding_box()
    assert box["x"] + box["width"] <= grid["x"] + grid["width"] + 1 and box["y"] + box["height"] <= grid["y"] + grid["height"] + 1
    page.keyboard.press("Control+Home")
    assert page.evaluate("() => document.querySelector('.grid').scrollTop") == 0
    assert page.locator(f".grid-row[data-key='{key}']").count() == 1, "an open row is not forgotten while it is out of sight"
    accessible(page)
